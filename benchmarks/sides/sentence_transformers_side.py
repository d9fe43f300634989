"""sentence-transformers' side of the suite: its MultiVectorEncoder with its own losses, trainer and evaluator."""

from __future__ import annotations

from typing import Any

import torch
from hf_trainer import rows_of, train, versions
from search_given import Given
from talk import Suite, autocast, save_embeddings


def load(spec: dict[str, Any]) -> Any:
    """The shared weights as sentence-transformers reads its own layout."""
    from sentence_transformers import MultiVectorEncoder

    keywords: dict[str, Any] = {}
    if "attention" in spec["variant"]:
        keywords["model_kwargs"] = {"attn_implementation": spec["variant"]["attention"]}
    model = MultiVectorEncoder(spec["weights"], device=spec["device"], **keywords)
    model[0].document_length = spec["document_length"]
    return model


def training(suite: Suite) -> None:
    """Steps of a loss by its own trainer."""
    from sentence_transformers import MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.multi_vector_encoder import losses

    spec, model = suite.spec, load(suite.spec)
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


def encoding(suite: Suite) -> None:
    """The corpus by ``encode_document`` with its default batches."""
    model, texts, first = load(suite.spec), suite.texts["documents"], True
    suite.tell(ready=True, settings={"batch_size": 32}, versions=versions())
    while True:
        suite.wait()
        with autocast(suite.spec):
            found = model.encode_document(texts, show_progress_bar=False)
        if first:
            save_embeddings(suite.spec, [emb.float().cpu() for emb in found[: suite.spec["compared"]]])
        first = False
        suite.done()


def evaluator_of(texts: dict[str, Any]) -> Any:
    """Its evaluator of a split, with its defaults."""
    from sentence_transformers.multi_vector_encoder import evaluation

    return evaluation.MultiVectorInformationRetrievalEvaluator(
        queries=texts["queries"],
        corpus=texts["corpus"],
        relevant_docs={
            query: {document for document, grade in grades.items() if grade > 0}
            for query, grades in texts["qrels"].items()
        },
        write_csv=False,
        show_progress_bar=False,
    )


def evaluating(suite: Suite) -> None:
    """A whole split by its evaluator; for ``search`` with embeddings that are there."""
    model, texts = load(suite.spec), suite.texts
    if suite.spec["kind"] == "search":
        given = Given(suite.spec)
        model.encode_query = model.encode_document = given.encode
        texts = given.split
    model.encode_query = suite.clocked(model.encode_query)
    model.encode_document = suite.clocked(model.encode_document)
    evaluator = evaluator_of(texts)
    suite.tell(ready=True, settings={"corpus_chunk_size": evaluator.corpus_chunk_size}, versions=versions())
    while True:
        suite.wait()
        with autocast(suite.spec):
            measured = evaluator(model)
        (value,) = [value for name, value in measured.items() if name.endswith("ndcg@10")]
        suite.done(value=float(value))


def main() -> None:
    """Do what the spec says."""
    suite = Suite()
    torch.set_num_threads(suite.spec["threads"])
    {"train": training, "encode": encoding, "evaluate": evaluating, "search": evaluating}[suite.spec["kind"]](
        suite
    )


if __name__ == "__main__":
    main()
