"""Runs read again: compared, listed, plotted, set beside published numbers. Nothing is measured here.

Comes in: run directories. Goes out: tables, figures, sentences.
May import: ``base``, ``evaluation``, ``records``. Imports no torch.
"""
