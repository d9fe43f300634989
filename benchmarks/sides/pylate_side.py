"""PyLate's side of the suite: its model, collator, losses, trainer and evaluator, as its documentation uses them."""

from __future__ import annotations

import os
from typing import Any

import torch
from hf_trainer import rows_of, train, versions
from search_given import Given
from talk import Suite, autocast, save_embeddings

EVALUATION_CHUNK = 500  # documents scored at once; the default of 50,000 asks for tens of gigabytes


def load(spec: dict[str, Any]) -> Any:
    """The shared weights as PyLate reads its own layout."""
    from pylate import models

    keywords: dict[str, Any] = {}
    if "attention" in spec["variant"]:
        keywords["model_kwargs"] = {"attn_implementation": spec["variant"]["attention"]}
    return models.ColBERT(
        spec["weights"], device=spec["device"], document_length=spec["document_length"], **keywords
    )


def training(suite: Suite) -> None:
    """Steps of a loss by the trainer that PyLate's documentation uses."""
    from pylate import losses, utils
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sampler import DefaultBatchSampler

    spec, model = suite.spec, load(suite.spec)
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


def encoding(suite: Suite) -> None:
    """The corpus by ``encode`` with its default batches."""
    model, texts, first = load(suite.spec), suite.texts["documents"], True
    suite.tell(ready=True, settings={"batch_size": 32}, versions=versions())
    while True:
        suite.wait()
        with autocast(suite.spec):
            found = model.encode(texts, is_query=False, show_progress_bar=False)
        if first:
            save_embeddings(suite.spec, found[: suite.spec["compared"]])
        first = False
        suite.done()


def evaluator_of(texts: dict[str, Any]) -> Any:
    """PyLate's in-training evaluator of a split."""
    from pylate import evaluation

    return evaluation.PyLateInformationRetrievalEvaluator(
        queries=texts["queries"],
        corpus=texts["corpus"],
        relevant_docs={
            query: {document for document, grade in grades.items() if grade > 0}
            for query, grades in texts["qrels"].items()
        },
        corpus_chunk_size=EVALUATION_CHUNK,
        write_csv=False,
        show_progress_bar=False,
    )


def evaluating(suite: Suite) -> None:
    """A whole split by the in-training evaluator; for ``search`` with embeddings that are there."""
    model, texts = load(suite.spec), suite.texts
    if suite.spec["kind"] == "search":
        given = Given(suite.spec)
        model.encode, texts = given.encode, given.split
    model.encode = suite.clocked(model.encode)
    evaluator = evaluator_of(texts)
    suite.tell(ready=True, settings={"corpus_chunk_size": EVALUATION_CHUNK}, versions=versions())
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
    backend = suite.spec["variant"].get("scores")
    if backend is not None:
        os.environ["PYLATE_SCORES_BACKEND"] = backend
        from pylate.scores import colbert_scores

        one = torch.ones(1, 16, 128, device=suite.spec["device"])
        try:
            colbert_scores(one, one)
        except RuntimeError as error:
            suite.tell(unavailable=str(error))
            return
    {"train": training, "encode": encoding, "evaluate": evaluating, "search": evaluating}[suite.spec["kind"]](
        suite
    )


if __name__ == "__main__":
    main()
