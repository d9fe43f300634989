"""What training data looks like before it is trained on: lengths, duplicates, contamination, teacher, sources.

Comes in: training data, evaluation splits. Goes out: findings, as tables and a figure.
May import: ``base``, ``settings``, ``text``, ``model``, ``training``, ``evaluation``, ``analysis``.
"""
