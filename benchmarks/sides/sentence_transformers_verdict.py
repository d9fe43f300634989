"""What a user of sentence-transformers writes to have an answer: a table with intervals. The suite times it whole.

python sentence_transformers_verdict.py sweep TEXT BACKBONE      2 learning rates x 2 document lengths x 3 seeds
python sentence_transformers_verdict.py measure COLLECTION STUDENT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers import (
    MultiVectorEncoder,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
)
from sentence_transformers.multi_vector_encoder import losses
from transformers import set_seed
from verdict import Texts, factors, ndcg_at_10, sizes, table


def measured(model: Any, texts: Texts) -> Any:
    """nDCG@10 of each query by exact search."""
    queries = model.encode_query([texts.queries[name] for name in texts.judged])
    documents = model.encode_document(list(texts.corpus.values()))
    return ndcg_at_10(texts, model.similarity(queries, documents).cpu())


def sweep(folder: Path, backbone: str) -> None:
    """Train and measure every cell with every seed."""
    size, train, test = sizes(folder), Texts(folder / "train"), Texts(folder / "test")
    lists = [
        {"query": row["query"]}
        | {f"document_{n}": text for n, text in enumerate(row["documents"], 1)}
        | {"scores": row["scores"]}
        for row in train.lists(folder / "train" / "lists.jsonl")
    ]
    cells: dict[str, list[Any]] = {}
    for rate, length, seed in factors(folder):
        set_seed(seed)
        model = MultiVectorEncoder(backbone, device="cpu")
        model[0].document_length = length
        MultiVectorEncoderTrainer(
            model=model,
            args=MultiVectorEncoderTrainingArguments(
                output_dir="trained",
                per_device_train_batch_size=size["batch"],
                max_steps=size["steps"],
                learning_rate=rate,
                warmup_ratio=0.05,  # as colbert_lab has it
                seed=seed,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
                prompts={
                    column: model.prompts["query" if column == "query" else "document"]
                    for column in lists[0]
                    if column != "scores"
                },
            ),
            train_dataset=Dataset.from_list(lists),
            loss=losses.MultiVectorDistillKLDivLoss(model),
        ).train()
        cells.setdefault(f"learning rate {rate}, length {length}", []).append(measured(model, test))
    table(cells)


def measure(folder: Path, student: str) -> None:
    """Measure one student."""
    table({"student": [measured(MultiVectorEncoder(student, device="cpu"), Texts(folder))]})


if __name__ == "__main__":
    (sweep if sys.argv[1] == "sweep" else measure)(Path(sys.argv[2]), sys.argv[3])
