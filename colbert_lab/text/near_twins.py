"""Find documents that are mostly a copy of others, by the runs of words they share."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

SHINGLE = 8  # words; long enough that two texts share one by copying, rarely by chance
_WORD = re.compile(r"\w+")


def shingle_hashes(texts: Sequence[str]) -> list[np.ndarray]:
    """Hash every run of 8 words of every text.

    Args:
        texts: any texts; case and punctuation do not count. A text of fewer words is one run.

    Returns:
        For each text the different 64-bit hashes, ascending; equal texts get equal hashes within one call.
        Texts without a word get none.
    """
    vocabulary: dict[str, int] = {}
    hashes = []
    for text in texts:
        numbers = [vocabulary.setdefault(word, len(vocabulary) + 1) for word in words_of(text)]
        runs = run_hashes(np.array(numbers, dtype=np.uint64), min(SHINGLE, len(numbers)))
        hashes.append(np.unique(runs))
    return hashes


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.casefold())


def run_hashes(numbers: np.ndarray, size: int) -> np.ndarray:
    """Hash every run of words.

    Args:
        numbers: the words of a text, or of several, as numbers of a vocabulary, uint64.
        size: words of a run.

    Returns:
        One 64-bit hash for each place where a run begins; none when there are fewer words than a run has.
    """
    if size < 1 or len(numbers) < size:
        return np.zeros(0, dtype=np.uint64)
    mixed = _mix(numbers)
    hashes = np.zeros(len(mixed) - size + 1, dtype=np.uint64)
    for place in range(size):
        power = np.uint64(pow(0x9E3779B97F4A7C15, place, 2**64))
        hashes += mixed[place : place + len(hashes)] * power
    return hashes


class TwinIndex:
    """Documents seen so far, against which others are compared.

    Two documents are near-twins when more than half of the runs of either are runs of the other. A document
    also counts as a twin when more than half of its runs occur anywhere in the index, in several documents.
    """

    def __init__(self) -> None:
        self._documents: defaultdict[int, list[int]] = defaultdict(list)
        self._sizes: list[int] = []

    def add(self, hashes: np.ndarray) -> None:
        """Add a document, given by its ``shingle_hashes``."""
        number = len(self._sizes)
        self._sizes.append(len(hashes))
        for value in hashes.tolist():
            self._documents[value].append(number)

    def has_twin(self, hashes: np.ndarray) -> bool:
        """Say whether a document, given by its ``shingle_hashes``, is a twin of what was added."""
        found = [self._documents[value] for value in hashes.tolist() if value in self._documents]
        if 2 * len(found) > len(hashes):
            return True
        shared = Counter(number for documents in found for number in documents)
        return any(2 * count > self._sizes[number] for number, count in shared.items())


def drop_twins(groups: Sequence[Sequence[np.ndarray]]) -> list[list[bool]]:
    """Decide which documents to keep so that no document has a near-twin in an earlier group.

    Args:
        groups: groups of documents, given by their ``shingle_hashes``. Of two near-twins,
            the one of the later group goes. In all groups but the last, so does the later one of two in the
            same group.

    Returns:
        For each document of each group, whether to keep it.
    """
    index = TwinIndex()
    kept = []
    for number, group in enumerate(groups):
        keep = []
        for hashes in group:
            keep.append(not index.has_twin(hashes))
            if keep[-1] and number < len(groups) - 1:
                index.add(hashes)
        kept.append(keep)
    return kept


def _mix(numbers: np.ndarray) -> np.ndarray:
    # The finaliser of SplitMix64 (Steele, Lea and Flood 2014): neighbouring numbers become unrelated.
    numbers = numbers * np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = numbers ^ (numbers >> np.uint64(31))
    return mixed
