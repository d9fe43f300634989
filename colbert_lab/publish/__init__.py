"""Say what a student is, in a model card; write it in another layout; put it on the Hugging Face hub.

Comes in: a student's folder and its run. Goes out: a folder that others load.
May import: ``base``, ``model``, ``evaluation``, ``records``, ``analysis``.
"""
