"""A student's model card: what it is, how it was made, what was measured of it and how, what is not known."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from colbert_lab.analysis.tables import run_tables
from colbert_lab.base.layout import Markdown, Table, harmless, to_markdown
from colbert_lab.base.outside import one_line, printable
from colbert_lab.evaluation.measures import own_kind
from colbert_lab.model.colbert import count_parameters
from colbert_lab.model.maxsim import MEAN
from colbert_lab.model.student import Student
from colbert_lab.publish.converting import PROBES, Conversion, notes
from colbert_lab.publish.history import History, Names
from colbert_lab.publish.metadata import LIBRARIES, OURS, Claims, card_data, main_records
from colbert_lab.publish.origin import lineage, made_with, unknown
from colbert_lab.publish.recipe import command, data_lines, experiment, recipe_table, start_table
from colbert_lab.records.records import Record
from colbert_lab.records.run_files import split_details

TEMPLATE = "card.md.j2"
FILE = "README.md"


@dataclass(frozen=True)
class Subject:
    """What a card is about.

    Attributes:
        conversion: the student and the layout it was written in.
        source: what the user converted.
        history: the run that it is in; None where it is in none.
        repo: the hub id that the card is for; None where it is for a folder.
        out: name of the folder it is for.
        parent_license: what the card of the model it comes from says, and that model's name; None where none says it.
    """

    conversion: Conversion
    source: str
    history: History | None
    repo: str | None
    out: str
    parent_license: tuple[str, str] | None = None

    @property
    def names(self) -> Names:
        """Tells hub ids from paths."""
        return self.history.names if self.history else Names([Path.cwd()])

    @property
    def title(self) -> str:
        """What the model is called."""
        return (self.repo or self.out).rpartition("/")[2]


def model_card(subject: Subject, claims: Claims) -> ModelCard:
    """The card, front matter and text.

    Nothing in it names a place on this machine: a path is shown by its last part.
    """
    done, history, names = subject.conversion, subject.history, subject.names
    student, library = done.student, LIBRARIES[done.target]
    pooled = student.model.pooling is not None
    on_hub = names.hub_id(subject.source)
    data = card_data(claims, done.target, subject.title, history, on_hub, pooled)
    repo, rules = subject.repo or subject.out, student.tokenizer.rules
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        finalize=lambda value: harmless(one_line(value)) if type(value) is str else value,
    )
    environment.filters["cell"] = lambda value: one_line(str(value)).replace("|", "\\|")
    environment.filters["code"] = _code
    about = (
        {
            "experiment": experiment(history),
            "command": command(history),
            "recipe": _markdown([recipe_table(history)]),
            "data": data_lines(history),
            "start_settings": _markdown([start_table(history)]),
            "lineage": [Markdown(line) for line in lineage(history)],
            "made_with": Markdown(made_with(history)),
            "numbers": _markdown(numbers(history)) or "Nothing was measured in this run.\n",
            "protocol": Markdown(protocol(history)),
        }
        if history
        else {}
    )
    text = environment.get_template(TEMPLATE).render(
        title=subject.title,
        kind=f"bi-encoder ({student.model.pooling} pooling, one vector a text)"
        if pooled
        else f"ColBERT model (late interaction: one vector a token, scored with {_similarity(student)})",
        layout=done.target,
        library=library,
        history=history,
        facts=_facts(subject),
        code=library.code(repo, rules),
        own_code=LIBRARIES[OURS].code(repo, rules),
        notes=notes(student, done.target),
        rules=_rules(subject),
        source=names.short(subject.source),
        conversion=done,
        probes=sum(map(len, PROBES.values())),
        differences=f"{max(done.differences.values()):.2g}",
        licence=_licence(subject, claims),
        unknown=unknown(history, dict(vars(data))),
        **about,
    )
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_tidy(text)}")


def _facts(subject: Subject) -> list[tuple[str, str]]:
    student = subject.conversion.student
    config = student.model.backbone.config
    return [
        ("backbone", f"{config.model_type}, hidden size {config.hidden_size}"),
        ("parameters", f"{count_parameters(student.model):,}"),
        ("dimensions of a vector", str(student.model.dim)),
        ("query length", f"{student.tokenizer.rules.query_length} tokens"),
        ("document length", f"{student.tokenizer.rules.document_length} tokens"),
        ("similarity", "cosine" if student.model.pooling else f"{_similarity(student)} of cosines"),
    ]


def _similarity(student: Student) -> str:
    return "MeanMaxSim" if student.tokenizer.rules.score == MEAN else "MaxSim"


def _rules(subject: Subject) -> str:
    """The rules of the tokens, as they are stored with the student."""
    rows = []
    for key, value in subject.conversion.student.tokenizer.rules.to_dict().items():
        shown = (
            " ".join(value) if isinstance(value, list) else repr(value) if isinstance(value, str) else value
        )
        rows.append((key.replace("_", " "), f"`{shown}`" if "`" not in str(shown) else str(shown)))
    table = to_markdown([Table("", ("rule", "value"), tuple(rows), (), ())])
    return Markdown(table.partition("\n\n")[2])


def _licence(subject: Subject, claims: Claims) -> str:
    named = f"`{claims.license}`"
    if claims.license_name:
        named = f"{claims.license_name} ({claims.license_link})"
    given = f"{named}, as the uploader says."
    if subject.parent_license is None:
        return f"{given} What the licence of the model it comes from says was not at hand when this card was written."
    licence, parent = subject.parent_license
    source = subject.names.short(parent)
    return f"{given} The card of {source}, where its weights come from, says `{licence}`."


def _markdown(tables: Sequence[Table]) -> Markdown:
    """Tables below the headings of the card."""
    return Markdown(re.sub(r"^## ", "### ", to_markdown(tables), flags=re.MULTILINE))


def _code(text: str) -> Markdown:
    """Text for a block of code, which it cannot end."""
    return Markdown(printable(text, kept="\n").replace("```", "` ` `"))


def _tidy(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


PHASES = "Phases:"


def numbers(history: History) -> list[Table]:
    """The run's own tables, without the students of later phases and without what phases cost (the recipe has it)."""
    kept = ("before", "evaluate", *history.outcomes)
    tables = run_tables(history.run_dir, kept)
    return [_clean(table, history.names) for table in tables if not table.title.startswith(PHASES)]


def protocol(history: History) -> str:
    """How the splits were searched, and what each of them is, in Markdown; empty where nothing was measured."""
    if not history.records:
        return ""
    evaluation = history.config.get("evaluation") or {}
    details = split_details(history.run_dir)
    rows = []
    for split, record in _by_split(history).items():
        known = details.get(split, {})
        if "mean_of" in known:
            continue
        rows.append(
            (
                split,
                history.names.words(str(known.get("dataset", record.dataset))),
                str(known.get("split", split)),
                f"{known['documents']:,}" if "documents" in known else "-",
                f"{record.n_queries:,}",
                _asked(known.get("protocol")),
                record.split_fingerprint,
                record.protocol_hash,
            )
        )
    heads = ("split", "data set", "its split", "documents", "queries", "asked for", "fingerprint", "protocol")
    notes = [
        f"Searched: {_listed(evaluation.get('mode', 'exact'))}; embeddings stored as "
        f"{_listed(evaluation.get('storage', 'float32'))}; rankings of {evaluation.get('depth')} documents; "
        f"encoded with precision {evaluation.get('precision')}. Queries without judgments are left out.",
        "fingerprint: of corpus, queries and judgments; protocol: of lengths, prompts, exclusions, depth and the way "
        "to search. Numbers may be compared where both are equal.",
        "Measures are those of trec_eval (pytrec_eval-terrier).",
    ]
    if own := _own_measures(history):
        classes = ", ".join(f"{name} of {target}" for name, target in own.items())
        notes[-1] = (
            f"Measures are those of trec_eval (pytrec_eval-terrier), but for those of classes of their own: {classes}. "
            "These have protocols of their own, which are of their settings and code too."
        )
    headline = evaluation.get("headline")
    if headline:
        notes.append(f"`{headline}` is what sweeps choose by; it is no held-out number.")
    table = Table("", heads, tuple(rows), (), tuple(notes))
    return to_markdown([table]).partition("\n\n")[2]


def _by_split(history: History) -> dict[str, Record]:
    """A record for each split, as nearly as there is one of what the card's metadata says, by a measure of ours.

    A measure of a class of its own has another protocol than the search.
    """
    found: dict[str, Record] = {}
    student = [record for record in history.records if record.system == "student"]
    for records in (student, main_records(history)):
        found |= {record.split: record for record in records}
        found |= {record.split: record for record in records if not own_kind(record.measure)}
    return found


def _own_measures(history: History) -> dict[str, str]:
    """The classes of measures that are none of ours, by their names in the config."""
    known = (history.config.get("evaluation") or {}).get("own_measures") or {}
    kinds = dict.fromkeys(kind for record in history.records if (kind := own_kind(record.measure)))
    return {kind: str((known.get(kind) or {}).get("_target_", "unknown")) for kind in kinds}


def _asked(found: Mapping[str, Any] | None) -> str:
    given = {key: value for key, value in (found or {}).items() if value not in (None, False)}
    return ", ".join(f"{key} {value!r}" for key, value in given.items()) or "the student's own rules"


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _clean(table: Table, names: Names) -> Table:
    """Without places on this machine, which the names of systems and data sets may hold."""
    return replace(
        table,
        title=names.words(table.title),
        rows=tuple((names.words(row[0]), *row[1:]) for row in table.rows),
        notes=tuple(names.text(note) for note in table.notes),
    )
