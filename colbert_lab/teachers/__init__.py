"""What scores texts beside the student: BM25, bi-encoder, cross-encoder, language model, ColBERT, ensembles.

Comes in: queries and documents. Goes out: a score of each, or the best documents.
May import: ``base``, ``settings``, ``text``, ``model``, ``search``.
"""
