"""The command line: ``python -m colbert_lab``. Heavy imports wait until there is a config to run."""

from __future__ import annotations

import errno
import logging
import os
import re
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from colbert_lab.arguments import null_group, quoted
from colbert_lab.errors import CheckFailed, InputError
from colbert_lab.sweeping import end_sweep, in_sweep, reset_sweep, run_cell
from colbert_lab.tasks import execute

PACKAGE = Path(__file__).resolve().parent
# The wheel carries conf/ inside the package; a checkout has it beside the package.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
WANTS_TRACE = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("0", "")


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def _run(cfg: DictConfig) -> float | None:
    if in_sweep():
        return run_cell(cfg, _execute)
    try:
        return _execute(cfg)
    except InputError as error:
        # Hydra would print a second line before it passed the error on.
        stop(error)
    except CheckFailed as error:
        stop(error, status=1)


def _execute(cfg: DictConfig) -> float | None:
    try:
        return execute(cfg)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise InputError(
            f"{error.filename or cfg.output_dir}: {error.strerror}; the same command goes on from there"
        ) from error


def one_line(error: Exception) -> str:
    """A Hydra, OmegaConf or input error as one line that names key and cause."""
    text = str(error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error)
    if isinstance(error, InputError | CheckFailed):
        return str(error)
    missing = re.search(r"Could not find '(?P<wanted>[^']+)'", str(error))
    if missing:
        group, _, _ = missing["wanted"].rpartition("/")
        options = sorted(p.stem for p in (CONF / group).glob("*.yaml")) if group else []
        return f"{missing['wanted']}: no such config" + (
            f"; there are {', '.join(options)}" if options else ""
        )
    outer = [line.strip() for line in str(error).splitlines() if line.strip()]
    inner = [line.strip() for line in text.splitlines() if line.strip() and "object_type" not in line]
    return "; ".join(dict.fromkeys(line.rstrip(".;") for line in [*outer[:2], *inner[:1]]))


def stop(error: Exception, status: int = 2) -> NoReturn:
    """End with one line and an exit status; with a traceback when the user set HYDRA_FULL_ERROR=1."""
    if WANTS_TRACE:
        raise error
    print(f"error: {one_line(error)}", file=sys.stderr)
    sys.exit(status)


def main() -> None:
    """Run the command line; mistakes of the user end in one line and exit status 2.

    A sweep ends in a table of its cells, see :func:`colbert_lab.sweeping.end_sweep`, whatever became of them.
    """
    logging.captureWarnings(True)
    if wrong := null_group(sys.argv[1:], CONF):
        stop(InputError(wrong))
    again = shlex.join(["python", "-m", "colbert_lab", *sys.argv[1:]])
    reset_sweep()
    sys.argv = [sys.argv[0], *quoted(sys.argv[1:])]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let errors through to us instead of Hydra's own report
    try:
        _run()
    except (HydraException, OmegaConfBaseException) as error:
        end_sweep(again)
        stop(error)
    except KeyboardInterrupt:
        end_sweep(again)
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if end_sweep(again) is None:
            raise
        # Of the launcher: errors of cells are kept from the sweep.
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    if status := end_sweep(again):
        sys.exit(status)


if __name__ == "__main__":
    main()
