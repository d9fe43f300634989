"""FlagEmbedding's side of the golden folders. Runs with FlagEmbedding==1.4.2.

The folder is laid out as BAAI/bge-m3 is on the hub: an XLM-RoBERTa, ``colbert_linear.pt`` and ``sparse_linear.pt``, and
beside them the modules of sentence-transformers, which are for the dense vector alone. Its scores are means over a
query's tokens; here they are multiplied by their number, as the other peers' are sums.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.parity.formats_backbones import POSITIONS, fill, save_backbone
from tests.parity.formats_golden import Encoded, Texts
from tests.parity.formats_texts import DOCUMENTS, QUERIES, edge_texts

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def make_cases(
    work: Path, backbone: Path | None = None
) -> Iterator[tuple[str, str, Path, Texts, dict[str, Any]]]:
    """Build the one case, which FlagEmbedding saves by hand as well.

    Args:
        work: a folder to work in.
        backbone: a Hugging Face folder to put heads beside instead of the tiny one's.

    Yields:
        name, note, folder, texts and settings of a case.
    """
    folder = write_heads(backbone or save_backbone("xlm_roberta", work / "bge_m3"))
    tokenizer = import_module("transformers").AutoTokenizer.from_pretrained(folder)
    edges = edge_texts(lambda text: len(tokenizer(text)["input_ids"]), POSITIONS)
    note = "token vectors of BGE-M3's layout: a head with bias, and none of the first token"
    texts = Texts(queries=(*QUERIES, *edges), documents=(*DOCUMENTS, *edges))
    yield "bge_m3", note, folder, texts, {"max_length": POSITIONS}


def write_heads(folder: Path) -> Path:
    """Put BGE-M3's heads into a backbone's folder, and its weights into the file that they have on the hub."""
    hidden = json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    for name, width in (("colbert_linear", hidden), ("sparse_linear", 1)):
        linear = torch.nn.Linear(hidden, width)
        fill(linear, name)
        torch.save(linear.state_dict(), folder / f"{name}.pt")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    for file, content in (
        ("modules.json", MODULES),
        ("config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.2.2"}}),
        ("sentence_bert_config.json", {"max_seq_length": POSITIONS, "do_lower_case": False}),
    ):
        (folder / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return folder


def encode(folder: Path, texts: Texts) -> Encoded:
    """Load a folder with ``BGEM3FlagModel`` and encode texts with ``encode_queries`` and ``encode_corpus``."""
    model = import_module("FlagEmbedding").BGEM3FlagModel(str(folder), use_fp16=False, devices="cpu")
    emb: dict[str, tuple[Tensor, ...]] = {}
    ids: dict[str, tuple[Tensor, ...]] = {}
    for role, rows, method in (
        ("query", texts.queries, model.encode_queries),
        ("document", texts.documents, model.encode_corpus),
    ):
        found = method(
            list(rows),
            max_length=POSITIONS,
            return_dense=False,
            return_sparse=False,
            return_colbert_vecs=True,
        )
        emb[role] = tuple(torch.from_numpy(row) for row in found["colbert_vecs"])
        whole = model.tokenizer(list(rows), truncation=True, max_length=POSITIONS)["input_ids"]
        ids[role] = tuple(torch.tensor(row[1:]) for row in whole)
    means_QN = torch.tensor(
        [[float(model.colbert_score(q.numpy(), d.numpy())) for d in emb["document"]] for q in emb["query"]]
    )
    lengths_Q = torch.tensor([len(row) for row in emb["query"]])
    return Encoded(
        emb["query"], emb["document"], ids["query"], ids["document"], means_QN * lengths_Q[:, None]
    )
