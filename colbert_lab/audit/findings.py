"""Everything an audit found, as plain data and in sentences that name the config key and say what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from colbert_lab.audit.lengths import Lengths
from colbert_lab.audit.overlaps import Contamination, Duplicates, Found
from colbert_lab.audit.teacher import Teacher
from colbert_lab.base.errors import some_ids

SCHEMA = 1
NAMED = 3  # sources in a title


@dataclass(frozen=True)
class Source:
    """One source of a phase.

    Attributes:
        name: what tables call it.
        fingerprint: hash of its content.
        rows: how many it has.
        weight: as configured; None for proportional to size.
        share: of the batches that training reads.
        fewest: documents of its shortest row.
        most: documents of its longest row.
    """

    name: str
    fingerprint: str
    rows: int
    weight: float | None
    share: float
    fewest: int
    most: int


@dataclass(frozen=True)
class DataFindings:
    """What was found in one data setting; phases that share it are named together.

    Attributes:
        phases: names of the phases that train on it; ``data`` where there is none.
        duplicates: one entry a source.
        contamination: one entry a split.
        left_out: by split, how many held-out queries training leaves out by itself; they were left out here too.
    """

    phases: list[str]
    duplicates: list[Duplicates]
    contamination: list[Contamination]
    left_out: dict[str, int]

    @property
    def label(self) -> str:
        """The phases, for headings and sentences."""
        return "the data" if self.phases == ["data"] else ", ".join(self.phases)


@dataclass(frozen=True)
class PhaseFindings:
    """What depends on the settings of a phase.

    Attributes:
        phase: its name; ``data`` where there is none.
        keys: by role, the config key of its length.
        sources: what it trains on.
        lengths: two entries a source, and two for all of them where there are several.
        teachers: one entry a source where the phase distils.
    """

    phase: str
    keys: dict[str, str]
    sources: list[Source]
    lengths: list[Lengths]
    teachers: list[Teacher]


@dataclass(frozen=True)
class Findings:
    """A whole audit.

    Attributes:
        name: the config's.
        seed: of all draws.
        settings: of the audit, by key.
        data: one entry a data setting.
        phases: one entry a phase.
        evaluation: lengths of the splits' texts.
        notes: what was looked at and how.
        drops: whether training leaves contaminated queries out, as configured.
    """

    name: str
    seed: int
    settings: dict[str, Any]
    data: list[DataFindings]
    phases: list[PhaseFindings]
    evaluation: list[Lengths]
    notes: list[str]
    drops: bool

    @property
    def title(self) -> str:
        """The sources, after the name where one was given."""
        names = list(dict.fromkeys(source.name for phase in self.phases for source in phase.sources))
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        return ("" if self.name == "audit" else f"{self.name}: ") + ", ".join(names[:NAMED]) + more


def shares(rows: Sequence[int], weights: Sequence[float] | None, batch_size: int | None) -> list[float]:
    """Share of the batches that come from each source, as :class:`SourceSampler` draws them.

    Args:
        rows: of each source.
        weights: relative frequencies; None for proportional to the number of full batches.
        batch_size: of a phase; None where there is none: proportional to rows.
    """
    parts = list(weights) if weights is not None else [n // (batch_size or 1) for n in rows]
    total = sum(parts)
    return [part / total if total else 0.0 for part in parts]


def to_json(findings: Findings, verdicts: Sequence[str]) -> dict[str, Any]:
    """Plain data with every id; the documents of a shared corpus are counted, not listed."""
    values = asdict(findings)
    for plain, data in zip(values["data"], findings.data, strict=True):
        plain["contamination"] = [_contamination(each) for each in data.contamination]
    return {"schema": SCHEMA, "verdicts": list(verdicts), **values}


def _contamination(found: Contamination) -> dict[str, Any]:
    values = asdict(found)
    for kind in ("queries", "documents", "relevant"):
        part: Found = getattr(found, kind)
        values[kind] = {"looked_at": part.looked_at, "exact": part.exact, "near": part.near}
        if kind != "documents" or not found.shared_corpus:
            values[kind]["matches"] = [
                {
                    "id": name,
                    "how": "exact" if match.exact else "near",
                    "share": round(match.share, 4),
                    "count": match.count,
                    "training": [
                        dict(zip(("source", "role", "id"), place, strict=True)) for place in match.places
                    ],
                }
                for name, match in part.matches.items()
            ]
    return values


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
    exact = [match for match in each.queries.matches.values() if match.exact]
    trained = {place[2] for match in exact for place in match.places if place[1] == "query"}
    if trained:
        kept = "leave them out with drop_contamination=true"
        advice = "training leaves them out (drop_contamination=true)" if drops else kept
        yield f"{where}: {some_ids(sorted(trained))} training queries of {label} are in it; {advice}"
    found = each.queries.matches.values()
    other = sum(not (m.exact and any(place[1] == "query" for place in m.places)) for m in found)
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
                f"{phase.keys[each.role]}: at {each.length} tokens, {each.cut:.1%} of the {each.role} texts are cut"
                f"{each.cut_side} and {each.lost:.1%} of their tokens lost; {more}"
            )


def _last_two(phase: PhaseFindings) -> Sequence:  # type: ignore[type-arg]
    """The lengths of all sources together, which come last."""
    return phase.lengths[-2:]
