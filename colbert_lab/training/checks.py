"""Whether a phase's data, objective and prompts go together."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from colbert_lab.errors import InputError
from colbert_lab.objectives.mix import Mix
from colbert_lab.text.examples import Examples
from colbert_lab.tokens.tokenizer import TokenRules

log = logging.getLogger(__name__)


def check_data(
    name: str, sources: Sequence[Examples], n_way: int | None, objective: Mix, batch_size: int
) -> None:
    """Whether the data has what the objective needs.

    Raises:
        InputError: it has not.
    """
    key = f"phases.{name}.objective"
    if not sources:
        raise InputError(f"phases.{name}.data: no source to train on")
    unscored = [source.name for source in sources if not source.scored]
    if objective.distillation_weight > 0:
        if unscored:
            raise InputError(
                f"{key}.distillation.weight: {unscored[0]} has no teacher scores to distil; set it to 0, or choose "
                "data with scores"
            )
        if n_way == 1:
            raise InputError(f"phases.{name}.n_way=1: distillation compares at least 2 documents of a query")
    if (
        objective.contrastive_weight > 0
        and objective.contrastive.false_negative_ratio is not None
        and unscored
    ):
        raise InputError(
            f"{key}.contrastive.false_negative_ratio: has no effect, {unscored[0]} has no teacher scores; set it to "
            "null, or choose data with scores"
        )
    contrastive = objective.contrastive
    if objective.contrastive_weight == 0 or (contrastive.own_negatives and contrastive.batch_negatives):
        return
    switched = "own_negatives" if not contrastive.own_negatives else "batch_negatives"
    if n_way == 1 or all(source.fewest == 1 for source in sources):
        what = "has no effect" if switched == "own_negatives" else "leaves nothing to contrast with"
        raise InputError(
            f"{key}.contrastive.{switched}=false: {what}, queries have no negatives of their own"
        )
    if switched == "own_negatives" and batch_size == 1:
        raise InputError(
            f"{key}.contrastive.own_negatives=false: leaves nothing to contrast with in a batch of one query; raise "
            f"phases.{name}.batch_size"
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
