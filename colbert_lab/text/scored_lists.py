"""Read teacher score lists, the training data of distillation, from the layouts in which they and their texts come."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.text.collections.beir import CORPUS, beir_documents, is_beir, load_beir_queries
from colbert_lab.text.collections.text_files import COLLECTION, is_tsv_collection, tsv_documents, tsv_queries
from colbert_lab.text.contents import data_id
from colbert_lab.text.file_hashes import collection_files, files_id
from colbert_lab.text.lines import as_id, as_text, beside, ending, reading, stem
from colbert_lab.text.list_rows import ROW_COLUMNS, ListRow, check_scores, parse_row, renamed, rows_of_scores
from colbert_lab.text.list_store import open_lists, open_texts
from colbert_lab.text.row_files import Row
from colbert_lab.text.rows.examples import ScoredLists
from colbert_lab.text.table_folders import config_files
from colbert_lab.text.tables import TRAIN, Rows, find_rows

_log = logging.getLogger(__name__)
KEY = "data.scores"
TEXT_COLUMNS = ("document_id", "text")


@dataclass(frozen=True)
class ListFolder:
    """A file of lists over a folder with documents and queries.

    Attributes:
        folder: in BEIR layout, or with ``collection.tsv`` and ``queries.tsv``.
        file: of the lists.
        columns: our column name to the file's.
    """

    folder: Path
    file: Path
    columns: Mapping[str, str]

    @property
    def name(self) -> str:
        """What tables call the lists."""
        return f"{self.folder.resolve().name}/{stem(self.file)}"

    @property
    def source(self) -> str:
        """Where they come from."""
        return str(self.file)

    @property
    def key(self) -> str:
        """Names the lists in errors."""
        return f"{KEY}: {self.file}"

    @property
    def documents_key(self) -> str:
        """Names the documents in errors."""
        return f"data.path: {self.folder}"

    @property
    def text_mark(self) -> list[str]:
        """Identifies the documents by their content."""
        files = collection_files(self.folder, judgments=False)
        return [files_id({name: file for name, file in files.items() if not name.startswith("queries")})]

    @property
    def row_mark(self) -> list[str]:
        """Identifies lists and queries by their content."""
        files = collection_files(self.folder, judgments=False)
        queries = files_id({name: file for name, file in files.items() if name.startswith("queries")})
        return [queries, str(data_id(str(self.file))), ending(self.file), str(sorted(self.columns.items()))]

    def documents(self) -> Iterator[tuple[str, str]]:
        """Id and text of every document."""
        read = tsv_documents if is_tsv_collection(self.folder) else beir_documents
        try:
            yield from read(self.folder)
        except InputError as error:
            raise InputError(f"data.path: {error}") from error

    def queries(self) -> dict[str, str]:
        """Query id to text."""
        read = tsv_queries if is_tsv_collection(self.folder) else load_beir_queries
        try:
            return read(self.folder)
        except InputError as error:
            raise InputError(f"data.path: {error}") from error

    def rows(self) -> Iterator[ListRow]:
        """The lists."""
        return rows_of_scores(self.file, KEY, self.columns)


@dataclass(frozen=True)
class ListDataset:
    """A dataset with the configs ``train``, ``queries`` and ``documents``.

    Attributes:
        path: folder or hub id; a folder may have a card, or tables or folders named after the configs.
        columns: our column name to the dataset's, in all configs.
        file: of the lists, in the place of the config ``train``.
    """

    path: str
    columns: Mapping[str, str]
    file: Path | None = None

    @property
    def name(self) -> str:
        """What tables call the lists."""
        folder = Path(self.path).resolve().name
        return folder if self.file is None else f"{folder}/{stem(self.file)}"

    @property
    def source(self) -> str:
        """Where they come from."""
        return self.path if self.file is None else str(self.file)

    @property
    def key(self) -> str:
        """Names the lists in errors."""
        return f"data.path: {self.path}" if self.file is None else f"{KEY}: {self.file}"

    @property
    def documents_key(self) -> str:
        """Names the documents in errors."""
        return f"data.path: {self.path} (documents)"

    @cached_property
    def _found(self) -> dict[str, Rows]:
        found = {}
        for config in ("documents", "queries", "train") if self.file is None else ("documents", "queries"):
            with self._reading(config):
                found[config] = find_rows(self.path, config)
        return found

    def _rows(self, config: str) -> Iterator[tuple[str, Row]]:
        with self._reading(config):
            for where, row in self._found[config].rows(TRAIN):
                yield f"data.path: {where}", row

    def _reading(self, config: str) -> AbstractContextManager[None]:
        local = Path(self.path).is_dir()
        place = "this folder" if local else "this hub dataset (no folder here has that name)"
        return reading(
            f"data.path: {self.path}: cannot load the config {config} of {place}",
            "train.jsonl, queries.jsonl and documents.jsonl (or .parquet), or folders of these names, are expected, or "
            "the same as configs of its card; or data.scores for a folder with corpus.jsonl",
        )

    @cached_property
    def text_mark(self) -> list[str]:
        """Identifies the dataset: the content of a folder, or the addresses on the hub, which name the commit."""
        columns = str(sorted(self.columns.items()))
        if Path(self.path).is_dir():
            return [str(data_id(self.path)), columns]
        return [*(part for config in self._found.values() for part in config.mark), columns]

    @property
    def row_mark(self) -> list[str]:
        """As :attr:`text_mark`: the configs belong together; with a file of lists, its content too."""
        own = [] if self.file is None else [str(data_id(str(self.file))), ending(self.file)]
        return [*self.text_mark, *own]

    def documents(self) -> Iterator[tuple[str, str]]:
        """Id and text of every document."""
        return self._texts("documents", "document_id")

    def queries(self) -> dict[str, str]:
        """Query id to text."""
        found = list(self._texts("queries", "query_id"))
        repeated = sorted(name for name, count in Counter(name for name, _ in found).items() if count > 1)
        if repeated:
            raise InputError(f"{self.key} (queries): query_id occurs twice: {some_ids(repeated)}")
        return dict(found)

    def rows(self) -> Iterator[ListRow]:
        """The lists."""
        if self.file is not None:
            own = {ours: theirs for ours, theirs in self.columns.items() if ours in ROW_COLUMNS}
            yield from rows_of_scores(self.file, KEY, own)
            return
        for where, row in self._rows("train"):
            yield parse_row(renamed(row, ROW_COLUMNS, self.columns, where), where)

    def _texts(self, config: str, id_column: str) -> Iterator[tuple[str, str]]:
        for where, given in self._rows(config):
            row = renamed(given, (id_column, "text"), self.columns, where)
            yield as_id(row[id_column], id_column, where), as_text(row["text"], "text", where)


def is_tables(folder: Path) -> bool:
    """Whether documents and queries lie there as files of these names, and in no layout of a collection."""
    of_collection = is_beir(folder) or is_tsv_collection(folder)
    return not of_collection and {"documents", "queries"} <= {*config_files(folder)}


def list_layout(path: str, file: Path | None, columns: Mapping[str, str]) -> ListFolder | ListDataset:
    """What reads these lists.

    Args:
        path: see :func:`colbert_lab.text.scored_lists.read_scored_lists`.
        file: of the lists, for a folder of documents and queries.
        columns: our column name to the source's.

    Raises:
        InputError: an unknown column of ours, no such file, or a folder whose file of lists is not named.
    """
    of_tables = file is not None and is_tables(Path(path))
    known = (*ROW_COLUMNS, *TEXT_COLUMNS) if file is None or of_tables else ROW_COLUMNS
    for ours in columns:
        if ours not in known:
            raise InputError(f"data.columns.{ours}: must be one of {', '.join(known)}")
    if file is not None:
        check_scores(file, KEY)
        if of_tables:
            return ListDataset(path, columns, file)
        return ListFolder(Path(path), file, columns)
    for name, there in ((CORPUS, is_beir(path)), (COLLECTION, is_tsv_collection(Path(path)))):
        if there and not (Path(path) / "README.md").is_file():
            raise InputError(
                f"data.scores: {path} is a folder with {name}, so name the file of scores in it "
                "(query_id, document_ids, scores)"
            )
    return ListDataset(path, columns)


def read_scored_lists(
    path: str | Path,
    scores: str | Path | None = None,
    *,
    cache_dir: Path,
    columns: Mapping[str, str] | None = None,
    skip_empty: bool = False,
) -> ScoredLists:
    """Read score lists and join them to their texts.

    They are converted once (ids looked up, everything checked) into files below ``cache_dir`` and read from there, a
    row when it is asked for; the files are found again as long as the source has not changed.

    Args:
        path: with ``scores``, a folder in BEIR layout (``beir.load_beir``), or one with ``collection.tsv`` and
            ``queries.tsv`` as MS MARCO and Stanford's ColBERT have. Without, a folder or hub id in
            the layout of lightonai/ms-marco-en-bge-gemma: the configs ``train`` (query_id, document_ids,
            scores), ``queries`` (query_id, text) and ``documents`` (document_id, text), as its card says or as files
            of these names.
        scores: a file of lists, below ``path`` or as it is given; see
            :mod:`colbert_lab.text.list_rows`.
        cache_dir: where converted files are kept.
        columns: our column name to the source's.
        skip_empty: leave out (and count in the log) lists with an empty query or document instead of stopping.

    Returns:
        The lists in the order in which they were read; scores are the teacher's own, unscaled. Lists whose
        scores are all equal teach nothing; they are kept, counted in ``details`` and logged.

    Raises:
        InputError: a file or config is missing or malformed, an id is unknown or repeated, a list has fewer
            than 2 documents or not one finite score for each, or a text is empty; one line with the config key, the
            place, the number of offenders and the first ids.
    """
    layout = list_layout(str(path), None if scores is None else beside(path, scores), columns or {})
    corpus, texts = open_texts(cache_dir, layout.text_mark, layout.documents_key, layout.documents)
    lists, new = open_lists(
        cache_dir,
        layout.row_mark,
        layout.key,
        corpus,
        texts,
        layout.queries,
        layout.rows,
        skip_empty=skip_empty,
    )
    details = dict(lists.details)
    for what, said in (
        ("constant", "lists whose scores are all equal: {}; they teach nothing"),
        ("skipped", "lists left out (data.skip_empty), as a text of theirs is empty: {}"),
    ):
        ids, count = details.pop(f"{what}_ids"), details[f"{what}_lists"]
        if count:
            first = ", ".join(ids)
            shown = f"{count} ({first})" if count == len(ids) else f"{count} (first: {first})"
            _log.warning("%s: %s", layout.key, said.format(shown))
    if new:
        _log.info(
            "%s: %s lists over %s documents, converted below %s",
            layout.name,
            f"{len(lists):,}",
            f"{len(corpus):,}",
            cache_dir,
        )
    return replace(lists, name=layout.name, details={"source": layout.source, **details})
