"""The ledger: every run below a folder as a row of a table, chosen, sorted and written out.

Comes in: runs. Goes out: rows and tables of them.
May import: what ``analysis`` may.
"""
