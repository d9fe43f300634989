"""Commands that a new user types wrong, in every task: one line that names the key, status 2, and nothing begun."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.command import command
from tests.toy import write_toy

RUNS = "task=runs output_dir=OUT"
SCORE = "task=score data=beir data.path=TOY"
MINE = "task=mine data=beir data.path=TOY"
EVALUATE = "task=evaluate evaluation=beir evaluation.path=TOY"
KD = "+experiment=colbert_zero_kd"
CASES = {
    "task=trian": "task=trian: did you mean train? must be one of train, evaluate, compare",
    "+experiment=colbert_zero_kdd": "experiment/colbert_zero_kdd: no such config; did you mean colbert_zero_kd?",
    f"{KD} student=minilmm": "student/minilmm: no such config; did you mean minilm? there are bert, minilm",
    f"{KD} data=beirr": "data/beirr: no such config; did you mean beir? there are beir",
    f"{KD} evaluation=beirr": "evaluation/beirr: no such config; did you mean beir? there are az_mirage",
    f"{KD} prompts=nomicc": "prompts/nomicc: no such config; did you mean nomic? there are inherit, nomic, none",
    f"{KD} trainer=gpu": "trainer/gpu: no such config; there are auto, ddp, fsdp; a file of your own needs --config",
    f"{KD} teacher=bm25": "Could not override 'teacher'; Did you mean to override one of teacher@data.retrievers",
    f"{KD} phase=distill": "Could not override 'phase'; Did you mean to override phase@phases.distill?",
    "schedule=[distill]": "schedule: no phase slot named distill; there are none",
    "task=evaluate evaluation=beir": "evaluation.splits.test.path: no folder given; set evaluation.path=DIR",
    "task=evaluate evaluation=beir evaluation.path=NONE": "evaluation.splits.test.path=NONE: no such folder",
    "task=evaluate evaluation=beir evaluation.path=FILE": "evaluation.splits.test.path=FILE: is a file; name a folder",
    f"{EVALUATE} evaluation.split=tset": "evaluation.splits.test.split=tset: not in TOY/qrels; splits there: test",
    f"{EVALUATE} student.checkpoint=NONE": "student.checkpoint=NONE: no such folder",
    f"{EVALUATE} student.checkpoint=FILE": "student.checkpoint=FILE: is a file; name a folder",
    f"{EVALUATE} student.checkpoint=TOY": "student.checkpoint=TOY: not a student folder of a known layout",
    f"{EVALUATE} student.backbone=FILE": "student.backbone=FILE: is a file; name a folder",
    f"{EVALUATE} evaluation.mode=xtr evaluation.xtr.k=0": "evaluation.xtr.k=0: must be at least 1",
    f"{EVALUATE} output_dir=FILE": "output_dir: cannot write to FILE/evaluate (Not a directory); choose another with",
    f"{EVALUATE} cache_dir=FILE": "cache_dir=FILE: FILE is a file; choose another folder",
    f"{EVALUATE} compare.baseline=x": "compare.baseline: has no effect on task=evaluate; leave it out",
    f"{EVALUATE} runs=[x]": "runs: has no effect on task=evaluate; it is for task=compare",
    "task=compare": "runs: nothing to compare; give run directories, for example runs=[DIR,DIR]",
    "task=compare runs=[NONE]": "runs: NONE is no run and holds none; give outputs/NAME/latest",
    "task=compare runs=[FILE]": "runs: FILE is no run and holds none; give outputs/NAME/latest",
    "task=compare runs=[TOY]": "runs: TOY is no run and holds none; give outputs/NAME/latest",
    "task=runs output_dir=NONE": "output_dir: no such folder: NONE; runs are looked for there",
    "task=runs output_dir=FILE": "output_dir: is a file; name a folder: FILE; runs are looked for there",
    "task=runs output_dir=TOY": "output_dir: no runs below TOY (no status.json); choose another with output_dir=DIR",
    f"{RUNS} ledger.status=done": "ledger.status=done: must be one of finished, failed, running, interrupted, killed",
    f"{RUNS} ledger.limit=-1": "ledger.limit=-1: must be at least 1",
    f"{RUNS} ledger.limit=many": "ledger.limit",
    f"{RUNS} ledger.where=foo": "ledger.where: 'foo' is no condition; write KEY=VALUE",
    f"{RUNS} ledger.columns=[foo]": "ledger.columns: nothing is called foo; there are columns run, name",
    f"{RUNS} out=x": "out=x: must be a file that ends in .csv, .md, .json",
    f"{RUNS} out=FILE/x.csv": "out: cannot write to FILE (File exists); choose another with out=...",
    f"{RUNS} to=mlflow": "to=mlflow: task=runs writes runs to wandb alone; set to=wandb",
    f"{RUNS} seed=1": "seed: has no effect on task=runs; choose runs with ledger.where=seed=...",
    "train": "train: a setting is given as key=value; type task=train",
    "task=explain": 'query: no text; give query="..."',
    "task=explain query=x": 'document: no text; give document="..."',
    "task=explain query=x document=": "document='': the text is empty",
    "task=explain query=x document=y out=x.txt": "out=x.txt: must be a file that ends in .html",
    "task=convert": "from: no value; for example task=convert from=STUDENT to=pylate out=DIR",
    "task=convert from=FILE to=pylate out=x": "from=FILE: is a file; name a folder",
    "task=push": "from: no value; for example task=push from=RUN/PHASE/student to=pylate repo=OWNER/NAME",
    "task=push from=NONE repo=a/b": "to: no value; for example task=push from=RUN/PHASE/student to=pylate repo=",
    SCORE: "score.teacher: name what scores, for example teacher@score.teacher=cross_encoder",
    f"{SCORE} teacher@score.teacher=bm52": "teacher/bm52: no such config; did you mean bm25? there are bi_encoder",
    f"{SCORE} score.files=[TOY]": "score.files: TOY: a folder without train/*.parquet; name a file",
    f"{SCORE} teacher@score.teacher=bm25 score.candidates=all": "score.candidates=all: must be one of auto, source",
    f"{MINE} mine.negatives=0": "mine.negatives=0: must be at least 1",
    f"{MINE} mine.ranks=[5,1]": "mine.ranks=[5,1]: the first and the last rank, from 1 on, such as [1,100]",
    f"{MINE} mine.sample=best": "mine.sample=best: must be one of top, random",
    f"{MINE} mine.filter.ratio=0.9": "mine.filter.ratio: has no effect without a teacher; set teacher@mine.filter",
    f"{MINE} 'mine.shares={{bm52: 1}}'": "mine.shares.bm52: no such retriever; there are bm25, bi_encoder, random",
    "task=mine data=beir": "no value for data.path: set it",
    "task=mine data=beir data.path=NONE": "data.path: NONE: no such file or folder",
    "task=audit data=beir data.path=NONE": "data.path: NONE: no such file or folder",
    "task=audit data=beir data.path=TOY audit.splits=all": "audit.splits=all: must be one of auto, evaluation, data",
    "task=audit data=scored_lists data.path=TOY": "data.scores: TOY is a folder with corpus.jsonl, so name the file",
    "task=plan out=x.txt": "schedule: nothing to train; choose +experiment=NAME",
    "task=report output_dir=OUT": "runs: no finished run with measurements. 0123456789-s1 is left out",
    "task=report runs=[NONE]": "runs: NONE is no run and holds none; give outputs/NAME/latest",
    "task=report study=NONE report.live=true": "report.live: has no effect on a study",
    "task=report study=NONE": "study=NONE: no such folder",
    "task=report study=FILE": "study=FILE: is a file; name a folder",
    "task=report study=TOY": "study=TOY: has no study.yaml; give the folder of a study",
}
"""A command, in which words stand for paths, and how its one line begins."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "a_file").write_text("text\n")
    run = folder / "outputs" / "n" / "0123456789-s1"
    run.mkdir(parents=True)
    (run / "status.json").write_text('{"status": "finished"}')
    toy = write_toy(folder / "toy")
    return {
        "NONE": str(folder / "none"),
        "FILE": str(folder / "a_file"),
        "TOY": str(toy),
        "OUT": str(folder / "outputs"),
    }


def filled(text: str, places: dict[str, str]) -> str:
    return re.sub(r"\b(NONE|FILE|TOY|OUT)\b", lambda found: places[found[1]], text)


@pytest.mark.parametrize("given", CASES)
def test_a_wrong_command(
    given: str, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = command(*shlex.split(filled(given, places)))
    assert outcome.status == 2, outcome.err
    assert "Traceback" not in outcome.err
    last = outcome.err.rstrip().splitlines()[-1]
    assert last.startswith(f"error: {filled(CASES[given], places)}"), last
    assert not list(tmp_path.rglob("status.json"))
    assert {each.name for each in tmp_path.iterdir()} <= {"outputs"}
