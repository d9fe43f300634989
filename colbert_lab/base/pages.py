"""Pages of HTML: one style for all of them, every text escaped, nothing from elsewhere, light and dark."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from colbert_lab.base.outside import printable

STEPS = 12
"""Shades between nothing and the highest value."""
VALUE = re.compile(r"(?P<head>[+-]?\d\.\d+) (\[[^]]*\])(?: (± .*|\w+))?")
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Theme:
    """Colours of a page on one kind of screen.

    Attributes:
        paper: the ground.
        ink: letters, also on every shade and on ``band``.
        soft: letters of lesser importance, on ``paper`` and ``band``.
        line: borders.
        band: the ground of what stands out.
        mark: bars, and what stands out.
        good: letters that say that something holds.
        bad: letters that say that it does not.
        most: the shade of the highest value; the lowest one is the paper.
    """

    paper: Colour
    ink: Colour
    soft: Colour
    line: Colour
    band: Colour
    mark: Colour
    good: Colour
    bad: Colour
    most: Colour

    def shade(self, step: int) -> Colour:
        """The ground of a value, from 0 (the paper) to ``STEPS - 1``."""
        part = step / (STEPS - 1)
        red, green, blue = (round(a + part * (b - a)) for a, b in zip(self.paper, self.most, strict=True))
        return red, green, blue


LIGHT = Theme(
    paper=(255, 255, 255),
    ink=(17, 17, 17),
    soft=(85, 85, 85),
    line=(216, 222, 228),
    band=(243, 246, 249),
    mark=(31, 111, 178),
    good=(0, 82, 122),
    bad=(138, 58, 0),
    most=(92, 168, 224),
)
DARK = Theme(
    paper=(18, 21, 25),
    ink=(240, 243, 246),
    soft=(170, 178, 186),
    line=(60, 66, 73),
    band=(30, 35, 41),
    mark=(88, 166, 230),
    good=(137, 200, 240),
    bad=(250, 178, 120),
    most=(24, 100, 164),
)


def step_of(value: float, low: float, high: float) -> int:
    """The step of a value on a scale from ``low`` to ``high``; the lowest step where the scale has no extent."""
    if high <= low:
        return 0
    return min(max(round((STEPS - 1) * (value - low) / (high - low)), 0), STEPS - 1)


def style_sheet() -> str:
    """The colours as CSS: light ones, dark ones where the reader's system is dark, light ones on printed paper."""
    shades = " ".join(f".h{step} {{ background: var(--h{step}) }}" for step in range(STEPS))
    dark = f"@media screen and (prefers-color-scheme: dark) {{ {_variables(DARK)} }}"
    return f"{_variables(LIGHT)}\n{dark}\n{shades}"


def _variables(theme: Theme) -> str:
    names = ("paper", "ink", "soft", "line", "band", "mark", "good", "bad")
    colours = {name: getattr(theme, name) for name in names}
    colours |= {f"h{step}": theme.shade(step) for step in range(STEPS)}
    told = "; ".join(f"--{name}: #{bytes(colour).hex()}" for name, colour in colours.items())
    return f":root {{ {told} }}"


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        name: of its file, without ending, and its place on a page.
        caption: what it shows.
        alt: what it shows, in numbers, for those who do not see it.
        svg: the picture.
        broad: whether it needs the width of the page.
    """

    name: str
    caption: str
    alt: str
    svg: str
    broad: bool = False


def seen(value: Any) -> Any:
    """Texts without characters that no page may have."""
    return printable(value, kept="\n\t") if type(value) is str else value


def render(template: Path, *, finalize: Callable[[Any], Any] = seen, script: str = "", **context: Any) -> str:
    """A page made from a template that extends ``page.html.j2``, and may import ``parts.html.j2``, beside this file.

    Args:
        template: its file.
        finalize: what is done to each value that the template shows, before it is escaped.
        script: the one script that the page may run; none else can, whatever its texts hold.
        context: what the template names.
    """
    loader = FileSystemLoader([template.parent, Path(__file__).parent])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=finalize)
    environment.globals.update(split=_parts, drawn=_drawn, colours=Markup(style_sheet()), steps=STEPS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"; script-src 'sha256-{digest}'" if script else ""
    return environment.get_template(template.name).render(
        script=Markup(script), scripts=Markup(allowed), **context
    )


def _parts(cell: str) -> dict[str, Any]:
    """``0.68 [0.66, 0.70] ± 0.01`` in a value, its interval and its spread, between which a line may break."""
    found = VALUE.fullmatch(cell)
    if found is None:
        return {"head": cell, "rest": []}
    return {"head": found["head"], "rest": [each for each in found.groups()[1:] if each]}


def _drawn(picture: Picture) -> Markup:
    """The picture in the page, with its text for those who do not see it."""
    label = escape(seen(picture.alt))
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*" ?', r"<svg \1", seen(picture.svg), count=1, flags=re.DOTALL)
    svg = re.sub(r'^<svg ([^>]*?)height="[^"]*" ?', r"<svg \1", svg, count=1, flags=re.DOTALL)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1))
