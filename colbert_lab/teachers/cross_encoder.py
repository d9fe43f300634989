"""A cross-encoder teacher: a reranker that reads query and document together."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.base.progress import progress_bar
from colbert_lab.base.types import Corpus
from colbert_lab.model.backbone import load_tokenizer, positions, quiet_transformers
from colbert_lab.model.batches import length_sorted_batches
from colbert_lab.model.devices import autocast, rounded
from colbert_lab.model.model_files import locate, weight_files
from colbert_lab.model.student import pick_device
from colbert_lab.model.unread import check_known
from colbert_lab.settings.allowed import one_of, whole
from colbert_lab.settings.groups import ACCELERATORS, PRECISIONS
from colbert_lab.text.contents import called, model_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEY = "teacher.model"


class Reranker:
    """What reads query and document together, so that a query may leave no room for a document."""

    max_length: int

    def too_long(self, queries: Sequence[str]) -> list[int]:
        """Positions of the queries that leave no room for a token of a document."""
        raise NotImplementedError

    def check_queries(self, query_ids: Sequence[str], queries: Sequence[str]) -> None:
        """Check that every query leaves room for a document, before anything is scored.

        Raises:
            InputError: the model cannot be loaded, or some queries are too long; their ids are named.
        """
        long = [query_ids[n] for n in self.too_long(queries)]
        if long:
            raise InputError(
                f"teacher.max_length={self.max_length}: queries that leave no room for a document: {some_ids(long)}; "
                "raise it, or shorten them"
            )


@dataclass(frozen=True)
class CrossEncoder(Reranker):
    """Any sequence-classification reranker, such as BAAI/bge-reranker-v2-m3.

    A score is the logit of a model with one label. Of a model with several it is the log-odds of ``label``: its logit
    minus the logarithm of the summed exponentials of the others (for two labels, the difference of the logits).

    Attributes:
        model: hub id, local folder or ``package:NAME/FOLDER``; weights in safetensors, no code of the model is run.
        label: number of the label that means relevant, for a model with several; None for a model with one.
        max_length: most tokens of a pair; only the document is cut.
        query_prompt: text put before queries.
        document_prompt: text put before documents.
        precision: ``32-true``, ``bf16-mixed`` or ``bf16-true``.
        accelerator: Lightning's accelerator name.
        token_budget: most padded tokens of a batch.
    """

    model: str
    label: int | None = whole(0, default=None)
    max_length: int = whole(1, default=512)
    query_prompt: str = ""
    document_prompt: str = ""
    precision: str = one_of(*PRECISIONS, default="32-true")
    accelerator: str = one_of(*ACCELERATORS, default="auto")
    token_budget: int = whole(1, default=8192)
    system: ClassVar[str] = "teacher"

    @property
    def name(self) -> str:
        """What a table calls it: the model's own name."""
        return f"cross-encoder ({called(self.model)})"

    def score_pairs(self, queries: Sequence[str], documents: Sequence[str]) -> Tensor:
        """Score N pairs in batches of similar length.

        Args:
            queries: their queries.
            documents: their documents, in the same order.

        Returns:
            float32 [N] on the CPU.

        Raises:
            InputError: the model cannot be loaded, or a query leaves no room for a document.
        """
        return self._score(queries, documents, None)

    def index(self, corpus: Corpus) -> CrossEncoderIndex:
        """Take a corpus whose documents are all scored for every query; meant for small ones.

        Raises:
            InputError: the model cannot be loaded.
        """
        _load(self, model_id(self.model))
        return CrossEncoderIndex(self, corpus)

    def too_long(self, queries: Sequence[str]) -> list[int]:
        """See :class:`Reranker`."""
        _, tokenizer = _load(self, model_id(self.model))
        room = self.max_length - tokenizer.num_special_tokens_to_add(pair=True)
        texts = [self.query_prompt + text for text in queries]
        ids = tokenizer(texts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        return [n for n, row in enumerate(ids) if len(row) >= room]

    def _score(self, queries: Sequence[str], documents: Sequence[str], progress: str | None) -> Tensor:
        network, tokenizer = _load(self, model_id(self.model))
        check_known(tokenizer, documents, KEY, "documents")
        distinct = list(dict.fromkeys(queries))
        long = [distinct[n] for n in self.too_long(distinct)]
        if long:
            raise InputError(
                f"teacher.max_length={self.max_length}: the query {long[0]!r:.80} leaves no room for a document; "
                "raise it, or shorten the query"
            )
        rows = tokenizer(
            [self.query_prompt + text for text in queries],
            [self.document_prompt + text for text in documents],
            truncation="only_second",
            max_length=self.max_length,
            padding=False,
        )
        taken = inspect.signature(network.forward).parameters
        columns = {name: values for name, values in rows.items() if name in taken}
        lengths = [len(ids) for ids in columns["input_ids"]]
        scores_N = torch.empty(len(queries))
        bar = progress_bar(total=len(queries), desc=progress, unit="pair", disable=not progress)
        with torch.inference_mode(), autocast(network.device, self.precision), bar:
            for batch in length_sorted_batches(lengths, self.token_budget):
                chosen = {name: [values[n] for n in batch] for name, values in columns.items()}
                padded = tokenizer.pad(chosen, return_tensors="pt").to(network.device)
                logits_NC = network(**padded).logits.float()
                scores_N[torch.tensor(batch)] = self._relevance(logits_NC).cpu()
                bar.update(len(batch))
        return scores_N

    def _relevance(self, logits_NC: Tensor) -> Tensor:
        if logits_NC.shape[1] == 1:
            return logits_NC[:, 0]
        others = [n for n in range(logits_NC.shape[1]) if n != self.label]
        return logits_NC[:, self.label] - logits_NC[:, others].logsumexp(dim=1)


@dataclass(frozen=True, eq=False)
class CrossEncoderIndex:
    """A corpus to be read with every query.

    Attributes:
        scorer: the settings.
        corpus: the documents.
    """

    scorer: CrossEncoder
    corpus: Corpus

    def scores(self, queries: Sequence[str]) -> Tensor:
        """Score all documents: float32 [B, C]."""
        n_documents = len(self.corpus)
        repeated = [query for query in queries for _ in range(n_documents)]
        scores = self.scorer._score(repeated, list(self.corpus.texts) * len(queries), self.scorer.name)
        return scores.view(len(queries), n_documents)


@lru_cache(maxsize=2)
def _load(settings: CrossEncoder, _: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Network and tokenizer, loaded once a process and state of its files."""
    model = settings.model
    tokenizer = load_tokenizer(model, key=KEY)
    if tokenizer.num_special_tokens_to_add(pair=True) <= tokenizer.num_special_tokens_to_add(pair=False):
        raise InputError(
            f"{KEY}={model}: its tokenizer puts nothing between query and document, so it is no tokenizer of pairs; "
            "choose a model that was trained on pairs"
        )
    network = load_network(AutoModelForSequenceClassification, model)
    rounded(network, settings.precision)
    _check_label(settings, network.config.num_labels)
    longest = min(positions(network) or tokenizer.model_max_length, tokenizer.model_max_length)
    if settings.max_length > longest:
        raise InputError(
            f"teacher.max_length={settings.max_length} is beyond the {longest} positions of {model}"
        )
    return network.eval().to(pick_device(settings.accelerator)), tokenizer


def load_network(cls: Any, model: str) -> Any:
    """A network with all its weights in float32; weights come from safetensors, and no code of the model is run.

    Args:
        cls: a class of transformers with ``from_pretrained``.
        model: hub id, local folder or ``package:NAME/FOLDER``.

    Raises:
        InputError: it cannot be found or read, or weights are missing.
    """
    path = locate(model, KEY)
    if Path(path).is_dir():
        weight_files(Path(path), KEY)
    try:
        with quiet_transformers():
            network, loaded = cls.from_pretrained(
                path,
                trust_remote_code=False,
                use_safetensors=True,
                dtype="float32",
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"{KEY}={model}: cannot be loaded as a reranker ({first}); give a hub id that can be reached, or a "
            "folder with config.json, model.safetensors and a tokenizer"
        ) from error
    lacking = sorted(loaded["missing_keys"])
    if lacking:
        raise InputError(
            f"{KEY}={model}: weights of a reranker are not in it ({', '.join(lacking[:3])}); is this a model of "
            "another kind?"
        )
    return network


def _check_label(settings: CrossEncoder, n_labels: int) -> None:
    if settings.label is None and n_labels > 1:
        raise InputError(
            f"{KEY}={settings.model}: has {n_labels} labels; say which one means relevant, e.g. teacher.label=1"
        )
    if settings.label is not None and not 0 <= settings.label < n_labels:
        labels = "label, 0" if n_labels == 1 else f"labels, 0 to {n_labels - 1}"
        raise InputError(f"teacher.label={settings.label}: {settings.model} has {n_labels} {labels}")
