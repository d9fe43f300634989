"""One pass over the rows of a large table, in spans of a fixed number of rows, by several processes.

The processes are fresh interpreters, which neither inherit the threads of this one nor run its main module again. Each
opens the table's memory-mapped files for itself, and sends back what it found of a span. Spans do not depend on the
number of processes, so that what a pass finds does not either.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

import datasets
import numpy as np

from colbert_lab.base.machine import cores, local_rank
from colbert_lab.base.progress import progress_bar

log = logging.getLogger(__name__)
SPAN = 1_000_000
MOST = 16
"""Processes, however many cores there are: each is an interpreter with the datasets library, and all read one disk."""
LARGEST = 64 * 2**20  # bytes of a task: what a table holds in memory goes to every process
Arrays = Mapping[str, np.ndarray]
Work = Callable[..., Arrays]
"""Called with the rows of a span, the number of its first row, what to tell numbers of rows that are done, and more."""
START = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # nothing but what is found goes to those who read
sys.path[:] = {path!r}
from colbert_lab.text.spans import serve
serve(out)
"""


def over_spans(table: datasets.Dataset, work: Work, *given: Any, desc: str) -> list[Arrays]:
    """What a pass finds of each span, in order.

    Args:
        table: the rows.
        work: a function of a module, so that another process can import it.
        given: its further arguments; they can be pickled.
        desc: title of the progress bar.

    Raises:
        Exception: what the pass raised of the first span of which it raised something.
    """
    starts = list(range(0, max(1, len(table)), SPAN))
    n = min(cores(), len(starts), MOST)
    # Other processes of a run on this machine do the same pass, or wait for this one.
    if n > 1 and table.cache_files and not local_rank():
        task = pickle.dumps((table, work, SPAN, given))
        n = n if len(task) <= LARGEST else 1
    else:
        n = 1
    with progress_bar(total=len(table), desc=desc, unit="row", unit_scale=True) as bar:
        found = _Workers(task, starts, n, bar.update).found if n > 1 else {}
        if n > 1 and (missing := [start for start in starts if start not in found]) and not _failed(found):
            log.warning(
                "%s: a process ended before its work was done; this one does %d of %d parts",
                desc, len(missing), len(starts),
            )  # fmt: skip
        results = []
        for start in starts:
            if start not in found:
                found[start] = work(_span(table, start, SPAN), start, bar.update, *given)
            result = found[start]
            if isinstance(result, Exception):
                raise result
            results.append(result)
    return results


def _span(table: datasets.Dataset, start: int, size: int) -> datasets.Dataset:
    return table if len(table) <= size else table.select(range(start, min(start + size, len(table))))


def _failed(found: Mapping[int, Arrays | Exception]) -> list[int]:
    return [start for start, what in found.items() if isinstance(what, Exception)]


class _Workers:
    """Processes that share the spans.

    Args:
        task: what :func:`serve` reads first.
        starts: first rows of the spans.
        n: how many.
        done: told numbers of rows.

    Attributes:
        found: by first row, what was found or raised; without what a process left undone, and without what follows a
            span of which something was raised.
    """

    def __init__(self, task: bytes, starts: list[int], n: int, done: Callable[[int], object]) -> None:
        self.found: dict[int, Arrays | Exception] = {}
        self._task, self._done = task, done
        self._lock, self._over = threading.Lock(), threading.Event()
        self._running: list[subprocess.Popen[bytes]] = []
        with ThreadPoolExecutor(n) as pool:
            shares = [pool.submit(self._share, starts[number::n]) for number in range(n)]
            try:
                for share in shares:
                    share.result()
            finally:
                self._over.set()
                for worker in self._running:
                    worker.kill()

    def _share(self, starts: list[int]) -> None:
        path = [str(each) for each in sys.path]
        try:
            worker = subprocess.Popen(
                [sys.executable, "-c", START.format(path=path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        except OSError as error:
            log.debug("no process can be started: %s", error)
            return
        self._running.append(worker)
        if self._over.is_set():
            worker.kill()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            with worker.stdin as to:
                to.write(self._task)
                pickle.dump(starts, to)
            while self._take(*pickle.load(worker.stdout)):
                pass
        except Exception as error:  # it has ended, or something else wrote
            log.debug("a process ended: %r", error)
        finally:
            worker.kill()
            worker.stdout.close()
            worker.wait()

    def _take(self, start: int, told: Any) -> bool:
        """Take what a process tells of a span; False once nothing more of it is of use."""
        with self._lock:
            if isinstance(told, int):
                self._done(told)
            else:
                self.found[start] = told
            return start < min(_failed(self.found), default=start + 1)


def serve(out: IO[bytes]) -> None:
    """The work of a process: reads a task from standard input, and writes what it finds.

    Args:
        out: to those who read it.
    """
    import pyarrow as pa

    pa.set_cpu_count(1)
    table, work, size, given = pickle.load(sys.stdin.buffer)
    starts = pickle.load(sys.stdin.buffer)

    def tell(start: int, what: Any) -> None:
        try:
            pickle.dump((start, what), out)
            out.flush()
        except BrokenPipeError:  # nobody reads any more
            os._exit(1)

    for start in starts:
        try:
            found: Any = work(_span(table, start, size), start, lambda rows, of=start: tell(of, rows), *given)
        except Exception as error:
            found = error
        tell(start, found)
        if isinstance(found, Exception):
            break
