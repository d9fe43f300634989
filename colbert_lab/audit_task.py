"""``task=audit``: look at training data, and at evaluation splits beside it, before anything is trained."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from colbert_lab.atomic import atomic_folder
from colbert_lab.audit.audited import AuditedData, AuditedPhase, Scope, audit
from colbert_lab.audit.findings import to_json
from colbert_lab.audit.picture import check_matplotlib, draw_audit
from colbert_lab.audit.report import audit_tables
from colbert_lab.audit.verdicts import verdicts
from colbert_lab.errors import InputError
from colbert_lab.inputs import check_brought_along, split_requests
from colbert_lab.logs import start_logging
from colbert_lab.objectives.distillation import Side
from colbert_lab.results.identity import canonical_json, protocol_hash
from colbert_lab.results.layout import print_tables, to_markdown
from colbert_lab.results.run_directory import check_writable
from colbert_lab.settings import checked
from colbert_lab.student.backbone import load_tokenizer
from colbert_lab.student.formats.known import load_checkpoint
from colbert_lab.text.beir import beir_splits
from colbert_lab.text.splits import SplitRequest, load_splits
from colbert_lab.tokens.tokenizer import StudentTokenizer, TokenRules
from colbert_lab.training.checks import check_data
from colbert_lab.training.precision import pick_precision
from colbert_lab.training.prepare import objective_from
from colbert_lab.types import Split

log = logging.getLogger("colbert_lab")
REPORT = "audit.json"
SPLITS = ("auto", "evaluation", "data")
IDENTITY = (
    "schedule",
    "phases",
    "student",
    "prompts",
    "data",
    "audit",
    "drop_contamination",
    "seed",
)
"""Settings that decide what an audit finds, beside the texts themselves."""


def execute(cfg: DictConfig) -> None:
    """Audit the configured data, print the tables, and write ``audit.json``, ``audit.md`` and ``audit.png``.

    Args:
        cfg: what Hydra composed. Without a schedule ``data`` is audited with the student's lengths and prompts; with
            one, the data of each phase with the phase's.

    Raises:
        InputError: anything the user can mend; nothing is then written.
    """
    start_logging()
    cfg.trainer.precision = pick_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    cfg = checked(cfg)
    if not cfg.progress:
        os.environ["TQDM_DISABLE"] = "1"
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    scope = _scope(cfg, overrides)
    _check_out(cfg)
    check_matplotlib()
    tokenizer = _tokenizer(cfg, overrides)
    cache_dir = Path(cfg.cache_dir).expanduser()
    data, phases = _data(cfg, tokenizer, cache_dir)
    splits, about = _splits(cfg, data, cache_dir)
    out = _out(cfg, data, splits)
    findings = audit(
        cfg.name,
        data,
        phases,
        splits,
        tokenizer,
        scope=scope,
        seed=cfg.seed,
        drops=cfg.drop_contamination,
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


def _scope(cfg: DictConfig, overrides: Sequence[str]) -> Scope:
    audit = cfg.audit
    for key in ("rows", "documents", "ngram"):
        if audit[key] is not None and audit[key] < 1:
            raise InputError(f"audit.{key}={audit[key]}: must be at least 1")
    if not 0 < audit.near <= 1:
        raise InputError(f"audit.near={audit.near}: must be above 0 and at most 1")
    if audit.splits not in SPLITS:
        raise InputError(f"audit.splits={audit.splits}: must be one of {', '.join(SPLITS)}")
    idle = [override for override in overrides if override.startswith("audit.teacher")]
    if idle and cfg.schedule:
        raise InputError(
            f"{idle[0]}: has no effect with a schedule; set phases.<name>.objective.distillation.teacher"
        )
    return Scope(audit.rows, audit.documents, audit.ngram, audit.near)


def _check_out(cfg: DictConfig) -> None:
    """Whether the report may be written, before any work is done."""
    if cfg.out is None:
        check_writable(Path(cfg.output_dir).expanduser())
        return
    out = Path(cfg.out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not (out / REPORT).is_file():
        raise InputError(f"out={out}: exists and is no audit; choose another folder")
    check_writable(out.parent, "out")


def _out(cfg: DictConfig, data: Sequence[AuditedData], splits: Mapping[str, Split]) -> Path:
    """The folder to write, named after everything that decides what is found where ``out`` names none."""
    if cfg.out is not None:
        return Path(cfg.out).expanduser()
    plain: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    identity = {key: plain[key] for key in IDENTITY}
    identity["sources"] = [[source.fingerprint for source in each.sources] for each in data]
    identity["splits"] = {key: [split.fingerprint, dict(split.protocol)] for key, split in splits.items()}
    return Path(cfg.output_dir).expanduser() / "audit" / f"{cfg.name}-{protocol_hash(identity)}"


def _tokenizer(cfg: DictConfig, overrides: Sequence[str]) -> StudentTokenizer:
    """The student's tokenizer."""
    student, prompts = cfg.student, cfg.prompts
    if student.checkpoint is not None:
        check_brought_along(overrides, student.output)
        return load_checkpoint(student.checkpoint, "eager", student.trust_remote_code).tokenizer
    rules = TokenRules(
        query_length=student.query_length,
        document_length=student.document_length,
        query_marker=student.query_marker,
        document_marker=student.document_marker,
        query_prompt=prompts.query or "",
        document_prompt=prompts.document or "",
        extend_length=bool(prompts.extend_length),
        expansion=student.expansion,
        skiplist=student.skiplist if isinstance(student.skiplist, str) else list(student.skiplist),
    )
    return StudentTokenizer(load_tokenizer(student.backbone, student.trust_remote_code), rules)


def _data(
    cfg: DictConfig, tokenizer: StudentTokenizer, cache_dir: Path
) -> tuple[list[AuditedData], list[AuditedPhase]]:
    """Each data setting once, and each phase with its settings."""
    unknown = [name for name in cfg.schedule if name not in cfg.phases]
    if unknown:
        there = ", ".join(cfg.phases) or "none"
        raise InputError(f"schedule: no phase slot named {unknown[0]}; there are {there}")
    loaded: dict[str, AuditedData] = {}
    phases = []
    for name in cfg.schedule or [None]:
        phase = None if name is None else cfg.phases[name]
        key = "data" if name is None else f"phases.{name}.data"
        chosen = cfg.data if phase is None else phase.data
        if chosen is None:
            raise InputError(f"{key}: no data; set data=...")
        mark = canonical_json(OmegaConf.to_container(chosen))
        if mark not in loaded:
            configured = hydra.utils.instantiate(chosen, _convert_="all")
            loaded[mark] = AuditedData([], configured, list(configured.load(cache_dir)))
        data = loaded[mark]
        data.phases.append(name or "data")
        if phase is None:
            prompts, lengths, side, n_way, batch_size = cfg.prompts, None, None, None, None
            if all(source.scored for source in data.sources):
                side = Side(**cfg.audit.teacher)
            teacher_key = "audit.teacher"
        else:
            prompts, lengths, n_way, batch_size = phase.prompts, phase, phase.n_way, phase.batch_size
            objective = objective_from(phase.objective)
            check_data(name, data.sources, n_way, objective, phase.batch_size)
            side = objective.distillation.teacher if objective.distillation_weight > 0 else None
            teacher_key = f"phases.{name}.objective.distillation.teacher"
        tokenizer = tokenizer.with_rules(
            query_length=lengths and lengths.query_length,
            document_length=lengths and lengths.document_length,
            query_prompt=prompts.query,
            document_prompt=prompts.document,
            extend_length=prompts.extend_length,
        )
        keys = {
            role: f"phases.{name}.{role}_length"
            if lengths is not None and lengths[f"{role}_length"] is not None
            else f"student.{role}_length"
            for role in ("query", "document")
        }
        phases.append(
            AuditedPhase(name or "data", data, tokenizer, keys, batch_size, n_way, side, teacher_key)
        )
    return list(loaded.values()), phases


def _splits(cfg: DictConfig, data: Sequence[AuditedData], cache_dir: Path) -> tuple[dict[str, Split], str]:
    """The splits to look for, and a sentence on which they are."""
    configured = split_requests(cfg)
    own = _own_splits(data)
    embedded = bool(configured) and all(each.type == "installed_docs" for each in configured.values())
    wanted = cfg.audit.splits
    if wanted == "data" and not own:
        raise InputError(
            "audit.splits=data: the data is no BEIR-layout folder with other splits; use audit.splits=evaluation"
        )
    if wanted == "data" or (wanted == "auto" and own and embedded):
        requests, documents = own, None
        about = f"splits of the data's own folder: {', '.join(own)} (audit.splits={wanted})"
    elif not configured:
        return (
            {},
            "no evaluation split is configured, so nothing was looked for in training text (evaluation=...)",
        )
    else:
        requests = configured
        documents = None if cfg.evaluation.full else cfg.evaluation.documents
        about = f"evaluation splits as configured: {', '.join(configured)}"
    splits = load_splits(
        requests,
        documents=documents,
        cache_dir=cache_dir,
        tolerate_unknown_documents=cfg.evaluation.unknown_documents == "drop",
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
            if (folder / "corpus.jsonl").is_file():
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
