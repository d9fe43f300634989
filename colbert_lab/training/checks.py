"""Whether a phase's data, objective and prompts go together, and what of the data is not trained on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.tokenizer import TokenRules
from colbert_lab.settings.groups import TokenPoolingSettings
from colbert_lab.settings.typed import instance_of
from colbert_lab.text.fingerprint import text_key
from colbert_lab.text.rows.examples import Example, Examples
from colbert_lab.training.data import MicroBatches
from colbert_lab.training.objectives.objective import Objective
from colbert_lab.training.objectives.term import Term

log = logging.getLogger(__name__)
SAMPLE = 1000  # rows that are looked at before training


def check_data(
    name: str, sources: Sequence[Examples], n_way: int | None, objective: Objective, batch_size: int
) -> None:
    """Whether the data has what the objective needs.

    Raises:
        InputError: it has not.
    """
    if not sources:
        raise InputError(f"phases.{name}.data: no source to train on")
    for term_name, term in objective.terms.items():
        term.check(f"phases.{name}.objective.{term_name}", sources, n_way, batch_size)


def objective_from(settings: Mapping[str, Any]) -> Objective:
    """The objective of a phase's ``objective`` settings: each term by the class that it names.

    Raises:
        InputError: a value is not possible.
    """
    terms: dict[str, Term] = {}
    for name, chosen in settings.items():
        if chosen is None:
            continue
        if "_target_" not in chosen:
            raise InputError(
                f"objective.{name}: names no class; give its _target_, or choose a loss: "
                f"+loss@phases.NAME.objective.{name}=LOSS"
            )
        terms[name] = instance_of(chosen, f"objective.{name}", Term, "loss term")
    return Objective(terms)


def check_token_pooling(name: str, pooling: TokenPoolingSettings, model: ColBERT) -> None:
    """Whether a phase can pool the tokens of documents as it is to.

    Raises:
        InputError: the student has none to pool, or a setting has no effect.
    """
    key = f"phases.{name}.token_pooling"
    if pooling.factor > 1 and model.pooling is not None:
        raise InputError(
            f"{key}.factor={pooling.factor}: a student of one vector a text has no tokens to pool; set it to 1"
        )
    if pooling.factor == 1 and pooling != TokenPoolingSettings():
        raise InputError(
            f"{key}.protected={pooling.protected}: has no effect without {key}.factor; leave it out"
        )


def check_prompts(name: str, parent: TokenRules, phase: TokenRules, allow: bool) -> dict[str, str] | None:
    """Whether a phase reads text with the prompts that its parent was trained with.

    Returns:
        The parent's prompts when they differ and that is allowed, else None.

    Raises:
        InputError: they differ and that is not allowed.
    """
    theirs = {"query": parent.query_prompt, "document": parent.document_prompt}
    ours = {"query": phase.query_prompt, "document": phase.document_prompt}
    if ours == theirs:
        return None
    message = (
        f"phases.{name}.prompts: {ours} differ from the parent student's {theirs}; use prompts=inherit to keep the "
        "parent's, or set allow_prompt_mismatch=true to train with others"
    )
    if not allow:
        raise InputError(message)
    log.warning("%s", message)
    return theirs


def first_examples(batches: MicroBatches) -> list[Example]:
    """The first rows that training will read, as they are drawn for it."""
    n_batches = min(batches.per_epoch, math.ceil(SAMPLE / batches.batch_size))
    return [example for k in range(n_batches) for example in batches.examples(k)]


def tell_left_out(
    name: str, batches: MicroBatches, epochs: float | None, accumulation: int, max_steps: int
) -> None:
    """Log how many rows fill no micro-batch or no optimizer step, and so are not trained on."""
    size, rows = batches.batch_size, sum(map(len, batches.sources))
    left = rows - batches.per_epoch * size
    if epochs is None:
        if left:
            log.info(
                "%s: an epoch leaves out %d of %d rows, others each time, which fill no micro-batch of %d queries",
                name, left, rows, size,
            )  # fmt: skip
        return
    asked = math.floor(epochs * rows)
    missing = asked - max_steps * accumulation * size
    if missing > 0:
        log.log(
            logging.WARNING if missing > asked / 100 else logging.INFO,
            "%s: epochs=%g of %d rows are %d, and %d of them are not trained on, others each epoch: %d an epoch fill "
            "no micro-batch (batch_size=%d), the others no step (accumulation=%d)",
            name, epochs, rows, asked, missing, left, size, accumulation,
        )  # fmt: skip


def tell_positives(name: str, batches: MicroBatches) -> None:
    """Log how many queries have several positives, and how many of the first rows list one as a negative."""
    known = batches.known
    if known is None:
        return
    if known.queries:
        log.info(
            "%s: %d queries have several positives, %d together; none counts as a negative of its query",
            name, known.queries, known.pairs,
        )  # fmt: skip
    examples = first_examples(batches)
    good = [{text_key(example.documents[0]), *known.of(example.query)} for example in examples]
    listed = [
        example.query_id
        for example, keys in zip(examples, good, strict=True)
        if any(text_key(text) in keys for text in example.documents[1:])
    ]
    if listed:
        log.warning(
            "%s: of the first %d rows, those of these queries list a positive of the query as its negative, which is "
            "left out of the contrast: %s", name, len(examples), some_ids(listed),
        )  # fmt: skip
