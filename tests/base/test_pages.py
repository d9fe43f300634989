"""What every page has in common: colours, values in parts, pictures, and that no text of others does anything."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from colbert_lab.base.layout import Table
from colbert_lab.base.pages import DARK, LIGHT, STEPS, Colour, Picture, Theme, render, step_of, style_sheet


def luminance(colour: Colour) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: Colour, b: Colour) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_letters_are_readable_on_every_shade(theme: Theme) -> None:
    shades = [theme.shade(step) for step in range(STEPS)]
    assert min(contrast(theme.ink, shade) for shade in shades) >= 4.5
    for letters in (theme.soft, theme.good, theme.bad):
        assert contrast(letters, theme.paper) >= 4.5
        assert contrast(letters, theme.band) >= 4.5
    assert contrast(theme.mark, theme.line) >= 3  # graphics
    assert len(set(shades)) == STEPS
    brightness = [luminance(shade) for shade in shades]
    assert brightness in (sorted(brightness), sorted(brightness, reverse=True))


def test_values_have_their_step() -> None:
    assert [step_of(value, 0, 1) for value in (-1, 0, 0.5, 1, 2)] == [0, 0, 6, STEPS - 1, STEPS - 1]
    assert step_of(3, 3, 3) == 0
    sheet = style_sheet()
    assert sheet.count(f"--h{STEPS - 1}: #") == sheet.count("--paper: #") == 2
    assert f"--h{STEPS - 1}: #{bytes(DARK.most).hex()}" in sheet


EVIL = '<script>alert(1)</script> "{{ 7 * 7 }}\x1b'
PAGE = """{% extends "page.html.j2" %}{% import "parts.html.j2" as parts %}
{% block main %}{{ parts.table(table) }}{{ parts.figure(picture) }}{% endblock %}"""


def test_texts_are_inert_and_one_script_alone_may_run(tmp_path: Path) -> None:
    (tmp_path / "a.html.j2").write_text(PAGE)
    table = Table(
        EVIL, ("a", "b"), (("of dev", ""), (EVIL, "+0.1000 [+0.0500, +0.1500] higher")), (), (EVIL,)
    )
    picture = Picture("x", EVIL, EVIL, '<svg width="5pt" height="4pt" viewBox="0 0 5 4"></svg>')
    page = render(tmp_path / "a.html.j2", script="let a = 1 < 2;", table=table, picture=picture)
    assert page.count("<script>") == 1
    assert "<script>let a = 1 < 2;</script>" in page
    digest = base64.b64encode(hashlib.sha256(b"let a = 1 < 2;").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert (
        page.count("{{ 7 * 7 }}\\x1b") == 6
    )  # title, cell, note; the figure's group, its text and its caption
    assert 'class="heading"' in page
    assert '+0.1000 <span class="ci">[+0.0500, +0.1500]</span> <span class="ci">higher</span>' in page
    assert '<svg role="img" aria-label="&lt;script&gt;alert(1)' in page
    assert 'viewBox="0 0 5 4"' in page
    assert "5pt" not in page
    assert not re.search(r"https?:|url\(|@import|src=|href=(?!\"data:)", page)
    plain = render(tmp_path / "a.html.j2", table=table, picture=picture)
    assert "<script>" not in plain
    assert "script-src" not in plain
