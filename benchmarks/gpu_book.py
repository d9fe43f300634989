"""The report of ``gpu_check.py``: one JSON and one markdown table, each written whole after every part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colbert_lab.base.atomic import write_text

PASSED, FAILED, IMPOSSIBLE, UNREACHED = "passed", "failed", "not possible here", "not reached"
Line = dict[str, Any]


def line(what: str, found: str, ok: bool = True, **numbers: Any) -> Line:
    """One line of the table.

    Args:
        what: was checked or measured.
        found: the numbers in words, or the reason.
        ok: whether it passed; what is only measured passes.
        numbers: for the JSON.
    """
    return {"what": what, "outcome": PASSED if ok else FAILED, "found": found, "numbers": numbers}


def impossible(what: str, reason: str) -> Line:
    """A line of what cannot be done here."""
    return {"what": what, "outcome": IMPOSSIBLE, "found": reason, "numbers": {}}


def unreached(what: str, reason: str) -> Line:
    """A line of what there was no time for."""
    return {"what": what, "outcome": UNREACHED, "found": reason, "numbers": {}}


class Book:
    """What is known of all parts, on disk.

    Args:
        out: the folder of ``gpu_check.json`` and ``gpu_check.md``.
        about: what measurements of one folder share: device and sizes.

    Raises:
        SystemExit: the folder has a report of other settings.
    """

    def __init__(self, out: Path, about: Mapping[str, str]) -> None:
        self.out, self.about = out, dict(about)
        self.parts: dict[str, dict[str, Any]] = {}
        file = out / "gpu_check.json"
        if file.is_file():
            before = json.loads(file.read_text(encoding="utf-8"))
            if before["about"] != self.about:
                raise SystemExit(f"--out {out}: has a report of {before['about']}; choose another folder")
            self.parts = before["parts"]

    def finished(self, part: str) -> bool:
        """Whether a part ran to its end and had something to run; one that broke off is tried again."""
        known = self.parts.get(part)
        if known is None or not known["ended"]:
            return False
        return any(each["outcome"] in (PASSED, FAILED) for each in known["lines"])

    def add(self, part: str, lines: Sequence[Line], seconds: float, ended: bool) -> None:
        """Write down a part in place of what was known of it.

        Args:
            part: its name.
            lines: of the table.
            seconds: that it took.
            ended: whether it ran to its end.
        """
        self.parts[part] = {"ended": ended, "seconds": round(seconds, 1), "lines": list(lines)}
        self.write()

    @property
    def failed(self) -> bool:
        """Whether a line failed."""
        return any(each["outcome"] == FAILED for part in self.parts.values() for each in part["lines"])

    def write(self) -> None:
        """Write both files."""
        whole = {"about": self.about, "parts": self.parts}
        write_text(self.out / "gpu_check.json", json.dumps(whole, indent=2) + "\n")
        write_text(self.out / "gpu_check.md", self.table())

    def table(self) -> str:
        """The markdown table."""
        about = ", ".join(f"{name} {value}" for name, value in self.about.items())
        text = [f"# GPU check ({about})", "", "| part | what | outcome | found |", "|---|---|---|---|"]
        for part, known in self.parts.items():
            shown = f"{part} ({known['seconds']:.0f} s)"
            for each in known["lines"]:
                cells = [shown, each["what"], each["outcome"], each["found"]]
                text.append("| " + " | ".join(" ".join(c.split()).replace("|", "/") for c in cells) + " |")
        return "\n".join([*text, ""])
