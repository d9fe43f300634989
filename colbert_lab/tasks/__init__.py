"""The command line: the arguments, the registry of tasks, and a file a task.

Comes in: what the user typed. Goes out: what the screen shows, an exit status.
May import: ``base``, ``settings``, ``text``, ``model``, ``search``, ``teachers``, ``training``, ``sources``,
``records``, ``tracking``, ``analysis``, ``audit``, ``explain``, ``run``, ``plan``, ``certify``, ``studies``,
``report``, ``publish``.
"""
