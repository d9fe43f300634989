"""Collections with queries and judgments: BEIR's layout, MS MARCO's, the hub's, ``ir_datasets``'; and their splits.

Comes in: a folder, a hub id or an id of ``ir_datasets``. Goes out: a :class:`colbert_lab.base.types.Split` or a corpus.
May import: what ``text`` may.
"""
