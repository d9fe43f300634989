"""What every room stands on: errors, whole files, locks, damaged files, work in parts, logs, tables, pages.

Comes in: nothing of the project. Goes out: functions that know nothing of retrieval.
May import: nothing of the package.
"""
