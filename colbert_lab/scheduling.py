"""The phases of a schedule: which there are, what identifies each, and which are trained already."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from colbert_lab.errors import InputError
from colbert_lab.results.identity import phase_hash
from colbert_lab.results.lineage import find_phase
from colbert_lab.student.formats.known import folder_digest, folder_of
from colbert_lab.training.phase import CODE_VERSION, PhaseOutcome, finished_phase
from colbert_lab.training.prepare import PreparedPhase

# Settings of a phase that do not change the student at its end; its data counts by content.
NOT_PHASE = ("data", "evaluate_every", "checkpoint_every", "log_every", "recompute")
TRAINER = ("accelerator", "devices", "num_nodes", "strategy", "precision", "deterministic")


@dataclass(frozen=True)
class DonePhase:
    """A phase that is trained already.

    Attributes:
        folder: where it is.
        outcome: what it did.
        here: whether that is the run's own folder, and not another run's.
    """

    folder: Path
    outcome: PhaseOutcome
    here: bool


def done_phase(cfg: DictConfig, folder: Path, identity: str) -> DonePhase | None:
    """The phase where it need not be trained: in the run itself or, with ``reuse``, in any other one.

    Args:
        cfg: the checked config.
        folder: the phase's folder in the run directory.
        identity: see :func:`phase_identity`.

    Raises:
        InputError: the run's own is of another identity.
    """
    own = finished_phase(folder)
    if own is not None:
        if own.phase_hash != identity:
            raise InputError(
                f"{folder}: was trained on other data or by other code than this command would use; reuse=false trains "
                "anew"
            )
        return DonePhase(folder, own, here=True)
    known = find_phase(Path(cfg.output_dir), identity) if cfg.reuse and not folder.exists() else None
    if known is None:
        return None
    outcome = finished_phase(known)
    assert outcome is not None  # that is how it was found
    return DonePhase(known, outcome, here=False)


def trainer_arguments(cfg: DictConfig) -> dict[str, Any]:
    """What of ``trainer`` goes to Lightning's Trainer."""
    return {key: cfg.trainer[key] for key in TRAINER}


def phase_identity(cfg: DictConfig, config: dict[str, Any], phase: PreparedPhase, parent: str) -> str:
    """Hash of everything that decides the student at the end of a phase.

    Args:
        cfg: the config.
        config: the same as plain values.
        phase: the prepared phase.
        parent: identity of the student it starts from.
    """
    plain = {key: value for key, value in config["phases"][phase.name].items() if key not in NOT_PHASE}
    plain |= {
        "name": phase.name,  # decides the order of the data
        "rules": phase.tokenizer.rules.to_dict(),
        "weights": phase.batches.sampler.weights,
        "precision": cfg.trainer.precision,
        "dropout": cfg.student.dropout,
        "maxsim": cfg.trainer.maxsim,
    }
    return phase_hash(plain, cfg.seed, phase.data_fingerprint, parent, CODE_VERSION)


def parent_identity(cfg: DictConfig) -> str:
    """Identity of the student before the first phase: its settings, or the weights of its checkpoint."""
    if cfg.student.checkpoint is not None:
        digest = folder_digest(folder_of(cfg.student.checkpoint))
        changed = {key: cfg.student[key] for key in ("output", "pooling", "dim", "bias", "widen")}
        changed["head"] = OmegaConf.to_container(cfg.student.head)
        # Without another output the checkpoint's head stays, and these settings are not read.
        read = changed if cfg.student.output is not None else {"widen": cfg.student.widen}
        return json.dumps([digest, read])
    plain = OmegaConf.to_container(cfg.student) | OmegaConf.to_container(cfg.prompts)  # type: ignore[operator]
    return json.dumps(plain, sort_keys=True)


def check_schedule(cfg: DictConfig) -> None:
    """Whether the schedule names phases that are there.

    Raises:
        InputError: it does not.
    """
    if cfg.task != "train":
        return
    if not cfg.schedule:
        raise InputError(
            "schedule: nothing to train; choose +experiment=NAME (see --help), or set schedule=[phase]"
        )
    unknown = [name for name in cfg.schedule if name not in cfg.phases]
    if unknown:
        raise InputError(
            f"schedule: no phase slot named {unknown[0]}; there are {', '.join(cfg.phases) or 'none'}"
        )
    if len(set(cfg.schedule)) != len(cfg.schedule):
        raise InputError("schedule: a phase is listed twice; give the second run of it a slot of its own")
