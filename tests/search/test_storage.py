"""What each way of keeping token embeddings loses."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.search.storage import Codec, Float, Int8, Residual, codec_of, fit_residual, nearest, pool
from colbert_lab.settings.evaluation import STORAGES
from tests.parity import make_pooling_golden
from tests.parity.make_pooling_golden import GOLDEN, LENGTHS, make_documents


def unit(n: int, dim: int = 24, seed: int = 0, clusters: int = 12) -> Tensor:
    """Vectors around a few centres, as token embeddings are; the same centres for every seed."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(clusters, dim, generator=torch.Generator().manual_seed(99))
    owners = torch.randint(0, clusters, (n,), generator=generator)
    return torch.nn.functional.normalize(
        centres[owners] + 0.4 * torch.randn(n, dim, generator=generator), dim=1
    )


def codec(name: str) -> Codec:
    if not name.startswith("residual"):
        return codec_of(name, {})
    pytest.importorskip("faiss")
    return fit_residual(unit(4000, seed=1), 4000, int(name[-1]), seed=0)


def error(codec: Codec, emb_TD: Tensor) -> float:
    return float((codec.decode(codec.encode(emb_TD)) - emb_TD).norm(dim=1).mean())


@pytest.mark.parametrize("name", STORAGES)
def test_tokens_come_back_one_by_one_and_from_their_state(name: str) -> None:
    emb_TD, made = unit(50), codec(name)
    arrays = made.encode(emb_TD)
    assert {len(array) for array in arrays.values()} == {50}
    decoded_TD = made.decode(arrays)
    assert (decoded_TD.dtype, decoded_TD.shape) == (torch.float32, emb_TD.shape)
    part = made.decode({key: array[10:13] for key, array in arrays.items()})
    torch.testing.assert_close(part, decoded_TD[10:13], atol=1e-7, rtol=0)
    again = codec_of(made.name, made.state())
    assert torch.equal(again.decode(again.encode(emb_TD)), decoded_TD)


def test_float32_loses_nothing_and_the_others_more_the_fewer_bits() -> None:
    pytest.importorskip("faiss")
    emb_TD = unit(500, seed=2)
    errors = [error(codec(name), emb_TD) for name in STORAGES[:3]]
    residuals = [error(codec(name), emb_TD) for name in ("residual4", "residual2", "residual1")]
    assert errors[0] == 0
    assert errors[1] < 5e-4
    assert errors[2] < 0.01
    assert errors[2] < residuals[0] < residuals[1] < residuals[2] < 0.6


def test_int8_is_within_half_a_step_of_every_number() -> None:
    emb_TD = unit(100) * torch.linspace(0.01, 30, 100)[:, None]
    arrays = Int8().encode(emb_TD)
    step = torch.from_numpy(arrays["scale"]).float()[:, None]
    off = (Int8().decode(arrays) - emb_TD).abs() / step
    # The scale is rounded to float16, so the largest number can lie up to 127 * 2**-11 steps beyond the last byte.
    assert float(off.max()) <= 0.5 + 127 * 2**-11
    assert float(Int8().decode(Int8().encode(torch.zeros(1, 4))).abs().max()) == 0


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_residuals_equal_a_plain_loop(bits: int) -> None:
    pytest.importorskip("faiss")
    emb_TD, made = unit(30, dim=21), fit_residual(unit(2000, dim=21, seed=1), 2000, bits, seed=0)
    assert isinstance(made, Residual)
    arrays = made.encode(emb_TD)
    assert arrays["packed"].shape == (30, -(-21 * bits // 8))
    assert (len(made.cuts), len(made.values)) == (2**bits - 1, 2**bits)
    expected = []
    for vector in emb_TD.numpy():
        code = int(np.argmax(made.centroids_KD.numpy() @ vector))
        bucket = [
            int(np.searchsorted(made.cuts.numpy(), x)) for x in vector - made.centroids_KD[code].numpy()
        ]
        whole = made.centroids_KD[code].numpy() + made.values.numpy()[bucket]
        expected.append(whole / np.linalg.norm(whole))
    np.testing.assert_allclose(made.decode(arrays).numpy(), np.stack(expected), atol=1e-6)


def test_centroids_are_as_many_as_colbertv2_takes_and_come_from_the_seed() -> None:
    pytest.importorskip("faiss")
    sample_TD = unit(6000)
    made = fit_residual(sample_TD, 900, 4, seed=3)
    assert len(made.centroids_KD) == 256  # 16 * sqrt(900) = 480
    assert torch.equal(fit_residual(sample_TD, 900, 4, seed=3).centroids_KD, made.centroids_KD)
    assert len(fit_residual(unit(100), 10**6, 4, seed=0).centroids_KD) == 22  # a quarter of the 90 seen
    middle = made.values[7:9]
    assert float(middle[0]) < float(made.cuts[7]) < float(middle[1])


def test_nearest_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colbert_lab.search.storage.BLOCK", 7)
    emb_TD, centroids_KD = unit(50), unit(9, seed=4)
    assert torch.equal(nearest(emb_TD, centroids_KD), (emb_TD @ centroids_KD.T).argmax(dim=1))


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match=r"^evaluation\.storage=int4: must be one of float32, "):
        codec_of("int4", {})
    with pytest.raises(InputError, match=r"^evaluation\.storage=residual4: 5 tokens are too few"):
        fit_residual(unit(5), 5, 4, seed=0)
    assert Float("float16").encode(unit(3))["values"].dtype == np.float16


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
