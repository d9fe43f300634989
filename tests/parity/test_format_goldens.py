"""The golden folders themselves: whole, consistent, and about what they say. Needs neither peers nor a loader."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.parity import formats_flmr
from tests.parity.formats_golden import GOLDENS, Golden, goldens, maxsim_of
from tests.parity.formats_texts import DOCUMENTS

CASES = goldens()
CLOSE = 1e-5
named = pytest.mark.parametrize("case", CASES, ids=[f"{case.peer}-{case.name}" for case in CASES])


@named
def test_packed_rows_fit_their_texts(case: Golden) -> None:
    expected, texts = case.expected, case.texts
    for emb, ids, rows in (
        (expected.query_emb, expected.query_ids, texts.queries),
        (expected.document_emb, expected.document_ids, texts.documents),
    ):
        assert len(emb) == len(ids) == len(rows)
        assert [len(row) for row in emb] == [len(row) for row in ids]
        assert min(len(row) for row in emb) > 0
    assert expected.scores_QN.shape == (len(texts.queries), len(texts.documents))


@named
def test_token_vectors_have_unit_length(case: Golden) -> None:
    for row in (*case.expected.query_emb, *case.expected.document_emb):
        assert row.dtype == torch.float32
        torch.testing.assert_close(row.norm(dim=1), torch.ones(len(row)), rtol=0, atol=CLOSE)


@named
def test_scores_are_maxsim_of_the_vectors(case: Golden) -> None:
    expected = case.expected
    scores_QN = maxsim_of(expected.query_emb, expected.document_emb)
    torch.testing.assert_close(expected.scores_QN.double(), scores_QN, rtol=0, atol=CLOSE)


@named
def test_documents_have_scores_of_their_own(case: Golden) -> None:
    """So a loader that confuses texts cannot pass. The cut ones at the end begin alike."""
    scores_QN = case.expected.scores_QN[:, : len(DOCUMENTS)]
    gaps_NN = (scores_QN[:, :, None] - scores_QN[:, None, :]).abs().amax(dim=0)
    assert float((gaps_NN + torch.eye(len(DOCUMENTS))).min()) > 100 * CLOSE


@named
def test_folders_hold_no_text_of_the_peers_and_no_code(case: Golden) -> None:
    names = [file.name for file in case.model_folder.rglob("*") if file.is_file()]
    assert "config.json" in names
    assert not [name for name in names if name.endswith((".md", ".py"))]


def test_goldens_are_small() -> None:
    assert sum(file.stat().st_size for file in GOLDENS.rglob("*") if file.is_file()) < 2_200_000


def test_the_flmr_case_is_what_its_script_makes(tmp_path: Path) -> None:
    made, committed = formats_flmr.make(tmp_path), GOLDENS / "flmr-layout" / "bert"
    files = sorted(file.relative_to(committed) for file in committed.rglob("*") if file.is_file())
    assert sorted(file.relative_to(made) for file in made.rglob("*") if file.is_file()) == files
    for file in files:
        assert (made / file).read_bytes() == (committed / file).read_bytes(), file


def test_flmr_with_separate_encoders_has_both(tmp_path: Path) -> None:
    formats_flmr.write_folder(Golden.load(formats_flmr.SOURCE).model_folder, tmp_path / "flmr", separate=True)
    weights = load_file(tmp_path / "flmr" / "model.safetensors")
    contexts = {name for name in weights if name.startswith("context_text_encoder")}
    assert contexts
    for name in contexts:
        assert torch.equal(weights[name], weights[name.replace("context", "query", 1)])
