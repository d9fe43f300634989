"""What a search mode of a user's own may find, and which modes there are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Variant
from colbert_lab.search.mode import SearchMode, SearchSettings, checked_found

KEY = "evaluation.own_modes.mine"


def found(scores: list[float] | Tensor, rows: list[float] | Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """One query's ranking."""
    return [torch.as_tensor(scores)], [torch.as_tensor(rows)]


def test_a_ranking_is_taken() -> None:
    mine = checked_found(found([2.0, 1.0, 1.0], [4, 0, 3]), 1, 3, 5, KEY)
    assert (mine.scores[0].dtype, mine.rows[0].dtype) == (torch.float32, torch.int64)
    assert mine.rows[0].tolist() == [4, 0, 3]
    nothing = checked_found(found([], []), 1, 3, 5, KEY)
    assert nothing.rows[0].dtype == torch.int64
    assert len(nothing.rows[0]) == 0


@pytest.mark.parametrize(
    ("scores", "rows", "said"),
    [
        ([1.0], [0, 1], "needs one score for each row"),
        ([[1.0]], [[0]], "needs one score for each row"),
        (1.0, 0, "needs one score for each row"),
        (1.0, [0], "needs one score for each row"),
        ([1.0], 0, "needs one score for each row"),
        ([1.0], [1j], "needs whole numbers as rows"),
        ([1.0], [True], "needs whole numbers as rows"),
        ([1j], [1], "has a score that is not a number"),
        ([3.0, 2.0, 1.0, 0.0], [0, 1, 2, 3], "has 4 documents, and 3 were asked for"),
        ([1.0], [0.5], "needs whole numbers as rows"),
        ([1.0], [5], "has a row that the corpus of 5 lacks"),
        ([1.0], [-1], "has a row that the corpus of 5 lacks"),
        ([1.0, 0.0], [2, 2], "has a document twice"),
        ([float("nan"), 0.0], [1, 2], "has a score that is not a number"),
        ([1.0, 2.0], [1, 2], "is not in the order of its scores"),
    ],
)
def test_what_is_no_ranking_is_refused(scores: Any, rows: Any, said: str) -> None:
    with pytest.raises(InputError, match=rf"{KEY}: what it found for query number 1 {said}"):
        checked_found(found(scores, rows), 1, 3, 5, KEY)


def test_a_ranking_a_query() -> None:
    with pytest.raises(InputError, match=f"{KEY}: found 1 lists of scores and 1 of rows for 2 queries"):
        checked_found(found([1.0], [0]), 2, 3, 5, KEY)
    with pytest.raises(InputError, match=f"{KEY}: must find scores and rows"):
        checked_found(None, 2, 3, 5, KEY)  # type: ignore[arg-type]


def test_an_unknown_mode_is_no_mode_of_ours() -> None:
    with pytest.raises(InputError, match=r"evaluation\.mode=mine: must be one of exact, .*, xtr$"):
        SearchSettings((Variant("mine"),))
    assert SearchSettings((Variant("mine"),), own={"mine": SearchMode()}).own
