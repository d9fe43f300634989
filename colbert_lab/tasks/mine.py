"""``task=mine``: from the config to a folder of triples or scored lists with hard negatives, and its report."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table, print_tables
from colbert_lab.base.outside import read_json
from colbert_lab.base.parts import UnfinishedFolder
from colbert_lab.base.progress import progress_bar
from colbert_lab.records.run_directory import check_writable
from colbert_lab.settings import Command
from colbert_lab.settings.tasks import MineSettings
from colbert_lab.settings.typed import made
from colbert_lab.sources.choosing import Mining, PositiveAware, check_shares, quotas
from colbert_lab.sources.mined import Finishing, Mined
from colbert_lab.sources.mining import Miner
from colbert_lab.sources.sources import judged_split
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.training.precision import prepare_torch

log = logging.getLogger("colbert_lab")
REPORT_FILE = "report.json"


def execute(command: Command) -> None:
    """Mine the negatives of a source's queries, or go on with an interrupted run, and print the report.

    Args:
        command: what is asked for; ``data``, ``mine``, ``out``, ``name``, ``seed``, ``trainer`` and the folders are
            read.

    Raises:
        InputError: anything the user can mend; finished parts are kept, and ``out`` is not there.
    """
    settings, asked = command.settings, command.settings.mine
    prepare_torch(settings.trainer.threads, float32_matmul=settings.trainer.float32_matmul)
    mining, finishing = _mining(asked, settings.seed), Finishing(asked.output, asked.short)
    finishing.check(mining.teacher is not None)
    if settings.data is None:
        raise InputError("data: no source to mine from; set data=..., for example data=beir data.path=DIR")
    given = None if settings.out is None else Path(settings.out).expanduser()
    if given is not None:
        check_writable(given.parent, "out")
    source = made(settings.data)
    miner = Miner(judged_split(source, settings.cache), mining)
    identity, also = miner.identity(), {"output": finishing.output, "short": finishing.short}
    mark = fingerprint([json.dumps(identity | also, sort_keys=True)])
    out = given or settings.outputs / "mine" / f"{settings.name}-{mark[:10]}"
    check_writable(out.parent, "output_dir" if given is None else "out")
    folder = UnfinishedFolder(out, identity, miner.parts, also)
    if folder.finished():
        log.info("this is finished: %s", out)
        print_tables(
            mine_tables(read_json(out / REPORT_FILE, dict[str, Any], f"delete {out}, and it is mined anew"))
        )
        return
    with folder.opened():
        report = _make(folder, miner, finishing, identity | also)
    print_tables(mine_tables(report))
    log.info("mined: %s (train on it with data=%s data.path=%s)", out, _SOURCE[finishing.output], out)


_SOURCE = {"triples": "triples", "lists": "scored_lists"}


def _mining(settings: MineSettings, seed: int) -> Mining:
    """The settings, with the retrievers that have a share."""
    retrievers = settings.retrievers
    parts = check_shares(settings.shares, list(retrievers))
    if len(settings.ranks) != 2:
        raise InputError(f"mine.ranks={settings.ranks}: the first and the last rank, such as [1,100]")
    bounds = PositiveAware(settings.filter.max_score, settings.filter.ratio, settings.filter.margin)
    teacher = settings.filter.teacher
    return Mining(
        {name: made(retrievers[name]) for name in parts if name in retrievers},
        parts,
        settings.negatives,
        (settings.ranks[0], settings.ranks[1]),
        settings.sample,
        seed,
        None if teacher is None else made(teacher),
        bounds,
        settings.part,
    )


def _make(
    folder: UnfinishedFolder, miner: Miner, finishing: Finishing, settings: dict[str, Any]
) -> dict[str, Any]:
    """Do the missing parts and finish the folder: its report."""
    missing = folder.missing()
    seconds: dict[str, float] = {}
    if missing:
        if len(missing) < folder.parts:
            log.info("%d of %d parts are there: %s", folder.parts - len(missing), folder.parts, folder.path)
        seconds = {f"index of {name}": value for name, value in miner.index().items()}
        queries, size = len(miner.queries), miner.mining.part
        done = queries - sum(min(size, queries - part * size) for part in missing)
        with progress_bar(total=queries, initial=done, desc="negatives", unit="query") as bar:
            for part in missing:
                folder.write(part, miner.mine(part, bar))
    begun = time.perf_counter()
    tables = list(folder.read())
    notes = [json.loads(table.schema.metadata[b"report"]) for table in tables]
    mined = Mined(miner, pa.concat_tables([t.replace_schema_metadata() for t in tables]), finishing.short)
    report = _report(miner, mined, finishing, settings, notes)

    def fill(path: Path) -> None:
        mined.write(path, finishing.output)
        seconds["mining"] = sum(note["seconds"] for note in notes)
        seconds["writing"] = time.perf_counter() - begun
        report["seconds"] = seconds
        write_text(path / REPORT_FILE, json.dumps(report, indent=2, ensure_ascii=False) + "\n")

    folder.finish(fill)
    return report


def _report(
    miner: Miner, mined: Mined, finishing: Finishing, settings: dict[str, Any], notes: list[dict[str, Any]]
) -> dict[str, Any]:
    quota = quotas(miner.mining.shares, miner.mining.negatives)
    retrievers = {}
    for name, share in miner.mining.shares.items():
        counts = sum((Counter(note["counts"][name]) for note in notes), Counter[str]())
        found = {key: counts[key] for key in REASONS}
        retrievers[name] = {
            "share": share,
            "quota": quota[name],
            "queries_without_hit": counts["nothing"],
            "found": sum(found.values()),
            **found,
        }
    return {
        "settings": settings,
        "fingerprint": mined.fingerprint,
        "counts": {
            "rows": mined.rows[finishing.output],
            "documents_in_corpus": len(miner.split.corpus),
            **mined.counts,
        },
        "retrievers": retrievers,
    }


REASONS = {
    "kept": "kept",
    "relevant": "relevant",
    "out_of_range": "out of range",
    "empty": "empty",
    "copy_of_relevant": "copy of relevant",
    "copy_of_query": "copy of query",
    "copy": "copy",
    "chosen_already": "chosen already",
    "max_score": "max_score",
    "ratio": "ratio",
    "margin": "margin",
    "not_needed": "not needed",
}
"""What can become of a document that a retriever finds, and its heading."""
ALWAYS = ("kept", "relevant", "out_of_range", "copy_of_relevant", "copy", "chosen_already", "not_needed")


def mine_tables(report: Mapping[str, Any]) -> list[Table]:
    """The tables of ``report.json``.

    Args:
        report: its content.
    """
    found = report["retrievers"]
    shown = [key for key in REASONS if key in ALWAYS or any(row[key] for row in found.values())]
    rows = [
        (name, f"{row['share']:.3g}", f"{row['quota']}", *(f"{row[key]:,}" for key in ("found", *shown)))
        for name, row in found.items()
    ]
    total = [f"{sum(row[key] for row in found.values()):,}" for key in ("found", *shown)]
    rows.append(("all", "1", f"{report['settings']['negatives']}", *total))
    counts, seconds = report["counts"], report["seconds"]
    teacher = report["settings"]["filter"]["teacher"]
    notes = [
        "found: documents of a retriever's list down to the last rank; each is in one of the columns that follow.",
        "not needed: candidates that nobody had to look at, as the query had its negatives by then.",
        f"teacher: {teacher or 'none, so no false negative was filtered'}",
        f"seconds: {', '.join(f'{name} {value:.1f}' for name, value in seconds.items())}",
    ]
    notes += [
        f"{name} finds nothing for {row['queries_without_hit']:,} queries, as no document has a word of theirs."
        for name, row in found.items()
        if row["queries_without_hit"]
    ]
    if counts["fewest_negatives"] < report["settings"]["negatives"]:
        notes.append(
            f"data=triples uses as many negatives as the row with the fewest has: {counts['fewest_negatives']}; "
            "mine.short=drop leaves such queries out."
        )
    summary = (
        f"{counts['rows']:,} rows of {counts['queries']:,} queries with {counts['negatives']:,} negatives; "
        f"{counts['queries_short']:,} queries have fewer than {report['settings']['negatives']}, "
        f"{counts['queries_short_left_out']:,} of them left out; "
        f"{counts['queries_without_relevant_document']:,} have no relevant document"
    )
    title = f"Negatives mined from {report['settings']['data']['name']}"
    headings = ("retriever", "share", "quota", "found", *(REASONS[key] for key in shown))
    return [Table(title, headings, tuple(rows), (summary,), tuple(notes))]
