"""Find texts inside a stream of others: whole, and by the runs of words they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from colbert_lab.text.fingerprint import normalised, run_hashes, text_hash, words_of

BLOCK = 2000  # streamed texts looked at together
NAMED = 5  # places that are named for one text
Place = tuple[str, str, str]
"""Where a streamed text is: name of the source, role, id."""


@dataclass(frozen=True)
class Match:
    """A text that was found in the stream.

    Attributes:
        exact: whether a streamed text equals it in its normal form; otherwise its runs of words were found.
        share: of its different runs of words, those that occur in the stream.
        places: where, the best ones first.
        count: streamed texts that equal it, when ``exact``; otherwise those in which a run was found first.
    """

    exact: bool
    share: float
    places: list[Place]
    count: int


@dataclass
class _Runs:
    """The different runs of one size of all texts.

    Attributes:
        size: words of a run.
        hashes: sorted, uint64 [G].
        owners: numbers of the texts that have runs of this size.
        ends: where each of them ends in ``members``.
        members: rows of ``hashes``, end to end.
        first: number of the first streamed text that holds a run, -1 for none yet; [G].
    """

    size: int
    hashes: np.ndarray
    owners: np.ndarray
    ends: np.ndarray
    members: np.ndarray
    first: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.first = np.full(len(self.hashes), -1, dtype=np.int64)


class TextIndex:
    """Texts to look for. Memory grows with them, not with the stream.

    A text's runs are all its runs of ``ngram`` words; all words of a shorter text are one run. A text of fewer than
    half as many words is found only as a whole: so few words stand in unrelated texts too.

    Args:
        texts: the texts.
        ngram: words of a run.
    """

    def __init__(self, texts: Iterable[str], ngram: int) -> None:
        self._vocabulary: dict[str, int] = {}
        shortest = max(1, ngram // 2)
        runs: dict[int, list[tuple[int, np.ndarray]]] = {}
        whole = []
        for number, text in enumerate(texts):
            normal = normalised(text)
            whole.append(text_hash(normal))
            words = words_of(normal)
            numbers = [self._vocabulary.setdefault(word, len(self._vocabulary) + 1) for word in words]
            size = min(len(words), ngram)
            if size >= shortest:
                found = np.unique(run_hashes(np.array(numbers, dtype=np.uint64), size))
                runs.setdefault(size, []).append((number, found))
        self._whole = np.array(whole, dtype=np.uint64)
        self._order = np.argsort(self._whole, kind="stable")
        self._sorted = self._whole[self._order]
        self._runs = [_runs(size, runs.pop(size)) for size in sorted(runs)]
        self._equal: dict[int, list[int]] = {}
        self._counts: Counter[int] = Counter()
        self._places: dict[int, Place] = {}
        self._seen = 0

    def __len__(self) -> int:
        """Number of texts."""
        return len(self._whole)

    def scan(self, source: str, role: str, texts: Iterable[tuple[str, str]]) -> np.ndarray:
        """Look through a stream.

        Args:
            source: what its texts are called by, in places.
            role: the same.
            texts: ids and texts.

        Returns:
            Pairs of a streamed text's position and the number of a text that it equals, int64 [P, 2].
        """
        found = [np.zeros((0, 2), dtype=np.int64)]
        stream, start = iter(texts), self._seen
        while block := list(islice(stream, BLOCK)):
            normal = [normalised(text) for _, text in block]
            equal = self._scan_whole(normal)
            for n in {*equal[:, 0].tolist(), *self._scan_runs(normal)}:
                self._places[self._seen + n] = (source, role, block[n][0])
            equal[:, 0] += self._seen - start
            found.append(equal)
            self._seen += len(block)
        return np.concatenate(found)

    def matches(self, near: float) -> dict[int, Match]:
        """What was found of the texts, by their numbers.

        Args:
            near: share of a text's runs from which it counts as found.
        """
        found: dict[int, Match] = {}
        for runs in self._runs:
            start = 0
            for number, end in zip(runs.owners.tolist(), runs.ends.tolist(), strict=True):
                first = runs.first[runs.members[start:end]]
                start = end
                hit = first[first >= 0]
                if len(hit) and len(hit) >= near * len(first):
                    best = Counter(hit.tolist()).most_common()
                    places = [self._places[n] for n, _ in best[:NAMED]]
                    found[number] = Match(False, len(hit) / len(first), places, len(best))
        for number, streamed in self._equal.items():
            places = list(dict.fromkeys(self._places[n] for n in streamed))
            found[number] = Match(True, 1.0, places[:NAMED], self._counts[number])
        return dict(sorted(found.items()))

    def _scan_whole(self, normal: Sequence[str]) -> np.ndarray:
        """Pairs (position in the block, number of an equal text), int64 [P, 2]."""
        hashes = np.fromiter(map(text_hash, normal), dtype=np.uint64, count=len(normal))
        low = np.searchsorted(self._sorted, hashes, side="left")
        high = np.searchsorted(self._sorted, hashes, side="right")
        pairs = []
        for position in np.flatnonzero(high > low).tolist():
            for number in self._order[low[position] : high[position]].tolist():
                pairs.append((position, number))
                self._counts[number] += 1
                places = self._equal.setdefault(number, [])
                if len(places) < 4 * NAMED:
                    places.append(self._seen + position)
        return np.array(pairs, dtype=np.int64).reshape(-1, 2)

    def _scan_runs(self, normal: Sequence[str]) -> list[int]:
        """Positions in the block of the texts that are the first to hold a run."""
        known = self._vocabulary.get
        numbers: list[int] = []
        ends = []
        for text in normal:
            numbers += [known(word, 0) for word in words_of(text)]
            numbers.append(0)  # no run goes over the end of a text, nor over a word that is not looked for
            ends.append(len(numbers))
        words = np.array(numbers, dtype=np.uint64)
        unknown = np.concatenate([[0], np.cumsum(words == 0)])
        fresh: set[int] = set()
        for runs in self._runs:
            if len(words) < runs.size:
                continue
            places = np.flatnonzero(unknown[runs.size :] == unknown[: -runs.size])
            hashes = run_hashes(words, runs.size)[places]
            rows = np.minimum(np.searchsorted(runs.hashes, hashes), len(runs.hashes) - 1)
            same = runs.hashes[rows] == hashes
            rows, places = rows[same], places[same]
            texts = np.searchsorted(np.array(ends), places, side="right")
            new = runs.first[rows] < 0
            # Of several values for one place numpy keeps the last: backwards, that is the first text.
            runs.first[rows[new][::-1]] = texts[new][::-1] + self._seen
            fresh.update(texts[new].tolist())
        return sorted(fresh)


def _runs(size: int, found: Sequence[tuple[int, np.ndarray]]) -> _Runs:
    hashes, members = np.unique(np.concatenate([each for _, each in found]), return_inverse=True)
    ends = np.cumsum([len(each) for _, each in found])
    owners = np.array([number for number, _ in found], dtype=np.int64)
    return _Runs(size, hashes, owners, ends, members.astype(np.int64))
