"""A teacher that is a language model asked whether a document answers a query, as BAAI/bge-reranker-v2-gemma.

The input is ``<bos>A: QUERY<newline>B: DOCUMENT<newline>PROMPT``, and the score is the logit of the answer ``Yes``
as the next token: what the model card of bge-reranker-v2-gemma computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from colbert_lab.base.errors import InputError
from colbert_lab.model.backbone import load_tokenizer, positions
from colbert_lab.model.batches import length_sorted_batches
from colbert_lab.model.devices import autocast, rounded
from colbert_lab.model.student import pick_device
from colbert_lab.model.unread import check_known
from colbert_lab.settings.allowed import one_of, whole
from colbert_lab.settings.groups import ACCELERATORS, PRECISIONS
from colbert_lab.teachers.cross_encoder import KEY, Reranker, load_network
from colbert_lab.text.contents import called, model_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROMPT = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a "
    "prediction of either 'Yes' or 'No'."
)


@dataclass(frozen=True)
class LLMReranker(Reranker):
    """A causal language model that was trained to answer.

    Attributes:
        model: hub id, local folder or ``package:NAME/FOLDER``; weights in safetensors, no code of the model is run.
        prompt: what is asked.
        query_prefix: text before the query.
        document_prefix: text before the document.
        separator: text after the query and after the document.
        answer: whose logit is the score; one token.
        max_length: most tokens before the last separator and the prompt; only the document is cut.
        precision: ``32-true``, ``bf16-mixed`` or ``bf16-true``.
        accelerator: Lightning's accelerator name.
        token_budget: most padded tokens of a batch.
    """

    model: str
    prompt: str = PROMPT
    query_prefix: str = "A: "
    document_prefix: str = "B: "
    separator: str = "\n"
    answer: str = "Yes"
    max_length: int = whole(1, default=1024)
    precision: str = one_of(*PRECISIONS, default="32-true")
    accelerator: str = one_of(*ACCELERATORS, default="auto")
    token_budget: int = whole(1, default=8192)
    system: ClassVar[str] = "teacher"

    @property
    def name(self) -> str:
        """What a table calls it: the model's own name."""
        return f"LLM reranker ({called(self.model)})"

    def too_long(self, queries: Sequence[str]) -> list[int]:
        """See :class:`Reranker`."""
        _, tokenizer = _load(self, model_id(self.model))
        room = self.max_length - len(_start(tokenizer)) - len(_ids(tokenizer, [self.separator])[0])
        rows = _ids(tokenizer, [self.query_prefix + text for text in queries])
        return [n for n, row in enumerate(rows) if len(row) >= room]

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
        self.check_queries([text[:80] for text in dict.fromkeys(queries)], list(dict.fromkeys(queries)))
        network, tokenizer = _load(self, model_id(self.model))
        check_known(tokenizer, documents, KEY, "documents")
        (answer,) = _ids(tokenizer, [self.answer])[0]
        rows = self._rows(tokenizer, queries, documents)
        scores_N = torch.empty(len(rows))
        with torch.inference_mode(), autocast(network.device, self.precision):
            for batch in length_sorted_batches([len(row) for row in rows], self.token_budget):
                ids_NL, mask_NL = _padded([rows[n] for n in batch])
                # Positions count the model's own tokens; the logits of the last one alone are computed.
                logits_N1V = network(
                    input_ids=ids_NL.to(network.device),
                    attention_mask=mask_NL.to(network.device),
                    position_ids=(mask_NL.cumsum(dim=1) - 1).clamp_min(0).to(network.device),
                    logits_to_keep=1,
                    use_cache=False,
                ).logits
                scores_N[torch.tensor(batch)] = logits_N1V[:, -1, answer].float().cpu()
        return scores_N

    def _rows(
        self, tokenizer: PreTrainedTokenizerBase, queries: Sequence[str], documents: Sequence[str]
    ) -> list[list[int]]:
        separator, prompt = _ids(tokenizer, [self.separator, self.prompt])
        pairs = zip(
            _ids(tokenizer, [self.query_prefix + text for text in queries]),
            _ids(tokenizer, [self.document_prefix + text for text in documents]),
            strict=True,
        )
        start = _start(tokenizer)
        return [
            [*start, *query, *separator, *document][: self.max_length] + separator + prompt
            for query, document in pairs
        ]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    rows: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, padding=False)["input_ids"]
    return rows


def _start(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]


def _padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask with padding before the tokens, so that every row ends with its last one."""
    longest = max(map(len, rows))
    ids_NL = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask_NL = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids_NL, mask_NL


@lru_cache(maxsize=1)
def _load(settings: LLMReranker, _: str | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Network and tokenizer, loaded once a process and state of its files."""
    tokenizer = load_tokenizer(settings.model, key=KEY)
    answer = _ids(tokenizer, [settings.answer])[0]
    if len(answer) != 1 or answer[0] == tokenizer.unk_token_id:
        raise InputError(f"teacher.answer={settings.answer}: is not one token of {settings.model}")
    network = load_network(AutoModelForCausalLM, settings.model).eval()
    rounded(network, settings.precision)
    longest = positions(network)
    needed = settings.max_length + sum(map(len, _ids(tokenizer, [settings.separator, settings.prompt])))
    if longest is not None and needed > longest:
        raise InputError(
            f"teacher.max_length={settings.max_length} and the prompt, {needed} tokens, are beyond the {longest} "
            f"positions of {settings.model}"
        )
    return network.to(pick_device(settings.accelerator)), tokenizer
