"""Let mteb evaluate a student: its retrieval and reranking tasks search with exact MaxSim (extra ``mteb``).

import mteb, colbert_lab
from colbert_lab.mteb_search import MtebSearch

model = colbert_lab.load("outputs/colbert_zero_kd/latest/distill/student")
mteb.evaluate(MtebSearch(model, "my_lab/colbert_zero_kd"), mteb.get_tasks(tasks=["NFCorpus"]))
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from colbert_lab.api import Model
from colbert_lab.base.errors import InputError, some_ids
from colbert_lab.index import Index
from colbert_lab.search.exact import rerank, tie_ranks

log = logging.getLogger(__name__)


class MtebSearch:
    """A student behind mteb's ``SearchProtocol`` (mteb 2).

    The student's own prompts are applied by role, so mteb's prompts are not; the instruction of a query, where a task
    has one, is put after its text as mteb does.

    Args:
        model: what :func:`colbert_lab.load` returns.
        name: the model's name in mteb's results, ``organisation/name``.
        storage: how token embeddings are kept, see :meth:`colbert_lab.api.Model.index`.
    """

    def __init__(self, model: Model, name: str, storage: str = "float32") -> None:
        self.model = model
        self.name = name
        self.storage = storage
        self._index: Index | None = None

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb's results say of the model; the revision is the student's fingerprint.

        Raises:
            InputError: mteb is missing.
        """
        try:
            from mteb.models.model_meta import ModelMeta
        except ImportError as error:
            raise InputError("mteb cannot be imported: pip install 'colbert-lab[mteb]'") from error
        facts = {
            "name": self.name,
            "revision": self.model.fingerprint,
            "embed_dim": self.model.dim,
            "n_parameters": sum(p.numel() for p in self.model.student.model.parameters()),
        }
        return ModelMeta.create_empty(facts)

    def index(self, corpus: Any, **_: Any) -> None:
        """Encode a task's documents.

        Args:
            corpus: rows with ``id``, ``text`` and perhaps ``title``, which is put before the text.
        """
        documents = {row["id"]: f"{row.get('title') or ''} {row['text']}".strip() for row in corpus}
        self._index = self.model.index(documents, storage=self.storage, progress=True)

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Sequence[str]] | None = None, **_: Any
    ) -> dict[str, dict[str, float]]:
        """Search, or rerank the lists of a reranking task.

        Args:
            queries: rows with ``id``, ``text`` and perhaps ``instruction``.
            top_k: documents to keep a query.
            top_ranked: query id to the documents to rerank; None searches all. A query that it lacks gets none, as
                in mteb's own rerankers.

        Returns:
            Query id to {document id: the student's score}.

        Raises:
            ValueError: called before :meth:`index`.
        """
        if self._index is None or self._index.store is None:
            raise ValueError("index a corpus before searching it")
        texts = {row["id"]: f"{row['text']} {row.get('instruction') or ''}".strip() for row in queries}
        if top_ranked is None:
            found = self._index.search(list(texts.values()), k=top_k)
            return {
                query: {hit.document_id: hit.score for hit in hits}
                for query, hits in zip(texts, found, strict=True)
            }
        ids = self._index.ids
        row_of = {document: row for row, document in enumerate(ids)}
        if missing := [query for query in texts if query not in top_ranked]:
            log.warning("no list to rerank for %s; they get no documents", some_ids(missing))
        candidates = [
            torch.tensor([row_of[name] for name in top_ranked.get(query, ())], dtype=torch.long)
            for query in texts
        ]
        packed = self.model.packed(list(texts.values()), "query")
        maxsim, rows = rerank(packed, self._index.store, candidates, tie_ranks(ids), top_k)
        scores = self.model.scores(maxsim, packed)
        return {
            query: {ids[row]: score for row, score in zip(found.tolist(), values.tolist(), strict=True)}
            for query, found, values in zip(texts, rows, scores, strict=True)
        }
