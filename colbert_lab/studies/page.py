"""A study as one HTML file that needs no script and nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from colbert_lab.base.outside import printable
from colbert_lab.studies.answer import Answer
from colbert_lab.studies.commands import Places, whole_command
from colbert_lab.studies.figures import Picture

TEMPLATE = "page.html.j2"
VALUE = re.compile(r"(?P<head>[+-]?\d\.\d+) (\[[^]]*\])(?: (± .*))?")


def to_html(answer: Answer) -> str:
    """The page: question, prediction, verdict, tables, figures, lineage, commands.

    Args:
        answer: what :func:`colbert_lab.studies.answer.answer` returned.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
    )
    study = answer.study
    markdown = MarkdownIt("commonmark", {"html": False}).disable(["image", "link", "autolink"])
    return environment.get_template(TEMPLATE).render(
        answer=answer,
        study=study,
        commands={each.cell.title: each.commands for each in answer.commands},
        whole=whole_command(study),
        prepared=[Places().filled(study, each.command) for each in study.prepare],
        inline=lambda text: Markup(markdown.renderInline(_seen(text))),
        block=lambda text: Markup(markdown.render(_seen(text))),
        split=_parts,
        drawn=_drawn,
    )


def _seen(value: Any) -> Any:
    """Texts without characters that no page may have."""
    return printable(value, kept="\n\t") if type(value) is str else value


def _parts(cell: str) -> dict[str, Any]:
    """``0.68 [0.66, 0.70] ± 0.01`` in a value, its interval and its spread, between which a line may break."""
    found = VALUE.fullmatch(cell)
    if found is None:
        return {"head": cell, "rest": []}
    return {"head": found["head"], "rest": [each for each in found.groups()[1:] if each]}


def _drawn(picture: Picture) -> Markup:
    """The picture in the page, with its text for those who do not see it."""
    label = escape(_seen(picture.alt))
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*" ?', r"<svg \1", _seen(picture.svg), count=1, flags=re.DOTALL)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*" ?', r"<svg \1", svg, count=1, flags=re.DOTALL)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
