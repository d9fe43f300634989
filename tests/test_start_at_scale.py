"""``benchmarks/start_at_scale.py`` at a small size: the second start reads no text."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from colbert_lab.text import passes
from colbert_lab.text.file_hashes import remember_in
from colbert_lab.text.passes import keep_passes_in
from colbert_lab.text.rows import triples
from tests.conftest import ROOT


def test_it_starts_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("scale", ROOT / "benchmarks" / "start_at_scale.py")
    assert spec is not None
    assert spec.loader is not None
    scale = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scale)
    monkeypatch.setattr(scale, "SHARD", 60_000)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    scale.write_pairs(tmp_path / "pairs", passes.MANY + 1)
    assert len(list((tmp_path / "pairs" / "data").iterdir())) == 2
    try:
        scale.start(tmp_path / "pairs", tmp_path / "cache")
        monkeypatch.delattr(triples, "checked_rows")
        scale.start(tmp_path / "pairs", tmp_path / "cache")
    finally:
        remember_in(None)
        keep_passes_in(None)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["rows"] == second["rows"] == passes.MANY + 1
    assert list(first["parts"]) == ["rows", "evaluation queries", "known positives", "order"]
    assert min(first["memory"], second["memory"]) > 0
