"""Passes over the queries of pairs or triples, see :mod:`colbert_lab.text.spans`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set

import datasets
import numpy as np

from colbert_lab.text.fingerprint import normalised, text_keys
from colbert_lab.text.rows.checking import BLOCK, ID, QUERY
from colbert_lab.text.spans import over_spans


def query_keys(name: str, table: datasets.Dataset) -> np.ndarray:
    """The :func:`colbert_lab.text.fingerprint.text_key` of the query of every row, int64.

    Args:
        name: of the rows, for the progress bar.
        table: with a column ``query``.
    """
    parts = over_spans(table.select_columns([QUERY]), _keys, desc=f"hashing queries of {name}")
    return np.concatenate([part["keys"] for part in parts])


def _keys(rows: datasets.Dataset, start: int, done: Callable[[int], object]) -> dict[str, np.ndarray]:
    found = [np.empty(0, dtype=np.int64)]
    for block in rows.iter(batch_size=BLOCK):
        found.append(text_keys(text or "" for text in block[QUERY]))
        done(len(block[QUERY]))
    return {"keys": np.concatenate(found)}


def queries_among(
    name: str, table: datasets.Dataset, asked: Mapping[str, Set[str]], without: np.ndarray
) -> dict[str, list[str]]:
    """The queries that are among others in their normal form.

    Args:
        name: of the rows, for the progress bar.
        table: with a column ``query`` and perhaps ``query_id``.
        asked: by a key, texts in their normal form (:func:`colbert_lab.text.fingerprint.normalised`).
        without: numbers of rows that are left out.

    Returns:
        By key, the ids of the queries, each once, in the order of the rows; without ``query_id`` numbers of rows.
    """
    texts: dict[str, list[int]] = {}
    for number, key in enumerate(asked):
        for text in asked[key]:
            texts.setdefault(text, []).append(number)
    rows = table.select_columns([QUERY])
    parts = over_spans(rows, _among, texts, desc=f"comparing queries of {name}")
    places = np.concatenate([part["rows"] for part in parts])
    owners = np.concatenate([part["owners"] for part in parts])
    left = ~np.isin(places, without)
    places, owners = places[left], owners[left]
    if ID in table.column_names:
        ids = list(map(str, table.select_columns([ID]).select(places)[ID]))
    else:
        ids = list(map(str, places.tolist()))
    found: dict[str, list[str]] = {}
    for number, key in enumerate(asked):
        found[key] = list(dict.fromkeys(ids[place] for place in np.flatnonzero(owners == number).tolist()))
    return found


def _among(
    rows: datasets.Dataset, start: int, done: Callable[[int], object], texts: Mapping[str, list[int]]
) -> dict[str, np.ndarray]:
    found: list[tuple[int, int]] = []
    place = start
    for block in rows.iter(batch_size=BLOCK):
        for text in block[QUERY]:
            found += [(place, number) for number in texts.get(normalised(text or ""), ())]
            place += 1
        done(len(block[QUERY]))
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return {"rows": pairs[:, 0], "owners": pairs[:, 1]}
