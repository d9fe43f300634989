"""Run a student over many texts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from colbert_lab.errors import InputError
from colbert_lab.student.student import Student
from colbert_lab.tokens.tokenizer import NoScoringTokenError, length_sorted_batches
from colbert_lab.types import PackedEmbeddings, Role

TOKENIZE_AT_ONCE = 4096  # texts; keeps the progress bar moving and the token lists of one call small


def encode(
    student: Student,
    texts: Sequence[str],
    role: Role,
    *,
    token_budget: int,
    precision: str = "32-true",
    progress: str | None = None,
    ids: Sequence[str] | None = None,
) -> PackedEmbeddings:
    """Embed texts in batches of similar length and keep only the tokens that score.

    The model is put into eval mode for the time of the call, and dropout draws nothing, so training goes
    on from the same random state.

    Args:
        student: the model and its tokenizer; its prompts are applied by role.
        texts: the texts, without prompt.
        role: ``query`` or ``document``.
        token_budget: most padded tokens a batch.
        precision: ``32-true``, or ``bf16-mixed`` / ``16-mixed`` for autocast.
        progress: title of a progress bar in tokens with ETA; None shows none.
        ids: names of the texts, for errors.

    Returns:
        float32 embeddings on the CPU, in the order of ``texts``.

    Raises:
        InputError: no texts, or a text leaves no scoring token.
    """
    if not texts:
        raise InputError(f"there are no {role} texts to encode")
    rows: list[list[int]] = []
    for start in range(0, len(texts), TOKENIZE_AT_ONCE):
        rows += student.tokenizer.ids(list(texts[start : start + TOKENIZE_AT_ONCE]), role)
    batches = list(length_sorted_batches([len(row) for row in rows], token_budget))
    device = next(student.model.parameters()).device
    kept: list[tuple[list[int], torch.Tensor, torch.Tensor]] = []
    training = student.model.training
    student.model.eval()
    bar = tqdm(
        total=sum(map(len, rows)),
        desc=progress,
        unit="tok",
        unit_scale=True,
        disable=None if progress else True,
    )
    try:
        with torch.inference_mode(), autocast(device, precision), bar:
            for batch in batches:
                try:
                    tokens = student.tokenizer.pad([rows[n] for n in batch], role)
                except NoScoringTokenError as error:
                    names = [
                        ids[batch[r]] if ids is not None else f"text {batch[r]}" for r in range(len(batch))
                    ]
                    raise NoScoringTokenError(role, error.rows, names) from None
                embeddings = student.model(tokens.to(device))
                packed_TD = embeddings.emb_NLD[embeddings.mask_NL].cpu()
                kept.append((batch, packed_TD, embeddings.mask_NL.sum(dim=1).cpu()))
                bar.update(sum(len(rows[n]) for n in batch))
    finally:
        student.model.train(training)
    return _in_order(kept, len(texts))


def _in_order(kept: list[tuple[list[int], torch.Tensor, torch.Tensor]], n_texts: int) -> PackedEmbeddings:
    lengths_N = torch.zeros(n_texts, dtype=torch.int64)
    for batch, _, lengths in kept:
        lengths_N[torch.tensor(batch)] = lengths
    starts_N = torch.cumsum(lengths_N, 0) - lengths_N
    emb_TD = torch.empty(int(lengths_N.sum()), kept[0][1].shape[1])
    while kept:
        batch, packed_TD, lengths = kept.pop()
        emb_TD[token_rows(starts_N[torch.tensor(batch)], lengths)] = packed_TD
    return PackedEmbeddings(emb_TD, lengths_N)


def token_rows(starts_N: torch.Tensor, lengths_N: torch.Tensor) -> torch.Tensor:
    """Row numbers of the tokens of texts that start at ``starts_N`` and have ``lengths_N`` tokens, end to end."""
    first_T = torch.repeat_interleave(starts_N - (torch.cumsum(lengths_N, 0) - lengths_N), lengths_N)
    return first_T + torch.arange(int(lengths_N.sum()))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The autocast context of a Lightning precision name; disabled for ``32-true``."""
    dtype = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "32-true")
