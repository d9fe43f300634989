"""Golden cases: a folder that a peer saved, and what the peer computes with it.

    tests/parity/formats/PEER-VERSION/CASE/
      model/                 the folder as the peer saved it (some cases read the folder of another case)
      case.json              peer, version, model, texts, settings of the peer, a note
      expected.safetensors   token vectors of every text end to end, their lengths, their token ids, MaxSim

Written by formats_make.py and formats_encode.py in the peers' environments, read by the tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

GOLDENS = Path(__file__).resolve().parent / "formats"
CASE_FILE, EXPECTED_FILE = "case.json", "expected.safetensors"


@dataclass(frozen=True)
class Texts:
    """What a peer encodes.

    Attributes:
        queries: texts in the role of a query, without prompt.
        documents: texts in the role of a document, without prompt.
        query_prompt_name: name of the prompt that PyLate puts before queries, or None. sentence-transformers
            always uses the prompts of its folder.
        document_prompt_name: the same for documents.
    """

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    query_prompt_name: str | None = None
    document_prompt_name: str | None = None


@dataclass(frozen=True)
class Encoded:
    """What a peer computes: scoring tokens only, in the order of the texts.

    Attributes:
        query_emb: one float32 [tokens, dim] a query, unit length.
        document_emb: the same for documents.
        query_ids: token ids of the rows of ``query_emb``, int32 [tokens] each.
        document_ids: the same for documents.
        scores_QN: the peer's MaxSim of every query with every document, float32.
    """

    query_emb: tuple[Tensor, ...]
    document_emb: tuple[Tensor, ...]
    query_ids: tuple[Tensor, ...]
    document_ids: tuple[Tensor, ...]
    scores_QN: Tensor

    def save(self, file: Path) -> None:
        """Write one safetensors file, texts end to end."""
        packed = {"scores": self.scores_QN.float().contiguous()}
        for role in ("query", "document"):
            rows: tuple[Tensor, ...] = getattr(self, f"{role}_emb")
            packed[f"{role}_emb"] = torch.cat([row.float() for row in rows])
            packed[f"{role}_ids"] = torch.cat([row.int() for row in getattr(self, f"{role}_ids")])
            packed[f"{role}_lengths"] = torch.tensor([len(row) for row in rows])
        save_file(packed, file)

    @classmethod
    def load(cls, file: Path) -> Encoded:
        """Read what :meth:`save` wrote."""
        packed = load_file(file)
        split = {
            f"{role}_{kind}": packed[f"{role}_{kind}"].split(packed[f"{role}_lengths"].tolist())
            for role in ("query", "document")
            for kind in ("emb", "ids")
        }
        return cls(**split, scores_QN=packed["scores"])


@dataclass(frozen=True)
class Golden:
    """One case.

    Attributes:
        name: of the case, and of its folder.
        peer: pylate, sentence_transformers or stanford: whose numbers these are.
        version: the peer's.
        libraries: versions of torch, transformers and tokenizers that ran.
        model: the model folder, relative to the case's folder.
        texts: what was encoded.
        settings: what the peer was told, under the peer's names.
        note: what the case is there for.
    """

    name: str
    peer: str
    version: str
    libraries: dict[str, str]
    model: str
    texts: Texts
    settings: dict[str, Any]
    note: str

    @property
    def folder(self) -> Path:
        """The committed folder of the case."""
        return GOLDENS / f"{self.peer}-{self.version}" / self.name

    @property
    def model_folder(self) -> Path:
        """The committed model folder."""
        return (self.folder / self.model).resolve()

    @property
    def expected(self) -> Encoded:
        """What the peer computes."""
        return Encoded.load(self.folder / EXPECTED_FILE)

    def save(self, folder: Path) -> None:
        """Write case.json into that folder."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (folder / CASE_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Golden:
        """Read case.json."""
        content = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
        return cls(**{**content, "texts": texts_from(content["texts"])})


def texts_from(content: dict[str, Any]) -> Texts:
    """Texts out of a JSON object with the names of :class:`Texts`."""
    lists = {name: tuple(content[name]) for name in ("queries", "documents")}
    return Texts(**{**content, **lists})


def goldens(*peers: str) -> list[Golden]:
    """All committed cases, of these peers when some are named, sorted by peer and name."""
    found = (Golden.load(file.parent) for file in sorted(GOLDENS.glob(f"*/*/{CASE_FILE}")))
    return [case for case in found if not peers or case.peer in peers]


def maxsim_of(query_emb: Sequence[Tensor], document_emb: Sequence[Tensor]) -> Tensor:
    """MaxSim by its definition, one pair at a time, in float64 [Q, N]."""

    def rows() -> Iterator[list[Tensor]]:
        for query in query_emb:
            yield [(query.double() @ doc.double().T).amax(dim=1).sum() for doc in document_emb]

    return torch.stack([torch.stack(row) for row in rows()])
