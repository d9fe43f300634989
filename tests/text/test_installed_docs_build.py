import pytest

from colbert_lab.text.docstrings import Docstring
from colbert_lab.text.installed_docs_build import make_pairs, split_docstring

BODY = (
    "The body explains at some length what the function does, when it should be called, and which errors a "
    "caller has to expect from it."
)


def test_summary_and_rest_become_one_line_each() -> None:
    arguments = "Parameters\n----------\nx : int\n    Some number.\n"
    text = f"Compute the thing\nthat you need.\n\n  {BODY}\n\n{arguments}"
    document = f"{BODY} Parameters x : int Some number."
    assert split_docstring(text) == ("Compute the thing that you need.", document)


def test_signatures_notices_rulers_and_templates_are_passed_over() -> None:
    text = f"glu(input, dim=-1) -> Tensor\n\nThe gated linear unit function.\n\n%(before_notes)s\n\n{BODY}"
    assert split_docstring(text) == ("The gated linear unit function.", BODY)
    text = f'!!! abstract "Usage"\n    [a](b.md)\n\nCreate a field for objects.\n\n{BODY}'
    assert split_docstring(text) == ("Create a field for objects.", BODY)
    text = f"==================\nA title of a module\n==================\n\n{BODY}"
    assert split_docstring(text) == ("A title of a module", BODY)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"Only three words\n\n{BODY}", "too short"),
        ("A summary of enough words.\n\nA body that is too short.", "too short"),
        ("A summary without a body at all.", "too short"),
        (f"{'word ' * 61}\n\n{BODY}", "summary too long"),
        (f"Args:\n    x: the first of the numbers\n\n{BODY}", "no summary"),
        (f"Parameters\n----------\nx : int, the first number\n\n{BODY}", "no summary"),
        (f"labels (`torch.LongTensor` of shape `(batch,)`):\n    Labels of it.\n\n{BODY}", "no summary"),
        (f":param x: the first of the numbers\n\n{BODY}", "no summary"),
        (f"Use it:\n>>> import something\n>>> something.run() now\n\n{BODY}", "no summary"),
        (f"a -- b -- c --\n\n{BODY}", "no summary"),
        (f"Deprecated: use the other function.\n\n{BODY}", "deprecated"),
        (f"Compute the thing you need.\n\n.. deprecated:: 1.2\n    {BODY}", "deprecated"),
        (
            "Return the leading term now.\n\nExamples\n====\n\n" + ">>> f(x, y)\nx + y and so on\n" * 9,
            "code only",
        ),
        ("Return the leading term now.\n\n```py\n" + "make the value\n" * 9 + "```", "code only"),
    ],
)
def test_junk_is_dropped_with_its_reason(text: str, reason: str) -> None:
    assert split_docstring(text) == reason


def test_duplicates_go_and_ids_stay_unique() -> None:
    def doc(module: str, name: str, summary: str, body: str) -> Docstring:
        return Docstring(module, name, f"{summary}\n\n{body}")

    pairs, dropped = make_pairs(
        [
            doc("a.b", "", "The module of all things.", BODY),
            doc("a.b", "C.value", "Get the current value.", f"One. {BODY}"),
            doc("a.b", "C.value", "Set the current value.", f"Two. {BODY}"),
            doc("a.c", "f", "  get the CURRENT value", f"Three. {BODY}"),
            doc("a.c", "g", "Something else is asked.", BODY.upper()),
            doc("a.c", "h", "Short.", ""),
        ]
    )
    assert [pair.document_id for pair in pairs] == ["a.b", "a.b:C.value", "a.b:C.value#2"]
    assert pairs[0].module == "a.b"
    assert dropped == {"duplicate": 2, "too short": 1}
