"""Small wheels and source archives made on the spot, and an index of them that pip reads without a network."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MODULES = "bcdefghijklmnopqrst"
"""Of the package ``toy``, of all three splits."""


def prose(seed: str, count: int = 4) -> str:
    """Sentences of words that no other seed has."""
    words = [[f"{seed}{letter}{chr(97 + n)}" for letter in LETTERS[:9]] for n in range(count)]
    return " ".join(" ".join(sentence).capitalize() + "." for sentence in words)


def module(name: str, functions: int = 3) -> str:
    """A module with documented functions, which must not be executed."""
    parts = ["raise SystemExit('executed')\n"]
    for n in range(functions):
        seed = f"{name.replace('.', '').replace('_', '')}x{LETTERS[n]}"
        parts.append(
            f'def f{n}(size):\n    """Explain function {LETTERS[n]} of {name}.\n\n    {prose(seed)}\n\n'
            f'    Args:\n        size (int): {prose(seed + "p", 3)}\n    """\n'
        )
    return "\n".join(parts)


def page(name: str, sections: int = 2) -> str:
    """A page with sections."""
    parts = [f"The book of {name}\n==================\n"]
    parts += [
        f"How to use part {LETTERS[n]}\n-------------------\n\n{prose(f'{name}s{LETTERS[n]}')}\n"
        for n in range(sections)
    ]
    return "\n".join(parts)


def write_wheel(folder: Path, name: str, files: Mapping[str, str | bytes], version: str = "1.0") -> Path:
    """A wheel that pip takes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n{page(f'{name}readme')}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, content in files.items():
            archive.writestr(place, content)
        archive.writestr(f"{about}/METADATA", metadata)
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")
    return path


def write_packages(folder: Path) -> Path:
    """Two wheels, one of them held out, and the file that names them."""
    pages = {f"toy/docs/{name}.rst": page(f"{name}page") for name in MODULES}
    toy = write_wheel(folder, "toy", {f"toy/{name}.py": module(f"toy.{name}") for name in MODULES} | pages)
    other = write_wheel(folder, "other", {"other/a.py": module("other.a", 5)})
    names = folder / "packages.txt"
    names.write_text(f"{toy}\n{other} # held out\n", encoding="utf-8")
    return names


def write_sdist(path: Path, files: Mapping[str, bytes]) -> Path:
    """A gzipped tar file."""
    with gzip.open(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def offline(monkeypatch: pytest.MonkeyPatch, index: Path) -> None:
    """Have pip look into a folder alone."""
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
