"""What the peers' sides have in common besides training: loading, encoding a corpus, evaluating a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hf_trainer import versions
from search_given import Given
from talk import Suite, autocast, save_embeddings


def model_keywords(spec: dict[str, Any]) -> dict[str, Any]:
    """What the variant asks for when the model is loaded."""
    if "attention" not in spec["variant"]:
        return {}
    return {"model_kwargs": {"attn_implementation": spec["variant"]["attention"]}}


def encoding(suite: Suite, encode: Callable[[list[str]], Any]) -> None:
    """A corpus by the peer's method with its default batches.

    Args:
        suite: who commands.
        encode: embeddings of texts.
    """
    texts, first = suite.texts["documents"], True
    suite.tell(ready=True, settings={"batch_size": 32}, versions=versions())
    while True:
        suite.wait()
        with autocast(suite.spec):
            found = encode(texts)
        if first:
            some = found[: suite.spec["compared"]]
            save_embeddings(suite.spec, [torch.as_tensor(emb).float().cpu() for emb in some])
        first = False
        suite.done()


def evaluating(suite: Suite, model: Any, methods: Sequence[str], evaluator: Callable[..., Any]) -> None:
    """A whole split by the peer's evaluator; for ``search`` with embeddings that are there.

    Args:
        suite: who commands.
        model: the peer's.
        methods: of the model, which encode; they are timed.
        evaluator: makes the evaluator from queries, corpus and relevant documents.
    """
    texts = suite.texts
    given = Given(suite.spec) if suite.spec["kind"] == "search" else None
    if given is not None:
        texts = given.split
    for name in methods:
        setattr(model, name, suite.clocked(getattr(model, name) if given is None else given.encode))
    made = evaluator(
        queries=texts["queries"],
        corpus=texts["corpus"],
        relevant_docs={
            query: {document for document, grade in grades.items() if grade > 0}
            for query, grades in texts["qrels"].items()
        },
        write_csv=False,
        show_progress_bar=False,
    )
    suite.tell(ready=True, settings={"corpus_chunk_size": made.corpus_chunk_size}, versions=versions())
    while True:
        suite.wait()
        with autocast(suite.spec):
            measured = made(model)
        (value,) = [value for name, value in measured.items() if name.endswith("ndcg@10")]
        suite.done(value=float(value))
