"""Which document tokens the query tokens matched: the computation, the terminal's table, the HTML page.

Comes in: a student, a query and a document. Goes out: a table and a page.
May import: ``base``, ``model``.
"""
