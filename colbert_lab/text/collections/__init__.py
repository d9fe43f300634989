"""Collections with queries and judgments: BEIR's layout, MS MARCO's, the hub's; and the splits made of them.

Comes in: a folder or a hub id. Goes out: a :class:`colbert_lab.base.types.Split` or a corpus.
May import: what ``text`` may.
"""
