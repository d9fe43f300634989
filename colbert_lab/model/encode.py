"""Run a student over many texts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from colbert_lab.base.atomic import named_when_full, write_text
from colbert_lab.base.errors import InputError, NoScoringTokenError, some_ids
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Embeddings, PackedEmbeddings, Role, Tokens
from colbert_lab.model.batches import Embed, length_sorted_batches
from colbert_lab.model.blocks import token_rows
from colbert_lab.model.devices import Download, autocast, lowered, upload, works_behind
from colbert_lab.model.student import Student

TOKENIZE_AT_ONCE = 4096  # texts; keeps the progress bar moving and the token lists of one call small
SAVE_SECONDS = 20.0  # of work that a kill may cost


class Resumable:
    """Embeddings in a file, filled batch by batch, of which it is known how many batches are whole.

    Args:
        path: the file; what it holds must be the same whenever it is filled, batches included.
        shape: tokens and dimensions.
        dtype: of the embeddings.

    Attributes:
        emb_TD: the embeddings.
        done: batches that are whole.
    """

    def __init__(self, path: Path, shape: tuple[int, int], dtype: torch.dtype) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.note = path.with_suffix(".batches")
        known = path.is_file() and path.stat().st_size == shape[0] * shape[1] * dtype.itemsize
        self.done, self._saved = 0, time.monotonic()
        with suppress(OSError, ValueError):
            self.done = int(self.note.read_text(encoding="utf-8")) if known else 0
        if not known:
            _take_room(path, shape[0] * shape[1] * dtype.itemsize)
        self._file = np.memmap(path, str(dtype).removeprefix("torch."), "r+", shape=shape)
        self.emb_TD = torch.from_numpy(self._file)

    def save(self, done: int, at_once: bool = False) -> None:
        """Note that so many batches are whole, where the last note is some time ago."""
        if at_once or time.monotonic() - self._saved >= SAVE_SECONDS:
            self._file.flush()
            write_text(self.note, str(done))
            self._saved = time.monotonic()


def _take_room(path: Path, size: int) -> None:
    """Make a file of some bytes: where memory is mapped that has no room on the disk, writing to it ends the process.

    Raises:
        OSError: there is no room, with the file's name; the file is then not there.
    """
    try:
        with named_when_full(path), path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:  # macOS
                file.truncate(size)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def encode(
    student: Student,
    texts: Sequence[str],
    role: Role,
    *,
    token_budget: int,
    precision: str = "32-true",
    progress: str | None = None,
    ids: Sequence[str] | None = None,
    most: int | None = None,
) -> PackedEmbeddings:
    """Embed texts in batches of similar length and keep only the tokens that score.

    The model is put into eval mode for the time of the call, and dropout draws nothing, so training goes
    on from the same random state. Embeddings are held once: how many tokens score is known before, and each batch is
    written to its place.

    Args:
        student: the model and its tokenizer; its prompts are applied by role.
        texts: the texts, without prompt.
        role: ``query`` or ``document``.
        token_budget: most padded tokens a batch.
        precision: ``32-true`` or ``bf16-true``, or ``bf16-mixed`` / ``16-mixed`` for autocast.
        progress: title of a progress bar in tokens with ETA; None shows none.
        ids: names of the texts, for errors.
        most: texts of a batch at most; None for any number.

    Returns:
        float32 embeddings on the CPU, in the order of ``texts``.

    Raises:
        InputError: no texts, a text leaves no scoring token, or embeddings are not finite.
    """
    return _encode(_Tokenized.of(student, texts, role, token_budget, ids, most), precision, progress)[0]


def encode_by_length(
    student: Student,
    texts: Sequence[str],
    role: Role,
    *,
    token_budget: int,
    precision: str = "32-true",
    progress: str | None = None,
    ids: Sequence[str] | None = None,
    dtype: torch.dtype = torch.float32,
    file: Path | None = None,
) -> tuple[PackedEmbeddings, torch.Tensor]:
    """The same in order of rising number of scoring tokens; also the position in ``texts`` of each, int64 [N].

    Args and raises: as :func:`encode`; ``dtype`` is that of the embeddings, which are in ``file`` if it is given: what
    a killed process had written there is not computed again, see :class:`Resumable`.
    """
    texts_of = _Tokenized.of(student, texts, role, token_budget, ids)
    return _encode(texts_of, precision, progress, dtype, file, by_length=True)


@dataclass(frozen=True)
class _Tokenized:
    """Texts that are to be embedded, as token ids in batches of similar length."""

    student: Student
    role: Role
    ids: Sequence[str] | None
    rows: list[list[int]]
    batches: list[list[int]]

    @classmethod
    def of(
        cls,
        student: Student,
        texts: Sequence[str],
        role: Role,
        token_budget: int,
        ids: Sequence[str] | None,
        most: int | None = None,
    ) -> _Tokenized:
        if not texts:
            raise InputError(f"there are no {role} texts to encode")
        rows: list[list[int]] = []
        for start in range(0, len(texts), TOKENIZE_AT_ONCE):
            rows += student.tokenizer.ids(list(texts[start : start + TOKENIZE_AT_ONCE]), role)
        batches = list(length_sorted_batches([len(row) for row in rows], token_budget, most))
        return cls(student, role, ids, rows, batches)

    def names(self, batch: list[int]) -> list[str]:
        return [self.ids[n] if self.ids is not None else f"text {n}" for n in batch]

    def tokens(self, batch: list[int]) -> Tokens:
        try:
            return self.student.tokenizer.pad([self.rows[n] for n in batch], self.role)
        except NoScoringTokenError as error:
            raise NoScoringTokenError(self.role, error.rows, self.names(batch)) from None


def _encode(
    texts: _Tokenized,
    precision: str,
    progress: str | None,
    dtype: torch.dtype = torch.float32,
    file: Path | None = None,
    by_length: bool = False,
) -> tuple[PackedEmbeddings, torch.Tensor]:
    student, rows, batches = texts.student, texts.rows, texts.batches
    lengths_N = torch.ones(len(rows), dtype=torch.int64)
    for batch in batches:
        scoring_B = texts.tokens(batch).score_mask_NL.sum(dim=1)
        if student.model.pooling is None:
            lengths_N[torch.tensor(batch)] = scoring_B
    order_N = torch.argsort(lengths_N, stable=True) if by_length else torch.arange(len(rows))
    starts_N = torch.empty_like(lengths_N)
    starts_N[order_N] = torch.cumsum(lengths_N[order_N], 0) - lengths_N[order_N]
    shape = int(lengths_N.sum()), student.model.dim
    kept = Resumable(file, shape, dtype) if file is not None else None
    emb_TD = torch.empty(shape, dtype=dtype) if kept is None else kept.emb_TD
    done = 0 if kept is None else kept.done
    device = next(student.model.parameters()).device
    training = student.model.training
    student.model.eval()
    bar = progress_bar(
        total=sum(map(len, rows)),
        desc=progress,
        unit="tok",
        unit_scale=True,
        disable=not progress,
    )
    try:
        with torch.inference_mode(), autocast(device, precision), bar:
            embed: Embed = lowered(student.model, precision, once=True)
            bar.update(sum(len(rows[n]) for batch in batches[:done] for n in batch))
            computed = _computed(texts, embed, batches[done:], device)
            for number, (batch, embeddings, packed) in enumerate(computed, start=done + 1):
                packed_TD = packed.wait()
                if not bool(packed_TD.isfinite().all()):
                    _name_not_finite(embeddings, texts.names(batch), texts.role)
                places_B = torch.tensor(batch)
                emb_TD[token_rows(starts_N[places_B], lengths_N[places_B])] = packed_TD.to(dtype)
                bar.update(sum(len(rows[n]) for n in batch))
                if kept is not None:
                    kept.save(number, at_once=number == len(batches))
    finally:
        student.model.train(training)
    return PackedEmbeddings(emb_TD, lengths_N[order_N]), order_N


_Computed = tuple[list[int], Embeddings, Download]


def _computed(
    texts: _Tokenized, embed: Embed, batches: Sequence[list[int]], device: torch.device
) -> Iterator[_Computed]:
    """Each batch, its embeddings on the device, and those of its scoring tokens on their way to the CPU.

    A device that works behind has the next batch by the time that one is asked for.
    """
    before: _Computed | None = None
    for batch in batches:
        tokens = texts.tokens(batch)
        score_mask = tokens.score_mask_NL
        there = Tokens(
            upload(tokens.input_ids_NL, device),
            upload(tokens.attention_mask_NL, device),
            upload(score_mask, device),
        )
        embeddings = embed(there)
        if texts.student.model.pooling is not None:
            score_mask = score_mask.any(dim=1, keepdim=True)
        rows_T = upload(score_mask.flatten().nonzero().flatten(), device)
        now = batch, embeddings, Download(embeddings.emb_NLD.flatten(0, 1)[rows_T])
        if before is not None:
            yield before
        before = now
        if not works_behind(device):
            yield before
            before = None
    if before is not None:
        yield before


def _name_not_finite(embeddings: Embeddings, names: list[str], role: Role) -> NoReturn:
    """Say which texts of a batch have NaN or infinity in their embeddings."""
    bad_NL = ~embeddings.emb_NLD.isfinite().all(dim=-1) & embeddings.mask_NL
    bad = [name for name, is_bad in zip(names, bad_NL.any(dim=1).tolist(), strict=True) if is_bad]
    raise InputError(
        f"the student's embeddings of {role} texts are not finite numbers: {some_ids(bad)}; its weights are far too "
        "large, or damaged"
    )
