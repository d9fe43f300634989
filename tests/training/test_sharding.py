"""Students spread over processes by FSDP2: they learn what one process learns."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from colbert_lab.base.errors import Diverged, InputError
from colbert_lab.model.backbone import check_finite, not_finite
from colbert_lab.settings import command_of
from colbert_lab.settings.optimizer import MUON
from colbert_lab.training.sharding import check_layers, check_sharding, release
from tests import forked
from tests.command import command, the_run
from tests.test_configs import composed
from tests.test_processes import values
from tests.test_schedule import three_phases
from tests.toy import toy_overrides, write_toy

TWO = ["trainer.devices=2", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.threads=1"]


def given(tiny_bert: Path, toy: Path, outputs: Path, name: str, *more: str) -> list[str]:
    return [
        *three_phases(tiny_bert, toy, outputs),
        "schedule=[supervised]",
        f"name={name}",
        "student.dropout=0",
        "phases.supervised.accumulation=2",
        "phases.supervised.objective.contrastive.learnable=true",
        "phases.supervised.token_budget=60",  # many chunks, in one process more than in the other
        "+phases.supervised.optimizer.eps=1e-4",  # AdamW's first step makes of rounding what it makes of gradients
        *TWO,
        *more,
    ]


def weights(run: Path, phase: str = "supervised") -> dict[str, torch.Tensor]:
    return load_file(run / phase / "student" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("recompute", "clip"), [("false", "norm"), ("true", "value")])
def test_spread_students_learn_what_one_process_teaches(
    recompute: str, clip: str, tiny_bert: Path, tmp_path: Path
) -> None:
    toy = write_toy(tmp_path / "toy")
    found: dict[str, Any] = {}
    attention = "packed" if recompute == "true" else "auto"
    spread = ["trainer=fsdp", f"student.attention={attention}"]
    for name, extra in (("fsdp", spread), ("one", ["trainer.devices=1", "reuse=false"])):
        arguments = given(
            tiny_bert,
            toy,
            tmp_path / "outputs",
            name,
            f"phases.supervised.recompute={recompute}",
            "phases.supervised.gradient_clip=0.01",
            f"+trainer.lightning.gradient_clip_algorithm={clip}",
        )
        done = forked.run(["-m", "colbert_lab", extra[0], *arguments, *extra[1:]])
        assert done.returncode == 0, done.stderr
        found[name] = weights(the_run(tmp_path / "outputs", name))
    told = re.search(
        r"trainer.strategy=fsdp: 2 processes; ([\d,]+) of ([\d,]+) parameters are in this one",
        (the_run(tmp_path / "outputs", "fsdp") / "run.log").read_text(),
    )
    assert told is not None
    here, whole = (int(number.replace(",", "")) for number in told.groups())
    assert whole == sum(value.numel() for value in found["one"].values())
    assert abs(here - whole / 2) < whole / 100
    for weight in found["one"]:
        torch.testing.assert_close(found["fsdp"][weight], found["one"][weight], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_phases_follow_one_another_with_other_optimizers_and_frozen_parts(
    tiny_bert: Path, tmp_path: Path
) -> None:
    toy = write_toy(tmp_path / "toy")
    found: dict[str, Any] = {}
    for name, extra in (("fsdp", ["trainer=fsdp"]), ("one", ["trainer.devices=1", "reuse=false"])):
        arguments = given(
            tiny_bert,
            toy,
            tmp_path / "outputs",
            name,
            "schedule=[supervised,distill]",
            f"phases.supervised.optimizer._target_={MUON}",
            "phases.supervised.freeze=[embeddings]",
            "phases.distill.token_budget=60",
            "phases.distill.layer_decay=0.8",
            "phases.distill.head_lr=1e-3",
            "phases.distill.freeze=[layers.0]",
            "phases.distill.gradient_clip=0.1",
            "+phases.distill.optimizer.eps=1e-4",
        )
        arguments.remove("+phases.supervised.optimizer.eps=1e-4")
        done = forked.run(["-m", "colbert_lab", extra[0], *arguments, *extra[1:]])
        assert done.returncode == 0, done.stderr
        run = the_run(tmp_path / "outputs", name)
        found[name] = weights(run), weights(run, "distill"), values(run)
    for fsdp, one in zip(found["fsdp"][:2], found["one"][:2], strict=True):
        # Muon computes in bfloat16, which makes more of rounding in a few elements; a step moves them by about 1e-3.
        off = torch.cat([(fsdp[weight] - one[weight]).abs().flatten() for weight in one])
        assert float(off.mean()) < 2e-5
        assert float(off.max()) < 1e-3
    assert found["fsdp"][2] == pytest.approx(found["one"][2], abs=1e-3)


@pytest.mark.slow
def test_in_bfloat16_it_is_as_near_to_float32_as_one_process(tiny_bert: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy")
    found: dict[str, Any] = {}
    cases = {
        "fsdp": ["trainer=fsdp", "trainer.precision=bf16-mixed"],
        "one": ["trainer.devices=1", "trainer.precision=bf16-mixed"],
        "ddp": ["trainer=ddp", "trainer.precision=bf16-true"],
        "one in bf16": ["trainer.devices=1", "trainer.precision=bf16-true"],
        "exact": ["trainer.devices=1"],
    }
    for name, extra in cases.items():
        arguments = given(
            tiny_bert, toy, tmp_path / "outputs", name, "evaluation.precision=32-true", "reuse=false"
        )
        group = [each for each in extra if each in ("trainer=fsdp", "trainer=ddp")]
        done = forked.run(["-m", "colbert_lab", *group, *arguments, *extra[len(group) :]])
        assert done.returncode == 0, done.stderr
        found[name] = weights(the_run(tmp_path / "outputs", name))

    def apart(name: str) -> float:
        """How far the weights are from those of float32, to the root of their mean square."""
        off = torch.cat([(found[name][key] - value).flatten() for key, value in found["exact"].items()])
        return float(off.square().mean().sqrt())

    assert apart("fsdp") < 2 * apart("one")
    assert apart("ddp") < 2 * apart("one in bf16")
    for several in ("fsdp", "ddp"):
        matrix = next(value for key, value in found[several].items() if key.endswith("query.weight"))
        assert matrix.dtype == torch.float32
        assert not torch.equal(matrix, matrix.bfloat16().float())


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("phases.distill.ema=0.9", "phases.distill.ema"),
        ("phases.distill.head_only_steps=1", "phases.distill.head_only_steps"),
        ("trainer.compile=eager", "trainer.compile"),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed"),
        ("trainer.precision=bf16-true", "trainer.precision=bf16-true"),
        ("lora=all_linear", "student.lora"),
        (
            "phases.distill.optimizer._target_=torch.optim.SGD phases.distill.optimizer.betas=null",
            "phases.distill.optimizer without momentum",
        ),
    ],
)
def test_what_cannot_be_spread_is_refused(asked: str, key: str) -> None:
    given = ["+experiment=colbert_zero_kd", *asked.split(" ")]
    check_sharding(command_of(composed(*given, "trainer=ddp")).settings)
    with pytest.raises(InputError) as refused:
        check_sharding(command_of(composed(*given, "trainer=fsdp")).settings)
    said = f"{key}: is not possible with trainer.strategy=fsdp; leave it out, or choose trainer=ddp"
    assert str(refused.value) == said


def test_it_is_refused_before_anything_is_loaded(tiny_bert: Path, tmp_path: Path) -> None:
    given = toy_overrides(tiny_bert, tmp_path / "nowhere", tmp_path)
    outcome = command(*given, "trainer=fsdp", "phases.distill.ema=0.9")
    assert outcome.status == 2
    assert outcome.err.strip().splitlines()[-1].startswith("error: phases.distill.ema: is not possible with")


def test_a_part_that_is_empty_is_finite() -> None:
    """The fourth of four processes has no row of a table of two, such as BERT's types of tokens."""
    dist.init_process_group("fake", rank=3, world_size=4, store=FakeStore())
    try:
        table = distribute_tensor(torch.ones(2, 4), init_device_mesh("cpu", (4,)), [Shard(0)])
        assert table.to_local().numel() == 0
        assert not_finite({"table": table, "other": torch.tensor([torch.nan])}) == ["other"]
    finally:
        dist.destroy_process_group()


def test_all_processes_raise_what_one_finds() -> None:
    with pytest.raises(Diverged, match=r"step 7: weights with NaN or infinity in them: 1 \(another\)"):
        check_finite(torch.nn.Linear(2, 2), "step 7", lambda here: [here, ["another"]])


def test_an_optimizer_is_let_go() -> None:
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    release(cast(Any, SimpleNamespace(optimizers=[optimizer])))
    assert not optimizer.state
    assert layer.weight.grad is None


def test_layers_are_looked_for_before_training() -> None:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 3}
    albert = AutoModel.from_config(CONFIG_MAPPING["albert"](**sizes, vocab_size=20, embedding_size=8))
    check_layers(albert, "ddp")
    with pytest.raises(
        InputError,
        match=r"AlbertModel has no list of its 3 layers; choose trainer=ddp$",
    ):
        check_layers(albert, "fsdp")


def test_a_plan_of_it_is_refused(tiny_bert: Path, tmp_path: Path) -> None:
    given = toy_overrides(tiny_bert, tmp_path / "nowhere", tmp_path)
    outcome = command("task=plan", *given, "trainer=fsdp", "trainer.devices=2")
    assert outcome.status == 2
    said = "error: trainer.strategy=fsdp: task=plan measures a whole student on one device; plan with trainer=ddp"
    assert outcome.err.strip().splitlines()[-1].startswith(said)
