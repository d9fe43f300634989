"""A phase with adapters: they and the head alone are trained, and its student is an ordinary one."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from colbert_lab.base.errors import InputError
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.own import load_student
from colbert_lab.model.student import Student
from colbert_lab.records.identity import config_hash
from colbert_lab.run.scheduling import parent_identity
from colbert_lab.settings import Command, checked
from colbert_lab.settings.groups import LoraSettings
from colbert_lab.settings.optimizer import MUON
from colbert_lab.training.prepare import check_network
from tests.run.test_scheduling import identity
from tests.test_configs import composed
from tests.toy import new_student
from tests.training.test_optim import prepared_phase
from tests.training.test_phase import Killed, curves, equal, train

LORA = LoraSettings(rank=4, alpha=8.0, dropout=0.1, targets=["query", "value"])


def test_the_students_other_weights_keep_their_bits_and_it_loads(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    before = new_student(**student_settings).model.state_dict()
    student, outcome = train(student_settings, tmp_path / "lora", lora=LORA)
    changed = {name for name in before if not torch.equal(before[name], student[name])}
    targets = {name for name in before if name.endswith((".query.weight", ".value.weight"))}
    assert changed == targets | {name for name in before if name.startswith("head.")}
    assert equal(load_student(tmp_path / "lora" / "student").model.state_dict(), student)
    _, whole = train(student_settings, tmp_path / "whole")
    assert outcome.flops is not None
    assert whole.flops is not None
    assert outcome.flops < 0.8 * whole.flops


def test_with_all_that_there_is_it_goes_on_where_it_was_killed(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    """Muon, the average, the best on dev, a layer that is frozen, and activations that are computed again."""
    changes: dict[str, Any] = {
        "lora": LORA, "ema": 0.5, "optimizer": {"_target_": MUON, "lr": 1e-2}, "freeze": ["layers.0"],
        "head_only_steps": 1, "keep": "best", "evaluate_every": 1, "values": lambda step: float(step == 3),
    }  # fmt: skip
    seen: dict[int, dict[str, torch.Tensor]] = {}
    whole, _ = train(student_settings, tmp_path / "whole", seen=seen, **changes)
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=5, recompute=True, **changes)
    resumed, _ = train(student_settings, tmp_path / "cut", recompute=True, **changes)
    assert equal(whole, resumed)
    assert curves(tmp_path / "cut") == curves(tmp_path / "whole")
    layer = "backbone.encoder.layer.1.attention.self.query"
    first, second = (seen[3][f"{layer}.lora_{each}.default.weight"].double() for each in "AB")
    wanted = seen[3][f"{layer}.base_layer.weight"].double() + 2 * second @ first
    torch.testing.assert_close(whole[f"{layer}.weight"].double(), wanted, rtol=1e-6, atol=1e-7)
    last = load_student(tmp_path / "whole" / "student_last").model.state_dict()
    assert not torch.equal(last[f"{layer}.weight"], whole[f"{layer}.weight"])


@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_adapter_beside_the_backbone_is_the_merged_student(
    ema: float | None, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    """In peft's layout, onto the bits that the phase began with; a killed phase leaves the same files."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    start = new_student(**student_settings)
    before = copy.deepcopy(start.model.state_dict())
    kept = replace(LORA, save="adapter")
    changes: dict[str, Any] = {"lora": kept, "ema": ema}
    train(student_settings, tmp_path / "whole", **changes)
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=5, **changes)
    assert not (tmp_path / "cut" / "adapter").exists()
    train(student_settings, tmp_path / "cut", **changes)
    folder = tmp_path / "whole" / "adapter"
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert files.keys() == {"adapter_config.json", "adapter_model.safetensors"}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "cut" / "adapter").iterdir()}

    merged = load_student(tmp_path / "whole" / "student")
    start.model.head.load_state_dict(
        merged.model.head.state_dict()
    )  # trained beside the adapters, and no part of them
    texts = ["red green blue", "one two three four five"]

    def vectors(student: Student) -> torch.Tensor:
        return encode(student, texts, "document", token_budget=100).emb_TD

    without = vectors(start)
    loaded = peft.PeftModel.from_pretrained(start.model.backbone, folder).eval()
    own = {
        name.replace(".base_layer", ""): value for name, value in loaded.base_model.model.state_dict().items()
    }
    assert all(torch.equal(own[name.removeprefix("backbone.")], value) for name, value in before.items()
               if name.startswith("backbone."))  # fmt: skip
    found = vectors(start)
    torch.testing.assert_close(found, vectors(merged), atol=2e-6, rtol=0)
    assert not torch.allclose(found, without, atol=1e-4)
    train(student_settings, tmp_path / "merged", lora=LORA, ema=ema)
    assert not (tmp_path / "merged" / "adapter").exists()


def test_phases_have_adapters_of_their_own(student_settings: dict[str, Any]) -> None:
    phase, student = prepared_phase(student_settings)
    found = []
    for name in ("distill", "again"):
        with replace(phase, lora=LORA, name=name).adapted(student.model):
            found.append([p.detach().clone() for n, p in student.model.named_parameters() if "lora_A" in n])
    assert found[0]
    assert not any(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_what_is_wrong_is_said_before_training(student_settings: dict[str, Any]) -> None:
    phase, student = prepared_phase(student_settings)
    wrong = replace(phase, lora=replace(LORA, targets=["nothing"]))
    with pytest.raises(InputError, match=r"^student\.lora\.targets=nothing: BertModel has no linear map"):
        check_network(wrong, student.model)
    for freeze, message in (
        ("embeddings", "freeze=embeddings: has no effect, nothing of it is trained"),
        ("backbone", r"freeze: leaves nothing of the adapters of student\.lora to train"),
    ):
        idle, _ = prepared_phase(student_settings, freeze=[freeze])
        with pytest.raises(InputError, match=rf"^phases\.distill\.{message}"):
            check_network(replace(idle, lora=LORA), student.model)
    check_network(replace(phase, lora=LORA), student.model)
    assert not any("lora" in name for name in student.model.state_dict())


def test_it_is_another_phase_of_the_same_student() -> None:
    none, some, _, kept = every = [
        Command.of(checked(composed("+experiment=colbert_zero_kd", "evaluation=none", *more)))
        for more in (
            [],
            ["lora=all_linear"],
            ["lora=all_linear", "student.lora.rank=8"],
            ["lora=all_linear", "student.lora.save=adapter"],
        )
    ]
    assert len({identity(each).hash for each in every}) == 4
    assert len({config_hash(each.config) for each in every}) == 4
    assert len({parent_identity(each.settings) for each in every}) == 1
    assert "save" not in identity(some).parts["settings"]["lora"]
    assert identity(kept).parts["settings"]["lora"]["save"] == "adapter"
    earlier = OmegaConf.to_container(OmegaConf.create(dict(some.config)))
    assert isinstance(earlier, dict)
    assert earlier["student"]["lora"].pop("save") == "merged"
    assert config_hash(earlier) == config_hash(some.config)  # type: ignore[arg-type]
    assert "lora" not in identity(none).parts["settings"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student.lora.rank=0", r"student\.lora\.rank=0: must be at least 1"),
        ("student.lora.dropout=1", r"student\.lora\.dropout=1: must be at least 0 and below 1"),
        ("student.lora.targets=[]", r"student\.lora\.targets=\[\]: holds nothing"),
        ("student.lora.save=both", r"student\.lora\.save=both: must be one of merged, adapter"),
    ],
)
def test_values_are_checked(override: str, message: str) -> None:
    cfg = composed("+experiment=lora")
    key, _, value = override.partition("=")
    OmegaConf.update(cfg, key, OmegaConf.create(f"x: {value}").x, merge=False)
    with pytest.raises(InputError, match=message):
        checked(cfg)
