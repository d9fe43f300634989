"""Folders a student can be saved to and loaded from: our own layout and those of other libraries.

Comes in: a folder. Goes out: a student, and the other way round.
May import: what ``model`` may.
"""
