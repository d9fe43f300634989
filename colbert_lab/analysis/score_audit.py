"""How a run's systems score relevant documents against others, and what its phases cut. Numbers and text only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import NONE, Table
from colbert_lab.base.outside import read_json_or
from colbert_lab.base.types import PHASE_FILE, Split
from colbert_lab.records.rankings import ranking_path, read_ranking
from colbert_lab.records.records import EXACT
from colbert_lab.records.run_files import PhaseFacts, read_protocols
from colbert_lab.records.runs import BEFORE, Run

if TYPE_CHECKING:
    import numpy as np

STUDENT, TEACHER = "student", "teacher"
MEAN = "mean_maxsim"
"""The ``student.score`` whose scores are means of cosines, as protocols name it."""
ROLES = {"query": "queries", "document": "documents"}


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores in one system's rankings of one split.

    Attributes:
        label: what to call the system.
        system: as in the records.
        relevant: scores of documents that are judged relevant; empty without judgments.
        others: scores of all other documents.
        depth: documents of the longest list.
        queries: number of lists.
        holding: share of the lists with at least one relevant document; None without judgments.
        mean: whether a student's scores are MeanMaxSim.
        separation: mean over those lists of the share of pairs (a relevant document, another one) in which the
            relevant one scores higher, ties counting half: the area under the ROC curve of a list. None without any.
    """

    label: str
    system: str
    relevant: np.ndarray
    others: np.ndarray
    depth: int
    queries: int
    holding: float | None
    separation: float | None
    mean: bool = False

    @property
    def unit(self) -> str:
        """What the scores are."""
        if self.system != STUDENT:
            return "the system's own unit"
        return "MeanMaxSim, mean of cosines" if self.mean else "MaxSim, sum of cosines"


def ranked_scores(
    run: Run, split: str, text: Split | None, systems: tuple[str, ...] = (TEACHER,)
) -> list[Scores]:
    """The scores of other systems, of the student before training and after each phase.

    Args:
        run: a finished run.
        split: name of the split.
        text: the split, for the judgments; without it no document counts as relevant.
        systems: other systems beside the student; those that were not measured are left out.

    Raises:
        InputError: no ranking of that split can be read.
    """
    places, known = [(system, "", EXACT, False) for system in systems], read_protocols(run.path)
    for phase in (BEFORE, *run.phases):
        own = [r for r in run.records if (r.system, r.phase, r.split) == (STUDENT, phase, split)]
        if own:
            found = run.record(phase, split, own[0].measure)
            mean = any(known.get(r.protocol_hash, {}).get("score") == MEAN for r in own)
            places.append((STUDENT, phase, EXACT if found is None else found.variant, mean))
    every = []
    for system, phase, variant, mean in places:
        path = ranking_path(run.path, system, phase, split, variant)
        if path.is_file():
            student = "student before training" if phase == BEFORE else f"after {phase}"
            label = student if system == STUDENT else system
            every.append(replace(_scores(label, system, read_ranking(path)[0], text), mean=mean))
    if not every:
        raise InputError(f"{run.run_id}: no rankings of {split}; it was measured on {', '.join(run.splits)}")
    return every


def score_table(every: list[Scores], split: str) -> Table:
    """One row a system: where its scores lie, and how well they tell relevant documents from others.

    Args:
        every: what :func:`ranked_scores` returned.
        split: name of the split.
    """
    rows = []
    for found in every:
        shares = [NONE if share is None else f"{share:.1%}" for share in (found.holding, found.separation)]
        rows.append(
            (found.label, f"{found.queries:,}", _spread(found.relevant), _spread(found.others), *shares)
        )
    depth = max(found.depth for found in every)
    notes = (
        f"Of the first {depth} documents of each query. relevant, others: mean ± standard deviation of the scores; "
        "their scale is each system's own, and MaxSim also grows with the tokens of the query.",
        "in the list: queries with a relevant document among them; told apart: pairs of a relevant document and "
        "another one of the same list in which the relevant one scores higher (50% is chance), mean over queries.",
        "Documents that nobody judged count as others.",
    )
    columns = ("system", "queries", "relevant", "others", "in the list", "told apart")
    return Table(f"Scores in the rankings of {split}", columns, tuple(rows), (), notes)


def phase_facts(run: Run) -> dict[str, PhaseFacts]:
    """``phase.json`` of each phase that was trained, in order; phases without a readable one are left out."""
    found = {phase: read_json_or(run.path / phase / PHASE_FILE, PhaseFacts) for phase in run.trained}
    return {phase: facts for phase, facts in found.items() if facts}


def training_table(run: Run) -> Table:
    """One row a phase: how sharp the teacher was, and how many training texts lose tokens.

    Args:
        run: a finished run.
    """
    rows = []
    for phase, facts in phase_facts(run).items():
        entropy = facts.get("teacher_entropy")
        cells = [phase, NONE if entropy is None else f"{entropy:.3f}"]
        for role in ROLES:
            cut = (facts.get("truncation") or {}).get(role)
            cells += [NONE] * 3 if cut is None else [
                f"{cut['texts']:,}", f"{cut['cut']:.1%}", f"{cut['cut_without_prompt']:.1%}",
            ]  # fmt: skip
        rows.append(tuple(cells))
    columns = ["phase", "teacher entropy"]
    for name in ROLES.values():
        columns += [f"{name}: looked at", "cut", "cut without prompt"]
    notes = [
        "teacher entropy: of the teacher's distributions before the first step, normalised: 0 is one-hot (a hard "
        "label), 1 is uniform (nothing to learn); - without a teacher.",
        "cut: share of the training texts that are longer than the student reads; without prompt: the same if the "
        "prompt took no room.",
    ]
    return Table(f"Training text and teacher of {run.run_id}", tuple(columns), tuple(rows), (), tuple(notes))


def score_sentences(every: list[Scores]) -> list[str]:
    """How well each system tells relevant documents from others, and what training changed in that.

    Args:
        every: what :func:`ranked_scores` returned.
    """
    said, before = [], None
    for found in every:
        if found.separation is None:
            continue
        changed = ""
        if found.system == STUDENT:
            if before is not None:
                changed = f" ({100 * (found.separation - before):+.2f} points against before training)"
            else:
                before = found.separation
        said.append(
            f"{found.label}: a relevant document scores higher than another one of its list in {found.separation:.2%} "
            f"of the pairs{changed}."
        )
    return said or ["Without judgments, nothing is said about relevant documents."]


def _scores(label: str, system: str, ranking: Any, text: Split | None) -> Scores:
    import numpy as np

    relevant: list[float] = []
    others: list[float] = []
    shares = []
    holding = 0
    for query, documents, scores in zip(ranking.query_ids, ranking.document_ids, ranking.scores, strict=True):
        grades = {} if text is None else text.qrels.get(query, {})
        judged = [(grades.get(document, 0) > 0, s) for document, s in zip(documents, scores, strict=True)]
        good, rest = ([score for is_good, score in judged if is_good == wanted] for wanted in (True, False))
        relevant += good
        others += rest
        holding += bool(good)
        if good and rest:
            gaps = np.subtract.outer(np.array(good), np.array(rest))
            shares.append(float((gaps > 0).mean() + 0.5 * (gaps == 0).mean()))
    n = len(ranking.query_ids)
    return Scores(
        label=label,
        system=system,
        relevant=np.array(relevant),
        others=np.array(others),
        depth=max(map(len, ranking.document_ids), default=0),
        queries=n,
        holding=None if text is None or not n else holding / n,
        separation=float(np.mean(shares)) if shares else None,
    )


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f} ± {values.std():.3f}" if len(values) else NONE
