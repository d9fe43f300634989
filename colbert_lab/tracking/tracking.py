"""Weights & Biases: where it is, whether it answers, and how the W&B run of a phase is opened."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from colbert_lab.base import outside
from colbert_lab.base.errors import InputError
from colbert_lab.tracking.naming import RUN_ID, group_of, used

if TYPE_CHECKING:
    import wandb

log = logging.getLogger(__name__)
Mode = Literal["online", "offline", "off"]
# The public cloud's address since wandb 0.31, and the one that earlier logins are stored under.
FORMER_HOSTS = {"api.forge.coreweave.com": "api.wandb.ai"}
PROBE_SECONDS = 10.0
INIT_SECONDS = 30.0
RETRIES, RETRY_SECONDS = 6, 10.0
LONGEST_TAG = 64
"""W&B's limit, in characters."""
LONGEST_WANDB_NAME = 120
STEP = "trainer/global_step"
"""The axis of every curve, named as Lightning's WandbLogger names it."""


@dataclass(frozen=True)
class Tracking:
    """How a run is tracked.

    Attributes:
        mode: ``online``, ``offline`` or ``off``, see :func:`connected_mode`.
        project: W&B project.
        entity: W&B user or team; None is the default one.
        tags: W&B tags.
        wait_seconds: how long the end of a phase may wait for uploads.
    """

    mode: Mode
    project: str
    entity: str | None
    tags: tuple[str, ...]
    wait_seconds: float


def connected_mode(mode: str) -> Mode:
    """What ``tracking.mode`` means here and now: as :func:`resolve_mode`, and the server is asked whether it answers.

    ``auto`` is then offline, with a warning, where it does not answer or refuses the key.

    Raises:
        InputError: as :func:`resolve_mode`; ``online`` and the server does not answer or refuses the key.
    """
    resolved = resolve_mode(mode)
    if resolved != "online":
        return resolved
    problem = _unreachable()
    if problem is None:
        return "online"
    if mode == "online":
        raise InputError(f"tracking.mode=online: {problem}; check it, or use tracking=offline")
    log.warning("W&B: %s; going on offline, `wandb sync` sends the files later", problem)
    return "offline"


def resolve_mode(mode: str) -> Mode:
    """What ``tracking.mode`` means here; ``auto`` is online when logged in, otherwise offline. No network is used.

    Raises:
        InputError: ``online`` without being logged in.
    """
    if mode in ("off", "offline"):
        return "off" if mode == "off" else "offline"
    if logged_in():
        return "online"
    if mode == "online":
        raise InputError(
            "tracking.mode=online: not logged in to W&B; run `wandb login`, or use tracking=offline"
        )
    return "offline"


def logged_in() -> bool:
    """Whether an API key is at hand (environment or netrc); no network is used."""
    return _key() is not None


def _key() -> str | None:
    import netrc

    import wandb

    settings = wandb.setup().settings
    if settings.api_key:
        return str(settings.api_key)
    host = settings.base_url.split("//")[-1].split("/")[0]
    file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()  # as W&B finds it
    try:
        keys = netrc.netrc(file)
    except (OSError, netrc.NetrcParseError):
        return None
    found = keys.authenticators(host) or keys.authenticators(FORMER_HOSTS.get(host, host))
    return found[2] or None if found is not None else None


def _unreachable() -> str | None:
    """Why W&B cannot be worked with, or None when it answers and takes the key."""
    import requests
    import wandb

    url = wandb.setup().settings.base_url.rstrip("/")
    try:
        answer = requests.post(
            f"{url}/graphql",
            json={"query": "query Viewer { viewer { id } }"},
            auth=("api", _key() or ""),
            timeout=PROBE_SECONDS,
        )
    except requests.RequestException as problem:
        return f"{url} cannot be reached ({type(problem).__name__})"
    if answer.status_code in (401, 403):
        return f"{url} refuses the API key"
    if answer.status_code >= 500:
        return f"{url} answers with an error ({answer.status_code})"
    try:
        viewer = answer.json()["data"]["viewer"]
    except (ValueError, KeyError, TypeError):
        return f"{url} does not answer as W&B does"
    return f"{url} refuses the API key" if viewer is None else None


def check_tags(tags: Sequence[str]) -> None:
    """Check ``tracking.tags``.

    Raises:
        InputError: a tag that W&B would refuse.
    """
    for tag in tags:
        if not 1 <= len(tag) <= LONGEST_TAG:
            raise InputError(
                f"tracking.tags: {tag!r} has {len(tag)} characters; W&B takes 1 to {LONGEST_TAG}"
            )


def short_tag(text: str) -> str:
    """A tag that W&B takes: one that is too long is cut, and ends in a hash so that it stays unlike others."""
    text = outside.one_line(text)
    if len(text) <= LONGEST_TAG:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: LONGEST_TAG - 9]}~{digest}"


def sweep_tags(name: str, swept: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Tags of a run of a sweep: ``sweep:<name>``, and what it varies, such as ``lr=1e-4``.

    Args:
        name: the runs' name.
        swept: what the sweep varies: short names and values.
    """
    return tuple(short_tag(tag) for tag in (f"sweep:{name}", *(f"{k}={v}" for k, v in swept)))


def shown_name(text: str) -> str:
    """A name for people: on one line, of characters that are seen, and no longer than W&B takes."""
    return outside.one_line(text)[:LONGEST_WANDB_NAME]


def safe_name(text: str) -> str:
    """The same for ids and artifacts, of which W&B takes letters, digits, dashes, dots and underscores."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:LONGEST_WANDB_NAME]


def wandb_id(name: str, run_id: str, phase: str) -> str:
    """Id of the W&B run of a phase: the same each time, and another for the same config under another name."""
    return f"{safe_name(f'{run_id}-{phase}')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def open_run(
    tracking: Tracking, *, directory: Path, run_id: str, phase: str, name: str, config: Mapping[str, Any]
) -> wandb.Run | None:
    """Open the W&B run of one phase, or go on with it. Offline when the server does not answer.

    Args:
        tracking: how; its mode ``off`` opens none.
        directory: where W&B's files go, in ``wandb/``.
        run_id: of the run; all seeds of its config are one group of W&B's.
        phase: the phase's name (the W&B job type).
        name: the run's name.
        config: the resolved config.

    Returns:
        The W&B run, or None when tracking is off or W&B failed, which is logged.
    """
    if tracking.mode == "off":
        return None
    import wandb

    directory.mkdir(parents=True, exist_ok=True)

    def init(mode: Literal["online", "offline"]) -> wandb.Run:
        run = wandb.init(
            mode=mode,
            project=tracking.project,
            entity=tracking.entity,
            tags=list(tracking.tags),
            dir=str(directory),
            id=wandb_id(name, run_id, phase),
            name=shown_name(f"{name} {phase} {run_id}"),
            group=shown_name(group_of(name, run_id)),
            job_type=shown_name(phase),
            config={**used(config), RUN_ID: run_id},
            resume="allow" if mode == "online" else None,
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=INIT_SECONDS,
                finish_timeout=tracking.wait_seconds,
                finish_timeout_raises=True,
                # Nothing ends while a request is retried: by default 20 times, up to a minute apart.
                x_graphql_retry_max=RETRIES,
                x_graphql_retry_wait_max_seconds=RETRY_SECONDS,
            ),
        )
        if not run.offline:
            try:
                _without_waiting(run)
            except wandb.errors.Error:  # the server is gone again
                with suppress(TimeoutError):
                    run.finish(exit_code=1)
                raise
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        return run

    opened: wandb.Run | None = None
    with guarded(f"the run of {phase}"):
        try:
            run = init(tracking.mode)
        except wandb.errors.Error as problem:
            if tracking.mode == "offline":
                raise
            log.warning("W&B: %s; %s is tracked offline", one_line(problem), phase)
            wandb.teardown()  # its process still holds the id of the run that it could not open
            run = init("offline")
        log.info("W&B (%s): %s", "offline" if run.offline else "online", run.dir if run.offline else run.url)
        opened = run
    return opened


def _without_waiting(run: Any) -> None:
    """Let artifacts and tables be queued while the server is away: W&B asks it before each, for 20 s in vain.

    The question is only an early check of the artifact's type; what it is asked through is made once, now.
    """
    run._assert_can_log_artifact = lambda artifact: None
    run._public_api()


def sync_command(run: wandb.Run) -> str:
    """What sends the files of a W&B run to the server, for the shell."""
    folder = shlex.quote(str(Path(run.dir).parent))
    return f"wandb sync {folder}" if run.offline else f"wandb sync --include-online {folder}"


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Log what W&B could not do instead of raising it: it mirrors what is on disk, and must not end a run.

    Interrupts are raised all the same.

    Args:
        what: what is sent, for the message.
    """
    try:
        yield
    except Exception as problem:
        log.warning(
            "W&B does not have all of %s (%s: %s); the run on disk is whole, and `task=runs to=wandb` sends it",
            what, type(problem).__name__, one_line(problem),
        )  # fmt: skip


def one_line(problem: Exception) -> str:
    """The first line of an error's text."""
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), "no reason given")
