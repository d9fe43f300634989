"""Heads of a class of their own: built, saved, found again, and never imported because a folder says so."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from colbert_lab.base.errors import InputError
from colbert_lab.model.changing import widened, with_output
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import FORMATS, load_checkpoint, save_checkpoint
from colbert_lab.model.formats.own import load_student, save_student
from colbert_lab.model.projection import Projection, ProjectionHead, imported
from colbert_lab.model.student import Student
from colbert_lab.search.corpus import student_fingerprint
from tests.tiny import sentences
from tests.toy import new_student

HERE = __name__
KINDS: dict[str, Any] = {"head": {"_target_": f"{HERE}.Scaled", "scale": 3.0}}


class Times(nn.Linear):
    """A linear map, times a number that no weight tells."""

    def __init__(self, inputs: int, dim: int, scale: float) -> None:
        super().__init__(inputs, dim)
        self.scale = scale

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden).mul(self.scale).tanh()


@dataclass(frozen=True, kw_only=True)
class Scaled(Projection):
    scale: float = 1.0
    sizes: list[int] = field(default_factory=list)

    def layers(self, inputs: int, dim: int) -> nn.Module:
        return Times(inputs, dim, self.scale)


@dataclass(frozen=True, kw_only=True)
class Noisy(Projection):
    """One whose trial run would be noticed: it draws random numbers and keeps statistics."""

    def layers(self, inputs: int, dim: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, dim), nn.LayerNorm(dim), nn.Dropout(0.5))


@dataclass(frozen=True, kw_only=True)
class Tied(Projection):
    """One whose last layers share weights, or a part of them."""

    how: str = "weight"

    def layers(self, inputs: int, dim: int) -> nn.Module:
        first, second, third = nn.Linear(inputs, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        if self.how == "weight":
            third.weight = second.weight
        elif self.how == "part":
            third.bias = nn.Parameter(second.weight[1].detach())
        elif self.how == "apart":  # the two halves of one tensor
            second.bias, third.bias = (nn.Parameter(half) for half in torch.rand(2, dim))
        else:
            third = second
        return nn.Sequential(first, second, third)


class Counting(nn.Linear):
    """A linear map with a state that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 0}

    def set_extra_state(self, state: Any) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Counted(Projection):
    def layers(self, inputs: int, dim: int) -> nn.Module:
        return Counting(inputs, dim)


class Plain:
    """No head."""


@pytest.fixture
def student(student_settings: dict[str, Any]) -> Student:
    torch.manual_seed(5)
    return new_student(**student_settings | KINDS)


def vectors(student: Student) -> Tensor:
    return encode(student, sentences(5, low=3, high=9), "document", token_budget=256).emb_TD


def test_a_student_is_the_same_after_saving(student: Student, tmp_path: Path) -> None:
    save_student(student, tmp_path / "student")
    again = load_student(tmp_path / "student")
    assert isinstance(again.model.head, ProjectionHead)
    assert again.model.head.projection == Scaled(scale=3.0)
    assert torch.equal(vectors(again), vectors(student))
    assert student_fingerprint(again) == student_fingerprint(student)


def test_what_no_weight_tells_is_in_the_fingerprint(
    student_settings: dict[str, Any], student: Student
) -> None:
    torch.manual_seed(5)
    other = new_student(**student_settings | {"head": KINDS["head"] | {"scale": 2.0}})
    assert all(
        torch.equal(a, b)
        for a, b in zip(other.model.state_dict().values(), student.model.state_dict().values(), strict=True)
    )
    assert student_fingerprint(other) != student_fingerprint(student)


def test_trying_a_head_draws_nothing() -> None:
    torch.manual_seed(3)
    expected = Noisy().layers(8, 4)
    after = torch.rand(1)
    torch.manual_seed(3)
    head = ProjectionHead(Noisy(), 8, 4)
    assert torch.equal(torch.rand(1), after)
    assert torch.equal(head.layers.state_dict()["0.weight"], expected.state_dict()["0.weight"])
    assert head.layers.training


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    "target",
    [
        "antigravity.Head", "os.system", f"{HERE}.Plain", f"{HERE}.vectors", "colbert_lab.model.projection.imported",
        "", "Head", ".Head", "colbert_lab..Head", f"{HERE}.Scaled.layers",
    ],
)  # fmt: skip
def test_a_folder_cannot_name_other_code(
    student: Student, tmp_path: Path, target: str, trusted: bool
) -> None:
    folder = tmp_path / "student"
    save_student(student, folder)
    told = json.loads((folder / "colbert_lab.json").read_text())
    told["head"]["_target_"] = target
    (folder / "colbert_lab.json").write_text(json.dumps(told))
    if trusted and target.startswith("antigravity"):
        return  # would be imported, and opens a browser
    with pytest.raises(InputError, match=r"is not imported here|is no Projection|cannot be imported"):
        load_checkpoint(str(folder), trust_remote_code=trusted)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"settings": {"scale": 1, "power": 2}}, "cannot be made of .* unexpected keyword argument 'power'"),
        ({"settings": None}, "is not what colbert_lab writes"),
        ({"inputs": "32"}, "is not what colbert_lab writes"),
        ({"outputs": True}, "is not what colbert_lab writes"),
        ({"outputs": 7}, "of another shape|shape"),
        ({"outputs": -1}, "gives no layers"),
    ],
)
def test_a_damaged_head_is_told(student: Student, tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    folder = tmp_path / "student"
    save_student(student, folder)
    told = json.loads((folder / "colbert_lab.json").read_text())
    told["head"] |= changed
    (folder / "colbert_lab.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=said) as error:
        load_checkpoint(str(folder))
    assert str(error.value).startswith(f"student.checkpoint={folder}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "target", [name for name, each in FORMATS.items() if each.save is not None and name != "colbert_lab"]
)
def test_other_layouts_refuse_it(student: Student, tmp_path: Path, target: str) -> None:
    with pytest.raises(InputError, match=rf"to={target}: .* of the class {HERE}\.Scaled"):
        save_checkpoint(student, target, tmp_path)


def test_it_is_not_widened(student: Student) -> None:
    with pytest.raises(InputError, match=r"student\.widen=64: .*Scaled"):
        widened(student, 64)


def test_a_dense_student_gets_one(student_settings: dict[str, Any]) -> None:
    dense = new_student(**student_settings | {"output": "single", "dim": None})
    head = with_output(dense, "multi", "mean", 16, False, KINDS["head"]).model.head
    assert isinstance(head, ProjectionHead)
    assert head.out_features == 16


def test_a_class_that_cannot_be_found_again_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Inner(Projection):
        def layers(self, inputs: int, dim: int) -> nn.Module:
            return nn.Linear(inputs, dim)

    with pytest.raises(InputError, match="top level of its module"):
        ProjectionHead(Inner(), 8, 4)
    with pytest.raises(InputError, match="plain values"):
        ProjectionHead(Scaled(sizes=(1, 2)), 8, 4)  # type: ignore[arg-type]
    assert imported(f"{HERE}.Scaled") is Scaled


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"_target_": f"{HERE}.Tied"}, "1.weight and 2.weight of its layers are the same weights"),
        (
            {"_target_": f"{HERE}.Tied", "how": "part"},
            "1.weight and 2.bias of its layers are the same weights",
        ),
        (
            {"_target_": f"{HERE}.Tied", "how": "layer"},
            "1.",  # its weight or its bias, whichever comes first in memory
        ),
        ({"_target_": f"{HERE}.Counted"}, "_extra_state of its layers is no tensor"),
    ],
)
def test_a_head_that_cannot_be_saved_is_refused_before_training(
    student_settings: dict[str, Any], settings: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError) as error:
        new_student(**student_settings | {"head": settings})
    assert f"student.head._target_={settings['_target_']}: {said}" in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_beside_each_other_in_memory_are_saved(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    student = new_student(**student_settings | {"head": {"_target_": f"{HERE}.Tied", "how": "apart"}})
    save_student(student, tmp_path / "student")
    assert torch.equal(vectors(load_student(tmp_path / "student")), vectors(student))
