"""Things of a user's own, one class and one YAML file each, from a folder outside the package."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from textwrap import indent

import pytest
import torch
from safetensors.torch import load_file

from colbert_lab.model.formats.known import load_checkpoint
from colbert_lab.records.rankings import ranking_path, read_ranking
from colbert_lab.records.records import Record, read_records
from colbert_lab.teachers.revision import identified
from colbert_lab.text.contents import code_id, model_id
from tests.command import Outcome, command, the_run
from tests.conftest import ROOT
from tests.toy import toy_overrides, write_toy

EXAMPLES = ROOT / "examples" / "own"
"""What people copy; here it is used as it stands."""
REFERENCE = (
    (ROOT / "docs" / "tutorials" / "your-loss.md").read_text("utf-8").split("```python\n")[2].split("```")[0]
)
CODE = {
    "unfinished": "raise RuntimeError('not yet')\n",
    "plain_margin": f'''
"""The same with the reference of the tutorial."""
from __future__ import annotations

from dataclasses import dataclass

import torch

from my_margin import Margin


@dataclass(frozen=True)
class PlainMargin(Margin):
{indent(REFERENCE, "    ")}
''',
    "neighbours": '''
"""A head that reads more than one token, which padding changes; and some that cannot be."""
from dataclasses import dataclass

from torch import nn

from colbert_lab.model.projection import Projection


class Centred(nn.Linear):
    def forward(self, hidden):
        return super().forward(hidden - hidden.mean(dim=-2, keepdim=True))


@dataclass(frozen=True, kw_only=True)
class Neighbours(Projection):
    def layers(self, inputs, dim):
        return Centred(inputs, dim)


@dataclass(frozen=True, kw_only=True)
class Narrow(Projection):
    def layers(self, inputs, dim):
        return nn.Linear(inputs, dim + 1)


@dataclass(frozen=True, kw_only=True)
class Broken(Projection):
    def layers(self, inputs, dim):
        return nn.Linear(inputs, "dim")
''',
    "wrong_mode": '''
"""Search modes that find what cannot be, or whose settings are no plain values."""
from dataclasses import dataclass, field

import torch

from colbert_lab.search.mode import SearchMode


@dataclass(frozen=True, kw_only=True)
class Wrong(SearchMode):
    rows: list

    def index(self, corpus):
        return Constant(self.rows)


@dataclass(frozen=True, kw_only=True)
class Weighted(Wrong):
    weights: dict = field(default_factory=lambda: {0: 1.0})


@dataclass
class Constant:
    rows: list
    nbytes: int = 0

    def search(self, queries, k):
        rows = torch.tensor(self.rows)
        return [-torch.arange(len(rows)).float()] * len(queries), [rows] * len(queries)
''',
    "broken": '''
"""Callbacks that cannot be, or cannot go on."""
from dataclasses import dataclass

from pytorch_lightning.callbacks import Callback


class Broken(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        return outputs["nothing"]


class Keeping(Callback):
    def state_dict(self):
        return {"self": {1, self}}


@dataclass(frozen=True)
class Frozen(Callback):
    x: int = 1
''',
    "constant": '''
"""Measures that give what is no value, or whose settings are no plain values."""
from dataclasses import dataclass, field
from typing import Any

from colbert_lab.evaluation.measure import Measure


@dataclass(frozen=True, kw_only=True)
class Constant(Measure):
    is_: Any = 2

    def value(self, documents, grades, k):
        return self.is_


@dataclass(frozen=True, kw_only=True)
class Gains(Constant):
    gains: dict = field(default_factory=lambda: {0: 0.0, 1: 1.0})


@dataclass(frozen=True, kw_only=True)
class Kinds(Constant):
    kinds: Any = frozenset()


class Handmade(Measure):
    def __init__(self, is_):
        object.__setattr__(self, "is_", is_)

    def value(self, documents, grades, k):
        return self.is_


def called(is_):
    raise SystemExit("was called")
''',
}
YAML = {
    "loss/plain_margin.yaml": "_target_: my_plain_margin.PlainMargin\nweight: 1.0\nscale: 1.0\n",
    "head/neighbours.yaml": "# @package student.head\n_target_: my_neighbours.Neighbours\n",
    "callback/broken.yaml": "_target_: my_broken.Broken\n",
    "measure/constant.yaml": "_target_: my_constant.Constant\nis_: 2\n",
    "search_mode/wrong.yaml": "_target_: my_wrong_mode.Wrong\nrows: [0, 1]\n",
}
OWN_LOSS = ("+loss@phases.distill.objective.margin=margin", "phases.distill.objective.distillation.weight=0")
OWN_MODE = ("+search_mode@evaluation.own_modes.centroid=centroid", "evaluation.mode=[exact,centroid]")
OWN_MEASURE = (
    "+measure@evaluation.own_measures.rbp=rbp",
    "evaluation.measures=[ndcg@10,rbp@5,precision@1,rbp@100]",
)
OWN_CALLBACK = ("+callback@trainer.callbacks.lookahead=lookahead", "trainer.callbacks.lookahead.every=1")


@dataclass(frozen=True)
class Place:
    """A user's folder, and a toy to train on.

    Attributes:
        conf: the user's YAML files.
        texts: a file of texts.
        arguments: of a run of two steps.
        outputs: where runs go.
    """

    conf: Path
    texts: Path
    arguments: list[str]
    outputs: Path

    def run(self, *more: str) -> str:
        """Output of a command that succeeds."""
        outcome = command("--config-dir", str(self.conf), *self.arguments, *more)
        assert outcome.status == 0, outcome.err
        return outcome.out + outcome.err


def forget() -> None:
    """As a new process, which has imported none of the user's modules."""
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]
    code_id.cache_clear()


@pytest.fixture
def place(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code in CODE.items():
        (tmp_path / f"my_{name}.py").write_text(code)
    for name, values in YAML.items():
        (tmp_path / "conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / name).write_text(values)
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    toy = write_toy(tmp_path / "toy")
    texts = [json.loads(line)["text"] for line in (toy / "corpus.jsonl").read_text().splitlines()]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    arguments = toy_overrides(tiny_bert, toy, tmp_path / "outputs")
    steps = ["phases.distill.steps=2", "phases.distill.evaluate_every=null"]
    return Place(tmp_path / "conf", tmp_path / "texts.txt", [*arguments, *steps], tmp_path / "outputs")


def errors(outcome: Outcome) -> list[str]:
    """The errors of a command that refuses what it was given."""
    assert outcome.status == 2, outcome.err
    return [line for line in outcome.err.splitlines() if line.startswith("error: ")]


def curves(run: Path) -> set[str]:
    lines = (run / "distill" / "metrics.csv").read_text().splitlines()
    return {name for line in lines for name in line.split(",") if name.startswith("train/")}


def test_a_loss(place: Place) -> None:
    place.run(*OWN_LOSS)
    run = the_run(place.outputs, "toy")
    assert {"train/loss", "train/margin", "train/list_mrr"} <= curves(run)
    assert "train/distillation" not in curves(run)
    assert json.loads((run / "status.json").read_text())["run"]["config_dirs"] == [str(place.conf)]
    factors = read_records(run / "results.jsonl")[-1].factors
    assert factors["loss@phases.distill.objective.margin"] == "margin"

    key = "phases.distill.objective.margin.scale"
    said = place.run("-m", *OWN_LOSS, f"{key}=0.5,2")
    assert "2 of 2 cells finished" in said
    place.run("-m", "task=compare", f"runs=[{place.outputs / 'toy'}]", "seed=42")

    out = place.outputs / "plan.json"
    place.run("task=plan", *OWN_LOSS, "plan.steps=2", "plan.encode=2", f"{key}=3", f"out={out}")
    (phase,) = json.loads(out.read_text())["phases"]
    assert (phase["steps"], phase["measured_steps"]) == (2, 2)


def test_what_is_said_while_the_config_is_checked_is_in_the_log_of_the_run(
    place: Place, tmp_path: Path
) -> None:
    code = tmp_path / "my_margin.py"
    code.write_text(code.read_text() + "\nimport warnings\nwarnings.warn('told on import')\n")
    with warnings.catch_warnings():  # at whose end nobody tells logging
        command("task=list")
    place.run(*OWN_LOSS)
    assert "told on import" in (the_run(place.outputs, "toy") / "run.log").read_text()


def test_other_code_is_another_run(place: Place, tmp_path: Path) -> None:
    own = [*OWN_LOSS, "evaluation.baselines=null"]
    place.run(*own)
    first = the_run(place.outputs, "toy")
    assert "finished" in place.run(*own)
    assert the_run(place.outputs, "toy") == first
    code = tmp_path / "my_margin.py"
    code.write_text(code.read_text().replace("apart.square()", "apart.abs()"))
    forget()
    said = place.run(*own)
    assert the_run(place.outputs, "toy") != first
    assert "phases.distill.objective.margin._target_" in said  # whose content changed
    before, after = (
        json.loads((run / "distill" / "identity.json").read_text())
        for run in (first, the_run(place.outputs, "toy"))
    )
    assert before != after


def test_other_code_of_a_teacher_gives_other_lists(place: Place, tmp_path: Path) -> None:
    overlap = resolve_name("my_overlap.Overlap")()
    before = identified(overlap)
    code_id.cache_clear()
    (tmp_path / "my_overlap.py").write_text((EXAMPLES / "my_overlap.py").read_text().replace("&", "|"))
    assert identified(overlap) != before
    code_id.cache_clear()


@pytest.mark.parametrize(("loss", "noted"), [("margin", True), ("plain_margin", False)])
def test_a_loss_is_certified(place: Place, tmp_path: Path, loss: str, noted: bool) -> None:
    out = tmp_path / "certificate.json"
    place.run(
        "task=certify", f"+loss@phases.distill.objective.{loss}={loss}", f"out={out}", "certify.micro_batches=1",
        "certify.checks=[chunking]", f"phases.distill.objective.{loss}.scale=0.1",
    )  # fmt: skip
    found = json.loads(out.read_text())
    assert found["passed"]
    assert any(f"the term {loss} brings no reference" in note for note in found["notes"]) is noted


def test_a_loss_with_a_wrong_reference_is_not_certified(place: Place, tmp_path: Path) -> None:
    code = CODE["plain_margin"].replace("square().mean()", "square().sum()")
    (tmp_path / "my_wrong_margin.py").write_text(code)
    outcome = command(
        "--config-dir", str(place.conf), *place.arguments, "task=certify",
        "+loss@phases.distill.objective.plain_margin=plain_margin", "certify.checks=[chunking]",
        "phases.distill.objective.plain_margin._target_=my_wrong_margin.PlainMargin", "certify.micro_batches=1",
    )  # fmt: skip
    assert outcome.status == 1
    assert "phases.distill: chunking: loss differs" in outcome.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["phases.distill.objective.margin.scale=-1"], "phases.distill.objective.margin.scale=-1: must be above 0"),
        (["+phases.distill.objective.margin.skale=1"], "phases.distill.objective.margin.skale"),
        (["phases.distill.objective.margin._target_=my_overlap.Overlap", "~phases.distill.objective.margin.scale",
          "~phases.distill.objective.margin.weight"], "is no loss term"),
        (["phases.distill.objective.margin.weight=0"], "every weight is 0"),
        (["phases.distill.n_way=1"], "phases.distill.n_way=1"),
        (["+loss@phases.distill.objective.lr=margin"], "phases.distill.objective.lr: this name is taken"),
        (["+loss@phases.distill.objective.keys=margin"], "phases.distill.objective.keys: this name is taken"),
    ],
)  # fmt: skip
def test_a_loss_that_cannot_be_is_one_line(place: Place, given: list[str], said: str) -> None:
    outcome = command("--config-dir", str(place.conf), *place.arguments, *OWN_LOSS, *given)
    assert outcome.status == 2
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert said in line


def test_a_teacher(place: Place) -> None:
    place.run("+teacher@evaluation.baselines.overlap=overlap", "evaluation.baselines.overlap.power=2")
    records = read_records(the_run(place.outputs, "toy") / "results.jsonl")
    assert ("overlap", "overlap") in {(record.system, record.system_name) for record in records}
    assert "evaluation.baselines.overlap.power" in records[-1].factors


def test_a_data_source(place: Place) -> None:
    given = [each for each in place.arguments if not each.startswith(("data", "phases.distill.objective"))]
    own = ["data=beginnings", f"data.path={place.texts}", "phases.distill.n_way=1"]
    own += ["phases.distill.objective.distillation.weight=0", "phases.distill.objective.contrastive.weight=1"]
    outcome = command("--config-dir", str(place.conf), "-m", *given, *own, "data.words=2,4")
    assert outcome.status == 0, outcome.err
    assert "2 of 2 cells finished" in outcome.out + outcome.err
    runs = [
        json.loads(line)
        for line in (the_run(place.outputs, "toy") / "results.jsonl").read_text().splitlines()
    ]
    assert runs[-1]["factors"]["data"] == "beginnings"
    assert runs[-1]["factors"]["data.words"] in ("2", "4")


def test_a_head(place: Place) -> None:
    place.run("head=bottleneck")
    run = the_run(place.outputs, "toy")
    assert read_records(run / "results.jsonl")[-1].factors["head"] == "bottleneck"
    told = json.loads((run / "distill" / "student" / "colbert_lab.json").read_text())
    assert told["format"] == 3
    assert told["head"]["_target_"] == "my_bottleneck.Bottleneck"
    assert told["head"]["settings"] == {"width": 8}
    student = load_checkpoint(str(run / "distill" / "student"))
    assert (student.model.head.state_dict()["layers.gate"] != 0).all()  # as it began

    assert "2 of 2 cells finished" in place.run("-m", "head=linear,bottleneck")
    assert "2 of 2 cells finished" in place.run("-m", "head=bottleneck", "student.head.width=4,8")

    out = place.outputs / "plan.json"
    place.run(
        "task=plan", "head=bottleneck", "student.head.width=16", "plan.steps=2", "plan.encode=2", f"out={out}"
    )
    (phase,) = json.loads(out.read_text())["phases"]
    assert (phase["steps"], phase["measured_steps"]) == (2, 2)


def test_other_code_of_a_head_is_another_run(place: Place, tmp_path: Path) -> None:
    own = ["head=bottleneck", "evaluation.baselines=null"]
    place.run(*own)
    first = the_run(place.outputs, "toy")
    code = tmp_path / "my_bottleneck.py"
    code.write_text(code.read_text().replace(".tanh()", ".relu()"))
    forget()
    said = place.run(*own)
    second = the_run(place.outputs, "toy")
    assert second != first
    assert "student.head._target_" in said  # whose content changed
    before, after = (
        json.loads((run / "distill" / "identity.json").read_text())["hash"] for run in (first, second)
    )
    assert before != after
    untrained, other = (
        {r.student_hash for r in read_records(run / "results.jsonl") if r.phase == "before"}
        for run in (first, second)
    )
    assert untrained.isdisjoint(other)  # the same weights in another function


def test_other_code_of_a_head_on_a_checkpoint_is_another_phase(place: Place, tmp_path: Path) -> None:
    place.run("student.output=single", "student.dim=null", "name=dense", "evaluation.baselines=null")
    dense = the_run(place.outputs, "dense") / "distill" / "student"
    rest = [each for each in place.arguments if not each.startswith("student.")]
    own = ["head=bottleneck", "student.output=multi", "student.dim=16", "evaluation.baselines=null"]

    def distilled() -> str:
        forget()
        given = ["--config-dir", str(place.conf), *rest, f"student.checkpoint={dense}", *own]
        outcome = command(*given)
        assert outcome.status == 0, outcome.err
        return outcome.out + outcome.err

    distilled()
    first = the_run(place.outputs, "toy")
    code = tmp_path / "my_bottleneck.py"
    code.write_text(code.read_text().replace(".tanh()", ".relu()"))
    assert "distill: reused from" not in distilled()
    second = the_run(place.outputs, "toy")
    before, after = (
        json.loads((run / "distill" / "identity.json").read_text())["hash"] for run in (first, second)
    )
    assert before != after


def test_a_saved_head_is_found_again(place: Place, tmp_path: Path) -> None:
    place.run("head=bottleneck", "student.head.width=4")
    run = the_run(place.outputs, "toy")
    student = run / "distill" / "student"
    before = model_id(str(student))
    without = ("student.", "phases", "schedule", "name", "data")
    rest = [each for each in place.arguments if not each.startswith(without)]
    told = {r.measure: r.value for r in read_records(run / "results.jsonl") if r.phase == "distill"}

    def evaluated(*more: str) -> Outcome:
        forget()
        own = ["task=evaluate", "name=again", f"student.checkpoint={student}"]
        return command("--config-dir", str(place.conf), *rest, *own, *more)

    for trusted in (["head=bottleneck", "student.head.width=4"], ["student.trust_remote_code=true"]):
        outcome = evaluated(*trusted)
        assert outcome.status == 0, outcome.err
        records = read_records(the_run(place.outputs, "again") / "results.jsonl")
        assert {r.measure: r.value for r in records if r.system == "student"} == told

    (line,) = errors(evaluated())
    assert "its head is of the class my_bottleneck.Bottleneck, which is not imported here" in line
    assert "head=NAME" in line
    assert "my_bottleneck" not in sys.modules  # nothing was imported to find that out
    (line,) = errors(evaluated("head=neighbours"))
    assert "my_bottleneck.Bottleneck, which is not imported here" in line
    (line,) = errors(evaluated("head=bottleneck"))
    assert "student.head.width=8: the head of student.checkpoint has 4; set it to that" in line
    (tmp_path / "my_bottleneck.py").rename(tmp_path / "elsewhere.txt")
    (line,) = errors(evaluated("student.trust_remote_code=true"))
    assert "my_bottleneck.Bottleneck, which cannot be imported (No module named 'my_bottleneck')" in line
    assert model_id(str(student)) != before  # its code is a part of a student


def test_other_tasks_read_a_saved_head(place: Place, tmp_path: Path) -> None:
    place.run("head=bottleneck")
    student = the_run(place.outputs, "toy") / "distill" / "student"
    options = ("tracking=off", f"output_dir={place.outputs}", f"cache_dir={place.outputs / 'cache'}")

    def done(*given: str) -> Outcome:
        forget()
        return command("--config-dir", str(place.conf), *options, *given)

    texts = ["query=red sky", "document=blue sky", f"student.checkpoint={student}", "trainer.accelerator=cpu"]
    explained = done("task=explain", *texts, "head=bottleneck", f"out={tmp_path / 'page.html'}")
    assert explained.status == 0, explained.err
    assert (tmp_path / "page.html").is_file()

    auditing = ["task=audit", "data=beir", f"data.path={tmp_path / 'toy'}", f"student.checkpoint={student}"]
    auditing.append("audit.splits=data")
    (line,) = errors(done(*auditing))
    assert "choose that head in the config (head=NAME)" in line
    (line,) = errors(done(*auditing, "head=bottleneck", "student.head.width=4"))
    assert "student.head.width=4: the head of student.checkpoint has 8; set it to that" in line
    (line,) = errors(done(*auditing, "head=bottleneck", "student.document_length=20"))
    assert "student.document_length=20 has no effect with student.checkpoint" in line
    audited = done(*auditing, "head=bottleneck", f"out={tmp_path / 'audit'}")
    assert audited.status == 0, audited.err

    scored = ["task=score", "data=beir", f"data.path={tmp_path / 'toy'}", "teacher@score.teacher=colbert"]
    scored += [f"score.teacher.checkpoint={student}", f"out={tmp_path / 'lists'}", "trainer.accelerator=cpu"]
    (line,) = errors(done(*scored))
    assert "import its module first in Python, or trust the folder with trust_remote_code=true" in line
    assert "head=NAME" not in line  # it would be the head of the student that is trained
    taught = done(*scored, "score.teacher.trust_remote_code=true")
    assert taught.status == 0, taught.err

    converting = ["task=convert", f"from={student}", f"out={tmp_path / 'copy'}"]
    (line,) = errors(done(*converting, "to=colbert_lab"))
    assert f"from={student}: its head is of the class my_bottleneck.Bottleneck, which is not imported" in line
    (line,) = errors(done(*converting, "to=pylate", "head=bottleneck"))
    assert "to=pylate: this student's head is of the class my_bottleneck.Bottleneck" in line
    copied = done(*converting, "to=colbert_lab", "head=bottleneck")
    assert copied.status == 0, copied.err
    assert (
        "the head is of the class my_bottleneck.Bottleneck: who loads the folder needs its module"
        in copied.err
    )
    here, there = (
        json.loads((folder / "colbert_lab.json").read_text()) for folder in (student, tmp_path / "copy")
    )
    assert here == there


def test_a_head_is_certified(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "certificate.json"
    own = ["task=certify", f"out={out}", "certify.micro_batches=1"]
    place.run(*own, "head=bottleneck")
    found = json.loads(out.read_text())
    assert found["passed"]
    assert any("The head my_bottleneck.Bottleneck brings no reference" in note for note in found["notes"])
    own += ["head=neighbours", "certify.checks=[chunking]"]
    outcome = command("--config-dir", str(place.conf), *place.arguments, *own)
    assert outcome.status == 1
    assert "chunking: embeddings differ" in outcome.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["head=bottleneck", "student.head.width=0"], "student.head.width=0: must be at least 1"),
        (["head=bottleneck", "+student.head.widht=1"], "student.head.widht=1: my_bottleneck.Bottleneck has no such"),
        (["+student.head._target_=my_bottleneck.Bottleneck"], "my_bottleneck.Bottleneck has no such argument"),
        (["head=neighbours", "student.head._target_=my_overlap.Overlap"],
         "student.head._target_=my_overlap.Overlap: is no head"),
        (["head=neighbours", "student.head._target_=my_none.Gone"],
         "student.head._target_=my_none.Gone: cannot be imported"),
        (["head=neighbours", "student.head._target_=my_neighbours.Narrow"],
         "my_neighbours.Narrow: maps (1, 2, 32) to (1, 2, 17)"),
        (["head=neighbours", "student.head._target_=my_neighbours.Broken"],
         "my_neighbours.Broken: gives no layers"),
        (["head=bottleneck", "student.dim=null"], "student.dim=null: leaves the student without a head"),
        (["head=bottleneck", "student.bias=true"], "student.bias=true: has no effect"),
    ],
)  # fmt: skip
def test_a_head_that_cannot_be_is_one_line(place: Place, given: list[str], said: str) -> None:
    (line,) = errors(command("--config-dir", str(place.conf), *place.arguments, *given))
    assert said in line


def by_mode(run: Path) -> dict[str, list[Record]]:
    """The student's records after training, by search."""
    found: dict[str, list[Record]] = {}
    for record in read_records(run / "results.jsonl"):
        if (record.system, record.phase) == ("student", "distill"):
            found.setdefault(record.variant, []).append(record)
    return found


def test_a_search_mode(place: Place) -> None:
    key = "evaluation.own_modes.centroid.keep"
    every = ["evaluation.storage=[float32,int8]", "evaluation.pool_factor=[1,2]"]
    place.run(*OWN_MODE, f"{key}=60", *every)
    run = the_run(place.outputs, "toy")
    records = by_mode(run)
    own = {"centroid", "centroid.int8", "centroid.pool2", "centroid.int8.pool2"}
    assert set(records) == own | {name.replace("centroid", "exact") for name in own}
    protocols = json.loads((run / "protocols.json").read_text())
    for name in own:
        mine, exact = records[name], records[name.replace("centroid", "exact")]
        # All of the 60 documents are reranked, so this is exact search.
        assert [(r.measure, r.value) for r in mine] == [(r.measure, r.value) for r in exact]
        assert mine[0].protocol_hash != exact[0].protocol_hash
        assert "own_mode" not in protocols[exact[0].protocol_hash]
        told = protocols[mine[0].protocol_hash]["own_mode"]
        assert (told["_target_"], told["keep"]) == ("my_centroid.Centroid", 60)
        assert exact[0].index_bytes is not None
        assert mine[0].index_bytes == exact[0].index_bytes + 60 * 16 * 4
    found, _ = read_ranking(ranking_path(run, "student", "distill", "test", "centroid"))
    wanted, _ = read_ranking(ranking_path(run, "student", "distill", "test", "exact"))
    assert found.document_ids == wanted.document_ids
    assert records["centroid"][0].factors["search_mode@evaluation.own_modes.centroid"] == "centroid"

    said = place.run("-m", *OWN_MODE, f"{key}=2,20")
    assert "2 of 2 cells finished" in said
    place.run("-m", "task=compare", f"runs=[{place.outputs / 'toy'}]", "seed=42")
    assert "2 of 2 cells finished" in place.run("-m", OWN_MODE[0], "evaluation.mode=exact,centroid")

    out = place.outputs / "plan.json"
    place.run("task=plan", *OWN_MODE, f"{key}=3", "plan.steps=2", "plan.encode=2", f"out={out}")
    planned = {name for each in json.loads(out.read_text())["evaluations"] for name in each["seconds"]}
    assert {"test/exact", "test/centroid"} <= planned


def test_other_code_of_a_search_mode_is_another_protocol(place: Place, tmp_path: Path) -> None:
    own = [*OWN_MODE, "evaluation.baselines=null"]
    place.run(*own)
    first = the_run(place.outputs, "toy")
    code = tmp_path / "my_centroid.py"
    code.write_text(code.read_text().replace("part.mean(dim=0)", "part.amax(dim=0)"))
    forget()
    said = place.run(*own)
    second = the_run(place.outputs, "toy")
    assert second != first
    assert "evaluation.own_modes.centroid._target_" in said  # whose content changed
    before, after = by_mode(first), by_mode(second)
    assert before["exact"][0].protocol_hash == after["exact"][0].protocol_hash
    assert before["centroid"][0].protocol_hash != after["centroid"][0].protocol_hash
    phases = [json.loads((run / "distill" / "identity.json").read_text())["hash"] for run in (first, second)]
    assert phases[0] == phases[1]  # it is no part of training


def test_a_certificate_names_a_search_mode(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "certificate.json"
    place.run("task=certify", *OWN_MODE, f"out={out}", "certify.micro_batches=1", "certify.checks=[chunking]")
    notes = json.loads(out.read_text())["notes"]
    assert any("The search mode centroid (my_centroid.Centroid)" in note for note in notes)


WRONG = ["+search_mode@evaluation.own_modes.wrong=wrong", "evaluation.mode=[exact,wrong]"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([*OWN_MODE, "evaluation.own_modes.centroid.keep=0"], "evaluation.own_modes.centroid.keep=0: must be at least"),
        ([*OWN_MODE, "+evaluation.own_modes.centroid.kep=1"], "evaluation.own_modes.centroid.kep"),
        ([*OWN_MODE, "evaluation.mode=[exact,centre]"],
         "evaluation.mode[1]=centre: must be one of exact, rerank, muvera, muvera_rerank, plaid, xtr, centroid"),
        ([*OWN_MODE, "evaluation.mode=exact", "evaluation.own_modes.centroid.keep=3"],
         "evaluation.own_modes.centroid.keep=3: has no effect without evaluation.mode=centroid"),
        (["+search_mode@evaluation.own_modes.muvera=centroid", "evaluation.mode=muvera"],
         "evaluation.own_modes.muvera: this name is taken"),
        (["+search_mode@evaluation.own_modes.a-b=centroid", "evaluation.mode=a-b"],
         "evaluation.own_modes.a-b: must have a name of small letters"),
        (["+evaluation.own_modes.centroid.keep=1", "evaluation.mode=centroid"],
         "evaluation.own_modes.centroid: names no class; give its _target_"),
        (["+teacher@evaluation.own_modes.overlap=overlap", "evaluation.mode=overlap"],
         "evaluation.own_modes.overlap._target_=my_overlap.Overlap: is no search mode"),
        ([*WRONG, "evaluation.own_modes.wrong.rows=[0,60]"],
         "evaluation.own_modes.wrong: what it found for query number 1 has a row that the corpus of 60 lacks"),
        ([*WRONG, "evaluation.own_modes.wrong.rows=[-1,0]"], "has a row that the corpus of 60 lacks"),
        ([*WRONG, "evaluation.own_modes.wrong.rows=[3,3]"], "has a document twice"),
        ([*WRONG, "evaluation.own_modes.wrong.rows=[{0:1}]"],
         "evaluation.own_modes.wrong.rows[0]: its keys must be texts, and 0 is none"),
        ([*WRONG, "evaluation.own_modes.wrong._target_=my_wrong_mode.Weighted"],
         "evaluation.own_modes.wrong.weights: its keys must be texts, and 0 is none; put it in quotes"),
    ],
)  # fmt: skip
def test_a_search_mode_that_cannot_be_is_one_line(place: Place, given: list[str], said: str) -> None:
    (line,) = errors(command("--config-dir", str(place.conf), *place.arguments, *given))
    assert said in line


def test_a_measure(place: Place) -> None:
    key = "evaluation.own_measures.rbp.persistence"
    place.run(*OWN_MEASURE, f"{key}=0.5")
    run = the_run(place.outputs, "toy")
    records = read_records(run / "results.jsonl")
    assert {r.system for r in records if r.measure == "rbp@5"} == {"student", "bm25"}
    assert records[-1].factors["measure@evaluation.own_measures.rbp"] == "rbp"

    # Every document has one query; so a query's value is (1 - p) p^(rank - 1), and 0 beyond the cutoff.
    ranking, per_query = read_ranking(ranking_path(run, "student", "distill", "test"))
    rank = {
        query: documents.index(f"d{query[1:]}")
        for query, documents in zip(ranking.query_ids, ranking.document_ids, strict=True)
    }
    assert max(rank.values()) >= 5 > min(rank.values())
    for k in (5, 100):
        expected = [0.5 ** (rank[query] + 1) if rank[query] < k else 0.0 for query in per_query.query_ids]
        assert per_query.values[f"rbp@{k}"].tolist() == pytest.approx(expected, abs=1e-15)
    after = {r.measure: r for r in records if (r.phase, r.split) == ("distill", "test")}
    assert after["rbp@5"].value == pytest.approx(per_query.values["rbp@5"].mean())

    protocols = json.loads((run / "protocols.json").read_text())
    told = protocols[after["rbp@5"].protocol_hash]["own_measure"]
    assert (told["_target_"], told["persistence"]) == ("my_rbp.RankBiased", 0.5)
    assert "own_measure" not in protocols[after["ndcg@10"].protocol_hash]
    assert after["rbp@5"].protocol_hash == after["rbp@100"].protocol_hash != after["ndcg@10"].protocol_hash
    assert after["precision@1"].protocol_hash == after["ndcg@10"].protocol_hash

    said = place.run("-m", *OWN_MEASURE, f"{key}=0.8,0.9", "evaluation.headline=dev/rbp@5")
    assert "2 of 2 cells finished" in said
    runs = [
        f"{place.outputs / 'toy' / folder.name}" for folder in sorted((place.outputs / "toy").glob("*-s42"))
    ]
    comparing = [
        "task=compare",
        f"runs=[{','.join(runs[:2])}]",
        "compare.measures=[rbp@5]",
        "compare.systems=[student,bm25]",
    ]
    (line,) = errors(command("--config-dir", str(place.conf), *place.arguments, *comparing))
    assert "other rules of" in line
    assert "own_measure.persistence (0." in line
    place.run(*comparing, "compare.allow_different=true")
    (table,) = (place.outputs / "compare").rglob("*.csv")
    assert "rbp@5" in table.read_text()
    assert "not compared: other rules than the reference: own_measure.persistence" in table.read_text()

    out = place.outputs / "plan.json"
    place.run("task=plan", *OWN_MEASURE, f"{key}=0.4", "plan.steps=2", "plan.encode=2", f"out={out}")
    assert json.loads(out.read_text())["evaluations"]


def test_other_code_of_a_measure_is_another_protocol_of_its_own(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colbert_lab.records.environment.git_state", lambda _: ("abc", False))
    own = [*OWN_MEASURE, "evaluation.precision=32-true"]
    place.run(*own)
    first = the_run(place.outputs, "toy")
    place.run(*own, "phases.distill.optimizer.lr=2e-3")
    other = read_records(the_run(place.outputs, "toy") / "results.jsonl")
    assert {r.phase for r in other if "reused_from" in r.extra} == {"before", "baselines"}
    hashes = {r.protocol_hash for r in other}
    assert hashes == set(json.loads((the_run(place.outputs, "toy") / "protocols.json").read_text()))
    code = tmp_path / "my_rbp.py"
    code.write_text(code.read_text().replace("(1 - p) *", "0.5 *"))
    forget()
    said = place.run(*own)
    second = the_run(place.outputs, "toy")
    assert second != first
    assert "evaluation.own_measures.rbp._target_" in said  # whose content changed
    before, after = ({r.measure: r for r in by_mode(run)["exact"]} for run in (first, second))
    assert before["ndcg@10"].protocol_hash == after["ndcg@10"].protocol_hash
    assert before["rbp@5"].protocol_hash != after["rbp@5"].protocol_hash
    assert after["rbp@5"].value == pytest.approx(before["rbp@5"].value * 2.5)
    again = read_records(second / "results.jsonl")
    assert not [r for r in again if "reused_from" in r.extra]  # no run has these values


def test_a_certificate_names_a_measure(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "certificate.json"
    place.run(
        "task=certify", *OWN_MEASURE, f"out={out}", "certify.micro_batches=1", "certify.checks=[chunking]"
    )
    notes = json.loads(out.read_text())["notes"]
    assert any("The measure rbp (my_rbp.RankBiased)" in note for note in notes)


CONSTANT = ["+measure@evaluation.own_measures.constant=constant", "evaluation.measures=[ndcg@10,constant@5]"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([*OWN_MEASURE, "evaluation.own_measures.rbp.persistence=1"],
         "evaluation.own_measures.rbp.persistence=1: must be above 0 and below 1"),
        ([*OWN_MEASURE, "+evaluation.own_measures.rbp.p=1"], "evaluation.own_measures.rbp.p"),
        ([*OWN_MEASURE, "evaluation.measures=[ndcg@10,rpb@5]"], "evaluation.measures: unknown measure 'rpb@5'; valid"),
        ([*OWN_MEASURE, "evaluation.measures=[ndcg@10,rbp]"], "evaluation.measures: unknown measure 'rbp'"),
        ([*OWN_MEASURE, "evaluation.measures=[ndcg@10,rbp@101]"], "rbp@101 looks deeper than evaluation.depth=100"),
        ([*OWN_MEASURE, "evaluation.measures=[ndcg@10]", "evaluation.own_measures.rbp.persistence=0.3"],
         "evaluation.own_measures.rbp.persistence=0.3: has no effect without evaluation.measures=[rbp@10]"),
        (["+measure@evaluation.own_measures.ndcg=rbp"], "evaluation.own_measures.ndcg: this name is taken"),
        (["+search_mode@evaluation.own_measures.rbp=centroid", "evaluation.measures=[ndcg@10,rbp@5]"],
         "evaluation.own_measures.rbp._target_=my_centroid.Centroid: is no measure"),
        (CONSTANT, "evaluation.own_measures.constant: gave 2 for query q"),
        ([*CONSTANT, "evaluation.own_measures.constant.is_=much"], "own_measures.constant: gave 'much' for query q"),
        ([*CONSTANT, "evaluation.own_measures.constant.is_=null"], "own_measures.constant: gave None for query q"),
        ([*CONSTANT, "evaluation.own_measures.constant._target_=my_constant.called"],
         "_target_=my_constant.called: is no measure"),
        ([*CONSTANT, "evaluation.own_measures.constant._target_=my_unfinished.Measure"],
         "evaluation.own_measures.constant._target_=my_unfinished.Measure: cannot be imported (not yet)"),
        ([*CONSTANT, "evaluation.own_measures.constant._target_=my_constant.Handmade"],
         "_target_=my_constant.Handmade: must be a dataclass, whose fields are its settings"),
        ([*CONSTANT, "evaluation.own_measures.constant.is_={0:0.0,1:1.0}"],
         "evaluation.own_measures.constant.is_: its keys must be texts, and 0 is none; put it in quotes"),
        ([*CONSTANT, "evaluation.own_measures.constant._target_=my_constant.Gains"],
         "evaluation.own_measures.constant.gains: its keys must be texts, and 0 is none"),
        ([*CONSTANT, "evaluation.own_measures.constant._target_=my_constant.Kinds"],
         "evaluation.own_measures.constant.kinds: must be a plain value"),
    ],
)  # fmt: skip
def test_a_measure_that_cannot_be_is_one_line(place: Place, given: list[str], said: str) -> None:
    (line,) = errors(command("--config-dir", str(place.conf), *place.arguments, *given))
    assert said in line


def trained(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "distill" / "student" / "model.safetensors")


def test_a_callback(place: Place) -> None:
    place.run("evaluation.baselines=null")
    plain = trained(the_run(place.outputs, "toy"))
    place.run(*OWN_CALLBACK)
    run = the_run(place.outputs, "toy")
    assert (
        read_records(run / "results.jsonl")[-1].factors["callback@trainer.callbacks.lookahead"] == "lookahead"
    )
    assert json.loads((run / "contents.json").read_text())["trainer.callbacks.lookahead._target_"]
    slow = trained(run)
    assert any(not torch.equal(slow[name], weight) for name, weight in plain.items())

    said = place.run("-m", *OWN_CALLBACK, "trainer.callbacks.lookahead.share=0.25,1")
    assert "2 of 2 cells finished" in said
    whole = trained(place.outputs / "toy" / "sweeps" / "share=1")
    assert all(
        torch.equal(whole[name], weight) for name, weight in plain.items()
    )  # all of the way, each step

    out = place.outputs / "plan.json"
    key = "trainer.callbacks.lookahead.share=0.75"
    place.run("task=plan", *OWN_CALLBACK, key, "plan.steps=2", "plan.encode=2", f"out={out}")
    found = json.loads(out.read_text())
    assert found["phases"][0]["steps"] == 2
    assert any("trainer.callbacks (lookahead) was left out" in note for note in found["notes"])

    listed = command("--config-dir", str(place.conf), "task=list", "of=callbacks").out
    assert "  lookahead  Every some steps the slow weights go a part of the way" in listed


def test_a_certificate_names_a_callback(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "certificate.json"
    place.run(
        "task=certify", *OWN_CALLBACK, f"out={out}", "certify.micro_batches=1", "certify.checks=[chunking]"
    )
    notes = json.loads(out.read_text())["notes"]
    assert any(
        "The callback lookahead (my_lookahead.Lookahead) may change training" in note for note in notes
    )


def test_a_callback_goes_on_with_what_it_kept(place: Place) -> None:
    given = ["--config-dir", str(place.conf), *place.arguments, *OWN_CALLBACK, "phases.distill.steps=3"]
    given += ["trainer.callbacks.lookahead.every=2", "evaluation.baselines=null"]
    stopped = command(*given, "+trainer.lightning.max_time=00:00:00:00")
    assert (stopped.status, "is over at step 1 of 3" in stopped.err) == (143, True)
    assert command(*given).status == 0
    resumed = the_run(place.outputs, "toy")
    assert "going on from step 1 of 3" in (resumed / "run.log").read_text()
    assert command(*given, "reuse=false").status == 0
    whole = the_run(place.outputs, "toy")
    assert whole != resumed
    assert all(torch.equal(trained(whole)[name], weight) for name, weight in trained(resumed).items())


def test_other_code_of_a_callback_is_another_run_and_phase(place: Place, tmp_path: Path) -> None:
    own = [*OWN_CALLBACK, "evaluation.baselines=null"]
    place.run(*own)
    first = the_run(place.outputs, "toy")
    assert "finished" in place.run(*own)
    code = tmp_path / "my_lookahead.py"
    code.write_text(code.read_text().replace("self._step % self.every == 0", "self._step % self.every < 1"))
    forget()
    said = place.run(*own)
    second = the_run(place.outputs, "toy")
    assert second != first
    assert "trainer.callbacks.lookahead._target_" in said  # whose content changed
    before, after = (
        json.loads((run / "distill" / "identity.json").read_text())["hash"] for run in (first, second)
    )
    assert before != after


BROKEN = ["+callback@trainer.callbacks.broken=broken", "evaluation.baselines=null"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([*OWN_CALLBACK, "trainer.callbacks.lookahead.every=0"],
         "trainer.callbacks.lookahead.every=0: must be at least 1"),
        ([*OWN_CALLBACK, "trainer.callbacks.lookahead.share=1.5"], "share=1.5: must be above 0 and at most 1"),
        ([*OWN_CALLBACK, "+trainer.callbacks.lookahead.alpha=1"],
         "trainer.callbacks.lookahead.alpha=1: my_lookahead.Lookahead has no such argument"),
        (["+trainer.callbacks.lookahead.every=1"], "trainer.callbacks.lookahead: names no class; give its _target_"),
        (["trainer.callbacks.lookahead.every=1"],
         "trainer.callbacks.lookahead.every: is not there yet; add it with + before it"),
        (["trainer.callbacks=lookahead"], "trainer.callbacks=lookahead: holds things by name"),
        (["+teacher@trainer.callbacks.overlap=overlap"],
         "trainer.callbacks.overlap._target_=my_overlap.Overlap: is no callback of Lightning"),
        (["+trainer.callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: loss}"],
         "EarlyStopping: has no place in a phase; set phases.NAME.early_stopping"),
        ([*BROKEN, "trainer.callbacks.broken._target_=my_broken.Frozen"], "is a frozen dataclass, in which Lightning"),
        ([*BROKEN, "trainer.callbacks.broken._target_=my_broken.Absent"],
         "trainer.callbacks.broken._target_=my_broken.Absent: cannot be imported"),
        ([*OWN_CALLBACK, "task=evaluate"],
         "trainer.callbacks.lookahead: has no effect on task=evaluate, which trains nothing"),
        (BROKEN, "trainer.callbacks.broken: on_train_batch_end raised KeyError: 'nothing' (my_broken.py, line "),
        ([*BROKEN, "trainer.callbacks.broken._target_=my_broken.Keeping"],
         "trainer.callbacks.broken: state_dict keeps what a checkpoint cannot give back without running code"),
    ],
)  # fmt: skip
def test_a_callback_that_cannot_be_is_one_line(place: Place, given: list[str], said: str) -> None:
    (line,) = errors(command("--config-dir", str(place.conf), *place.arguments, *given))
    assert said in line
