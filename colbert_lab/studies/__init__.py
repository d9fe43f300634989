"""Studies: a question, the runs that answer it, and the verdict that follows from their numbers. Imports no torch.

Comes in: ``study.yaml``, runs. Goes out: rows, tables, figures, a page.
May import: ``base``, ``evaluation``, ``records``, ``analysis``.
"""
