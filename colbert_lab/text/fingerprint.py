"""Whether two pieces of data are the same: short hashes of content; and texts that are the same, or almost."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from colbert_lab.base.types import Split


def fingerprint(*parts: Iterable[str]) -> str:
    """Hash sequences of strings, so that any change of content, order or boundary changes the result.

    Every string goes in with its length before it, and every part with an end mark, so that ``["ab", "c"]``,
    ``["a", "bc"]`` and ``["ab"], ["c"]`` differ. A part that is one string counts as a sequence of one.

    Args:
        parts: the sequences, in an order that has a meaning to the caller.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for part in parts:
        for text in (part,) if isinstance(part, str) else part:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data))
            digest.update(data)
        digest.update(b";")
    return digest.hexdigest()[:16]


def text_key(text: str) -> int:
    """A signed 64-bit hash of a text, the same on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def text_keys(texts: Iterable[str]) -> np.ndarray:
    """The :func:`text_key` of each text, int64."""
    return np.fromiter(map(text_key, texts), dtype=np.int64)


def fingerprint_arrays(arrays: Iterable[np.ndarray]) -> str:
    """Hash a sequence of numpy arrays: their types, lengths and numbers.

    Args:
        arrays: one-dimensional arrays.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(b"%s%d:" % (array.dtype.str.encode(), array.size))
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def normalised(text: str) -> str:
    """Bring a text to the form in which texts count as the same, everywhere in the package.

    Returns:
        The text in NFKC, case-folded, with single spaces, and without punctuation or spaces at its ends. A text of
        punctuation only keeps it, so that such texts do not all become equal.
    """
    compatible = text if text.isascii() else unicodedata.normalize("NFKC", text)
    words = " ".join(compatible.casefold().split())
    start, end = 0, len(words)
    while start < end and _is_edge(words[start]):
        start += 1
    while end > start and _is_edge(words[end - 1]):
        end -= 1
    return words[start:end] or words


def text_hash(normal: str) -> int:
    """64 bits of the BLAKE2b of a text in its normal form: :func:`text_key` without a sign."""
    return text_key(normal) % 2**64


def _is_edge(character: str) -> bool:
    return character == " " or unicodedata.category(character).startswith("P")


def overlapping_queries(
    training: Iterable[tuple[str, str]], splits: Mapping[str, Split]
) -> dict[str, list[str]]:
    """Name the training queries whose text is a query of an evaluation split, in one pass over them.

    Equal ids alone are no overlap: collections number their queries independently.

    Args:
        training: id and text of every training query.
        splits: the evaluation splits.

    Returns:
        For each split, the ids of the training queries whose text in its normal form equals that of one of its queries,
        each id once, in the order of ``training``.
    """
    splits_of: dict[str, list[str]] = {}
    for key, split in splits.items():
        for text in {normalised(text) for text in split.queries.values()}:
            splits_of.setdefault(text, []).append(key)
    found: dict[str, dict[str, None]] = {key: {} for key in splits}
    for query_id, text in training:
        for key in splits_of.get(normalised(text), ()):
            found[key][query_id] = None
    return {key: list(ids) for key, ids in found.items()}


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
