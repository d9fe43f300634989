"""The PLAID index: what it asks of fast-plaid and what it makes of the answers, without fast-plaid."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import PackedEmbeddings
from colbert_lab.search import plaid
from colbert_lab.search.exact import search, tie_ranks
from colbert_lab.search.plaid import (
    FAST_PLAID,
    TORCH,
    PlaidIndex,
    check_plaid,
    fast_plaid_class,
    installed,
)
from colbert_lab.search.store import in_memory
from tests.conftest import ROOT
from tests.search.test_exact import packed

CENTROIDS = 16


class Engine:
    """Stands in for fast-plaid: scores every document exactly, keeps its files, seeds the global generators."""

    def __init__(self, index: str, device: str) -> None:
        self.folder, self.device = Path(index), device
        (self.folder / "plaid.lock").touch()
        self.asked: list[dict[str, Any]] = []

    def create(self, documents_embeddings: list[torch.Tensor], **settings: Any) -> None:
        torch.manual_seed(settings["seed"])
        np.random.seed(settings["seed"])
        if settings["seed"] == 13:
            raise RuntimeError("no space left")
        np.save(self.folder / "centroids.npy", np.zeros((CENTROIDS, documents_embeddings[0].shape[1])))
        metadata = {"num_documents": len(documents_embeddings), **settings}
        (self.folder / "metadata.json").write_text(json.dumps(metadata))
        torch.save([len(documents_embeddings), *documents_embeddings], self.folder / "documents.pt")

    def close(self) -> None:
        pass

    def search(self, queries: list[torch.Tensor], **settings: Any) -> list[list[tuple[int, float]]]:
        self.asked.append({"queries": len(queries), **settings})
        _, *documents = torch.load(self.folder / "documents.pt")
        found = []
        for query in queries:
            scores = [float((query @ document.T).amax(dim=1).sum()) for document in documents]
            reached = min(len(documents), settings["n_ivf_probe"] * 10, settings["n_full_scores"] // 4)
            best = sorted(range(len(documents)), key=lambda n: (-scores[n], n))
            found.append([(n, scores[n]) for n in best[: min(reached, settings["top_k"])]])
        return found


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plaid, "fast_plaid_class", lambda: Engine)


def build(folder: Path, documents: PackedEmbeddings, **settings: Any) -> PlaidIndex:
    return PlaidIndex.build(documents, folder=folder / "index", **{"seed": 1, **settings})


def test_results_are_those_of_exact_search_where_the_engine_is_exact(tmp_path: Path) -> None:
    queries, documents = packed(70, 0, dim=8), packed(40, 1, dim=8)
    ties = tie_ranks([f"d{n}" for n in range(40)])
    index = build(tmp_path, documents, bits=2)
    scores, rows = index.search(queries, ties, 10)
    expected, expected_rows = search(queries, in_memory(documents), ties, 10)
    assert rows == expected_rows.tolist()
    torch.testing.assert_close(torch.tensor(scores), expected)
    assert [asked["queries"] for asked in index.engine.asked] == [64, 6]
    assert json.loads((tmp_path / "index" / "metadata.json").read_text())["nbits"] == 2


def test_ties_are_decided_before_the_cut(tmp_path: Path) -> None:
    vector = torch.ones(1, 8) / 8**0.5
    documents = PackedEmbeddings(vector.repeat(12, 1), torch.ones(12, dtype=torch.int64))
    query = PackedEmbeddings(vector, torch.ones(1, dtype=torch.int64))
    ids = [f"d{n}" for n in range(12)]
    _, rows = build(tmp_path, documents).search(query, tie_ranks(ids), 3)
    assert [ids[row] for row in rows[0]] == ["d9", "d8", "d7"]


def test_a_query_that_finds_fewer_has_a_shorter_list(tmp_path: Path) -> None:
    index = build(tmp_path, packed(40, 1, dim=8))
    scores, rows = index.search(packed(2, 0, dim=8), torch.arange(40), 30, n_probe=1)
    assert list(map(len, scores)) == list(map(len, rows)) == [10, 10]


def test_probing_more_centroids_than_there_are_probes_all(tmp_path: Path) -> None:
    index = build(tmp_path, packed(40, 1, dim=8))
    index.search(packed(2, 0, dim=8), torch.arange(40), 5, n_probe=10_000)
    assert index.engine.asked[0]["n_ivf_probe"] == CENTROIDS


def test_random_states_are_as_before_a_build_even_a_failed_one(tmp_path: Path) -> None:
    torch_state = torch.get_rng_state()
    np.random.seed(7)
    build(tmp_path, packed(5, 1, dim=8))
    with pytest.raises(RuntimeError, match="no space left"):
        build(tmp_path / "failed", packed(5, 1, dim=8), seed=13)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.random.random() == np.random.RandomState(7).random()


def test_an_index_is_whole_or_not_there_and_can_be_replaced(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        build(tmp_path, packed(5, 1, dim=8), seed=13)
    assert list(tmp_path.iterdir()) == []
    build(tmp_path, packed(5, 1, dim=8))
    again = build(tmp_path, packed(7, 2, dim=8))
    assert again.n_documents == 7
    loaded = PlaidIndex.load(tmp_path / "index")
    assert (loaded.n_documents, loaded.n_centroids, loaded.dim) == (7, CENTROIDS, 8)
    assert loaded.nbytes == sum(file.stat().st_size for file in (tmp_path / "index").iterdir()) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize(
    ("settings", "documents", "message"),
    [
        ({"bits": 3}, packed(5, 1, dim=8), r"evaluation\.plaid\.bits=3: must be one of 1, 2, 4, 8"),
        ({}, packed(5, 1, dim=12), r"student\.dim=12: .* multiple of 8"),
        ({}, packed(1, 1, dim=8), "document tokens are too few"),
    ],
)
def test_what_cannot_be_built_says_so(
    settings: dict[str, Any], documents: PackedEmbeddings, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        build(tmp_path, documents, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "notes.json").write_text("{}")
    with pytest.raises(InputError, match="holds something other than a PLAID index"):
        build(tmp_path, packed(5, 1, dim=8))
    assert (tmp_path / "index" / "notes.json").is_file()
    with pytest.raises(InputError, match="holds no PLAID index"):
        PlaidIndex.load(tmp_path / "index")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 20, "n_full_scores": 79}, r"n_full_scores=79: .* use at least 80"),
        ({"k": 100, "n_full_scores": 100}, r"n_full_scores=100: .* use at least 160"),
        ({"n_probe": 0}, r"n_probe=0: must be at least 1"),
        ({"n_documents": 39}, "has 40 documents and the corpus 39"),
        ({"dim": 16}, "has 8 dimensions and the queries 16"),
    ],
)
def test_a_search_that_cannot_be_answered_says_so(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    index = build(tmp_path, packed(40, 1, dim=8))
    k, ties = settings.pop("k", 5), torch.arange(settings.pop("n_documents", 40))
    queries = packed(2, 0, dim=settings.pop("dim", 8))
    with pytest.raises(InputError, match=message):
        index.search(queries, ties, k, **settings)


def test_a_query_without_any_document_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = build(tmp_path, packed(40, 1, dim=8))
    monkeypatch.setattr(index.engine, "search", lambda queries, **_: [[(1, 0.5)], []])
    with pytest.raises(InputError, match=r"1 queries found no document \(rows 1\); raise it"):
        index.search(packed(2, 0, dim=8), torch.arange(40), 5)


def pretend(monkeypatch: pytest.MonkeyPatch, versions: dict[str, str]) -> None:
    """Let the metadata of installed distributions say something else."""

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.parametrize("torch", [TORCH, f"{TORCH}+cpu", f"{TORCH}+cu130"])
def test_the_pair_passes_in_every_build_of_torch(torch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"fast-plaid": FAST_PLAID, "torch": torch})
    check_plaid()


@pytest.mark.parametrize(
    ("versions", "named"),
    [
        ({"torch": "2.13.0+cpu"}, "fast-plaid not installed and torch 2.13.0"),
        ({"torch": TORCH}, f"fast-plaid not installed and torch {TORCH}"),
        ({"torch": "2.13.0", "fast-plaid": FAST_PLAID}, f"fast-plaid {FAST_PLAID} and torch 2.13.0"),
        ({"torch": TORCH, "fast-plaid": "1.7.0.2130"}, f"fast-plaid 1.7.0.2130 and torch {TORCH}"),
        ({"torch": "2.11.1", "fast-plaid": FAST_PLAID}, "torch 2.11.1"),
    ],
)
def test_any_other_pair_is_one_line_that_says_what_to_install(
    versions: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, versions)
    with pytest.raises(InputError) as error:
        fast_plaid_class()
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"evaluation.mode=plaid needs fast-plaid {FAST_PLAID} and torch {TORCH}")
    assert named in message
    assert "python3 -m venv" in message
    assert "pip install" in message
    assert "fast_plaid" not in sys.modules


def test_what_is_installed_is_read_without_its_local_part() -> None:
    assert installed("torch") == metadata.version("torch").partition("+")[0]
    assert installed("no-such-distribution") is None


def test_the_extra_installs_the_version_that_the_check_wants_and_dev_does_not() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras["plaid"] == [f"fast-plaid=={FAST_PLAID}"]
    assert not any(
        "plaid" in requirement for extra in set(extras) - {"plaid"} for requirement in extras[extra]
    )
    assert "fast-plaid" not in (ROOT / "constraints.txt").read_text()


def test_the_checks_of_the_real_index_start_without_the_test_tools() -> None:
    """They run in the environment of the extra, which has no pytest."""
    script = "import sys; sys.modules['pytest'] = None; import tests.search.plaid_checks"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
