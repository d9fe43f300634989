"""Names that say nothing about this machine: hub ids stay, of paths the last part does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePath

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""``OWNER/NAME``, as the hub has it."""
PACKAGE = "package:"
# A path in running text: from the root, from home, or from a folder above. "https://x/y" and "tokens/s" are none.
_IN_TEXT = re.compile(r"(?<![\w:/.~@-])(?:~|\.{1,2})?/[^\s/'\"`,;:()\[\]{}|]+(?:/[^\s/'\"`,;:()\[\]{}|]+)*/?")
_WORD = re.compile(r"[^\s()\[\]{},;:='\"`|]*/[^\s()\[\]{},;:='\"`|]+")


class Names:
    """Tells hub ids from paths, which a relative path such as ``outputs/student`` can look like.

    Args:
        bases: folders that relative paths may start from; what is there is a path.
    """

    def __init__(self, bases: Sequence[Path]) -> None:
        self.bases = tuple(bases)

    def hub_id(self, name: str) -> str | None:
        """The name itself where it is the id of something on the hub, else None."""
        if not HUB_ID.fullmatch(name) or Path(name).suffix in (".json", ".jsonl", ".tsv", ".txt", ".parquet"):
            return None
        # The first part alone tells too: the run may be older than what is left in the folder.
        return None if any((base / PurePath(name).parts[0]).is_dir() for base in self.bases) else name

    def short(self, name: str) -> str:
        """A hub id or ``package:`` name as it is, the last part of a path, any other text without paths."""
        if self.hub_id(name) or name.startswith(PACKAGE):
            return name
        if "/" in name and "://" not in name and not re.search(r"\s", name):
            return PurePath(name).name
        return self.text(name)

    def text(self, text: str) -> str:
        """Running text with the last parts of the paths in it that are written as such."""
        return _IN_TEXT.sub(lambda found: PurePath(found[0]).name, text)

    def words(self, text: str) -> str:
        """Running text in which every word with a slash is a name: see :meth:`short`."""
        return _WORD.sub(lambda found: self.short(found[0]), text)
