"""Write the golden numbers of a peer library: scores, losses and gradients on inputs made from a seed.

Runs as a script inside the peer's own environment, where colbert_lab need not be installed:

    python tests/parity/make_golden.py pylate FILE                   with pylate==1.6.0
    python tests/parity/make_golden.py sentence_transformers FILE    with sentence-transformers==6.2.0

Without FILE it overwrites the committed numbers. The peers' losses run on a model that looks token
vectors up in a table, one row a token, so that gradients are per token and no encoder comes between.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
VERSIONS = {"pylate": "1.6.0", "sentence_transformers": "6.2.0"}
TEMPERATURES = (1.0, 0.2)
SIDE_TEMPERATURES = ((1.0, 1.0), (0.5, 2.0))  # student and teacher
CHUNK = 3  # rows of a chunk of the cached losses; does not divide the batches


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    Attributes:
        seed: of numpy's generator.
        queries: B.
        ways: K, documents a query; the first is the positive.
        shift: added to query vectors and, with ``opposed``, subtracted from document vectors.
        opposed: document vectors point away from query vectors, so many best similarities are negative.
        padded: texts differ in length, and some documents have a masked token inside.
    """

    seed: int
    queries: int
    ways: int
    shift: float
    opposed: bool
    padded: bool


CASES = {
    "padded, best similarities positive": Case(1, queries=4, ways=3, shift=0.5, opposed=False, padded=True),
    "unpadded, best similarities of both signs": Case(
        2, queries=5, ways=3, shift=0.3, opposed=True, padded=False
    ),
    "padded, best similarities of both signs": Case(
        3, queries=4, ways=3, shift=0.3, opposed=True, padded=True
    ),
}
POSITIVE, UNPADDED, PADDED = CASES
QUERY_TOKENS, DOCUMENT_TOKENS, DIM = 6, 9, 16


@dataclass(frozen=True)
class Inputs:
    """Token vectors and where they stand.

    Attributes:
        vectors_TD: one row a token, not yet unit length, float32.
        direction_TD: four fixed directions, to compare gradients along, float32 [4, T, D].
        query_ids_BQ: row of each query token.
        query_mask_BQ: True where it scores.
        document_ids_NL: row of each document token, the K documents of a query side by side.
        document_mask_NL: True where it scores.
        teacher_BK: teacher scores, float32.
        checksum: hash of all of the above.
    """

    vectors_TD: Tensor
    direction_TD: Tensor
    query_ids_BQ: Tensor
    query_mask_BQ: Tensor
    document_ids_NL: Tensor
    document_mask_NL: Tensor
    teacher_BK: Tensor
    checksum: str


def make_inputs(case: Case) -> Inputs:
    """The inputs of a case: uniform draws and sums only, so that they are the same bits everywhere."""
    generator = np.random.default_rng(case.seed)
    n_documents = case.queries * case.ways
    n_query_tokens = case.queries * QUERY_TOKENS
    n_tokens = n_query_tokens + n_documents * DOCUMENT_TOKENS
    vectors = generator.uniform(-1, 1, size=(n_tokens, DIM))
    vectors[:n_query_tokens] += case.shift
    vectors[n_query_tokens:] += -case.shift if case.opposed else case.shift
    query_mask = np.ones((case.queries, QUERY_TOKENS), dtype=bool)
    document_mask = np.ones((n_documents, DOCUMENT_TOKENS), dtype=bool)
    if case.padded:
        query_mask[:] = np.arange(QUERY_TOKENS) < generator.integers(
            3, QUERY_TOKENS, (case.queries, 1), endpoint=True
        )
        lengths = generator.integers(4, DOCUMENT_TOKENS, (n_documents, 1), endpoint=True)
        document_mask[:] = np.arange(DOCUMENT_TOKENS) < lengths
        document_mask[::3, 2] = False
        document_mask[1::3] = True
    arrays: dict[str, np.ndarray] = {
        "vectors_TD": vectors.astype(np.float32),
        "direction_TD": generator.uniform(-1, 1, size=(4, n_tokens, DIM)).astype(np.float32),
        "query_ids_BQ": np.arange(n_query_tokens).reshape(case.queries, QUERY_TOKENS),
        "query_mask_BQ": query_mask,
        "document_ids_NL": np.arange(n_query_tokens, n_tokens).reshape(n_documents, DOCUMENT_TOKENS),
        "document_mask_NL": document_mask,
        "teacher_BK": generator.uniform(0, 4, size=(case.queries, case.ways)).astype(np.float32),
    }
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return Inputs(
        **{name: torch.from_numpy(array) for name, array in arrays.items()}, checksum=digest.hexdigest()
    )


def rounded(values: Tensor) -> Any:
    """Numbers as they go into the file: nested lists with eight significant digits."""
    nested = values.detach().tolist()
    return json.loads(json.dumps(nested), parse_float=lambda text: float(f"{float(text):.8g}"))


def outcome(inputs: Inputs, loss: Tensor, gradient_TD: Tensor) -> dict[str, Any]:
    """What is kept of a loss and its gradient by token vectors."""
    return {
        "loss": rounded(loss),
        "query_gradient_norms": rounded(gradient_TD[inputs.query_ids_BQ].flatten(1).norm(dim=1)),
        "document_gradient_norms": rounded(gradient_TD[inputs.document_ids_NL].flatten(1).norm(dim=1)),
        "gradient_along_directions": rounded((inputs.direction_TD * gradient_TD).flatten(1).sum(dim=1)),
    }


class Table(nn.Module):
    """A model for the peers: token id to vector.

    Args:
        vectors_TD: the vectors, which are trained.
        unit: divide by the norm (sentence-transformers has that in its models, PyLate in its losses).
    """

    skiplist: tuple[int, ...] = ()  # what PyLate's losses ask of a model
    do_query_expansion = False

    def __init__(self, vectors_TD: Tensor, unit: bool) -> None:
        super().__init__()
        self.vectors_TD = nn.Parameter(vectors_TD.clone())
        self.unit = unit

    def forward(self, features: Mapping[str, Tensor], task: str | None = None) -> dict[str, Tensor]:
        """Look the tokens up."""
        emb = self.vectors_TD[features["input_ids"]]
        emb = F.normalize(emb, dim=-1) if self.unit else emb
        return {"token_embeddings": emb, "attention_mask": features["attention_mask"]}


class Recorder:
    """A scoring function that remembers what it returned last."""

    def __init__(self, score: Callable[..., Tensor]) -> None:
        self.score = score
        self.scores = torch.empty(0)

    def __call__(self, *arguments: Any, **named: Any) -> Tensor:
        """Score."""
        self.scores = self.score(*arguments, **named)
        return self.scores


def features(ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """A text column as the peers' losses take it."""
    return {"input_ids": ids, "attention_mask": mask.long()}


def pylate_losses(score: Callable[..., Tensor]) -> dict[str, Callable[[Table], Any]]:
    """PyLate's losses by the name of their numbers."""
    losses = import_module("pylate.losses")
    return {
        **{
            f"contrastive, temperature {t}": partial(losses.Contrastive, score_metric=score, temperature=t)
            for t in TEMPERATURES
        },
        "cached contrastive, temperature 1.0": partial(losses.CachedContrastive, mini_batch_size=CHUNK),
        "distillation, normalize_scores True": partial(losses.Distillation, normalize_scores=True),
        "distillation, normalize_scores False": partial(losses.Distillation, normalize_scores=False),
    }


def sentence_transformers_losses(score: Callable[..., Tensor]) -> dict[str, Callable[[Table], Any]]:
    """The multi-vector losses of sentence-transformers by the name of their numbers."""
    losses = import_module("sentence_transformers.multi_vector_encoder.losses")
    contrastive = losses.MultiVectorMultipleNegativesRankingLoss
    cached = losses.CachedMultiVectorMultipleNegativesRankingLoss
    distillation = losses.MultiVectorDistillKLDivLoss
    return {
        **{
            f"contrastive, temperature {t}": partial(contrastive, similarity_fct=score, scale=1 / t)
            for t in TEMPERATURES
        },
        "cached contrastive, temperature 1.0": partial(cached, mini_batch_size=CHUNK),
        **{
            f"distillation, temperatures {student} and {teacher}": partial(
                distillation, student_temperature=student, teacher_temperature=teacher
            )
            for student, teacher in SIDE_TEMPERATURES
        },
    }


def golden(peer: str) -> dict[str, Any]:
    """All numbers of a peer, whose library must be importable."""
    pylate = peer == "pylate"
    if pylate:
        recorder = Recorder(import_module("pylate.scores").ColBERTScores())
        losses = pylate_losses(recorder)
    else:
        recorder = Recorder(
            import_module("sentence_transformers.multi_vector_encoder.scoring").colbert_scores
        )
        losses = sentence_transformers_losses(recorder)
    cases: dict[str, Any] = {}
    for name, case in CASES.items():
        inputs = make_inputs(case)
        query = features(inputs.query_ids_BQ, inputs.query_mask_BQ)
        flat = features(inputs.document_ids_NL, inputs.document_mask_NL)
        columns = [{key: value[k :: case.ways] for key, value in flat.items()} for k in range(case.ways)]
        cases[name] = {"inputs": inputs.checksum}
        for kind, make in losses.items():
            model = Table(inputs.vectors_TD, unit=not pylate)
            documents = [flat] if pylate and kind.startswith("distillation") else columns
            loss = make(model)([query, *documents], inputs.teacher_BK)
            loss.backward()
            assert model.vectors_TD.grad is not None
            cases[name][kind] = outcome(inputs, loss, model.vectors_TD.grad)
        cases[name]["scores"] = rounded(recorder.scores)
    return {
        "peer": peer,
        "version": import_module(peer).__version__,
        "torch": torch.__version__,
        "cases": cases,
    }


def golden_file(peer: str) -> Path:
    """Where the committed numbers are."""
    return HERE / f"golden_{peer}_{VERSIONS[peer]}.json"


def read_golden(file: Path) -> dict[str, Any]:
    """Numbers that :func:`main` wrote."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def main(arguments: list[str]) -> None:
    """Write the numbers of the peer named first to the file named second."""
    peer = arguments[0]
    file = Path(arguments[1]) if len(arguments) > 1 else golden_file(peer)
    torch.set_num_threads(1)
    text = json.dumps(golden(peer), indent=1)
    # A list of numbers on one line.
    text = re.sub(r"\[[^][]*\]", lambda row: re.sub(r"\s+", " ", row[0]), text)
    file.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
