"""A bi-encoder (dense, single-vector) teacher: cosine similarity of pooled embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from tqdm.auto import tqdm

from colbert_lab.errors import InputError
from colbert_lab.student.backbone import load_backbone, load_tokenizer
from colbert_lab.student.encode import autocast
from colbert_lab.student.student import pick_device
from colbert_lab.tokens.tokenizer import length_sorted_batches
from colbert_lab.types import Corpus

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class BiEncoder:
    """A dense retriever.

    Attributes:
        model: hub id, local folder or ``package:NAME/FOLDER``.
        pooling: ``mean`` over attended tokens, or ``cls`` for the first token.
        max_length: most tokens of a text (256 in all-MiniLM-L6-v2's sentence_bert_config.json).
        query_prompt: text put before queries.
        document_prompt: text put before documents.
        precision: ``32-true`` or ``bf16-mixed``.
        accelerator: Lightning's accelerator name.
        token_budget: most padded tokens a batch.
    """

    model: str
    pooling: str = "mean"
    max_length: int = 256
    query_prompt: str = ""
    document_prompt: str = ""
    precision: str = "32-true"
    accelerator: str = "auto"
    token_budget: int = 8192
    system: ClassVar[str] = "dense"

    @property
    def name(self) -> str:
        """What a table calls it: the model's own name."""
        return f"dense ({self.model.removeprefix('package:').removesuffix('/model').rsplit('/', 1)[-1]})"

    def index(self, corpus: Corpus) -> BiEncoderIndex:
        """Embed the corpus.

        Raises:
            InputError: the model cannot be loaded, the pooling is unknown, or texts may be longer than the model
                has positions for.
        """
        network, tokenizer = _load(self)
        texts = [self.document_prompt + text for text in corpus.texts]
        return BiEncoderIndex(self, network, tokenizer, self._embed(network, tokenizer, texts, self.name))

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
        network, tokenizer = _load(self)
        sides = []
        for prompt, texts in ((self.query_prompt, queries), (self.document_prompt, documents)):
            row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
            emb_ND = self._embed(network, tokenizer, [prompt + text for text in row_of], None)
            sides.append(emb_ND[torch.tensor([row_of[text] for text in texts])])
        return (sides[0] * sides[1]).sum(dim=1)

    def _embed(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: list[str],
        progress: str | None,
    ) -> Tensor:
        rows = tokenizer(texts, truncation=True, max_length=self.max_length, padding=False)["input_ids"]
        emb_ND = torch.empty(len(texts), network.config.hidden_size)
        bar = tqdm(
            total=sum(map(len, rows)),
            desc=progress,
            unit="tok",
            unit_scale=True,
            disable=None if progress else True,
        )
        with torch.inference_mode(), autocast(network.device, self.precision), bar:
            for batch in length_sorted_batches([len(row) for row in rows], self.token_budget):
                padded = tokenizer.pad({"input_ids": [rows[n] for n in batch]}, return_tensors="pt").to(
                    network.device
                )
                hidden_NLH = network(**padded).last_hidden_state.float()
                if self.pooling == "mean":
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
        scorer: the settings.
        network: the encoder, for queries.
        tokenizer: its tokenizer.
        emb_CD: unit-length document embeddings.
    """

    scorer: BiEncoder
    network: Any
    tokenizer: Any
    emb_CD: Tensor

    def scores(self, queries: Sequence[str]) -> Tensor:
        """Cosine similarity of all documents: float32 [B, C]."""
        texts = [self.scorer.query_prompt + text for text in queries]
        return self.scorer._embed(self.network, self.tokenizer, texts, None) @ self.emb_CD.T


@lru_cache(maxsize=2)
def _load(settings: BiEncoder) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Network and tokenizer, loaded once a process."""
    if settings.pooling not in ("mean", "cls"):
        raise InputError(f"teacher.pooling={settings.pooling}: must be mean or cls")
    tokenizer = load_tokenizer(settings.model, key="teacher.model")
    network = load_backbone(settings.model, key="teacher.model").eval()
    longest = getattr(network.config, "max_position_embeddings", None)
    if longest is not None and settings.max_length > longest:
        raise InputError(
            f"teacher.max_length={settings.max_length} is beyond the {longest} positions of {settings.model}"
        )
    return network.to(pick_device(settings.accelerator)), tokenizer
