"""Rows: read from JSON files and tables of text, and kept in Arrow files of the library's cache.

Kept are those read from files, and those taken from a dataset's stream, of which only what is read is downloaded.
"""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
from tqdm import tqdm

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError, named
from colbert_lab.base.outside import read_json
from colbert_lab.base.progress import progress_bar
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.lines import check_object, check_pointer, lines_of, opened, parse_json, parse_object

if TYPE_CHECKING:
    import datasets

Row = dict[str, Any]


@dataclass(frozen=True)
class Form:
    """How the rows of JSON files and of tables of text are read.

    Attributes:
        kind: ``json`` or ``csv``; the ``datasets`` library reads the others.
        tabs: whether a table's values are separated by tabs.
        names: a table's columns, where its first line does not say them.
        remote: whether the files are addresses on the hub.
        linked: whether they are links to the files that messages name.
    """

    kind: str
    tabs: bool = False
    names: Sequence[str] | None = None
    remote: bool = False
    linked: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the rows are read here."""
        return self.kind in ("json", "csv")


def rows_of_file(file: str, form: Form) -> Iterator[tuple[str, Row]]:
    """The rows of one file of JSON or of a table of text.

    Args:
        file: local, or an address on the hub, which is read while it comes.
        form: how to read it.

    Raises:
        InputError: a row cannot be read.
    """
    if form.remote:
        import fsspec

        with fsspec.open(file, "rb") as there:
            yield from _parsed(there, file, form)
        return
    local = Path(file)
    with local.open("rb") as there:
        yield from _parsed(there, str(local.readlink()) if form.linked else file, form)


def _parsed(file: Any, place: str, form: Form) -> Iterator[tuple[str, Row]]:
    if form.kind == "csv":
        yield from _table(file, place, form)
        return
    lines = lines_of(file, place)
    first = next(lines, None)
    if first is None:
        return
    if first[2].lstrip().startswith("["):  # one list of objects, on any number of lines
        whole = parse_json("\n".join([first[2], *(line for _, _, line in lines)]), place)
        for number, row in enumerate(whole, start=1):
            yield f"{place} entry {number}", check_object(row, f"{place} entry {number}")
        return
    for _, where, line in chain([first], lines):
        yield where, parse_object(line, where)


def _table(file: Any, place: str, form: Form) -> Iterator[tuple[str, Row]]:
    names = form.names
    for where, values in _split_lines(file, place) if form.tabs else _csv(file, place):
        if names is None:
            names = values
            if len(set(names)) < len(names):
                raise InputError(f"{where}: two columns have one name; it has {named(names)}")
            continue
        if len(values) != len(names):
            raise InputError(
                f"{where}: {len(values)} values; there are {len(names)} columns ({named(names)})"
            )
        yield where, dict(zip(names, values, strict=True))


def _split_lines(file: Any, place: str) -> Iterator[tuple[str, list[str]]]:
    for _, where, line in lines_of(file, place):
        yield where, line.split("\t")


def _csv(file: Any, place: str) -> Iterator[tuple[str, list[str]]]:
    csv.field_size_limit(sys.maxsize)  # 128 KiB without it
    with opened(file, place) as data:
        lines = (raw.decode("utf-8" if number else "utf-8-sig") for number, raw in enumerate(data))
        reader = csv.reader(lines, strict=True)
        try:
            for values in reader:
                if values:
                    yield f"{place} line {reader.line_num}", values
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                f"{place} line {reader.line_num + 1}: not valid CSV in UTF-8 ({error})"
            ) from error


BUFFER = 10_000  # rows among which the next one is drawn
SEED = 0
ROWS_AT_ONCE = 1000
log = logging.getLogger(__name__)


class Stream(NamedTuple):
    """Rows of a split.

    Attributes:
        table: as the ``datasets`` library reads it.
        features: columns and types to keep.
        make: gives a row these columns, if it has not got them.
    """

    table: datasets.IterableDataset
    features: datasets.Features
    make: Callable[[str, Row], Row] | None


def read_streams(
    name: str,
    streams: Callable[[], Mapping[str, Stream]],
    place: Callable[[], Path],
    *,
    rows: int,
) -> dict[str, datasets.Dataset]:
    """The first rows of each split's shuffled stream, as memory-mapped datasets.

    Training wants rows by number (exact resume, one order for all processes, no document twice in a batch), which a
    stream cannot give. So the rows that a study needs are read once, in the stream's order (shuffled in a buffer of
    10,000 rows with a fixed seed; a dataset of several files has its files shuffled too), and written to an Arrow file
    that later runs open without the network.

    Args:
        name: of the dataset, for the log.
        streams: split to stream; asked for when the rows are not there yet.
        place: the folder to keep them in, named by what identifies them; asked for again when the streams are found,
            as the commit of a dataset on the hub is known then.
        rows: most rows of a split.

    Raises:
        OSError: what reading the streams raises, as for the other errors it has.
    """
    import datasets

    kept = place()
    if not (kept / "splits.json").is_file():
        found = streams()
        kept = place()
        with atomic_folder(kept, whole_with="splits.json") as temporary:
            for number, (split, stream) in enumerate(found.items()):
                taken = stream.table.shuffle(seed=SEED, buffer_size=BUFFER).take(rows)
                bar = progress_bar(total=rows, desc=f"stream of {split}", unit=" rows")
                with bar:
                    made = _made(stream, taken, split, bar)
                    write_rows(temporary / f"{number}.arrow", stream.features, made)
            (temporary / "splits.json").write_text(json.dumps(list(found)), encoding="utf-8")
    log.info("%s: rows of its stream in %s (delete the folder to read it anew)", name, kept)
    names = read_json(
        kept / "splits.json", list[str], "delete its folder, and the same command reads it anew"
    )
    return {split: datasets.Dataset.from_file(str(kept / f"{n}.arrow")) for n, split in enumerate(names)}


def _made(stream: Stream, taken: datasets.IterableDataset, split: str, bar: tqdm) -> Iterator[Row]:
    """The rows, read in blocks: the library draws in another order when it is asked row by row."""
    for block in taken.iter(batch_size=ROWS_AT_ONCE):
        for values in zip(*block.values(), strict=True):
            bar.update()
            row = dict(zip(block, values, strict=True))
            yield stream.make(f"stream of {split}", row) if stream.make else row


def own_cache(mark: Iterable[str]) -> Path:
    """Where what is made of data is kept.

    The ``datasets`` library itself finds its copy of a folder by the folder's name, its README and the names of its
    files, so another folder, or another state of the same one, could be taken for it.

    Args:
        mark: identifies the data.
    """
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE) / "local" / fingerprint(mark)


def kept_rows(mark: Iterable[str], features: datasets.Features, rows: Iterable[Row]) -> datasets.Dataset:
    """Rows in an Arrow file of the ``datasets`` library's cache, written when it is not there yet.

    Args:
        mark: identifies the rows.
        features: their columns and types.
        rows: read once, if at all.
    """
    import datasets

    folder = own_cache(["rows 1", *mark])
    file = folder / "rows.arrow"
    if not file.is_file():
        with atomic_folder(folder, whole_with=file.name) as temporary:
            write_rows(temporary / file.name, features, rows)
    return datasets.Dataset.from_file(str(file))


def write_rows(file: Path, features: datasets.Features, rows: Iterable[Row]) -> None:
    """Write an Arrow file that ``datasets.Dataset.from_file`` maps.

    Args:
        file: to be made.
        features: columns and types.
        rows: in their order; a missing value is null.
    """
    schema = features.arrow_schema
    source = iter(rows)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while block := list(islice(source, ROWS_AT_ONCE)):
            writer.write_batch(pa.RecordBatch.from_pylist(block, schema))


_WHOLE = ".whole"
_LONGEST_POINTER = 1024  # bytes


def links(source: Path, files: Mapping[str, Path]) -> Path:
    """A folder with links to files.

    Args:
        source: file or folder that they belong to.
        files: by their names in the new folder.
    """
    for file in files.values():
        if file.stat().st_size < _LONGEST_POINTER:
            check_pointer(file.read_bytes(), str(file))
    folder = own_cache(["links", str(source.resolve()), *files])
    if not (folder / _WHOLE).is_file():
        with atomic_folder(folder, whole_with=_WHOLE) as temporary:
            for name, file in files.items():
                link = temporary / name.replace("::", "__")
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.absolute())
            (temporary / _WHOLE).touch()
    return folder
