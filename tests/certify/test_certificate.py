"""What a certificate says."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from colbert_lab.base.layout import to_markdown
from colbert_lab.certify.certificate import (
    ADVICE,
    Certificate,
    Finding,
    certificate_json,
    certificate_table,
    refusal,
)
from colbert_lab.certify.checks import CHECKS

GOOD = Finding("distill", "chunking", "loss", 1e-7, 1e-5, "float32.loss")
BITS = Finding("distill", "recomputation", "dropout: gradient: other bits", 0.25, 0.0, None)


def certificate(*findings: Finding) -> Certificate:
    return Certificate("toy", findings, {"distill": "2 micro-batches"}, "a machine", 3.0, ("a note",))


def test_every_check_has_advice() -> None:
    assert set(ADVICE) == set(CHECKS)


@pytest.mark.parametrize(
    ("failed", "parts"),
    [
        (
            replace(GOOD, difference=2e-5),
            ("phases.distill: chunking: loss", "2.0e-05", "float32.loss", "token_budget=1"),
        ),
        (BITS, ("recomputation: dropout: gradient", "same bits", "phases.distill.recompute=false")),
        (
            Finding("a", "maxsim", "batch in blocks: scores", math.nan, 1.0, "float32.scores"),
            ("phases.a: maxsim: batch in blocks: scores", "not a number", "trainer.accelerator=cpu"),
        ),
        (
            Finding("a", "attention", "sdpa: gradient", math.inf, 1.0, "float32.gradient"),
            ("attention: sdpa: gradient", "inf", "student.attention=eager"),
        ),
        (
            Finding("a", "precision", "order", 1, 0.1, "precision.order"),
            ("trainer.precision=32-true",),
        ),
        (Finding("a", "gathering", "loss", 1, 0.1, "float32.loss"), ("trainer.devices=1",)),
    ],
)
def test_a_failure_names_phase_check_and_setting(failed: Finding, parts: tuple[str, ...]) -> None:
    assert not failed.passed
    line = refusal(certificate(GOOD, failed))
    assert "\n" not in line
    for part in parts:
        assert part in line
    assert "1 more line failed" in refusal(certificate(failed, BITS))


def test_json_and_table() -> None:
    whole = certificate(GOOD, BITS, replace(GOOD, difference=math.nan))
    read = json.loads(certificate_json(whole))
    assert read["passed"] is False
    assert [each["passed"] for each in read["findings"]] == [True, False, False]
    assert read["findings"][2]["difference"] is None
    table = certificate_table(whole)
    assert table.rows[0] == ("distill", "", "", "", "")
    assert table.rows[2] == ("  recomputation", "dropout: gradient: other bits", "2.5e-01", "same bits", "NO")
    assert table.verdicts == ("2 of 3 differences are beyond their tolerance.",)
    assert "| distill |" in to_markdown([table])
    assert certificate_table(certificate(GOOD)).verdicts == (
        "All 1 differences are within their tolerances.",
    )
