"""PyLate's side of the suite: its model, collator, losses, trainer and evaluator, as its documentation uses them."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import peers
import torch
from hf_trainer import rows_of, train
from talk import Suite

EVALUATION_CHUNK = 500  # documents scored at once; the default of 50,000 asks for tens of gigabytes


def load(spec: dict[str, Any]) -> Any:
    """The shared weights as PyLate reads its own layout."""
    from pylate import models

    return models.ColBERT(
        spec["weights"],
        device=spec["device"],
        document_length=spec["document_length"],
        **peers.model_keywords(spec),
    )


def training(suite: Suite, model: Any) -> None:
    """Steps of a loss by the trainer that PyLate's documentation uses."""
    from pylate import losses, utils
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sampler import DefaultBatchSampler

    spec = suite.spec
    rows: list[dict[str, Any]]
    if spec["loss"] == "distillation":
        normalise = {} if spec["defaults"] else {"normalize_scores": False}
        loss = losses.Distillation(model=model, **normalise)
        rows = [
            {"query": r["query"], "documents": r["documents"], "scores": r["scores"]} for r in rows_of(suite)
        ]
    else:
        if spec["loss"] == "cached":
            chosen = {name: spec["variant"][name] for name in ("mini_batch_size",) if name in spec["variant"]}
            loss = losses.CachedContrastive(model=model, temperature=spec["temperature"], **chosen)
        else:
            loss = losses.Contrastive(model=model, temperature=spec["temperature"])
        rows = [
            {"query": r["query"], "positive": r["documents"][0]}
            | {f"negative_{n}": text for n, text in enumerate(r["documents"][1:])}
            for r in rows_of(suite)
        ]
    train(
        suite,
        trainer_class=SentenceTransformerTrainer,
        arguments_class=SentenceTransformerTrainingArguments,
        sampler_class=DefaultBatchSampler,
        model=model,
        loss=loss,
        collator=utils.ColBERTCollator(tokenize_fn=model.tokenize),
        rows=rows,
    )


def evaluating(suite: Suite, model: Any) -> None:
    """A split by its in-training evaluator."""
    from pylate import evaluation

    evaluator = partial(evaluation.PyLateInformationRetrievalEvaluator, corpus_chunk_size=EVALUATION_CHUNK)
    peers.evaluating(suite, model, ("encode",), evaluator)


def unavailable(backend: str, device: str) -> str | None:
    """Why a way to score cannot be used here; None where it can, and is from now on."""
    os.environ["PYLATE_SCORES_BACKEND"] = backend
    from pylate.scores import colbert_scores

    one = torch.ones(1, 16, 128, device=device)
    try:
        colbert_scores(one, one)
    except RuntimeError as error:
        return str(error)
    return None


def main() -> None:
    """Do what the spec says."""
    suite = Suite()
    spec = suite.spec
    torch.set_num_threads(spec["threads"])
    if "scores" in spec["variant"]:
        reason = unavailable(spec["variant"]["scores"], spec["device"])
        if reason is not None:
            suite.tell(unavailable=reason)
            return
    model = load(spec)
    if spec["kind"] == "train":
        training(suite, model)
    elif spec["kind"] == "encode":
        peers.encoding(suite, partial(model.encode, is_query=False, show_progress_bar=False))
    else:
        evaluating(suite, model)


if __name__ == "__main__":
    main()
