"""A bi-encoder (dense, single-vector) teacher: cosine similarity of pooled embeddings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Corpus
from colbert_lab.model.backbone import load_backbone, load_tokenizer, positions
from colbert_lab.model.batches import length_sorted_batches
from colbert_lab.model.devices import autocast, rounded
from colbert_lab.model.student import pick_device
from colbert_lab.model.unread import check_known
from colbert_lab.settings.allowed import one_of, whole
from colbert_lab.settings.groups import ACCELERATORS, PRECISIONS
from colbert_lab.teachers.dense_files import POOLINGS, DenseFiles, dense_files
from colbert_lab.text.contents import called, model_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BiEncoder:
    """A dense retriever.

    Attributes:
        model: hub id, local folder or ``package:NAME/FOLDER``.
        pooling: ``mean`` over attended tokens, or ``cls`` for the first token; None takes what the model's own files
            say (:mod:`colbert_lab.teachers.dense_files`), and ``mean`` where they say nothing.
        max_length: most tokens of a text (256 in all-MiniLM-L6-v2's sentence_bert_config.json).
        query_prompt: text put before queries; None takes the model's own, or none.
        document_prompt: text put before documents; None takes the model's own, or none.
        precision: ``32-true``, ``bf16-mixed`` or ``bf16-true``.
        accelerator: Lightning's accelerator name.
        token_budget: most padded tokens a batch.
    """

    model: str
    pooling: str | None = one_of(*POOLINGS, default=None)
    max_length: int = whole(1, default=256)
    query_prompt: str | None = None
    document_prompt: str | None = None
    precision: str = one_of(*PRECISIONS, default="32-true")
    accelerator: str = one_of(*ACCELERATORS, default="auto")
    token_budget: int = whole(1, default=8192)
    system: ClassVar[str] = "dense"

    @property
    def name(self) -> str:
        """What a table calls it: the model's own name."""
        return f"dense ({called(self.model)})"

    def resolved(self) -> BiEncoder:
        """The same with what the model's own files say in place of None.

        Raises:
            InputError: the files are damaged or cannot be fetched, say another pooling, or what no bi-encoder computes.
        """
        return self._with(dense_files(self.model))

    def index(self, corpus: Corpus) -> BiEncoderIndex:
        """Embed the corpus.

        Raises:
            InputError: the model cannot be loaded, its files say another pooling or what no bi-encoder computes, or
                texts may be longer than the model has positions for.
        """
        loaded = _load(self, model_id(self.model))
        check_known(loaded.tokenizer, corpus.texts, "teacher.model", "documents")
        return BiEncoderIndex(loaded, loaded.embed(corpus.texts, loaded.settings.document_prompt, self.name))

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        """Cosine similarity of N pairs; each different query and document is embedded once.

        Lists name few documents of a corpus, so that embedding all of it would be wasted on them.

        Args:
            queries: their queries.
            documents: their documents, in the same order.

        Returns:
            float32 [N].

        Raises:
            InputError: see :meth:`index`.
        """
        loaded = _load(self, model_id(self.model))
        check_known(loaded.tokenizer, documents, "teacher.model", "documents")
        own, sides = loaded.settings, []
        for prompt, texts in ((own.query_prompt, queries), (own.document_prompt, documents)):
            row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
            emb_ND = loaded.embed(list(row_of), prompt)
            sides.append(emb_ND[torch.tensor([row_of[text] for text in texts])])
        return (sides[0] * sides[1]).sum(dim=1)

    def _with(self, own: DenseFiles) -> BiEncoder:
        if own.pooling is not None and self.pooling not in (None, own.pooling):
            raise InputError(
                f"teacher.pooling={self.pooling}: {own.pooling_file} says {own.pooling}, and the embeddings would "
                "not be the model's; leave it out or set it to null, which takes what the model says"
            )
        chosen = replace(
            self,
            pooling=self.pooling or own.pooling or "mean",
            query_prompt=own.query_prompt if self.query_prompt is None else self.query_prompt,
            document_prompt=own.document_prompt if self.document_prompt is None else self.document_prompt,
        )
        if not own.pools_prompt and (chosen.query_prompt or chosen.document_prompt):
            raise InputError(
                f"teacher.model={self.model}: {own.pooling_file} says include_prompt=false, and a bi_encoder pools the "
                "tokens of prompts too; take another model"
            )
        return chosen


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A model ready to embed.

    Attributes:
        settings: see :meth:`BiEncoder.resolved`.
        network: the encoder.
        tokenizer: its tokenizer.
        lowercase: whether texts are made lower case first.
    """

    settings: BiEncoder
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    lowercase: bool

    def embed(self, texts: Sequence[str], prompt: str | None, progress: str | None = None) -> Tensor:
        """Unit-length embeddings of texts behind a prompt: float32 [N, D] on the CPU.

        Args:
            texts: N texts.
            prompt: put before each.
            progress: title of a progress bar; None shows none.
        """
        network, settings = self.network, self.settings
        whole = [(prompt or "") + text for text in texts]
        if self.lowercase:
            whole = [text.lower() for text in whole]
        cut = {"truncation": True, "max_length": settings.max_length, "padding": False}
        rows = self.tokenizer(whole, **cut)["input_ids"]
        emb_ND = torch.empty(len(whole), network.config.hidden_size)
        bar = progress_bar(
            total=sum(map(len, rows)),
            desc=progress,
            unit="tok",
            unit_scale=True,
            disable=not progress,
        )
        with torch.inference_mode(), autocast(network.device, settings.precision), bar:
            for batch in length_sorted_batches([len(row) for row in rows], settings.token_budget):
                padded = self.tokenizer.pad({"input_ids": [rows[n] for n in batch]}, return_tensors="pt").to(
                    network.device
                )
                hidden_NLH = network(**padded).last_hidden_state.float()
                if settings.pooling == "mean":
                    mask_NL1 = padded["attention_mask"].unsqueeze(-1).float()
                    pooled_NH = (hidden_NLH * mask_NL1).sum(dim=1) / mask_NL1.sum(dim=1)
                else:
                    pooled_NH = hidden_NLH[:, 0]
                emb_ND[torch.tensor(batch)] = F.normalize(pooled_NH, dim=-1).cpu()
                bar.update(sum(len(rows[n]) for n in batch))
        return emb_ND


@dataclass(frozen=True, eq=False)
class BiEncoderIndex:
    """An embedded corpus.

    Attributes:
        model: the encoder, for queries.
        emb_CD: unit-length document embeddings.
    """

    model: _Loaded
    emb_CD: Tensor

    def scores(self, queries: Sequence[str]) -> Tensor:
        """Cosine similarity of all documents: float32 [B, C]."""
        return _queries(self.model, tuple(queries)) @ self.emb_CD.T


@lru_cache(maxsize=4)
def _queries(model: _Loaded, queries: tuple[str, ...]) -> Tensor:
    """Embeddings of queries; those of a split are there still when the model scores as a member of a teacher."""
    return model.embed(queries, model.settings.query_prompt)


@lru_cache(maxsize=2)
def _load(settings: BiEncoder, _: str | None) -> _Loaded:
    """A model, loaded once a process and state of its files."""
    if settings.pooling not in (None, *POOLINGS):
        raise InputError(f"teacher.pooling={settings.pooling}: must be {' or '.join(POOLINGS)}, or null")
    tokenizer = load_tokenizer(settings.model, key="teacher.model")
    own = dense_files(settings.model)
    chosen = settings._with(own)
    network = load_backbone(settings.model, key="teacher.model").eval()
    rounded(network, settings.precision)
    longest = positions(network)
    if longest is not None and settings.max_length > longest:
        raise InputError(
            f"teacher.max_length={settings.max_length} is beyond the {longest} positions of {settings.model}"
        )
    if chosen.pooling == "cls" and tokenizer.padding_side != "right":
        raise InputError(
            f"teacher.model={settings.model}: its tokenizer pads on the left, where its pooling cls would look; take "
            "another model"
        )
    _tell(settings, chosen, own)
    return _Loaded(chosen, network.to(pick_device(settings.accelerator)), tokenizer, own.lowercase)


def _tell(given: BiEncoder, chosen: BiEncoder, own: DenseFiles) -> None:
    """Log what was taken from the model's own files, and where the settings differ from them."""
    model = given.model
    if given.pooling is None:
        said = f"as {own.pooling_file} says" if own.pooling else "as its files say nothing of it"
        log.info("%s: pooling %s, %s", model, chosen.pooling, said)
    for role in ("query", "document"):
        asked, used, its = (getattr(each, f"{role}_prompt") for each in (given, chosen, own))
        if used != its:
            log.warning("%s: %s_prompt=%r in place of the model's own %r", model, role, used, its)
        elif asked is None and used:
            log.info("%s: %s prompt %r, as its files say", model, role, used)
    if own.other_prompts:
        log.warning(
            "%s: its files name prompts that are not used: %s; give one as query_prompt or document_prompt",
            model, ", ".join(own.other_prompts),
        )  # fmt: skip
    if own.max_length not in (None, chosen.max_length):
        log.warning(
            "%s: max_length=%d, and its files say %d tokens", model, chosen.max_length, own.max_length
        )
