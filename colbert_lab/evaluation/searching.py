"""From the ``evaluation`` config to what the evaluator searches with."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.types import Ranking, Split
from colbert_lab.evaluation.evaluator import FirstStage
from colbert_lab.search.corpus import Keeping
from colbert_lab.search.exact import search_depth
from colbert_lab.search.mode import STORED, SearchMode, SearchSettings, encoding_of, variants_of
from colbert_lab.search.plaid import check_kept, check_plaid, check_probing
from colbert_lab.settings.evaluation import MODES, EvaluationSettings
from colbert_lab.settings.typed import check_used, instantiated, made
from colbert_lab.teachers.revision import identified
from colbert_lab.teachers.scorer import Scorer, rank_split
from colbert_lab.text.collections.text_files import read_run
from colbert_lab.text.file_hashes import file_hash
from colbert_lab.text.fingerprint import fingerprint

log = logging.getLogger(__name__)
USERS = {"rerank": ("rerank",), "muvera": ("muvera", "muvera_rerank"), "plaid": ("plaid",), "xtr": ("xtr",)}
"""Settings of search, and the modes that read them."""


def search_settings(
    settings: EvaluationSettings, dim: int, overrides: Sequence[str] = (), trained: Sequence[int] = ()
) -> SearchSettings:
    """The settings of search.

    Args:
        settings: the ``evaluation`` part of the config.
        dim: dimensions of the student's embeddings.
        overrides: what the user gave on the command line, to find settings without effect.
        trained: the numbers of first dimensions that the student is trained at, to warn of others.

    Raises:
        InputError: a value is not possible, or has no effect.
    """
    modes, own = _several(settings.mode), own_modes(settings)
    stored = [*STORED, *(name for name, mode in own.items() if mode.stored)]
    dims = _dims(settings.dim, dim)
    if strange := [each for each in dims if each is not None and trained and each not in trained]:
        log.warning(
            "evaluation.dim=%s: the student is trained at %s dimensions (student.matryoshka), not at its first %d",
            strange[0], ", ".join(map(str, trained)), strange[0],
        )  # fmt: skip
    variants = variants_of(modes, _several(settings.storage), _several(settings.pool_factor), stored, dims)
    check_used(own, modes, "evaluation.own_modes", "evaluation.mode=NAME", overrides)
    for key, users in USERS.items():
        idle = [
            o
            for o in overrides
            if o.split("=")[0].lstrip("+").partition("@")[2].startswith(f"evaluation.{key}.")
        ]
        idle += [o for o in overrides if o.lstrip("+").startswith(f"evaluation.{key}.")]
        if idle and not set(users) & set(modes):
            raise InputError(f"{idle[0]}: has no effect without evaluation.mode={users[0]}")
    if any(o.startswith("evaluation.muvera.rerank=") for o in overrides) and "muvera_rerank" not in modes:
        raise InputError("evaluation.muvera.rerank: has no effect without evaluation.mode=muvera_rerank")
    if settings.rerank.run is not None and any("evaluation.rerank.first_stage" in o for o in overrides):
        raise InputError(
            "evaluation.rerank.first_stage: has no effect with evaluation.rerank.run; set one of them"
        )
    if max(variant.pool_factor for variant in variants) == 1 and any(
        "pool_protected" in o for o in overrides
    ):
        raise InputError("evaluation.pool_protected: has no effect without evaluation.pool_factor")
    for each in (dim if cut is None else cut for cut in dims):
        if set(USERS["muvera"]) & set(modes):
            encoding_of(settings.muvera, each)  # raises where a setting is not possible
        if "plaid" in modes:
            check_kept(settings.plaid.bits, each)
    if "plaid" in modes:
        check_plaid()
    return SearchSettings(
        variants,
        protected=settings.pool_protected,
        rerank_depth=settings.rerank.depth,
        first_stage=_first_stage_identity(settings) if "rerank" in modes else None,
        muvera=settings.muvera,
        plaid=settings.plaid,
        xtr=settings.xtr,
        own=own,
    )


def _dims(asked: Any, dim: int) -> list[int | None]:
    """The numbers of first dimensions that are searched; all are None, in whatever way that is asked for."""
    named = _several(asked)
    if any(each is not None and each > dim for each in named):
        raise InputError(f"evaluation.dim={asked}: the student has {dim} dimensions; name no more")
    return [None if each in (None, dim) else each for each in named]


def own_modes(settings: EvaluationSettings) -> dict[str, SearchMode]:
    """The search modes of a class of their own, by name.

    Args:
        settings: the ``evaluation`` part of the config.

    Raises:
        InputError: one is no search mode.
    """
    return instantiated(settings.own_modes, "evaluation.own_modes", SearchMode, "search mode", MODES)


def check_splits(search: SearchSettings, splits: Mapping[str, Split], depth: int) -> None:
    """Whether every split can be searched as it is asked for.

    Candidate lists are scored whole, so that no mode but ``exact`` means anything there.

    Args:
        search: modes and their settings.
        splits: by name.
        depth: documents that a ranking keeps.

    Raises:
        InputError: another mode is asked for, or PLAID would find fewer documents than are to be ranked.
    """
    if any(variant.mode == "plaid" for variant in search.variants):
        for split in splits.values():
            wanted = min(search_depth(split, depth), len(split.corpus))
            check_probing(search.plaid.n_probe, search.plaid.n_full_scores, wanted)
    lists = [key for key, split in splits.items() if split.candidates]
    others = [variant.mode for variant in search.variants if variant.mode != "exact"]
    if lists and others:
        raise InputError(
            f"evaluation.mode={others[0]}: has no effect on candidate lists ({lists[0]}), whose documents are all "
            "scored; use evaluation.mode=exact"
        )


def keeping_of(
    settings: EvaluationSettings, cache_dir: Path, processes: int = 1, owner: Path | None = None
) -> Keeping:
    """Where token embeddings go.

    Args:
        settings: the ``evaluation`` part of the config.
        cache_dir: the config's.
        processes: that encode together.
        owner: the run's folder. Files that are removed after use are its own, so that runs at the same time do not
            remove one another's.
    """
    memory, folder = int(settings.memory * 2**30), cache_dir / "embeddings"
    if owner is None or settings.keep_embeddings:
        return Keeping(memory, folder, settings.keep_embeddings, processes)
    folder = folder / f"run-{fingerprint([str(owner.resolve())])}"
    return Keeping(memory, folder, keep=False, processes=processes, own=True)


def first_stage_of(settings: EvaluationSettings, splits: Mapping[str, Split]) -> FirstStage:
    """What the mode ``rerank`` reranks.

    Args:
        settings: the ``evaluation`` part of the config.
        splits: by name.
    """
    if settings.rerank.run is not None:
        run = read_run(Path(settings.rerank.run).expanduser(), "evaluation.rerank.run")
        for split in splits.values():
            _check_run(run, split, settings.rerank.run)
        return lambda key, depth: _from_run(run, splits[key], depth)
    scorer: Scorer = made(settings.rerank.first_stage)
    return lambda key, depth: rank_split(scorer, splits[key], depth, None)


def _check_run(run: Mapping[str, Mapping[str, float]], split: Split, path: str) -> None:
    """Whether a run belongs to a split; warns of queries that it lacks, whose measures are 0."""
    where, name = f"evaluation.rerank.run={path}", f"{split.dataset}/{split.name}"
    if not set(run) & set(split.queries):
        raise InputError(f"{where}: has none of the {len(split.queries)} queries of {name}")
    known = set(split.corpus.ids)
    unknown = sorted({d for query in split.queries for d in run.get(query, ()) if d not in known})
    if unknown:
        raise InputError(f"{where}: names documents that are not in {name}: {some_ids(unknown)}")
    if missing := [query for query in split.queries if query not in run]:
        log.warning(
            "%s: has no documents for %s of the %d queries of %s, which count as 0",
            where, some_ids(missing), len(split.queries), name,
        )  # fmt: skip


def _from_run(run: Mapping[str, Mapping[str, float]], split: Split, depth: int) -> Ranking:
    """The run's best documents; equal scores by document id descending, as in trec_eval."""
    queries = [query for query in split.queries if query in run]
    ordered = [
        sorted(run[query].items(), key=lambda pair: (pair[1], pair[0]), reverse=True)[:depth]
        for query in queries
    ]
    return Ranking(
        queries, [[d for d, _ in pairs] for pairs in ordered], [[s for _, s in pairs] for pairs in ordered]
    )


def _first_stage_identity(settings: EvaluationSettings) -> Any:
    if settings.rerank.run is None:
        return identified(made(settings.rerank.first_stage))
    path = Path(settings.rerank.run).expanduser()
    if not path.is_file():
        raise InputError(f"evaluation.rerank.run={path}: no such file")
    return file_hash(path)[:16]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
