"""How each library finds and loads its layout: what the hub's metadata and the card's examples say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from colbert_lab.tokens.tokenizer import TokenRules

QUERY, DOCUMENT = "who repairs the old clock tower", "The clock tower was repaired in 1911 and again in 1974."
OURS = "colbert_lab"


@dataclass(frozen=True)
class Library:
    """What reads a layout.

    Attributes:
        title: its name for people.
        library_name: as the hub writes it; None where no library reads the layout.
        pipeline_tag: the hub's task.
        tags: further tags by which its models are found.
        install: how to get it.
        example: code that encodes and scores; ``{repo}``, ``{query}``, ``{document}`` and ``{prompt_*}`` are filled in.
    """

    title: str
    library_name: str | None
    pipeline_tag: str
    tags: tuple[str, ...]
    install: str
    example: str

    def code(self, repo: str, rules: TokenRules) -> str:
        """The example for a repository.

        Args:
            repo: hub id, or a folder.
            rules: how the student reads text.
        """
        prompts = {
            f"prompt_{role}": f', prompt_name="{role}"' if prompt else ""
            for role, prompt in (("query", rules.query_prompt), ("document", rules.document_prompt))
        }
        return self.example.format(repo=repo, query=QUERY, document=DOCUMENT, **prompts)


_OURS = Library(
    "colbert_lab",
    OURS,
    "sentence-similarity",
    (),
    "",
    """import colbert_lab

model = colbert_lab.load("{repo}")
for hit in model.rerank("{query}", {{"d1": "{document}"}}):
    print(hit.document_id, hit.score)""",
)
LIBRARIES: Mapping[str, Library] = {
    OURS: _OURS,
    "pylate": Library(
        "PyLate",
        "PyLate",
        "sentence-similarity",
        ("PyLate", "sentence-transformers", "sentence-similarity"),
        "pip install pylate",
        """from pylate import models, scores

model = models.ColBERT("{repo}")
queries = model.encode(["{query}"], is_query=True{prompt_query})
documents = model.encode(["{document}"], is_query=False{prompt_document})
print(scores.colbert_scores(queries, documents))""",
    ),
    "sentence_transformers": Library(
        "sentence-transformers",
        "sentence-transformers",
        "feature-extraction",
        ("sentence-transformers", "multi-vector"),
        'pip install "sentence-transformers>=6"',
        """from sentence_transformers.multi_vector_encoder import MultiVectorEncoder

model = MultiVectorEncoder("{repo}")
queries = model.encode_query(["{query}"])
documents = model.encode_document(["{document}"])
print(model.similarity(queries, documents))""",
    ),
    "stanford": Library(
        "Stanford ColBERT",
        "colbert-ai",
        "sentence-similarity",
        ("colbert-ai",),
        "pip install colbert-ai",
        """from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint

checkpoint = Checkpoint("{repo}", colbert_config=ColBERTConfig())
queries = checkpoint.queryFromText(["{query}"])
documents = checkpoint.docFromText(["{document}"], keep_dims=False)
print((queries[0] @ documents[0].T).max(dim=1).values.sum())""",
    ),
    "colbert_az": Library("the code of ColBERT-AZ's card", None, "sentence-similarity", (), "", ""),
}
"""By layout; every layout can be read by colbert_lab itself as well."""
