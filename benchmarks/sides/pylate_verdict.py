"""What a user of PyLate writes to have an answer: a table with intervals. The suite times it, from start to end.

python pylate_verdict.py sweep TEXT BACKBONE      2 learning rates x 2 document lengths x 3 seeds, trained and measured
python pylate_verdict.py measure COLLECTION STUDENT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from pylate import losses, models, utils
from pylate.scores import colbert_scores
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from transformers import set_seed
from verdict import Texts, factors, ndcg_at_10, sizes, table

CHUNK = 500  # documents scored at once


def measured(model: Any, texts: Texts) -> Any:
    """nDCG@10 of each query by exact search."""
    queries = model.encode(
        [texts.queries[name] for name in texts.judged], is_query=True, convert_to_tensor=True
    )
    queries = torch.nn.utils.rnn.pad_sequence(queries, batch_first=True)
    documents = model.encode(list(texts.corpus.values()), is_query=False, convert_to_tensor=True)
    scores = []
    for n in range(0, len(documents), CHUNK):
        some = torch.nn.utils.rnn.pad_sequence(documents[n : n + CHUNK], batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence(
            [torch.ones(len(each)) for each in documents[n : n + CHUNK]], batch_first=True
        )
        scores.append(colbert_scores(queries, some, documents_mask=mask))
    return ndcg_at_10(texts, torch.cat(scores, dim=1))


def sweep(folder: Path, backbone: str) -> None:
    """Train and measure every cell with every seed."""
    size, train, test = sizes(folder), Texts(folder / "train"), Texts(folder / "test")
    lists = train.lists(folder / "train" / "lists.jsonl")
    cells: dict[str, list[Any]] = {}
    for rate, length, seed in factors(folder):
        set_seed(seed)
        model = models.ColBERT(backbone, document_length=length, device="cpu")
        SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir="trained",
                per_device_train_batch_size=size["batch"],
                max_steps=size["steps"],
                learning_rate=rate,
                warmup_ratio=0.05,  # as colbert_lab has it
                seed=seed,
                use_cpu=True,
                save_strategy="no",
                report_to="none",
            ),
            train_dataset=Dataset.from_list(lists),
            loss=losses.Distillation(model=model),
            data_collator=utils.ColBERTCollator(tokenize_fn=model.tokenize),
        ).train()
        cells.setdefault(f"learning rate {rate}, length {length}", []).append(measured(model, test))
    table(cells)


def measure(folder: Path, student: str) -> None:
    """Measure one student."""
    table({"student": [measured(models.ColBERT(student, device="cpu"), Texts(folder))]})


if __name__ == "__main__":
    (sweep if sys.argv[1] == "sweep" else measure)(Path(sys.argv[2]), sys.argv[3])
