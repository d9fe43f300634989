"""W&B: offline files hold everything; nothing goes online without a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table
from colbert_lab.records.records import Record
from colbert_lab.tracking.tracking import (
    Tracking,
    check_tags,
    guarded,
    open_run,
    resolve_mode,
    short_tag,
    sweep_tags,
    sync_command,
    wandb_id,
)
from colbert_lab.tracking.wandb_phase import TrackedPhase
from tests.tracking.offline import finished_run
from tests.tracking.wandb_file import WandbRun

KEY = "0123456789" * 4
NETRC = "machine {host} login user password {key}\n"


@pytest.fixture(autouse=True)
def logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home without a W&B key."""
    for name in ("WANDB_API_KEY", "NETRC", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(home))
    wandb.teardown()  # it reads the environment once
    yield
    wandb.teardown()


def start(directory: Path, mode: Any = "offline", name: str = "kd") -> Any:
    return open_run(
        Tracking(mode, "lab", None, ("a", "b"), 60.0),
        directory=directory,
        run_id="0123456789-s1",
        phase="distill",
        name=name,
        config={
            "seed": 1,
            "phases": {"distill": {"steps": 3}, "idle": {"steps": 9}},
            "schedule": ["distill"],
            "compare": {"measures": None},
            "out": None,
        },
    )


def read(directory: Path) -> WandbRun:
    (path,) = directory.rglob("run-*.wandb")
    return finished_run(path)


def record(measure: str, value: float, **fields: Any) -> Record:
    return Record(run_id="0123456789-s1", dataset="toy", measure=measure, value=value, **fields)


def test_an_offline_run_is_written_below_the_directory(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    for step in range(3):
        run.log({"train/loss": 1.5 - step / 4, "step": step})
    records = [
        record("ndcg@10", 0.5, system="student", phase="before", split="test"),
        record("ndcg@10", 0.75, system="student", phase="distill", split="test"),
        record("mrr@10", 0.25, system="student", phase="distill", split="dev"),
        record("ndcg@10", 0.6, system="bm25", phase="baselines", split="test"),
        record("ndcg@10", 0.7, system="student", phase="distill", split="test", mode="muvera"),
    ]
    table = Table(
        "toy (test): 2 queries, 1,000 documents",
        ("system", "nDCG@10"),
        (("before", "0.5000"), ("distill", "0.7500")),
        (),
        (),
    )
    command = sync_command(run)
    assert command == f"wandb sync {Path(run.dir).parent}"
    tracked = TrackedPhase(run, "0123456789-s1", "distill")
    tracked.results(records, [table])
    tracked.finish()
    assert tracked.run is None
    written = read(tmp_path / "run")
    assert written.finished
    assert (written.run_id, written.group, written.job_type) == (
        wandb_id("kd", "0123456789-s1", "distill"),
        "kd 0123456789",
        "distill",
    )
    assert (written.project, written.tags) == ("lab", ("a", "b"))
    assert written.name == "kd distill 0123456789-s1"
    assert written.config == {
        "seed": 1,
        "phases": {"distill": {"steps": 3}},
        "schedule": ["distill"],
        "run_id": "0123456789-s1",
    }
    assert [(row["train/loss"], row["step"]) for row in written.history[:3]] == [
        (1.5, 0),
        (1.25, 1),
        (1.0, 2),
    ]
    measured = {key: value for key, value in written.summary.items() if "@" in key}
    assert measured == {
        "before/test/ndcg@10": 0.5,
        "distill/test/ndcg@10": 0.75,
        "distill/dev/mrr@10": 0.25,
        "bm25/test/ndcg@10": 0.6,
        "distill/test/muvera/ndcg@10": 0.7,
    }
    stored = written.history[-1]["tables/toy (test)"]
    assert (stored["nrows"], stored["ncols"]) == (2, 2)
    assert written.history[-1]["tables/records"]["nrows"] == 5


def test_off_writes_nothing(tmp_path: Path) -> None:
    assert start(tmp_path / "run", mode="off") is None
    assert not (tmp_path / "run").exists()
    tracked = TrackedPhase(None, "0123456789-s1", "distill")
    tracked.results([record("ndcg@10", 0.5, system="bm25", split="test")], [])
    tracked.curves(tmp_path / "metrics.csv")
    tracked.student(tmp_path / "student", None)
    tracked.finish()
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]


def test_online_without_a_key_is_refused_and_auto_is_offline() -> None:
    with pytest.raises(InputError, match=r"^tracking\.mode=online: not logged in to W&B; run `wandb login`"):
        resolve_mode("online")
    assert resolve_mode("auto") == "offline"


def test_ids_tell_names_phases_and_runs_apart() -> None:
    ids = {wandb_id(n, r, p) for n in ("a", "b") for r in ("0-s1", "0-s2") for p in ("x", "y")}
    assert len(ids) == 8
    assert wandb_id("a", "0-s1", "x") in ids


def test_tags_of_a_sweep_are_no_longer_than_wandb_takes() -> None:
    path = "/data/" + "x" * 80
    tags = sweep_tags("kd", [("lr", "1e-4"), ("path", path + "1"), ("path", path + "2")])
    assert tags[:2] == ("sweep:kd", "lr=1e-4")
    assert [len(tag) for tag in tags[2:]] == [64, 64]
    assert tags[2] != tags[3]
    assert short_tag("x" * 64) == "x" * 64
    wandb.Settings(run_tags=tags)  # W&B's own check


@pytest.mark.parametrize("tag", ["", "x" * 65])
def test_tags_that_wandb_refuses_are_named(tag: str) -> None:
    with pytest.raises(InputError, match=r"^tracking\.tags: '.*' has \d+ characters; W&B takes 1 to 64$"):
        check_tags(["good", tag])


def log_in_by_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def log_in_by_netrc(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readable by everyone: W&B takes it, so it counts."""
    (home / ".netrc").write_text(NETRC.format(host="api.wandb.ai", key=KEY))
    (home / ".netrc").chmod(0o644)


def log_in_by_netrc_at_the_present_address(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = wandb.Settings().base_url.removeprefix("https://")
    (home / ".netrc").write_text(NETRC.format(host=host, key=KEY))


def log_in_by_named_netrc(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "keys").write_text(NETRC.format(host="api.wandb.ai", key=KEY))
    monkeypatch.setenv("NETRC", "~/keys")


def log_in_to_own_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080")
    (home / ".netrc").write_text(NETRC.format(host="wandb.example.org:8080", key=KEY))


@pytest.mark.parametrize(
    "log_in",
    [
        log_in_by_variable,
        log_in_by_netrc,
        log_in_by_netrc_at_the_present_address,
        log_in_by_named_netrc,
        log_in_to_own_server,
    ],
)
def test_auto_is_online_with_a_key_and_offline_and_off_stay(
    log_in: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(tmp_path / "home", monkeypatch)
    assert [resolve_mode(mode) for mode in ("auto", "online")] == ["online", "online"]
    assert [resolve_mode(mode) for mode in ("offline", "off")] == ["offline", "off"]


@pytest.mark.parametrize(
    "content",
    [
        NETRC.format(host="example.org", key=KEY),
        "machine api.wandb.ai login user\n",
        "not a netrc at all {",
    ],
)
def test_a_netrc_without_a_key_for_wandb_is_no_login(content: str, tmp_path: Path) -> None:
    (tmp_path / "home" / ".netrc").write_text(content)
    (tmp_path / "home" / ".netrc").chmod(0o600)
    assert resolve_mode("auto") == "offline"


def test_a_netrc_that_cannot_be_read_is_no_login(tmp_path: Path) -> None:
    (tmp_path / "home" / ".netrc").mkdir()
    assert resolve_mode("auto") == "offline"


def fail(problem: BaseException) -> None:
    raise problem


def test_an_error_of_wandb_is_a_warning_and_an_interrupt_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    with guarded("the curve"):
        fail(ConnectionError("\n gone away\nat once"))
    assert "does not have all of the curve (ConnectionError: gone away)" in caplog.text
    with pytest.raises(KeyboardInterrupt), guarded("the curve"):
        fail(KeyboardInterrupt())
