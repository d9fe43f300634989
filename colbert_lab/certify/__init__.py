"""Prove that what makes training fast changes nothing beyond stated tolerances.

Comes in: the config. Goes out: a certificate, by an independent float64 reference.
May import: ``base``, ``text``, ``model``, ``training``.
"""
