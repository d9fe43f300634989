"""Which installed source files belong to the documentation corpus."""

import importlib.metadata
import re
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from packaging.requirements import Requirement

from colbert_lab.errors import InputError
from colbert_lab.text.scan import SourceFile

DISTRIBUTION = "colbert-lab"
# Tests, and code of others that is copied into a package (it would be there twice).
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "_testing", "idlelib", "lib2to3", "ensurepip", "__pycache__"}
    | {"site-packages", "dist-packages"}
    | {"_vendor", "vendor", "vendored", "_vendored", "_vendored_packages"}
    | {"thirdparty", "third_party", "externals", "extern"}
)


def required_distributions(roots: Sequence[str] | None = None) -> dict[str, str]:
    """Find the installed distributions that the project needs at run time, directly or not.

    Environment markers are evaluated and extras are left out, so the list does not depend on what else the
    environment holds.

    Args:
        roots: requirements to start from; None means those of the distribution ``colbert-lab``.

    Returns:
        Normalised name to version, sorted by name, without ``colbert-lab`` itself.

    Raises:
        InputError: ``colbert-lab`` is not installed, so that its requirements cannot be read.
    """
    if roots is None:
        try:
            roots = importlib.metadata.requires(DISTRIBUTION) or []
        except importlib.metadata.PackageNotFoundError as error:
            raise InputError(
                f"data=installed_docs: {DISTRIBUTION} is not installed, so its dependencies are not known; "
                "run pip install -e . in the source tree"
            ) from error
    versions: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in versions or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        versions[name] = distribution.version
        waiting += distribution.requires or []
    versions.pop(DISTRIBUTION, None)
    return dict(sorted(versions.items()))


def standard_library_files() -> list[SourceFile]:
    """List the source files of the standard library."""
    return files_under(Path(sysconfig.get_path("stdlib")))


def distribution_files(name: str) -> list[SourceFile]:
    """List the source files that an installed distribution recorded."""
    distribution = importlib.metadata.distribution(name)
    recorded = [(file, Path(str(distribution.locate_file(file)))) for file in distribution.files or []]
    return _select((file, path) for file, path in recorded if file.suffix == ".py")


def files_under(root: Path) -> list[SourceFile]:
    """List the source files of a folder that is the root of module names."""
    return _select((path.relative_to(root), path) for path in root.rglob("*.py"))


def _select(found: Iterable[tuple[PurePath, Path]]) -> list[SourceFile]:
    files = []
    for relative, path in found:
        parts = relative.with_suffix("").parts
        if not all(part.isidentifier() for part in parts) or not SKIPPED_FOLDERS.isdisjoint(parts[:-1]):
            continue
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if module:
            files.append(SourceFile(module, str(path)))
    return sorted(files)
