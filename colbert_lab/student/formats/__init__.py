"""Folders a student can be saved to and loaded from."""
