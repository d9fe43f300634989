"""Anonymous memory of a process: RssAnon of /proc, without the pages of mapped files."""

from __future__ import annotations

import threading
from pathlib import Path


class PeakMemory:
    """Largest anonymous memory of this process, in MiB, sampled 20 times a second."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, anonymous_mib())


def anonymous_mib(process: int | str = "self") -> float:
    """Anonymous memory of a process now, MiB.

    Args:
        process: its id; the default is this one.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    (line,) = (row for row in status.splitlines() if row.startswith("RssAnon"))
    return int(line.split()[1]) / 1024
