from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from colbert_lab.model.formats.known import FORMATS
from colbert_lab.publish.history import History, find_history
from colbert_lab.publish.metadata import Claims, card_data
from tests.publish.made_run import write_run

MIXED = {
    "_target_": "x.Mixture",
    "sources": {
        "a": {
            "_target_": "x.PartedTripleFiles",
            "path": "reasonir/reasonir-data",
            "documents": "xlangai/BRIGHT",
        },
        "b": {"_target_": "x.TripleFiles", "path": "/elsewhere/secret/own"},
    },
}


def history_of(tmp_path: Path, splits: dict[str, dict[str, Any]] | None = None) -> History:
    run_dir = write_run(
        tmp_path / "outputs" / "n" / "aa-s1", data={"first": MIXED, "last": MIXED}, splits=splits
    )
    found = find_history(run_dir / "last" / "student")
    assert found is not None
    return found


def read_again(tmp_path: Path, data: Any) -> Any:
    """The front matter as huggingface_hub reads it from a file."""
    file = tmp_path / "README.md"
    ModelCard(f"---\n{data.to_yaml()}\n---\n\n# x\n").save(file)
    return ModelCard.load(file).data


def test_what_the_run_says(tmp_path: Path) -> None:
    data = read_again(tmp_path, card_data(Claims("mit"), "pylate", "zero", history_of(tmp_path), None))
    assert data.base_model == "answerdotai/ModernBERT-base"
    assert data.datasets == ["reasonir/reasonir-data", "xlangai/BRIGHT"]
    assert data.language is None
    assert data.model_name == "zero"
    (result,) = data.eval_results
    assert (result.dataset_type, result.dataset_name, result.dataset_split) == (
        "BeIR/scifact",
        "test",
        "test",
    )
    assert (result.metric_type, result.metric_name) == ("ndcg@10", "nDCG@10")
    assert result.metric_value == pytest.approx(0.52)
    assert result.dataset_args == {
        "queries": 300, "documents": 5183, "fingerprint": "print-of-test", "protocol": "protocol",
    }  # fmt: skip


def test_what_the_user_says_counts_more(tmp_path: Path) -> None:
    claims = Claims("other", "mine", "LICENSE", ("no", "az"), "me/base", ("me/data",))
    data = read_again(tmp_path, card_data(claims, "stanford", "zero", history_of(tmp_path), None))
    assert (data.license, data.license_name, data.license_link) == ("other", "mine", "LICENSE")
    assert data.language == ["no", "az"]  # not the boolean that plain YAML takes "no" for
    assert (data.base_model, data.datasets) == ("me/base", ["me/data"])


def test_sets_that_share_a_data_set_are_not_merged(tmp_path: Path) -> None:
    path = "sentence-transformers/NanoBEIR-en"
    splits = {key: {"path": path, "split": "train"} for key in ("NanoNQ", "NanoArguAna")}
    splits["scifact"] = {"path": "BeIR/{key}", "split": "train"}
    data = read_again(
        tmp_path, card_data(Claims("mit"), "pylate", "zero", history_of(tmp_path, splits), None)
    )
    places = [(r.dataset_type, r.dataset_config, r.dataset_name) for r in data.eval_results]
    assert places == [
        (path, "NanoNQ", "NanoNQ"),
        (path, "NanoArguAna", "NanoArguAna"),
        ("BeIR/scifact", None, "scifact"),
    ]


def test_without_a_run(tmp_path: Path) -> None:
    data = read_again(tmp_path, card_data(Claims("mit"), "colbert_lab", "x", None, "lightonai/ColBERT-Zero"))
    assert data.base_model == "lightonai/ColBERT-Zero"
    assert data.eval_results is None
    assert data.datasets is None


@pytest.mark.parametrize("layout", [name for name, known in FORMATS.items() if known.save is not None])
def test_every_layout_has_a_library(layout: str) -> None:
    data = card_data(Claims("mit"), layout, "x", None, None).to_dict()  # type: ignore[no-untyped-call]
    assert data["library_name"]
    assert data["pipeline_tag"] in ("sentence-similarity", "feature-extraction")


def test_one_vector_a_text_is_no_colbert() -> None:
    data = card_data(Claims("mit"), "colbert_lab", "x", None, None, pooled=True)
    assert "ColBERT" not in (data.tags or ())
