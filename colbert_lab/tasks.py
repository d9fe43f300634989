"""The tasks of the command line, and who executes each."""

from __future__ import annotations

from pkgutil import resolve_name

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from colbert_lab.errors import InputError

TASKS = {
    "train": "colbert_lab.run:run",
    "evaluate": "colbert_lab.run:run",
    "compare": "colbert_lab.comparing:compare",
    "score": "colbert_lab.score_task:execute",
    "mine": "colbert_lab.mine_task:execute",
    "audit": "colbert_lab.audit_task:execute",
    "convert": "colbert_lab.convert_task:execute",
    "push": "colbert_lab.push_task:execute",
    "explain": "colbert_lab.explain_task:execute",
    "runs": "colbert_lab.runs_task:execute",
    "plan": "colbert_lab.plan_task:execute",
    "certify": "colbert_lab.certify_task:execute",
    "report": "colbert_lab.report_task:execute",
}
"""Name to module and function; a module is imported when its task is asked for, as some need no torch."""
USERS = {
    "runs": ("compare",),
    "out": ("score", "mine", "audit", "convert", "push", "explain", "runs", "plan", "certify", "report"),
    "from": ("convert", "push"),
    "to": ("convert", "push", "runs"),
    "repo": ("push",),
    "query": ("explain",),
    "document": ("explain",),
    "study": ("report",),
}
"""Settings of the top level, and the tasks that read them."""
OWN = {
    "compare": "compare",
    "score": "score",
    "mine": "mine",
    "audit": "audit",
    "push": "push",
    "explain": "explain",
    "ledger": "runs",
    "plan": "plan",
    "certify": "certify",
}
"""Groups of settings, and the task that reads each."""


def execute(cfg: DictConfig) -> float | None:
    """Execute a composed config.

    Returns:
        The headline value (for sweepers), or None when there is none.

    Raises:
        InputError: an unknown task, a setting that it does not read, or anything else the user can mend.
    """
    if cfg.task not in TASKS:
        raise InputError(f"task={cfg.task}: must be one of {', '.join(TASKS)}")
    for key, users in USERS.items():
        if cfg.get(key) and cfg.task not in users:
            raise InputError(f"{key}: has no effect on task={cfg.task}; it is for task={', '.join(users)}")
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    for override in given:
        key = override.lstrip("+~").partition("=")[0].rpartition("@")[2]
        if "." in key and OWN.get(key.partition(".")[0], cfg.task) != cfg.task:
            raise InputError(f"{key}: has no effect on task={cfg.task}; leave it out")
    done: float | None = resolve_name(TASKS[cfg.task])(cfg)
    return done
