"""``task=score``: from the config to a folder of teacher scores that ``data=scored_lists`` reads."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hydra.utils
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm.auto import tqdm

from colbert_lab.errors import InputError
from colbert_lab.logs import process_rank, start_logging
from colbert_lab.parts import UnfinishedFolder
from colbert_lab.results.environment import describe as environment
from colbert_lab.results.run_directory import check_writable
from colbert_lab.settings import checked
from colbert_lab.sharing import share_out
from colbert_lab.teachers.list_ensemble import combine
from colbert_lab.teachers.list_scorer import ChecksQueries
from colbert_lab.teachers.lists import describe
from colbert_lab.teachers.revision import revision
from colbert_lab.teachers.score_files import read_scores
from colbert_lab.teachers.score_folder import (
    Parts,
    counts,
    part_count,
    with_named_documents,
    write_scores,
)
from colbert_lab.teachers.sources import Source
from colbert_lab.teachers.to_score import ToScore, check_texts, has_lists, lists_of, retrieved, texts_of
from colbert_lab.text.examples import ScoredLists
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.training.precision import pick_precision, prepare_torch

log = logging.getLogger("colbert_lab")
VERSION = 1  # raise when the same settings would give other scores
CANDIDATES = ("auto", "source", "retrieve")
FOR_FILES = ("combine", "missing")
FOR_RETRIEVAL = ("retrievers", "top", "random", "positives")
FOR_TEACHERS = ("candidates", "part", *FOR_RETRIEVAL)


def execute(cfg: DictConfig) -> None:
    """Score lists with a teacher, or make one teacher's lists of ready score files.

    With several processes, each runs this function and scores its share of the parts.

    Args:
        cfg: what Hydra composed; ``data``, ``score``, ``trainer`` and ``out`` are read.

    Raises:
        InputError: anything the user can mend; parts that are scored stay.
    """
    start_logging()
    cfg.trainer.precision = pick_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    cfg = checked(cfg)
    if not cfg.progress:
        os.environ["TQDM_DISABLE"] = "1"
    prepare_torch(cfg.trainer.threads)
    if cfg.data is None:
        raise InputError("data: nothing to score; set data=..., for example data=beir data.path=DIR")
    if (cfg.score.teacher is None) == (not cfg.score.files):
        raise InputError(
            "score.teacher: name what scores, for example teacher@score.teacher=cross_encoder, or else score.files"
        )
    source: Source = hydra.utils.instantiate(cfg.data, _convert_="all")
    if cfg.score.files:
        _from_files(cfg, source)
    else:
        _with_teacher(cfg, source)


def _with_teacher(cfg: DictConfig, source: Source) -> None:
    settings = cfg.score
    _refuse(FOR_FILES, "score.teacher; it is for score.files")
    if settings.part < 1:
        raise InputError(f"score.part={settings.part}: must be at least 1")
    teacher = hydra.utils.instantiate(settings.teacher, _convert_="all")
    retrievers = hydra.utils.instantiate(settings.retrievers, _convert_="all")
    made, candidates = _lists(cfg, source, retrievers)
    identity = {
        "version": VERSION,
        "teacher": describe(teacher),
        "revision": revision(teacher),
        "source": f"{made.name} {made.fingerprint}",
        "candidates": candidates,
        "part": settings.part,
    }
    folder = _folder(cfg, identity, part_count(len(made), settings.part))
    if _finished(folder):
        return
    if isinstance(teacher, ChecksQueries):
        teacher.check_queries(made.query_ids, made.queries)
    parts = Parts(folder, made, teacher, settings.part)
    first = process_rank() == 0
    if first:
        check_writable(folder.out.parent, "out")
    with folder.opened() if first else nullcontext():
        if first:
            there = folder.parts - len(folder.missing())
            log.info(
                "scoring %s queries of %s with %s%s",
                f"{len(made):,}",
                made.name,
                teacher.name,
                f"; {there} of {folder.parts} parts are there already" if there else "",
            )
        with tqdm(desc=f"scores of {teacher.name}", unit="query", disable=None if first else True) as bar:
            share_out(
                cfg.trainer,
                folder.missing,
                lambda share: bar.reset(sum(len(parts.queries(part)) for part in share)),
                lambda part: parts.write(part, bar.update),
            )
        if first:
            lists, seconds = parts.joined()
            about = {"name": teacher.name, "system": teacher.system, "settings": describe(teacher)}
            _close(folder, lists, about | {"revision": identity["revision"]}, identity, seconds)


def _lists(cfg: DictConfig, source: Source, retrievers: dict[str, Any]) -> tuple[ToScore, dict[str, Any]]:
    """What is to be scored, and the settings that decided it."""
    settings, cache_dir = cfg.score, Path(cfg.cache_dir).expanduser()
    if settings.candidates not in CANDIDATES:
        raise InputError(f"score.candidates={settings.candidates}: must be one of {', '.join(CANDIDATES)}")
    if settings.candidates == "source" or (settings.candidates == "auto" and has_lists(source)):
        _refuse(FOR_RETRIEVAL, "the lists of the data; it is for score.candidates=retrieve")
        log.info("candidates: the documents that the data lists for each query")
        return lists_of(source, cache_dir), {"from": "source"}
    numbers = {
        "top": settings.top,
        "random": settings.random,
        "positives": settings.positives,
        "seed": cfg.seed,
    }
    log.info(
        "candidates: %s%d random others",
        "relevant documents, " * settings.positives
        + "".join(f"the best {settings.top} of {scorer.name}, " for scorer in retrievers.values()),
        settings.random,
    )
    known = {name: f"{describe(scorer)} {revision(scorer)}" for name, scorer in sorted(retrievers.items())}
    made = retrieved(source, cache_dir, retrievers=retrievers, **numbers)
    return made, {"from": "retrieve", "retrievers": known, **numbers}


def _from_files(cfg: DictConfig, source: Source) -> None:
    """One file's lists as they are, or the ensemble of several."""
    settings, start = cfg.score, time.perf_counter()
    _refuse(FOR_TEACHERS, "score.files; it is for score.teacher")
    several = len(settings.files) > 1
    if not several:
        _refuse(FOR_FILES, "a single one of score.files; it is for several")
    if cfg.trainer.devices not in (1, "1", "auto"):
        raise InputError(f"trainer.devices={cfg.trainer.devices}: has no effect on score.files; leave it out")
    name, corpus, queries = texts_of(source, Path(cfg.cache_dir).expanduser())
    paths = [_below(file, source) for file in settings.files]
    if len(set(paths)) < len(paths):
        raise InputError("score.files: a file is named twice; each counts once")
    row_of = {document: row for row, document in enumerate(corpus.ids)}
    members = {str(path): read_scores(path, queries, row_of) for path in paths}
    how = {"combine": settings.combine, "missing": settings.missing} if several else {"combine": "none"}
    identity = {
        "version": VERSION,
        "files": {str(path): _digest(path) for path in paths},
        "source": f"{name} {fingerprint([corpus.fingerprint], queries.keys(), queries.values())}",
        **how,
    }
    folder = _folder(cfg, identity, 0)
    if _finished(folder):
        return
    found = combine(members, settings.combine, settings.missing) if several else members[str(paths[0])]
    rows = [
        np.array([row_of[name] for name in scored.documents], dtype=np.int64) for scored in found.values()
    ]
    texts = [queries[query] for query in found]
    made = ToScore(name, list(found), texts, corpus, "", rows)
    check_texts(made, np.unique(np.concatenate(rows)).tolist())
    check_writable(folder.out.parent, "out")
    lists = with_named_documents(
        name, list(found), texts, corpus, rows, [scored.scores for scored in found.values()]
    )
    label = f"{settings.combine} mean of {len(paths)} files" if several else paths[0].name
    about = {"name": label, "system": "files", "settings": how, "revision": identity["files"]}
    with folder.opened():
        _close(folder, lists, about, identity, time.perf_counter() - start)


def _below(file: str, source: Source) -> Path:
    """A path as it is given, or else below the data's folder."""
    given = Path(file).expanduser()
    beside = Path(str(getattr(source, "path", ""))).expanduser() / given
    return beside if not given.exists() and beside.exists() else given


def _folder(cfg: DictConfig, identity: dict[str, Any], parts: int) -> UnfinishedFolder:
    short = fingerprint([json.dumps(identity, sort_keys=True)])[:10]
    chosen = Path(cfg.output_dir) / "score" / f"{cfg.name}-{short}"
    return UnfinishedFolder(chosen if cfg.out is None else Path(cfg.out).expanduser(), identity, parts)


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
    known = environment()
    facts = {
        "teacher": about,
        "identity": identity,
        "counts": counts(lists),
        "seconds": round(seconds, 3),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": known["packages"],
        "hardware": known["hardware"],
    }
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


def _refuse(keys: Sequence[str], why: str) -> None:
    """Raise InputError when the command line gives a setting that has no effect here."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    for override in given:
        key = override.lstrip("+~").split("=", 1)[0].rsplit("@", 1)[-1]
        for idle in keys:
            if key == f"score.{idle}" or key.startswith(f"score.{idle}."):
                raise InputError(f"score.{idle}: has no effect with {why}")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.glob("train/*.parquet")) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()}"
