"""What a phase trains on: pairs, triples, lists and mixtures, and how they are mined and scored.

Comes in: rows of text, a collection, retrievers, a teacher. Goes out: training data, by the ``data`` config group.
May import: ``base``, ``settings``, ``text``, ``search``, ``teachers``, ``training``.
"""
