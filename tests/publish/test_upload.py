"""Uploads, through huggingface_hub's own client, to a hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from colbert_lab.base.errors import InputError
from colbert_lab.publish.upload import check_hub, upload
from tests.publish.hub import TOKEN, Hub, Repo, serving

REPO = "someone/model"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        close_session()
        yield found
        close_session()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "1_Dense").mkdir(parents=True)
    (made / "README.md").write_text("---\nlicense: mit\n---\n\n# model\n")
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "1_Dense" / "config.json").write_text("{}")
    return made


def pushed(folder: Path, *, private: bool = True, replace: bool = False) -> str:
    return upload(folder, REPO, private=private, replace=replace, message="a model")


@pytest.mark.parametrize("private", [True, False])
def test_everything_is_there_in_one_commit(hub: Hub, folder: Path, private: bool) -> None:
    assert pushed(folder, private=private).startswith(f"{hub.endpoint}/{REPO}/commit/")
    there = hub.repos[REPO]
    assert there.private == private
    assert [commit["summary"] for commit in there.commits] == ["a model"]
    assert there.commits[0]["parentCommit"] == Repo(private).sha  # refused when somebody was faster
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(there.files) == files | {".gitattributes"}
    assert there.files["model.safetensors"] == b"weights"


def test_files_that_are_there_are_replaced_only_when_asked_for(hub: Hub, folder: Path) -> None:
    hub.repos[REPO] = Repo(True)
    hub.repos[REPO].files |= {"README.md": b"by hand", "artifact.metadata": b"{}"}
    with pytest.raises(
        InputError, match=r"has files already: 2 \(README.md, artifact.metadata\); push.replace"
    ):
        pushed(folder)
    assert hub.repos[REPO].files["README.md"] == b"by hand"
    pushed(folder, replace=True)
    assert "artifact.metadata" not in hub.repos[REPO].files
    assert hub.repos[REPO].files["README.md"].startswith(b"---\nlicense: mit")
    assert len(hub.repos[REPO].commits) == 1


@pytest.mark.parametrize(
    ("is_private", "asked", "match"),
    [
        (False, True, "is public, so everybody could read.*set push.private=false"),
        (True, False, "is there already and is private; choose another, or set push.private=true"),
    ],
)
def test_the_visibility_of_a_repository_that_is_there_must_be_meant(
    hub: Hub, folder: Path, is_private: bool, asked: bool, match: str
) -> None:
    hub.repos[REPO] = Repo(is_private)
    with pytest.raises(InputError, match=match):
        pushed(folder, private=asked)
    assert hub.repos[REPO].commits == []


@pytest.mark.parametrize(
    ("kind", "answer", "match"),
    [
        ("info", (401, "", "Invalid credentials in Authorization header"), r"the token \(401\); log in anew"),
        ("info", (401, "RepoNotFound", "Repository not found"), r"does not accept the token \(401\)"),
        ("create", (403, "", "You don't have the rights"), r"\(403\); it needs the permission.* of someone"),
        ("commit", (403, "", "You don't have the rights"), r"may not write there \(403\)"),
        ("commit", (412, "", "A commit has happened since"), "changed meanwhile"),
        ("commit", (400, "", "too large"), r"the hub refuses \(400\): too large"),
        ("validate", (400, "", "bad licence"), "no upload to http://127"),
        ("blob", (400, "", "broken"), "no upload to http://127"),
    ],
)
def test_a_refusal_is_one_line_and_nothing_is_committed(
    hub: Hub, folder: Path, kind: str, answer: tuple[int, str, str], match: str
) -> None:
    hub.fails[kind] = answer
    with pytest.raises(InputError, match=match) as caught:
        pushed(folder)
    assert "\n" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert all(repo.commits == [] and list(repo.files) == [".gitattributes"] for repo in hub.repos.values())


def test_a_hub_that_cannot_be_reached_is_one_line(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        InputError, match=r"repo=someone/model: no upload to http://127.0.0.1:9 \(.+\); nothing"
    ):
        pushed(folder)


def test_what_can_be_known_before_the_hub_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    check_hub(REPO)
    for wrong in ("model", "a/b/c", "a/-b", "a/b--c"):
        with pytest.raises(InputError, match=f"repo={wrong}: "):
            check_hub(wrong)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="no token of the hub; log in with `hf auth login`, or set HF_TOKEN"):
        check_hub(REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        check_hub(REPO)
    assert hub.requests == []
