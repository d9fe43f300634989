"""One pass over the rows of a large table, in spans of a fixed number of rows, by as many processes as there are cores.

The processes are fresh interpreters, which neither inherit the threads of this one nor run its main module again. Each
opens the table's memory-mapped files for itself, and sends back what it found of a span. Spans do not depend on the
number of cores, so that what a pass finds does not either.
"""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO, Any

import datasets
import numpy as np

from colbert_lab.base.machine import cores
from colbert_lab.base.progress import progress_bar

log = logging.getLogger(__name__)
SPAN = 1_000_000
Arrays = Mapping[str, np.ndarray]
Work = Callable[..., Arrays]
"""Called with the rows of a span, the number of its first row, what to tell numbers of rows that are done, and more."""
START = "import sys; sys.path[:] = {path!r}; from colbert_lab.text.spans import serve; serve()"


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
    starts = range(0, max(1, len(table)), SPAN)
    n = min(cores(), len(starts))
    with progress_bar(total=len(table), desc=desc, unit="row", unit_scale=True) as bar:
        if n == 1 or not table.cache_files:  # what is in memory would be copied to every process
            return [work(_span(table, start, SPAN), start, bar.update, *given) for start in starts]
        found: dict[int, Arrays | Exception] = {}
        running: list[subprocess.Popen[bytes]] = []

        def share(number: int) -> None:
            task = table, work, list(starts[number::n]), SPAN, given
            for start, told in _sent_to_worker(task, running):
                if isinstance(told, int):
                    bar.update(told)
                else:
                    found[start] = told

        with ThreadPoolExecutor(n) as pool:
            try:
                list(pool.map(share, range(n)))
            finally:
                for worker in running:
                    worker.kill()
        if missing := [start for start in starts if start not in found]:
            log.warning(
                "%s: a process ended before its work was done; this one does %d of %d parts",
                desc, len(missing), len(starts),
            )  # fmt: skip
        for start in missing:
            found[start] = work(_span(table, start, SPAN), start, bar.update, *given)
    results = []
    for start in starts:
        result = found[start]
        if isinstance(result, Exception):
            raise result
        results.append(result)
    return results


def _span(table: datasets.Dataset, start: int, size: int) -> datasets.Dataset:
    return table if len(table) <= size else table.select(range(start, min(start + size, len(table))))


def _sent_to_worker(
    task: tuple[datasets.Dataset, Work, list[int], int, tuple[Any, ...]],
    running: list[subprocess.Popen[bytes]],
) -> Iterator[tuple[int, Any]]:
    """What a worker tells: the span, and numbers of rows that are done, or what it found or raised."""
    command = [sys.executable, "-c", START.format(path=sys.path)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    running.append(worker)
    assert worker.stdin is not None
    assert worker.stdout is not None
    with worker, suppress(OSError, EOFError, pickle.UnpicklingError):  # it has ended, or was ended
        pickle.dump(task, worker.stdin)
        worker.stdin.close()
        while True:
            yield pickle.load(worker.stdout)


def serve() -> None:
    """The work of a process: reads a task from standard input, and writes what it finds to standard output."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    out: IO[bytes] = sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else goes to those who read
    table, work, starts, size, given = pickle.load(sys.stdin.buffer)

    def tell(start: int, what: Any) -> None:
        pickle.dump((start, what), out)
        out.flush()

    for start in starts:
        try:
            found: Any = work(_span(table, start, size), start, lambda rows, of=start: tell(of, rows), *given)
        except Exception as error:
            found = error
        tell(start, found)
