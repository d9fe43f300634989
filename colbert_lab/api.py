"""Use a trained student from Python: encode, rerank, index and search."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from colbert_lab.base.atomic import atomic_folder
from colbert_lab.base.errors import InputError, given_texts, named_texts, told, whole_number
from colbert_lab.base.types import PackedEmbeddings, Role
from colbert_lab.index import Hit, Index, embeddings_of
from colbert_lab.model.colbert import count_parameters
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import load_checkpoint
from colbert_lab.model.matryoshka import check_dims, packed_prefix
from colbert_lab.model.maxsim import found_scores
from colbert_lab.model.student import Student, torch_device
from colbert_lab.model.unread import check_student_knows
from colbert_lab.search.corpus import student_fingerprint
from colbert_lab.search.exact import rerank, tie_ranks
from colbert_lab.search.store import in_memory
from colbert_lab.training.precision import pick_precision


class Model:
    """A student with its own prompts, markers and lengths, which it applies by role.

    Args:
        student: model and tokenizer.
        precision: ``32-true`` or ``bf16-true``, or ``bf16-mixed`` / ``16-mixed`` for autocast.
        token_budget: most padded tokens of a batch.
        dim: first dimensions of an embedding to keep, scaled to unit length; None for all.
        source: the folder or hub id that it comes from; None where that is not known.
        trust_remote_code: whether Python code that comes with that may be run.
    """

    def __init__(
        self,
        student: Student,
        precision: str = "32-true",
        token_budget: int = 4096,
        dim: int | None = None,
        source: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if isinstance(token_budget, bool) or not isinstance(token_budget, int) or token_budget < 1:
            raise InputError(f"token_budget={token_budget!r}: must be a whole number from 1")
        self.dim = student.model.dim if dim is None else check_dims([dim], student.model.dim, "dim")[0]
        self.student = student
        self.precision = precision
        self.token_budget = token_budget
        self.source = source
        self.trust_remote_code = trust_remote_code

    def __repr__(self) -> str:
        model, tokens = self.student.model, self.student.tokenizer
        kind = f"{model.backbone.config.model_type}, {count_parameters(model) / 1e6:,.1f} M parameters"
        lengths = f"queries of {tokens.length('query')} tokens, documents of {tokens.length('document')}"
        where = f"{self.precision} on {self.device}" + (f", from {self.source}" if self.source else "")
        return f"Model({kind}, {self.dim} dimensions, {lengths}, {where})"

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.student.model.parameters()).device

    def to(self, device: str | torch.device) -> Model:
        """Have it compute on another device, such as ``cuda``; InputError where torch has no such device."""
        self.student.model.to(torch_device(device))
        return self

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides an embedding, with the dimensions that are kept of it."""
        cut = "" if self.dim == self.student.model.dim else f".dim{self.dim}"
        return student_fingerprint(self.student) + cut

    @overload
    def encode(
        self,
        texts: str,
        role: Role,
        *,
        batch_size: int | None = ...,
        device: str | torch.device | None = ...,
        progress: bool = ...,
    ) -> Tensor: ...
    @overload
    def encode(
        self,
        texts: list[str] | tuple[str, ...],
        role: Role,
        *,
        batch_size: int | None = ...,
        device: str | torch.device | None = ...,
        progress: bool = ...,
    ) -> list[Tensor]: ...
    def encode(
        self,
        texts: str | Sequence[str],
        role: Role,
        *,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        progress: bool = False,
    ) -> Tensor | list[Tensor]:
        """Embed texts.

        Args:
            texts: one or several, without prompt; the student puts its own before them.
            role: ``query`` or ``document``.
            batch_size: texts of a batch; None fills batches of ``token_budget`` padded tokens, which is faster.
            device: where to compute from now on, see :meth:`to`; None leaves it where it is.
            progress: whether to show a bar.

        Returns:
            The float32 unit-length embeddings [tokens, dim] of the tokens that score; of several texts a list.

        Raises:
            InputError: another role, no texts, a text leaves no scoring token, or no such device.
        """
        if device is not None:
            self.to(device)
        packed = self.packed([texts] if isinstance(texts, str) else texts, role, progress, batch_size)
        found = list(packed.emb_TD.split(packed.lengths_N.tolist()))
        return found[0] if isinstance(texts, str) else found

    def similarity(self, queries: Tensor | Sequence[Tensor], documents: Tensor | Sequence[Tensor]) -> Tensor:
        """The student's score of every query with every document, float32 [queries, documents].

        Args:
            queries: what :meth:`encode` returned for queries.
            documents: what it returned for documents; anything else raises InputError.
        """
        asked, there = (
            embeddings_of("queries", queries, self.dim),
            embeddings_of("documents", documents, self.dim),
        )
        every = [torch.arange(len(there))] * len(asked)
        ties = torch.arange(len(there))
        maxsim, rows = rerank(asked, in_memory(there), every, ties, len(there), device=self.device)
        return torch.stack(
            [score[row.argsort()] for score, row in zip(self.scores(maxsim, asked), rows, strict=True)]
        )

    def rerank(
        self, query: str, documents: Mapping[str, str] | Sequence[str], k: int | None = None
    ) -> list[Hit]:
        """Order documents by their score with a query, best first; ties by document id, largest first.

        Args:
            query: the query.
            documents: texts by id; ids of a plain list are positions.
            k: how many to return; None returns all.

        Raises:
            InputError: no documents, something that is no text, or a ``k`` below 1.
        """
        named = named_texts(documents)
        ids = list(named)
        most = len(ids) if k is None else whole_number(k)
        (query,) = given_texts([query], "query")
        store = in_memory(self.packed(list(named.values()), "document"))
        packed = self.packed([query], "query")
        maxsim, rows = rerank(packed, store, [torch.arange(len(ids))], tie_ranks(ids), most)
        (scores,) = self.scores(maxsim, packed)
        return [Hit(ids[row], score) for row, score in zip(rows[0].tolist(), scores.tolist(), strict=True)]

    def index(
        self,
        documents: Mapping[str, str] | Sequence[str],
        *,
        storage: str = "float32",
        progress: bool = False,
    ) -> Index:
        """An index of documents, for exact MaxSim search.

        Args:
            documents: texts by id; ids of a plain list are positions.
            storage: how token embeddings are kept: float32, float16, int8, residual4, residual2, residual1.
            progress: whether to show progress bars.
        """
        index = Index(self, storage)
        index.add(documents, progress=progress)
        return index

    def load_index(self, path: str | Path) -> Index:
        """Open an index of :meth:`Index.save`; its embeddings stay on disk until they are searched.

        Raises:
            InputError: there is none, or another student made it.
        """
        return Index.open(self, path)

    def scores(self, maxsim: Sequence[Tensor], queries: PackedEmbeddings) -> list[Tensor]:
        """The student's scores of what was found by MaxSim, for each query; see ``student.score``."""
        return found_scores(maxsim, queries.lengths_N, self.student.tokenizer.rules.score)

    def save(self, path: str | Path, layout: str = "colbert_lab") -> None:
        """Write the student to a new folder, and check that what is read back from it embeds the same.

        Args:
            path: the folder.
            layout: also ``pylate``, ``sentence_transformers``, ``stanford`` or ``colbert_az``.

        Raises:
            InputError: the folder is there already, or the layout is not known or cannot hold the student.
        """
        from colbert_lab.publish.converting import free_folder, save

        with atomic_folder(free_folder(str(path), "path")) as temporary:
            save(self.student, layout, temporary, "layout")

    def push(
        self, repo: str, *, license: str, layout: str = "pylate", private: bool = True, replace: bool = False
    ) -> None:
        """Upload the student with a model card to the Hugging Face hub, as ``task=push`` does.

        Args:
            repo: ``OWNER/NAME``.
            license: of the student, such as ``apache-2.0``; nobody else can say it.
            layout: see :meth:`save`.
            private: see ``push.private``.
            replace: see ``push.replace``.

        Raises:
            InputError: the model was not loaded from a folder or the hub, or the hub refuses.
        """
        from colbert_lab.tasks.arguments import settings_of
        from colbert_lab.tasks.composing import performed

        if self.source is None:
            raise InputError("this model was not loaded from a folder; save it, and load it from there")
        given: dict[str, object] = {
            "task": "push",
            "from": self.source,
            "to": layout,
            "repo": repo,
            "push.license": license,
        }
        given |= {"push.private": private, "push.replace": replace}
        performed(settings_of(given | {"student.trust_remote_code": self.trust_remote_code}))

    def packed(
        self, texts: Sequence[str], role: Role, progress: bool = False, batch_size: int | None = None
    ) -> PackedEmbeddings:
        """Like :meth:`encode`, all texts end to end."""
        if role not in ("query", "document"):
            raise InputError(f"role={role}: must be query or document")
        texts = given_texts(texts, "texts")
        check_student_knows(self.student.tokenizer, texts, "texts", f"{role} texts")
        title = f"{role} texts" if progress else None
        most = None if batch_size is None else whole_number(batch_size, "batch_size")
        budget = self.token_budget if most is None else sys.maxsize
        found = encode(
            self.student,
            texts,
            role,
            token_budget=budget,
            precision=self.precision,
            progress=title,
            most=most,
        )
        return packed_prefix(found, self.dim)


def load(
    path: str | Path,
    *,
    device: str | None = None,
    precision: str = "auto",
    trust_remote_code: bool = False,
    dim: int | None = None,
) -> Model:
    """Load a saved student.

    Args:
        path: a student's folder, for example ``outputs/colbert_zero_kd/latest/distill/student``; or a folder or hub id
            of a model in the layout of PyLate, sentence-transformers, Stanford's ColBERT or ColBERT-AZ.
        device: such as ``cpu`` or ``cuda``; None takes CUDA where there is one.
        precision: as of :class:`Model`, or ``auto``: bf16-mixed where the device is faster in it, else ``32-true``.
        trust_remote_code: run Python code that comes with a backbone, or that the folder names of its head; off unless
            asked for.
        dim: first dimensions of an embedding to keep, see ``student.matryoshka``; None for all.

    Raises:
        InputError: there is no student here, or no such device, precision or dimensions.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"path must be a folder or a hub id, not {told(path)}")
    where = torch_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    picked = pick_precision(precision, "gpu" if where.type == "cuda" else "cpu")
    student = load_checkpoint(str(path), trust_remote_code=trust_remote_code, key="path")
    student.model.to(where).eval()
    return Model(student, picked, dim=dim, source=str(path), trust_remote_code=trust_remote_code)
