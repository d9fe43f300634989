"""Rows to train on: pairs and triples of texts or of ids, read where they lie or from a stream.

Comes in: files and data sets. Goes out: sequences of queries with a positive document and, perhaps, negatives.
May import: what ``text`` may.
"""
