"""Weights & Biases: a mirror of what is on disk.

Comes in: a phase's folder and its curves. Goes out: a W&B run a phase, and records read back from there.
May import: ``base``, ``records``. Imports no torch.
"""
