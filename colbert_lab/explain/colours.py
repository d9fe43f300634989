"""The colours of the page: one hue from little to much, on light and on dark ground."""

from __future__ import annotations

from dataclasses import dataclass

STEPS = 12
"""Shades between nothing and the highest value."""
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Theme:
    """Colours of the page on one kind of screen.

    Attributes:
        paper: the ground.
        ink: letters, also on every shade.
        soft: letters of lesser importance, on the ground alone.
        line: borders.
        mark: bars.
        most: the shade of the highest value; the lowest one is the paper.
    """

    paper: Colour
    ink: Colour
    soft: Colour
    line: Colour
    mark: Colour
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
    mark=(31, 111, 178),
    most=(92, 168, 224),
)
DARK = Theme(
    paper=(18, 21, 25),
    ink=(240, 243, 246),
    soft=(170, 178, 186),
    line=(60, 66, 73),
    mark=(88, 166, 230),
    most=(24, 100, 164),
)


def step_of(value: float, low: float, high: float) -> int:
    """The step of a value on a scale from ``low`` to ``high``; the lowest step where the scale has no extent."""
    if high <= low:
        return 0
    return min(max(round((STEPS - 1) * (value - low) / (high - low)), 0), STEPS - 1)


def style_sheet() -> str:
    """The colours as CSS: light ones, dark ones where the reader's system is dark, light ones on printed paper."""
    light, dark = _rules(LIGHT), _rules(DARK)
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _rules(theme: Theme) -> str:
    names = {
        "paper": theme.paper,
        "ink": theme.ink,
        "soft": theme.soft,
        "line": theme.line,
        "mark": theme.mark,
    }
    variables = "; ".join(f"--{name}: {_hex(colour)}" for name, colour in names.items())
    shades = [f".h{step} {{ background: {_hex(theme.shade(step))} }}" for step in range(STEPS)]
    return "\n".join([f":root {{ {variables} }}", *shades])


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
