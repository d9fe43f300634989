"""Put a folder on the Hugging Face hub in one commit, so that it is there as a whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_lab.base.errors import InputError, some_ids

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

log = logging.getLogger(__name__)
KEPT = ".gitattributes"
"""What the hub itself puts into a new repository."""


def check_hub(repo: str) -> None:
    """Whether an upload can be tried, without asking the hub.

    Raises:
        InputError: no id of a repository, no token, or the client is told to stay offline.
    """
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(f"repo={repo}: {str(error).splitlines()[0]}") from error
    if repo.count("/") != 1:
        raise InputError(f"repo={repo}: must be OWNER/NAME, a user or an organisation and the model")
    if constants.HF_HUB_OFFLINE:
        raise InputError(
            f"repo={repo}: HF_HUB_OFFLINE is set; unset it, or write to out only with push.dry_run=true"
        )
    if get_token() is None:
        raise InputError(
            f"repo={repo}: no token of the hub; log in with `hf auth login`, or set HF_TOKEN to one that may write"
        )


def upload(folder: Path, repo: str, *, private: bool, replace: bool, message: str) -> str:
    """Upload a folder as the whole content of a model repository, in one commit.

    A repository that is not there is made. ``upload_folder`` of huggingface_hub is not used because it may split a
    folder into several commits, and a repository with half a model looks like one with a model.

    Args:
        folder: what to upload.
        repo: ``OWNER/NAME``.
        private: visibility; one that is there already must have it.
        replace: whether the files of one that has some may be replaced: those that are not in ``folder`` are deleted.
        message: of the commit.

    Returns:
        The address of the commit.

    Raises:
        InputError: the hub cannot be reached or refuses; then nothing was committed.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    with _one_line(repo, api.endpoint):
        info = _found(api, repo)
        if info is None:
            api.create_repo(repo, private=private)
            log.info("%s: made, %s", repo, "private" if private else "public")
            info = api.model_info(repo)
        there = [file.rfilename for file in info.siblings or () if file.rfilename != KEPT]
        _check_there(repo, info, there, private, replace)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        new = {path.relative_to(folder).as_posix(): path for path in files}
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationDelete(name) for name in there if name not in new),
            *(CommitOperationAdd(name, path) for name, path in new.items()),
        ]
        done = api.create_commit(repo, operations, commit_message=message, parent_commit=info.sha)
    return str(done.commit_url)


def _found(api: HfApi, repo: str) -> ModelInfo | None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.model_info(repo)
    except RepositoryNotFoundError as error:
        if error.response.status_code != 404:
            raise
        return None


def _check_there(repo: str, info: ModelInfo, there: list[str], private: bool, replace: bool) -> None:
    if bool(info.private) != private:
        is_now = "private" if info.private else "public, so everybody could read what is uploaded"
        raise InputError(
            f"repo={repo}: is there already and is {is_now}; choose another, "
            f"or set push.private={str(not private).lower()}"
        )
    if there and not replace:
        raise InputError(
            f"repo={repo}: has files already: {some_ids(there)}; push.replace=true replaces all of them in one commit"
        )


@contextmanager
def _one_line(repo: str, endpoint: str) -> Iterator[None]:
    """Failures of the hub's client as one line that says what to do."""
    from huggingface_hub import errors

    # httpx's or httpx2's, by the version of huggingface_hub: the errors of connections are of this class.
    transport: type[Exception] = vars(errors)["HTTPError"]
    try:
        yield
    except InputError:
        raise
    except errors.HfHubHTTPError as error:
        raise InputError(f"repo={repo}: {_refused(error, repo)}; nothing was uploaded") from error
    except (transport, OSError, RuntimeError, ValueError) as error:
        cause = error.__cause__ or error
        first = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
        raise InputError(f"repo={repo}: no upload to {endpoint} ({first}); nothing was committed") from error


def _refused(error: object, repo: str) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    assert isinstance(error, HfHubHTTPError)
    code, owner = error.response.status_code, repo.partition("/")[0]
    if code == 401:
        return "the hub does not accept the token (401); log in anew with `hf auth login`, or set another HF_TOKEN"
    if code == 403:
        return f"the token may not write there (403); it needs the permission to write to the repositories of {owner}"
    if code == 412:
        return "the repository was changed meanwhile (412); try again"
    said = error.server_message or str(error)
    return f"the hub refuses ({code}): {next(iter(said.strip().splitlines()), 'it does not say why')}"
