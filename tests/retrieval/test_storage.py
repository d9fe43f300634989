"""What each way of keeping token embeddings loses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from colbert_lab.errors import InputError
from colbert_lab.retrieval.storage import (
    STORAGES,
    Codec,
    Float,
    Int8,
    Residual,
    codec_of,
    fit_residual,
    nearest,
)


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
    monkeypatch.setattr("colbert_lab.retrieval.storage.BLOCK", 7)
    emb_TD, centroids_KD = unit(50), unit(9, seed=4)
    assert torch.equal(nearest(emb_TD, centroids_KD), (emb_TD @ centroids_KD.T).argmax(dim=1))


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match=r"^evaluation\.storage=int4: must be one of float32, "):
        codec_of("int4", {})
    with pytest.raises(InputError, match=r"^evaluation\.storage=residual4: 5 tokens are too few"):
        fit_residual(unit(5), 5, 4, seed=0)
    assert Float("float16").encode(unit(3))["values"].dtype == np.float16
