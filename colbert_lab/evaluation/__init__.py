"""How good a ranking is: measures, their significance, the protocol of a split, the evaluator.

Comes in: a student or another system, a split. Goes out: rankings and every query's values.
May import: ``base``, ``settings``, ``text``, ``model``, ``search``, ``teachers``, ``training``.
"""
