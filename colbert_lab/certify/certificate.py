"""What the checks found, as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from colbert_lab.base.layout import Table

ADVICE = {
    "chunking": "set phases.{phase}.token_budget=1 (one text at a time)",
    "recomputation": "set phases.{phase}.recompute=false",
    "maxsim": "set trainer.maxsim=torch, or trainer.accelerator=cpu",
    "gathering": "set trainer.devices=1",
    "attention": "set student.attention=eager",
    "precision": "set trainer.precision=32-true",
}
"""Check to what leaves the fast way out."""


@dataclass(frozen=True)
class Finding:
    """One line of a certificate.

    Attributes:
        phase: name of the slot.
        check: its name.
        what: which numbers.
        difference: the largest over the micro-batches.
        tolerance: what it may be.
        setting: where the tolerance is set; None where the same bits are wanted.
    """

    phase: str
    check: str
    what: str
    difference: float
    tolerance: float
    setting: str | None

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.difference <= self.tolerance  # false for what is not a number


@dataclass(frozen=True)
class Certificate:
    """Everything that was checked.

    Attributes:
        name: of the config.
        findings: line by line.
        micro_batches: what was computed of each phase, in words.
        hardware: where.
        seconds: that it took.
        notes: what the numbers do not say.
    """

    name: str
    findings: tuple[Finding, ...]
    micro_batches: Mapping[str, str]
    hardware: str
    seconds: float
    notes: tuple[str, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The lines that are beyond their tolerance."""
        return tuple(finding for finding in self.findings if not finding.passed)


def refusal(certificate: Certificate) -> str:
    """What failed first, and which setting to change, in one line."""
    first = certificate.failed[0]
    allowed = (
        "has to be the same bits"
        if first.setting is None
        else f"may be {first.tolerance:.1e} (certify.tolerance.{first.setting})"
    )
    others = len(certificate.failed) - 1
    more = f"; {others} more line{'s' if others > 1 else ''} failed" if others else ""
    return (
        f"phases.{first.phase}: {first.check}: {first.what} differs by {number(first.difference)} and {allowed}; "
        f"{ADVICE[first.check].format(phase=first.phase)}{more}"
    )


def certificate_json(certificate: Certificate) -> str:
    """The certificate; numbers that JSON has no word for are null."""
    whole: dict[str, Any] = asdict(certificate)
    for made, finding in zip(whole["findings"], certificate.findings, strict=True):
        made["passed"] = finding.passed
        made["difference"] = finding.difference if math.isfinite(finding.difference) else None
    whole["passed"] = not certificate.failed
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"


def certificate_table(certificate: Certificate) -> Table:
    """One row for each phase, check and kind of number."""
    rows: list[tuple[str, ...]] = []
    phase = None
    for finding in certificate.findings:
        if finding.phase != phase:
            phase = finding.phase
            rows.append((phase, "", "", "", ""))
        rows.append(
            (
                f"  {finding.check}",
                finding.what,
                number(finding.difference),
                "same bits" if finding.setting is None else f"{finding.tolerance:.1e}",
                "yes" if finding.passed else "NO",
            )
        )
    failed, total = len(certificate.failed), len(certificate.findings)
    verdict = (
        f"{failed} of {total} differences are beyond their tolerance."
        if failed
        else f"All {total} differences are within their tolerances."
    )
    notes = [f"{name}: {made}." for name, made in certificate.micro_batches.items()]
    notes += certificate.notes
    notes.append(f"Took {certificate.seconds:.0f} s on {certificate.hardware}; nothing was trained or kept.")
    columns = ("check", "what", "largest difference", "tolerance", "passed")
    return Table(f"Certificate of {certificate.name}", columns, tuple(rows), (verdict,), tuple(notes))


def number(value: float) -> str:
    """A difference in a few characters."""
    if math.isnan(value):
        return "not a number"
    return "0" if value == 0 else f"{value:.1e}"
