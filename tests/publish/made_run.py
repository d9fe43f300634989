"""Runs written by hand, as a run leaves its folder, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from colbert_lab.records.records import Record, append_records

PHASES = ("supervised", "distill", "polish")


def phase_config(data: dict[str, Any]) -> dict[str, Any]:
    """Settings of a phase."""
    return {
        "data": data,
        "prompts": {"query": None, "document": None, "extend_length": None},
        "epochs": 1.0,
        "steps": None,
        "batch_size": 4,
        "accumulation": 8,
        "n_way": 16,
        "objective": {
            "distillation": {
                "weight": 0.7,
                "direction": "student_teacher",
                "teacher": {"normalisation": "zscore", "temperature": 0.25},
                "student": {"normalisation": "none", "temperature": 1.0},
            },
            "contrastive": {
                "weight": 0.3,
                "temperature": 0.05,
                "learnable": False,
                "false_negative_ratio": 0.9,
            },
        },
        "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 3.0e-5, "weight_decay": 0.01},
        "lr_schedule": {"name": "cosine", "warmup": 0.1},
    }


def write_run(
    run_dir: Path,
    *,
    data: dict[str, dict[str, Any]],
    student: dict[str, Any] | None = None,
    splits: dict[str, dict[str, Any]] | None = None,
    dirty: bool | None = False,
    status: str = "finished",
) -> Path:
    """A run's folder.

    Args:
        run_dir: ``<output_dir>/<name>/<run id>``.
        data: settings of the data by phase, in the order of the schedule.
        student: settings of the student.
        splits: ``evaluation.splits``.
        dirty: whether the code was changed.
        status: of the run.
    """
    splits = splits or {"test": {"type": "beir", "path": "BeIR/scifact", "split": "test"}}
    config = {
        "name": run_dir.parent.name,
        "seed": 1,
        "output_dir": run_dir.parents[1].name,
        "schedule": list(data),
        "phases": {name: phase_config(found) for name, found in data.items()},
        "student": student or {"checkpoint": None, "architecture": None, "backbone": "answerdotai/ModernBERT-base"},
        "evaluation": {"splits": splits, "mode": "exact", "storage": "float32", "depth": 100, "headline": None},
        "trainer": {"devices": 1, "num_nodes": 1, "strategy": "auto", "precision": "bf16-mixed"},
    }  # fmt: skip
    run_dir.mkdir(parents=True)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (run_dir / "status.json").write_text(json.dumps({"status": status}))
    environment = {
        "commit": "abc123",
        "dirty": dirty,
        "hardware": "a machine",
        "packages": {"torch": "2.13.0"},
    }
    (run_dir / "environment.json").write_text(json.dumps(environment))
    known = {
        key: {"dataset": key.partition("_")[0], "split": found["split"], "documents": 5183}
        for key, found in splits.items()
    }
    (run_dir / "splits.json").write_text(json.dumps(known))
    for n, phase in enumerate(data):
        (run_dir / phase / "student").mkdir(parents=True)
        outcome: dict[str, Any] = {
            "steps": 1000 * (n + 1), "seconds": 60.0, "queries": 32000, "tokens": 10**6, "reused_from": None,
            "truncation": {"query": {"texts": 100, "cut": 0.25, "cut_without_prompt": 0.2}},
        }  # fmt: skip
        (run_dir / phase / "phase.json").write_text(json.dumps(outcome))
    for n, phase in enumerate(["before", *data]):
        for key, found in known.items():
            record = Record(
                run_id=run_dir.name, system="student", system_name="ModernBERT", phase=phase,
                dataset=str(found["dataset"]), split=key,
                split_fingerprint=f"print-of-{key}", protocol_hash="protocol", measure="ndcg@10",
                value=0.5 + n / 100, n_queries=300, seed=1,
                factors={"experiment": "paper/zero", "data.path": "/elsewhere/secret/set", "prompts": "nomic"},
            )  # fmt: skip
            append_records(run_dir / "results.jsonl", [record])
    return run_dir
