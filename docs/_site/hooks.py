"""What MkDocs is told beside ``mkdocs.yml``: pages from elsewhere in the repository, and the generated reference.

The first page is the project's README. Studies, benchmarks, CONTRIBUTING and CHANGELOG stay where they are and are
shown in the same site; links between all of these are those of the repository.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
import reference

ROOT = Path(__file__).resolve().parent.parent.parent
SHOWN = (
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "examples/own/README.md",
    "experiments/README.md",
    "experiments/*/README.md",
    "experiments/*/figures/*.svg",
)
"""Files outside ``docs/`` that are pages or pictures of the site, at the same path."""
FRONT = "README.md"
LINK = re.compile(r"(?P<before>!?\[(?P<text>[^\]]*)\])\((?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|doc):<code>~?([^<]*)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what does not lie in ``docs/``."""
    files.append(File.generated(config, "index.md", content=(ROOT / FRONT).read_text(encoding="utf-8")))
    for pattern in SHOWN:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for name, text in reference.pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site; a file that the site lacks is named without a link."""
    there = page.file.src_uri
    shown = files.get_file_from_path(there) is not None and not (ROOT / "docs" / there).exists()
    source = PurePosixPath(FRONT if there == "index.md" else there if shown else f"docs/{there}")
    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda found: _link(found, source, there, files), part)
        for part in parts
    )


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a docstring's roles (``:class:`Name```) as the name alone."""
    return ROLE.sub(lambda found: f"<code>{found[1]}</code>", html)


def _link(found: re.Match[str], source: PurePosixPath, page: str, files: Files) -> str:
    target = os.path.normpath(source.parent / found["path"])
    uri = "index.md" if target == FRONT else target.removeprefix("docs/")
    if files.get_file_from_path(uri) is None and target.startswith("docs/"):
        return found[0]  # MkDocs says what is wrong with it
    if files.get_file_from_path(uri) is None:
        return f"{found['text']} (`{target}`)"
    relative = os.path.relpath(uri, PurePosixPath(page).parent)
    return f"{found['before']}({relative}{found['anchor'] or ''})"
