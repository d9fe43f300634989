"""What --help, --version and task=list say is what the configs and the tasks are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import colbert_lab
from colbert_lab.base.errors import InputError
from colbert_lab.settings import Settings
from colbert_lab.settings.roles import keys, readers
from colbert_lab.tasks.composing import CONF
from colbert_lab.tasks.listing import KINDS, described, listing, overview, task_help, what
from colbert_lab.tasks.registry import TASKS
from tests.command import command


def test_help_is_a_screen_that_names_every_task() -> None:
    outcome = command("--help")
    assert (outcome.status, outcome.out.rstrip("\n")) == (0, overview())
    lines = overview().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert all(f"  task={name}" in overview() for name in TASKS)
    assert command("-h").out == outcome.out
    assert command("--version").out == f"colbert_lab {colbert_lab.__version__}\n"


@pytest.mark.parametrize("task", TASKS)
def test_help_for_a_task_has_its_own_keys(task: str) -> None:
    text = command(f"task={task}", "--help").out
    assert text.rstrip("\n") == task_help(task)
    assert TASKS[task].example in text
    own = [key for key, users in readers(Settings).items() if task in users]
    for key in (key for key in keys(Settings) if key in own):
        assert f"  {key}=" in text or f"  {key}." in text, key
    for key, users in readers(Settings).items():
        assert task in users or f"  {key}=" not in text, key
    assert all(len(line) <= 80 or "  " not in line.strip() for line in text.splitlines()[4:])


def test_help_for_no_task_says_which_are_there() -> None:
    outcome = command("task=trian", "--help")
    assert outcome.status == 2
    assert outcome.err.startswith("error: task=trian: did you mean train? must be one of train, evaluate")


def test_every_config_of_a_kind_is_listed_with_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    outcome = command("task=list", "of=[losses,experiment]")
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert lines[0] == "loss: +loss@phases.PHASE.objective.NAME=NAME"
    second = lines.index("experiment: +experiment=NAME")
    for kind, part in (("loss", lines[:second]), ("experiment", lines[second:])):
        for file in (CONF / kind).rglob("*.yaml"):
            name = str(file.relative_to(CONF / kind).with_suffix(""))
            (line,) = [line for line in part if line.split()[:1] == [name]]
            assert line.split(maxsplit=1)[1][:30] == what(file)[:30]
    assert (
        "  margin_mse         Mean squared difference of the student's and the teacher's margins"
        in outcome.out
    )


def test_all_kinds_have_a_line_for_each_thing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = list(listing(None, [CONF], 100))
    assert max(map(len, lines)) <= 100
    lines = [line for line in lines if line]
    there = {line.partition(":")[0] for line in lines if not line.startswith(" ")}
    assert there == set(KINDS) - {"search_mode", "measure", "callback"}
    assert all(len(line.split()) > 1 for line in lines), [line for line in lines if len(line.split()) < 2]
    assert any(line.split()[0] == "001_schedules" for line in lines)
    assert any(len(line) > 200 for line in listing(None, [CONF], None))  # read by a program
    with pytest.raises(
        InputError, match=r"^of=experimnt: did you mean experiment.* must be one of experiment"
    ):
        list(listing(["experimnt"], [CONF], 100))
    assert "  (none)" in list(listing(["measure"], [CONF], 100))


def test_configs_of_ones_own_are_listed(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text(
        "_target_: colbert_lab.training.objectives.margins.MarginMSE\nweight: 1\n"
    )
    outcome = command("--config-dir", str(tmp_path), "task=list", "of=loss")
    (line,) = [line for line in outcome.out.splitlines() if line.split()[:1] == ["mine"]]
    assert len(line.split()) > 3
    assert "distillation" in outcome.out


def test_keys_of_a_file_have_their_comments(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "# top\ndefaults:\n  - a: b\n\na: 1   # one # two\nb:  # none\n  c: [x]\n  d:\n    e: y # z\nf: ''\n"
    )
    assert described(file) == {
        "a": ("1", "one # two"), "b": ("", "none"), "b.c": ("[x]", ""), "b.d": ("", ""), "b.d.e": ("y", "z"),
        "f": ("''", ""),
    }  # fmt: skip


def test_what_a_task_lacks_is_said_before_torch_is_imported(tmp_path: Path) -> None:
    lacking = {
        "train": "schedule: nothing to train",
        "plan": "schedule: nothing to train",
        "certify": "schedule: nothing to train",
        "compare": "runs: nothing to compare",
        "runs": "output_dir: no such folder",
        "report": "runs: no finished run in o",
        "rankings": "runs: no value",
        "score": "score.teacher: name what scores",
        "mine data=beir": "no value for data.path",
        "audit data=beir": "no value for data.path",
        "convert": "from: no value",
        "push": "from: no value",
        "explain": "query: no text",
        "evaluate student.checkpoint=/nowhere": "student.checkpoint=/nowhere: no such folder",
    }
    code = (
        "import contextlib, io, sys; from colbert_lab.__main__ import main\n"
        "for given in sys.argv[1:]:\n"
        "    sys.argv[1:] = ['task=' + given.split()[0], *given.split()[1:], 'output_dir=o', 'cache_dir=c']\n"
        "    with contextlib.suppress(SystemExit): main()\n"
        "    print(given, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *lacking], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.splitlines() == [f"{given} False" for given in lacking], done.stderr
    for line, said in zip(done.stderr.splitlines(), lacking.values(), strict=True):
        assert line.startswith(f"error: {said}"), line
    assert not list(tmp_path.iterdir())


def test_words_that_the_parser_does_not_take_are_told_in_ours() -> None:
    said = {
        "train": "train: a setting is given as key=value; type task=train",
        "trian": "trian: a setting is given as key=value; did you mean task=train?",
        "runs=DIR": "runs: has no effect on task=train, done where none is given; it is for task=compare, report, "
        "rankings",
        "lr=abc": "lr: no such key; did you mean phases.PHASE.optimizer.lr, with +experiment=NAME?",
        "xyzzy=1": "xyzzy: no such key; add --cfg job to see all",
    }
    for given, line in said.items():
        outcome = command(given)
        assert (outcome.status, outcome.err) == (2, f"error: {line}\n")


def test_bash_completes_the_installed_program(tmp_path: Path) -> None:
    program = tmp_path / "colbert-lab"
    program.write_text(f"#!{sys.executable}\nfrom colbert_lab.__main__ import main\nmain()\n")
    program.chmod(0o755)
    (tmp_path / "try.bash").write_text(
        'eval "$(colbert-lab -sc install=bash)"\n'
        'COMP_LINE="colbert-lab +experiment=colbert_zero_k"; COMP_POINT=${#COMP_LINE}; COMP_CWORD=1\n'
        'hydra_bash_completion; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "try.bash"], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.stdout == "+experiment=colbert_zero_kd\n", done.stderr
