"""Searches over settings with Optuna: what they try, the file that their trials report to, when a trial is stopped.

Comes in: ranges of settings, values of dev splits. Goes out: what to try next, and which trials were best.
May import: ``base``, ``settings``, ``analysis``. Imports no torch.
"""
