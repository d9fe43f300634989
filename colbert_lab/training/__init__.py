"""One LightningModule, one LightningDataModule, and the phase that joins them.

Comes in: a student, sources, an objective. Goes out: a trained student, its curves and checkpoints.
May import: ``base``, ``settings``, ``text``, ``model``.
"""
