"""colbert_lab: run, compare and trust training ablations of ColBERT models."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.2.0"
__all__ = ["Compared", "Hit", "Index", "Model", "Result", "compare", "evaluate", "load", "train"]

# Threads of torch that wait for one another on a CPU look 300,000 times before they sleep. That is 15 ms on some
# processors, many times a step wherever another program holds a core. libgomp reads this when torch is imported.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "10000"

if TYPE_CHECKING:
    from colbert_lab.api import Model, load
    from colbert_lab.commands import Compared, Result, compare, evaluate, train
    from colbert_lab.index import Hit, Index
else:

    def __getattr__(name: str) -> object:
        """Import what is asked for, once it is: torch and transformers take seconds."""
        if name not in __all__:
            raise AttributeError(f"module 'colbert_lab' has no attribute {name!r}")
        home = {"Hit": "index", "Index": "index", "Model": "api", "load": "api"}.get(name, "commands")
        return getattr(import_module(f"colbert_lab.{home}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
