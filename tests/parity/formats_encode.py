"""Encode texts with a peer library and a folder that it can read, whoever saved that.

Runs in the peer's own environment, from the root of the repository, where colbert_lab need not be installed:

    PEER/bin/python -m tests.parity.formats_encode PEER FOLDER TEXTS.json OUT.safetensors

PEER is pylate, sentence_transformers, stanford, flag_embedding or txtai. TEXTS.json has the keys of
``formats_golden.Texts`` (``texts`` of a case.json); OUT.safetensors is read by ``formats_golden.Encoded.load``.
"""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

import torch

from tests.parity.formats_golden import texts_from

PEERS = ("pylate", "sentence_transformers", "stanford", "flag_embedding", "txtai")


def main() -> None:
    """Read the command line, encode, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = texts_from(json.loads(arguments.texts.read_text(encoding="utf-8")))
    library = import_module(f"tests.parity.formats_{arguments.peer}")
    library.encode(arguments.folder.resolve(), texts).save(arguments.out)


if __name__ == "__main__":
    main()
