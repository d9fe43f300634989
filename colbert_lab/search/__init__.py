"""Search modes: from embeddings to rankings. Exact, reranking, MUVERA, PLAID, XTR; storage and pooling of embeddings.

Comes in: a student, a corpus, queries. Goes out: the best documents of each query.
May import: ``base``, ``settings``, ``text``, ``model``.
"""
