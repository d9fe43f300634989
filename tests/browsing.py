"""Pages in a headless Chromium, where one is installed, and without one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

WIDE, NARROW, PAPER = 1280, 390, 688
"""Pixels of a screen, of a telephone, and of A4 between its margins."""
OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (e) => e && (getComputedStyle(e).overflowX === 'auto' || scrolls(e.parentElement));
  const hidden = (e) => e.closest('thead') && getComputedStyle(e.closest('thead')).position === 'absolute';
  return [...document.querySelectorAll('body *:not(svg *)')].filter(
    (e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e) && !hidden(e)
  ).map((e) => e.outerHTML.slice(0, 80));
}"""


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def started_browser() -> Iterator[Any]:
    """A headless Chromium that asks nothing of a network; the test is skipped where none is installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    quiet = "--disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic"
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", *quiet.split()]
        )
        yield started
        started.close()
