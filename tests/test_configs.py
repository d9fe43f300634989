"""Every committed config composes, and every committed experiment trains two steps."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import DEV_NAMES
from colbert_lab.evaluation.measures import parse_measure
from colbert_lab.records.means import split_weights
from colbert_lab.records.records import read_records
from colbert_lab.run.inputs import split_requests
from colbert_lab.settings import Command, checked
from colbert_lab.tasks.composing import CONF
from tests.command import command, the_run
from tests.conftest import ROOT
from tests.smaller import smaller

EXPERIMENTS = sorted(
    str(path.relative_to(CONF / "experiment").with_suffix(""))
    for path in (CONF / "experiment").rglob("*.yaml")
)
PAPER = [name for name in EXPERIMENTS if name.startswith("paper/")]  # at full size: tests/test_paper.py
GROUPS = ("student", "prompts", "trainer", "tracking")
OPTIONS = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize("experiment", PAPER)
def test_a_paper_experiment_composes(experiment: str) -> None:
    cfg = composed(f"+experiment={experiment}", "evaluation.path=DIR")
    missing = [f"{key}=0.25" if "weights" in key else f"{key}=DIR" for key in OmegaConf.missing_keys(cfg)]
    checked(composed(f"+experiment={experiment}", "evaluation.path=DIR", *sorted(missing)))


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name not in PAPER])
def test_an_experiment_trains_two_steps(experiment: str, some_docs: Path, tmp_path: Path) -> None:
    cfg = composed(f"+experiment={experiment}")
    outcome = command(
        f"+experiment={experiment}",
        *smaller(cfg, tmp_path),
        "allow_flat_teacher=true",
        "tracking=off",
        "progress=false",
        f"output_dir={tmp_path}",
        f"cache_dir={some_docs}",
    )
    assert outcome.status == 0, outcome.err
    records = read_records(the_run(tmp_path, cfg.name) / "results.jsonl")
    assert {record.phase for record in records} == {"baselines", "before", *cfg.schedule}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_composes(option: str) -> None:
    checked(composed("+experiment=colbert_zero_kd", option))


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "evaluation").glob("*.yaml")))
def test_an_evaluation_composes_and_selects_on_dev_or_nothing(option: str) -> None:
    cfg = checked(composed("+experiment=colbert_zero_kd", f"evaluation={option}", "++evaluation.path=DIR"))
    requests = split_requests(Command.of(cfg).settings.evaluation.splits, full=cfg.evaluation.full)
    assert cfg.evaluation.headline in (None, "dev/ndcg@10")
    assert all(parse_measure(measure)[1] <= cfg.evaluation.depth for measure in cfg.evaluation.measures)
    expanded = [f"{key}.source" if request.type == "candidates" else key for key, request in requests.items()]
    weights = split_weights(cfg.evaluation.means, expanded, cfg.evaluation.splits)
    counts = {
        "beir15": {"CQADupStack": 12, "BEIR-15": 26},
        "nano_beir": {"NanoBEIR": 13},
        "nano_beir_en": {"NanoBEIR": 13},
        "bright": {"BRIGHT": 12},
        "bright_long": {"BRIGHT-long": 8},
        "candidates": {"macro average": 1},
        "colbert_az": {"macro average": 1},
        "muvera_nano": {"Average": 3},
    }
    assert {name: len(parts) for name, parts in weights.items()} == counts.get(option, {})
    for request in requests.values():
        assert request.path is None or request.path.startswith("DIR")


def test_what_all_entries_share_gives_way_to_an_entry() -> None:
    shared = "evaluation.every.protocol.query_length=64"
    cfg = checked(composed("+experiment=colbert_zero_kd", "evaluation=bright", shared))
    lengths = {key: split.protocol.query_length for key, split in cfg.evaluation.splits.items()}
    assert lengths.pop("pony") == 32
    assert set(lengths.values()) == {64}


def test_an_unknown_key_of_a_layout_is_an_error() -> None:
    with pytest.raises(InputError, match=r"layout.*corpora"):
        checked(composed("evaluation=beir", "evaluation.path=DIR", "+evaluation.every.layout.corpora.path=X"))


def test_a_phase_reads_the_data_of_the_run() -> None:
    cfg = checked(
        composed("+experiment=colbert_zero_kd", "data=scored_lists", "data.path=DIR", "data.scores=FILE")
    )
    assert cfg.phases.distill.data == cfg.data
    assert cfg.phases.distill.data.path == "DIR"


def test_a_phase_may_have_data_of_its_own() -> None:
    cfg = checked(
        composed(
            "+experiment=colbert_zero_kd",
            "data@phases.distill.data=scored_lists",
            "phases.distill.data.path=OWN",
        )
    )
    assert cfg.phases.distill.data.path == "OWN"
    assert cfg.data._target_.endswith("InstalledDocsLists")


def test_two_phases_share_and_differ() -> None:
    cfg = checked(
        composed(
            "+experiment=colbert_zero_kd",
            "+phase@phases.polish=distill",
            "schedule=[distill,polish]",
            "data@phases.polish.data=scored_lists",
            "phases.polish.data.path=OWN",
            "data=scored_lists",
            "data.path=SHARED",
        )
    )
    assert (cfg.phases.distill.data.path, cfg.phases.polish.data.path) == ("SHARED", "OWN")


@pytest.mark.parametrize("teacher", ["bm25", "bi_encoder", "ensemble"])
def test_the_teacher_is_a_choice(teacher: str) -> None:
    cfg = checked(composed("+experiment=colbert_zero_kd", f"teacher@data.teacher={teacher}"))
    assert cfg.phases.distill.data.teacher == cfg.data.teacher
    names = {"bm25": "BM25", "bi_encoder": "BiEncoder", "ensemble": "Ensemble"}
    assert cfg.data.teacher._target_.endswith(names[teacher])


def test_the_experiment_on_its_page_composes(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "experiments.md").read_text(encoding="utf-8")
    (block,) = [part for part in page.split("```yaml\n")[1:] if part.startswith("# @package _global_")]
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "sharp.yaml").write_text(block.split("```")[0], encoding="utf-8")
    outcome = command("--config-dir", str(tmp_path), "+experiment=sharp", "--cfg", "job")
    assert outcome.status == 0, outcome.err
    cfg = OmegaConf.create(outcome.out)
    assert cfg.name == "sharp"
    assert cfg.phases.distill.objective.distillation.teacher.temperature == 0.1
    assert cfg.schedule == ["distill"]


@pytest.mark.parametrize("sweep", sorted(path.stem for path in (CONF / "sweep").glob("*.yaml")))
def test_every_cell_of_a_committed_sweep_composes(sweep: str) -> None:
    given = ["+experiment=colbert_zero_kd", f"+sweep={sweep}"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        whole = compose("config", overrides=given, return_hydra_config=True)
    assert whole.name == sweep  # the runs have a folder of their own
    assert str(whole.hydra.mode) == "RunMode.MULTIRUN"  # -m may be left out
    params = dict(whole.hydra.sweeper.params)
    assert len(params["seed"].split(",")) >= 2
    cells = [
        checked(composed(*given, *(f"{key}={value}" for key, value in zip(params, values, strict=True))))
        for values in product(*(params[key].split(",") for key in params))
    ]
    configs = [OmegaConf.to_container(cfg) for cfg in cells]
    assert all(configs.count(config) == 1 for config in configs)  # each factor changes something
    assert set(cells[0].schedule) <= set(cells[0].phases)
    assert cells[0].evaluation.headline.partition("/")[0] in DEV_NAMES


def test_a_size_is_one_value_and_leaves_data_of_ones_own_alone() -> None:
    quick, full = (
        composed("+experiment=colbert_zero_kd"),
        composed("+experiment=colbert_zero_kd", "size=full"),
    )
    assert quick.data.documents < full.data.documents == 3000
    assert quick.evaluation.documents < full.evaluation.documents == 3500
    assert (quick.phases.distill.batch_size, full.phases.distill.batch_size) == (2, 4)
    assert quick.evaluation.splits.test.queries < full.evaluation.splits.test.queries == 1000
    own = checked(
        composed("+experiment=colbert_zero_kd", "size=full", "data=beir", "data.path=DIR", "evaluation=none")
    )
    assert "documents" not in own.data
