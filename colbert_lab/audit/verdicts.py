"""What an audit's numbers mean, in sentences that name the config key and say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from colbert_lab.audit.contamination import Contamination
from colbert_lab.audit.findings import DataFindings, Findings, PhaseFindings
from colbert_lab.errors import some_ids

CUT, LOST = 0.1, 0.02  # shares of texts cut and of tokens lost from which a length is called short


def verdicts(findings: Findings) -> list[str]:
    """The sentences, the gravest first: contamination, teacher, duplicates, truncation.

    Args:
        findings: the audit.
    """
    found = [
        *(line for data in findings.data for line in _contaminated(data, findings.drops)),
        *(teacher.verdict for phase in findings.phases for teacher in phase.teachers),
        *(line for data in findings.data for line in _repeated(data)),
        *(line for phase in findings.phases for line in _cut(phase)),
    ]
    return list(dict.fromkeys(found))


def _contaminated(data: DataFindings, drops: bool) -> Iterator[str]:
    for each in data.contamination:
        yield from _of_split(data.label, each, drops)
    clean = [s.split for s in data.contamination if not s.queries.matches and not s.documents.matches]
    if clean:
        yield f"evaluation splits of which nothing is in the training text of {data.label}: {', '.join(clean)}"


def _of_split(label: str, each: Contamination, drops: bool) -> Iterator[str]:
    where = f"evaluation split {each.split} ({each.dataset})"
    trained = {
        place[2]
        for match in each.queries.matches.values()
        if match.exact
        for place in match.places
        if place[1] == "query"
    }
    if trained:
        advice = (
            "training leaves them out (drop_contamination=true)"
            if drops
            else "leave them out with drop_contamination=true"
        )
        yield f"{where}: {some_ids(sorted(trained))} training queries of {label} are in it; {advice}"
    other = len(each.queries.matches) - len(
        [m for m in each.queries.matches.values() if m.exact and any(p[1] == "query" for p in m.places)]
    )
    if other:
        yield (
            f"{where}: of its {each.queries.looked_at} queries, {other} {'more ' if trained else ''}are in the "
            f"training text of {label}, whole or by their words; see audit.json, and leave those rows out where they "
            "give the answer away"
        )
    if each.shared_corpus:
        yield (
            f"{where}: training and evaluation read one corpus ({each.documents.exact} of "
            f"{each.documents.looked_at} documents are training documents of {label}), so documents that are found "
            "say little; of the relevant ones, "
            f"{len(each.relevant.matches)} of {each.relevant.looked_at} are trained on"
        )
    elif each.documents.matches:
        yield (
            f"{where}: {len(each.documents.matches)} of {each.documents.looked_at} documents are in the training text "
            f"of {label}, {len(each.relevant.matches)} of {each.relevant.looked_at} relevant ones"
        )


def _repeated(data: DataFindings) -> Iterator[str]:
    for each in data.duplicates:
        if each.own_negatives:
            yield (
                f"{each.source}: in {each.own_negatives} of {each.rows} rows a positive of the query is also among "
                "its negatives; leave these negatives out (task=mine does)"
            )
        if each.repeated_pairs:
            yield (
                f"{each.source}: {each.repeated_pairs} of {each.rows} rows repeat the query and positive of an "
                "earlier row; leave them out"
            )


def _cut(phase: PhaseFindings) -> Iterator[str]:
    for each in _last_two(phase):
        if each.cut > CUT or each.lost > LOST:
            wanted = int(each.p99) + each.length - each.room
            more = f"{wanted} would leave 99% whole"
            if each.limit is not None and wanted > each.limit:
                more = (
                    f"99% would be whole at {wanted}, beyond the {each.limit} that the tokenizer is made for"
                )
            yield (
                f"{phase.keys[each.role]}: at {each.length} tokens, {each.cut:.1%} of the {each.role} texts are cut "
                f"and {each.lost:.1%} of their tokens lost; {more}"
            )


def _last_two(phase: PhaseFindings) -> Sequence:  # type: ignore[type-arg]
    """The lengths of all sources together, which come last."""
    return phase.lengths[-2:]
