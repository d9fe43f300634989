"""How a side talks with the suite: one JSON object a line, the standard library alone.

The suite sends ``{"do": "step"}`` or ``{"do": "stop"}``; the side answers once when it is ready and once for each step.
What libraries print goes to the error stream, which the suite keeps in a file.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def resident(name: str = "VmHWM") -> int | None:
    """Bytes of resident memory: the most since :func:`forget_peak` (``VmHWM``) or now (``VmRSS``)."""
    if not STATUS.is_file():
        return None
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Begin to look for the most resident memory anew; see proc(5), clear_refs."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        print("the peak of memory counts from the start of the process", file=sys.stderr)


class Suite:
    """The suite, as a side sees it.

    Attributes:
        spec: what to do, from the file that is the only argument.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.spec: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        self.texts: dict[str, Any] = {}
        if self.spec.get("texts"):
            self.texts = json.loads(Path(self.spec["texts"]).read_text(encoding="utf-8"))
        self._begun = 0.0
        self._before: int | None = None
        self.tokenising = 0.0  # seconds of the step that runs
        self.encoding = 0.0

    def tell(self, **values: Any) -> None:
        """Send one line."""
        self._out.write(json.dumps(values) + "\n")
        self._out.flush()

    def wait(self) -> None:
        """Wait for the next step and start the clock.

        Raises:
            SystemExit: there is none.
        """
        line = sys.stdin.readline()
        if not line or json.loads(line)["do"] == "stop":
            raise SystemExit(0)
        self.tokenising = self.encoding = 0.0
        forget_peak()
        self._before = resident("VmRSS")
        self._begun = time.perf_counter()

    def done(self, **values: Any) -> None:
        """Stop the clock and say what the step took."""
        synchronise(self.spec)
        seconds = time.perf_counter() - self._begun
        # The kernel counts both loosely, by some pages a thread: the most is never below what was there before.
        peak = max(filter(None, (resident(), self._before)), default=None)
        found = {"seconds": seconds, "peak": peak, "resident before": self._before, **values}
        if self.tokenising:
            found["tokenising"] = self.tokenising
        if self.encoding:
            found["encoding"] = self.encoding
        if self.spec["device"] == "cuda":
            import torch

            found["peak of the device"] = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        self.tell(**found)

    def clocked(self, encode: Any) -> Any:
        """The same function, counting what it takes as the encoding of the step."""

        def clocked(*arguments: Any, **keywords: Any) -> Any:
            begun = time.perf_counter()
            try:
                return encode(*arguments, **keywords)
            finally:
                synchronise(self.spec)
                self.encoding += time.perf_counter() - begun

        return clocked


def synchronise(spec: dict[str, Any]) -> None:
    """Wait for a GPU."""
    if spec["device"] == "cuda":
        import torch

        torch.cuda.synchronize()


def autocast(spec: dict[str, Any]) -> Any:
    """The autocast context of a precision."""
    import torch

    return torch.autocast(spec["device"], dtype=torch.bfloat16, enabled=spec["precision"] == "bf16")


def dcg(rank: int | None) -> float:
    """NDCG@10 of the only relevant document, from its rank; None for not found."""
    import math

    return 0.0 if rank is None or rank > 10 else 1 / math.log2(rank + 1)


def save_embeddings(spec: dict[str, Any], embeddings: list[Any]) -> None:
    """Write the first texts' token embeddings, to be compared with those of the other sides."""
    import numpy as np

    np.savez(spec["embeddings"], *[np.asarray(emb, dtype=np.float32) for emb in embeddings])
