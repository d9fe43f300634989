"""The evaluator: one class for every system, split and moment of a run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from colbert_lab.base.errors import InputError
from colbert_lab.base.types import Ranking, Split, Variant
from colbert_lab.evaluation.measure import Measure
from colbert_lab.evaluation.measures import PerQuery, evaluate, parse_measure
from colbert_lab.evaluation.protocol import log_prompts, search_protocol, student_for, student_protocol
from colbert_lab.evaluation.shared_corpus import SharedCorpus
from colbert_lab.model.maxsim import found_ranking
from colbert_lab.model.student import Student
from colbert_lab.search.corpus import CorpusEncoding, Keeping, document_side, release
from colbert_lab.search.exact import excluded_rows, list_rows, tie_ranks, without_excluded
from colbert_lab.search.mode import SearchSettings
from colbert_lab.search.modes import Indexes, Searched
from colbert_lab.text.contents import identity

FirstStage = Callable[[str, int], Ranking]
EXACT = Variant()


@dataclass(frozen=True)
class Result:
    """One system on one split.

    Attributes:
        key: the split's name in the config (``evaluation.splits.<key>``).
        split: what was searched.
        variant: how.
        ranking: the retrieved documents, with the scores that a student's rules ask for.
        per_query: measures of each judged query.
        protocol: everything about how the system searched that decides its numbers; what a measure of a user's own adds
            is in :meth:`Evaluator.measured_by`.
        seconds: wall time of encoding, indexing and search for this result; what several results share (documents,
            queries) counts in the first of them.
        index_bytes: size of what was searched; None for systems that are not students.
        seconds_index: of ``seconds``, making the index from the embeddings.
        seconds_search: of ``seconds``, searching all queries.
    """

    key: str
    split: Split
    variant: Variant
    ranking: Ranking
    per_query: PerQuery
    protocol: Mapping[str, Any]
    seconds: float
    index_bytes: int | None = None
    seconds_index: float | None = None
    seconds_search: float | None = None


class Evaluator:
    """Runs systems over splits.

    Args:
        splits: config name to split.
        measures: names such as ``ndcg@10``.
        depth: how many documents a ranking keeps.
        token_budget: most padded tokens of an encoding batch.
        precision: precision of the encoder, a Lightning name.
        search: modes, storages and their settings.
        keeping: where token embeddings go.
        first_stage: from a split's name and a depth, what the mode ``rerank`` reranks.
        own_measures: measures of a class of their own, by the kinds in the names of measures.

    Raises:
        InputError: an unknown measure, or a cutoff beyond the depth.
    """

    def __init__(
        self,
        splits: Mapping[str, Split],
        measures: Sequence[str],
        depth: int,
        token_budget: int,
        precision: str,
        search: SearchSettings,
        keeping: Keeping,
        first_stage: FirstStage | None = None,
        own_measures: Mapping[str, Measure] | None = None,
    ) -> None:
        self.own_measures = dict(own_measures or {})
        for measure in measures:
            if parse_measure(measure, self.own_measures)[1] > depth:
                raise InputError(f"evaluation.measures: {measure} looks deeper than evaluation.depth={depth}")
        self.splits = dict(splits)
        self.measures = list(measures)
        self.depth = depth
        self.token_budget = token_budget
        self.precision = precision
        self.search = search
        self.keeping = keeping
        self.first_stage = first_stage

    def evaluate_student(
        self,
        student: Student,
        title: str,
        wanted: Mapping[str, Sequence[Variant]] | None = None,
        progress: bool = True,
    ) -> Iterator[Result]:
        """Search with a student, in every configured way.

        A corpus that several splits share is encoded once, and all ways to search it start from those embeddings. A
        split's own lengths and prompts take the place of the student's, its excluded documents are in no ranking, and
        where it has candidate lists, each query's candidates alone are scored.

        Args:
            student: the model to evaluate.
            title: what the progress bars say.
            wanted: split name to the variants to search with; None takes all of both.
            progress: whether to show progress bars.

        Yields:
            One result for each split and variant, as soon as it is there.

        Raises:
            InputError: a split asks for lengths that the student cannot have.
        """
        for shared in self.corpora(student, wanted):
            for key, asked in shared.students.items():
                log_prompts(student, asked, key)
            yield from self._one_corpus(shared, title, progress)

    def corpora(
        self, student: Student, wanted: Mapping[str, Sequence[Variant]] | None = None
    ) -> list[SharedCorpus]:
        """What :meth:`evaluate_student` encodes for ``wanted``: each corpus once for each way to read it.

        Raises:
            InputError: a split asks for lengths that the student cannot have.
        """
        wanted = wanted if wanted is not None else dict.fromkeys(self.splits, self.search.variants)
        asked = {key: student_for(student, self.splits[key], key) for key in wanted}
        by_corpus: dict[tuple[Any, ...], list[str]] = {}
        for key in wanted:
            by_corpus.setdefault(document_side(asked[key], self.splits[key]), []).append(key)
        return [self._shared({key: (asked[key], wanted[key]) for key in keys}) for keys in by_corpus.values()]

    def _shared(self, splits: Mapping[str, tuple[Student, Sequence[Variant]]]) -> SharedCorpus:
        first = next(iter(splits))
        # Pooling, prefixes and MUVERA start from float32, whatever else is asked for.
        only_half = all(
            (v.storage, v.pool_factor, v.dim) == ("float16", 1, None) and v.mode in ("exact", "rerank")
            for _, variants in splits.values()
            for v in variants
        )
        encoding = CorpusEncoding(
            splits[first][0],
            self.splits[first].corpus,
            self.keeping,
            token_budget=self.token_budget,
            precision=self.precision,
            storage="float16" if only_half else "float32",
        )
        return SharedCorpus(
            encoding,
            {key: self.splits[key] for key in splits},
            {key: asked for key, (asked, _) in splits.items()},
            {key: variants for key, (_, variants) in splits.items()},
            self.depth,
            self.keeping.processes,
        )

    def _one_corpus(self, shared: SharedCorpus, title: str, progress: bool) -> Iterator[Result]:
        """All results of one corpus."""
        asked, corpus = shared.students, shared.encoding.corpus
        first = self.splits[next(iter(shared.wanted))]
        bar = f"{title}: {first.dataset}" if progress else None
        begun = time.perf_counter()
        store = shared.encoding.run(bar and f"{bar} documents")
        self.keeping.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.keeping.folder) as folder:
            indexes = Indexes(
                store,
                self.search,
                tie_ranks(list(corpus.ids)),
                dim=shared.encoding.student.model.dim,
                folder=Path(folder),
                device=next(shared.encoding.student.model.parameters()).device,
                progress=bar,
                memory=self.keeping.memory,
            )
            for key, variants in shared.wanted.items():
                split = self.splits[key]
                queries = shared.queries(key)
                for variant in variants:
                    together = shared.found(key, variant, indexes.ties_C, store.nbytes)
                    found = together or indexes.search(
                        variant,
                        queries,
                        shared.depth_of(key),
                        partial(self._candidates, key),
                        list_rows(split) if split.candidates else None,
                        excluded_rows(split),
                    )
                    protocol = self._of_student(asked[key], key, variant)
                    before = together.seconds_search if together else 0.0
                    done = self._searched(key, found, protocol, before + time.perf_counter() - begun)
                    score = asked[key].tokenizer.rules.score
                    yield replace(done, ranking=found_ranking(done.ranking, queries.lengths_N, score))
                    begun = time.perf_counter()
        release(store, self.keeping, shared.encoding.partial)

    def _candidates(self, key: str) -> list[Tensor]:
        """Rows of the documents that the first stage found, for each query of a split."""
        assert self.first_stage is not None, "the mode rerank needs a first stage"
        split = self.splits[key]
        depth = self.search.rerank_depth
        ranking = without_excluded(self.first_stage(key, depth), split.excluded, depth)
        row_of = {document: row for row, document in enumerate(split.corpus.ids)}
        found = dict(zip(ranking.query_ids, ranking.document_ids, strict=True))
        lists = (found.get(query, ()) for query in split.queries)
        return [torch.tensor([row_of[d] for d in names], dtype=torch.int64) for names in lists]

    def _searched(self, key: str, found: Searched, protocol: Mapping[str, Any], seconds: float) -> Result:
        split = self.splits[key]
        documents = [[split.corpus.ids[row] for row in rows.tolist()] for rows in found.rows]
        ranking = Ranking(list(split.queries), documents, [scores.tolist() for scores in found.scores])
        return replace(
            self._measured(key, found.variant, ranking, protocol, seconds),
            index_bytes=found.index_bytes,
            seconds_index=found.seconds_index,
            seconds_search=found.seconds_search,
        )

    def evaluate_ranking(
        self, key: str, ranking: Ranking, protocol: Mapping[str, Any], seconds: float
    ) -> Result:
        """Measure a ranking that another system made (BM25, a teacher).

        Its excluded documents are dropped here, so it has to be searched as deep as
        :func:`colbert_lab.search.exact.search_depth` says.
        """
        return self._measured(key, EXACT, ranking, protocol, seconds)

    def student_protocol(self, student: Student, key: str, variant: Variant) -> dict[str, Any]:
        """The :meth:`protocol` that a student's numbers on a split will have.

        Raises:
            InputError: the split asks for lengths that the student cannot have.
        """
        asked = student_for(student, self.splits[key], key)
        return self.protocol(key, variant, self._of_student(asked, key, variant))

    def _of_student(self, asked: Student, key: str, variant: Variant) -> dict[str, Any]:
        return {
            "encoder_precision": self.precision,
            **asked.tokenizer.rules.to_dict(),
            **student_protocol(self.splits[key]),
            **self.search.protocol(variant),
        }

    def protocol(self, key: str, variant: Variant, protocol: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that decides a system's numbers on a split: its own protocol with the depth and the split's."""
        return {"mode": variant.mode, "depth": self.depth, **protocol, **search_protocol(self.splits[key])}

    def measured_by(self, measure: str) -> dict[str, Any]:
        """What the protocol of one measure's numbers says beside :meth:`protocol`; nothing for measures of ours."""
        kind = parse_measure(measure, self.own_measures)[0]
        return {"own_measure": identity(self.own_measures[kind])} if kind in self.own_measures else {}

    def _measured(
        self, key: str, variant: Variant, ranking: Ranking, protocol: Mapping[str, Any], seconds: float
    ) -> Result:
        split = self.splits[key]
        ranking = without_excluded(ranking, split.excluded, self.depth)
        whole = self.protocol(key, variant, protocol)
        per_query = evaluate(ranking, split.qrels, self.measures, self.own_measures)
        return Result(key, split, variant, ranking, per_query, whole, seconds)
