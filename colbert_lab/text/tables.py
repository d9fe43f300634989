"""Rows of a data set of the Hugging Face hub, of a local copy of one, or of one file.

The ``datasets`` library says which files belong to a config and a split (from the card, or from the names of the
files), and reads Parquet, which says its types itself. JSON and tables of text are read here: the library would guess
types from the first rows, so that a date becomes a timestamp, 002 a number, and a first empty list a list of nothing.

A local path is meant literally. The library takes paths for patterns (``*?[]``) and ``::`` for a chain of file systems,
so it is shown links to the files, in a folder whose name has none of these.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from colbert_lab.base.errors import InputError
from colbert_lab.text.contents import HUB_ID, data_id
from colbert_lab.text.file_hashes import folder_files
from colbert_lab.text.lines import ending
from colbert_lab.text.row_files import ROWS_AT_ONCE, Form, Row, kept_rows, links, own_cache, rows_of_file
from colbert_lab.text.table_folders import CARD, FORMATS, config_files, tell_unread

if TYPE_CHECKING:
    import datasets

TRAIN = "train"


@dataclass(frozen=True)
class Rows:
    """The files of one config.

    Attributes:
        place: path (and config), for messages.
        files: split to files: local ones (or links to them), or addresses on the hub.
        form: how they are read.
        builder: makes what reads other formats, with a folder for what it writes (None for its own).
        source: identifies local content, when it is called; None on the hub.
        settings: what else decides about the rows.
    """

    place: str
    files: dict[str, list[str]]
    form: Form
    builder: Callable[[str | None], Any] | None = None
    source: Callable[[], str] | None = None
    settings: tuple[str, ...] = ()

    @cached_property
    def mark(self) -> list[str]:
        """Identifies the rows: the content of local files, addresses on the hub, which name the commit."""
        names = [f"{name} {getattr(files, 'origin_metadata', '')}" for name, files in self.files.items()]
        addresses = [address for files in self.files.values() for address in files]
        return [
            *([self.source()] if self.source else [*names, *addresses]),
            *self.settings,
            str(self.form.names),
        ]

    def columns(self, split: str) -> list[str]:
        """The names of the columns, of JSON those of the first 1000 rows.

        Raises:
            InputError: a row cannot be read.
            ValueError: no such split.
        """
        if not self.form.is_text:
            loaded = self._loaded(split, not self.form.remote)
            return list(loaded.column_names or loaded.features or ())
        first = islice(self.rows(split), ROWS_AT_ONCE)
        return list(dict.fromkeys(name for _, row in first for name in row))

    def rows(self, split: str, columns: Sequence[str] = ()) -> Iterator[tuple[str, Row]]:
        """Every row as it stands in its file; values of tables of text are strings.

        Args:
            split: name of the split.
            columns: the columns that are needed, if not all; a row may hold others too.

        Yields:
            Where the row is, for messages, and the row.

        Raises:
            InputError: a row cannot be read.
            ValueError: no such split, or what the ``datasets`` library raises, as for the other errors it has.
        """
        if self.form.is_text:
            for file in self._of(split):
                local = replace(self.form, remote=False)
                yield from rows_of_file(_downloaded(file) if self.form.remote else file, local)
            return
        loaded = self._loaded(split, not self.form.remote)
        there = list(dict.fromkeys(name for name in columns if name in (loaded.column_names or ())))
        if there and set(there) == set(columns):
            loaded = loaded.select_columns(there)
        number = 0
        for block in loaded.iter(ROWS_AT_ONCE):
            for values in zip(*block.values(), strict=True):
                number += 1
                yield f"{self.place} ({split} row {number})", dict(zip(block, values, strict=True))

    def dataset(
        self, split: str, features: datasets.Features, make: Callable[[str, Row], Row], settings: str = ""
    ) -> datasets.Dataset:
        """A memory-mapped dataset.

        Args:
            split: name of the split.
            features: columns and types, where the rows are read here.
            make: gives a row these columns, likewise.
            settings: of ``make``, which the kept rows are found again by.
        """
        if not self.form.is_text:
            return self._loaded(split, False)
        mark = [*self.mark, split, repr(sorted(features.items())), settings]
        return kept_rows(mark, features, (make(where, row) for where, row in self.rows(split)))

    def stream(
        self, split: str, features: datasets.Features, make: Callable[[str, Row], Row]
    ) -> datasets.IterableDataset:
        """Rows that are read, and downloaded, when they are asked for.

        Args:
            split: name of the split.
            features: columns and types, where the rows are read here.
            make: gives a row these columns, likewise.
        """
        import datasets

        if self.form.is_text:
            known = {
                "form": self.form,
                "schema": features.arrow_schema,
                "make": make,
                "files": self._of(split),
            }
            # In blocks, as the library's own readers: its draws differ from those of single rows.
            blocks = datasets.iterable_dataset.ArrowExamplesIterable(_streamed, known)
            return datasets.IterableDataset(blocks, info=datasets.DatasetInfo(features=features))
        return self._loaded(split, True)

    def _of(self, split: str) -> list[str]:
        if split not in self.files and (
            self.form.is_text or split.isidentifier()
        ):  # or a part, as train[:100]
            raise ValueError(f"no split {split}; there are {', '.join(self.files)}")
        return self.files.get(split, [])

    def _loaded(self, split: str, stream: bool) -> Any:
        self._of(split)
        assert self.builder is not None
        if stream:
            return self.builder(None).as_streaming_dataset(split=split)
        builder = self.builder(str(own_cache(self.mark)) if self.source else None)
        builder.download_and_prepare()
        return builder.as_dataset(split=split)


def _streamed(
    form: Form, schema: pa.Schema, make: Callable[[str, Row], Row], files: list[str]
) -> Iterator[tuple[str, pa.Table]]:
    for file in files:
        rows = (make(where, row) for where, row in rows_of_file(file, form))
        while block := list(islice(rows, ROWS_AT_ONCE)):
            yield file, pa.Table.from_pylist(block, schema)


def find_rows(
    path: str,
    config: str | None = None,
    *,
    file: str | None = None,
    pattern: str | None = None,
    revision: str | None = None,
) -> Rows:
    """Find the files of a data set.

    Args:
        path: a folder or a file, literally; or a hub id.
        config: name of the config; None where there is one only.
        file: the one file of the data set to read, literally.
        pattern: the files of the data set to read, with wildcards.
        revision: commit, branch or tag on the hub.

    Raises:
        InputError: nothing is there, it is no table, or a file is a pointer of Git LFS.
        OSError: what the ``datasets`` library raises, as for the other errors it has.
    """
    import datasets  # takes a second, and most runs do not need it

    there = Path(path).expanduser()
    if config and not file and (own := config_files(there).get(config)):
        return find_rows(str(own))
    place = f"{path} ({config})" if config else path
    one = there / file if file else there
    if one.is_file():
        return _one_file(one, place)
    local = there.is_dir()
    if not local and not HUB_ID.fullmatch(path):
        raise InputError(f"{path}: no such file or folder, and not a dataset id of the hub (owner/name)")
    files = glob.escape(file) if file else pattern
    shown = str(links(there, folder_files(there))) if local else path

    def builder(cache: str | None) -> Any:
        return datasets.load_dataset_builder(
            shown, config, data_files=files, revision=revision, cache_dir=cache
        )

    first = builder(None)
    # Without the network, the library gives what it has prepared before, and knows the splits alone.
    found = {str(split): names for split, names in (first.config.data_files or {}).items()}
    found = found or {str(split): [] for split in first.info.splits or ()}
    if local and config is None and files is None and not (there / CARD).is_file():
        tell_unread(there, Path(shown), found)
    form = Form(first.name, getattr(first.config, "sep", None) == "\t", remote=not local, linked=local)
    settings = (
        path if not local else "",
        str(config),
        str(file),
        str(pattern),
        str(first.hash if not local else ""),
    )
    source = (lambda: str(data_id(str(there)))) if local else None
    return Rows(place, found, form, lambda cache: builder(cache) if cache else first, source, settings)


def _one_file(file: Path, place: str) -> Rows:
    import datasets

    kind = FORMATS.get(ending(file))
    if kind is None or (kind == "parquet" and file.suffix == ".gz"):
        raise InputError(f"{file}: unknown file type; there are {', '.join(FORMATS)}")

    def source() -> str:
        return str(data_id(str(file)))

    if kind != "parquet" or not file.stat().st_size:
        form = Form("json" if kind == "parquet" else kind, tabs=ending(file) == ".tsv")
        return Rows(place, {TRAIN: [str(file)]}, form, None, source, (kind,))
    name = f"{TRAIN}.parquet"
    link = str(links(file, {name: file}) / name)
    return Rows(
        place,
        {TRAIN: [link]},
        Form(kind),
        lambda cache: datasets.load_dataset_builder("parquet", data_files=link, cache_dir=cache),
        source,
        (kind,),
    )


def _downloaded(address: str) -> str:
    import datasets

    return str(datasets.DownloadManager().download(address))
