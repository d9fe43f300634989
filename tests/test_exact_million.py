"""The benchmark of exact search from files, scaled down."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "exact_million.py"


@pytest.mark.slow
def test_the_benchmark_finds_what_a_plain_loop_finds_and_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["--documents", "24000", "--queries", "4", "--memory", "0.3", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["largest_difference_to_a_plain_loop"] < 1e-4
    assert result["file_gigabytes"] == round((24_000 * 64 * 128 * 2 + 24_000 * 4) / 1e9, 2)
    # The corpus is 375 MiB in its files and 750 MiB as float32; writing holds a shard, searching blocks of it.
    assert result["peak_anonymous_mib_writing"] - result["anonymous_mib_at_start"] < 300
    assert result["peak_anonymous_mib_search"] - result["anonymous_mib_at_start"] < 100
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_too_small_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--documents", str(10**12), "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert "GB free and" in done.stderr
    assert "--folder" in done.stderr
