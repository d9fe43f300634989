"""The recipe of a run, in tables of text: how each phase was trained, on what, from what."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from colbert_lab.base.layout import Table
from colbert_lab.publish.history import History, Names

NOT_SAID = ("_target_", "_partial_", "token_budget", "accelerator")
"""Settings of data and teachers that change nothing about the student, and the class, which is said first."""
NOTHING = "-"
OURS = "colbert_lab.training.objectives."


def experiment(history: History) -> str:
    """What the run was: its experiment where it had one, else its name."""
    return history.factors.get("experiment") or history.name


def command(history: History) -> str:
    """The command that trained it, with the last parts of paths."""
    names = history.names
    given = [
        f"+experiment={names.text(value)}" if key == "experiment" else f"{key}={names.words(value)}"
        for key, value in history.factors.items()
    ]
    return " ".join(["python -m colbert_lab", shlex.join([*given, f"seed={history.config.get('seed')}"])])


def recipe_table(history: History) -> Table:
    """One row a setting, one column a phase, for the phases up to the student's."""
    phases = list(history.outcomes)
    rows = []
    for label, of in _SETTINGS.items():
        cells = [of(history.phase_settings(phase)) for phase in phases]
        if any(cell != NOTHING for cell in cells):
            rows.append((label, *cells))
    trainer = history.config.get("trainer") or {}
    for label, key in (("flags of Lightning's Trainer", "lightning"), ("callbacks", "callbacks")):
        if found := trainer.get(key):
            rows.append((label, *[describe(found, history.names)] * len(phases)))
    measured: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "optimizer steps done": lambda done: f"{done['steps']:,}",
        "queries seen": lambda done: f"{done['queries']:,}",
        "tokens seen, without padding": lambda done: f"{done['tokens']:,}",
        "seconds of training": lambda done: f"{done['seconds']:.0f}",
        "queries cut at the length": lambda done: _cut(done, "query"),
        "documents cut at the length": lambda done: _cut(done, "document"),
        "trained in": lambda done: str(done.get("reused_from") or history.run_id),
    }
    if any(done.get("selection") for done in history.outcomes.values()):
        measured["student kept"] = _kept
    rows += [(label, *(of(history.outcomes[phase]) for phase in phases)) for label, of in measured.items()]
    return Table("Phases", ("setting", *phases), tuple(rows), (), ())


def data_lines(history: History) -> list[tuple[str, str]]:
    """Each phase and the data it was trained on, with all settings of the data and the last parts of paths."""
    named = history.names
    return [(phase, describe(history.phase_settings(phase).get("data"), named)) for phase in history.outcomes]


def describe(node: Any, names: Names) -> str:
    """A part of a config in one line: ``ScoredListFiles(path=toy, scores=lists.jsonl)``.

    Args:
        node: data or a teacher as ``config.yaml`` has it; what is null is left out.
        names: what to make of paths.
    """
    if isinstance(node, Mapping):
        inside = ", ".join(
            f"{key}={describe(value, names)}"
            for key, value in node.items()
            if key not in NOT_SAID and value is not None and value not in ({}, [], "")
        )
        kind = str(node["_target_"]).rpartition(".")[2] if "_target_" in node else ""
        return f"{kind}({inside})" if kind else f"{{{inside}}}"
    if isinstance(node, list):
        return f"[{', '.join(describe(value, names) for value in node)}]"
    return names.short(node) if isinstance(node, str) else str(node)


def hub_ids(node: Any, names: Names, keys: tuple[str, ...]) -> list[str]:
    """The hub ids under some keys anywhere in a part of a config, in their order.

    Args:
        node: a part of the config.
        names: what tells ids from paths.
        keys: whose values count.
    """
    found: list[str] = []
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in keys and isinstance(value, str):
                found += [value] if names.hub_id(value) else []
            else:
                found += hub_ids(value, names, keys)
    elif isinstance(node, list):
        for value in node:
            found += hub_ids(value, names, keys)
    return list(dict.fromkeys(found))


def objective(settings: Mapping[str, Any]) -> str:
    """What a phase minimised, for example ``1 x KL(teacher || student) (...) + 0.3 x InfoNCE (...)``."""
    terms = []
    for name, chosen in (settings.get("objective") or {}).items():
        if not chosen or not (weight := chosen.get("weight", 1)):
            continue
        # Older runs name no class. None is imported here: the file may be somebody else's.
        target = str(chosen.get("_target_", f"{OURS}{name}.{name.capitalize()}"))
        terms.append(f"{weight:g} x {_TERMS.get(target, _other_term)(target, chosen)}")
    return " + ".join(terms) or NOTHING


def _divergence(name: str, kl: Mapping[str, Any]) -> str:
    order = "student || teacher" if kl.get("direction") == "student_teacher" else "teacher || student"
    sides = "; ".join(
        f"{side}: {kl[side]['normalisation']}, temperature {kl[side]['temperature']:g}"
        for side in ("teacher", "student")
        if side in kl
    )
    return f"KL({order}) ({sides})"


def _infonce(name: str, contrastive: Mapping[str, Any]) -> str:
    learned = "learned from " if contrastive.get("learnable") else ""
    more = [f"temperature {learned}{contrastive['temperature']:g}"]
    if contrastive.get("false_negative_ratio") is not None:
        more.append(f"no negatives above {contrastive['false_negative_ratio']:g} x the positive")
    more += ["no own negatives"] if contrastive.get("own_negatives") is False else []
    more += ["no negatives of the batch"] if contrastive.get("batch_negatives") is False else []
    return f"InfoNCE ({', '.join(more)})"


def _other_term(name: str, chosen: Mapping[str, Any]) -> str:
    values = [f"{key} {value}" for key, value in chosen.items() if key not in ("_target_", "weight")]
    short = name.rpartition(".")[2]
    return f"{short} ({', '.join(values)})" if values else short


_TERMS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    f"{OURS}distillation.Distillation": _divergence,
    f"{OURS}contrastive.Contrastive": _infonce,
}


def _optimizer(settings: Mapping[str, Any]) -> str:
    found = dict(settings.get("optimizer") or {})
    name = str(found.pop("_target_", "")).rpartition(".")[2]
    rest = [f"{key} {value}" for key, value in found.items() if key not in ("_partial_", "lr", "fused")]
    return ", ".join([name, *rest]) or NOTHING


def _batch(settings: Mapping[str, Any]) -> str:
    size, times = settings.get("batch_size"), settings.get("accumulation") or 1
    return f"{size}" if times == 1 else f"{size * times} ({size} x {times})" if size else NOTHING


def _schedule(settings: Mapping[str, Any]) -> str:
    found = settings.get("lr_schedule") or {}
    decay = "" if found.get("decay") is None else f", decay {found['decay']}"
    return f"{found.get('name')}, warm-up {found.get('warmup')}{decay}" if found else NOTHING


def _prompts(settings: Mapping[str, Any]) -> str:
    found = settings.get("prompts") or {}
    given = [f"{role} {found[role]!r}" for role in ("query", "document") if found.get(role) is not None]
    return ", ".join(given) or "those of the student"


def _cut(done: Mapping[str, Any], role: str) -> str:
    found = (done.get("truncation") or {}).get(role)
    return NOTHING if not found else f"{found['cut']:.1%} of {found['texts']:,}"


def _kept(done: Mapping[str, Any]) -> str:
    found = done.get("selection")
    if not found:
        return "the last one"
    early = ", stopped early" if found["stopped_early"] else ""
    return f"of step {found['step']:,}, the {found['keep']} one by {found['measure']} on dev{early}"


def _plain(key: str, null: str = NOTHING) -> Callable[[Mapping[str, Any]], str]:
    return lambda settings: null if settings.get(key) is None else str(settings[key])


def _pooling(settings: Mapping[str, Any]) -> str:
    found = settings.get("token_pooling") or {}
    factor = found.get("factor", 1)
    return NOTHING if factor == 1 else f"{factor}, but for the first {found['protected']}"


_SETTINGS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "objective": objective,
    "optimizer": _optimizer,
    "learning rate": lambda settings: str((settings.get("optimizer") or {}).get("lr", NOTHING)),
    "learning rate of the head": _plain("head_lr"),
    "layer decay of the learning rate": _plain("layer_decay"),
    "frozen": lambda settings: ", ".join(settings.get("freeze") or ()) or NOTHING,
    "first steps of the head alone": lambda settings: str(settings.get("head_only_steps") or NOTHING),
    "moving average of the weights": _plain("ema"),
    "document tokens a pooled vector": _pooling,
    "schedule": _schedule,
    "gradient clip": _plain("gradient_clip"),
    "queries a step": _batch,
    "documents a query": _plain("n_way", "as many as the data has"),
    "epochs asked for": _plain("epochs"),
    "steps asked for": _plain("steps"),
    "query length": _plain("query_length", "that of the student"),
    "document length": _plain("document_length", "that of the student"),
    "prompts": _prompts,
}


def start_table(history: History) -> Table:
    """The student before the first phase, as the run's config has it."""
    rows = []
    for key, value in history.student_settings.items():
        pooled = key != "pooling" or history.student_settings.get("output") == "single"
        if value is None or key in ("trust_remote_code", "attention") or not pooled:
            continue
        rows.append((key.replace("_", " "), describe(value, history.names)))
    return Table("The student before the first phase", ("setting", "value"), tuple(rows), (), ())
