"""The embedded default data: docstrings of the standard library and of the installed dependencies.

A query is the summary of a docstring, its one relevant document the rest of it. Sources are parsed, never
imported or executed. What is installed decides the content, so results carry a fingerprint of it.
"""

import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colbert_lab.base.types import Split
from colbert_lab.text.documentation import Documentation, kept_or_built, training_part
from colbert_lab.text.fingerprint import fingerprint
from colbert_lab.text.installed_docs_build import Row, build_rows
from colbert_lab.text.source_files import distribution_files, required_distributions, standard_library_files

_log = logging.getLogger(__name__)
DATASET = "installed_docs"
BUILD_VERSION = 2  # raise it when the same sources would give other rows


def installed_id(packages: Mapping[str, str] | None = None) -> str:
    """What decides the documentation of this environment: its packages with their versions, and Python's.

    Args:
        packages: name to version; None looks them up.
    """
    names = [f"{name}=={version}" for name, version in (packages or required_distributions()).items()]
    return fingerprint([platform.python_version(), str(BUILD_VERSION)], names)


def load_installed_docs(cache_dir: Path) -> Documentation:
    """Load the documentation corpus of this environment; build it where the cache has none.

    Building takes about 20 seconds on two cores for 80,000 docstrings.

    Args:
        cache_dir: folder of caches; one folder in it belongs to one set of packages and versions.

    Returns:
        The corpus. A cache that does not fit its fingerprint is built anew, with a warning.

    Raises:
        InputError: the installed packages hold no usable docstring.
    """
    packages = required_distributions()
    folder = Path(cache_dir) / f"{DATASET}-{installed_id(packages)}"
    return kept_or_built(folder, DATASET, lambda: _rows(packages))


def _rows(packages: Mapping[str, str]) -> tuple[list[Row], dict[str, Any]]:
    _log.info("reading the documentation of Python and %d packages", len(packages))
    files = standard_library_files()
    for name in packages:
        files += distribution_files(name)
    return build_rows(files, packages)


def training_split(cache_dir: Path, documents: int | None, queries: int | None) -> Split:
    """The training part of the documentation of this environment, cut to size.

    Args:
        cache_dir: see :func:`load_installed_docs`.
        documents: how many documents to keep; None keeps all.
        queries: how many queries to keep; None keeps all.

    Raises:
        InputError: the cut is not possible.
    """
    return training_part(load_installed_docs(cache_dir), documents, queries)
