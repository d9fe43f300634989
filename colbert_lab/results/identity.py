"""Hashes that say whether two runs, phases or evaluations are the same."""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

NOT_IDENTITY = (
    "seed",
    "name",
    "output_dir",
    "cache_dir",
    "tracking",
    "progress",
    "reuse",
    "trainer.num_workers",
    "evaluation.memory",
    "evaluation.keep_embeddings",
    "hydra",
    "runs",
    "out",
    "compare",
    "score",
    "mine",
    "audit",
    "query",
    "document",
    "explain",
    "push",
    "repo",
    "ledger",
    "plan",
    "certify",
    "study",
)
"""Config keys, dots for nesting, that do not change what a run computes: where it writes, what it shows, how
many processes load data, how much memory they use, what the other tasks read. The seed is apart because runs of
one config differ by it alone (it is in the run id). Device and precision stay in: they change numbers. The task
stays in: two tasks are two runs."""

NOT_FACTORS = (
    "seed",
    "name",
    "output_dir",
    "cache_dir",
    "reuse",
    "progress",
    "task",
    "tracking",
    "runs",
    "compare",
    "plan",
    "certify",
    "study",
    "out",
)
"""First parts of the keys of overrides that do not make a run another experiment."""

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


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash of everything in a config that decides the result, see ``NOT_IDENTITY``.

    Args:
        config: the resolved config as plain dicts and lists.

    Returns:
        The SHA-256 in hexadecimal.

    Raises:
        TypeError: a value of a type that config files cannot hold.
    """
    kept = dict(config)
    for path in NOT_IDENTITY:
        _drop(kept, path.split("."))
    return _sha256(canonical_json(kept))


def asked_hash(config: Mapping[str, Any]) -> str:
    """Hash of a config as it was asked for, with ``auto`` in it, on this machine.

    Equal ones have equal :func:`config_hash` once ``auto`` is resolved, which takes torch: a finished run can be
    recognised without it. It says nothing of other machines.

    Args:
        config: as in :func:`config_hash`, before anything that depends on the machine is filled in.

    Returns:
        The SHA-256 in hexadecimal.
    """
    where = [socket.gethostname(), os.environ.get("CUDA_VISIBLE_DEVICES")]
    return _sha256(canonical_json([config_hash(config), where]))


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


def _drop(config: dict[str, Any], path: list[str]) -> None:
    """Remove a nested key; copies the dicts on the way, so that the caller's are left alone."""
    head, *rest = path
    if head not in config:
        return
    if not rest:
        del config[head]
    elif isinstance(config[head], Mapping):
        config[head] = dict(config[head])
        _drop(config[head], rest)


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
