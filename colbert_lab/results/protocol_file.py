"""``protocols.json`` of a run: what the protocol hashes of its records stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colbert_lab.atomic import write_text
from colbert_lab.results.identity import protocol_hash

PROTOCOLS = "protocols.json"


def add_protocol(run: Path, protocol: Mapping[str, Any]) -> str:
    """Keep a protocol in a run's folder, once.

    Args:
        run: the run's folder.
        protocol: see :attr:`colbert_lab.metrics.evaluator.Result.protocol`.

    Returns:
        Its hash, the ``protocol_hash`` of the records measured under it.
    """
    hashed = protocol_hash(protocol)
    known = read_protocols(run)
    if hashed not in known:
        write_text(run / PROTOCOLS, json.dumps({**known, hashed: protocol}, indent=2) + "\n")
    return hashed


def read_protocols(run: Path) -> dict[str, dict[str, Any]]:
    """The protocols of a run by their hash; empty where there is no file (older runs) or it is damaged."""
    try:
        found = json.loads((run / PROTOCOLS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {hashed: protocol for hashed, protocol in found.items() if isinstance(protocol, dict)}
