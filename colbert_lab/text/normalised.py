"""When two texts count as the same."""

from __future__ import annotations

import hashlib
import unicodedata

from colbert_lab.text.contamination import normalise


def normalised(text: str) -> str:
    """Texts are the same when these are: NFKC, case-folded, single spaces, no punctuation at its ends."""
    return normalise(text if text.isascii() else unicodedata.normalize("NFKC", text))


def text_hash(normal: str) -> int:
    """64 bits of the BLAKE2b of a text in its normal form."""
    digest = hashlib.blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
