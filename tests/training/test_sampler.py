"""Which rows a micro-batch holds."""

from __future__ import annotations

import numpy as np

from colbert_lab.training.sampler import SourceSampler


def test_rows_are_in_the_order_of_numpys_permutation() -> None:
    sampler = SourceSampler([1000], 10, None, entropy=7)
    found = np.concatenate([sampler.rows(k)[1] for k in range(100)])
    assert found.dtype == np.int64
    assert found.tolist() == np.random.default_rng([7, 1, 0, 0, 0]).permutation(1000).tolist()
