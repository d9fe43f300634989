"""Random students and synthetic texts for ``gpu_check.py``: nothing is downloaded, and no package brings them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gpu_sizes import Sizes

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PUNCTUATION = ".,;:!?()-'"
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
QUERY_WORDS = 12
BACKBONES = ("modernbert", "bert")


def words(count: int) -> list[str]:
    """Different made-up words of four syllables."""
    syllables = [c + v for c in CONSONANTS for v in VOWELS]
    n = len(syllables)
    # A step that shares no factor with the number of words visits each one once.
    numbers = [(1 + k * 1_000_003) % n**4 for k in range(count)]
    return ["".join(syllables[number // n**place % n] for place in range(4)) for number in numbers]


def write_collection(folder: Path, sizes: Sizes) -> None:
    """A BEIR-layout folder with ``kd/lists.jsonl`` and judgments of all queries for training.

    Words are drawn with a probability of 1 / rank, as in natural text. A query is words of its document, which is the
    first of its list; the scores of the others are random. The last quarter of the queries is the test split.
    """
    generator = np.random.default_rng(0)
    known = np.array(words(sizes.words))
    chance = 1.0 / np.arange(1, len(known) + 1)
    lengths = generator.integers(*sizes.document_words, size=sizes.documents, endpoint=True)
    drawn = generator.choice(len(known), size=int(lengths.sum()), p=chance / chance.sum())
    parts = np.split(known[drawn], np.cumsum(lengths)[:-1])
    documents = {f"d{n}": " ".join(part) for n, part in enumerate(parts)}
    queries, lists, judged = {}, [], []
    count, ways = sizes.lists
    for n in range(count):
        queries[f"q{n}"] = " ".join(parts[n][:: max(1, len(parts[n]) // QUERY_WORDS)][:QUERY_WORDS])
        others = generator.choice(np.delete(np.arange(sizes.documents), n), size=ways - 1, replace=False)
        scores = [3.0, *np.round(generator.standard_normal(ways - 1), 4).tolist()]
        names = [f"d{row}" for row in (n, *others.tolist())]
        lists.append({"query_id": f"q{n}", "document_ids": names, "scores": scores})
        judged.append(f"q{n}\td{n}\t1")
    for name in ("qrels", "kd"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _lines(
        folder / "corpus.jsonl", [{"_id": key, "title": "", "text": text} for key, text in documents.items()]
    )
    _lines(folder / "queries.jsonl", [{"_id": key, "text": text} for key, text in queries.items()])
    _lines(folder / "kd" / "lists.jsonl", lists)
    cut = count - count // 4
    for split, some in (("train", judged[:cut]), ("test", judged[cut:])):
        rows = "\n".join(["query-id\tcorpus-id\tscore", *some])
        (folder / "qrels" / f"{split}.tsv").write_text(rows + "\n", encoding="utf-8")
    _lines(folder / "kd" / "train.jsonl", lists[:cut])


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_backbone(folder: Path, model_type: str, sizes: Sizes) -> None:
    """A backbone of random weights with a word-level tokenizer, in Hugging Face's own layout.

    Args:
        folder: where.
        model_type: ``modernbert`` (the shape of ModernBERT-base) or ``bert`` (of MiniLM, with its dropout of 0.1).
        sizes: their shapes.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    known = [*SPECIAL, "[unused0]", "[unused1]", *PUNCTUATION, *words(sizes.words)]
    if model_type == "modernbert":
        known += [f"[filler{n}]" for n in range(sizes.vocabulary - len(known))]
    vocabulary = {word: n for n, word in enumerate(known)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": token for name, token in names.items()}
    )
    fast.save_pretrained(folder)
    ids = {f"{name}_token_id": vocabulary[names[name]] for name in ("pad", "cls", "sep")}
    if model_type == "modernbert":
        ids |= {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"]}
        settings = sizes.shape | ids
    else:
        settings = sizes.small | {"pad_token_id": ids["pad_token_id"]}
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type, vocab_size=len(known), max_position_embeddings=sizes.positions, **settings
    )
    AutoModel.from_config(config).save_pretrained(folder)


def prepare(work: Path, sizes: Sizes) -> None:
    """Both collections and backbones, and the student that steps are measured with; what is there already is kept."""
    from suite_texts import write_weights

    mark = work / "prepared"
    if mark.is_file():
        return
    write_collection(collection(work), sizes)
    documents, queries, ways = sizes.checked
    write_collection(checked(work), replace(sizes, documents=documents, lists=(queries, ways)))
    for model_type in BACKBONES:
        write_backbone(work / model_type, model_type, sizes)
    write_weights(work / "weights", str(work / "modernbert"), kinds=("same",), layouts=("colbert_lab",))
    mark.touch()


def collection(work: Path) -> Path:
    """The folder of the texts that are timed."""
    return work / "synthetic"


def checked(work: Path) -> Path:
    """The folder of the texts that correctness is checked with."""
    return work / "small"
