"""Weights & Biases and other trackers: mirrors of what is on disk.

Comes in: a phase's folder and its curves. Goes out: a W&B run a phase, what loggers of Lightning are
told of it, and records read back from W&B.
May import: ``base``, ``records``. Imports no torch.
"""
