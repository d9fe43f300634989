"""Our training step on the peers' inputs gives the peers' losses and gradients.

The committed numbers come from PyLate 1.6.0 and sentence-transformers 6.2.0 (see make_golden.py). Where all agree, ours
is within 1e-5. Where they do not, the difference is a fact with a number, and a test of its own:

- PyLate multiplies masked token similarities by 0 instead of leaving them out, so a masked document token beats a
  negative similarity. {facts}
"""
