"""Lightning's strategy for a run."""

from __future__ import annotations

from datetime import timedelta

from pytorch_lightning.strategies import DDPStrategy

WAIT = timedelta(days=2)  # torch's own limit of 30 minutes is less than evaluations of large collections take


def strategy_of(name: str) -> str | DDPStrategy:
    """``ddp`` with time for the first process to evaluate while the others wait for the next phase."""
    return DDPStrategy(timeout=WAIT) if name == "ddp" else name
