"""The paper/* experiments of ColBERT-Zero hold the published values, and run on small stand-ins for the hub's data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from colbert_lab.settings import checked
from colbert_lab.tasks.composing import CONF
from tests.command import command, the_run
from tests.hub_copies import write_configs, write_splits
from tests.tiny import sentences

# Where a value is published:
CARD = "model card of lightonai/ColBERT-Zero"
UNSUPERVISED = "PyLate, examples/train/ColBERT-zero/unsupervised.py"
SUPERVISED = "PyLate, examples/train/ColBERT-zero/supervised.py"
PYLATE = "PyLate, pylate/losses/distillation.py and pylate/models/colbert.py"
TRAINER = "default of Hugging Face's trainer, listed on the model card"
NOT_WHILE_TRAINING = (
    "script and card: NanoBEIR every 500 or 1,500 steps; a test split is not read while training"
)
BLOG = "links of the table in huggingface.co/blog/lightonai/colbert-zero"

NANO_BEIR = [
    *("ndcg@10", "mrr@10", "mapmin@100"),
    *(f"{kind}@{k}" for kind in ("accuracy", "precision", "recall") for k in (1, 3, 5, 10)),
]

Table = dict[str, tuple[Any, str]]

ALL: Table = {
    "seed": (42, CARD),
    "trainer.precision": ("bf16-mixed", CARD),
    "student.dim": (128, CARD),
    "student.bias": (False, CARD),
    "student.query_marker": ("[Q] ", PYLATE),
    "student.document_marker": ("[D] ", PYLATE),
    "student.new_markers": ("mean", PYLATE),
    "student.skiplist": ("punctuation", PYLATE),
    "student.expansion": ("none", f"{CARD}: FlashAttention made the expansion tokens unusable"),
    "student.checkpoint": (None, "a dense or masked language model is the start"),
    "evaluation.path": ("DIR", "given by the user"),
    "evaluation.measures": (NANO_BEIR, CARD),
}
EVERY_PHASE: Table = {
    "epochs": (1, CARD),
    "steps": (None, CARD),
    "optimizer._target_": ("torch.optim.AdamW", TRAINER),
    "optimizer.weight_decay": (0.0, TRAINER),
    "optimizer.betas": ([0.9, 0.999], TRAINER),
    "lr_schedule.name": ("linear", TRAINER),
    "lr_schedule.warmup": (0, TRAINER),
    "gradient_clip": (1.0, TRAINER),
    "log_every": (50, "the three scripts"),
}
PHASES: dict[str, Table] = {
    "unsupervised": {
        "data.path": ("nomic-ai/nomic-embed-unsupervised-data", UNSUPERVISED),
        "data.source_weights": (None, f"{UNSUPERVISED}: proportional"),
        "n_way": (1, UNSUPERVISED),
        "batch_size": (16384, UNSUPERVISED),
        "accumulation": (1, UNSUPERVISED),
        "recompute": (True, f"{UNSUPERVISED}: CachedContrastive"),
        "token_budget": (512 * 187, f"{UNSUPERVISED}: mini_batch_size=512"),
        "optimizer.lr": (3e-4, UNSUPERVISED),
        "objective.contrastive.weight": (1.0, UNSUPERVISED),
        "objective.contrastive.temperature": (0.02, UNSUPERVISED),
        "objective.contrastive.learnable": (False, UNSUPERVISED),
        "objective.distillation.weight": (0.0, UNSUPERVISED),
        "evaluate_every": (None, NOT_WHILE_TRAINING),
        "checkpoint_every": (500, UNSUPERVISED),
    },
    "supervised": {
        "data.path": ("nomic-ai/nomic-embed-supervised", SUPERVISED),
        "data.source_weights": (None, f"{SUPERVISED}: proportional"),
        "data.negatives": (10, SUPERVISED),
        "n_way": (None, f"{SUPERVISED}: min(10, fewest of the source)"),
        "batch_size": (64, SUPERVISED),
        "accumulation": (1, SUPERVISED),
        "optimizer.lr": (8e-6, SUPERVISED),
        "objective.contrastive.weight": (1.0, SUPERVISED),
        "objective.contrastive.temperature": (0.2, SUPERVISED),
        "objective.contrastive.learnable": (False, SUPERVISED),
        "objective.distillation.weight": (0.0, SUPERVISED),
        "evaluate_every": (None, NOT_WHILE_TRAINING),
        "checkpoint_every": (1500, SUPERVISED),
    },
    "distill": {
        "data.path": (
            "lightonai/ms-marco-en-bge-gemma",
            "PyLate, examples/train/ColBERT-zero/distillation.py",
        ),
        "data.scores": (None, "the data set's own"),
        "n_way": (32, f"{CARD}: 32 elements a list"),
        "batch_size": (16, f"{CARD}: 4 on each of 4 devices, as 20,000 steps over 640,000 lists tell"),
        "accumulation": (2, CARD),
        "optimizer.lr": (1e-5, CARD),
        "objective.distillation.weight": (1.0, CARD),
        "objective.distillation.direction": ("teacher_student", PYLATE),
        "objective.distillation.teacher": ({"normalisation": "none", "temperature": 1.0}, PYLATE),
        "objective.distillation.student": ({"normalisation": "minmax", "temperature": 1.0}, PYLATE),
        "objective.contrastive.weight": (0.0, CARD),
        "evaluate_every": (None, NOT_WHILE_TRAINING),
        "checkpoint_every": (1500, CARD),
    },
}
PROMPTS = {"query": "search_query: ", "document": "search_document: ", "extend_length": False}
NO_PROMPTS = {"query": "", "document": "", "extend_length": False}
FULL = ["unsupervised", "supervised", "distill"]
# 32 + 7 and 180 + 7 or 512 + 7 with prompts (card: 39 and 519; scripts).
LENGTHS = {"unsupervised": (39, 187), "supervised": (39, 519), "distill": (39, 519)}
SHORT = {"unsupervised": (32, 180), "supervised": (32, 512), "distill": (32, 512)}

# schedule, backbone and where its id is from, prompts, lengths by phase
EXPERIMENTS: dict[str, tuple[list[str], tuple[str, str], dict[str, Any], dict[str, tuple[int, int]]]] = {
    "colbert_zero": (FULL, ("answerdotai/ModernBERT-base", UNSUPERVISED), PROMPTS, LENGTHS),
    "supervised_kd": (FULL[1:], ("nomic-ai/modernbert-embed-base-unsupervised", BLOG), PROMPTS, LENGTHS),
    "colbert_zero_kd": (FULL[2:], ("nomic-ai/modernbert-embed-base", BLOG), PROMPTS, LENGTHS),
    "colbert_zero_noprompts": (FULL, ("answerdotai/ModernBERT-base", UNSUPERVISED), NO_PROMPTS, SHORT),
}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def paper(name: str) -> DictConfig:
    return checked(composed(f"+experiment=paper/{name}", "evaluation.path=DIR"))


def differences(cfg: DictConfig, table: Table) -> list[str]:
    found = []
    for key, (value, source) in table.items():
        ours = OmegaConf.select(cfg, key, throw_on_missing=True)
        ours = OmegaConf.to_container(ours) if OmegaConf.is_config(ours) else ours
        if ours != value:
            found.append(f"{key} is {ours!r}, published is {value!r} ({source})")
    return found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_values_are_the_published_ones(name: str) -> None:
    cfg = paper(name)
    schedule, backbone, prompts, lengths = EXPERIMENTS[name]
    assert differences(cfg, ALL) == []
    assert list(cfg.schedule) == schedule
    assert differences(cfg, {"student.backbone": backbone, "prompts": (prompts, CARD)}) == []
    for phase in schedule:
        table = EVERY_PHASE | PHASES[phase] | {"prompts": (prompts, CARD)}
        assert differences(cfg.phases[phase], table) == []
        assert (cfg.phases[phase].query_length, cfg.phases[phase].document_length) == lengths[phase]
    assert (cfg.student.query_length, cfg.student.document_length) == lengths[schedule[0]]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_laptop_twin_has_the_same_schedule(name: str) -> None:
    twin, cfg = checked(composed(f"+experiment={name}")), paper(name)
    assert list(twin.schedule) == list(cfg.schedule)
    assert twin.name != cfg.name
    objectives = ("distillation", "contrastive")
    for phase in cfg.schedule:
        ours, theirs = twin.phases[phase].objective, cfg.phases[phase].objective
        assert [ours[kind].weight for kind in objectives] == [theirs[kind].weight for kind in objectives]
    if name.endswith("noprompts"):
        assert {twin.phases[phase].prompts.query for phase in twin.schedule} == {""}


def test_a_prompt_mismatch_is_in_the_last_phase_alone() -> None:
    cfg, twin = (
        checked(composed("+experiment=prompt_mismatch")),
        checked(composed("+experiment=colbert_zero")),
    )
    assert list(cfg.schedule) == FULL
    assert [cfg.phases[phase].prompts.query for phase in FULL] == ["search_query: ", "search_query: ", ""]
    assert cfg.allow_prompt_mismatch
    cfg.phases.distill.prompts = twin.phases.distill.prompts
    assert cfg.phases == twin.phases


def test_a_group_on_the_command_line_beats_a_nested_experiment() -> None:
    cfg = checked(
        composed("+experiment=paper/supervised_kd", "student=minilm", "prompts=none", "evaluation=none")
    )
    assert cfg.student.backbone.startswith("package:")
    assert cfg.phases.distill.prompts.query == ""
    assert cfg.evaluation.headline is None


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By phase, a local stand-in in the hub's columns."""
    folder = tmp_path_factory.mktemp("hub")
    texts = sentences(80, low=6, high=18)

    def rows(source: str, first: int, more: dict[str, Any]) -> list[dict[str, Any]]:
        found = range(first, first + 4)
        return [{"query": texts[n][:30], "document": texts[n], **more, "dataset": source} for n in found]

    unsupervised = {source: rows(source, 4 * n, {"shard": 0}) for n, source in enumerate(("agnews", "squad"))}
    supervised = {
        source: rows(source, 8 + 4 * n, {"negative": texts[20 : 23 + n]})
        for n, source in enumerate(("nq", "fever"))
    }
    generator = np.random.default_rng(0)
    lists = []
    for query in range(4):
        scores = generator.random(32)
        scores = (scores - scores.min()) / (scores.max() - scores.min())
        documents = (1000 + generator.permutation(80)[:32]).tolist()
        lists.append({"query_id": query, "document_ids": documents, "scores": scores.tolist()})
    configs = {
        "train": lists,
        "queries": [{"query_id": query, "text": texts[query][:30]} for query in range(4)],
        "documents": [{"document_id": 1000 + n, "text": text} for n, text in enumerate(texts)],
    }
    return {
        "unsupervised": write_splits(folder / "unsupervised", unsupervised),
        "supervised": write_splits(folder / "supervised", supervised),
        "distill": write_configs(folder / "lists", configs),
    }


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_paper_experiment_trains_two_steps(
    name: str, hub: dict[str, Path], tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    schedule = EXPERIMENTS[name][0]
    small = [f"data.path={hub['distill']}"]
    for phase in schedule:
        if phase != "distill":
            small.append(f"phases.{phase}.data.path={hub[phase]}")
        values = {"epochs": "null", "steps": 2, "batch_size": 2, "document_length": 48, "checkpoint_every": 1}
        small += [f"phases.{phase}.{key}={value}" for key, value in values.items()]
    outcome = command(
        f"+experiment=paper/{name}",
        *small,
        f"student.backbone={tiny_bert}",
        "student.dim=16",
        "student.document_length=48",
        "trainer=auto",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.num_workers=0",
        "evaluation=none",
        "tracking=off",
        "progress=false",
        f"output_dir={tmp_path}",
        f"cache_dir={tmp_path / 'cache'}",
    )
    assert outcome.status == 0, outcome.err
    run = the_run(tmp_path, f"paper_{name}")
    done = {phase: json.loads((run / phase / "phase.json").read_text(encoding="utf-8")) for phase in schedule}
    assert {phase: outcome["steps"] for phase, outcome in done.items()} == dict.fromkeys(schedule, 2)
    assert done["distill"]["queries"] == 2 * 2 * 2  # two steps of two micro-batches
    assert done["distill"]["teacher_entropy"] > 0.98  # why allow_flat_teacher is set
    for phase in schedule:
        assert (run / phase / "student" / "model.safetensors").is_file()
