"""Runs, a sweep or a search as one page: what changed, by how much, how sure, and all that is behind it.

Comes in: run directories, compared. Goes out: one HTML file.
May import: ``base``, ``evaluation``, ``records``, ``analysis``, ``tuning``. Imports no torch.
"""
