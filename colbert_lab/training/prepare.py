"""Everything about a phase that can be checked before training: settings, data, teacher, truncation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Role
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.student import check_reading
from colbert_lab.model.tokenizer import StudentTokenizer
from colbert_lab.model.unread import Truncation, check_student_knows, truncation
from colbert_lab.settings.groups import LoraSettings, PhaseSettings
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.rows.examples import Examples
from colbert_lab.training.checks import (
    SAMPLE,
    check_data,
    check_prompts,
    check_token_pooling,
    first_examples,
    objective_from,
    tell_left_out,
    tell_positives,
)
from colbert_lab.training.data import MicroBatches
from colbert_lab.training.freezing import check_head_only, frozen
from colbert_lab.training.limits import LIMIT, REPEAT, count_steps, repeated
from colbert_lab.training.lora import adapted
from colbert_lab.training.objectives.distillation import FLAT, ONE_HOT, normalised_entropy
from colbert_lab.training.objectives.objective import Objective
from colbert_lab.training.objectives.scoring import Scoring
from colbert_lab.training.objectives.term import Side
from colbert_lab.training.optim import OptimizerFactory, make_optimizer, optimizer_factory
from colbert_lab.training.positives import KnownPositives
from colbert_lab.training.schedules import spans_of

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class PreparedPhase:
    """A phase whose settings and data have been checked and that is ready to train.

    Attributes:
        name: the slot's name.
        settings: the phase's settings.
        tokenizer: the student's tokenizer with the phase's lengths.
        seed: the run's seed.
        batches: micro-batch k.
        objective: what it minimises.
        optimizer: makes its optimizer from parameter groups.
        max_steps: optimizer steps.
        entropy: mean normalised teacher entropy of the first term that reads teacher scores as a distribution;
            None where none does.
        prompt_mismatch: the parent's prompts, when they differ and that was allowed.
        truncation: by role, how many texts are cut.
        lora: the adapters that are trained in the place of the backbone, if any.
        scoring: what makes scores of embeddings.
        compile: backend of torch.compile, ``trainer.compile``; None compiles nothing.
        flags: of Lightning's Trainer, ``trainer.lightning``; ``batches`` and ``max_steps`` are what they leave.
        num_workers: processes that tokenize ahead.
    """

    name: str
    settings: PhaseSettings
    tokenizer: StudentTokenizer
    seed: int
    batches: MicroBatches
    objective: Objective
    optimizer: OptimizerFactory
    max_steps: int
    entropy: float | None
    prompt_mismatch: dict[str, str] | None
    truncation: dict[str, Truncation]
    lora: LoraSettings | None = None
    scoring: Scoring = field(default_factory=Scoring)
    compile: str | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    num_workers: int = 0

    @property
    def data_fingerprint(self) -> str:
        """Hash of the training data of all sources."""
        return fingerprint([source.fingerprint for source in self.batches.sources])

    def adapted(self, model: ColBERT) -> AbstractContextManager[None]:
        """See :func:`colbert_lab.training.lora.adapted`; each phase of a seed has adapters of its own."""
        seed = int(fingerprint([str(self.seed), self.name]), 16) % 2**32
        return adapted(model, self.lora, seed)


def prepare_phase(
    name: str,
    settings: PhaseSettings,
    sources: Sequence[Examples],
    tokenizer: StudentTokenizer,
    *,
    seed: int,
    allow_flat_teacher: bool,
    allow_prompt_mismatch: bool,
    weights: Sequence[float] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> PreparedPhase:
    """Check a phase.

    Args:
        name: the slot's name.
        settings: the phase's settings.
        sources: its data.
        tokenizer: of the student that the phase will start from.
        seed: the run's seed.
        allow_flat_teacher: go on although the teacher has nothing to teach.
        allow_prompt_mismatch: go on although the phase's prompts differ from its parent's.
        weights: relative frequency of the sources; None for proportional to size.
        flags: of Lightning's Trainer, ``trainer.lightning``.

    Raises:
        InputError: a setting or the data cannot be worked with.
    """
    flags = flags or {}
    objective = _keyed(name, lambda: objective_from(settings.objective))
    check_data(name, sources, settings.n_way, objective, settings.batch_size)
    parent, prompts = tokenizer.rules, settings.prompts
    assert prompts is not None  # a checked config has them
    tokenizer = tokenizer.with_rules(
        query_length=settings.query_length,
        document_length=settings.document_length,
        query_prompt=prompts.query,
        document_prompt=prompts.document,
        extend_length=prompts.extend_length,
    )
    mismatch = check_prompts(name, parent, tokenizer.rules, allow_prompt_mismatch)
    known = KnownPositives(sources) if objective.negatives else None
    batches = MicroBatches(
        sources,
        tokenizer,
        batch_size=settings.batch_size,
        n_way=settings.n_way,
        token_budget=settings.token_budget,
        seed=seed,
        phase=name,
        weights=weights,
        known=known,
    )
    batches = repeated(name, batches, flags)
    max_steps = count_steps(name, settings, batches.per_epoch, flags)
    schedule = settings.lr_schedule
    _keyed(name, lambda: spans_of(schedule.name, schedule.warmup, max_steps, schedule.decay))
    optimizer = optimizer_factory(settings.optimizer)
    entropies = {term: teacher_entropy(batches, side) for term, side in objective.sides.items()}
    for term, entropy in entropies.items():
        check_teacher(f"phases.{name}.objective.{term}.teacher", batches, entropy, allow_flat_teacher)
    if not flags.get(REPEAT) and flags.get(LIMIT) is None:
        tell_left_out(name, batches, settings.epochs, settings.accumulation, max_steps)
    tell_positives(name, batches)
    audit = audit_truncation(name, batches)
    return PreparedPhase(
        name, settings, tokenizer, seed, batches, objective, optimizer, max_steps,
        next(iter(entropies.values()), None), mismatch, audit,
        scoring=Scoring(score=tokenizer.rules.score, pooling=settings.token_pooling), flags=flags,
    )  # fmt: skip


def check_network(phase: PreparedPhase, model: ColBERT) -> None:
    """Whether a network can take the phase's lengths and terms, and has what it freezes and its learning rates work on.

    Raises:
        InputError: it cannot, or they have not.
    """
    settings = phase.settings
    check_token_pooling(phase.name, settings.token_pooling, model)
    needs = [name for name, term in phase.objective.terms.items() if term.tokens]
    if needs and model.pooling is not None:
        raise InputError(
            f"phases.{phase.name}.objective.{needs[0]}.weight: chooses among the tokens of documents, and a dense "
            "student (student.output=single) has one vector a text; set it to 0"
        )
    check_reading(phase.tokenizer, model.backbone, "the student's backbone", f"phases.{phase.name}")

    def check() -> None:
        with frozen(model, settings.freeze):
            if phase.lora is not None and not any(p.requires_grad for p in model.backbone.parameters()):
                raise InputError(
                    "freeze: leaves nothing of the adapters of student.lora to train; leave one of them out"
                )
            check_head_only(model, settings.head_only_steps, phase.max_steps)
            make_optimizer(phase.optimizer, model, model, settings.head_lr, settings.layer_decay)

    with phase.adapted(model):
        _keyed(phase.name, check)


def audit_truncation(name: str, batches: MicroBatches) -> dict[str, Truncation]:
    """Log how much text the lengths cut off and how many words are unknown, over the first rows of training.

    Raises:
        InputError: the tokenizer knows (almost) no word.
    """
    examples = first_examples(batches)
    documents = {document for example in examples for document in example.documents}
    texts: dict[Role, list[str]] = {
        "query": [example.query for example in examples],
        "document": sorted(documents)[:SAMPLE],
    }
    found = {role: truncation(batches.tokenizer, texts[role], role) for role in texts}
    for role, audit in found.items():
        what = f"{role} texts of {', '.join(source.name for source in batches.sources)}"
        unknown = check_student_knows(batches.tokenizer, texts[role], f"phases.{name}.data", what)
        log.info(
            "%s: %.1f%% of %d %s texts are cut%s (%.1f%% without prompt), %.1f%% of their words are unknown",
            name, 100 * audit.cut, audit.texts, role, batches.tokenizer.cut_side, 100 * audit.cut_without_prompt,
            100 * unknown,
        )  # fmt: skip
    return {str(role): audit for role, audit in found.items()}


def teacher_entropy(batches: MicroBatches, side: Side) -> float:
    """Mean normalised entropy of the teacher over the first rows that training will read, as drawn for it."""
    lists = [example.scores for example in first_examples(batches)]
    entropies = [
        normalised_entropy(torch.from_numpy(scores)[None], side) for scores in lists if scores is not None
    ]
    return float(torch.cat(entropies).mean())


def check_teacher(key: str, batches: MicroBatches, entropy: float, allow: bool) -> None:
    """Stop before step 1 when the teacher has nothing to teach.

    Raises:
        InputError: the teacher is flat or one-hot and ``allow`` is false.
    """
    log.info("%s: mean normalised teacher entropy %.4f (0 one-hot, 1 uniform)", key.split(".")[1], entropy)
    if ONE_HOT <= entropy <= FLAT:
        return
    kind = "almost uniform" if entropy > FLAT else "almost one-hot"
    data = ", ".join(source.name for source in batches.sources)
    message = (
        f"{key}: the scores of {data} make an {kind} distribution "
        f"(normalised entropy {entropy:.4f}, wanted {ONE_HOT} to {FLAT}); change normalisation or temperature, "
        "or set allow_flat_teacher=true"
    )
    if not allow:
        raise InputError(message)
    log.warning("%s", message)


def _keyed(name: str, check: Callable[[], T]) -> T:
    """Put the phase in front of the key that an error names."""
    try:
        return check()
    except InputError as error:
        raise InputError(f"phases.{name}.{error}") from error
