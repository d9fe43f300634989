"""The reader of offline W&B files, against files that the installed wandb writes."""

import logging
import math
import struct
import zlib
from pathlib import Path

import pytest

from colbert_lab.base.errors import InputError
from tests.tracking.offline import finished_run
from tests.tracking.wandb_file import BLOCK, MAGIC, read_wandb_file


@pytest.fixture(scope="module")
def offline_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An offline run with everything that the framework logs, and more than one block of data."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(folder))
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_SILENT", "true")
        import wandb

        run = wandb.init(
            mode="offline",
            dir=str(folder),
            id="abc-distill",
            project="project",
            group="abc",
            job_type="distill",
            name="kd distill",
            tags=["a", "b"],
            config={"lr": 1e-3, "student": {"dim": 128}, "schedule": ["distill"], "none": None},
            settings=wandb.Settings(silent=True, console="off"),
        )
        for step in range(5):
            run.log({"loss": 1 / (step + 1), "dev": {"ndcg@10": step / 10}, "train/x": step}, step=step * 10)
        run.log({"long": "x" * (3 * BLOCK), "bad": float("nan")}, step=50)
        run.log({"table": wandb.Table(columns=["system", "value"], data=[["before", 0.5]])}, step=60)
        run.summary["distill/test/ndcg@10"] = 0.75
        run.summary["nested"] = {"deep": [1, 2]}
        run.config.update({"late": True})
        run.finish()
    (path,) = folder.rglob("run-*.wandb")
    finished_run(path)
    return path


def test_reads_back_what_wandb_wrote(offline_file: Path) -> None:
    run = read_wandb_file(offline_file)
    assert run.run_id == "abc-distill"
    assert (run.name, run.group, run.job_type, run.project) == ("kd distill", "abc", "distill", "project")
    assert run.tags == ("a", "b")
    assert run.finished
    assert run.config == {
        "lr": 1e-3,
        "student": {"dim": 128},
        "schedule": ["distill"],
        "none": None,
        "late": True,
    }
    assert [row["_step"] for row in run.history] == [0, 10, 20, 30, 40, 50, 60]
    for step, row in enumerate(run.history[:5]):
        assert row["loss"] == pytest.approx(1 / (step + 1), rel=1e-15)
        assert row["dev"] == {"ndcg@10": step / 10}
        assert row["train/x"] == step
    assert run.history[5]["long"] == "x" * (3 * BLOCK)
    assert math.isnan(run.history[5]["bad"])
    table = run.history[6]["table"]
    assert (table["_type"], table["nrows"], table["ncols"]) == ("table-file", 1, 2)
    assert (offline_file.parent / "files" / table["path"]).is_file()
    assert run.summary["distill/test/ndcg@10"] == 0.75
    assert run.summary["nested"] == {"deep": [1, 2]}
    assert run.summary["loss"] == pytest.approx(0.2)
    assert "_wandb" not in run.summary


def test_the_fixture_crosses_blocks(offline_file: Path) -> None:
    """Otherwise the test above says nothing about FIRST, MIDDLE and LAST chunks."""
    assert offline_file.stat().st_size > 3 * BLOCK


def test_a_cut_tail_is_tolerated(
    offline_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = offline_file.read_bytes()
    whole = read_wandb_file(offline_file)
    cut = tmp_path / "run-cut.wandb"
    for missing in (1, 3, 60, len(data) // 2):
        caplog.clear()
        cut.write_bytes(data[:-missing])
        with caplog.at_level(logging.WARNING):
            part = read_wandb_file(cut)
        assert "skipped" in caplog.text
        assert not part.finished
        assert part.history == whole.history[: len(part.history)]
        assert part.config["lr"] == 1e-3
    assert len(part.history) == 5


def test_zeros_at_the_end_are_tolerated(offline_file: Path, tmp_path: Path) -> None:
    """A file system that lost power can leave a tail of zeros."""
    padded = tmp_path / "run-zeros.wandb"
    padded.write_bytes(offline_file.read_bytes() + bytes(5000))
    assert len(read_wandb_file(padded).history) == 7
    assert read_wandb_file(padded).summary == read_wandb_file(offline_file).summary


def test_damage_is_found(offline_file: Path, tmp_path: Path) -> None:
    data = bytearray(offline_file.read_bytes())
    data[200] ^= 1
    damaged = tmp_path / "run-damaged.wandb"
    damaged.write_bytes(data)
    with pytest.raises(InputError, match=r"run-damaged\.wandb: the checksum at byte \d+ is wrong"):
        read_wandb_file(damaged)


def chunk(kind: int, data: bytes) -> bytes:
    return struct.pack("<IHB", zlib.crc32(bytes([kind]) + data), len(data), kind) + data


@pytest.mark.parametrize("left", range(10))
def test_block_ends(tmp_path: Path, left: int) -> None:
    """Ends of blocks with 0 to 9 bytes left: below 7 they are padding, 7 hold an empty first chunk."""
    from wandb.proto.wandb_internal_pb2 import Record

    first = Record()
    first.run.run_id = "r"
    first.run.notes = "x" * 30_000
    missing = BLOCK - left - len(MAGIC) - 7 - len(first.SerializeToString())
    first.run.notes += "x" * missing
    head = MAGIC + chunk(1, first.SerializeToString())
    assert len(head) == BLOCK - left
    second = Record()
    second.run.run_id = "r"
    second.run.display_name = "second"
    data = second.SerializeToString()
    path = tmp_path / "run-r.wandb"
    if left < 7:
        path.write_bytes(head + bytes(left) + chunk(1, data))
    else:
        path.write_bytes(head + chunk(2, data[: left - 7]) + chunk(4, data[left - 7 :]))
    assert read_wandb_file(path).name == "second"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an offline W&B run file"),
        (b":W&B\x00\x00\x00", "not an offline W&B run file"),
        (MAGIC, "holds no run"),
        (MAGIC + chunk(3, b"x") + chunk(1, b""), "does not continue"),
        (MAGIC + chunk(2, b"x") + chunk(1, b""), "does not continue"),
        (MAGIC + chunk(7, b"x") + chunk(1, b""), "type 7"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_wandb_file(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_wandb_file(tmp_path / "none.wandb")
