"""The ledger: all runs on disk, whatever became of them, as one table.

Comes in: a folder with runs. Goes out: rows to read, for files, and for W&B.
May import: what ``analysis`` may.
"""
