"""What a config's paths, hub ids and package names stand for: the content that identifies a run.

A run is known by what it reads, not by where that lies: the same data at another path is the same run, and other data
at the same path is another one. Which settings name content is declared here, for every part of a config that a run
reads; nothing is guessed from whether a file of that name happens to exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict

from colbert_lab.base.atomic import write_text
from colbert_lab.base.errors import InputError
from colbert_lab.base.outside import read_json_or
from colbert_lab.text.collections.beir import is_beir
from colbert_lab.text.collections.hub_splits import Layout, fill
from colbert_lab.text.collections.ir_datasets_splits import ir_dataset_id
from colbert_lab.text.collections.split_request import SplitRequest
from colbert_lab.text.contents import DATA, MODELS, code_id, data_id, model_id
from colbert_lab.text.file_hashes import collection_files, files_id
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.installed_docs import installed_id
from colbert_lab.text.lines import beside
from colbert_lab.text.packages.fetching import packages_id
from colbert_lab.text.scored_lists import is_tables

CONTENTS_FILE = "contents.json"
INSTALLED = (
    "colbert_lab.sources.sources.InstalledDocsLists",
    "colbert_lab.sources.triple_sources.InstalledDocsTriples",
)
COLLECTIONS = {
    "colbert_lab.sources.sources.ScoredListFiles": "scores",
    "colbert_lab.sources.triple_sources.TripleFiles": "triples",
}
"""Sources that read a collection's documents and queries, and the setting that names the file of ids beside them."""
BEIR = "colbert_lab.sources.triple_sources.TripleFiles"
IR_DATASETS = "colbert_lab.sources.ir_datasets_rows.IrDatasetRows"
INSTALLED_DOCS, PACKAGE_DOCS = "installed_docs", "package_docs"
PACKAGES = "colbert_lab.sources.documentation_text."
"""Where the sources are that read documentation of packages, or of a folder."""
TARGET = "_target_"
OWN = ("objective", "optimizer")
"""Parts of a phase, beside its data, that may be classes of the user's own."""


class _Content(TypedDict):
    value: str | None
    content: str | None


def contents_of(config: Mapping[str, Any]) -> dict[str, str | None]:
    """What each setting that names content holds now, for the part of a config that a run of it reads.

    Args:
        config: the checked config of ``task=train`` or ``task=evaluate``, as plain dicts and lists.

    Returns:
        Config key (with dots) to what :mod:`colbert_lab.text.contents` says; None where that is not known, because
        nothing is there, or a hub id has not been looked up yet. The embedded documentation stands under the key of
        what reads it.

    Raises:
        InputError: something is there and cannot be read.
    """
    try:
        return dict(_found(config))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        place = getattr(error, "filename", None) or "a path in the config"
        raise InputError(f"{place}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def beside_data(name: str, phase: Mapping[str, Any]) -> dict[str, str | None]:
    """What losses and optimizer of a phase stand for: their code where that is the user's own, and models they name.

    Args:
        name: of the phase.
        phase: its settings, as plain dicts and lists.
    """
    return {key: found for part in OWN for key, found in _node(f"phases.{name}.{part}", phase.get(part))}


def of_callbacks(config: Mapping[str, Any]) -> dict[str, str | None]:
    """What the callbacks of ``trainer.callbacks`` stand for: their code, and models and data that they name.

    Args:
        config: as for :func:`contents_of`.
    """
    return dict(_node("trainer.callbacks", (config.get("trainer") or {}).get("callbacks")))


def write_contents(folder: Path, config: Mapping[str, Any], contents: Mapping[str, str | None]) -> None:
    """Write into a run's folder what its settings stood for.

    Args:
        folder: the run's folder.
        config: as for :func:`contents_of`.
        contents: what that returned.
    """
    told = {key: {"value": setting(config, key), "content": found} for key, found in contents.items()}
    write_text(folder / CONTENTS_FILE, json.dumps(told, indent=2) + "\n")


def read_contents(folder: Path) -> dict[str, str | None]:
    """What :func:`write_contents` wrote: config key to content; empty where there is none that can be read."""
    told = read_json_or(folder / CONTENTS_FILE, dict[str, _Content])
    return {key: each["content"] for key, each in told.items()}


def other_contents(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> list[str]:
    """The config keys whose content is not the same in both."""
    return [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]


def setting(config: Mapping[str, Any], key: str) -> str | None:
    """The value of a config key where it is a text; None for a part of the config.

    Args:
        config: plain dicts and lists.
        key: with dots.
    """
    inner: Any = config
    for part in key.split("."):
        inner = inner.get(part) if isinstance(inner, Mapping) else None
    return inner if isinstance(inner, str) else None


def _found(config: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    student = config.get("student") or {}
    key = "checkpoint" if student.get("checkpoint") is not None else "backbone"
    if student.get(key) is not None:
        yield f"student.{key}", model_id(student[key])
    yield from _node("student.head", student.get("head"))
    phases = config.get("phases") or {}
    for name in (config.get("schedule") or ()) if config.get("task") == "train" else ():
        phase = phases.get(name) or {}
        yield from _node(f"phases.{name}.data", phase.get("data"))
        yield from beside_data(name, phase).items()
    if config.get("task") == "train":
        yield from of_callbacks(config).items()
    evaluation = config.get("evaluation") or {}
    for name, entry in (evaluation.get("splits") or {}).items():
        if entry is not None:
            yield from _split(name, entry)
    yield from _node("evaluation.baselines", evaluation.get("baselines"))
    for own in ("own_modes", "own_measures"):
        yield from _node(f"evaluation.{own}", evaluation.get(own))
    modes, rerank = evaluation.get("mode"), evaluation.get("rerank") or {}
    if "rerank" in (modes if isinstance(modes, list) else [modes]):
        if rerank.get("run") is not None:
            yield "evaluation.rerank.run", data_id(rerank["run"])
        else:
            yield from _node("evaluation.rerank.first_stage", rerank.get("first_stage"))


def _node(key: str, node: Any) -> Iterator[tuple[str, str | None]]:
    """What is named in a part of the config that is instantiated, and in the parts of it."""
    if not isinstance(node, Mapping):
        return
    target = node.get(TARGET)
    if isinstance(target, str) and (code := code_id(target)) is not None:
        yield f"{key}.{TARGET}", f"{target} {code}"
    if target in INSTALLED:
        yield key, _installed()
    if isinstance(target, str) and target.startswith(PACKAGES) and node.get("path") is None:
        yield f"{key}.packages", f"packages:{packages_id(node.get('packages'))}"
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _node(f"{key}.{name}", value)
        elif target is not None and isinstance(value, str):
            if name in MODELS:
                yield f"{key}.{name}", model_id(value)
            elif name in DATA:
                yield f"{key}.{name}", _source(target, name, node)


def _source(target: str, name: str, node: Mapping[str, Any]) -> str | None:
    """What a source of training data reads."""
    if target == IR_DATASETS:
        return ir_dataset_id(node[name], node.get("use") == "docpairs", node.get("rows"))
    folder, revision = Path(node[name]), node.get("revision")
    ids = node.get(COLLECTIONS.get(target, ""))
    if isinstance(ids, str):
        collection = collection_files(folder, judgments=False)
        texts = data_id(str(folder)) if is_tables(folder) else files_id(collection)
        return _ids(texts, data_id(str(beside(folder, ids))))
    if target == BEIR and is_beir(folder):
        return f"sha256:{files_id(collection_files(folder, judgments=True))}"
    return data_id(node[name], revision if isinstance(revision, str) else None)


def _split(name: str, entry: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """What an entry of ``evaluation.splits`` reads."""
    key, path = f"evaluation.splits.{name}", fill(entry.get("path"), {"key": name})
    if entry.get("type") == INSTALLED_DOCS:
        yield key, _installed()
    elif entry.get("type") == PACKAGE_DOCS:
        yield f"{key}.path", f"packages:{packages_id(path, f'{key}.path')}"
    elif path and entry.get("type") == "ir_datasets":
        yield f"{key}.path", ir_dataset_id(path)
    elif path:
        tables = [table for table in (entry.get("layout") or {}).values() if isinstance(table, Mapping)]
        layout = Layout() if tables else None
        if SplitRequest(str(entry.get("type")), "", path, layout=layout).is_folder:
            yield f"{key}.path", f"sha256:{files_id(collection_files(Path(path), judgments=True))}"
            return
        places = [fill(table.get("path"), {"key": name, "path": path}) or path for table in tables] or [path]
        files = [fill(table.get("file"), {"key": name}) for table in tables] or [None]
        found = {_placed(place, file) for place, file in zip(places, files, strict=True)}
        yield f"{key}.path", found.pop() if len(found) == 1 else _ids(*sorted(found, key=str))


def _placed(place: str, file: str | None) -> str | None:
    """The content of a table's place, or of the one file of it that is read."""
    named = Path(place).expanduser() / (file or "")
    return data_id(str(named)) if file and named.is_file() else data_id(place)


@lru_cache(maxsize=1)
def _installed() -> str:
    """Looking the packages up takes a fifth of a second, and they stay what they are while a process lives."""
    return f"packages:{installed_id()}"


def _ids(*found: str | None) -> str | None:
    """One id of several; None where one of them is not known."""
    whole = [each for each in found if each is not None]
    return None if len(whole) < len(found) else f"sha256:{fingerprint(whole)}"
