"""Search modes: from embeddings to rankings."""
