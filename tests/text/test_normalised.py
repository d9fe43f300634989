"""Copies of a text in another form."""

import pytest

from colbert_lab.text.normalised import normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Red  fish\n", "red fish"),
        ("ﬁsh", "FISH"),  # a ligature
        ("Straße", "STRASSE"),
        ("café", "cafe\u0301"),
        ("red\u00a0fish", "red fish"),  # a no-break space
        ("ＲＥＤ", "red"),  # full width
    ],
)
def test_forms_of_one_text(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("redfish", "red fish"), ("cafe", "café"), ("red, fish", "red fish")]
)
def test_other_texts(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)
