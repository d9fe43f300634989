"""Hashes that say whether two runs, phases or evaluations are the same."""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from colbert_lab.base.machine import cores
from colbert_lab.settings import lightning
from colbert_lab.settings.roles import Role, defaults, keys
from colbert_lab.settings.typed import check_plain
from colbert_lab.settings.whole import APART, Settings

FLAGS = tuple(f"{lightning.KEY}.{flag}" for flag in lightning.NOT_IDENTITY)
NOT_IDENTITY = (*keys(Settings, lacks=Role.RUN), *APART, "hydra", *FLAGS)
"""Config keys, dots for nesting, that do not change what a run computes: where it writes, what it shows, how
many processes load data, how much memory they use, what the other tasks read; and what a checked config says once
more where it is read (a phase's ``data``, the entries of ``evaluation.splits``). The seed is apart because runs of one
config differ by it alone (it is in the run id). Device and precision stay in: they change numbers. The task stays in:
two tasks are two runs."""
NOTHING_IF_EMPTY = defaults(Settings, has=Role.IF_ANY)
"""Config keys that count where they say something, each with what says nothing beside null, 0 and what is empty; ``*``
stands for the names of a mapping."""
NOT_FACTORS = frozenset(key for key in keys(Settings, lacks=Role.FACTOR) if "." not in key)
"""First parts of the keys of overrides that do not make a run another experiment."""
OF_OTHER_TASKS = frozenset(keys(Settings, has=Role.TASK))
"""Keys of the config that no run reads."""

SHORT = 10
"""Hexadecimal digits of a shortened hash: among 10,000 configs, a collision has a chance of 5 in 100,000."""


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, non-finite floats as marked strings.

    1 and 1.0 give different texts, and so do ``True`` and 1. Tuples count as lists.

    Args:
        value: nested dicts, lists, tuples, strings, numbers, booleans and None.

    Raises:
        TypeError: any other type (resolve OmegaConf containers to plain ones first), or a dict key that is
            not a string.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def config_hash(config: Mapping[str, Any], means: Mapping[str, Any] | None = None) -> str:
    """Hash of everything in a config that decides the result, see ``NOT_IDENTITY``; phases that do not run are none.

    Args:
        config: the resolved config as plain dicts and lists.
        means: config key (with dots) to what its value stands for, in whose place it counts: the content of a path
            (:func:`colbert_lab.records.contents.contents_of`), what ``auto`` is here. None leaves a value as it is.
            A key that is a part of the config counts beside it.

    Returns:
        The SHA-256 in hexadecimal.

    Raises:
        InputError: a value of a type that config files cannot hold, or a key that is no text.
    """
    kept = dict(config)
    if isinstance(phases := config.get("phases"), Mapping):
        # A task that trains nothing has phases, and perhaps a schedule, when an experiment is named.
        run = config.get("schedule") or () if config.get("task") == "train" else ()
        kept["phases"] = {name: phase for name, phase in phases.items() if name in run}
    known = {key: value for key, value in (means or {}).items() if value is not None}
    for path in (*NOT_IDENTITY, *known):
        _drop(kept, path.split("."), parts=path in NOT_IDENTITY)
    kept = saying(kept, NOTHING_IF_EMPTY)
    check_plain(kept)
    return _sha256(canonical_json([kept, known] if known else kept))


def saying(config: Mapping[str, Any], nothing: Mapping[str, Any]) -> dict[str, Any]:
    """A config without those of some keys that say nothing: null, 0, false, what is empty, and one value of each key.

    Args:
        config: plain dicts and lists; it stays as it is.
        nothing: keys with dots, where ``*`` stands for the names of a mapping, and the value of each that says nothing.
    """
    kept = dict(config)
    for path, value in nothing.items():
        _drop(kept, path.split("."), parts=True, only=(None, 0, "", {}, [], value))
    return kept


def asked_where(config: Mapping[str, Any]) -> list[Any]:
    """What of this machine and environment decides what ``auto`` and a number of threads left open become.

    Call it before :func:`colbert_lab.training.precision.prepare_torch`, which changes the environment.

    Args:
        config: as for :func:`asked_hash`.
    """
    where = [socket.gethostname(), os.environ.get("CUDA_VISIBLE_DEVICES")]
    if (config.get("trainer") or {}).get("threads") is None:
        return [*where, cores(), os.environ.get("OMP_NUM_THREADS"), os.environ.get("MKL_NUM_THREADS")]
    return where


def asked_hash(config: Mapping[str, Any], contents: Mapping[str, str | None], where: Sequence[Any]) -> str:
    """Hash of a config as it was asked for, with ``auto`` in it, on this machine.

    Equal ones have equal :func:`config_hash` once ``auto`` is resolved, which takes torch: a finished run can be
    recognised without it. It says nothing of other machines.

    Args:
        config: as in :func:`config_hash`, before anything that depends on the machine is filled in.
        contents: see :func:`colbert_lab.records.contents.contents_of`.
        where: see :func:`asked_where`.

    Returns:
        The SHA-256 in hexadecimal.
    """
    return _sha256(canonical_json([config_hash(config, contents), list(where)]))


def factors(overrides: Sequence[str]) -> dict[str, str]:
    """The overrides that make a run what it is, as ``{key: value}``; those of ``NOT_FACTORS`` are left out.

    Args:
        overrides: as given on the command line.
    """
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: value for key, _, value in pairs if key.split(".")[0].split("@")[0] not in NOT_FACTORS}


def run_id(config_hash: str, seed: int, repeat: int = 1) -> str:
    """Name of a run, for example ``3f9a2c71d0-s1`` or, trained anew, ``3f9a2c71d0-s1-r2``.

    Args:
        config_hash: what :func:`config_hash` returned.
        seed: the seed of the run.
        repeat: 1 for the first run of this config and seed.

    Raises:
        ValueError: a repeat below 1, or a hash that is too short.
    """
    if repeat < 1 or len(config_hash) < SHORT:
        raise ValueError(
            f"repeat {repeat} must be at least 1 and the hash {config_hash!r} at least {SHORT} long"
        )
    return f"{config_hash[:SHORT]}-s{seed}" + (f"-r{repeat}" if repeat > 1 else "")


def phase_hash(
    phase_config: Mapping[str, Any],
    seed: int,
    data_fingerprint: str,
    parent_hash: str | None,
    code_version: str | int,
) -> str:
    """Hash of everything that decides the student at the end of a phase.

    Args:
        phase_config: the phase's part of the resolved config, as plain dicts and lists.
        seed: the seed of the run.
        data_fingerprint: fingerprint of the training data.
        parent_hash: hash of the student that the phase starts from; None where there is none.
        code_version: a constant that the training code raises when its results change.

    Returns:
        The SHA-256 in hexadecimal.
    """
    return _sha256(canonical_json([phase_config, seed, data_fingerprint, parent_hash, code_version]))


def protocol_hash(protocol: Mapping[str, Any]) -> str:
    """Short hash of how an evaluation was made: values with equal ones may be compared.

    Args:
        protocol: lengths, prompts, exclusions, depth, mode and its parameters.

    Returns:
        The first 10 hexadecimal digits of the SHA-256.
    """
    return _sha256(canonical_json(protocol))[:SHORT]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _drop(config: dict[str, Any], path: list[str], parts: bool, only: Sequence[Any] | None = None) -> None:
    """Remove a nested key: also a part of the config (``parts``), or only where it has one of some values (``only``).

    The dicts on the way are copied.
    """
    first, *rest = path
    for head in list(config) if first == "*" else [first]:
        if head not in config:
            continue
        value = config[head]
        if rest and isinstance(value, Mapping):
            config[head] = dict(value)
            _drop(config[head], rest, parts, only)
        elif not rest and (parts or not isinstance(value, Mapping)) and (only is None or value in only):
            del config[head]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"config keys must be strings to be hashed, not {wrong[0]!r}")
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"__float__": str(value)}
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"cannot hash a {type(value).__name__}: {value!r}")
