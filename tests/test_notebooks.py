"""The committed notebooks: they run over a real sweep, and they are committed with their outputs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.command import command
from tests.conftest import ROOT
from tests.studies.made_up import made_study
from tests.toy import toy_overrides, write_toy

nbformat = pytest.importorskip("nbformat", reason="the extra 'notebook' is not installed")
nbclient = pytest.importorskip("nbclient", reason="the extra 'notebook' is not installed")
pytest.importorskip("ipykernel", reason="the extra 'notebook' is not installed")
pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
RATES, SEEDS = ("0.01", "0.0001"), ("1", "2")


@pytest.fixture(scope="module")
def sweep(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs folder of a sweep over two learning rates and two seeds, with name ``toy``."""
    outputs = tmp_path_factory.mktemp("outputs")
    toy = write_toy(tmp_path_factory.mktemp("toy"))
    common = [
        a for a in toy_overrides(tiny_bert, toy, outputs) if not a.startswith("phases.distill.optimizer")
    ]
    rates = f"phases.distill.optimizer.lr={','.join(RATES)}"
    outcome = command("-m", *common, rates, f"seed={','.join(SEEDS)}")
    assert outcome.status == 0, outcome.err
    return outputs


def copied(outputs: Path, folder: Path) -> Path:
    """The sweep in another folder, to be changed there."""
    shutil.copytree(outputs / "toy", folder / "toy", symlinks=True)
    return folder


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def shown(notebook: Any, kind: str) -> list[str]:
    """Everything of a MIME type that the cells display."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def changed_at(folder: Path) -> dict[Path, int]:
    """When each file was changed; run.log apart, to which this process's own lines may still go."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.log")
    return {path: path.stat().st_mtime_ns for path in files}


def test_a_sweep_in_one_process_leaves_a_folder_a_run(sweep: Path) -> None:
    there = [path.name for path in (sweep / "toy").iterdir()]
    runs = [name for name in there if re.fullmatch(r"[0-9a-f]{10}-s[12]", name)]
    assert len(runs) == len(RATES) * len(SEEDS)
    # Hydra keeps one file of the whole sweep beside them, and there is the table of its cells.
    assert set(there) - set(runs) == {"latest", "sweeps"}
    names = {f"lr={rate},seed={seed}" for rate in RATES for seed in SEEDS}
    assert {path.name for path in (sweep / "toy" / "sweeps").iterdir()} == {
        "multirun.yaml",
        "table.md",
        *names,
    }


def executed(name: str, ours: Mapping[str, str], folder: Path) -> Any:
    """A committed notebook, run anew with other parameters, in a process of its own."""
    notebook = read(ROOT / "notebooks" / name)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    lines = parameters.source.splitlines()
    keys = [line.partition(" = ")[0] for line in lines]
    assert set(ours) < set(keys)
    parameters.source = "\n".join(
        f"{key} = {ours[key]}" if key in ours else line for key, line in zip(keys, lines, strict=True)
    )
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


@pytest.fixture
def kernel_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is a process of its own, which is to find this checkout."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.usefixtures("kernel_path")
def test_the_ablation_table_runs_over_a_real_sweep(sweep: Path, tmp_path: Path) -> None:
    before = changed_at(sweep)
    ours = {"outputs": f"Path({str(sweep)!r})", "name": "'toy'", "reference": "{'lr': '0.0001'}"}
    notebook = executed("ablation_table.ipynb", ours, tmp_path)
    text = "\n".join(shown(notebook, "text/markdown"))
    (header,) = (line for line in text.splitlines() if "difference to the reference" in line)
    assert header.startswith("| lr | seeds | test: before | after | gain |")
    rows = [line for line in text.splitlines() if re.match(r"\| 0\.(01|0001) \| 2 \|.* none \|$", line)]
    assert len(rows) == 2
    assert re.search(r"\| [+-]0\.\d{4} \[[+-]0\.\d{4}, [+-]0\.\d{4}\] (higher|lower|unclear) \|", rows[0])
    assert "| reference |" in rows[1]
    assert re.search(r"lr=0\.01 against lr=0\.0001: (higher|lower|unclear), ", text)
    assert len(shown(notebook, "image/png")) == 2
    assert changed_at(sweep) == before


@pytest.mark.usefixtures("kernel_path")
def test_the_ablation_table_does_without_values_measured_while_training(sweep: Path, tmp_path: Path) -> None:
    outputs = copied(sweep, tmp_path / "outputs")
    for file in outputs.glob("toy/*-s?/distill/metrics.csv"):
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if "dev_small/" not in line]
        assert len(kept) < len(lines)
        file.write_text("".join(kept))
    ours = {"outputs": f"Path({str(outputs)!r})", "name": "'toy'"}
    notebook = executed("ablation_table.ipynb", ours, tmp_path)
    text = "\n".join(shown(notebook, "text/markdown"))
    assert "- no nDCG@10 was measured while training (phases.<name>.evaluate_every sets how often)" in text
    assert re.search(r"lr=0\.\d+ against lr=0\.\d+: (higher|lower|unclear), ", text)
    assert len(shown(notebook, "image/png")) == 1


@pytest.mark.usefixtures("kernel_path")
def test_quality_against_cost_runs_over_a_real_sweep(sweep: Path, tmp_path: Path) -> None:
    before = changed_at(sweep)
    ours = {"outputs": f"Path({str(sweep)!r})", "names": "['toy']", "cost": "'tokens'"}
    notebook = executed("quality_cost.ipynb", ours, tmp_path)
    text = "\n".join(shown(notebook, "text/markdown"))
    assert "| configuration | after phase | seeds | cost (tokens) | of the best's cost | nDCG@10 |" in text
    rows = [line for line in text.splitlines() if re.match(r"\| lr=0\.(01|0001) \| distill \| 2 \| \d", line)]
    assert len(rows) == 2
    assert sum("| the best | yes |" in row for row in rows) == 1
    assert re.search(r"lr=0\.0\d* after distill: \d+\.\d% of the best quality for \d+\.\d% of its cost", text)
    assert len(shown(notebook, "image/png")) == 1
    assert changed_at(sweep) == before


def wins_and_losses(outputs: Path, folder: Path) -> tuple[Any, str]:
    """The notebook over the two learning rates, and the text that it displays."""
    ours = {
        "outputs": f"Path({str(outputs)!r})",
        "names": "['toy']",
        "student": "{'lr': '0.01'}",
        "reference": "{'lr': '0.0001'}",
    }
    notebook = executed("wins_losses.ipynb", ours, folder)
    text = "\n".join(shown(notebook, "text/markdown"))
    assert "| **largest wins of A** |" in text
    return notebook, text


@pytest.mark.usefixtures("kernel_path")
def test_wins_and_losses_run_over_a_real_sweep(sweep: Path, tmp_path: Path) -> None:
    before = changed_at(sweep / "toy")
    notebook, text = wins_and_losses(sweep, tmp_path)
    assert re.search(r"A wins \d+ queries \(\d", text)
    assert "Texts and judgments of test are those that were measured." in text
    rows = [line for line in text.splitlines() if line.startswith("| **score** | ")]
    assert len(rows) == len(re.findall(r"(?m)^## The largest (?:win|loss) of A$", text)) > 0
    assert len(shown(notebook, "image/png")) == 1
    assert changed_at(sweep / "toy") == before


@pytest.mark.usefixtures("kernel_path")
def test_wins_and_losses_do_without_a_text_that_is_gone(sweep: Path, tmp_path: Path) -> None:
    outputs = copied(sweep, tmp_path / "outputs")
    for config in outputs.glob("toy/*-s?/config.yaml"):
        config.write_text(re.sub(r"(?m)^(\s+path:) /.*$", rf"\1 {tmp_path / 'gone'}", config.read_text()))
    _, text = wins_and_losses(outputs, tmp_path)
    assert "Without texts and judgments: " in text
    assert "Not shown: no tokens without the texts." in text


@pytest.mark.usefixtures("kernel_path")
def test_audits_run_over_a_real_run(sweep: Path, tmp_path: Path) -> None:
    before = changed_at(sweep / "toy")
    ours = {
        "outputs": f"Path({str(sweep)!r})",
        "name": "'toy'",
        "configuration": "{'lr': '0.01'}",
    }
    notebook = executed("audits.ipynb", ours, tmp_path)
    text = "\n".join(shown(notebook, "text/markdown"))
    assert re.search(r"(?m)^\| distill \| 0\.\d{3} \| \d+ \| \d+\.\d% \| \d+\.\d% \| \d+ \|", text)
    assert "Texts and judgments of test are those that were measured." in text
    assert re.search(r"(?m)^\| after distill \| \d+ \| \d", text)
    assert re.search(
        r"after distill: a relevant document scores higher than another one .* points against", text
    )
    assert len(shown(notebook, "image/png")) == 3
    assert changed_at(sweep / "toy") == before


@pytest.mark.usefixtures("kernel_path")
def test_a_study_is_read(tmp_path: Path) -> None:
    study = made_study(tmp_path / "001_x")
    ours = {"study": f"Path({str(study.folder)!r})"}
    notebook = executed("study.ipynb", ours | {"better, worse": "'two', 'one'"}, tmp_path)
    text = "\n".join(shown(notebook, "text/markdown"))
    assert text.startswith("**Does a second phase pay?**")
    assert "| 1. Two are better than one. |" in text
    counted = re.search(r"- (\d+) queries gain, (\d+) lose, (\d+) stay; the mean change is \+0\.0300\.", text)
    assert counted is not None
    assert sum(map(int, counted.groups())) == 200
    assert len(shown(notebook, "image/svg+xml")) == 3
    assert len(shown(notebook, "image/png")) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_reads_the_first_run_of_the_readme(path: Path) -> None:
    (parameters,) = (c for c in read(path).cells if "parameters" in c.metadata.get("tags", ()))
    named = re.findall(r"^names? = (.*?)(?:  #|$)", parameters.source, flags=re.MULTILINE)
    assert named in (['"colbert_zero_kd"'], ['["colbert_zero_kd"]']) or path.stem == "study"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_committed_notebook_has_its_outputs_and_no_machine_paths(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = [output.output_type for cell in code for output in cell.outputs]
    assert "error" not in kinds
    assert "stream" not in kinds
    assert shown(notebook, "text/markdown")
    assert shown(notebook, "image/png")
    said = "\n".join([*shown(notebook, "text/markdown"), *shown(notebook, "text/plain")])
    assert not re.search(r"(?<![\w.])/(tmp|home|work|root|Users|mnt|var)/", said)
    assert str(ROOT) not in path.read_text(encoding="utf-8")
