"""Gradient certificates: chunks, recomputation and precision do not change what is learned."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch._subclasses import FakeTensorMode

from colbert_lab.base.types import Embeddings, Tokens
from colbert_lab.model.batches import embed_chunks
from colbert_lab.model.colbert import ColBERT
from colbert_lab.training.checks import objective_from
from colbert_lab.training.data import MicroBatches
from colbert_lab.training.module import StudentModule
from colbert_lab.training.optim import Optimization
from tests.toy import new_student
from tests.training.support import TRAINER, distance, make_lists, phase_settings
from tests.training.test_phase import equal, train


def both_objectives(learnable: bool = True) -> Any:
    objective = phase_settings().objective
    objective["distillation"]["weight"] = 0.5
    objective["contrastive"]["weight"] = 0.5
    objective["contrastive"]["temperature"] = 0.1
    objective["contrastive"]["learnable"] = learnable
    return objective


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_recomputation_with_dropout_is_bit_identical(
    precision: str, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    """Through Lightning, with clipping, accumulation and a learnable temperature."""
    settings = student_settings | {"dropout": 0.2}
    changes = {
        "steps": 3,
        "batch_size": 6,
        "token_budget": 40,
        "objective": both_objectives(),
        "gradient_clip": 0.1,
        "trainer": TRAINER | {"precision": precision},
    }
    plain, _ = train(settings, tmp_path / "plain", recompute=False, **changes)
    recomputed, _ = train(settings, tmp_path / "again", recompute=True, **changes)
    assert equal(plain, recomputed)


def test_recomputation_saves_the_random_state_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fake tensors: torch looks for the devices whose states it saves among the tensors that it is given."""
    saved = []

    def state() -> torch.Tensor:
        saved.append("cuda")
        return torch.zeros(1)

    monkeypatch.setattr(torch.cuda, "_initialized", True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_rng_state", state)

    def model(tokens: Tokens) -> Embeddings:
        return Embeddings(tokens.input_ids_NL, tokens.score_mask_NL)

    with FakeTensorMode(allow_non_fake_inputs=True):
        ids = torch.ones(2, 3, dtype=torch.int64, device="cuda")
        tokens = Tokens(ids, ids, ids.bool())
        (chunk,) = embed_chunks(cast(ColBERT, model), [tokens], recompute=True)
    assert chunk.emb_NLD.device.type == "cuda"
    assert saved


def gradients(
    student_settings: dict[str, Any], token_budget: int, precision: torch.dtype, recompute: bool
) -> dict[str, torch.Tensor]:
    """Gradients of one micro-batch without dropout."""
    torch.manual_seed(0)
    student = new_student(**(student_settings | {"dropout": 0.0}))
    module = StudentModule(
        student.model,
        objective_from(phase_settings(objective=both_objectives()).objective),
        Optimization(torch.optim.SGD, "constant", 0, 1),
        log_every=1,
        token_budget=token_budget,
        recompute=recompute,
    )
    batches = MicroBatches(
        [make_lists()],
        student.tokenizer,
        batch_size=12,
        n_way=4,
        token_budget=token_budget,
        seed=0,
        phase="x",
    )
    module.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        loss = module.training_step(batches[0], 0)
    loss.backward()
    return {name: value.grad for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("token_budget", [1, 30, 100, 400])
@pytest.mark.parametrize(("precision", "limit"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_any_chunk_size_gives_the_gradient_of_the_full_batch(
    token_budget: int, precision: torch.dtype, limit: float, student_settings: dict[str, Any]
) -> None:
    whole = gradients(student_settings, 100_000, precision, recompute=False)
    learned = "learned.contrastive_temperature"
    assert learned in whole
    chunked = gradients(student_settings, token_budget, precision, recompute=True)
    assert distance(chunked, whole) < limit
    assert abs(chunked[learned] - whole[learned]) <= limit * abs(whole[learned]) * 10


def test_the_learned_temperature_moves_and_is_logged(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    from colbert_lab.training.phase_files import read_metrics

    train(student_settings, tmp_path / "a", steps=4, objective=both_objectives())
    values = [
        float(row["value"])
        for row in read_metrics(tmp_path / "a" / "metrics.csv")
        if row["name"] == "train/contrastive_temperature"
    ]
    assert len(set(values)) == 4
    assert values[0] == pytest.approx(0.1, rel=0.05)
