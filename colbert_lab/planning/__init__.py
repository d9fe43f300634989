"""Predict what a run will take, from a few measured steps."""
