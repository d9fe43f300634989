"""sentence-transformers' side of the suite: its MultiVectorEncoder with its own losses, trainer and evaluator."""

from __future__ import annotations

from functools import partial
from typing import Any

import peers
import torch
from hf_trainer import rows_of, train
from talk import Suite


def load(spec: dict[str, Any]) -> Any:
    """The shared weights as sentence-transformers reads its own layout."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(spec["weights"], device=spec["device"], **peers.model_keywords(spec))
    model[0].document_length = spec["document_length"]
    return model


def training(suite: Suite, model: Any) -> None:
    """Steps of a loss by its own trainer."""
    from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.multi_vector_encoder import losses

    spec = suite.spec
    chosen = {
        name: spec["variant"][name]
        for name in ("mini_batch_size", "mini_batch_num_tokens", "score_mini_batch_size")
        if name in spec["variant"]
    }
    if spec["loss"] == "distillation":
        loss: Any = losses.MultiVectorDistillKLDivLoss(model, **chosen)
    elif spec["loss"] == "cached":
        loss = losses.CachedMultiVectorMultipleNegativesRankingLoss(
            model, scale=1 / spec["temperature"], **chosen
        )
    else:
        loss = losses.MultiVectorMultipleNegativesRankingLoss(model, scale=1 / spec["temperature"], **chosen)
    rows = [
        {"query": r["query"]}
        | {f"document_{n}": text for n, text in enumerate(r["documents"], 1)}
        | ({"scores": r["scores"]} if spec["loss"] == "distillation" else {})
        for r in rows_of(suite)
    ]
    train(
        suite,
        trainer_class=MultiVectorEncoderTrainer,
        arguments_class=MultiVectorEncoderTrainingArguments,
        sampler_class=DefaultBatchSampler,
        model=model,
        loss=loss,
        collator=None,
        rows=rows,
        # The markers are part of the model's prompts, which its trainer applies only where it is told to.
        prompts={
            column: model.prompts["query" if column == "query" else "document"]
            for column in rows[0]
            if column != "scores"
        },
    )


def evaluating(suite: Suite, model: Any) -> None:
    """A split by its evaluator, with its defaults."""
    from sentence_transformers.multi_vector_encoder import evaluation

    methods = ("encode_query", "encode_document")
    peers.evaluating(suite, model, methods, evaluation.MultiVectorInformationRetrievalEvaluator)


def main() -> None:
    """Do what the spec says."""
    suite = Suite()
    torch.set_num_threads(suite.spec["threads"])
    model = load(suite.spec)
    if suite.spec["kind"] == "train":
        training(suite, model)
    elif suite.spec["kind"] == "encode":
        peers.encoding(suite, partial(model.encode_document, show_progress_bar=False))
    else:
        evaluating(suite, model)


if __name__ == "__main__":
    main()
