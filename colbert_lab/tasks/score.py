"""``task=score``: from the config to a folder of teacher scores that ``data=scored_lists`` reads."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from colbert_lab.base.errors import InputError
from colbert_lab.base.logs import process_rank
from colbert_lab.base.parts import UnfinishedFolder
from colbert_lab.base.progress import progress_bar
from colbert_lab.records.environment import describe as environment
from colbert_lab.records.run_directory import check_writable
from colbert_lab.settings import Command, Settings
from colbert_lab.settings.typed import made
from colbert_lab.sources.score_files import (
    Parts,
    combine,
    counts,
    part_count,
    read_scores,
    with_named_documents,
    write_scores,
)
from colbert_lab.sources.sources import Source, describe
from colbert_lab.sources.to_score import ToScore, check_texts, has_lists, lists_of, retrieved, texts_of
from colbert_lab.teachers.revision import identified, revision
from colbert_lab.teachers.scorer import ChecksQueries, told_of
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.rows.examples import ScoredLists
from colbert_lab.training.precision import prepare_torch
from colbert_lab.training.strategy import count_processes, share_out

log = logging.getLogger("colbert_lab")
VERSION = 2  # raise when the same settings would give other scores
FOR_FILES = ("combine", "missing")
FOR_RETRIEVAL = ("retrievers", "top", "random", "positives")
FOR_TEACHERS = ("candidates", "part", *FOR_RETRIEVAL)


def execute(command: Command) -> None:
    """Score lists with a teacher, or make one teacher's lists of ready score files.

    With several processes, each runs this function and scores its share of the parts.

    Args:
        command: what is asked for; ``data``, ``score``, ``trainer`` and ``out`` are read.

    Raises:
        InputError: anything the user can mend; parts that are scored stay.
    """
    settings = command.settings
    prepare_torch(settings.trainer.threads, float32_matmul=settings.trainer.float32_matmul)
    if settings.data is None:
        raise InputError("data: nothing to score; set data=..., for example data=beir data.path=DIR")
    if settings.score.teacher is not None and settings.score.files:
        raise InputError("score.teacher: name what scores, or else score.files; both are given")
    source: Source = made(settings.data)
    if settings.score.files:
        _from_files(command, source)
    else:
        _with_teacher(command, source)


def _with_teacher(command: Command, source: Source) -> None:
    asked = command.settings.score
    _refuse(command, FOR_FILES, "score.teacher; it is for score.files")
    teacher = made(asked.teacher)
    retrievers = made(asked.retrievers)
    to_score, candidates = _lists(command, source, retrievers)
    with told_of("score.teacher"):
        known = revision(teacher)
    identity = {
        "version": VERSION,
        "teacher": identified(teacher),
        "revision": known,
        "source": f"{to_score.name} {to_score.fingerprint}",
        "candidates": candidates,
        "part": asked.part,
    }
    folder = _folder(command.settings, identity, part_count(len(to_score), asked.part))
    if _finished(folder):
        return
    if isinstance(teacher, ChecksQueries):
        with told_of("score.teacher"):
            teacher.check_queries(to_score.query_ids, to_score.queries)
    parts = Parts(folder, to_score, teacher, asked.part)
    first = process_rank() == 0
    if first:
        check_writable(folder.out.parent, "out")
    with folder.opened() if first else nullcontext():
        if first:
            there = folder.parts - len(folder.missing())
            log.info(
                "scoring %s queries of %s with %s%s",
                f"{len(to_score):,}",
                to_score.name,
                teacher.name,
                f"; {there} of {folder.parts} parts are there already" if there else "",
            )
        with progress_bar(desc=f"scores of {teacher.name}", unit="query", disable=not first) as bar:
            share_out(
                command.settings.trainer.arguments,
                folder.missing,
                lambda share: bar.reset(sum(len(parts.queries(part)) for part in share)),
                lambda part: parts.write(part, bar.update),
            )
        if first:
            lists, seconds = parts.joined()
            about = {"name": teacher.name, "system": teacher.system, "settings": describe(teacher)}
            _close(folder, lists, about | {"revision": identity["revision"]}, identity, seconds)


def _lists(command: Command, source: Source, retrievers: dict[str, Any]) -> tuple[ToScore, dict[str, Any]]:
    """What is to be scored, and the settings that decided it."""
    asked, cache_dir = command.settings.score, command.settings.cache
    if asked.candidates == "source" or (asked.candidates == "auto" and has_lists(source)):
        _refuse(command, FOR_RETRIEVAL, "the lists of the data; it is for score.candidates=retrieve")
        log.info("candidates: the documents that the data lists for each query")
        return lists_of(source, cache_dir), {"from": "source"}
    numbers: dict[str, Any] = {key: getattr(asked, key) for key in ("top", "random", "positives")}
    numbers["seed"] = command.settings.seed
    log.info(
        "candidates: %s%d random others",
        "relevant documents, " * asked.positives
        + "".join(f"the best {asked.top} of {scorer.name}, " for scorer in retrievers.values()),
        asked.random,
    )
    known = {}
    for name, scorer in sorted(retrievers.items()):
        with told_of(f"score.retrievers.{name}"):
            known[name] = f"{identified(scorer)} {revision(scorer)}"
    to_score = retrieved(source, cache_dir, retrievers=retrievers, **numbers)
    return to_score, {"from": "retrieve", "retrievers": known, **numbers}


def _from_files(command: Command, source: Source) -> None:
    """One file's lists as they are, or the ensemble of several."""
    asked, trainer, start = command.settings.score, command.settings.trainer, time.perf_counter()
    _refuse(command, FOR_TEACHERS, "score.files; it is for score.teacher")
    several = len(asked.files) > 1
    if not several:
        _refuse(command, FOR_FILES, "a single one of score.files; it is for several")
    if count_processes(trainer.arguments) > 1:
        raise InputError(f"trainer.devices={trainer.devices}: has no effect on score.files; leave it out")
    name, corpus, queries = texts_of(source, command.settings.cache)
    paths = [_below(file, source) for file in asked.files]
    if len(set(paths)) < len(paths):
        raise InputError("score.files: a file is named twice; each counts once")
    row_of = {document: row for row, document in enumerate(corpus.ids)}
    members = {str(path): read_scores(path, queries, row_of) for path in paths}
    how = {"combine": asked.combine, "missing": asked.missing} if several else {"combine": "none"}
    identity = {
        "version": VERSION,
        "files": {str(path): _digest(path) for path in paths},
        "source": f"{name} {fingerprint([corpus.fingerprint], queries.keys(), queries.values())}",
        **how,
    }
    folder = _folder(command.settings, identity, 0)
    if _finished(folder):
        return
    found = combine(members, asked.combine, asked.missing) if several else members[str(paths[0])]
    named = (scored.documents for scored in found.values())
    rows = [np.array([row_of[document] for document in each], dtype=np.int64) for each in named]
    texts = [queries[query] for query in found]
    to_score = ToScore(name, list(found), texts, corpus, "", rows)
    check_texts(to_score, np.unique(np.concatenate(rows)).tolist())
    check_writable(folder.out.parent, "out")
    scores = [scored.scores for scored in found.values()]
    lists = with_named_documents(name, list(found), texts, corpus, rows, scores)
    label = f"{asked.combine} mean of {len(paths)} files" if several else paths[0].name
    about = {"name": label, "system": "files", "settings": how, "revision": identity["files"]}
    with folder.opened():
        _close(folder, lists, about, identity, time.perf_counter() - start)


def _below(file: str, source: Source) -> Path:
    """A path as it is given, or else below the data's folder."""
    given = Path(file).expanduser()
    beside = Path(str(getattr(source, "path", ""))).expanduser() / given
    return beside if not given.exists() and beside.exists() else given


def _folder(settings: Settings, identity: dict[str, Any], parts: int) -> UnfinishedFolder:
    short = fingerprint([json.dumps(identity, sort_keys=True)])[:10]
    chosen = settings.outputs / "score" / f"{settings.name}-{short}"
    out = chosen if settings.out is None else Path(settings.out).expanduser()
    return UnfinishedFolder(out, identity, parts)


def _finished(folder: UnfinishedFolder) -> bool:
    if not folder.finished():
        return False
    log.info("finished before, nothing to do: %s", folder.out)
    return True


def _close(
    folder: UnfinishedFolder,
    lists: ScoredLists,
    about: dict[str, Any],
    identity: dict[str, Any],
    seconds: float,
) -> None:
    known, now = environment(), datetime.now(UTC).isoformat(timespec="seconds")
    facts: dict[str, Any] = {"teacher": about, "identity": identity, "counts": counts(lists)}
    facts |= {"seconds": round(seconds, 3), "time": now}
    facts |= {key: known[key] for key in ("packages", "hardware")}
    folder.finish(lambda path: write_scores(path, lists, facts))
    numbers = facts["counts"]
    if numbers["constant_lists"]:
        log.warning("%d lists have equal scores throughout; they teach nothing", numbers["constant_lists"])
    log.info(
        "%s scores of %s queries, %s documents: %s (train on it: data=scored_lists data.path=%s)",
        f"{numbers['scores']:,}",
        f"{numbers['queries']:,}",
        f"{numbers['documents']:,}",
        folder.out,
        folder.out,
    )


def _refuse(command: Command, keys: Sequence[str], why: str) -> None:
    """Raise InputError when the command line gives a setting that has no effect here."""
    for override in command.overrides:
        key = override.lstrip("+~").split("=", 1)[0].rsplit("@", 1)[-1]
        for idle in keys:
            if key == f"score.{idle}" or key.startswith(f"score.{idle}."):
                raise InputError(f"score.{idle}: has no effect with {why}")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.glob("train/*.parquet")) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"
