"""The audit itself: what is looked at, in which order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from colbert_lab.audit.findings import DataFindings, Findings, PhaseFindings, Source, shares
from colbert_lab.audit.lengths import Counts, Lengths, count_split, count_training, lengths_of, pooled
from colbert_lab.audit.overlaps import find_contamination, find_duplicates
from colbert_lab.audit.teacher import audit_teacher
from colbert_lab.audit.training_text import TrainingText, training_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.evaluation.protocol import RULES
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.settings.tasks import AuditSettings
from colbert_lab.text.collections.splits import is_held_out_split
from colbert_lab.text.fingerprint import overlapping_queries
from colbert_lab.text.rows.examples import Examples, ScoredLists
from colbert_lab.training.objectives.term import Side

log = logging.getLogger(__name__)


@dataclass
class AuditedData:
    """One data setting.

    Attributes:
        phases: names of the phases that train on it.
        configured: what the config describes; it has the weights.
        sources: what it loads.
    """

    phases: list[str]
    configured: Any
    sources: list[Examples]


@dataclass(frozen=True)
class AuditedPhase:
    """How a phase reads its data.

    Attributes:
        name: of the phase; ``data`` where there is none.
        data: what it trains on.
        tokenizer: the student's, with the phase's lengths and prompts.
        keys: by role, the config key of the length.
        batch_size: queries of a batch; None where there is no phase.
        n_way: documents of a list that are drawn; None for all.
        teacher: normalisation and temperature; None where nothing is distilled.
        teacher_key: config key of these.
    """

    name: str
    data: AuditedData
    tokenizer: StudentTokenizer
    keys: dict[str, str]
    batch_size: int | None
    n_way: int | None
    teacher: Side | None
    teacher_key: str


def audit(
    name: str,
    data: Sequence[AuditedData],
    phases: Sequence[AuditedPhase],
    splits: Mapping[str, Split],
    tokenizer: StudentTokenizer,
    *,
    scope: AuditSettings,
    seed: int,
    drops: bool,
    notes: Sequence[str],
) -> Findings:
    """Look at everything.

    Args:
        name: the config's.
        data: each data setting once; held-out queries of ``splits`` are taken out of its sources.
        phases: how they are read.
        splits: what is evaluated.
        tokenizer: the student's, for the splits.
        scope: see :class:`colbert_lab.settings.tasks.AuditSettings`.
        seed: of all draws.
        drops: whether training leaves contaminated queries out.
        notes: more to say in the report.

    Raises:
        InputError: a split's lengths leave no room for text.
    """
    found = [_data(each, splits, scope, seed) for each in data]
    counted: dict[int, list[Counts]] = {}
    for each in data:
        texts = [training_text(source) for source in each.sources]
        counts = (count_training(text, tokenizer, scope.rows, seed + n) for n, text in enumerate(texts))
        counted[id(each)] = list(counts)
    of_phases = [_phase(phase, counted[id(phase.data)], scope, seed) for phase in phases]
    evaluation, told = _evaluation(splits, tokenizer, scope, seed), [*notes, *_notes(found, scope)]
    return Findings(name, seed, asdict(scope), found, of_phases, evaluation, told, drops)


def _data(each: AuditedData, splits: Mapping[str, Split], scope: AuditSettings, seed: int) -> DataFindings:
    left_out: dict[str, int] = {}
    held_out = {key: split for key, split in splits.items() if is_held_out_split(split)}
    for n, source in enumerate(each.sources):
        for key, ids in overlapping_queries(source.training_queries(), held_out).items():
            if ids:
                each.sources[n] = each.sources[n].without(set(ids))
                left_out[key] = left_out.get(key, 0) + len(ids)
    texts: list[TrainingText] = [training_text(source) for source in each.sources]
    contamination = []
    if splits:
        contamination = find_contamination(
            splits,
            texts,
            corpora=[source.corpus.fingerprint for source in each.sources if isinstance(source, ScoredLists)],
            ngram=scope.ngram,
            near=scope.near,
            documents=scope.documents,
            seed=seed,
        )
    return DataFindings(each.phases, [find_duplicates(text) for text in texts], contamination, left_out)


def _phase(phase: AuditedPhase, counts: Sequence[Counts], scope: AuditSettings, seed: int) -> PhaseFindings:
    sources, weights = phase.data.sources, phase.data.configured.weights
    parts = shares([len(source) for source in sources], weights, phase.batch_size)
    widths = [training_text(source).widths() for source in sources]
    rows = [
        Source(
            source.name,
            source.fingerprint,
            len(source),
            None if weights is None else float(weights[n]),
            parts[n],
            int(widths[n].min()),
            int(widths[n].max()),
        )
        for n, source in enumerate(sources)
    ]
    lengths: list[Lengths] = []
    for source, each in zip(sources, counts, strict=True):
        lengths += lengths_of(source.name, each, phase.tokenizer)
    if len(sources) > 1:
        lengths += lengths_of("all sources", pooled(counts), phase.tokenizer)
    key, n_way = phase.teacher_key, phase.n_way
    teachers = [
        audit_teacher(source, phase.teacher, key=key, n_way=n_way, most=scope.rows, seed=seed)
        for source in sources
        if phase.teacher is not None and isinstance(source, ScoredLists)
    ]
    return PhaseFindings(phase.name, phase.keys, rows, lengths, teachers)


def _evaluation(
    splits: Mapping[str, Split], tokenizer: StudentTokenizer, scope: AuditSettings, seed: int
) -> list[Lengths]:
    lengths = []
    for key, split in splits.items():
        try:
            asked = tokenizer.with_rules(**{rule: split.protocol.get(rule) for rule in RULES})
        except InputError as error:
            raise InputError(f"evaluation.splits.{key}.protocol: {error}") from error
        counts = count_split(split, tokenizer, scope.rows, seed)
        lengths += lengths_of(f"{key} ({split.dataset})", counts, asked)
    return lengths


def _notes(found: Sequence[DataFindings], scope: AuditSettings) -> list[str]:
    rows = "all rows" if scope.rows is None else f"up to {scope.rows:,} rows"
    notes = [
        f"lengths and teacher: {rows} of each source and as many of their documents, drawn by the seed (audit.rows)"
    ]
    for each in found:
        for key, count in each.left_out.items():
            notes.append(
                f"{each.label}: {count} queries are held out for {key}; left out here, as in training"
            )
        for split in each.contamination:
            if split.documents.looked_at < split.documents_in_corpus:
                notes.append(
                    f"{split.split}: {split.documents.looked_at:,} of {split.documents_in_corpus:,} documents were "
                    "looked for, relevant ones first (audit.documents)"
                )
    return list(dict.fromkeys(notes))
