"""Load and check everything a run needs, before anything is written."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytorch_lightning as pl
from torch import nn

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.evaluation.evaluator import FirstStage
from colbert_lab.evaluation.protocol import check_splits_read
from colbert_lab.evaluation.searching import check_splits, first_stage_of, own_modes, search_settings
from colbert_lab.model.backends import maxsim_blocked, pick_maxsim
from colbert_lab.model.batches import check_compiler
from colbert_lab.model.changing import trained_at, widened, with_output
from colbert_lab.model.formats.known import load_checkpoint
from colbert_lab.model.packing import check_packing, packs
from colbert_lab.model.projection import TARGET, ProjectionHead, projection_of
from colbert_lab.model.student import NewStudent, Student, build_student, pick_device
from colbert_lab.model.tokenizer import TokenRules
from colbert_lab.run.contamination import kept_apart
from colbert_lab.run.dev import check_dev
from colbert_lab.run.evaluating import check_kinds, check_measures, measured_splits
from colbert_lab.search.mode import SearchSettings
from colbert_lab.settings import Command
from colbert_lab.settings.evaluation import LayoutSettings, SplitSettings, TableSettings
from colbert_lab.settings.groups import PromptSettings, StudentSettings
from colbert_lab.settings.roles import Role, keys
from colbert_lab.settings.typed import made
from colbert_lab.text.collections.hub_splits import Layout, Table
from colbert_lab.text.collections.splits import SplitRequest, load_splits
from colbert_lab.training.lora import check_installed
from colbert_lab.training.prepare import PreparedPhase, check_network, prepare_phase
from colbert_lab.training.sharding import check_layers, check_sharding

log = logging.getLogger(__name__)
READING = keys(StudentSettings, has=Role.PROTOCOL)
"""Settings of the student that say how it reads text."""


@dataclass(frozen=True)
class Inputs:
    """What a run works on.

    Attributes:
        student: the student before training.
        splits: evaluation splits that are measured, by name.
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


def load_inputs(command: Command) -> Inputs:
    """Load student, splits and training data, and prepare every phase of the schedule.

    Args:
        command: what is to be run.

    Raises:
        InputError: something the user can mend.
    """
    settings, overrides = command.settings, command.overrides
    evaluation, trainer = settings.evaluation, settings.trainer
    if settings.allow_contamination and settings.drop_contamination:
        raise InputError("allow_contamination: has no effect with drop_contamination=true; set one of them")
    check_installed(settings.student.lora)
    check_sharding(settings)
    own_modes(evaluation)  # refused before anything is loaded, as are measures
    check_kinds(evaluation, overrides, settings.schedule if settings.task != "evaluate" else ())
    pl.seed_everything(settings.seed, verbose=False)
    student = configured_student(settings.student, settings.prompts, overrides)
    requests = split_requests(evaluation.splits, evaluation.full)
    splits = load_splits(
        requests,
        documents=None if evaluation.full else evaluation.documents,
        cache_dir=settings.cache,
        tolerate_unknown_documents=evaluation.unknown_documents == "drop",
    )
    check_measures(evaluation, splits)
    check_dev(settings, measured_splits(evaluation, splits))
    search = search_settings(evaluation, student.model.dim, overrides, student.model.dims)
    search.check_student(dense=student.model.pooling is not None)
    check_splits(search, splits, evaluation.depth)
    first_stage = first_stage_of(evaluation, splits) if search.first_stage is not None else None
    check_splits_read(student, splits)
    data: dict[str, Any] = {}
    phases: dict[str, PreparedPhase] = {}
    tokenizer = student.tokenizer
    device = pick_device(trainer.accelerator)
    check_compiler(trainer.compile, device)
    check_layers(student.model.backbone, trainer.strategy)
    if trainer.compile is not None and packs(student.model.backbone):
        raise InputError(
            f"trainer.compile={trainer.compile}: is not possible with student.attention=packed; set one of them to "
            "null or auto"
        )
    all_pairs = pick_maxsim(trainer.maxsim, device, trainer.deterministic)
    for name in settings.trained:
        phase = settings.phases[name]
        data[name] = made(phase.data)
        sources = [
            kept_apart(settings, source, splits, requests) for source in data[name].load(settings.cache)
        ]
        phases[name] = prepare_phase(
            name,
            phase,
            sources,
            tokenizer,
            seed=settings.seed,
            allow_flat_teacher=settings.allow_flat_teacher,
            allow_prompt_mismatch=settings.allow_prompt_mismatch,
            weights=data[name].weights,
            flags=trainer.lightning,
        )
        scoring = replace(phases[name].scoring, all_pairs=all_pairs)
        lora, backend = settings.student.lora, trainer.compile
        phases[name] = replace(
            phases[name], scoring=scoring, lora=lora, compile=backend, num_workers=trainer.num_workers
        )
        check_network(phases[name], student.model)
        tokenizer = phases[name].tokenizer
    measured = measured_splits(evaluation, splits)
    check_dev(settings, measured)  # a split whose queries are trained on may be gone
    terms = [term for phase in phases.values() for term in phase.objective.terms.values()]
    if all_pairs is not maxsim_blocked and not any(term.all_pairs and not term.tokens for term in terms):
        log.warning("trainer.maxsim=%s has no effect: no term of the loss scores all pairs", trainer.maxsim)
    return Inputs(student, measured, phases, data, search, first_stage)


def split_requests(
    entries: Mapping[str, SplitSettings | None], full: bool = False
) -> dict[str, SplitRequest]:
    """What the entries of ``evaluation.splits`` ask for; those that are null are left out.

    Args:
        entries: by name.
        full: whether all their queries are asked for (``evaluation.full``).
    """
    return {
        key: SplitRequest(
            **asdict(entry)
            | {
                "layout": None if entry.layout is None else _layout(entry.layout),
                "queries": None if full else entry.queries,
            }
        )
        for key, entry in entries.items()
        if entry is not None
    }


def _layout(settings: LayoutSettings) -> Layout:
    given = (settings.corpus, settings.queries, settings.qrels, settings.rows)
    corpus, queries, qrels, rows = map(_table, given)
    return Layout(corpus, queries, qrels, rows, settings.skip_empty)


def _table(settings: TableSettings | None) -> Table | None:
    return None if settings is None else Table(**asdict(settings))


def configured_student(
    chosen: StudentSettings, prompts: PromptSettings, overrides: Collection[str] = ()
) -> Student:
    """The student of a config, on the CPU: its checkpoint, or an untrained head on its backbone.

    With ``student.attention=packed`` the backbone is asked whether it can encode without padding.

    Args:
        chosen: its settings.
        prompts: what is put before its texts, where it has no checkpoint.
        overrides: what the user gave on the command line.

    Raises:
        InputError: something the user can mend.
    """
    student = _configured(chosen, prompts, overrides)
    longest = max(student.tokenizer.length(role) for role in ("query", "document"))
    check_packing(student.model.backbone, longest)
    return student


def _configured(chosen: StudentSettings, prompts: PromptSettings, overrides: Collection[str]) -> Student:
    settings = asdict(chosen)
    del settings["lora"]  # of the phases
    checkpoint, output, dim, dims = map(settings.pop, ("checkpoint", "output", "widen", "matryoshka"))
    if checkpoint is None:
        if dim is not None:
            raise InputError(
                f"student.widen={dim}: widens the head of a checkpoint; set student.dim for a new head"
            )
        for name in READING:
            settings.pop(name)
        rules = token_rules(chosen, prompts)
        return trained_at(build_student(NewStudent(**settings, output=output or "multi"), rules), dims)
    named = TARGET in settings["head"]
    check_brought_along(overrides, output, named)
    student = load_checkpoint(checkpoint, settings["attention"], settings["trust_remote_code"])
    if output is not None:
        student = with_output(
            student, output, settings["pooling"], settings["dim"], settings["bias"], settings["head"]
        )
    if named:
        check_head(student.model.head, settings["head"])
    return trained_at(student if dim is None else widened(student, dim), dims)


def token_rules(student: StudentSettings, prompts: PromptSettings) -> TokenRules:
    """How a student without a checkpoint reads text.

    Args:
        student: its settings.
        prompts: what is put before its texts.
    """
    return TokenRules(
        **{name: getattr(student, name) for name in READING},
        query_prompt=prompts.query or "",
        document_prompt=prompts.document or "",
        extend_length=bool(prompts.extend_length),
    )


def check_head(head: nn.Module, settings: Mapping[str, Any]) -> None:
    """Whether the head of a checkpoint is the one that the config names.

    Args:
        head: of the checkpoint.
        settings: ``student.head``, with a ``_target_``.

    Raises:
        InputError: it is of another class, or has other settings.
    """
    asked = projection_of(settings)
    own = type(head.projection) if isinstance(head, ProjectionHead) else type(head)
    if own is not type(asked):
        raise InputError(
            f"student.head.{TARGET}={settings[TARGET]}: has no effect with student.checkpoint, whose head is of the "
            f"class {own.__module__}.{own.__qualname__}; leave it out"
        )
    assert isinstance(head, ProjectionHead)
    for name, value in head.settings.items():
        if value != (wanted := getattr(asked, name)):
            raise InputError(
                f"student.head.{name}={wanted}: the head of student.checkpoint has {value}; set it to that"
            )


def check_brought_along(overrides: Collection[str], output: str | None = None, named: bool = False) -> None:
    """Whether settings were given that a checkpoint brings itself.

    Args:
        overrides: what the user gave on the command line.
        output: ``student.output``; another one than the checkpoint's has a head of its own.
        named: whether the config names the class of the head, which a folder alone does not have imported.

    Raises:
        InputError: there are such.
    """
    idle = [o for o in overrides if o.startswith(("student.", "student=", "head="))]
    taken = ("checkpoint", "attention", "output", "pooling", "widen", "matryoshka", "trust_remote_code")
    used = [*(f"student.{key}=" for key in taken), "student.lora=", "student.lora."]
    if output is not None:
        used += ["student.dim=", "student.bias=", "student.head.", "head="]
    if named:
        used += ["student.head.", "head="]
    idle = [o for o in idle if not o.startswith(tuple(used))]
    if idle:
        raise InputError(
            f"{idle[0]} has no effect with student.checkpoint, which brings its own; leave it out"
        )
