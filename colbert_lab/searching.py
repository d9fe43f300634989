"""From the ``evaluation`` config to what the evaluator searches with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from omegaconf import DictConfig, ListConfig

from colbert_lab.errors import InputError, some_ids
from colbert_lab.metrics.evaluator import FirstStage
from colbert_lab.retrieval.corpus import Keeping
from colbert_lab.retrieval.exclusion import search_depth
from colbert_lab.retrieval.plaid import check_kept, check_probing
from colbert_lab.retrieval.plaid_environment import check_plaid
from colbert_lab.retrieval.variants import Muvera, Plaid, SearchSettings, variants_of
from colbert_lab.teachers.lists import describe
from colbert_lab.teachers.rank_split import rank_split
from colbert_lab.teachers.scorer import Scorer
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.run_file import read_run
from colbert_lab.types import Ranking, Split

USERS = {"rerank": ("rerank",), "muvera": ("muvera", "muvera_rerank"), "plaid": ("plaid",)}
"""Settings of search, and the modes that read them."""
LEAST_MEMORY = 0.25
"""GiB. With less, the buffers of a shard are so small (32 MiB) that glibc's malloc takes them from its heap, which
keeps most of what is freed there: memory then grows with the corpus (1 GB for 24,000 documents was measured)."""


def search_settings(settings: DictConfig, dim: int, overrides: Sequence[str] = ()) -> SearchSettings:
    """The settings of search.

    Args:
        settings: the ``evaluation`` part of the config.
        dim: dimensions of the student's embeddings.
        overrides: what the user gave on the command line, to find settings without effect.

    Raises:
        InputError: a value is not possible, or has no effect.
    """
    modes = _several(settings.mode)
    variants = variants_of(modes, _several(settings.storage), _several(settings.pool_factor))
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
    for key in ("rerank.depth", "muvera.rerank"):
        group, name = key.split(".")
        if settings[group][name] < 1:
            raise InputError(f"evaluation.{key}={settings[group][name]}: must be at least 1")
    if settings.memory < LEAST_MEMORY:
        raise InputError(f"evaluation.memory={settings.memory}: must be at least {LEAST_MEMORY} (GiB)")
    muvera = Muvera(**settings.muvera)
    if set(USERS["muvera"]) & set(modes):
        muvera.encoding(dim)  # raises where a setting is not possible
    if "plaid" in modes:
        check_kept(settings.plaid.bits, dim)
        check_plaid()
    return SearchSettings(
        variants,
        protected=settings.pool_protected,
        rerank_depth=settings.rerank.depth,
        first_stage=_first_stage_identity(settings) if "rerank" in modes else None,
        muvera=muvera,
        plaid=Plaid(**settings.plaid),
    )


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
    settings: DictConfig, cache_dir: Path, processes: int = 1, owner: Path | None = None
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


def first_stage_of(settings: DictConfig, splits: Mapping[str, Split]) -> FirstStage:
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
    scorer: Scorer = hydra.utils.instantiate(settings.rerank.first_stage, _convert_="all")
    return lambda key, depth: rank_split(scorer, splits[key], depth, None)


def _check_run(run: Mapping[str, Mapping[str, float]], split: Split, path: str) -> None:
    """Whether a run belongs to a split."""
    where, name = f"evaluation.rerank.run={path}", f"{split.dataset}/{split.name}"
    if not set(run) & set(split.queries):
        raise InputError(f"{where}: has none of the {len(split.queries)} queries of {name}")
    known = set(split.corpus.ids)
    unknown = sorted({d for query in split.queries for d in run.get(query, ()) if d not in known})
    if unknown:
        raise InputError(f"{where}: names documents that are not in {name}: {some_ids(unknown)}")


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


def _first_stage_identity(settings: DictConfig) -> Any:
    if settings.rerank.run is None:
        return describe(hydra.utils.instantiate(settings.rerank.first_stage, _convert_="all"))
    path = Path(settings.rerank.run).expanduser()
    if not path.is_file():
        raise InputError(f"evaluation.rerank.run={path}: no such file")
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | ListConfig) else [value]
