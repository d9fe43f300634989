"""A student's model card: what it is, how it was made, what was measured, what is not known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCard
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from colbert_lab.converting import PROBES, Conversion, notes
from colbert_lab.publishing.history import History
from colbert_lab.publishing.layouts import LIBRARIES, OURS
from colbert_lab.publishing.metadata import Claims, card_data
from colbert_lab.publishing.names import Names
from colbert_lab.publishing.numbers import numbers, protocol
from colbert_lab.publishing.origin import lineage, made_with, unknown
from colbert_lab.publishing.recipe import command, data_lines, experiment, recipe_table, start_table
from colbert_lab.results.layout import Table, to_markdown
from colbert_lab.student.student import count_parameters

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

    Nothing in it names a place on this machine: of paths the last part is shown.
    """
    done, history, names = subject.conversion, subject.history, subject.names
    student, library = done.student, LIBRARIES[done.target]
    pooled = student.model.pooling is not None
    on_hub = names.hub_id(subject.source)
    data = card_data(claims, done.target, subject.title, history, on_hub, pooled)
    repo, rules = subject.repo or subject.out, student.tokenizer.rules
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", "\\n")
    about = (
        {
            "experiment": experiment(history),
            "command": command(history),
            "recipe": _markdown([recipe_table(history)]),
            "data": data_lines(history),
            "start_settings": _markdown([start_table(history)]),
            "lineage": lineage(history),
            "made_with": made_with(history),
            "numbers": _markdown(numbers(history)) or "Nothing was measured in this run.\n",
            "protocol": protocol(history),
        }
        if history
        else {}
    )
    text = environment.get_template(TEMPLATE).render(
        title=subject.title,
        kind=f"bi-encoder ({student.model.pooling} pooling, one vector a text)"
        if pooled
        else "ColBERT model (late interaction: one vector a token, scored with MaxSim)",
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
        ("similarity", "cosine" if student.model.pooling else "MaxSim of cosines"),
    ]


def _rules(subject: Subject) -> str:
    """The rules of the tokens, as they are stored with the student."""
    rows = []
    for key, value in subject.conversion.student.tokenizer.rules.to_dict().items():
        shown = (
            " ".join(value) if isinstance(value, list) else repr(value) if isinstance(value, str) else value
        )
        rows.append((key.replace("_", " "), f"`{shown}`" if "`" not in str(shown) else str(shown)))
    table = to_markdown([Table("", ("rule", "value"), tuple(rows), (), ())])
    return table.partition("\n\n")[2]


def _licence(subject: Subject, claims: Claims) -> str:
    named = f"`{claims.license}`"
    if claims.license_name:
        named = f"{claims.license_name} ({claims.license_link})"
    given = f"{named}, as the uploader says."
    if subject.parent_license is None:
        return f"{given} What the licence of the model it comes from says was not at hand when this card was written."
    licence, parent = subject.parent_license
    return (
        f"{given} The card of {subject.names.short(parent)}, where its weights come from, says `{licence}`."
    )


def _markdown(tables: Sequence[Table]) -> str:
    """Tables below the headings of the card."""
    return re.sub(r"^## ", "### ", to_markdown(tables), flags=re.MULTILINE)


def _tidy(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
