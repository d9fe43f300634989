"""``task=compare`` on the command line."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from colbert_lab.records.identity import config_hash
from colbert_lab.settings import checked
from colbert_lab.tasks.composing import CONF
from tests.command import command
from tests.conftest import ROOT
from tests.records.run_folders import write_run


@pytest.fixture
def runs(tmp_path: Path) -> str:
    """Two runs that differ, as the command line names them."""
    a = write_run(tmp_path, "aa", 1, {"n": "1"}, {"distill": {"test": 0.1, "dev": 0.1}})
    b = write_run(tmp_path, "bb", 1, {"n": "2"}, {"distill": {"test": 0.2, "dev": 0.2}})
    return f"runs=[{a},{b}]"


def test_the_table_is_printed_and_saved(runs: str, tmp_path: Path) -> None:
    outcome = command("task=compare", runs, f"output_dir={tmp_path}", "name=mine")
    assert outcome.status == 0, outcome.err
    assert "nDCG@10: compared with n=1" in outcome.out
    assert "+0.1000 higher" in outcome.out
    saved = {path.suffix: path for path in (tmp_path / "compare").iterdir()}
    assert {path.name for path in saved.values()} == {"mine.md", "mine.tex", "mine.csv"}
    assert "| n=2 | 0.5500 [" in saved[".md"].read_text()
    assert r"\toprule" in saved[".tex"].read_text()
    with saved[".csv"].open() as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"n=1", "n=2"}
    assert f"saved: {tmp_path}/compare/mine.md, .tex and .csv" in outcome.err


def test_the_output_has_a_name_of_its_own_and_settings_are_used(runs: str, tmp_path: Path) -> None:
    other = tmp_path / "study" / "bb00000000-s1"
    outcome = command(
        "task=compare",
        runs,
        f"compare.baseline={other}",
        "compare.splits=[dev]",
        "compare.systems=[before]",
        f"compare.output={tmp_path}/tables/v1.2.tex",
    )
    assert outcome.status == 0, outcome.err
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "v1.2.csv",
        "v1.2.md",
        "v1.2.tex",
    ]
    text = (tmp_path / "tables" / "v1.2.md").read_text()
    assert "compared with n=2" in text
    assert "n=1, before" in text
    assert "made, test" not in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["runs=[]"], "error: runs: nothing to compare"),
        (["runs=[nowhere/at/all]"], "error: runs: nowhere/at/all is no run"),
        (
            ["compare.measures=[ndgc@10]"],
            "error: compare.measures: no run measured ndgc@10; there are ndcg@10",
        ),
        (
            ["compare.published=[beir]"],
            "error: compare.published: no table beir; there are colbert_az_held_out",
        ),
        (["compare.published=[colbert_zero_beir]"], "error: compare.published: nothing of colbert_zero_beir"),
        (["compare.sistems=[bm25]"], "sistems"),
        (["compare.output=/dev/null/x"], "error: compare.output: cannot write to /dev/null"),
    ],
)
def test_bad_input_is_one_line(runs: str, tmp_path: Path, arguments: list[str], part: str) -> None:
    outcome = command("task=compare", runs, f"output_dir={tmp_path / 'out'}", *arguments)
    assert outcome.status == 2, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert part in line
    assert not (tmp_path / "out" / "compare").exists() or not list((tmp_path / "out" / "compare").iterdir())


def test_nothing_in_common_is_one_line(runs: str, tmp_path: Path) -> None:
    other = write_run(tmp_path, "cc", 1, {"n": "3"}, {"distill": {"heldout": 0.2}})
    outcome = command("task=compare", f"runs=[{tmp_path}/study/aa00000000-s1,{other}]")
    assert outcome.status == 2
    assert "error: runs: no split and measure in common" in outcome.err


def test_other_text_is_one_line_and_shown_on_request(runs: str, tmp_path: Path) -> None:
    other = write_run(tmp_path, "cc", 1, {"n": "3"}, {"distill": {"test": 0.2}}, fingerprint="newer")
    given = [
        "task=compare",
        f"runs=[{tmp_path}/study/aa00000000-s1,{other}]",
        f"output_dir={tmp_path / 'out'}",
    ]
    outcome = command(*given)
    assert outcome.status == 2
    assert outcome.err.startswith(
        "error: runs: test: other text of n=3 and n=1: documents, queries or judgments"
    )
    assert not (tmp_path / "out").exists()
    allowed = command(*given, "compare.allow_different=true")
    assert allowed.status == 0, allowed.err
    assert "not compared: other text than the reference" in allowed.out


def test_runs_without_the_task_have_no_effect_and_say_so(runs: str, tmp_path: Path) -> None:
    outcome = command("+experiment=colbert_zero_kd", runs)
    assert outcome.status == 2
    assert "error: runs: has no effect on task=train" in outcome.err
    for override, key in (
        ("audit.rows=5", "audit.rows"),
        ("teacher@score.teacher=bm25", "score.teacher"),
        ("mine.negatives=3", "mine.negatives"),
        ("compare.output=x", "compare.output"),
        ("ledger.limit=1", "ledger.limit"),
    ):
        outcome = command("task=train", override, "tracking=off", f"output_dir={tmp_path}")
        assert outcome.status == 2, outcome.err
        assert f"error: {key}: has no effect on task=train" in outcome.err


@pytest.mark.slow
def test_no_torch_is_imported(runs: str, tmp_path: Path) -> None:
    code = (
        "import sys; from colbert_lab.__main__ import main; main(); "
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    arguments = ["task=compare", runs, f"output_dir={tmp_path}"]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False False"
    assert time.perf_counter() - start < 20  # about 2 s on an idle machine; torch and Lightning alone take 5


def test_its_settings_change_no_config_hash() -> None:
    """Runs that were made before there was ``task=compare`` are found by the same commands."""

    def composed(*overrides: str) -> dict[str, object]:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = checked(compose("config", overrides=["+experiment=colbert_zero_kd", *overrides]))
        return OmegaConf.to_container(cfg)  # type: ignore[return-value]

    plain = composed()
    before = {
        key: value for key, value in plain.items() if key not in ("runs", "out", "compare", "audit", "ledger")
    }
    assert len(before) == len(plain) - 5
    assert config_hash(plain) == config_hash(before)
    assert config_hash(
        composed("runs=[a]", "out=a", "compare.systems=[bm25]", "audit.near=1", "ledger.limit=1")
    ) == config_hash(before)
