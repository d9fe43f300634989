"""``task=audit``: look at training data, and at evaluation splits beside it, before anything is trained."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from colbert_lab.audit.audited import AuditedData, AuditedPhase, audit
from colbert_lab.audit.findings import to_json, verdicts
from colbert_lab.audit.picture import check_matplotlib, draw_audit
from colbert_lab.audit.report import audit_tables
from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import print_tables, to_markdown
from colbert_lab.base.types import Role, Split
from colbert_lab.model.backbone import load_tokenizer
from colbert_lab.model.formats.known import load_checkpoint
from colbert_lab.model.projection import TARGET
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.records.identity import canonical_json, protocol_hash
from colbert_lab.records.run_directory import check_writable
from colbert_lab.run.inputs import check_brought_along, check_head, split_requests, token_rules
from colbert_lab.settings import Command, Settings
from colbert_lab.settings.typed import made
from colbert_lab.text.collections.beir import beir_splits, is_beir
from colbert_lab.text.collections.splits import SplitRequest, load_splits
from colbert_lab.training.checks import check_data, objective_from
from colbert_lab.training.objectives.term import Side

log = logging.getLogger("colbert_lab")
REPORT = "audit.json"
IDENTITY = ("schedule", "phases", "student", "prompts", "data", "audit", "drop_contamination", "seed")
"""Settings that decide what an audit finds, beside the texts themselves."""


def execute(command: Command) -> None:
    """Audit the configured data, print the tables, and write ``audit.json``, ``audit.md`` and ``audit.png``.

    Args:
        command: what is asked for. Without a schedule ``data`` is audited with the student's lengths and prompts; with
            one, the data of each phase with the phase's.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    settings = command.settings
    _check_teacher(command)
    _check_out(settings)
    check_matplotlib()
    tokenizer = _tokenizer(command)
    data, phases = _data(settings, tokenizer)
    splits, about = _splits(settings, data)
    out = _out(command, data, splits)
    seed, drops = settings.seed, settings.drop_contamination
    findings = audit(
        settings.name,
        data,
        phases,
        splits,
        tokenizer,
        scope=settings.audit,
        seed=seed,
        drops=drops,
        notes=[about],
    )
    sentences = verdicts(findings)
    tables = audit_tables(findings, sentences)
    with atomic_folder(out) as folder:
        content = json.dumps(to_json(findings, sentences), indent=1, ensure_ascii=False)
        (folder / REPORT).write_text(content + "\n", encoding="utf-8", errors="backslashreplace")
        (folder / "audit.md").write_text(to_markdown(tables), encoding="utf-8", errors="backslashreplace")
        draw_audit(findings).savefig(folder / "audit.png")
    print_tables(tables)
    log.info("saved: %s, audit.md and audit.png", out / REPORT)


def _check_teacher(command: Command) -> None:
    """Whether a teacher of data without a phase is named beside a schedule, which brings its own."""
    idle = [override for override in command.overrides if override.startswith("audit.teacher")]
    if idle and command.settings.schedule:
        raise InputError(
            f"{idle[0]}: has no effect with a schedule; set phases.<name>.objective.distillation.teacher"
        )


def _check_out(settings: Settings) -> None:
    """Whether the report may be written, before any work is done."""
    if settings.out is None:
        check_writable(settings.outputs)
        return
    out = Path(settings.out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (out / REPORT).is_file():
        raise InputError(f"out={out}: exists and is no audit; choose another folder")
    check_writable(out.parent, "out")


def _out(command: Command, data: Sequence[AuditedData], splits: Mapping[str, Split]) -> Path:
    """The folder to write, named after everything that decides what is found where ``out`` names none."""
    settings = command.settings
    if settings.out is not None:
        return Path(settings.out).expanduser()
    identity = {key: command.config[key] for key in IDENTITY}
    identity["sources"] = [[source.fingerprint for source in each.sources] for each in data]
    identity["splits"] = {key: [split.fingerprint, dict(split.protocol)] for key, split in splits.items()}
    return settings.outputs / "audit" / f"{settings.name}-{protocol_hash(identity)}"


def _tokenizer(command: Command) -> StudentTokenizer:
    """The student's tokenizer."""
    student, prompts = command.settings.student, command.settings.prompts
    if student.checkpoint is not None:
        named = TARGET in student.head
        check_brought_along(command.overrides, student.output, named)
        found = load_checkpoint(student.checkpoint, "eager", student.trust_remote_code)
        if named and student.output is None:
            check_head(found.model.head, student.head)
        return found.tokenizer
    known = load_tokenizer(student.backbone, student.trust_remote_code)
    return StudentTokenizer(known, token_rules(student, prompts))


def _data(settings: Settings, tokenizer: StudentTokenizer) -> tuple[list[AuditedData], list[AuditedPhase]]:
    """Each data setting once, and each phase with its settings."""
    unknown = [name for name in settings.schedule if name not in settings.phases]
    if unknown:
        there = ", ".join(settings.phases) or "none"
        raise InputError(f"schedule: no phase slot named {unknown[0]}; there are {there}")
    loaded: dict[str, AuditedData] = {}
    phases = []
    for name in settings.schedule or ["data"]:
        phase = settings.phases[name] if settings.schedule else None
        key = "data" if phase is None else f"phases.{name}.data"
        chosen = settings.data if phase is None else phase.data
        if chosen is None:
            raise InputError(f"{key}: no data; set data=...")
        mark = canonical_json(chosen)
        if mark not in loaded:
            configured = made(chosen)
            loaded[mark] = AuditedData([], configured, list(configured.load(settings.cache)))
        data = loaded[mark]
        data.phases.append(name)
        prompts = (phase and phase.prompts) or settings.prompts
        lengths: dict[Role, int | None] = {"query": None, "document": None}
        side: Side | None = None
        if phase is None:
            if all(source.scored for source in data.sources):
                side = Side(**asdict(settings.audit.teacher))
            teacher_key = "audit.teacher"
        else:
            lengths = {"query": phase.query_length, "document": phase.document_length}
            objective = objective_from(phase.objective)
            check_data(name, data.sources, phase.n_way, objective, phase.batch_size)
            term, side = next(iter(objective.sides.items()), ("distillation", None))
            teacher_key = f"phases.{name}.objective.{term}.teacher"
        tokenizer = tokenizer.with_rules(
            query_length=lengths["query"],
            document_length=lengths["document"],
            query_prompt=prompts.query,
            document_prompt=prompts.document,
            extend_length=prompts.extend_length,
        )
        keys: dict[str, str] = {
            role: f"{'student' if length is None else f'phases.{name}'}.{role}_length"
            for role, length in lengths.items()
        }
        batch_size, n_way = (None, None) if phase is None else (phase.batch_size, phase.n_way)
        phases.append(AuditedPhase(name, data, tokenizer, keys, batch_size, n_way, side, teacher_key))
    return list(loaded.values()), phases


def _splits(settings: Settings, data: Sequence[AuditedData]) -> tuple[dict[str, Split], str]:
    """The splits to look for, and a sentence on which they are."""
    configured = split_requests(settings.evaluation.splits, settings.evaluation.full)
    own = _own_splits(data)
    embedded = bool(configured) and all(each.type == "installed_docs" for each in configured.values())
    wanted = settings.audit.splits
    if wanted == "data" and not own:
        raise InputError(
            "audit.splits=data: the data is no BEIR-layout folder with other splits; use audit.splits=evaluation"
        )
    if wanted == "data" or (wanted == "auto" and own and embedded):
        requests, documents = own, None
        about = f"splits of the data's own folder: {', '.join(own)} (audit.splits={wanted})"
    elif not configured:
        none = (
            "no evaluation split is configured, so nothing was looked for in training text (evaluation=...)"
        )
        return {}, none
    else:
        requests = configured
        documents = None if settings.evaluation.full else settings.evaluation.documents
        about = f"evaluation splits as configured: {', '.join(configured)}"
    splits = load_splits(
        requests,
        documents=documents,
        cache_dir=settings.cache,
        tolerate_unknown_documents=settings.evaluation.unknown_documents == "drop",
    )
    return splits, about


def _own_splits(data: Sequence[AuditedData]) -> dict[str, SplitRequest]:
    """Judged splits of the folders that are trained on, but for the trained ones."""
    found: dict[str, SplitRequest] = {}
    trained: set[tuple[str, str]] = set()
    folders: list[str] = []
    for each in data:
        for source in _files(each.configured):
            folder = Path(str(source.path))
            if is_beir(folder):
                trained.add((str(source.path), getattr(source, "split", None) or "train"))
                folders.append(str(source.path))
    for path in dict.fromkeys(folders):
        for split in beir_splits(path):
            if split != "train" and (path, split) not in trained:
                key = split if len(set(folders)) == 1 else f"{Path(path).name}_{split}"
                found[key] = SplitRequest("beir", split, path)
    return found


def _files(source: Any) -> list[Any]:
    """A source with a path, or those of a mixture."""
    if hasattr(source, "sources"):
        return [file for each in source.sources.values() for file in _files(each)]
    return [source] if hasattr(source, "path") else []
