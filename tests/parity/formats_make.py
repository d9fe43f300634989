"""Write the golden cases of a peer library: folders that it saves, and what it computes with them.

Runs in the peer's own environment, from the root of the repository, where colbert_lab need not be installed:

    PEER/bin/python -m tests.parity.formats_make pylate OUT                   pylate==1.6.0
    PEER/bin/python -m tests.parity.formats_make sentence_transformers OUT    sentence-transformers==6.2.0
    PEER/bin/python -m tests.parity.formats_make stanford OUT                 colbert-ai==0.2.22
    PEER/bin/python -m tests.parity.formats_make flag_embedding OUT           FlagEmbedding==1.4.2

OUT/PEER-VERSION/CASE is laid out as formats_golden.py says; with OUT = tests/parity/formats it replaces the
committed cases. ``--backbone FOLDER`` makes one case with that Hugging Face folder instead of a tiny one.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from importlib import import_module, metadata
from pathlib import Path

import torch

from tests.parity.formats_golden import EXPECTED_FILE, GOLDENS, Golden

PACKAGES = {
    "pylate": "pylate",
    "sentence_transformers": "sentence-transformers",
    "stanford": "colbert-ai",
    "flag_embedding": "FlagEmbedding",
}
VERSIONS = {
    "pylate": "1.6.0",
    "sentence_transformers": "6.2.0",
    "stanford": "0.2.22",
    "flag_embedding": "1.4.2",
}


def make(peer: str, out: Path, backbone: Path | None) -> None:
    """Write all cases of a peer under ``out``."""
    library = import_module(f"tests.parity.formats_{peer}")
    version = metadata.version(PACKAGES[peer])
    libraries = {name: metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
    with tempfile.TemporaryDirectory() as work:
        for name, note, folder, texts, settings in library.make_cases(Path(work), backbone):
            target = out / f"{peer}-{version}" / name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            model = "model"
            if folder.is_relative_to(GOLDENS):
                model = f"../../{folder.relative_to(GOLDENS)}"
            else:
                shutil.copytree(folder, target / model, ignore=shutil.ignore_patterns("README.md"))
                folder = target / model
            library.encode(folder, texts).save(target / EXPECTED_FILE)
            Golden(name, peer, version, libraries, model, texts, settings, note).save(target)


def main() -> None:
    """Read the command line and make the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=list(PACKAGES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    make(arguments.peer, arguments.out.resolve(), arguments.backbone)


if __name__ == "__main__":
    main()
