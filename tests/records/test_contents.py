"""A run is known by what it reads: other content at the same path is another run, the same at another path is not."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from colbert_lab.records import contents
from colbert_lab.records.contents import contents_of, other_contents, read_contents, write_contents
from colbert_lab.records.identity import asked_hash, config_hash
from colbert_lab.settings import checked
from colbert_lab.tasks.composing import CONF

BASE = ("+experiment=colbert_zero_kd", "evaluation=none")


@cache
def composed(*overrides: str) -> str:
    """The checked config as JSON; composing takes half a second."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return json.dumps(OmegaConf.to_container(checked(compose("config", list(overrides)))))


def config_of(*overrides: str, place: Path | None = None) -> dict[str, Any]:
    """A config; ``DIR`` in it is ``place``."""
    found: dict[str, Any] = json.loads(composed(*overrides).replace("DIR", str(place)))
    return found


class Kind(NamedTuple):
    """A setting that names content.

    Attributes:
        given: overrides; ``DIR`` is where everything is.
        file: a file that it reads.
        key: the setting that is told.
    """

    given: tuple[str, ...]
    file: str
    key: str


def trains(*given: str) -> tuple[str, ...]:
    return (*BASE, *given)


def measures(*given: str) -> tuple[str, ...]:
    return ("task=evaluate", *given)


DATA = "phases.distill.data"
BEIR = ("evaluation=beir", "evaluation.path=DIR/beir")
KINDS = {
    "checkpoint": Kind(
        trains("student.checkpoint=DIR/model"), "model/model.safetensors", "student.checkpoint"
    ),
    "backbone": Kind(trains("student.backbone=DIR/model"), "model/model.safetensors", "student.backbone"),
    "tokenizer": Kind(trains("student.backbone=DIR/model"), "model/tokenizer.json", "student.backbone"),
    "training documents": Kind(
        trains("data=scored_lists", "data.path=DIR/beir", "data.scores=lists.jsonl"),
        "beir/corpus.jsonl",
        f"{DATA}.path",
    ),
    "scores": Kind(
        trains("data=scored_lists", "data.path=DIR/beir", "data.scores=lists.jsonl"),
        "beir/lists.jsonl",
        f"{DATA}.path",
    ),
    **{
        f"{name} of a data set kept as files": Kind(
            trains("data=scored_lists", "data.path=DIR/pylate", "data.scores=scores.jsonl"),
            f"pylate/{name}.jsonl",
            f"{DATA}.path",
        )
        for name in ("documents", "queries", "scores")
    },
    "folder of lists": Kind(
        trains("data=scored_lists", "data.path=DIR/folder"), "folder/data/train.parquet", f"{DATA}.path"
    ),
    "judgments to train on": Kind(
        trains("data=beir", "data.path=DIR/beir"), "beir/qrels/train.tsv", f"{DATA}.path"
    ),
    "triples of ids": Kind(
        trains("data=triples", "data.path=DIR/beir", "data.triples=ids.tsv"), "beir/ids.tsv", f"{DATA}.path"
    ),
    "training file": Kind(trains("data=pairs", "data.path=DIR/pairs.jsonl"), "pairs.jsonl", f"{DATA}.path"),
    "source of a mixture": Kind(
        trains("data=mixture", "+data@data.sources.one=pairs", "data.sources.one.path=DIR/pairs.jsonl"),
        "pairs.jsonl",
        f"{DATA}.sources.one.path",
    ),
    "documents of triples": Kind(
        trains("data=parted_triples", "data.path=DIR/pairs.jsonl", "data.documents=DIR/folder"),
        "folder/data/train.parquet",
        f"{DATA}.documents",
    ),
    "teacher": Kind(
        trains("teacher@data.teacher=bi_encoder", "data.teacher.model=DIR/model"),
        "model/model.safetensors",
        f"{DATA}.teacher.model",
    ),
    "member of an ensemble": Kind(
        trains("data.teacher.members.bi_encoder.model=DIR/model"),
        "model/config.json",
        f"{DATA}.teacher.members.bi_encoder.model",
    ),
    "colbert teacher": Kind(
        trains("teacher@data.teacher=colbert", "data.teacher.checkpoint=DIR/model"),
        "model/model.safetensors",
        f"{DATA}.teacher.checkpoint",
    ),
    "retriever": Kind(
        trains("data.retrievers.bi_encoder.model=DIR/model"),
        "model/model.safetensors",
        f"{DATA}.retrievers.bi_encoder.model",
    ),
    "qrels": Kind(measures(*BEIR), "beir/qrels/test.tsv", "evaluation.splits.test.path"),
    "evaluation queries": Kind(measures(*BEIR), "beir/queries.jsonl", "evaluation.splits.dev.path"),
    "tables of a layout": Kind(
        measures("evaluation=az_mirage", "evaluation.path=DIR/tables"),
        "tables/dataset.json",
        "evaluation.splits.az_mirage.path",
    ),
    "judgments beside a copy": Kind(
        measures(*BEIR[:1], "layout@evaluation.every.layout=beir", "evaluation.path=DIR/folder"),
        "folder-qrels/test.tsv",
        "evaluation.splits.test.path",
    ),
    "candidate lists": Kind(
        measures("evaluation=candidates", "evaluation.path=DIR/pairs.jsonl"),
        "pairs.jsonl",
        "evaluation.splits.held_out.path",
    ),
    "dense baseline": Kind(
        measures(
            *BEIR,
            "+teacher@evaluation.baselines.dense=bi_encoder",
            "evaluation.baselines.dense.model=DIR/model",
        ),
        "model/model.safetensors",
        "evaluation.baselines.dense.model",
    ),
    "first stage": Kind(
        measures(
            *BEIR,
            "evaluation.mode=[exact,rerank]",
            "teacher@evaluation.rerank.first_stage=bi_encoder",
            "evaluation.rerank.first_stage.model=DIR/model",
        ),
        "model/model.safetensors",
        "evaluation.rerank.first_stage.model",
    ),
    "run of a first stage": Kind(
        measures(*BEIR, "evaluation.mode=rerank", "evaluation.rerank.run=DIR/first.run"),
        "first.run",
        "evaluation.rerank.run",
    ),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A small file of everything that is read; what is in them does not matter here."""
    folder = tmp_path / "here"
    for name in {kind.file for kind in KINDS.values()} | {"tables/doc_pool.json", "beir/qrels/dev.tsv"}:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {name}")
    return folder


def identity(kind: Kind, place: Path) -> tuple[str, dict[str, str | None]]:
    config = config_of(*kind.given, place=place)
    found = contents_of(config)
    return config_hash(config, found), found


@pytest.mark.parametrize("name", KINDS)
def test_content_decides_not_the_path(name: str, place: Path) -> None:
    kind = KINDS[name]
    hashed, before = identity(kind, place)
    assert before[kind.key] is not None
    moved = place.rename(place.with_name("there"))
    assert identity(kind, moved) == (hashed, before)
    place = moved.rename(place)
    file = place / kind.file
    then = file.stat()
    file.write_text(file.read_text().swapcase())
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
    other, after = identity(kind, place)
    assert other != hashed
    assert kind.key in other_contents(before, after)


def test_what_a_run_does_not_read_does_not_count(place: Path) -> None:
    def hashed(*given: str) -> str:
        config = config_of(*given, place=place)
        return config_hash(config, contents_of(config))

    evaluate = measures(*BEIR, "student.backbone=DIR/model")
    assert hashed(*evaluate) == hashed(*evaluate, "data=pairs", "data.path=DIR/pairs.jsonl")
    several = ("+experiment=colbert_zero", "evaluation=none", "schedule=[distill]")
    elsewhere = (*several, "data@phases.supervised.data=pairs", "phases.supervised.data.path=DIR/pairs.jsonl")
    assert hashed(*several) == hashed(*elsewhere)
    # A phase's own data are what data= gives to all.
    own = trains("data@phases.distill.data=pairs", "phases.distill.data.path=DIR/pairs.jsonl")
    assert hashed(*own) == hashed(*trains("data=pairs", "data.path=DIR/pairs.jsonl"))
    before = hashed(*evaluate)
    (place / "beir" / "notes.txt").write_text("beside it")
    assert hashed(*evaluate) == before


def test_other_packages_are_other_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("+experiment=colbert_zero_kd")
    before = contents_of(config)
    assert {DATA, "evaluation.splits.test"} <= before.keys()
    monkeypatch.setattr("colbert_lab.text.installed_docs.required_distributions", lambda: {"torch": "9.9"})
    contents._installed.cache_clear()
    after = contents_of(config)
    contents._installed.cache_clear()
    assert config_hash(config, before) != config_hash(config, after)
    assert other_contents(before, after) == [DATA, "evaluation.splits.test", "evaluation.splits.dev"]


def test_what_is_not_known_counts_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    one, other = (config_of(*BASE, f"student.backbone=owner/{name}") for name in ("one", "other"))
    assert contents_of(one)["student.backbone"] is None
    assert config_hash(one, contents_of(one)) != config_hash(other, contents_of(other))
    refs = tmp_path / "models--owner--one" / "refs"
    refs.mkdir(parents=True)
    seen = {config_hash(one, contents_of(one))}
    for commit in ("a" * 40, "b" * 40):
        (refs / "main").write_text(commit)
        seen.add(config_hash(one, contents_of(one)))
        seen.add(asked_hash(one, contents_of(one), []))
    assert len(seen) == 5


def test_a_class_of_ones_own_is_read_alike(place: Path) -> None:
    """A teacher from outside the package, whose model is named as ours are."""
    config = config_of(*BASE)
    teacher = {"_target_": "my.Teacher", "model": str(place / "model"), "name": "some"}
    config["phases"]["distill"]["data"]["teacher"] = teacher
    before = contents_of(config)
    (place / "model" / "model.safetensors").write_text("other")
    assert other_contents(before, contents_of(config)) == [f"{DATA}.teacher.model"]


def test_a_run_keeps_what_its_settings_stood_for(place: Path, tmp_path: Path) -> None:
    config = config_of(*KINDS["qrels"].given, place=place)
    found = contents_of(config)
    write_contents(tmp_path, config, found)
    assert read_contents(tmp_path) == found
    assert str(place / "beir") in (tmp_path / "contents.json").read_text()
    assert read_contents(tmp_path / "nowhere") == {}
