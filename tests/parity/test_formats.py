"""Folders that peers saved load here with the peers' numbers, and keep them through every other layout.

The committed folders and numbers are the peers' own (see formats_make.py). Where our numbers are not a peer's, it is
because that peer reads a folder of another library otherwise than the library itself, for one stated reason.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Role
from colbert_lab.model.colbert import Head
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import FORMATS, load_checkpoint, save_checkpoint
from colbert_lab.model.maxsim import maxsim
from colbert_lab.model.student import Student
from tests.parity.formats_golden import Golden, goldens

CLOSE = 1e-5
REFUSED = {
    ("sentence_transformers", "bert_min"): r"query_expansion.token=\[unused0\]: only \[MASK\]",
    ("sentence_transformers", "bert_skiplist"): "skiplist_tasks=.* only document is known",
}
"""Folders that hold what a student here cannot do: one clear error."""
OTHERWISE = {
    # sentence-transformers puts the marker before the first token where PyLate puts it after that one.
    ("sentence_transformers", "read_pylate_qwen2"),
    # PyLate skips every unknown token when a word of the skiplist is unknown; sentence-transformers passes it over.
    ("sentence_transformers", "read_pylate_skiplist"),
    # PyLate does not read mask_punctuation of a Stanford folder and skips punctuation anyway.
    ("pylate", "read_stanford_attended"),
}
"""One library's folder as another reads it; ours are the numbers of the folder's own, which other cases hold."""
CASES = [case for case in goldens() if (case.peer, case.name) not in REFUSED.keys() | OTHERWISE]


def named(case: Golden) -> str:
    return f"{case.peer}-{case.name}"


def encoded(student: Student, case: Golden) -> dict[Role, tuple[Tensor, ...]]:
    texts: dict[Role, tuple[str, ...]] = {"query": case.texts.queries, "document": case.texts.documents}
    found: dict[Role, tuple[Tensor, ...]] = {}
    for role, own in texts.items():
        packed = encode(student, own, role, token_budget=200)
        found[role] = packed.emb_TD.split(packed.lengths_N.tolist())
    return found


def together(rows: tuple[Tensor, ...]) -> Embeddings:
    emb = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return Embeddings(emb, torch.arange(emb.shape[1])[None] < lengths[:, None])


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_peers_folder_gives_the_peers_embeddings_and_scores(case: Golden) -> None:
    student, expected = load_checkpoint(str(case.model_folder)), case.expected
    ours = encoded(student, case)
    for role, theirs in (("query", expected.query_emb), ("document", expected.document_emb)):
        assert [len(row) for row in ours[role]] == [len(row) for row in theirs]  # type: ignore[index]
        for mine, peer in zip(ours[role], theirs, strict=True):  # type: ignore[index]
            torch.testing.assert_close(mine, peer, atol=CLOSE, rtol=0)
    scores = maxsim(together(ours["query"]), together(ours["document"]))
    torch.testing.assert_close(scores, expected.scores_QN, atol=CLOSE * 10, rtol=CLOSE)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_every_layout_that_takes_it_keeps_it(case: Golden, tmp_path: Path) -> None:
    """Without texts that hold the mask token: a layout that cannot strip has the tokenizer strip each part of those."""
    student = load_checkpoint(str(case.model_folder))
    plain: dict[Role, list[str]] = {
        "query": ["bread & apples?", "İZMİR'de ılık ÇAY"],
        "document": ["The old bridge.", "Dağın ətəyində kiçik kənd"],
    }
    taken, refused = [], {}
    for target, layout in FORMATS.items():
        if layout.save is None:
            continue
        folder = tmp_path / target
        folder.mkdir()
        try:
            save_checkpoint(student, target, folder)
        except InputError as error:
            refused[target] = str(error)
            continue
        taken.append(target)
        again = load_checkpoint(str(folder))
        for role, texts in plain.items():
            before, after = (encode(s, texts, role, token_budget=99) for s in (student, again))
            assert before.lengths_N.tolist() == after.lengths_N.tolist(), target
            torch.testing.assert_close(after.emb_TD, before.emb_TD, atol=CLOSE, rtol=0)
    assert all(why.startswith(f"to={target}: ") for target, why in refused.items())
    assert "colbert_lab" in taken
    assert len(taken) > 1 or student.tokenizer.rules.unscored


@pytest.mark.parametrize(("peer", "name"), REFUSED)
def test_what_a_student_cannot_do_is_one_error(peer: str, name: str) -> None:
    (case,) = (case for case in goldens(peer) if case.name == name)
    with pytest.raises(InputError, match=REFUSED[peer, name]):
        load_checkpoint(str(case.model_folder))


def test_the_cases_cover_what_they_should() -> None:
    """Every peer, with and without expansion, attended and not, with stacked heads, prompts and no markers."""
    assert {case.peer for case in CASES} >= {"pylate", "sentence_transformers", "stanford", "flag_embedding"}
    rules = [load_checkpoint(str(case.model_folder)).tokenizer.rules for case in CASES]
    assert {rule.expansion for rule in rules} == {"none", "attended", "unattended"}
    assert {rule.expansion for rule in rules if rule.expansion_min} == {"attended", "unattended"}
    assert {rule.query_marker is None for rule in rules} == {True, False}
    assert {bool(rule.query_prompt) for rule in rules} == {True, False}
    heads = [load_checkpoint(str(case.model_folder)).model.head for case in goldens("pylate")]
    shapes = [head.shapes for head in heads if isinstance(head, Head)]
    assert any(len(each) > 1 and any(shape.residual and shape.bias for shape in each) for each in shapes)
