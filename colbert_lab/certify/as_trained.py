"""A micro-batch computed as training computes it, with single parts of the way changed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers.utils import is_flash_attn_2_available

from colbert_lab.base.types import Embeddings
from colbert_lab.model.attention import NAME as MATMUL
from colbert_lab.model.batches import concatenate, embed_chunks, split_rows, take
from colbert_lab.model.colbert import ColBERT
from colbert_lab.model.devices import FULL as FULL
from colbert_lab.model.devices import autocast, lowered
from colbert_lab.model.maxsim import maxsim_lists
from colbert_lab.model.packing import NAME as PACKED
from colbert_lab.text.fingerprint import text_key
from colbert_lab.text.rows.examples import Example
from colbert_lab.training.data import Batch, MicroBatches
from colbert_lab.training.freezing import frozen
from colbert_lab.training.objectives.scoring import Scoring
from colbert_lab.training.prepare import PreparedPhase
from colbert_lab.training.trainer import training_module

CHUNKS = 3  # that a certified micro-batch is cut into at least, as far as it has that many texts
ADAPTED = 0.02  # spread of the second matrices of adapters
LOSS_SCALE = 2.0**16  # where Lightning's scaler for float16 starts


@dataclass(frozen=True)
class Step:
    """What a training step of one micro-batch gives the optimizer, before clipping.

    Attributes:
        loss: of the micro-batch.
        gradients: by name, of every parameter that has one; names are those of the network, and of what terms learn.
    """

    loss: float
    gradients: dict[str, Tensor]


@dataclass(frozen=True)
class Embedded:
    """The texts of a micro-batch, embedded in chunks.

    Attributes:
        queries: [B, Q, D].
        chunks: documents [N_i, L_i, D].
    """

    queries: Embeddings
    chunks: list[Embeddings]

    def texts(self, batch: Batch, examples: list[Example]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Embeddings of the scoring tokens of each query and each document, by text."""
        documents = concatenate(self.chunks)
        place = {int(key): row for row, key in enumerate(batch.keys_N)}
        names = dict.fromkeys(text for example in examples for text in example.documents)
        rows = {text: place[text_key(text)] for text in names}
        return (
            {e.query: _scoring(self.queries, row) for row, e in enumerate(examples)},
            {text: _scoring(documents, row) for text, row in rows.items()},
        )


def _scoring(embeddings: Embeddings, row: int) -> Tensor:
    return embeddings.emb_NLD[row][embeddings.mask_NL[row]]


def stages(phase: PreparedPhase) -> tuple[bool, ...]:
    """Whether the head alone is trained, for each stage of a phase; the one that trains all of it comes first."""
    return (False, True) if phase.settings.head_only_steps else (False,)


@contextmanager
def training(phase: PreparedPhase, model: ColBERT, head_alone: bool = False) -> Iterator[None]:
    """A network as a phase trains it, for a while: its adapters are in place, and what it freezes is frozen.

    The second matrices of adapters start at zero, and the first ones without a gradient; here they have small random
    values, the same each time, so that all gradients say something.

    Args:
        phase: how to train.
        model: the student's network; it is as it was at the end.
        head_alone: see :func:`stages`.
    """
    with phase.adapted(model):
        generator = torch.Generator().manual_seed(phase.seed)
        for name, value in model.named_parameters():
            if ".lora_B." in name:
                value.data.copy_(ADAPTED * torch.randn(value.shape, generator=generator))
        with frozen(model, [*phase.settings.freeze, *(["backbone"] if head_alone else [])]):
            yield


def cut_phase(phase: PreparedPhase, queries: int, documents: int) -> PreparedPhase:
    """The phase with micro-batches that are small enough to compute many times, and still several chunks.

    Args:
        phase: how to train.
        queries: of a micro-batch at most.
        documents: of a query at most.
    """
    batches = phase.batches
    batches = batches.of_size(min(queries, batches.batch_size))
    fewest = [source.fewest for source in batches.sources]
    if (batches.n_way or max(fewest)) > documents:
        batches.n_way = min(documents, *fewest) if batches.n_way is None else documents
    budget = min(phase.settings.token_budget, _budget(batches))
    batches.token_budget = budget
    return replace(phase, batches=batches, settings=replace(phase.settings, token_budget=budget))


def _budget(batches: MicroBatches) -> int:
    """Padded tokens of a chunk so that the first micro-batch has several."""
    lengths = batches[0].lengths[batches.batch_size :]
    return max(max(lengths), math.ceil(sum(lengths) / CHUNKS))


def implementations(model: ColBERT, precision: str, device: torch.device) -> dict[str, str]:
    """Implementations of attention to compare with eager attention, each with the precision in which it computes.

    FlashAttention, and the kernel for packed texts on a GPU, compute in 16 bits alone: they have that of the config.

    Args:
        model: the student's network.
        precision: of the config, Lightning's name.
        device: where the student computes.
    """
    own = str(model.backbone.config._attn_implementation)
    found = {name: FULL for name in (own, MATMUL, "sdpa") if name != "eager" and "flash" not in name}
    if device.type == "cuda":
        low = [PACKED] if own == PACKED else []
        low += ["flash_attention_2"] if is_flash_attn_2_available() and precision != FULL else []
        found |= dict.fromkeys(low, precision)
    return found


def embed(model: ColBERT, batch: Batch, token_budget: int, precision: str) -> Embedded:
    """Embed a micro-batch in its chunks, without dropout and gradients.

    Args:
        model: the student's network.
        batch: of the phase.
        token_budget: most padded tokens of a query chunk.
        precision: Lightning's name.
    """
    model.eval()
    network = lowered(model, precision, once=True)
    with torch.no_grad(), autocast(batch.keys_N.device, precision):
        queries = concatenate(embed_chunks(network, split_rows(batch.queries, token_budget), recompute=False))
        return Embedded(queries, embed_chunks(network, batch.documents, recompute=False))


def list_scores(embedded: Embedded, batch: Batch, scoring: Scoring) -> Tensor:
    """Each query against its own documents [B, K], as the distillation scores them."""
    queries = scoring.queries(embedded.queries)
    return maxsim_lists(queries, take(concatenate(embedded.chunks), batch.rows_BK.flatten()))


def matrix_scores(embedded: Embedded, batch: Batch, examples: list[Example], scoring: Scoring) -> Tensor:
    """Each query against all different documents [B, N] in the order of their texts, as InfoNCE scores them.

    Args:
        embedded: the micro-batch.
        batch: the same.
        examples: the same.
        scoring: the phase's; documents are pooled already.
    """
    return scoring.all_pairs(scoring.queries(embedded.queries), embedded.chunks)[:, columns(batch, examples)]


def columns(batch: Batch, examples: list[Example]) -> list[int]:
    """Where the different documents of a micro-batch are in its chunks, in the order of their texts."""
    place = {int(key): row for row, key in enumerate(batch.keys_N)}
    return [place[text_key(text)] for text in dict.fromkeys(t for e in examples for t in e.documents)]


def train_step(
    phase: PreparedPhase,
    model: ColBERT,
    batch: Batch,
    precision: str,
    *,
    recompute: bool,
    dropout_seed: int | None = None,
) -> Step:
    """One training step without the optimizer.

    Args:
        phase: how to train.
        model: what to train; its weights stay as they are.
        batch: on the model's device.
        precision: Lightning's name.
        recompute: whether activations are computed again in the backward pass.
        dropout_seed: of the random numbers of dropout; None turns dropout off.
    """
    module = training_module(phase, model, recompute, precision).to(batch.keys_N.device)
    module.train(dropout_seed is not None)
    scale = LOSS_SCALE if precision == "16-mixed" else 1.0
    while True:
        module.zero_grad(set_to_none=True)
        if dropout_seed is not None:
            torch.manual_seed(dropout_seed)
        with autocast(batch.keys_N.device, precision):
            loss = module.training_step(batch, 0)
        (loss * scale).backward()
        found = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
        gradients = {
            name.removeprefix("model."): grad / scale if scale != 1 else grad for name, grad in found.items()
        }
        finite = all(bool(value.isfinite().all()) for value in gradients.values())
        if scale <= 1 or finite:
            break
        scale /= 2  # as the scaler does where float16 overflows
    for value in module.parameters():
        value.grad = None
    model.eval()
    return Step(float(loss.detach()), gradients)


def dropout_matters(phase: PreparedPhase, model: ColBERT, batch: Batch) -> bool:
    """Whether training draws random numbers: the loss is another one with another seed."""
    module = training_module(phase, model, recompute=False).to(batch.keys_N.device)
    module.train()
    losses = []
    with torch.no_grad():
        for seed in (0, 1):
            torch.manual_seed(seed)
            losses.append(float(module.training_step(batch, 0)))
    model.eval()
    return losses[0] != losses[1]


@contextmanager
def attention(model: ColBERT, name: str) -> Iterator[bool]:
    """Another attention implementation for a while; False where the backbone cannot take it."""
    config = model.backbone.config
    before = config._attn_implementation
    try:
        model.backbone.set_attn_implementation(name)
        there = config._attn_implementation == name
    except (ValueError, ImportError):
        there = False
    try:
        yield there
    finally:
        if config._attn_implementation != before:
            model.backbone.set_attn_implementation(before)
