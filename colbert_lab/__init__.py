"""colbert_lab: run, compare and trust training ablations of ColBERT models."""

__version__ = "0.1.0"
