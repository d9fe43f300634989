import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback

from colbert_lab.base.errors import InputError
from colbert_lab.model.changing import trained_at
from colbert_lab.model.student import Student
from colbert_lab.settings.groups import LoraSettings
from colbert_lab.text.rows.examples import Example, ScoredLists
from colbert_lab.training import callbacks, phase
from colbert_lab.training.callbacks import Recomputation
from colbert_lab.training.cost import activation_bytes
from colbert_lab.training.data import PhaseData
from colbert_lab.training.module import StudentModule
from colbert_lab.training.phase import process_seed, train_phase
from colbert_lab.training.phase_files import PhaseOutcome, finished_phase, read_metrics, resume_point
from colbert_lab.training.prepare import prepare_phase
from colbert_lab.training.strategy import check_shares
from tests.toy import new_student
from tests.training.support import TRAINER, make_lists, phase_settings


class Killed(RuntimeError):
    pass


@contextmanager
def ballast(size: int) -> Iterator[None]:
    held = np.ones(size, dtype=np.uint8)
    yield
    del held


def train(
    student_settings: dict[str, Any],
    folder: Path,
    *,
    stop_at: int | None = None,
    seed: int = 3,
    trainer: dict[str, Any] | None = None,
    num_workers: int = 0,
    lists: ScoredLists | None = None,
    pause: float = 0.0,
    seen: dict[int, dict[str, torch.Tensor]] | None = None,
    lora: LoraSettings | None = None,
    values: Callable[[int], float] = lambda step: 0.0,
    dims: list[int] | None = None,
    flags: Mapping[str, Any] | None = None,
    own: Sequence[Callback] = (),
    **changes: Any,
) -> tuple[dict[str, torch.Tensor], PhaseOutcome]:
    """Train from scratch or from what is in ``folder``; ``stop_at`` breaks off after that step.

    ``pause``: seconds of each evaluation; ``seen``: takes the weights that each evaluates, by step; ``values``: what
    each finds; ``flags``: of Lightning's Trainer; ``own``: callbacks.
    """
    torch.manual_seed(0)
    student = trained_at(new_student(**student_settings), dims)
    often = 1 if stop_at or pause or seen is not None else None
    settings = phase_settings(**{"evaluate_every": often, **changes})
    prepared = prepare_phase(
        "distill",
        settings,
        [lists or make_lists()],
        student.tokenizer,
        seed=seed,
        allow_flat_teacher=False,
        allow_prompt_mismatch=False,
        flags=flags,
    )
    prepared = replace(prepared, lora=lora, num_workers=num_workers)

    def evaluate(student: Student, step: int) -> Mapping[str, float]:
        if step == stop_at:
            raise Killed
        time.sleep(pause)
        if seen is not None:
            seen[step] = {name: value.clone() for name, value in student.model.state_dict().items()}
        return {"dev_small/ndcg@10": values(step), "dev_small/mrr@10": 0.0}

    trained, outcome = train_phase(
        prepared,
        student.model,
        folder,
        trainer=trainer or TRAINER,
        phase_hash="x",
        loggers=lambda step: [],
        evaluate=evaluate,
        progress=False,
        own=own,
    )
    return trained.model.state_dict(), outcome


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_same_seed_same_weights_other_seed_others(student_settings: dict[str, Any], tmp_path: Path) -> None:
    first, _ = train(student_settings, tmp_path / "a")
    again, _ = train(student_settings, tmp_path / "b")
    other, _ = train(student_settings, tmp_path / "c", seed=4)
    assert equal(first, again)
    assert not equal(first, other)


def curves(folder: Path) -> list[tuple[str, str, str]]:
    """Step, name and digits of all that was logged of training; without what a clock or the system measured."""
    measured = ("per_second", "peak_memory")
    rows = [(row["step"], row["name"], row["value"]) for row in read_metrics(folder / "metrics.csv")]
    return [row for row in rows if row[1].startswith("train/") and not any(m in row[1] for m in measured)]


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5])
def test_a_stopped_phase_ends_with_the_same_weights_and_curves(
    stop_at: int, student_settings: dict[str, Any], tmp_path: Path
) -> None:
    # Checkpoints are at 2 and 4: what was averaged since the last point is in them.
    whole, expected = train(student_settings, tmp_path / "whole", log_every=3)
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=stop_at, log_every=3)
    assert finished_phase(tmp_path / "cut") is None
    resumed, outcome = train(student_settings, tmp_path / "cut", log_every=3)
    assert equal(whole, resumed)
    assert (outcome.steps, outcome.queries, outcome.tokens) == (
        expected.steps,
        expected.queries,
        expected.tokens,
    )
    assert outcome.flops == pytest.approx(expected.flops, rel=1e-12)
    assert curves(tmp_path / "cut") == curves(tmp_path / "whole")
    assert [step for step, name, _ in curves(tmp_path / "cut") if name == "train/loss"] == ["3", "6"]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    student_settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = train(student_settings, tmp_path / "whole")
    with pytest.raises(Killed):
        train(student_settings, tmp_path / "cut", stop_at=5)
    newest = resume_point(tmp_path / "cut" / "checkpoints")
    assert newest is not None
    assert newest.step == 4
    content = newest.path.read_bytes()
    for damage in (b"", content[:1000], content[:-10], b"\x80", content[:4000] + bytes(200) + content[4200:]):
        newest.path.write_bytes(damage)
        caplog.clear()
        before = resume_point(newest.path.parent)
        assert before is not None
        assert before.step == 2
        assert f"{newest.path} cannot be read" in caplog.text
    torch.save({"global_step": 4}, newest.path)
    with pytest.raises(Killed):  # what is written from here on takes the damaged one's place
        train(student_settings, tmp_path / "cut", stop_at=5)
    again = resume_point(newest.path.parent)
    assert again is not None
    assert (again.path, again.step) == (newest.path, 4)
    resumed, _ = train(student_settings, tmp_path / "cut")
    assert "it has no state_dict" in caplog.text
    assert equal(whole, resumed)


def test_the_student_is_in_training_mode_while_training(
    student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    step = StudentModule.training_step

    def watched(self: StudentModule, batch: Any, batch_idx: int) -> Any:
        seen.append(all(module.training for module in self.model.modules()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(StudentModule, "training_step", watched)
    train(student_settings, tmp_path / "a", steps=2)
    assert seen == [True] * 4


def test_dropout_is_on_while_training(student_settings: dict[str, Any], tmp_path: Path) -> None:
    off, _ = train(student_settings | {"dropout": 0.0}, tmp_path / "off", steps=2)
    on, _ = train(student_settings | {"dropout": 0.3}, tmp_path / "on", steps=2)
    assert not equal(off, on)


def test_training_brings_the_loss_down(student_settings: dict[str, Any], tmp_path: Path) -> None:
    train(student_settings, tmp_path / "a", steps=40, checkpoint_every=100)
    losses = [
        float(r["value"]) for r in read_metrics(tmp_path / "a" / "metrics.csv") if r["name"] == "train/loss"
    ]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_contrastive_term_is_added_by_weight(student_settings: dict[str, Any], tmp_path: Path) -> None:
    objective = phase_settings().objective
    objective["contrastive"]["weight"] = 0.3
    objective["distillation"]["weight"] = 0.7
    train(student_settings, tmp_path / "a", steps=1, accumulation=1, objective=objective)
    rows = {row["name"]: float(row["value"]) for row in read_metrics(tmp_path / "a" / "metrics.csv")}
    assert rows["train/loss"] == pytest.approx(
        0.7 * rows["train/distillation"] + 0.3 * rows["train/contrastive"], rel=1e-5
    )


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bf16_trains(precision: str, student_settings: dict[str, Any], tmp_path: Path) -> None:
    exact, _ = train(student_settings | {"dropout": 0.0}, tmp_path / "32", steps=2)
    lowered, _ = train(
        student_settings | {"dropout": 0.0},
        tmp_path / "16",
        steps=2,
        trainer=TRAINER | {"precision": precision},
    )
    assert not equal(exact, lowered)
    for name in exact:
        assert lowered[name].dtype == torch.float32
        torch.testing.assert_close(exact[name], lowered[name], atol=5e-3, rtol=0)


def test_finished_phase_keeps_counts_and_no_checkpoints(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    _, outcome = train(student_settings, tmp_path / "a")
    assert finished_phase(tmp_path / "a") == outcome
    assert outcome.queries == 6 * 2 * 3
    assert 0 < outcome.tokens <= outcome.padded_tokens
    assert (outcome.devices, outcome.peak_device_bytes) == (1, None)
    assert outcome.peak_memory_bytes is not None
    with ballast(outcome.peak_memory_bytes):  # the highest use of before does not count, that of now does
        _, again = train(student_settings, tmp_path / "b")
    _, later = train(student_settings, tmp_path / "c")
    assert again.flops == outcome.flops
    assert again.peak_memory_bytes is not None
    assert later.peak_memory_bytes is not None
    assert again.peak_memory_bytes > 1.5 * outcome.peak_memory_bytes
    assert later.peak_memory_bytes < 0.8 * again.peak_memory_bytes
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["metrics.csv", "phase.json", "student"]
    assert json.loads((tmp_path / "a" / "phase.json").read_text())["steps"] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"steps": 3, "epochs": 1.0},
            r"phases\.distill: steps=3 and epochs=1 are both set; add phases\.distill\.epochs=null",
        ),
        ({"steps": None}, "steps and epochs are both null"),
        ({"steps": None, "epochs": 0.1}, "no optimizer step"),
    ],
)
def test_bad_settings(student_settings: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare_phase(
            "distill",
            phase_settings(**changes),
            [make_lists()],
            new_student(**student_settings).tokenizer,
            seed=0,
            allow_flat_teacher=False,
            allow_prompt_mismatch=False,
        )


def test_processes_that_cannot_share_a_batch() -> None:
    with pytest.raises(InputError, match=r"phases\.distill\.batch_size=4: 3 processes cannot share it"):
        check_shares("distill", 4, 3)


def test_lists_of_one_document_have_nothing_to_distil(student_settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"distill\.data: random has rows of only one document"):
        prepare_phase(
            "distill",
            phase_settings(n_way=None),
            [make_lists(length=1)],
            new_student(**student_settings).tokenizer,
            seed=0,
            allow_flat_teacher=True,
            allow_prompt_mismatch=False,
        )


def test_epochs_become_steps(student_settings: dict[str, Any]) -> None:
    phase = prepare_phase(
        "distill",
        phase_settings(steps=None, epochs=3.0),
        [make_lists()],
        new_student(**student_settings).tokenizer,
        seed=0,
        allow_flat_teacher=False,
        allow_prompt_mismatch=False,
    )
    assert phase.max_steps == 3 * 4 // 2


class Slow(ScoredLists):
    """Lists that take their time to read."""

    def example(self, row: int, n_way: int, generator: np.random.Generator) -> Example:
        time.sleep(0.05)
        return super().example(row, n_way, generator)


def test_seconds_count_the_wait_for_data_but_not_the_evaluations(
    student_settings: dict[str, Any], tmp_path: Path
) -> None:
    lists = Slow(**vars(make_lists()))
    begun = time.perf_counter()
    _, outcome = train(student_settings, tmp_path / "a", lists=lists, pause=0.3)
    took = time.perf_counter() - begun
    assert 6 * 2 * 3 * 0.05 < outcome.seconds < took - 5 * 0.3
    rows = [row for row in read_metrics(tmp_path / "a" / "metrics.csv") if "queries_per" in row["name"]]
    assert all(float(row["value"]) < 1 / 0.05 for row in rows)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_make_the_same_batches(
    start: str, student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    make = PhaseData.train_dataloader

    def started(self: PhaseData) -> Any:
        loader = make(self)
        if loader.num_workers:
            loader.multiprocessing_context = start
        used.append(loader.num_workers)
        return loader

    monkeypatch.setattr(PhaseData, "train_dataloader", started)
    alone, expected = train(student_settings, tmp_path / "alone", steps=2)
    ahead, outcome = train(student_settings, tmp_path / "ahead", steps=2, num_workers=1)
    assert used == [0, 1]
    assert equal(alone, ahead)
    assert (outcome.queries, outcome.tokens) == (expected.queries, expected.tokens)


class Stopped(RuntimeError):
    pass


def callbacks_of(
    student_settings: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> list[Any]:
    """What a phase gives to Lightning's Trainer."""
    found: list[Any] = []

    def trainer(*_: Any, **others: Any) -> Any:
        found.extend(others["callbacks"])
        raise Stopped

    monkeypatch.setattr(phase, "phase_trainer", trainer)
    with pytest.raises(Stopped):
        train(student_settings, folder, **changes)
    return found


def test_processes_draw_their_own_dropout_masks(
    student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []
    for rank in (0, 1, 2):
        monkeypatch.setattr(phase, "process_rank", lambda rank=rank: rank)
        callbacks_of(student_settings, tmp_path / str(rank), monkeypatch)
        seeds.append(torch.initial_seed())
    assert seeds == [3, process_seed(3, 1), process_seed(3, 2)]
    # Processes of runs with neighbouring seeds share no masks either.
    assert len({process_seed(seed, rank) for seed in range(8) for rank in range(8)}) == 64


def test_recomputation_is_estimated_from_the_share_of_a_process(
    student_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(phase, "needs_recompute", lambda *found: asked.append(found))
    found = callbacks_of(student_settings, tmp_path, monkeypatch, recompute="auto")
    (decision,) = (each for each in found if isinstance(each, Recomputation))
    device = torch.device("meta")
    fit = SimpleNamespace(
        global_rank=1, world_size=3, num_devices=3, strategy=SimpleNamespace(root_device=device)
    )
    decision.decide(fit)  # type: ignore[arg-type]
    student = new_student(**student_settings)
    prepared = prepare_phase(
        "distill", phase_settings(), [make_lists()], student.tokenizer, seed=3, allow_flat_teacher=False,
        allow_prompt_mismatch=False,
    )  # fmt: skip
    batch = prepared.batches.share(1, 3)[0]
    longest = max(chunk.input_ids_NL.shape[1] for chunk in (batch.queries, *batch.documents))
    needed = activation_bytes(student.model.backbone.config, batch.n_padded, longest, False)
    assert asked == [("distill", needed, device, 3)]


@pytest.mark.parametrize(("mine", "others"), [(False, True), (True, False), (False, False)])
def test_recomputation_is_decided_once_for_all_processes(
    mine: bool, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "gather_states", lambda state: [state, others])
    module = StudentModule.__new__(StudentModule)
    Recomputation(lambda _: mine).on_fit_start(SimpleNamespace(), module)  # type: ignore[arg-type]
    assert module.recompute == (mine or others)
