"""Whether two measured values may be compared, and what is different where they may not.

Another text (documents, queries, judgments) or other rules of the split (depth of rankings, excluded documents,
candidate lists, the split's own lengths and prompts, a measure of one's own with other settings or code) make two
numbers incomparable. What belongs to the student (its
lengths, prompts, markers) or to its search is what ablations vary: it is said beside the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from colbert_lab.analysis.measured import Measured, Place
from colbert_lab.base.errors import InputError
from colbert_lab.records.run_files import split_details
from colbert_lab.records.runs import STUDENT

OF_ANY = ("depth", "excluded", "candidates", "own_measure")
"""Fields of a protocol that belong to the split or the measure and not to the system, and that all systems have."""
OF_SPLIT = (*OF_ANY, "split_protocol")
"""Those, and the one that students alone have."""
COUNTED = {"documents": "documents", "queries": "queries"}
MISSING = "none"
LONGEST = 60  # characters of a value in a message
Path = tuple[str, ...]


def other_text(row: Measured, reference: Measured) -> str | None:
    """What is different between the texts of two rows, None for nothing.

    Returns:
        For example ``documents (1,500 and 3,500), judgments``.
    """
    if row.fingerprint == reference.fingerprint:
        return None
    mine, theirs = _details(row), _details(reference)
    members = [key for key in theirs.get("mean_of", ()) if key in mine.get("mean_of", ())]
    if members:
        both = [(key, *(_details(each, key) for each in (row, reference))) for key in members]
        return "; ".join(f"{key}: {_parts(a, b)}" for key, a, b in both if _parts(a, b)) or _unnamed(
            row, reference
        )
    return _parts(mine, theirs) or _unnamed(row, reference)


def _details(row: Measured, split: str | None = None) -> Mapping[str, Any]:
    return split_details(row.configuration.runs[0].path).get(split or row.place.split, {})


def _parts(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What differs according to ``splits.json``; "" where it does not say."""
    if mine.get("fingerprint") == theirs.get("fingerprint"):
        return ""
    parts, others = mine.get("parts") or {}, theirs.get("parts") or {}
    if parts and others:
        keys = [key for key in dict.fromkeys([*parts, *others]) if parts.get(key) != others.get(key)]
    else:  # older runs know the counts alone
        keys = [key for key in COUNTED if mine.get(key) != theirs.get(key)]
    return ", ".join(_counted(key, mine, theirs) for key in keys)


def _counted(key: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    counts = mine.get(key), theirs.get(key)
    known = [count for count in counts if isinstance(count, int)]
    return f"{key} ({known[0]:,} and {known[1]:,})" if len(known) == 2 else key


def _unnamed(row: Measured, reference: Measured) -> str:
    return (
        f"documents, queries or judgments (split fingerprints {row.fingerprint} and {reference.fingerprint})"
    )


def other_rules(row: Measured, reference: Measured) -> tuple[list[str], list[str], bool]:
    """What is different between the protocols of two rows.

    Returns:
        What belongs to the split, what belongs to the student or its search (each such as ``depth (100 and 1000)``),
        and whether there are differences that cannot be named, as older runs do not keep their protocols.
    """
    same = row.system == reference.system == STUDENT
    if same and row.protocols == reference.protocols:
        return [], [], False
    split: dict[str, None] = {}
    student: dict[str, None] = {}
    unknown = False
    for mine in row.protocols:
        for theirs in reference.protocols - {mine} if same else reference.protocols:
            one, other = row.told.get(mine), reference.told.get(theirs)
            if one is None or other is None:
                unknown = unknown or same
                continue
            for path, text in _differences(_flat(one), _flat(other)).items():
                if set(path) & set(OF_SPLIT if same else OF_ANY):
                    split[text] = None
                elif same:
                    student[text] = None
    return list(split), list(student), unknown


def _flat(values: Mapping[str, Any], above: Path = ()) -> dict[Path, Any]:
    flat: dict[Path, Any] = {}
    for key, value in values.items():
        path = (*above, str(key))
        flat |= _flat(value, path) if isinstance(value, Mapping) else {path: value}
    return flat


def _differences(mine: Mapping[Path, Any], theirs: Mapping[Path, Any]) -> dict[Path, str]:
    return {
        path: f"{'.'.join(path)} ({_value(mine.get(path, MISSING))} and {_value(theirs.get(path, MISSING))})"
        for path in dict.fromkeys([*mine, *theirs])
        if mine.get(path, MISSING) != theirs.get(path, MISSING)
    }


def _value(value: Any) -> str:
    text = repr(value) if isinstance(value, str) and value != MISSING else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def refuse_different(
    by_place: Mapping[Place, Sequence[Measured]], reference: Mapping[Place, Measured]
) -> None:
    """Refuse a comparison in which a split is not the same for all.

    Args:
        by_place: the rows at each place.
        reference: the row that they are compared with, by place.

    Raises:
        InputError: a row was measured on another text or under other rules of the split than the reference; the
            message names the difference, and the splits that are the same for all.
    """
    problems: dict[str, str] = {}
    for place, rows in by_place.items():
        base = reference.get(place)
        for row in rows if base is not None else ():
            if row is base or place.split in problems:
                continue
            assert base is not None
            between = f"of {row.label} and {base.label}"
            if (text := other_text(row, base)) is not None:
                problems[place.split] = f"other text {between}: {text}"
            elif rules := other_rules(row, base)[0]:
                problems[place.split] = f"other rules {between}: {', '.join(rules)}"
    if not problems:
        return
    alike = list(dict.fromkeys(p.split for p in by_place if p in reference and p.split not in problems))
    advice = f"compare the others with compare.splits=[{','.join(alike)}]" if alike else "no split is alike"
    told = "; ".join(f"{split}: {problem}" for split, problem in problems.items())
    raise InputError(
        f"runs: {told}; {advice}, or show the numbers without testing them with compare.allow_different=true"
    )
