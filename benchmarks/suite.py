"""colbert_lab, PyLate 1.6.0 and sentence-transformers 6.2.0 on identical work, in turns, and the ratios.

    python benchmarks/suite.py --out DIR --environments PEERS            everything; makes the peers' environments
    python benchmarks/suite.py --out DIR --pylate PYTHON --sentence-transformers PYTHON --workloads distill
    python benchmarks/suite.py --out DIR --environments PEERS --quick    tiny sizes: does every side work

Each side is a process in its own environment (``benchmarks/sides``). Each way of a peer takes turns with colbert_lab's
first, and no other process lives meanwhile. Every measurement is added to ``DIR/measurements.jsonl`` as it is made, and
the same command goes on after what is there. ``DIR/table.md`` and ``DIR/results.json`` are written after every pair.
benchmarks/README.md says what is the same on all sides and what is not.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE / "sides")]

import search_given  # noqa: E402
from suite_book import Book, Pair, how_different  # noqa: E402
from suite_cells import OURS, Cell, Group, groups_of, said  # noqa: E402
from suite_options import check_kept, options  # noqa: E402
from suite_table import cell_of, markdown, summary  # noqa: E402
from suite_texts import Collection, list_batches, pair_batches, split_texts, write_weights  # noqa: E402
from suite_verdict import mean_measured, verdict_groups, write_texts  # noqa: E402
from suite_workers import Worker, WorkerError, environment, timed_command  # noqa: E402

COMPARED = 20  # texts whose embeddings are compared


class Suite:
    """One call of the suite.

    Args:
        given: the options.
        pythons: of each side.
        positions: the longest text that the backbone can read.
    """

    def __init__(self, given: argparse.Namespace, pythons: dict[str, Path], positions: int) -> None:
        self.given, self.pythons = given, pythons
        self.out: Path = given.out.resolve()
        self.book = Book(self.out)
        self.groups = groups_of(given, positions)
        if "verdict" in given.workloads:
            self.groups += verdict_groups(given)
        self._collection: Collection | None = None

    @property
    def collection(self) -> Collection:
        """The texts of all workloads but evaluation."""
        if self._collection is None:
            path = self.given.collection
            self._collection = Collection.folder(path) if path else Collection.installed()
        return self._collection

    def texts(self, group: Group) -> Path:
        """The file of a group's texts; all sides and precisions read the same."""
        name = "-".join("".join(c if c.isalnum() else " " for c in f"{group.workload} {group.case}").split())
        file, spec = self.out / "texts" / f"{name}.json", group.spec
        count = self.given.repeats + 2  # the warm-up, and one that the peers' trainers tokenize ahead
        if group.workload == "evaluate":
            found: Any = split_texts(
                self.given.evaluation, spec["documents"], 10 if self.given.quick else None
            )
        elif group.workload == "encode":
            found = {"documents": list(self.collection.documents.values())[: spec["documents"]]}
        elif spec["loss"] == "cached":
            found = {"batches": pair_batches(self.collection, count, spec["batch_size"])}
        else:
            scored = spec["loss"] == "distillation"
            found = {
                "batches": list_batches(self.collection, count, spec["batch_size"], spec["n_way"], scored)
            }
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found), encoding="utf-8")
        return file

    def spec(self, group: Group, cell: Cell, number: int) -> dict[str, Any]:
        """What a worker is told."""
        kind = group.spec.get("student", "defaults" if group.spec["defaults"] else "same")
        folder = self.out / "work" / f"{number}-{cell.side}"
        spec = group.spec | {
            "side": cell.side, "variant": cell.options, "precision": group.precision, "threads": self.given.threads,
            "device": self.given.device, "folder": str(folder), "compared": COMPARED,
            "weights": str(self.out / "weights" / kind / cell.side), "embeddings": str(folder / "embeddings.npz"),
        }  # fmt: skip
        if group.workload == "search":
            embeddings = self.out / f"synthetic-{spec['documents']}"
            queries = 4 if self.given.quick else 32
            search_given.write(embeddings, spec["documents"], 64, queries, 32, 128)
            spec["folder_of_embeddings"] = str(embeddings)
        else:
            spec["texts"] = str(self.texts(group))
        return spec

    def measure(self) -> None:
        """All groups, writing the table after each pair."""
        for number, group in enumerate(self.groups, 1):
            where = f"[{number}/{len(self.groups)}] {group.workload}, {group.case}, {group.precision}"
            first, *others = group.cells
            for pair in [(first, other) for other in others]:
                self._pair(group, pair, where)
            if not others or not self.book.rounds(group, first):
                self._pair(group, (first,), where)

    def _pair(self, group: Group, pair: Pair, where: str) -> None:
        """Measure what is missing of two cells that take turns."""
        rounds = self.book.missing(group, pair, self.given.repeats)
        if not rounds:
            print(f"{where}: {said(pair[-1])}: measured before", flush=True)
            return
        work = self.out / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (self._commands if "command" in pair[0].options else self._steps)(group, pair, rounds, where)
        self.write()

    def _steps(self, group: Group, pair: Pair, rounds: list[int], where: str) -> None:
        """Start a worker for each of the pair, check that they do the same, and let them take turns."""
        workers: dict[Cell, Worker] = {}
        specs = {cell: self.spec(group, cell, n) for n, cell in enumerate(pair)}
        firsts: dict[Cell, dict[str, Any]] = {}
        try:
            # The second one first: where it cannot work here, nothing has been computed for it.
            for cell in reversed(pair):
                workers[cell] = Worker(cell.side, self.pythons[cell.side], specs[cell])
            for cell in pair:
                firsts[cell] = workers[cell].step()
                what = "warm-up" if group.warm_up else f"round {rounds[0] + 1}"
                print(f"{where}: {said(cell)}: {what} {firsts[cell]['seconds']:.2f} s", flush=True)
            for cell in pair:
                self._check(group, pair, cell, workers, specs, firsts)
            for turn in rounds:
                for cell in pair:
                    counts = turn == rounds[0] and not group.warm_up
                    values = firsts[cell] if counts else workers[cell].step()
                    if "rate" in workers[cell].ready:
                        values["rate"] = workers[cell].ready["rate"]
                    self.book.add(group, pair, cell, kind="round", round=turn, **values)
                    if not counts:
                        print(
                            f"{where}: {said(cell)}: round {turn + 1} {values['seconds']:.2f} s", flush=True
                        )
        except WorkerError as error:
            self._failed(group, pair, cell, where, error)
        finally:
            for worker in workers.values():
                worker.stop()

    def _failed(self, group: Group, pair: Pair, cell: Cell, where: str, error: Exception) -> None:
        print(f"{where}: {said(cell)}: {error}", flush=True)
        self.book.add(group, pair, cell, kind="failed", error=str(error))

    def _check(
        self,
        group: Group,
        pair: Pair,
        cell: Cell,
        workers: dict[Cell, Worker],
        specs: dict[Cell, dict[str, Any]],
        firsts: dict[Cell, dict[str, Any]],
    ) -> None:
        """Compare what a cell made of the first batch with what the pair's first made of it.

        Raises:
            WorkerError: it does something else.
        """
        one, reference = firsts[cell], pair[0]
        facts: dict[str, Any] = {name: one[name] for name in ("loss", "value") if name in one}
        if group.check and cell != reference:
            difference = how_different(group.check, one, firsts[reference], specs[cell], specs[reference])
            facts |= {"difference": difference, "checked": group.check}
        ready = workers[cell].ready
        facts |= {name: ready[name] for name in ("settings", "versions") if name in ready}
        self.book.add(group, pair, cell, kind="check", **facts)
        if "difference" in facts and not facts["difference"] <= group.tolerance:
            raise WorkerError(
                f"other {group.check} than {said(reference)} on the same batch: differs by "
                f"{facts['difference']:.2g}, at most {group.tolerance:g} is allowed"
            )

    def _commands(self, group: Group, pair: Pair, rounds: list[int], where: str) -> None:
        """Time whole commands in turns; of ``startup`` after one of each to fill caches, of others in empty folders."""
        if group.workload == "verdict":
            write_texts(self.out / "texts" / "verdict", self.given.quick)
        for turn in [-1, *rounds] if group.warm_up else rounds:
            for n, cell in enumerate(pair):
                try:
                    folder = self.out / "work" / str(n)
                    if not group.warm_up:
                        shutil.rmtree(folder, ignore_errors=True)
                    command = [
                        part.format(
                            out=self.out, sides=HERE / "sides", side=cell.side, folder=folder / "outputs"
                        )
                        for part in cell.options["command"]
                    ]
                    given = (command, folder, self.given.threads, self.given.device)
                    values = timed_command(cell.side, self.pythons[cell.side], *given)
                    if group.workload == "verdict":
                        values["value"] = mean_measured(folder)
                except WorkerError as error:
                    self._failed(group, pair, cell, where, error)
                    return
                print(
                    f"{where}: {said(cell)}: {'warm-up ' if turn < 0 else ''}{values['seconds']:.2f} s",
                    flush=True,
                )
                if turn >= 0:
                    self.book.add(group, pair, cell, kind="round", round=turn, **values)

    def write(self) -> None:
        """Write table and summary of all measurements in the folder."""
        from colbert_lab.records.environment import describe, hardware_label

        rows = summary(self.book.lines)
        versions = {cell_of(line)[0]: line["versions"] for line in self.book.lines if "versions" in line}
        texts = self.given.collection.name if self.given.collection else "installed documentation"
        tiny = " Tiny sizes (--quick)." if self.given.quick else ""
        about = [
            f"{hardware_label()}, {self.given.device}, {self.given.threads} threads. Texts: {texts}.{tiny}",
            "",
            *(
                f"- {side}: " + ", ".join(f"{k} {v}" for k, v in found.items())
                for side, found in versions.items()
            ),
            "",
            f"`python benchmarks/suite.py {shlex.join(sys.argv[1:])}`",
            "",
            "Median of n rounds; the ratio is the median of each round's own ratio to colbert_lab's first line, "
            "which takes turns with each other one and has the rounds of all of them.",
        ]
        text = markdown(rows, about)
        (self.out / "table.md").write_text(text, encoding="utf-8")
        facts = {
            "rows": rows,
            "measurements": self.book.lines,
            "environment": describe(),
            "command": sys.argv[1:],
        }
        (self.out / "results.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Measure what is missing and write the table."""
    given = options(__doc__)
    given.out.mkdir(parents=True, exist_ok=True)
    check_kept(given)
    pythons = {OURS: Path(sys.executable)}
    for side in given.sides:
        if side != OURS:
            pythons[side] = environment(side, getattr(given, side), given.environments)
    suite = Suite(given, pythons, write_weights(given.out.resolve() / "weights", given.backbone))
    suite.measure()
    suite.write()
    print((given.out / "table.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
