"""One run, from its inputs over its phases to its measurements; and many, in a sweep.

Comes in: the config. Goes out: a run directory.
May import: ``base``, ``settings``, ``text``, ``model``, ``search``, ``teachers``, ``training``, ``evaluation``,
``records``, ``tracking``, ``analysis``, ``report``, ``tuning``.
"""
