"""Where a student's weights come from, on what it was made, and what nobody knows about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from colbert_lab.base.layout import Table, harmless, to_markdown
from colbert_lab.base.outside import one_line
from colbert_lab.base.types import DEV_NAMES
from colbert_lab.publish.history import HUB_ID, History
from colbert_lab.publish.recipe import experiment
from colbert_lab.records.run_files import split_details

CARD = "README.md"
PACKAGES = ("colbert-lab", "torch", "pytorch-lightning", "transformers", "tokenizers", "datasets", "numpy")


def lineage(history: History) -> list[str]:
    """The way of the weights, from where they began to this student, one sentence a step."""
    steps: list[str] = []
    for run in history.line():
        here = []
        for phase, done in run.outcomes.items():
            reused = done.get("reused_from")
            where = f"reused from the run `{reused}`" if reused else "trained in this run"
            mismatch = done.get("prompt_mismatch")
            differ = f"; its prompts differ from its parent's ({mismatch}), as was allowed"
            prompts = differ if mismatch else ""
            told = f"phase `{phase}` of the run `{run.run_id}` ({experiment(run)}), {where}{prompts}"
            here.append(harmless(one_line(told)))
        steps = [_beginning(run), *here, *steps] if run.parent is None else [*here, *steps]
    return steps


def _beginning(run: History) -> str:
    settings, start = run.student_settings, run.start
    if start is None:
        kind = (settings.get("architecture") or {}).get("model_type")
        tokens = run.names.short(str(settings.get("backbone")))
        return harmless(one_line(f"random weights of a {kind} backbone, with the tokens of `{tokens}`"))
    what = "the student" if settings.get("checkpoint") is not None else "the backbone"
    named = run.names.hub_id(start)
    short = harmless(one_line(run.names.short(start)))
    shown = f"[{named}](https://huggingface.co/{named})" if named else f"`{short}`"
    layers = f", its first {settings['layers']} layers" if settings.get("layers") else ""
    return f"{what} {shown}{layers}"


def made_with(history: History) -> str:
    """Commit, versions, hardware and time, in Markdown."""
    found, config = history.environment, history.config
    trainer = config.get("trainer") or {}
    versions = found.get("packages") or {}
    commit = found.get("commit")
    dirty = {True: ", with changes that are not committed", False: ", unchanged"}.get(found.get("dirty"), "")  # type: ignore[arg-type]
    no_commit = "not recorded: it was not run from a checkout"
    seconds = sum(float(done["seconds"]) for done in history.outcomes.values())
    processes = next((done["devices"] for done in history.outcomes.values() if done.get("devices")), None)
    rows = (
        ("seed", str(config.get("seed"))),
        ("seconds of training, all phases of this run", f"{seconds:.0f}"),
        ("hardware", str(found.get("hardware") or "not recorded")),
        ("processes", str(processes or trainer.get("devices"))),
        ("precision", str(trainer.get("precision"))),
        ("commit of colbert_lab", f"{commit}{dirty}" if commit else no_commit),
        ("Python", str(found.get("python") or "not recorded")),
        *((name, str(versions[name])) for name in PACKAGES if versions.get(name)),
    )
    return to_markdown([Table("", ("made with", ""), rows, (), ())]).partition("\n\n")[2]


def unknown(history: History | None, data: Mapping[str, Any]) -> list[str]:
    """What this card cannot say.

    Args:
        history: the run; None where there is none.
        data: the front matter.
    """
    found = []
    if history is None:
        found.append("Recipe, lineage, training data and numbers: the folder was not inside a run.")
    else:
        found += list(_of_run(history))
    if not data.get("language"):
        found.append("Which languages it is for: none was given.")
    if not data.get("base_model"):
        found.append("Which model of the hub it derives from, if any.")
    if not data.get("datasets"):
        found.append("Which data sets of the hub it was trained on, if any.")
    return [
        *found,
        "The licences of the training data, and whether they allow every use.",
        "Its biases, and how it does on text unlike that of the numbers above.",
    ]


def _of_run(history: History) -> Iterator[str]:
    if history.status != "finished":
        yield f"What the rest of its run would have measured: the run is {history.status}, not finished."
    if history.environment.get("commit") is None:
        yield "Which commit of colbert_lab trained it."
    elif history.environment.get("dirty"):
        yield "What was changed in the code after the commit that is named above."
    yield f"How much another seed would change: this is seed {history.config.get('seed')} alone."
    if any(done.get("reused_from") for done in history.outcomes.values()):
        yield "Whether reused phases ran on the hardware and versions above: those are of this run."
    details = split_details(history.run_dir)
    mine = {record.split for record in history.records if record.system == "student"}
    if not any(str(details.get(split, {}).get("split", split)) not in DEV_NAMES for split in mine):
        yield "How it does on a test split: none was measured."


def parents(history: History | None, source: str, folder: Path) -> Iterator[tuple[str, Path | None]]:
    """The models whose cards may say what a student's licence has to respect, nearest first.

    Args:
        history: the run that it is in.
        source: what the user gave.
        folder: its local folder.

    Yields:
        A name, and its folder where it is on this machine.
    """
    yield source, folder
    for run in history.line() if history is not None else ():
        if run.start is not None:
            yield run.start, run.start_folder


def parent_license(history: History | None, source: str, folder: Path) -> tuple[str, str] | None:
    """What the nearest card that is on this machine says of the licence, and whose card it is; None without one."""
    for name, place in parents(history, source, folder):
        found = _license_in(place / CARD) if place is not None else None
        found = found or (_cached(name) if HUB_ID.fullmatch(name) else None)
        if found is not None:
            return found, name
    return None


def _cached(hub_id: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, CARD)
    return _license_in(Path(found)) if isinstance(found, str) else None


def _license_in(card: Path) -> str | None:
    """The licence in a card's front matter; None without a card, and where it cannot be read."""
    from huggingface_hub import ModelCard

    if not card.is_file():
        return None
    try:
        data = ModelCard.load(card, ignore_metadata_errors=True).data
    except (ValueError, OSError, TypeError, yaml.YAMLError):
        return None
    named = data.get("license_name") or data.get("license")
    return (", ".join(map(str, named)) if isinstance(named, list) else str(named)) if named else None
