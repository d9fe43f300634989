"""What the system says of memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from colbert_lab.planning.memory import resident
from colbert_lab.training import memory
from colbert_lab.training.memory import STATUS, peak_bytes, system_bytes


def test_a_size_is_read_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "status"
    file.write_bytes(b"Name:\tVmRSS:\xff\nVmHWM:\t     900 kB\nVmRSS:\t     800 kB\n")
    assert system_bytes(file, "VmHWM") == 900 * 1024
    assert system_bytes(file, "VmRSS") == 800 * 1024
    assert system_bytes(file, "VmSwap") is None
    assert system_bytes(tmp_path / "missing", "VmRSS") is None


@pytest.mark.skipif(not STATUS.is_file(), reason="only Linux tells what a process holds now")
def test_a_process_holds_no_more_than_its_peak() -> None:
    assert 2**20 < resident() <= peak_bytes()


def test_where_the_system_does_not_tell_the_peak_of_the_process_stands_for_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "STATUS", tmp_path / "missing")
    monkeypatch.setattr("colbert_lab.planning.memory.STATUS", tmp_path / "missing")
    assert 2**20 < resident() <= peak_bytes()
