"""A student into another layout, with proof that it embeds the same; for ``task=convert`` and ``task=push``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from colbert_lab.base.errors import InputError
from colbert_lab.base.layout import Table
from colbert_lab.base.types import PackedEmbeddings, Role
from colbert_lab.model.encode import encode
from colbert_lab.model.formats.known import FORMATS, format_of, load_folder, save_checkpoint
from colbert_lab.model.projection import ProjectionHead
from colbert_lab.model.student import Student
from colbert_lab.records.run_directory import free_folder as free_folder  # where a student goes

LARGEST = 1e-5
"""Largest difference of an embedding's value that a conversion may make."""
_LONG = "Each chapter of the report lists the wells of one valley, their depth, and who looks after them in winter. "
PROBES: dict[Role, tuple[str, ...]] = {
    "query": (
        "who repairs the old clock tower",
        "a",
        "Çığ düştükten sonra İstanbul'da ılık süt içtik mi?",
        "Qədim körpüdən keçən yol haraya gedir?",
        "where is x_2 = f(a+b)[0] defined?!",
        "城の門は何時に開きますか",
        _LONG * 30,
    ),
    "document": (
        "The clock tower was repaired twice: in 1911, and again (badly) in 1974.",
        "?! ... a",
        "Ilıman bölgelerde İLKBAHAR, ığıl ığıl akan sularla gelir; dağlar yeşerir.",
        "Şəhərin köhnə hissəsində ƏLLƏ toxunan xalçalar, gümüş qablar və ölçü alətləri satılır.",
        'def f(a, b):\n\treturn {"sum": a + b}  # naïve café 🙂',
        "城門每天早上六點開放。",
        _LONG * 400,
    ),
}
"""Texts that both sides encode: short and far too long ones, several alphabets, punctuation, code."""


@dataclass(frozen=True)
class Conversion:
    """A student that was written in a layout.

    Attributes:
        student: as it was read.
        source: the layout it was read from.
        target: the layout it was written in.
        differences: largest difference of any value of the probe texts' embeddings, by role.
    """

    student: Student
    source: str
    target: str
    differences: dict[Role, float]

    def table(self, name: str) -> Table:
        """The differences, for the terminal.

        Args:
            name: what to call the new folder.
        """
        rows = tuple((role, str(len(PROBES[role])), f"{self.differences[role]:.2g}") for role in PROBES)
        title = f"{self.source} to {self.target}: {name}"
        return Table(title, ("probe texts", "n", "largest difference"), rows, (), ())


def convert(source: Path, target: str, folder: Path, trust_remote_code: bool, key: str) -> Conversion:
    """Read a student, write it in a layout, read that again and compare the embeddings of the probe texts.

    Args:
        source: the student's folder.
        target: name of the layout.
        folder: an empty folder; write to a temporary one (see :mod:`colbert_lab.base.atomic`).
        trust_remote_code: run Python code that comes with a backbone.
        key: the config key of ``source`` to name in errors.

    Raises:
        InputError: ``source`` is no student, the layout cannot hold it, or embeddings differ.
    """
    kind = format_of(source, key)
    student = load_folder(source, "eager", trust_remote_code, key)
    return Conversion(student, kind, target, save(student, target, folder, "to"))


def save(student: Student, target: str, folder: Path, key: str) -> dict[Role, float]:
    """Write a student in a layout, read that again and compare the embeddings of the probe texts.

    Args:
        student: any; code that came with it runs already, and is read back with it.
        target: name of the layout.
        folder: an empty folder; write to a temporary one (see :mod:`colbert_lab.base.atomic`).
        key: names the layout in errors.

    Returns:
        See :func:`differences`.

    Raises:
        InputError: the layout cannot hold the student, or embeddings differ.
    """
    try:
        save_checkpoint(student, target, folder)
    except InputError as error:
        raise InputError(re.sub("^to=", f"{key}=", str(error))) from error
    attention = getattr(student.model.backbone.config, "_attn_implementation", "eager")
    again = FORMATS[format_of(folder)].load(folder, attention, True)
    again.model.to(next(student.model.parameters()).device)
    found = differences(student, again)
    worst = max(found.values())
    if worst > LARGEST:
        raise InputError(
            f"{key}={target}: embeddings would differ by {worst:.2g} (at most {LARGEST:g} is allowed), so nothing is "
            "written; this layout reads text otherwise than the student"
        )
    return found


def differences(one: Student, other: Student) -> dict[Role, float]:
    """Largest difference of any value of the probe texts' embeddings, by role; infinite where tokens differ."""
    found: dict[Role, float] = {}
    for role in PROBES:
        ours, theirs = (_encoded(student, role) for student in (one, other))
        lengths, sizes = ([each.lengths_N.tolist(), each.emb_TD.shape] for each in (ours, theirs))
        same = lengths == sizes
        found[role] = float((ours.emb_TD - theirs.emb_TD).abs().max()) if same else float("inf")
    return found


def _encoded(student: Student, role: Role) -> PackedEmbeddings:
    return encode(student, PROBES[role], role, token_budget=4096)


def notes(student: Student, target: str) -> list[str]:
    """What users of the other library have to do, or will find otherwise, that the folder cannot say."""
    rules, found = student.tokenizer.rules, []
    if target == "pylate":
        if rules.query_prompt or rules.document_prompt:
            found.append(
                'PyLate applies prompts only when asked: encode(..., prompt_name="query" or "document")'
            )
        if not rules.strip:
            found.append(
                "PyLate removes white space around texts; this student reads it where its tokenizer does"
            )
    if target == "stanford" and not student.tokenizer.skipped:
        found.append(
            "colbert-ai 0.2.22 cannot encode documents with mask_punctuation=false, as this folder has it; set "
            "checkpoint.skiplist = {} after loading it there"
        )
    head = student.model.head
    if isinstance(head, ProjectionHead):
        found.append(
            f"the head is of the class {head.target}: who loads the folder needs its module, and imports it first or "
            "trusts the folder with trust_remote_code=true"
        )
    kind = student.model.backbone.config.model_type
    if target != "colbert_lab" and type(student.model.backbone).__module__.startswith("colbert_lab."):
        found.append(
            f"the backbone ({kind}) is no class of transformers: other libraries need code of its own to read it"
        )
    if target != "colbert_lab" and student.model.matryoshka is not None:
        dims = ", ".join(map(str, student.model.matryoshka))
        found.append(
            f"the layout cannot say that prefixes of {dims} dimensions are trained (student.matryoshka)"
        )
    if target == "colbert_az":
        found.append(
            "the layout holds no rules: read texts as the model card's code does, [Q] and [D] before them"
        )
    return found
