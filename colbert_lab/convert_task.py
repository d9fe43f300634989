"""``task=convert``: a student from one layout into another, with proof that it embeds the same."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from colbert_lab.atomic import atomic_folder
from colbert_lab.errors import InputError
from colbert_lab.logs import start_logging
from colbert_lab.results.layout import Table, print_tables
from colbert_lab.results.run_directory import check_writable
from colbert_lab.settings import checked
from colbert_lab.student.encode import encode
from colbert_lab.student.formats.known import FORMATS, folder_of, format_of, load_folder, save_checkpoint
from colbert_lab.student.student import Student
from colbert_lab.training.precision import prepare_torch
from colbert_lab.types import PackedEmbeddings, Role

log = logging.getLogger("colbert_lab")
FROM = "from"
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


def execute(cfg: DictConfig) -> None:
    """Convert a student, encode the probe texts with both folders, and print the largest differences.

    Args:
        cfg: what Hydra composed; ``from``, ``to``, ``out``, ``student.trust_remote_code`` and ``trainer.threads`` are
            read.

    Raises:
        InputError: something is missing, the layout cannot hold the student, or embeddings differ; ``out`` is then not
            there.
    """
    start_logging()
    source, target = cfg.get(FROM), cfg.get("to")
    cfg = checked(cfg)
    for key, value, example in ((FROM, source, "STUDENT"), ("to", target, "pylate"), ("out", cfg.out, "DIR")):
        if value is None:
            raise InputError(
                f"{key}: no value; for example task=convert from=STUDENT to=pylate out=DIR ({key}={example})"
            )
    out = Path(cfg.out).expanduser()
    check_writable(out.parent, "out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"out={out}: exists already; choose another, or delete it")
    prepare_torch(cfg.trainer.threads)
    folder = folder_of(str(source), FROM)
    kind = format_of(folder, FROM)
    student = load_folder(folder, "eager", cfg.student.trust_remote_code, FROM)
    with atomic_folder(out) as temporary:
        save_checkpoint(student, str(target), temporary)
        again = FORMATS[format_of(temporary)].load(temporary, "eager", cfg.student.trust_remote_code)
        found = differences(student, again)
        worst = max(found.values())
        if worst > LARGEST:
            raise InputError(
                f"to={target}: embeddings would differ by {worst:.2g} (at most {LARGEST:g} is allowed), so nothing is "
                "written; this layout reads text otherwise than the student"
            )
    _report(kind, str(target), found, out)
    for note in notes(student, str(target)):
        log.info("%s", note)
    log.info("written: %s", out)


def differences(one: Student, other: Student) -> dict[Role, float]:
    """Largest difference of any value of the probe texts' embeddings, by role; infinite where tokens differ."""
    found: dict[Role, float] = {}
    for role in PROBES:
        ours, theirs = (_encoded(student, role) for student in (one, other))
        same = (
            ours.lengths_N.tolist() == theirs.lengths_N.tolist() and ours.emb_TD.shape == theirs.emb_TD.shape
        )
        found[role] = float((ours.emb_TD - theirs.emb_TD).abs().max()) if same else float("inf")
    return found


def _encoded(student: Student, role: Role) -> PackedEmbeddings:
    return encode(student, PROBES[role], role, token_budget=4096)


def _report(source: str, target: str, found: dict[Role, float], out: Path) -> None:
    rows = tuple((role, str(len(PROBES[role])), f"{found[role]:.2g}") for role in PROBES)
    title = f"{source} to {target}: {out.name}"
    print_tables([Table(title, ("probe texts", "n", "largest difference"), rows, (), ())])


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
    kind = student.model.backbone.config.model_type
    if target != "colbert_lab" and type(student.model.backbone).__module__.startswith("colbert_lab."):
        found.append(
            f"the backbone ({kind}) is no class of transformers: other libraries need code of its own to read it"
        )
    if target == "colbert_az":
        found.append(
            "the layout holds no rules: read texts as the model card's code does, [Q] and [D] before them"
        )
    return found
