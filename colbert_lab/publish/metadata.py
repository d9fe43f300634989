"""The front matter of a model card, as the hub reads it, and how each library finds and loads its layout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData

from colbert_lab.evaluation.measures import measure_title
from colbert_lab.model.tokenizer import TokenRules
from colbert_lab.publish.history import History
from colbert_lab.publish.recipe import hub_ids
from colbert_lab.records.records import EXACT, Record
from colbert_lab.records.run_files import SplitFacts, split_details

TASK = ("information-retrieval", "Information Retrieval")
DATA_KEYS = ("path", "documents")
TAGS = ("ColBERT", "late-interaction", "feature-extraction")


@dataclass(frozen=True)
class Claims:
    """What the user says of a student; see ``conf/push``.

    Attributes:
        license: an identifier of the hub.
        license_name: of the licence ``other``.
        license_link: of the licence ``other``.
        language: codes; empty where it is not known.
        base_model: a hub id; None is what the run says.
        datasets: hub ids; None is what the run says.
    """

    license: str
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ()
    base_model: str | None = None
    datasets: tuple[str, ...] | None = None


def card_data(
    claims: Claims, layout: str, name: str, history: History | None, source: str | None, pooled: bool = False
) -> ModelCardData:
    """The metadata of a student.

    Args:
        claims: what the user says.
        layout: the layout it is in.
        name: what to call the model in ``model-index``.
        history: the run it is in; None where it is in none.
        source: hub id of the student that was converted, where it is on the hub.
        pooled: whether it has one vector a text.
    """
    library = LIBRARIES[layout]
    base, datasets = claims.base_model or source, claims.datasets
    results: list[EvalResult] = []
    if history is not None:
        base = base or history.origin()
        datasets = training_data(history) if datasets is None else datasets
        results = eval_results(history)
    tags = [*(tag for tag in TAGS if not pooled or tag == TAGS[-1]), *library.tags, OURS]
    return ModelCardData(
        language=list(claims.language) or None,
        license=claims.license,
        license_name=claims.license_name,
        license_link=claims.license_link,
        library_name=library.library_name or OURS,
        pipeline_tag=library.pipeline_tag,
        base_model=base,
        datasets=list(datasets or ()) or None,
        tags=tags,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=name if results else None,
        eval_results=results or None,
    )


def training_data(history: History) -> tuple[str, ...]:
    """Hub ids of what a student and the students before it were trained on, the newest run first."""
    found: list[str] = []
    for run in history.line():
        for phase in run.outcomes:
            found += hub_ids(run.phase_settings(phase).get("data"), run.names, DATA_KEYS)
    return tuple(dict.fromkeys(found))


def eval_results(history: History) -> list[EvalResult]:
    """What was measured of the student at the end of its phase, as the hub's model-index has it.

    Of several ways to search, exact search of float32 counts, or the first way where that is not among them. The hub
    merges results of one data set, configuration and split; where several splits of a run have these in common, the
    split's name in ``evaluation.splits`` is the configuration.
    """
    records = main_records(history)
    details = split_details(history.run_dir)
    places = {
        split: _place(history, split, records, details.get(split, SplitFacts())) for split in _splits(records)
    }
    shared = [place for place in places.values() if list(places.values()).count(place) > 1]
    found = []
    for record in records:
        (dataset, split), known = places[record.split], details.get(record.split, {})
        searched = "" if record.variant == EXACT else f" ({record.variant})"
        found.append(
            EvalResult(
                task_type=TASK[0],
                task_name=TASK[1],
                dataset_type=dataset,
                dataset_name=history.names.words(record.dataset),
                dataset_config=record.split if (dataset, split) in shared else None,
                dataset_split=split,
                dataset_args={
                    "queries": record.n_queries,
                    **({"documents": known["documents"]} if "documents" in known else {}),
                    "fingerprint": record.split_fingerprint,
                    "protocol": record.protocol_hash,
                },
                metric_type=record.measure,
                metric_name=measure_title(record.measure) + searched,
                metric_value=record.value,
            )
        )
    return found


def main_records(history: History) -> list[Record]:
    """The student's own records that have a number, the last of each split and measure, in one way of searching."""
    own = [
        record
        for record in history.records
        if record.system == "student" and record.phase == history.phase and math.isfinite(record.value)
    ]
    ways = {split: [r.variant for r in own if r.split == split] for split in _splits(own)}
    chosen = {split: EXACT if EXACT in found else found[0] for split, found in ways.items()}
    last = {(r.split, r.measure): r for r in own if r.variant == chosen[r.split]}
    return list(last.values())


def _splits(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(record.split for record in records))


def _place(history: History, split: str, records: Sequence[Record], known: SplitFacts) -> tuple[str, str]:
    """The data set's hub id or name, and its own name of the split."""
    first = next(record for record in records if record.split == split)
    evaluation = history.config.get("evaluation") or {}
    settings = (evaluation.get("splits") or {}).get(split) or {}
    path = str(settings.get("path") or "").replace("{key}", split)
    named = history.names.hub_id(path)
    return named or history.names.words(first.dataset), str(known.get("split", split))


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
