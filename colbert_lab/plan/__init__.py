"""Predict what a run will take, from a few measured steps.

Comes in: the config. Goes out: time and memory of each part.
May import: ``base``, ``settings``, ``text``, ``model``, ``search``, ``teachers``, ``training``, ``evaluation``,
``records``.
"""
