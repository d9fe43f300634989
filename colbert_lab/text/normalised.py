"""Texts that differ in form alone."""

import unicodedata


def normalised(text: str) -> str:
    """The text without what does not change its content; equal results mean copies of one text.

    Unicode's compatibility composition (NFKC), case folding, and single spaces for runs of white space.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
