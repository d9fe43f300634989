"""Whole commands: what a run reads decides which run it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from colbert_lab.base.errors import InputError
from colbert_lab.records.contents import read_contents
from colbert_lab.records.records import read_records
from colbert_lab.run.resuming import check_unchanged
from colbert_lab.run.scheduling import RunIdentity
from tests.command import command, the_run
from tests.toy import student_overrides, toy_overrides, write_toy


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A run may set torch's threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def in_place(file: Path, data: bytes) -> None:
    """Other content of the same size, with the time of the last change put back."""
    then = file.stat()
    assert len(data) == then.st_size
    file.write_bytes(data)
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))


def values(run: Path) -> dict[str, float]:
    return {record.system: record.value for record in read_records(run / "results.jsonl")}


def test_what_changes_while_it_is_read_is_said() -> None:
    key = "student.backbone"
    unknown, one, other = (RunIdentity("hash", "named", {key: found}) for found in (None, "one", "other"))
    check_unchanged(unknown, one)  # a hub id that was looked up meanwhile
    with pytest.raises(InputError, match=f"{key}: its content changed while it was read"):
        check_unchanged(one, other)


def test_changed_judgments_are_measured_and_a_moved_folder_is_not(tiny_bert: Path, tmp_path: Path) -> None:
    toy, outputs = write_toy(tmp_path / "toy"), tmp_path / "outputs"
    given = [
        *("task=evaluate", *student_overrides(tiny_bert), "evaluation=beir", "evaluation.measures=[ndcg@10]"),
        *("evaluation.headline=null", "evaluation.splits.dev=null", "tracking=off", "progress=false"),
        *(f"output_dir={outputs}", f"cache_dir={tmp_path / 'cache'}"),
    ]
    assert command(*given, f"evaluation.path={toy}").status == 0
    first = the_run(outputs, "evaluate")
    file = toy / "qrels" / "test.tsv"
    judged = file.read_bytes()
    in_place(file, judged.replace(b"\td4", b"\td1").replace(b"\td5", b"\td2"))
    again = command(*given, f"evaluation.path={toy}")
    assert again.status == 0, again.err
    other = the_run(outputs, "evaluate")
    assert f"{first} has the same settings, but evaluation.splits.test.path held other content" in again.err
    assert other.name != first.name
    assert all(values(other)[system] < value for system, value in values(first).items())
    key = "evaluation.splits.test.path"
    assert read_contents(first)[key] != read_contents(other)[key]
    file.write_bytes(judged)
    moved = toy.rename(tmp_path / "moved")
    found = command(*given, f"evaluation.path={moved}")
    assert f"this run is finished (reuse=false trains it anew): {first}" in found.err


def test_a_backbone_that_was_replaced_is_trained_anew(tiny_bert: Path, tmp_path: Path) -> None:
    toy, outputs = write_toy(tmp_path / "toy"), tmp_path / "outputs"
    backbone = shutil.copytree(tiny_bert, tmp_path / "backbone")
    changed = ("evaluation", "phases.distill.steps", "phases.distill.evaluate_every")
    given = [a for a in toy_overrides(backbone, toy, outputs) if not a.startswith(changed)]
    given += ["evaluation=none", "phases.distill.steps=1", "phases.distill.evaluate_every=null"]
    assert command(*given).status == 0
    first = the_run(outputs, "toy")
    weights = load_file(backbone / "model.safetensors")
    save_file({name: -value for name, value in weights.items()}, tmp_path / "new", {"format": "pt"})
    in_place(backbone / "model.safetensors", (tmp_path / "new").read_bytes())
    again = command(*given)
    assert again.status == 0, again.err
    assert "reused from" not in again.err
    other = the_run(outputs, "toy")
    assert other.name != first.name
    one, two = (load_file(run / "distill" / "student" / "model.safetensors") for run in (first, other))
    assert not all(torch.equal(one[name], two[name]) for name in one)

    # An unfinished run whose phase was trained with something else does not go on over it.
    status = json.loads((other / "status.json").read_text())
    (other / "status.json").write_text(json.dumps(status | {"status": "failed"}))
    outcome = json.loads((other / "distill" / "phase.json").read_text())
    (other / "distill" / "phase.json").write_text(json.dumps(outcome | {"phase_hash": "of before"}))
    identity = json.loads((other / "distill" / "identity.json").read_text())
    (other / "distill" / "identity.json").write_text(json.dumps(identity | {"code": "of before"}))
    refused = command(*given)
    assert refused.status == 2
    last = refused.err.splitlines()[-1]
    assert str(other / "distill") in last
    assert "code was 'of before'" in last
    assert "reuse=false" in last
    plan = command("task=plan", *given, "reuse=false", "plan.steps=2", f"out={tmp_path / 'plan.json'}")
    assert plan.status == 0, plan.err
    assert json.loads((tmp_path / "plan.json").read_text())["run"] == str(
        outputs / "toy" / f"{other.name}-r2"
    )
    anew = command(*given, "reuse=false")
    assert anew.status == 0, anew.err
    assert the_run(outputs, "toy").name == f"{other.name}-r2"
