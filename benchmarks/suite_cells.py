"""The workloads of the suite: which cases there are, and who does them in which way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

WORKLOADS = (
    "startup", "distill", "defaults", "gradcache", "supervised", "small", "encode", "evaluate", "search", "verdict",
)  # fmt: skip
SIDES = ("colbert_lab", "pylate", "sentence_transformers")
OURS = SIDES[0]
DEFAULT: dict[str, Any] = {}
EAGER = {"attention": "eager"}  # on a CPU the faster attention of transformers while training
SMALL = {"mini_batch_size": 8}
Variants = dict[str, dict[str, dict[str, Any]]]
KERNELS = {"late-interaction-kernels": {"scores": "lik"}}  # on a GPU
DISTILLATION: Variants = {
    "colbert_lab": {"default": DEFAULT},
    "pylate": {"default": DEFAULT, "eager attention": EAGER} | KERNELS,
    "sentence_transformers": {
        "default": DEFAULT,
        "mini-batches of 8": SMALL,
        "of 8, eager attention": SMALL | EAGER,
    },
}
CACHED: Variants = {
    "colbert_lab": {"GradCache": {"recompute": True}, "default": DEFAULT},
    "pylate": {"default": DEFAULT, "of 8, eager attention": SMALL | EAGER} | KERNELS,
    "sentence_transformers": {
        "default": DEFAULT,
        "mini-batches of 8": SMALL,
        "of 4,096 tokens, eager attention": {"mini_batch_num_tokens": 4096, "score_mini_batch_size": 32}
        | EAGER,
    },
}
SMALL_CACHED = CACHED | {"colbert_lab": {"default": DEFAULT}}
CONTRASTIVE: Variants = {
    "colbert_lab": {"default": DEFAULT},
    "pylate": {"default": DEFAULT, "eager attention": EAGER},
    "sentence_transformers": {
        "default": DEFAULT,
        "mini-batches of 8": SMALL,
        "of 8, eager attention": SMALL | EAGER,
    },
}
PLAIN: Variants = {side: {"default": DEFAULT} for side in SIDES}
COMPILED = {"compiled": {"torch_compile": True}}
TOLERANCES = {
    "loss": {"fp32": 1e-3, "bf16": 0.15},  # relative; in bf16 one library's own mini-batches differ by 0.03
    "value": {"fp32": 2e-3, "bf16": 2e-2},  # of NDCG@10
    "embeddings": {"fp32": 1e-4, "bf16": 5e-2},  # of a coordinate
}


@dataclass(frozen=True)
class Cell:
    """One way to do a case.

    Attributes:
        side: whose.
        variant: in words; ``default`` for its defaults.
        options: of the variant.
    """

    side: str
    variant: str
    options: dict[str, Any] = field(compare=False)


@dataclass(frozen=True)
class Group:
    """A case: cells that take turns.

    Attributes:
        workload: see ``WORKLOADS``.
        case: size, in words.
        precision: ``fp32``, ``bf16``, or ``own`` where each side has its default.
        cells: who does it, colbert_lab first.
        spec: what they are told.
        check: what must agree: ``loss``, ``value``, ``embeddings``; None for nothing.
        warm_up: whether the first step is not counted; a pass over a whole collection takes minutes and needs none.
    """

    workload: str
    case: str
    precision: str
    cells: Sequence[Cell]
    spec: dict[str, Any] = field(default_factory=dict)
    check: str | None = None
    warm_up: bool = True

    @property
    def tolerance(self) -> float:
        """How far sides may be from colbert_lab."""
        assert self.check is not None
        return TOLERANCES[self.check][self.precision]


def said(cell: Cell) -> str:
    """A cell in words."""
    return f"{cell.side} ({cell.variant})"


def cells_of(variants: Variants, given: Any, compiled: bool = False) -> list[Cell]:
    """The cells of the sides that take part, of the variants that were asked for.

    Args:
        variants: of each side.
        given: the options of the command line; its sides and variants are read.
        compiled: whether the peers have one more, with torch.compile.
    """
    found = []
    for side in given.sides:
        chosen = variants.get(side, {}) | (COMPILED if compiled and side != OURS else {})
        wanted = list(chosen)
        if given.variants is not None:
            wanted = wanted[:1] if side == OURS else [name for name in wanted if name in given.variants]
        found += [Cell(side, name, chosen[name]) for name in wanted]
    return found


def groups_of(given: Any, positions: int) -> list[Group]:
    """All groups of a call, in the order in which they run.

    Args:
        given: the options of the command line.
        positions: the longest text that the backbone can read.
    """
    quick, groups = given.quick, []
    precisions = given.precisions
    base = {"defaults": False, "lr": 1e-5, "kind": "train"}
    for workload in given.workloads:
        if workload == "startup":
            groups.append(Group(workload, "a process", "own", startup_cells(given.sides)))
        elif workload in ("distill", "defaults"):
            size, n_way = (2, 4) if quick else (given.batch, given.ways)
            own = workload == "defaults"
            cells = cells_of(PLAIN if own else DISTILLATION, given, given.compile and not own)
            wanted = [300] if own else given.lengths
            for length in dict.fromkeys(min(n, positions) for n in wanted):
                for precision in ["own"] if own else precisions:
                    spec = base | {
                        "loss": "distillation", "batch_size": size, "n_way": n_way, "document_length": length,
                        "defaults": own,
                    }  # fmt: skip
                    case = f"{size} x {n_way}, length {length}"
                    groups.append(Group(workload, case, precision, cells, spec, None if own else "loss"))
        elif workload in ("gradcache", "supervised"):
            cached = workload == "gradcache"
            for size in ([8] if quick else given.pairs) if cached else ([4] if quick else [16]):
                for precision in precisions:
                    spec = base | {
                        "loss": "cached" if cached else "contrastive", "temperature": 0.02 if cached else 0.2,
                        "batch_size": size, "n_way": 1 if cached else 8, "document_length": min(180, positions),
                    }  # fmt: skip
                    case = f"{size:,} pairs" if cached else f"{size} x 8"
                    cells = cells_of(CACHED if cached else CONTRASTIVE, given, given.compile)
                    groups.append(
                        Group(
                            workload, f"{case}, length {min(180, positions)}", precision, cells, spec, "loss"
                        )
                    )
        elif workload == "small":
            groups += small_groups(given, positions)
        elif workload == "verdict":
            continue  # suite_verdict has its groups
        else:
            groups += reading_groups(workload, given, positions)
    return groups


def small_groups(given: Any, positions: int) -> list[Group]:
    """Training steps of a small student; 512 pairs are more than the peers' plain loss has memory for.

    Args:
        given: see :func:`groups_of`, as what follows.
        positions: see there.
    """
    size, n_way = (2, 4) if given.quick else (16, 16)
    few, many = (4, 8) if given.quick else (128, 512)
    spec = {"defaults": False, "lr": 1e-5, "kind": "train", "student": "small", "temperature": 0.2}
    distillation = {"loss": "distillation", "batch_size": size, "n_way": n_way, "document_length": 300}
    cases: list[tuple[str, Variants, dict[str, Any]]] = [(f"{size} x {n_way}", DISTILLATION, distillation)]
    for pairs, loss, variants in ((few, "contrastive", CONTRASTIVE), (many, "cached", SMALL_CACHED)):
        told = {"loss": loss, "batch_size": pairs, "n_way": 1, "document_length": 180}
        cases.append((f"{pairs} pairs", variants, told))
    groups = []
    for case, variants, told in cases:
        length = min(told["document_length"], positions)
        cells = cells_of(variants, given, given.compile)
        groups += [
            Group(
                "small", f"{case}, length {length}", precision, cells,
                spec | told | {"document_length": length}, "loss",
            )
            for precision in given.precisions
        ]  # fmt: skip
    return groups


def reading_groups(workload: str, given: Any, positions: int) -> list[Group]:
    """Groups without training."""
    length = min(300, positions)
    base = {"defaults": False, "document_length": length, "kind": workload}
    cells = cells_of(PLAIN, given)
    if workload == "search":
        count = 200 if given.quick else 100_000
        return [Group(workload, f"{count:,} documents", "fp32", cells, base | {"documents": count}, "value")]
    count = 40 if given.quick else given.documents if workload == "evaluate" else given.encode
    name = "documents" if workload == "encode" else given.evaluation.name if given.evaluation else None
    if name is None:
        raise SystemExit("--workloads evaluate: needs --evaluation FOLDER, a collection in BEIR layout")
    case = f"{count:,} {name}" if count else name
    return [
        Group(
            workload, f"{case}, length {length}", precision, cells, base | {"documents": count},
            "embeddings" if workload == "encode" else "value", warm_up=workload == "encode",
        )
        for precision in given.precisions
    ]  # fmt: skip


def startup_cells(sides: Sequence[str]) -> list[Cell]:
    """Commands that are timed as a whole; ``{python}`` and ``{folder}`` are filled in."""
    one_step = [
        "-m", "colbert_lab", "+experiment=colbert_zero_kd", "size=full", "evaluation=none",
        "phases.distill.epochs=null", "phases.distill.steps=1",
        "tracking=off", "progress=false", "reuse=false", "output_dir={folder}",
    ]  # fmt: skip
    commands = {
        ("colbert_lab", "--help"): ["-m", "colbert_lab", "--help"],
        ("colbert_lab", "run of one step"): one_step,
        ("pylate", "import of models and losses"): ["-c", "from pylate import models, losses"],
        ("sentence_transformers", "import of the encoder and its trainer"): [
            "-c",
            "from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer",
        ],
    }
    return [
        Cell(side, variant, {"command": command})
        for (side, variant), command in commands.items()
        if side in sides
    ]
