"""Build the installed-documentation corpus: scan, pair, split by module, drop near-twins.

A pair is a query (the summary of a docstring) and a document (the rest). The rules drop what random samples showed to
be no question for its document: signatures, lists of arguments and code in the place of a summary, bodies that are code
alone, notices of deprecation. The documentation of packages (:mod:`colbert_lab.text.packages`) goes by the same rules.
"""

import hashlib
import logging
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from colbert_lab.base.errors import InputError
from colbert_lab.text.docstrings import Docstring
from colbert_lab.text.fingerprint import drop_twins, normalised, shingle_hashes
from colbert_lab.text.source_files import SourceFile, scan_files

_log = logging.getLogger(__name__)
MIN_QUERY_WORDS, MAX_QUERY_WORDS = 4, 60
MIN_DOCUMENT_WORDS = 20
MIN_PROSE_WORDS = 15  # words of letters outside code, of MIN_DOCUMENT_WORDS

_RULER = re.compile(r"\s*([=\-~^*#+_`'.])\1{2,}\s*")
_TEMPLATE = re.compile(r"%\(\w+\)s")
_SIGNATURE = re.compile(r"[\w.]+\s?\(.*\)\s*([.:]|->.*)?|.{,80}\)\s*->.*", re.DOTALL)
_ADMONITION = re.compile(r"!!!|\.\. |<!--")
_SECTION = re.compile(
    r"(args?|arguments|param(eter)?s?|returns?|raises?|yields?|examples?|usage|attributes?|inputs?|outputs?|"
    r"options|keyword arg(ument)?s|note|notes|todo|fixme|warning|see also|references)\s*(:|\n|$)",
    re.IGNORECASE,
)
_ARGUMENT = re.compile(r":\w+|[\w*`]+ ?\([`~\[]|[\w*]+ : |[-*] ")
_CODE = re.compile(r">>>|```|\b(?:self|cls)\.\w+ = ")
_DEPRECATED = re.compile(r"[\W_]*(this .{,40} is )?deprecated\b", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W\d_]{2,}")


class Pair(NamedTuple):
    """A query and its document.

    Attributes:
        module: dotted name of the module they come from.
        document_id: ``module`` or ``module:qualified.name``, unique.
        query: the summary, one line.
        document: the rest, one line.
        kind: what the query is, such as ``summary``.
        origin: the text that both were cut from; pairs of one text have one origin. Empty where it gives one pair.
    """

    module: str
    document_id: str
    query: str
    document: str
    kind: str = "summary"
    origin: str = ""


class UniquePairs:
    """Pairs without duplicates, each with an id of its own; of duplicates, the first one stays.

    Attributes:
        pairs: in the order in which they came.
        dropped: number of dropped ones for each reason.
    """

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.dropped: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._names: Counter[str] = Counter()

    def add(self, pair: Pair) -> None:
        """Take a pair; one whose query or document is there already is counted and left out."""
        marks = {f"query {normalised(pair.query)}", f"document {normalised(pair.document)}"}
        if marks & self._seen:
            self.dropped["duplicate"] += 1
            return
        self._seen |= marks
        name = pair.document_id
        self._names[name] += 1
        if self._names[name] > 1:
            pair = pair._replace(document_id=f"{name}#{self._names[name]}")
        self.pairs.append(pair)


def make_pairs(docstrings: Iterable[Docstring]) -> tuple[list[Pair], Counter[str]]:
    """Make the pairs of a list of docstrings, and drop what is trivial, junk or a duplicate.

    Args:
        docstrings: the docstrings; the first of duplicates stays.

    Returns:
        The pairs in the order of the docstrings, and the number of dropped docstrings for each reason.
    """
    made = UniquePairs()
    for docstring in docstrings:
        result = split_docstring(docstring.text)
        if isinstance(result, str):
            made.dropped[result] += 1
            continue
        made.add(Pair(docstring.module, docstring_id(docstring), *result))
    return made.pairs, made.dropped


def docstring_id(docstring: Docstring) -> str:
    """``module`` or ``module:qualified.name``."""
    return f"{docstring.module}:{docstring.name}" if docstring.name else docstring.module


def split_docstring(text: str) -> tuple[str, str] | str:
    """Split a docstring into a query and a document.

    A signature or a notice before the summary is passed over; rulers under headings and unfilled templates
    are removed; white space becomes single spaces.

    Args:
        text: a docstring.

    Returns:
        The query (first paragraph) and the document (the rest), or the reason to drop the docstring.
    """
    lines = [_TEMPLATE.sub("", line) for line in text.splitlines() if not _RULER.fullmatch(line)]
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines).strip())
    while len(paragraphs) > 1 and (
        _SIGNATURE.fullmatch(paragraphs[0].strip()) or _ADMONITION.match(paragraphs[0].strip())
    ):
        del paragraphs[0]
    return clean_pair(paragraphs[0].strip(), "\n\n".join(paragraphs[1:]))


def clean_pair(summary: str, body: str) -> tuple[str, str] | str:
    """Bring a query and its document to one line each, or say why they are no pair.

    Args:
        summary: what becomes the query.
        body: what becomes the document.
    """
    query, document = " ".join(summary.split()), " ".join(body.split())
    words = len(query.split())
    if words < MIN_QUERY_WORDS or len(document.split()) < MIN_DOCUMENT_WORDS:
        return "too short"
    if words > MAX_QUERY_WORDS:
        return "summary too long"
    if _SECTION.match(summary) or _ARGUMENT.match(summary) or _CODE.search(summary):
        return "no summary"
    if _SIGNATURE.fullmatch(query) or len(_LETTERS.findall(query)) < MIN_QUERY_WORDS - 1:
        return "no summary"
    if _DEPRECATED.match(query) or _DEPRECATED.match(document):
        return "deprecated"
    if _prose_words(body) < MIN_PROSE_WORDS:
        return "code only"
    return query, document


def _prose_words(body: str) -> int:
    """Count the words of letters that are not in a doctest, its output or a fenced block."""
    count, fenced, doctest = 0, False, False
    for line in body.splitlines():
        stripped = line.strip()
        if stripped.startswith("```"):
            fenced = not fenced
        doctest = stripped.startswith(">>>") or (doctest and bool(stripped))
        if not (fenced or doctest or stripped.startswith(("```", ".. "))):
            count += sum(bool(_LETTERS.fullmatch(word.strip(".,;:!?()'\"`*"))) for word in stripped.split())
    return count


SPLITS = ("test", "dev", "train")  # in this order: a document goes when it is a twin of an earlier split's


class Row(NamedTuple):
    """One document of the corpus with its query.

    Attributes:
        document_id: ``module`` or ``module:qualified.name``.
        document: the text to retrieve.
        query: the text to retrieve it with.
        split: ``train``, ``dev`` or ``test``.
        kind: see :class:`Pair`.
        origin: see there.
    """

    document_id: str
    document: str
    query: str
    split: str
    kind: str = "summary"
    origin: str = ""


def split_of_module(module: str) -> str:
    """Assign a module to a split: 10% test, 10% dev, the rest train, by the SHA-256 of its name.

    All docstrings of a module stay together, because they share their subject and often their words.

    Args:
        module: dotted name.

    Returns:
        ``train``, ``dev`` or ``test``.
    """
    digest = hashlib.sha256(f"split:{module}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "test" if share < 0.1 else "dev" if share < 0.2 else "train"


def build_rows(files: Sequence[SourceFile], packages: Mapping[str, str]) -> tuple[list[Row], dict[str, Any]]:
    """Read source files and make the corpus.

    Args:
        files: the source files; the first of duplicate docstrings stays.
        packages: name to version of what the files belong to, for the details.

    Returns:
        The rows in the order of the files, and the details: Python version, packages, number of files and
        docstrings, rows of each split, and dropped docstrings for each reason.

    Raises:
        InputError: the files hold no usable docstring.
    """
    docstrings, unreadable = scan_files(files)
    _log.info("making pairs of %s docstrings; near-twins cross no splits", f"{len(docstrings):,}")
    pairs, dropped = make_pairs(docstrings)
    rows = without_twins(pairs, [split_of_module(pair.module) for pair in pairs], SPLITS, dropped)
    if not rows:
        raise InputError(
            f"no usable docstring in {len(files)} source files of the installed packages (are they installed "
            "without sources?); set data.path to a collection of your own"
        )
    counts = Counter(row.split for row in rows)
    details = {
        "python": platform.python_version(),
        "packages": dict(packages),
        "files": len(files),
        "files_unreadable": unreadable,
        "docstrings": len(docstrings),
        "documents": {"all": len(rows)} | {split: counts[split] for split in reversed(SPLITS)},
        "dropped": dict(sorted(dropped.items())),
    }
    return rows, details


def without_twins(
    pairs: Sequence[Pair], splits: Sequence[str], order: Sequence[str], dropped: Counter[str]
) -> list[Row]:
    """Drop near-twins, so that none crosses splits.

    Args:
        pairs: the pairs.
        splits: the split of each.
        order: the splits; of two near-twins that of the later one goes, and in all but the last split the later of two.
        dropped: takes the number of those that go, for each split.
    """
    hashes = shingle_hashes([pair.document for pair in pairs])
    members = [[number for number, name in enumerate(splits) if name == split] for split in order]
    keep = drop_twins([[hashes[number] for number in group] for group in members])
    kept: set[int] = set()
    for split, group, wanted in zip(order, members, keep, strict=True):
        kept.update(number for number, yes in zip(group, wanted, strict=True) if yes)
        dropped[f"near-twin in {split}"] = wanted.count(False)
    return [
        Row(pair.document_id, pair.document, pair.query, splits[number], pair.kind, pair.origin)
        for number, pair in enumerate(pairs)
        if number in kept
    ]
