import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from colbert_lab.errors import InputError
from colbert_lab.retrieval.pooling import pool
from colbert_lab.types import PackedEmbeddings
from tests.parity import make_pooling_golden
from tests.parity.make_pooling_golden import GOLDEN, LENGTHS, make_documents

CASES: list[dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))
PEER = "COLBERT_LAB_PYLATE_PYTHON"


def pieces(packed: PackedEmbeddings) -> list[Tensor]:
    return list(packed.emb_TD.split(packed.lengths_N.tolist()))


def in_order(tokens: Tensor) -> Tensor:
    """Rows sorted by their values, to compare sets of vectors."""
    return torch.tensor(sorted(tokens.tolist()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['factor']}-{case['protected']}")
def test_pooled_tokens_are_pylates_up_to_order_and_length(case: dict[str, Any]) -> None:
    protected = case["protected"]
    documents = PackedEmbeddings(make_documents(), torch.tensor(LENGTHS))
    ours = pieces(pool(documents, case["factor"], protected))
    assert len(ours) == len(case["documents"])
    for text, theirs, whole in zip(ours, case["documents"], pieces(documents), strict=True):
        expected = torch.nn.functional.normalize(torch.tensor(theirs), dim=-1)
        assert torch.equal(text[:protected], whole[:protected])
        torch.testing.assert_close(in_order(text), in_order(expected), atol=2e-6, rtol=0)
        assert torch.allclose(text.norm(dim=-1), torch.ones(len(text)), atol=1e-6)
    lengths = [len(theirs) for theirs in case["documents"]]
    assert lengths == [min(n, min(n, protected) + max(1, (n - protected) // case["factor"])) for n in LENGTHS]


@pytest.mark.parity
def test_pylate_computes_the_committed_numbers(tmp_path: Path) -> None:
    python = os.environ.get(PEER)
    if not python:
        pytest.skip(f"{PEER} does not name a Python with pylate {make_pooling_golden.VERSION}")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    file = tmp_path / "golden.json"
    subprocess.run([python, make_pooling_golden.__file__, str(file)], check=True, env=environment)
    for new, committed in zip(json.loads(file.read_text()), CASES, strict=True):
        assert (new["factor"], new["protected"]) == (committed["factor"], committed["protected"])
        for ours, theirs in zip(new["documents"], committed["documents"], strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=1e-6, rtol=0)


def around(centres: Tensor, copies: int, noise: float) -> Tensor:
    tokens = centres.repeat_interleave(copies, dim=0)
    shaken = tokens + noise * torch.randn(tokens.shape, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(shaken, dim=-1)


def test_well_separated_groups_become_their_means() -> None:
    tokens = around(torch.eye(5), 4, 0.05)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    pooled = pool(PackedEmbeddings(tokens[order], torch.tensor([20])), 4, protected=0)
    means = torch.nn.functional.normalize(tokens.view(5, 4, 5).mean(dim=1), dim=-1)
    assert pooled.lengths_N.tolist() == [5]
    torch.testing.assert_close(in_order(pooled.emb_TD), in_order(means), atol=1e-6, rtol=0)


def test_factor_one_is_the_identity() -> None:
    documents = PackedEmbeddings(make_documents(), torch.tensor(LENGTHS))
    assert pool(documents, 1) is documents


def test_a_document_is_pooled_alone() -> None:
    documents = PackedEmbeddings(make_documents(), torch.tensor(LENGTHS))
    together = pieces(pool(documents, 3, progress="pooling"))
    for text, expected in zip(pieces(documents), together, strict=True):
        assert torch.equal(pool(PackedEmbeddings(text, torch.tensor([len(text)])), 3).emb_TD, expected)


def test_copies_of_a_token_become_that_token_and_opposites_zero() -> None:
    token = torch.tensor([[0.6, 0.8, 0.0]])
    copies = pool(PackedEmbeddings(token.repeat(7, 1), torch.tensor([7])), 3, protected=0)
    torch.testing.assert_close(copies.emb_TD, token.expand(len(copies.emb_TD), -1))
    opposites = pool(PackedEmbeddings(torch.cat([token, -token]), torch.tensor([2])), 2, protected=0)
    assert torch.equal(opposites.emb_TD, torch.zeros(1, 3))


@pytest.mark.parametrize(("key", "value"), [("factor", 0), ("protected", -1)])
def test_a_bad_parameter_is_named(key: str, value: int) -> None:
    documents = PackedEmbeddings(torch.eye(3), torch.tensor([3]))
    with pytest.raises(InputError, match=rf"evaluation\.pool_{key} is {value}: set it to"):
        pool(documents, **{"factor": 2, key: value})  # type: ignore[arg-type]
