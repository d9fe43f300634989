import time

from colbert_lab.text.packages.pair_kinds import LONGEST_LINE, parameters, passages, sections, sentences

RST = """
=====
Title
=====

Some text before, see :func:`~a.b.open_it`.

.. _target:

First part
==========
.. note::
   A note that stays.

Body of `it <there.html>`_.

Deeper
------
Deep body.

::

    ----
    not a heading

Second part
===========

Last body.
"""


def test_sections_of_restructured_text_stand_below_their_headings() -> None:
    found = sections(RST)
    assert [section.headings for section in found] == [
        ("Title",),
        ("Title", "First part"),
        ("Title", "First part", "Deeper"),
        ("Title", "Second part"),
    ]
    assert found[0].body.split() == ["Some", "text", "before,", "see", "a.b.open_it."]
    assert found[1].body.split("\n\n") == ["   A note that stays.", "Body of it."]
    assert "not a heading" in found[2].body


def test_sections_of_markdown_pass_over_fences() -> None:
    text = "# Top #\n\nIntro [here](x.md) <b>bold</b>.\n\n```sh\n# no heading\n```\n\n"
    text += "## Next `one`\nBody.\n\nOld\n---\nEnd.\n"
    found = sections(text)
    assert [section.headings for section in found][:2] == [("Top",), ("Top", "Next `one`")]
    assert found[0].body.startswith("Intro here bold.")
    assert "# no heading" in found[0].body
    assert found[-1].headings[-1] == "Old"
    assert [section.headings for section in sections("Plain text.\n\nMore of it.")] == [()]


def test_parameters_of_three_styles() -> None:
    numpy = (
        "Do.\n\nParameters\n----------\nx, y : int\n    The two\n    numbers.\n*rest\n    All others.\n\nReturns\n"
        "-------\nz : int\n    Their sum.\n"
    )
    assert [(name, " ".join(text.split())) for name, text in parameters(numpy)] == [
        ("x, y", "The two numbers."),
        ("*rest", "All others."),
    ]
    google = (
        "Do.\n\nArgs:\n    x (`int`, *optional*): The first\n        number.\n    **kwargs:\n        Others: many.\n"
        "\nReturns:\n    int: A sum.\n"
    )
    assert [(name, " ".join(text.split())) for name, text in parameters(google)] == [
        ("x", "The first number."),
        ("**kwargs", "Others: many."),
    ]
    sphinx = (
        "Do.\n\n:param int x: The first\n    number.\n:type x: int\n:param y: The second.\n:returns: A sum.\n"
    )
    assert [(name, " ".join(text.split())) for name, text in parameters(sphinx)] == [
        ("x", "The first number."),
        ("y", "The second."),
    ]


def test_sentences_are_of_prose() -> None:
    text = (
        "One sentence of exactly seven words here. Too short. And another one that is\nlong enough to count!",
        ">>> This is a line of code here.",
        "- A list with some words in its item.",
        "An example follows here, which is code::",
    )
    assert list(sentences(list(text))) == [
        "One sentence of exactly seven words here.",
        "And another one that is long enough to count!",
    ]


def test_passages_end_with_a_paragraph() -> None:
    text = "\n\n".join(["word " * 150] * 5)
    assert [len(passage) for passage in passages(text)] == [2, 2, 1]


def test_hostile_text_takes_no_time() -> None:
    began = time.process_time()
    for bad in (
        "`a" + " " * 10**5,
        "# a" + " #" * 10**5,
        "(" * 10**5 + ":",
        ":x:`" + " " * 10**5,
        "\n" * 10**5,
    ):
        sections(bad)
        parameters(bad)
        list(sentences([bad]))
    wide = "`" + " " * (LONGEST_LINE - 1)
    sections("\n".join([wide] * 20))
    assert time.process_time() - began < 20
