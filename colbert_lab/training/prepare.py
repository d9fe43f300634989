"""Everything about a phase that can be checked before training: settings, data, teacher, truncation."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from omegaconf import DictConfig, OmegaConf

from colbert_lab.errors import InputError
from colbert_lab.objectives.contrastive import Contrastive
from colbert_lab.objectives.distillation import FLAT, ONE_HOT, Distillation, Side, normalised_entropy
from colbert_lab.objectives.mix import Mix
from colbert_lab.scoring.backends import AllPairs
from colbert_lab.scoring.blocked import maxsim_blocked
from colbert_lab.student.colbert import ColBERT
from colbert_lab.text.examples import Examples
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.tokens.tokenizer import StudentTokenizer
from colbert_lab.tokens.truncation import Truncation, truncation
from colbert_lab.training.checks import check_data, check_prompts
from colbert_lab.training.data import MicroBatches
from colbert_lab.training.optim import OptimizerFactory, make_optimizer, optimizer_factory, warmup_steps
from colbert_lab.types import Role

log = logging.getLogger(__name__)
SAMPLE = 1000  # rows that are looked at before training
T = TypeVar("T")


@dataclass(frozen=True)
class PreparedPhase:
    """A phase whose settings and data have been checked and that is ready to train.

    Attributes:
        name: the slot's name.
        settings: the phase's settings.
        tokenizer: the student's tokenizer with the phase's lengths.
        batches: micro-batch k.
        objective: what it minimises.
        optimizer: makes its optimizer from parameter groups.
        max_steps: optimizer steps.
        entropy: mean normalised teacher entropy; None without distillation.
        prompt_mismatch: the parent's prompts, when they differ and that was allowed.
        truncation: by role, how many texts are cut.
        all_pairs: scores every query of a batch against every document.
    """

    name: str
    settings: DictConfig
    tokenizer: StudentTokenizer
    batches: MicroBatches
    objective: Mix
    optimizer: OptimizerFactory
    max_steps: int
    entropy: float | None
    prompt_mismatch: dict[str, str] | None
    truncation: dict[str, Truncation]
    all_pairs: AllPairs = maxsim_blocked

    @property
    def data_fingerprint(self) -> str:
        """Hash of the training data of all sources."""
        return fingerprint([source.fingerprint for source in self.batches.sources])


def prepare_phase(
    name: str,
    settings: DictConfig,
    sources: Sequence[Examples],
    tokenizer: StudentTokenizer,
    *,
    seed: int,
    allow_flat_teacher: bool,
    allow_prompt_mismatch: bool,
    world: int = 1,
    weights: Sequence[float] | None = None,
    all_pairs: AllPairs = maxsim_blocked,
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
        world: number of processes.
        weights: relative frequency of the sources; None for proportional to size.
        all_pairs: see :class:`PreparedPhase`.

    Raises:
        InputError: a setting or the data cannot be worked with.
    """
    for key in ("accumulation", "checkpoint_every", "log_every", "token_budget"):
        if settings[key] < 1:
            raise InputError(f"phases.{name}.{key}={settings[key]}: must be at least 1")
    objective = _keyed(name, lambda: objective_from(settings.objective))
    check_data(name, sources, settings.n_way, objective, settings.batch_size)
    parent = tokenizer.rules
    tokenizer = tokenizer.with_rules(
        query_length=settings.query_length,
        document_length=settings.document_length,
        query_prompt=settings.prompts.query,
        document_prompt=settings.prompts.document,
        extend_length=settings.prompts.extend_length,
    )
    mismatch = check_prompts(name, parent, tokenizer.rules, allow_prompt_mismatch)
    batches = MicroBatches(
        sources,
        tokenizer,
        batch_size=settings.batch_size,
        n_way=settings.n_way,
        token_budget=settings.token_budget,
        seed=seed,
        phase=name,
        weights=weights,
        world=world,
    )
    max_steps = count_steps(name, settings, batches.per_epoch)
    _keyed(name, lambda: warmup_steps(settings.lr_schedule.name, settings.lr_schedule.warmup, max_steps))
    chosen: dict[str, Any] = OmegaConf.to_container(settings.optimizer)  # type: ignore[assignment]
    optimizer = _keyed(name, lambda: optimizer_factory(chosen))
    entropy = None
    if objective.distillation_weight > 0:
        entropy = teacher_entropy(batches, objective)
        check_teacher(name, batches, entropy, allow_flat_teacher)
    audit = audit_truncation(name, batches)
    return PreparedPhase(
        name,
        settings,
        tokenizer,
        batches,
        objective,
        optimizer,
        max_steps,
        entropy,
        mismatch,
        audit,
        all_pairs,
    )


def objective_from(settings: DictConfig) -> Mix:
    """The objective of a phase's ``objective`` settings.

    Raises:
        InputError: a value is not possible.
    """
    distillation, contrastive = settings.distillation, settings.contrastive
    contrastive_settings = {key: value for key, value in contrastive.items() if key != "weight"}
    return Mix(
        Distillation(Side(**distillation.teacher), Side(**distillation.student), distillation.direction),
        Contrastive(**contrastive_settings),
        distillation.weight,
        contrastive.weight,
    )


def check_groups(phase: PreparedPhase, model: ColBERT) -> None:
    """Whether the phase's learning rates have something to work on in this network.

    Raises:
        InputError: they have not.
    """
    settings = phase.settings
    _keyed(
        phase.name,
        lambda: make_optimizer(phase.optimizer, model, model, settings.head_lr, settings.layer_decay),
    )


def audit_truncation(name: str, batches: MicroBatches) -> dict[str, Truncation]:
    """Log how much text the lengths cut off, over the first rows that training will read."""
    n_batches = min(batches.per_epoch, math.ceil(SAMPLE / batches.batch_size))
    examples = [example for k in range(n_batches) for example in batches.examples(k)]
    documents = {document for example in examples for document in example.documents}
    texts: dict[Role, list[str]] = {
        "query": [example.query for example in examples],
        "document": sorted(documents)[:SAMPLE],
    }
    found = {role: truncation(batches.tokenizer, texts[role], role) for role in texts}
    for role, audit in found.items():
        log.info(
            "%s: %.1f%% of %d %s texts are cut (%.1f%% without prompt)",
            name, 100 * audit.cut, audit.texts, role, 100 * audit.cut_without_prompt,
        )  # fmt: skip
    return {str(role): audit for role, audit in found.items()}


def count_steps(name: str, settings: DictConfig, per_epoch: int) -> int:
    """Optimizer steps of a phase, from ``steps`` or ``epochs``.

    Args:
        name: the phase's name.
        settings: the phase's settings.
        per_epoch: micro-batches in one pass over the data.

    Raises:
        InputError: both or neither are set, or nothing would be trained.
    """
    steps, epochs = settings.steps, settings.epochs
    if (steps is None) == (epochs is None):
        raise InputError(f"phases.{name}: set exactly one of steps and epochs (the other null)")
    total = steps if steps is not None else math.floor(epochs * per_epoch / settings.accumulation)
    if total < 1:
        raise InputError(
            f"phases.{name}: no optimizer step to take; raise steps or epochs, or lower batch_size"
        )
    return int(total)


def teacher_entropy(batches: MicroBatches, objective: Mix) -> float:
    """Mean normalised entropy of the teacher over the first rows that training will read, as drawn for it."""
    n_batches = min(batches.per_epoch, math.ceil(SAMPLE / batches.batch_size))
    lists = [example.scores for k in range(n_batches) for example in batches.examples(k)]
    entropies = [
        normalised_entropy(torch.from_numpy(scores)[None], objective.distillation.teacher)
        for scores in lists
        if scores is not None
    ]
    return float(torch.cat(entropies).mean())


def check_teacher(name: str, batches: MicroBatches, entropy: float, allow: bool) -> None:
    """Stop before step 1 when the teacher has nothing to teach.

    Raises:
        InputError: the teacher is flat or one-hot and ``allow`` is false.
    """
    log.info("%s: mean normalised teacher entropy %.4f (0 one-hot, 1 uniform)", name, entropy)
    if ONE_HOT <= entropy <= FLAT:
        return
    kind = "almost uniform" if entropy > FLAT else "almost one-hot"
    data = ", ".join(source.name for source in batches.sources)
    message = (
        f"phases.{name}.objective.distillation.teacher: the scores of {data} make an {kind} distribution "
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
