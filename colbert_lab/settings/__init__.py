"""The config's schema: names, types and ranges, checked when a config is composed.

Comes in: what Hydra composed from ``conf/``. Goes out: a command: the same config as one
typed, frozen object, every value checked, or one line that says what is wrong.
May import: ``base``.
"""

from colbert_lab.settings.merging import check_name, checked
from colbert_lab.settings.typed import Command, command_of
from colbert_lab.settings.whole import Settings

__all__ = ["Command", "Settings", "check_name", "checked", "command_of"]
