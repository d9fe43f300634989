"""Sizes at which any committed experiment is over within seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tests.text.packages.made import write_packages
from tests.toy import write_toy

STEPS: dict[str, Any] = {
    "epochs": "null", "steps": 2, "batch_size": 2, "checkpoint_every": 2, "evaluate_every": 2, "log_every": 1,
}  # fmt: skip
NARROW = "{model_type:bert,hidden_size:32,num_hidden_layers:1,num_attention_heads:2,intermediate_size:64}"
"""A network of the backbone's tokens that is saved and trained in no time."""
COLLECTIONS = ("medquad", "squad-dev", "scifact", "msmarco-dl-pool")


def smaller(cfg: DictConfig, folder: Path) -> list[str]:
    """Overrides that make a composed experiment small.

    Two steps a phase, a narrow network, some of the embedded text; small packages and toy collections, which are
    written below ``folder``, where the experiment names none.
    """
    small = [f"phases.{phase}.{key}={value}" for phase in cfg.schedule for key, value in STEPS.items()]
    if OmegaConf.is_missing(cfg.evaluation, "path"):
        small += [*toy_collections(folder / "collections"), "phases.distill.n_way=4"]
    for key, source in sources(cfg):
        small += small_source(key, source, folder)
    if "packages" in cfg.data and cfg.data.path is None and "distill" in cfg.schedule:
        small += ["phases.distill.n_way=4"]
    small += small_evaluation(cfg.evaluation, folder)
    if cfg.student.architecture is None and cfg.student.checkpoint is None:
        small += [f"student.architecture={NARROW}", "student.document_length=64"]
    return small


def sources(cfg: DictConfig) -> Iterator[tuple[str, DictConfig]]:
    """Every source that the experiment trains on, by its key; the parts of a mixture too."""
    keys = ["data", *(f"phases.{phase}.data" for phase in cfg.schedule)]
    for key in keys:
        source = OmegaConf.select(cfg, key)
        if isinstance(source, DictConfig):
            yield key, source
            for name in source.get("sources", ()):
                yield f"{key}.sources.{name}", source.sources[name]


def small_source(key: str, source: DictConfig, folder: Path) -> list[str]:
    """Some of the text of a source that makes its queries itself; a toy collection for one that is missing."""
    if OmegaConf.is_missing(source, "path"):
        return [f"{key}.path={write_toy(folder / 'mined')}"]
    if "packages" in source and source.path is None:
        sizes = {"documents": 90, "queries": 20, "top": 6, "random": 1}
        return [
            f"{key}.packages={packages(folder)}",
            *(f"{key}.{n}={v}" for n, v in sizes.items() if n in source),
        ]
    if "documents" in source and source._target_.startswith("colbert_lab.sources"):
        return [f"{key}.documents=36", f"{key}.queries=4"]
    return []


def small_evaluation(evaluation: DictConfig, folder: Path) -> list[str]:
    """Five queries of each split over twelve documents, where the text is that of packages."""
    types = {name: split.type for name, split in evaluation.splits.items() if split is not None}
    texts = [name for name, kind in types.items() if kind in ("installed_docs", "package_docs")]
    if not texts:
        return []
    during = [f"evaluation.during_training.{each}" for each in ("documents=8", "queries=5")]
    path = [f"evaluation.path={packages(folder)}"] if "package_docs" in types.values() else []
    documents = 20 if path else 12
    return [
        f"evaluation.documents={documents}",
        *(f"evaluation.splits.{name}.queries=5" for name in texts),
        *during,
        *path,
    ]


def packages(folder: Path) -> Path:
    """The file of two small wheels, which are written once."""
    names = folder / "wheels" / "packages.txt"
    return names if names.exists() else write_packages(names.parent)


def toy_collections(folder: Path) -> list[str]:
    """Toy collections under the names of the real ones."""
    for name in COLLECTIONS:
        write_toy(folder / name)
    return [f"evaluation.path={folder}", "data.scores=lists.jsonl"]
