"""Token embeddings in memory and on disk."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.search.exact import rerank, search
from colbert_lab.search.storage import Float, Int8
from colbert_lab.search.store import META, TokenStore, convert, make_shard, open_shard, write_shard
from tests.search.test_exact import naive, packed, stored


def on_disk(store: TokenStore, folder: Path) -> TokenStore:
    shards = [write_shard(shard, store.codec, folder / str(n)) for n, shard in enumerate(store.shards)]
    return TokenStore(store.codec, shards)


def test_documents_are_found_by_their_row_in_any_shard(tmp_path: Path) -> None:
    documents = packed(20, 1)
    parts = documents.emb_TD.split(documents.lengths_N.tolist())
    for store in (stored(documents, 3), on_disk(stored(documents, 3), tmp_path)):
        assert (len(store), store.n_tokens) == (20, len(documents.emb_TD))
        wanted = torch.tensor([7, 19, 0, 7])
        found = store.documents(wanted)
        assert torch.equal(found.emb_TD, torch.cat([parts[n] for n in wanted.tolist()]))
        assert found.lengths_N.tolist() == [len(parts[n]) for n in wanted.tolist()]
        for shard in store.shards:
            assert bool((shard.lengths_C.diff() >= 0).all())
            assert torch.equal(
                store.packed(shard).emb_TD, torch.cat([parts[n] for n in shard.rows_C.tolist()])
            )


def test_a_shard_on_disk_is_mapped_and_searched_like_one_in_memory(tmp_path: Path) -> None:
    queries, memory = packed(5, 0), convert(stored(packed(40, 1), 3), Int8())
    disk = on_disk(memory, tmp_path)
    assert all(isinstance(array, np.memmap) for shard in disk.shards for array in shard.arrays.values())
    assert disk.nbytes == memory.nbytes == 40 * 4 + memory.n_tokens * (4 + 2)
    for one, other in zip(
        search(queries, memory, torch.arange(40), 10),
        search(queries, disk, torch.arange(40), 10),
        strict=True,
    ):
        assert torch.equal(one, other)
    shard, codec = open_shard(tmp_path / "1")
    assert codec.name == "int8"
    assert torch.equal(shard.rows_C, memory.shards[1].rows_C)


def test_a_sample_is_drawn_from_all_shards_without_repeats() -> None:
    store = stored(packed(60, 1), 4)
    everything = {tuple(row) for shard in store.shards for row in store.packed(shard).emb_TD.tolist()}
    sampled = [tuple(row) for row in store.sample(10**6, 0).tolist()]
    assert (len(sampled), set(sampled)) == (store.n_tokens, everything)
    few = store.sample(30, 1)
    assert len({tuple(row) for row in few.tolist()}) == 30
    assert torch.equal(store.sample(30, 1), few)
    assert not torch.equal(store.sample(30, 2), few)


def test_reranking_everything_is_exact_search() -> None:
    queries, store = packed(6, 0), stored(packed(30, 1), 2)
    scores, rows = search(queries, store, torch.arange(30), 30)
    generator = torch.Generator().manual_seed(0)
    candidates = [torch.randperm(30, generator=generator) for _ in range(6)]
    reranked, found = rerank(queries, store, candidates, torch.arange(30), 30)
    torch.testing.assert_close(torch.stack(reranked), scores, atol=1e-5, rtol=0)
    assert torch.equal(torch.stack(found), rows)


def test_reranking_keeps_to_the_candidates() -> None:
    queries, documents = packed(3, 0), packed(30, 1)
    expected = naive(queries, documents)
    candidates = [torch.tensor([3, 9, 20, 4]), torch.tensor([], dtype=torch.int64), torch.tensor([8])]
    scores, rows = rerank(queries, stored(documents), candidates, torch.arange(30), 2)
    assert [len(row) for row in rows] == [2, 0, 1]
    for q, (found, values) in enumerate(zip(rows, scores, strict=True)):
        best = sorted(candidates[q].tolist(), key=lambda n, q=q: -float(expected[q, n]))[:2]  # type: ignore[misc]
        assert found.tolist() == best
        torch.testing.assert_close(values, expected[q, found], atol=1e-5, rtol=0)


@pytest.mark.parametrize("storage", ["float16", "float32"])
def test_a_shard_keeps_its_documents_in_order_of_length(storage: str) -> None:
    documents = packed(10, 3)
    shard = make_shard(documents, torch.arange(100, 110), Float(storage))
    assert sorted(shard.rows_C.tolist()) == list(range(100, 110))
    assert torch.equal(shard.lengths_C, documents.lengths_N.sort().values)
    assert torch.equal(documents.lengths_N[shard.rows_C - 100], shard.lengths_C)
    first = shard.part(0, 3)["values"]
    assert len(first) == int(shard.lengths_C[:3].sum())


def test_too_many_open_files_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    (tmp_path / META).write_text('{"codec": "float32"}')
    monkeypatch.setattr(np, "load", full)
    with pytest.raises(InputError, match=r"too many open files; allow more \(ulimit -n\)"):
        open_shard(tmp_path)
