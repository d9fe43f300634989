"""A corpus that several splits share, and what all processes of a run found in it together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from colbert_lab.base.types import PackedEmbeddings, Split, Variant
from colbert_lab.model.encode import encode
from colbert_lab.model.student import Student
from colbert_lab.search.corpus import CorpusEncoding
from colbert_lab.search.exact import search_depth
from colbert_lab.search.modes import Searched
from colbert_lab.search.shares import merged, part_path, read_parts
from colbert_lab.text.fingerprint import fingerprint


@dataclass(frozen=True)
class SharedCorpus:
    """Splits of one corpus, whose documents the student reads in one way.

    Attributes:
        encoding: the corpus to embed.
        splits: by name.
        students: by split, the student with the split's own lengths and prompts.
        wanted: by split, the ways to search.
        depth: documents that a ranking keeps.
        processes: that encode and search together.
    """

    encoding: CorpusEncoding
    splits: Mapping[str, Split]
    students: Mapping[str, Student]
    wanted: Mapping[str, Sequence[Variant]]
    depth: int
    processes: int

    def depth_of(self, key: str) -> int:
        """How deep a split is searched."""
        return search_depth(self.splits[key], self.depth)

    def queries(self, key: str) -> PackedEmbeddings:
        """The queries of a split, as its student reads them.

        Raises:
            InputError: a query leaves no scoring token.
        """
        texts = self.splits[key].queries
        return encode(
            self.students[key],
            list(texts.values()),
            "query",
            token_budget=self.encoding.token_budget,
            precision=self.encoding.precision,
            ids=list(texts),
        )

    def is_searched_together(self, key: str) -> bool:
        """Whether several processes search the corpus with a split's queries: exactly, its embeddings as they are."""
        return (
            self.processes > 1
            and not self.splits[key].candidates
            and any(map(self._is_plain, self.wanted[key]))
        )

    def parts_of(self, key: str) -> list[Path]:
        """The files with what each process that has shards finds for a split."""
        texts, encoding = self.splits[key].queries, self.encoding
        shards = encoding.ranges()
        rules = json.dumps(self.students[key].tokenizer.rules.to_dict(), sort_keys=True)
        decides = [encoding.precision, str(encoding.token_budget), str(self.depth_of(key)), rules]
        decides += [str(encoding.size), str(self.processes)]
        name = fingerprint(decides, list(texts), list(texts.values()))
        return [part_path(encoding.folder, name, each) for each in range(min(self.processes, len(shards)))]

    def shards_of(self, process: int) -> list[range]:
        """The rows of the shards that a process searches."""
        return self.encoding.ranges()[process :: self.processes]

    def found(self, key: str, variant: Variant, ties_C: Tensor, nbytes: int) -> Searched | None:
        """What all processes found together; None where they did not search, or what they found is not there.

        Its seconds are those of all processes together, so that ways to search can be compared.

        Args:
            key: the split's name.
            variant: how it is searched.
            ties_C: see :func:`colbert_lab.search.exact.tie_ranks`.
            nbytes: of the embeddings.
        """
        if not (self.is_searched_together(key) and self._is_plain(variant)):
            return None
        parts = read_parts(self.parts_of(key))
        if parts is None:
            return None
        scores, rows = merged(parts, ties_C, self.depth_of(key))
        return Searched(variant, list(scores), list(rows), nbytes, 0.0, sum(part.seconds for part in parts))

    def _is_plain(self, variant: Variant) -> bool:
        return variant == Variant(storage=self.encoding.codec.name)
