"""Where rows of text come from: collections, splits, pairs, triples, score lists and documentation.

Comes in: files, folders, data sets of the hub, and source files and archives, which are read and never imported.
Goes out: texts by id, their judgments and lists, some in stores that stay on disk, and hashes of their content.
May import: ``base``.
"""
