"""Which splits are kept apart from training data, by the role and the origin of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Split
from colbert_lab.run.contamination import kept_apart
from colbert_lab.text.collections.collection import build_corpus, build_split
from colbert_lab.text.collections.splits import SplitRequest


@dataclass
class Source:
    """Training data of three queries."""

    name: str = "rows"
    fingerprint: str = "rows"
    queries: dict[str, str] = field(default_factory=lambda: {f"t{n}": f"query {n}" for n in range(3)})

    def __len__(self) -> int:
        return len(self.queries)

    def training_queries(self) -> Iterator[tuple[str, str]]:
        return iter(self.queries.items())

    def without(self, names: set[str]) -> Source:
        return Source(queries={name: text for name, text in self.queries.items() if name not in names})


def split_of(name: str, judgments: str | None = None) -> Split:
    """A split that asks what the training query t1 asks; of another name in its source, if that is given."""
    details: dict[str, Any] = {} if judgments is None else {"judgments": judgments}
    return build_split("set", name, build_corpus(["d"], ["text"]), {"q": "Query 1"}, {"q": {"d": 1}}, details)


def apart(split: Split, requested: str, **chosen: bool) -> tuple[Source, dict[str, Split]]:
    settings: Any = SimpleNamespace(**{"drop_contamination": False, "allow_contamination": False, **chosen})
    splits, source = {"one": split}, Source()
    requests = {"one": SplitRequest(type="beir", path="set", split=requested)}
    kept: Any = kept_apart(settings, source, splits, requests)  # type: ignore[arg-type]
    return kept, splits


def test_a_dev_split_that_nobody_named_gives_way_to_training(caplog: pytest.LogCaptureFixture) -> None:
    source, splits = apart(split_of("dev"), "auto")
    assert (len(source), splits) == (3, {})
    assert "so selection is off" in caplog.text


def test_a_test_split_stays_however_it_was_named() -> None:
    for requested in ("auto", "test"):
        with pytest.raises(InputError, match=r"^evaluation\.splits\.one: 1 \(t1\) training queries of rows"):
            apart(split_of("test"), requested)
    source, splits = apart(split_of("test"), "auto", drop_contamination=True)
    assert (list(source.queries), list(splits)) == (["t0", "t2"], ["one"])
    source, splits = apart(split_of("test"), "auto", allow_contamination=True)
    assert (len(source), list(splits)) == (3, ["one"])


@pytest.mark.parametrize(
    "split", [split_of("heldout"), split_of("dev", "heldout")], ids=["own name", "a role"]
)
@pytest.mark.parametrize("requested", ["auto", "heldout"])
def test_held_out_queries_are_left_out_of_training(split: Split, requested: str) -> None:
    source, splits = apart(split, requested)
    assert (list(source.queries), list(splits)) == (["t0", "t2"], ["one"])
