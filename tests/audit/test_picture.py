"""The figure of an audit."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import pytest

from colbert_lab.audit.audited import AuditedData, AuditedPhase, audit
from colbert_lab.audit.findings import Findings, shares, verdicts
from colbert_lab.audit.picture import draw_audit, draw_lengths, split_lengths
from colbert_lab.audit.report import audit_tables
from colbert_lab.base.types import Corpus, Split
from colbert_lab.settings.tasks import AuditSettings
from colbert_lab.sources.sources import ScoredListFiles
from colbert_lab.training.objectives.term import Side
from tests.audit.support import lists, split, triples
from tests.tiny import sentences
from tests.toy import new_student

pytest.importorskip("matplotlib", reason="the extra 'notebook' is not installed")
KEYS = {"query": "student.query_length", "document": "student.document_length"}


@pytest.fixture
def findings(student_settings: dict[str, Any]) -> Findings:
    """A contrastive phase and one that distils, looked at beside four splits."""
    tokenizer = new_student(**student_settings).tokenizer
    texts = sentences(60, low=5, high=40)
    configured = ScoredListFiles("made", None)
    pairs = AuditedData(["supervised"], configured, [triples([(t[:20], t, []) for t in texts[:30]])])
    scores = [[float(k * n % 7) for k in range(5)] for n in range(10)]
    scored = lists(texts[:10], texts, [list(range(n, n + 5)) for n in range(10)], scores)
    listed = AuditedData(["distill"], configured, [scored])
    splits = {
        f"split{n}": split({"a": texts[n], "b": "x y"}, {"q": texts[n + 1]}, {"q": "a"}) for n in range(4)
    }
    phases = [
        AuditedPhase("supervised", pairs, tokenizer, KEYS, 4, 1, None, ""),
        AuditedPhase("distill", listed, tokenizer, KEYS, 4, 4, Side("zscore", 1.0), "key"),
    ]
    return audit(
        "study",
        [pairs, listed],
        phases,
        splits,
        tokenizer,
        scope=AuditSettings(None, None, 8, 0.8),
        seed=0,
        drops=False,
        notes=[],
    )


def test_every_panel_says_what_it_shows_and_labels_do_not_overlap(findings: Findings) -> None:
    figure = draw_audit(findings)
    figure.savefig(io.BytesIO(), format="png")  # lays it out
    assert [panel.get_title() for panel in figure.axes][:3] == [
        "Length of training queries",
        "Length of training documents",
        "Entropy of the teacher's distributions",
    ]
    assert "found in training text" in figure.axes[3].get_title()
    for panel in figure.axes:
        assert panel.get_xlabel()
        frame = figure.get_window_extent()
        for text in (panel.xaxis.label, panel.yaxis.label, panel.title):
            box = text.get_window_extent()
            assert box.width == 0 or (frame.x0 <= box.x0 and box.x1 <= frame.x1)
        covered = [*panel.texts, panel.xaxis.label]
        legend = panel.get_legend()
        assert legend is not None
        assert not any(legend.get_window_extent().overlaps(text.get_window_extent()) for text in covered)
    labels = [label.get_window_extent() for label in figure.axes[3].get_yticklabels()]
    assert len(labels) > 6
    assert all(not one.overlaps(other) for one, other in pairwise(labels))


def test_without_teacher_and_splits_two_panels_are_left(findings: Findings) -> None:
    from dataclasses import replace

    plain = replace(
        findings,
        data=[replace(each, contamination=[]) for each in findings.data],
        phases=[replace(each, teachers=[]) for each in findings.phases],
    )
    assert len(draw_audit(plain).axes) == 2
    assert [table.title for table in audit_tables(plain, [])] == [
        "Audit of study: made, lists",
        "Lengths in tokens",
        "Duplicates",
    ]


def test_tables_have_a_cell_for_every_column(findings: Findings) -> None:
    sentences = verdicts(findings)
    tables = audit_tables(findings, sentences)
    assert tables[0].verdicts == tuple(sentences)
    for table in tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title


def test_shares_of_batches() -> None:
    assert shares([10, 30], None, None) == [0.25, 0.75]
    assert shares([10, 30], None, 16) == [0.0, 1.0]
    assert shares([10, 30], [1, 3], 16) == [0.25, 0.75]


def test_one_panel_a_role_with_the_room_as_a_line(student_settings: dict[str, Any]) -> None:
    documents = ("red fish", "bird " * 40)
    text = Split("made", "test", Corpus(("d1", "d2"), documents, "c"), {"q": "red"}, {"q": {"d1": 1}}, "t")
    lengths = split_lengths(text, new_student(**student_settings).tokenizer)
    figure = draw_lengths(lengths)
    queries, found = figure.axes
    assert queries.get_title().startswith("1 queries of test\nroom for ")
    assert "50.0% cut" in found.get_title()
    assert found.get_xlabel().startswith("tokens of the text alone")
    assert queries.get_ylabel() == "share of texts (%)"
    (line,) = found.lines
    assert list(line.get_xdata()) == [lengths[1].room + 0.5] * 2  # type: ignore[arg-type]
