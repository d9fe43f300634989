"""The kinds of pairs that documentation gives: what the query is, and what its document.

| kind | query | document |
|---|---|---|
| ``summary`` | summary of a docstring | the rest of it, as in the installed documentation |
| ``section`` | heading, below that of its page | the section |
| ``parameter`` | a parameter of a function, with its summary | the parameter's description |
| ``sentence`` | a sentence of a docstring or section | the rest of it (the inverse cloze task of Lee et al. 2019) |

All go by the rules of :func:`colbert_lab.text.installed_docs_build.clean_pair`.

Headings are those of Markdown (``#``, or underlined) and reStructuredText (underlined, perhaps overlined; their levels
are in the order in which the underlines appear). Parameters are those of numpydoc, of Google's style, and Sphinx's
``:param name:``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from colbert_lab.text.docstrings import Docstring
from colbert_lab.text.fingerprint import text_hash
from colbert_lab.text.installed_docs_build import Pair, clean_pair, docstring_id, split_docstring

_RULER = re.compile(r"([=\-~^\"'`#*+:.<>_])\1{2,}\s*")
_ATX = re.compile(r"(#{1,6})\s+(\S.*)")
_FENCE = re.compile(r"\s*(```|~~~)")
_DIRECTIVE = re.compile(
    r"\s*\.\. (?!code)\S.*|\s*:[\w-]+:(\s.*)?|\s*<!--.*-->\s*|\s*\[[^\]]+\]:\s.*|\s*!\[.*"
)
_ROLE = re.compile(r"(?<![\w`]):[\w:+.-]+:`~?([^`<]{0,300}?)(?:\s{0,9}<[^`>]*>)?`")
_LINK = re.compile(
    r"!?\[([^\][]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)|`([^`<]{1,300}?)\s{0,9}<[^`>]*>`__?|</?[A-Za-z][^<>]*>"
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")
_NOT_PROSE = re.compile(
    r">>>|```|::|\.\. |[-*+|:#] |:\w+|\d+[.)] |@\w+|\S{1,80} : |\S{1,80}? ?(\(.{0,200}\))?:\s"
)
_NUMPY_ENTRY = re.compile(r"(\*{0,2}\w+(?:, ?\*{0,2}\w+)*)\s*(:.*)?")
_GOOGLE = re.compile(
    r"(\s*)(args|arguments|parameters|keyword args|keyword arguments|params):\s*", re.IGNORECASE
)
_GOOGLE_ENTRY = re.compile(r"(\*{0,2}\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*))?")
_SPHINX = re.compile(r"\s*:param(?:eter)?\s+(?:[^:]*\s)?(\*{0,2}\w+):\s*(.*)")
LONGEST_LINE = 5000
"""Characters; a longer line is data, and left out: the patterns above may take time that grows with its square."""
LEAST_SENTENCE, MOST_SENTENCE = 6, 40
"""Words of a sentence that may be a query."""
PASSAGE = 200
"""Words from which a passage of a long section ends with its paragraph."""
KINDS = ("summary", "section", "parameter", "sentence")
"""In the order in which duplicates and near-twins are kept."""
PAIRS_VERSION = 1  # raise it when the same text would give other pairs
LEAST_SENTENCES = 3
"""Of a text that a sentence is taken from: with fewer, too little is left."""


class Section(NamedTuple):
    """The text between a heading and the next one.

    Attributes:
        headings: the headings that it stands below, the outermost first; none for text before the first one.
        body: the text, without markup that is no text.
    """

    headings: tuple[str, ...]
    body: str


def sections(text: str) -> list[Section]:
    """Cut a reStructuredText, Markdown or plain text into its sections; those without text are left out."""
    lines = _lines(text)
    found: list[Section] = []
    above: list[tuple[int, str]] = []
    styles: dict[str, int] = {}
    body: list[str] = []
    fence = ""
    at = 0

    def end() -> None:
        if any(line.strip() for line in body):
            found.append(Section(tuple(title for _, title in above), _plain(body)))
        body.clear()

    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is not None and fence in ("", opened[1]):
            fence = "" if fence else opened[1]
        level, title, used = (0, "", 1) if fence or opened else _heading(lines, at, styles)
        if used > 1 or title:
            end()
            above = [*(each for each in above if each[0] < level), (level, _inline(title).strip())]
        else:
            body.append(lines[at])
        at += used
    end()
    return found


def _heading(lines: list[str], at: int, styles: dict[str, int]) -> tuple[int, str, int]:
    """Level, title and number of lines of the heading that begins here; no title where none does."""
    line = lines[at]
    after = lines[at + 1] if at + 1 < len(lines) else ""
    if (hashes := _ATX.fullmatch(line)) is not None:
        return len(hashes[1]), hashes[2].rstrip("# \t"), 1
    below = lines[at + 2].rstrip() if at + 2 < len(lines) else ""
    overlined = _RULER.fullmatch(line) and after.strip() and below == line.rstrip()
    if overlined and len(after.strip()) <= len(below) + 2:
        return styles.setdefault(f"{line[0]} over", len(styles) + 1), after.strip(), 3
    before = lines[at - 1] if at else ""
    underlined = _RULER.fullmatch(after) and line[:1].strip() and not _RULER.fullmatch(line)
    if underlined and not before.strip() and len(line.strip()) <= len(after.rstrip()) + 2:
        return styles.setdefault(after[0], len(styles) + 1), line.strip(), 2
    return 0, "", 1


def _plain(lines: list[str]) -> str:
    """Text without directives, comments, fields, link targets and the marks of roles and links."""
    kept = [line for line in lines if not _DIRECTIVE.fullmatch(line)]
    return _inline("\n".join(kept)).strip("\n")


def _inline(text: str) -> str:
    text = _ROLE.sub(r"\1", text)
    return _LINK.sub(lambda found: found[1] or found[2] or "", text)


def parameters(docstring: str) -> list[tuple[str, str]]:
    """Names and descriptions of the parameters that a docstring documents."""
    lines = _lines(docstring.expandtabs())
    found: list[tuple[str, list[str]]] = []
    at = 0
    while at < len(lines):
        stop = at + 1
        if lines[at].strip() in ("Parameters", "Other Parameters") and _ruled(lines, at):
            stop = _entries(lines, at + 2, _indent(lines[at]), _NUMPY_ENTRY, found, numpy=True)
        elif (google := _GOOGLE.fullmatch(lines[at])) is not None:
            first = next((line for line in lines[at + 1 :] if line.strip()), "")
            if _indent(first) > len(google[1]):
                stop = _entries(lines, at + 1, _indent(first), _GOOGLE_ENTRY, found, numpy=False)
        elif (sphinx := _SPHINX.fullmatch(lines[at])) is not None:
            found.append((sphinx[1], [sphinx[2]]))
            while stop < len(lines) and lines[stop].strip() and not lines[stop].lstrip().startswith(":"):
                found[-1][1].append(lines[stop])
                stop += 1
        at = stop
    return [(name, _plain(described).strip()) for name, described in found]


def _entries(
    lines: list[str],
    at: int,
    indent: int,
    entry: re.Pattern[str],
    found: list[tuple[str, list[str]]],
    numpy: bool,
) -> int:
    """Read entries at an indentation, each with what is indented further; the number of the first line after them."""
    own: list[str] | None = None
    while at < len(lines):
        line = lines[at]
        if (line.strip() and _indent(line) < indent) or (numpy and _ruled(lines, at)):
            return at
        if line.strip() and _indent(line) == indent:
            match = entry.fullmatch(line.strip())
            own = None
            if match is not None:
                own = [] if numpy or not match[2] else [match[2]]
                found.append((match[1], own))
        elif own is not None:
            own.append(line)
        at += 1
    return at


def _ruled(lines: list[str], at: int) -> bool:
    return bool(lines[at].strip()) and at + 1 < len(lines) and bool(_RULER.fullmatch(lines[at + 1].strip()))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line) <= LONGEST_LINE]


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def sentences(paragraphs: list[str]) -> Iterator[str]:
    """The sentences, of 6 to 40 words, in paragraphs that are prose: no code, lists, fields or headings."""
    for paragraph in paragraphs:
        lines = [line.strip() for line in _lines(paragraph)]
        if any(_NOT_PROSE.match(line) or _RULER.fullmatch(line) for line in lines) or paragraph.endswith(
            "::"
        ):
            continue
        for sentence in _SENTENCE.split(" ".join(" ".join(lines).split())):
            if (
                sentence.endswith((".", "!", "?"))
                and LEAST_SENTENCE <= len(sentence.split()) <= MOST_SENTENCE
            ):
                yield sentence


def paragraphs(text: str) -> list[str]:
    """The parts of a text with empty lines between them."""
    return [part.strip("\n") for part in re.split(r"\n\s*\n", text) if part.strip()]


def passages(text: str) -> Iterator[list[str]]:
    """The paragraphs of a text, in passages of about ``PASSAGE`` words or more."""
    passage: list[str] = []
    words = 0
    for paragraph in paragraphs(text):
        passage.append(paragraph)
        words += len(paragraph.split())
        if words >= PASSAGE:
            yield passage
            passage, words = [], 0
    if passage:
        yield passage


def docstring_pairs(package: str, docstring: Docstring, dropped: Counter[str]) -> Iterator[Pair]:
    """The pairs of a docstring.

    Args:
        package: name of its package, which ids and queries begin with.
        docstring: the docstring.
        dropped: takes the number of summaries that are none, for each reason.
    """
    module, text = docstring.module, docstring.text
    origin = f"{package}/{docstring_id(docstring)}"
    found = split_docstring(text)
    summary = ""
    if isinstance(found, str):
        dropped[found] += 1
    else:
        summary = found[0]
        yield Pair(module, origin, *found, "summary", origin)
    function = ".".join([package, *(part for part in docstring.name.split(".") if part)])
    for name, described in parameters(text):
        query = f"{name} of {function}" + (f": {summary}" if summary else "")
        cleaned = clean_pair(query, described)
        if not isinstance(cleaned, str):
            yield Pair(module, f"{origin}#{name}", *cleaned, "parameter", origin)
    parts = paragraphs(text)
    yield from _sentence(module, origin, origin, parts, parts[1:])


def page_pairs(package: str, name: str, text: str) -> Iterator[Pair]:
    """The pairs of a page of documentation.

    Args:
        package: what ids, and the queries of short headings, begin with; may be empty.
        name: of the page.
        text: reStructuredText, Markdown or plain text.
    """
    page = "/".join(filter(None, (package, name)))
    for number, section in enumerate(sections(text)):
        place = f"{page}#{section.headings[-1] if section.headings else number}"
        if section.headings:
            outer = [section.headings[0]] if len(section.headings) > 1 else []
            query = ": ".join([*outer, section.headings[-1]])
            if len(query.split()) < 4 and package and package.lower() not in query.lower():
                query = f"{package}: {query}"
            cleaned = clean_pair(query, section.body)
            if not isinstance(cleaned, str):
                yield Pair(page, place, *cleaned, "section", place)
        for part, passage in enumerate(passages(section.body)):
            yield from _sentence(page, f"{place}#{part}" if part else place, place, passage, passage)


def _sentence(module: str, name: str, origin: str, whole: list[str], prose: list[str]) -> Iterator[Pair]:
    """One sentence of some paragraphs, and the rest of the text; which one, the text itself decides."""
    found = list(sentences(prose))
    if len(found) < LEAST_SENTENCES:
        return
    chosen = found[text_hash(" ".join(found)) % len(found)]
    body = "\n\n".join(_without(paragraph, chosen) for paragraph in whole)
    cleaned = clean_pair(chosen, body)
    if not isinstance(cleaned, str):
        yield Pair(module, f"{name}#sentence", *cleaned, "sentence", origin)


def _without(paragraph: str, sentence: str) -> str:
    """A paragraph without a sentence, where it has it."""
    joined = " ".join(paragraph.split())
    return joined.replace(sentence, "").strip() if sentence in joined else paragraph
