"""Load and check everything a run needs, before anything is written."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra.utils
import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from colbert_lab.errors import InputError, some_ids
from colbert_lab.evaluating import check_measures
from colbert_lab.metrics.evaluator import FirstStage
from colbert_lab.metrics.protocol import student_for
from colbert_lab.retrieval.variants import SearchSettings
from colbert_lab.scoring.backends import pick_maxsim
from colbert_lab.scoring.blocked import maxsim_blocked
from colbert_lab.searching import check_splits, first_stage_of, search_settings
from colbert_lab.student.formats.known import load_checkpoint
from colbert_lab.student.student import Student, build_student, pick_device, widened, with_output
from colbert_lab.text.contamination import overlapping_queries
from colbert_lab.text.examples import Examples
from colbert_lab.text.hub_splits import Layout
from colbert_lab.text.hub_tables import Table
from colbert_lab.text.splits import SplitRequest, load_splits
from colbert_lab.training.prepare import PreparedPhase, check_groups, prepare_phase
from colbert_lab.types import Split

log = logging.getLogger(__name__)
UNKNOWN_DOCUMENTS = ("error", "drop")


@dataclass(frozen=True)
class Inputs:
    """What a run works on.

    Attributes:
        student: the student before training.
        splits: evaluation splits by name.
        phases: what to train, by phase.
        data: the configured sources by phase.
        search: how splits are searched.
        first_stage: what the mode ``rerank`` reranks; None without that mode.
    """

    student: Student
    splits: dict[str, Split]
    phases: dict[str, PreparedPhase]
    data: dict[str, Any]
    search: SearchSettings
    first_stage: FirstStage | None


def load_inputs(cfg: DictConfig, overrides: list[str]) -> Inputs:
    """Load student, splits and training data, and prepare every phase of the schedule.

    Args:
        cfg: the checked config.
        overrides: what the user gave on the command line.

    Raises:
        InputError: something the user can mend.
    """
    if cfg.allow_contamination and cfg.drop_contamination:
        raise InputError("allow_contamination: has no effect with drop_contamination=true; set one of them")
    cache_dir = Path(cfg.cache_dir).expanduser()
    pl.seed_everything(cfg.seed, verbose=False)
    student = configured_student(cfg, overrides)
    requests = split_requests(cfg)
    splits = load_splits(
        requests,
        documents=None if cfg.evaluation.full else cfg.evaluation.documents,
        cache_dir=cache_dir,
        tolerate_unknown_documents=cfg.evaluation.unknown_documents == "drop",
    )
    check_measures(cfg.evaluation, splits)
    search = search_settings(cfg.evaluation, student.model.dim, overrides)
    check_splits(search, splits, cfg.evaluation.depth)
    first_stage = first_stage_of(cfg.evaluation, splits) if search.first_stage is not None else None
    for key, split in splits.items():
        student_for(student, split, key)  # what it cannot do is said before anything is computed
    data: dict[str, Any] = {}
    phases: dict[str, PreparedPhase] = {}
    tokenizer = student.tokenizer
    training = cfg.schedule if cfg.task == "train" else ()
    all_pairs = pick_maxsim(
        cfg.trainer.maxsim, pick_device(cfg.trainer.accelerator), cfg.trainer.deterministic
    )
    for name in training:
        if cfg.phases[name].data is None:
            raise InputError(f"phases.{name}.data: no data; set data=..., or data@phases.{name}.data=...")
        data[name] = hydra.utils.instantiate(cfg.phases[name].data, _convert_="all")
        sources = [_clean(cfg, source, splits, requests) for source in data[name].load(cache_dir)]
        phases[name] = prepare_phase(
            name,
            cfg.phases[name],
            sources,
            tokenizer,
            seed=cfg.seed,
            allow_flat_teacher=cfg.allow_flat_teacher,
            allow_prompt_mismatch=cfg.allow_prompt_mismatch,
            world=processes(cfg),
            weights=data[name].weights,
            all_pairs=all_pairs,
        )
        check_groups(phases[name], student.model)
        tokenizer = phases[name].tokenizer
    contrastive = any(phase.objective.contrastive_weight > 0 for phase in phases.values())
    if all_pairs is not maxsim_blocked and not contrastive:
        log.warning(
            "trainer.maxsim=%s has no effect: no phase that is trained is contrastive", cfg.trainer.maxsim
        )
    return Inputs(student, splits, phases, data, search, first_stage)


def split_requests(cfg: DictConfig) -> dict[str, SplitRequest]:
    """What the entries of ``evaluation.splits`` ask for; those that are null are left out.

    Args:
        cfg: the checked config.

    Raises:
        InputError: an unknown value of ``evaluation.unknown_documents``.
    """
    settings = cfg.evaluation
    if settings.unknown_documents not in UNKNOWN_DOCUMENTS:
        known = ", ".join(UNKNOWN_DOCUMENTS)
        raise InputError(f"evaluation.unknown_documents={settings.unknown_documents}: must be one of {known}")
    requests = {}
    for key, entry in settings.splits.items():
        if entry is not None:
            values: dict[str, Any] = OmegaConf.to_container(entry)  # type: ignore[assignment]
            layout = values.pop("layout")
            queries = None if settings.full else values.pop("queries")
            values["layout"] = None if layout is None else _layout(layout)
            requests[str(key)] = SplitRequest(**values | {"queries": queries})
    return requests


def _layout(values: Mapping[str, Any]) -> Layout:
    tables = {name: Table(**table) for name, table in values.items() if isinstance(table, dict)}
    return Layout(**tables, skip_empty=values["skip_empty"])


def processes(cfg: DictConfig) -> int:
    """Number of training processes that the config asks for, as far as it says so in numbers."""
    devices = cfg.trainer.devices
    return devices * cfg.trainer.num_nodes if isinstance(devices, int) and devices > 0 else 1


def configured_student(cfg: DictConfig, overrides: Collection[str]) -> Student:
    """The student of a config, on the CPU: its checkpoint, or an untrained head on its backbone.

    Args:
        cfg: the checked config; ``student`` and ``prompts`` are read.
        overrides: what the user gave on the command line.

    Raises:
        InputError: something the user can mend.
    """
    settings: dict[str, Any] = OmegaConf.to_container(cfg.student)  # type: ignore[assignment]
    checkpoint, output, dim = settings.pop("checkpoint"), settings.pop("output"), settings.pop("widen")
    if checkpoint is None:
        if dim is not None:
            raise InputError(
                f"student.widen={dim}: widens the head of a checkpoint; set student.dim for a new head"
            )
        prompts = cfg.prompts
        return build_student(
            **settings,
            query_prompt=prompts.query or "",
            document_prompt=prompts.document or "",
            extend_length=bool(prompts.extend_length),
            output=output or "multi",
        )
    check_brought_along(overrides, output)
    student = load_checkpoint(checkpoint, settings["attention"], settings["trust_remote_code"])
    if output is not None:
        student = with_output(
            student, output, settings["pooling"], settings["dim"], settings["bias"], settings["head"]
        )
    return student if dim is None else widened(student, dim)


def check_brought_along(overrides: Collection[str], output: str | None = None) -> None:
    """Whether settings were given that a checkpoint brings itself.

    Args:
        overrides: what the user gave on the command line.
        output: ``student.output``; another one than the checkpoint's has a head of its own.

    Raises:
        InputError: there are such.
    """
    idle = [o for o in overrides if o.startswith(("student.", "student=", "head="))]
    used = [
        f"student.{key}="
        for key in ("checkpoint", "attention", "output", "pooling", "widen", "trust_remote_code")
    ]
    if output is not None:
        used += ["student.dim=", "student.bias=", "student.head.", "head="]
    idle = [o for o in idle if not o.startswith(tuple(used))]
    if idle:
        raise InputError(
            f"{idle[0]} has no effect with student.checkpoint, which brings its own; leave it out"
        )


def _clean(
    cfg: DictConfig, source: Examples, splits: dict[str, Split], requests: Mapping[str, SplitRequest]
) -> Examples:
    """The rows that may be trained on beside these evaluation splits; drops a split that cannot be kept apart."""
    for key, found in overlapping_queries(source.training_queries(), splits).items():
        if not found:
            continue
        split = splits[key]
        if split.name == "heldout":
            source = source.without(set(found))
            log.info("evaluation.splits.%s: %d held-out queries left out of training", key, len(found))
        elif key in requests and requests[key].split == "auto":
            del splits[key]
            log.warning(
                "evaluation.splits.%s: its queries are trained on (%s), so selection is off",
                key,
                some_ids(found),
            )
        elif cfg.drop_contamination:
            source = source.without(set(found))
            log.warning(
                "evaluation.splits.%s: %s training queries of %s are in it and are left out",
                key, some_ids(found), source.name,
            )  # fmt: skip
        elif cfg.allow_contamination:
            log.warning("evaluation.splits.%s: %s training queries are in it", key, some_ids(found))
        else:
            raise InputError(
                f"evaluation.splits.{key}: {some_ids(found)} training queries of {source.name} are in it; choose "
                "another split or data, leave them out with drop_contamination=true, or set allow_contamination=true"
            )
    return source
