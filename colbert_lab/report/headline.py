"""The one number that a page of runs opens with: which split and measure, which two systems, and a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from colbert_lab.analysis.compare import Comparison
from colbert_lab.analysis.compared import Compared
from colbert_lab.analysis.measured import Place
from colbert_lab.analysis.rows import HEADLINE
from colbert_lab.base.types import DEV_NAMES
from colbert_lab.evaluation.measures import measure_title
from colbert_lab.records.records import EXACT
from colbert_lab.records.run_files import split_details
from colbert_lab.records.runs import BEFORE, STUDENT

CHANGED = {
    "higher": "Training raises {what}: from {old} to {new}",
    "lower": "Training lowers {what}: from {old} to {new}",
    "unclear": "Training shows no clear change of {what}: from {old} to {new}",
    "same": "Training changes no query's {what}: from {old} to {new}",
}
BESIDE = {
    "higher": "{subject} has a higher {what} than {reference}: {new} and {old}",
    "lower": "{subject} has a lower {what} than {reference}: {new} and {old}",
    "unclear": "{subject} and {reference} show no clear difference in {what}: {new} and {old}",
    "same": "{subject} and {reference} differ in no query's {what}: {new} and {old}",
}
"""What the sentence begins with: of a student against itself untrained, and of any two systems."""


@dataclass(frozen=True)
class Headline:
    """What a page opens with.

    Attributes:
        place: split, measure and way to search.
        rows: all systems there, the reference first.
        subject: the one that the sentence is about; None where the reference stands alone.
        sentence: what changed, by how much, how sure.
        chosen: how the subject was chosen among several; "" where there is no choice.
    """

    place: Place
    rows: tuple[Compared, ...]
    subject: Compared | None
    sentence: str
    chosen: str = ""

    @property
    def reference(self) -> Compared:
        """The row that the others are compared with."""
        return self.rows[0]


def headline(comparison: Comparison) -> Headline:
    """Choose place and subject, and say what was found.

    The place is a mean of splits where there is one, else the first split that is no dev split; nDCG@10 where it was
    measured. Among several configurations the subject is the best one on dev, so that its number on the other split is
    not flattered by the choice; the runner-up where the reference is the best.

    Args:
        comparison: the runs.
    """
    place = _place(comparison)
    rows = comparison.compared[place]
    finals = [each for each in rows if _is_final(each, comparison)]
    subject, chosen = None, ""
    if len(comparison.configurations) == 1:
        own = [each for each in finals if not each.reference]
        if not own and rows[0].row.phase != BEFORE:
            own = [each for each in rows if not each.reference]
        subject = next(iter(own), None)
    else:
        subject, chosen = _best(comparison, place, finals)
    return Headline(place, rows, subject, _sentence(rows[0], subject), chosen)


def _place(comparison: Comparison) -> Place:
    here = [place for place, rows in comparison.compared.items() if rows[0].reference]
    reference = comparison.compared[here[0]][0]
    details = split_details(reference.row.configuration.runs[0].path)

    def order(place: Place) -> tuple[bool, bool, bool, bool]:
        about = details.get(place.split, {})
        dev = str(about.get("split", place.split)) in DEV_NAMES
        return dev, "mean_of" not in about, place.measure != HEADLINE, place.mode != EXACT

    return min(here, key=order)


def _is_final(each: Compared, comparison: Comparison) -> bool:
    return each.row.system == STUDENT and each.row.label in comparison.configurations


def _dev_place(comparison: Comparison, place: Place) -> Place:
    """Where configurations are chosen: a dev split with the same measure; the place itself where there is none."""
    details = split_details(comparison.compared[place][0].row.configuration.runs[0].path)
    for other in comparison.compared:
        name = str(details.get(other.split, {}).get("split", other.split))
        if name in DEV_NAMES and (other.measure, other.mode) == (place.measure, place.mode):
            return other
    return place


def _best(comparison: Comparison, place: Place, finals: list[Compared]) -> tuple[Compared | None, str]:
    others = [each for each in finals if each.gap is not None and not each.reference]
    if len(others) < 2:
        return next(iter(others), None), ""
    dev = _dev_place(comparison, place)
    values = {each.row.label: each.row.value for each in comparison.compared[dev]}
    ordered = sorted(
        (each for each in finals if each.row.label in values and (each.reference or each.gap is not None)),
        key=lambda each: -values[each.row.label],
    )
    if not ordered:
        return others[0], ""
    best = next((each for each in ordered if not each.reference), others[0])
    rank = "the best" if ordered[0] is best else "the best after the reference"
    if ordered[0].reference and values[ordered[0].row.label] == values[best.row.label]:
        rank = "with the reference the best"
    where = f"{measure_title(dev.measure)} on {dev.split}"
    flattered = ", on which its number below is a little flattered" if dev == place else ""
    return best, f"{best.row.label} is {rank} of {len(ordered)} configurations by {where}{flattered}."


def _sentence(reference: Compared, subject: Compared | None) -> str:
    place = reference.row.place
    what = f"{measure_title(place.measure)} on {place.split}"
    if subject is None:
        bounds = "" if reference.interval is None else f" {reference.interval.bounds()}"
        left = "no phase is measured yet" if reference.row.phase == BEFORE else "nothing stands beside it"
        return f"{reference.row.label} has {what} {reference.row.value:.4f}{bounds}; {left}."
    own = reference.row.configuration is subject.row.configuration and subject.row.system == STUDENT
    told = CHANGED if own and reference.row.phase == BEFORE else BESIDE
    names = {"what": what, "subject": subject.row.label, "reference": reference.row.label}
    names |= {"old": f"{reference.row.value:.4f}", "new": f"{subject.row.value:.4f}"}
    if subject.gap is None:
        return f"{names['subject']} and {names['reference']}: {subject.why}."
    found = subject.tested
    if found is None:
        return f"{told['unclear'].format(**names)}, {subject.gap:+.4f}, which is not tested."
    p = "below 0.0001" if found.p_holm < 0.0001 else f"{found.p_holm:.4f}"
    seeds = len(subject.row.configuration.seeds)
    over = f"{found.n:,} queries" + (f", {seeds} seeds" if seeds > 1 else "")
    return f"{told[found.mark].format(**names)}, {found.mean:+.4f} {found.bounds('+')} (95% interval; p {p}; {over})."
