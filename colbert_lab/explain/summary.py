"""Sentences that the terminal and the page share."""

from __future__ import annotations

import re

from colbert_lab.explain.matches import Explanation, Match
from colbert_lab.explain.reading import Kind, ReadText

UNSEEN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
UNSEEN |= dict.fromkeys(range(128, 160), 0xFFFD)
"""Control characters, and pictures of them."""

NAMES: dict[Kind, str] = {
    "text": "of the text",
    "unknown": "of the text but unknown to the vocabulary",
    "prompt": "of the prompt",
    "marker": "marker",
    "special": "special",
    "expansion": "expansion",
}


def counts(reading: ReadText) -> str:
    """How many tokens a text has and what they are there for, what does not score, and what is cut."""
    kinds = [token.kind for token in reading.tokens]
    parts = [f"{kinds.count(kind)} {name}" for kind, name in NAMES.items() if kind in kinds]
    sentences = [f"{reading.role}: {_tokens(len(kinds))} of at most {reading.length}: {', '.join(parts)}"]
    skipped = len(kinds) - len(reading.scoring)
    if skipped:
        sentences.append(f"{_tokens(skipped)} skipped (not scoring)")
    if reading.cut:
        verb = "is" if reading.cut == 1 else "are"
        sentences.append(f"{_tokens(reading.cut)} of the {reading.role} {verb} cut")
    return "; ".join(sentences)


def visible(text: str) -> str:
    """The text with pictures of control characters in their place, which a terminal would obey."""
    return text.translate(UNSEEN)


def headline(explanation: Explanation) -> str:
    """The score and what it is the sum of."""
    documents = len(explanation.document.scoring)
    return (
        f"score {explanation.score:.4f}: the sum over {_tokens(len(explanation.matches))} of the query of the "
        f"highest similarity with one of {_tokens(documents)} of the document"
    )


def signs(explanation: Explanation) -> str:
    """What the signs in the labels mean, as far as there are any."""
    labels = [
        token.label for reading in (explanation.query, explanation.document) for token in reading.tokens
    ]
    meanings = {
        r"…": "… : the word goes on",
        r"\(\d+/\d+\)": "(1/3): the first of three tokens that share a character",
        r" #\d+$": "#2: the second token of this text with that name",
    }
    return "; ".join(meaning for sign, meaning in meanings.items() if any(re.search(sign, x) for x in labels))


def share(match: Match) -> str:
    """A token's part of the score in percent; a dash where the score is not positive."""
    return "–" if match.share is None else f"{match.share:.1%}"


def _tokens(number: int) -> str:
    return f"{number} token" if number == 1 else f"{number} tokens"
