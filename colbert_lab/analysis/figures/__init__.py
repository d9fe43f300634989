"""Figures of notebooks. matplotlib comes with the extra ``notebook``.

Comes in: what other modules of ``analysis`` computed. Goes out: matplotlib figures.
May import: what ``analysis`` may.
"""
