"""The kinds of pairs that documentation gives: what the query is, and what its document.

| kind | query | document |
|---|---|---|
| ``summary`` | summary of a docstring | the rest of it, as in the installed documentation |
| ``section`` | heading, below that of its page | the section |
| ``parameter`` | a parameter of a function, with its summary | the parameter's description |
| ``sentence`` | a sentence of a docstring or section | the rest of it (the inverse cloze task of Lee et al. 2019) |

All go by the rules of :func:`colbert_lab.text.installed_docs_build.clean_pair`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from colbert_lab.text.docstrings import Docstring
from colbert_lab.text.fingerprint import text_hash
from colbert_lab.text.installed_docs_build import Pair, clean_pair, docstring_id, split_docstring
from colbert_lab.text.packages.prose import paragraphs, parameters, passages, sections, sentences

KINDS = ("summary", "section", "parameter", "sentence")
"""In the order in which duplicates and near-twins are kept."""
PAIRS_VERSION = 1  # raise it when the same text would give other pairs
LEAST_SENTENCES = 3
"""Of a text that a sentence is taken from: with fewer, too little is left."""


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
