"""A student from Python, as its users have it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import colbert_lab
from colbert_lab.api import Model
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.index import Hit
from colbert_lab.model.formats.own import save_student
from colbert_lab.mteb_search import MtebSearch
from tests.tiny import sentences
from tests.toy import new_student

TEXTS = {f"d{n}": text for n, text in enumerate(sentences(30))}
QUERIES = sentences(4, seed=9, high=7)


@pytest.fixture
def folder(student_settings: dict[str, Any], tmp_path: Path) -> Path:
    torch.manual_seed(0)
    prompts = {"query_prompt": "red ", "document_prompt": "blue "}
    save_student(new_student(**(student_settings | prompts)), tmp_path / "student")
    return tmp_path / "student"


@pytest.fixture
def model(folder: Path) -> Model:
    return colbert_lab.load(folder, device="cpu", precision="32-true")


def test_texts_are_encoded_by_role_with_the_students_own_prompts(model: Model) -> None:
    (asked,), (told,) = model.encode(["a fish"], role="query"), model.encode(["a fish"], role="document")
    tokens = model.student.tokenizer(["a fish"], "query")
    with torch.no_grad():
        expected = model.student.model(tokens)
    torch.testing.assert_close(asked, expected.emb_NLD[0][expected.mask_NL[0]], atol=1e-6, rtol=0)
    words = model.student.tokenizer.tokenizer.convert_ids_to_tokens(tokens.input_ids_NL[0].tolist())
    assert "red" in words
    assert not torch.allclose(asked[:2], told[:2])
    torch.testing.assert_close(told.norm(dim=1), torch.ones(len(told)))
    with pytest.raises(InputError, match=r"^role=passage: must be query or document"):
        model.encode(["a"], role="passage")  # type: ignore[call-overload]


def test_reranking_and_searching_agree_with_a_plain_loop(model: Model) -> None:
    (asked,) = model.encode(QUERIES[:1], "query")
    told = model.encode(list(TEXTS.values()), "document")
    scores = {name: float((asked @ m.T).amax(dim=1).sum()) for name, m in zip(TEXTS, told, strict=True)}
    best = sorted(scores, key=lambda name: (-scores[name], name))[:5]
    reranked = model.rerank(QUERIES[0], TEXTS, k=5)
    assert [hit.document_id for hit in reranked] == best
    assert [hit.score for hit in reranked] == pytest.approx([scores[name] for name in best], abs=1e-5)
    (found,) = model.index(TEXTS).search(QUERIES[0], k=5)
    assert [hit.document_id for hit in found] == best
    by_position = model.rerank(QUERIES[0], list(TEXTS.values()))
    assert f"d{by_position[0].document_id}" == best[0]
    assert len(by_position) == 30


def test_a_model_keeps_the_first_dimensions(model: Model, folder: Path, tmp_path: Path) -> None:
    short = colbert_lab.load(folder, device="cpu", precision="32-true", dim=4)
    (whole,), (cut,) = model.encode(["a fish"], "query"), short.encode(["a fish"], "query")
    torch.testing.assert_close(cut, torch.nn.functional.normalize(whole[:, :4], dim=1))
    (asked,), told = short.encode(QUERIES[:1], "query"), short.encode(list(TEXTS.values()), "document")
    scores = {name: float((asked @ m.T).amax(dim=1).sum()) for name, m in zip(TEXTS, told, strict=True)}
    index = short.index(TEXTS)
    hit = index.search(QUERIES[0], k=1)[0][0]
    assert hit.document_id == max(scores, key=scores.__getitem__)
    assert hit.score == pytest.approx(max(scores.values()))
    index.save(tmp_path / "index")
    assert short.load_index(tmp_path / "index").search(QUERIES[0], k=1)[0] == [hit]
    with pytest.raises(InputError, match="was made by another student or dim"):
        model.load_index(tmp_path / "index")
    assert colbert_lab.load(folder, device="cpu", dim=16).fingerprint == model.fingerprint
    for dim, message in ((17, "the student has 16 dimensions"), (0, "at least 1")):
        with pytest.raises(InputError, match=message):
            colbert_lab.load(folder, device="cpu", dim=dim)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8", "residual4"])
def test_an_index_grows_is_saved_and_loaded(model: Model, folder: Path, tmp_path: Path, storage: str) -> None:
    names = list(TEXTS)
    index = model.index({name: TEXTS[name] for name in names[:20]}, storage=storage)
    index.add({name: TEXTS[name] for name in names[20:]})
    found = index.search(QUERIES, k=30)
    assert (len(index), len(found), len(found[0])) == (30, 4, 30)
    whole = model.index(TEXTS).search(QUERIES, k=30)
    for ours, exact in zip(found, whole, strict=True):
        by_id = {hit.document_id: hit.score for hit in exact}
        off = max(abs(hit.score - by_id[hit.document_id]) for hit in ours)
        assert off < {"float32": 1e-5, "float16": 5e-3, "int8": 0.1, "residual4": 3.0}[storage]
    index.save(tmp_path / "index")
    again = colbert_lab.load(folder, device="cpu", precision="32-true").load_index(tmp_path / "index")
    assert again.search(QUERIES, k=30) == found
    again.add({"new": QUERIES[0]})
    assert again.search(QUERIES[0], k=31)[0][0].document_id in {"new", found[0][0].document_id}


def test_mistakes_are_named(model: Model, folder: Path, tmp_path: Path) -> None:
    index = model.index(TEXTS)
    with pytest.raises(InputError, match=r"^document ids are in the index already: 1 \(d3\)"):
        index.add({"d3": "again", "x": "new"})
    assert len(index) == 30
    with pytest.raises(InputError, match=r"^evaluation\.storage=int3: must be one of"):
        model.index(TEXTS, storage="int3")
    with pytest.raises(InputError, match=r"^documents must be a list of texts"):
        model.rerank("q", "one text")
    with pytest.raises(InputError, match=r"^there are no documents"):
        model.index([])
    with pytest.raises(InputError, match=r"no index here"):
        model.load_index(tmp_path / "nowhere")
    index.save(tmp_path / "index")
    other = colbert_lab.load(folder, device="cpu", precision="32-true")
    with torch.no_grad():
        next(other.student.model.parameters()).add_(0.1)
    with pytest.raises(InputError, match=r"made by another student"):
        other.load_index(tmp_path / "index")


def test_one_text_has_one_embedding(model: Model) -> None:
    torch.testing.assert_close(model.encode("red fish", role="query"), model.encode(["red fish"], "query")[0])
    assert len(model.encode((text for text in ("red", "fish")), role="query")) == 2  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([1, 2], r"^documents: number 0 is 1, not a text"),
        (["red", None], r"^documents: number 1 is None, not a text"),
        ({1: "red"}, r"^ids of documents: number 0 is 1, not a text"),
        ({"d": ["red"]}, r"^documents: number 0 is .*, not a text"),
        (7, r"^documents must be a list of texts, not 7"),
        (b"red", r"^documents must be a list of texts, not"),
        (["red", "half \ud83d"], r"^documents: number 1 is no Unicode text .* at character 5\)"),
    ],
)
def test_documents_that_are_no_texts(model: Model, documents: Any, message: str) -> None:
    for call in (model.index, model.index(TEXTS).add, partial(model.rerank, "red")):
        with pytest.raises(InputError, match=message):
            call(documents)


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "3"])
def test_a_number_of_hits_is_a_whole_one_from_one(model: Model, k: Any) -> None:
    for call in (partial(model.rerank, "red", TEXTS), partial(model.index(TEXTS).search, "red")):
        with pytest.raises(InputError, match=r"^k=.*: must be a whole number from 1"):
            call(k=k)


def test_queries_devices_and_budgets_that_are_none(model: Model, folder: Path) -> None:
    with pytest.raises(InputError, match=r"^query: number 0 is .*, not a text"):
        model.rerank(["red"], TEXTS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^queries: number 0 is 5, not a text"):
        model.index(TEXTS).search([5])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"^device=gpu9: torch has no such device here"):
        colbert_lab.load(folder, device="gpu9")
    with pytest.raises(InputError, match=r"^token_budget=0: must be a whole number from 1"):
        Model(model.student, token_budget=0)


def test_scores_are_divided_where_the_student_says_so(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    found = []
    for score in ("maxsim", "mean_maxsim"):
        torch.manual_seed(0)
        save_student(new_student(**student_settings, score=score), tmp_path / score)
        loaded = colbert_lab.load(tmp_path / score, device="cpu", precision="32-true")
        assert loaded.student.tokenizer.rules.score == score
        mteb = MtebSearch(loaded, "a/b")
        mteb.index([{"id": name, "text": text} for name, text in TEXTS.items()])
        queries = [{"id": "q", "text": QUERIES[0]}]
        top = mteb.search(queries, top_k=30, top_ranked={"q": list(TEXTS)})["q"]
        (hits,) = loaded.index(TEXTS).search(QUERIES[0], k=30)
        found.append((loaded.rerank(QUERIES[0], TEXTS), hits, [Hit(*pair) for pair in top.items()]))
    n = len(loaded.encode(QUERIES[:1], "query")[0])
    assert n > 1
    for sums, means in zip(*found, strict=True):
        assert [hit.document_id for hit in means] == [hit.document_id for hit in sums]
        assert [hit.score for hit in means] == pytest.approx([hit.score / n for hit in sums], rel=1e-6)


def test_a_batch_has_as_many_texts_as_asked_for(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = model.student.model.forward

    def counted(tokens: Tokens) -> Embeddings:
        sizes.append(len(tokens.input_ids_NL))
        return forward(tokens)

    monkeypatch.setattr(model.student.model, "forward", counted)
    found = model.encode(list(TEXTS.values()), "document", batch_size=7)
    assert sizes == [7, 7, 7, 7, 2]
    assert model.encode(list(TEXTS.values()), "document", device="cpu")[3].shape == found[3].shape
    assert sizes[5:] == [30]
    with pytest.raises(InputError, match=r"^batch_size=0: must be a whole number from 1$"):
        model.encode(["a"], "document", batch_size=0)
    with pytest.raises(InputError, match=r"^device=warp: torch has no such device here"):
        model.encode(["a"], "document", device="warp")


def test_similarity_is_that_of_a_plain_loop(model: Model) -> None:
    asked, told = model.encode(QUERIES, "query"), model.encode(list(TEXTS.values()), "document")
    expected = torch.tensor([[float((q @ d.T).amax(dim=1).sum()) for d in told] for q in asked])
    torch.testing.assert_close(model.similarity(asked, told), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.similarity(asked[0], told[:1]), expected[:1, :1], atol=1e-5, rtol=0)
    hits = {hit.document_id: hit.score for hit in model.rerank(QUERIES[1], TEXTS)}
    assert [hits[name] for name in TEXTS] == pytest.approx(
        model.similarity(asked[1], told)[0].tolist(), abs=1e-5
    )
    with pytest.raises(
        InputError, match=r"^queries: number 0 must be what encode returns of a text, \[tokens, 16\]"
    ):
        model.similarity(["a fish"], told)  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"^documents: number 0 .*, not \[3, 4\]$"):
        model.similarity(asked, torch.ones(3, 4))
    with pytest.raises(InputError, match=r"^there are no documents$"):
        model.similarity(asked, [])


@pytest.mark.parametrize("layout", ["colbert_lab", "pylate"])
def test_a_model_is_saved_in_any_layout(model: Model, tmp_path: Path, layout: str) -> None:
    model.save(tmp_path / "new", layout)
    again = colbert_lab.load(tmp_path / "new", device="cpu", precision="32-true")
    torch.testing.assert_close(again.encode(QUERIES[0], "query"), model.encode(QUERIES[0], "query"))
    with pytest.raises(InputError, match=r"^path=.*new: exists already; choose another, or delete it$"):
        model.save(tmp_path / "new", layout)
    with pytest.raises(InputError, match=r"^layout=pylates: must be one of colbert_lab"):
        model.save(tmp_path / "other", "pylates")
    assert not (tmp_path / "other").exists()


def test_a_model_is_pushed_as_the_command_does(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, bool, bool, set[str]]] = []

    def upload(folder: Path, repo: str, *, private: bool, replace: bool, message: str) -> str:
        sent.append((repo, private, replace, {path.name for path in folder.iterdir()}))
        return "url"

    monkeypatch.setattr("colbert_lab.tasks.push.check_hub", lambda repo: None)
    monkeypatch.setattr("colbert_lab.tasks.push.upload", upload)
    model.push("lab/fish", license="mit", private=False)
    ((repo, private, replace, names),) = sent
    assert (repo, private, replace) == ("lab/fish", False, False)
    assert {"README.md", "modules.json"} <= names
    with pytest.raises(InputError, match=r"^push\.license=M I T: must be an identifier such as apache-2\.0"):
        model.push("lab/fish", license="M I T")
    with pytest.raises(
        InputError, match=r"^this model was not loaded from a folder; save it, and load it from there$"
    ):
        Model(model.student).push("lab/fish", license="mit")


def test_models_and_indexes_say_what_they_are(model: Model, folder: Path) -> None:
    assert repr(model) == (
        "Model(bert, 0.0 M parameters, 16 dimensions, queries of 12 tokens, documents of 24, 32-true on cpu, from "
        f"{folder})"
    )
    index = model.index(TEXTS, storage="float16")
    tokens = sum(len(each) for each in model.encode(list(TEXTS.values()), "document"))
    assert repr(index) == f"Index(30 documents, {tokens} tokens of 16 dimensions, float16)"
    with pytest.raises(InputError, match=r"^storage must be the name of one, such as float16, not 8$"):
        model.index(TEXTS, storage=8)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^path must be a folder or a hub id, not 7$"):
        colbert_lab.load(7)  # type: ignore[arg-type]
