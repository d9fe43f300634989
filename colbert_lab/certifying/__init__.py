"""Prove that what makes training fast changes nothing beyond stated tolerances."""
