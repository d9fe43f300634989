"""What a config asks of one evaluation split, and which split of its source that is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from colbert_lab.base.errors import InputError, no_folder
from colbert_lab.base.types import DEV_NAMES, HELD_OUT
from colbert_lab.text.collections.beir import (
    QUERIES,
    beir_splits,
    is_beir,
    is_held_out,
    judgments_file,
)
from colbert_lab.text.collections.hub_splits import Layout, fill, hub_split_names
from colbert_lab.text.collections.ir_datasets_splits import documents_id
from colbert_lab.text.collections.text_files import read_qrels
from colbert_lab.text.installed_docs_build import SPLITS
from colbert_lab.text.lines import plain_or_gzipped
from colbert_lab.text.packages.package_docs import PACKAGE_SPLITS

log = logging.getLogger(__name__)
DOCUMENTATION = {"installed_docs": SPLITS, "package_docs": PACKAGE_SPLITS, "text_folder": SPLITS}
"""Types whose text is documentation, and the splits that it has."""
TYPES = ("installed_docs", "beir", "hub", "candidates", "ir_datasets", "package_docs", "text_folder")
ROLES = ("test", "dev")
TRAIN = "train"


@dataclass(frozen=True)
class SplitRequest:
    """One entry of ``evaluation.splits``.

    Attributes:
        type: ``installed_docs``; ``beir`` (a folder in BEIR layout, otherwise like ``hub``); ``hub`` (a data set of
            the Hugging Face hub or a local copy of it, with a ``layout``); ``candidates`` (held-out candidate lists);
            ``ir_datasets`` (a data set of the package of that name); ``package_docs`` (documentation of packages);
            ``text_folder`` (a folder of text).
        split: name of the split in its source; ``auto`` is the dev split, else 10% of the training queries, else
            nothing.
        path: folder, hub id, file, or id of ``ir_datasets``, which names the split too (``split`` is then ``auto``); of
            ``package_docs`` a file of packages, and None is the list that comes along.
        queries: cut to this many queries; None keeps all.
        layout: where a data set of the hub keeps its parts.
        name: what tables call the data set; None takes the end of the path.
        role: ``test`` or ``dev``: what the split counts as here; None goes by its name. BEIR measures MS MARCO on
            its ``dev`` split, which may then not be used to choose anything.
        protocol: what the split asks for: lengths and prompts, see :class:`Split`; ``domain``, which stands for
            ``{domain}`` in the prompts; and ``exclude_same_id``, which takes the document with the query's own id out
            of its ranking.
    """

    type: str
    split: str
    path: str | None = None
    queries: int | None = None
    layout: Layout | None = None
    name: str | None = None
    role: str | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether the path is read as a folder in BEIR layout."""
        folder = Path(self.path or "")
        found = is_beir(folder) or plain_or_gzipped(folder / QUERIES).is_file() or bool(beir_splits(folder))
        return self.type == "beir" and (self.layout is None or found)


@contextmanager
def naming(keys: Sequence[str]) -> Iterator[None]:
    """Put the entries concerned in front of an error.

    Args:
        keys: their names in ``evaluation.splits``.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{', '.join(f'evaluation.splits.{key}' for key in keys)}: {error}") from error


def filled(key: str, request: SplitRequest) -> SplitRequest:
    """Replace the placeholders of an entry.

    Args:
        key: its name in ``evaluation.splits``; stands for ``{key}`` in path, name and layout.
        request: the entry; its path stands for ``{path}`` in the layout, its domain for ``{domain}`` in the prompts.
    """
    path = fill(request.path, {"key": key})
    domain = request.protocol.get("domain")
    protocol = {
        rule: fill(value, {"domain": domain}) if domain and rule.endswith("_prompt") else value
        for rule, value in request.protocol.items()
    }
    return replace(
        request,
        path=path,
        name=fill(request.name, {"key": key}),
        layout=request.layout and request.layout.filled(key=key, path=path or ""),
        protocol=protocol,
    )


def resolve(key: str, request: SplitRequest) -> str | None:
    """Find the split that an entry means.

    Args:
        key: its name in ``evaluation.splits``.
        request: the entry, with placeholders replaced.

    Returns:
        The name of the split in its source; None when ``auto`` finds none.

    Raises:
        InputError: the entry cannot be kept, or its split is not there.
    """
    entry = f"evaluation.splits.{key}"
    if request.type not in TYPES:
        raise InputError(f"{entry}.type={request.type}: must be one of {', '.join(TYPES)}")
    if request.role not in (None, *ROLES):
        raise InputError(f"{entry}.role={request.role}: must be one of {', '.join(ROLES)}, or null")
    if (known := DOCUMENTATION.get(request.type)) is not None:
        if request.split not in known:
            raise InputError(
                f"{entry}.split={request.split}: {request.type} has {', '.join(reversed(known))}"
            )
        if request.type == "text_folder" and not request.path:
            raise InputError(f"{entry}.path: no folder given; set evaluation.path=DIR")
        return request.split
    if request.type == "ir_datasets":
        return _in_ir_datasets(entry, request)
    if not request.path:
        raise InputError(f"{entry}.path: no folder given; set evaluation.path=DIR")
    if request.type == "candidates":
        return request.split
    path = Path(request.path).expanduser()
    copies = (
        path,
        path.with_name(f"{path.name}-qrels"),
    )  # of the hub's data sets, which keep judgments in another one
    if path.is_file() or (
        request.path.startswith(("/", "~", "./", "../")) and not any(map(Path.exists, copies))
    ):
        raise InputError(f"{entry}.path={request.path}: {no_folder(path)}")
    if request.is_folder:
        return _in_folder(entry, request, request.path)
    if request.layout is None:
        raise InputError(
            f"{entry}.layout: none; it says where {request.path} keeps corpus, queries and judgments"
        )
    if request.split != "auto":
        return request.split
    with naming([key]):
        there = hub_split_names(request.layout)
    return _automatic(entry, request.path, there, TRAIN in there)


def _in_ir_datasets(entry: str, request: SplitRequest) -> str | None:
    """The id of a data set, which names its split; None where a dev split has none."""
    if request.split != "auto":
        raise InputError(f"{entry}.split={request.split}: the id in path names the split; set auto")
    if request.path is None and request.role == "dev":
        log.info("%s.path: no data set, so nothing is selected on it", entry)
        return None
    if not request.path:
        raise InputError(f"{entry}.path: no data set; set evaluation.path=ID, such as beir/scifact/test")
    with naming([entry.removeprefix("evaluation.splits.")]):
        documents_id(request.path)
    return request.path


def _in_folder(entry: str, request: SplitRequest, path: str) -> str | None:
    if not Path(path).is_dir():
        raise InputError(f"{entry}.path={path}: {no_folder(Path(path))}")
    available = beir_splits(path)
    if request.split != "auto":
        if (TRAIN if request.split == HELD_OUT else request.split) not in available:
            there = ", ".join(available) or "none"
            raise InputError(f"{entry}.split={request.split}: not in {path}/qrels; splits there: {there}")
        return request.split
    held_out = False
    if TRAIN in available:
        with naming([entry.removeprefix("evaluation.splits.")]):
            held_out = any(map(is_held_out, read_qrels(judgments_file(path, TRAIN))))
    return _automatic(entry, path, available, held_out)


def _automatic(entry: str, path: str, available: Sequence[str], held_out: bool) -> str | None:
    for name in DEV_NAMES[:-1]:
        if name in available:
            return name
    if held_out:
        return HELD_OUT
    log.info(
        "%s: %s has neither dev nor held-out training queries, so nothing is selected on it", entry, path
    )
    return None
