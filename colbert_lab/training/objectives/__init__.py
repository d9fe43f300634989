"""What training minimises: distillation, contrastive training, and their weighted sum.

Comes in: scores of queries with documents. Goes out: a loss and its logged parts.
May import: what ``training`` may.
"""
