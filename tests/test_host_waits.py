"""What a program waits for where a GPU works behind it: a new wait fails here, without a GPU."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.forked import Python

ENCODER = "colbert_lab/model/packing.py"
"""transformers asks whether a chunk is padded, because without padding a faster kernel can take it: once a call."""
LAYOUT, ASKED, WATCH = "colbert_lab/model/blocks.py", "colbert_lab/model/backends.py", "training/watch.py"
"""How many tokens score, which scores have a gradient, and whether the gradient is finite: once a step each."""
POINT = "training/module.py"
ALLOWED: dict[str, dict[str, float]] = {
    "distillation": {ENCODER: 2, WATCH: 1},
    "contrastive": {ENCODER: 2, LAYOUT: 1, ASKED: 1, WATCH: 1},
    "recomputed": {ENCODER: 4, LAYOUT: 1, ASKED: 1, WATCH: 1},
    "packed": {ENCODER: 2, LAYOUT: 1, ASKED: 1, WATCH: 1},
    "bf16": {ENCODER: 2, WATCH: 1},
    "xtr": {ENCODER: 2, LAYOUT: 1, "colbert_lab/model/xtr.py": 1, ASKED: 1, WATCH: 1},
    "dims": {ENCODER: 2, LAYOUT: 2, ASKED: 2, WATCH: 1},
    "points": {ENCODER: 2, WATCH: 1, POINT: 2},
    "search": {"colbert_lab/search/exact.py": 2},
    "xtr search": {"colbert_lab/search/exact.py": 2},
    "rerank": {"colbert_lab/search/exact.py": 2},
    "encode": {ENCODER: 1},
}
"""Of each training step (``dims``: at two numbers of dimensions; ``points``: which logs a point), of a whole search in
many blocks, and of each batch that is encoded: how often a line of a file waits."""
APART = {"xtr": 5e-3, "bf16": 5e-3}
"""Adam takes a step of its rate wherever a gradient is not zero but for rounding, as of tokens that are as near, and in
bf16 everywhere."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    process = Python(["-m", "tests.host_waits"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result


def test_every_way_to_wait_is_noticed_and_no_other(found: dict[str, Any]) -> None:
    assert found["noticed"] == {name: int(not name.startswith("none: ")) for name in found["noticed"]}
    assert len(found["noticed"]) == 18


@pytest.mark.parametrize("part", ALLOWED)
def test_nothing_waits_but_what_is_known(part: str, found: dict[str, Any]) -> None:
    times: dict[str, float] = {}
    for place, count in found[part]["waits"].items():
        file = next((known for known in ALLOWED[part] if known in place), place)
        times[file] = times.get(file, 0) + count
    assert times == ALLOWED[part], found[part]["waits"]
    assert found[part]["uploads"] == {}


@pytest.mark.parametrize("part", ALLOWED)
def test_the_numbers_are_those_of_a_cpu(part: str, found: dict[str, Any]) -> None:
    assert found[part]["apart"] < APART.get(part, 5e-6)


def test_the_next_batch_is_commanded_before_the_last_one_is_read(found: dict[str, Any]) -> None:
    order = found["encode"]["order"]
    batches = len(order) // 2
    assert batches > 3
    assert order == ["commanded", *["commanded", "waited"] * (batches - 1), "waited"]
