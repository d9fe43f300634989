"""How large the work of ``gpu_check.py`` is, and how long a Hopper GPU is expected to take for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RATE = 790e12 * 0.5  # bf16 operations a second: half of what a large matrix product reaches on an H200
FLOAT32 = 50e12  # float32 operations a second without TF32
GRADCACHE = 4 / 3  # operations of a step that computes its activations twice, of one that keeps them
START = 4.0  # seconds of a process: its CUDA context, reading the student, a first product of large matrices


@dataclass(frozen=True)
class Sizes:
    """Sizes of all parts.

    Attributes:
        shape: settings of the configuration of the ModernBERT student; what is left out is ModernBERT-base.
        small: such settings of the BERT that correctness is checked with.
        vocabulary: tokens of the ModernBERT student; the BERT has the words alone.
        words: different words of the texts.
        documents: of the collection.
        document_words: the fewest and the most of a document.
        length: tokens of a document at most.
        positions: that both backbones can read.
        lists: queries with a teacher's scores, and documents of each.
        checked: documents, queries, and documents of a query, of the smaller collection of certify and resume.
        distill: queries of a distillation step, and documents of each.
        contrastive: queries of a contrastive step, and documents of each.
        budgets: token budgets that steps and encoding are measured with; None for the defaults.
        pairs: of the GradCache step.
        cached_budget: its token budget.
        warm_up: pairs of the step before it.
        rounds: steps that are timed after a first one.
        scored: queries, and documents, of the MaxSim that is timed alone.
        encoded: documents.
        searched: queries, and documents of 64 tokens in 128 dimensions.
        peers_pairs: pairs of the step that is compared with other libraries.
        peers_rounds: steps of each.
        phases: of a run that is killed and goes on.
        steps: of each of its phases, and steps between checkpoints.
        matrix: side of the matrices whose product is timed.
        tokenised: texts a second that one process tokenises, for the plan.
    """

    shape: dict[str, Any] = field(default_factory=dict)
    small: dict[str, Any] = field(
        default_factory=lambda: {
            "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536,
        }
    )  # fmt: skip
    vocabulary: int = 50_368
    words: int = 20_000
    documents: int = 20_000
    document_words: tuple[int, int] = (140, 200)
    length: int = 180
    positions: int = 512
    lists: tuple[int, int] = (400, 100)
    checked: tuple[int, int, int] = (600, 80, 40)
    distill: tuple[int, int] = (16, 16)
    contrastive: tuple[int, int] = (32, 8)
    budgets: tuple[int | None, ...] = (None, 65_536)
    pairs: int = 16_384
    cached_budget: int = 32_768
    warm_up: int = 256
    rounds: int = 3
    scored: int = 4_096
    encoded: int = 8_192
    searched: tuple[int, int] = (512, 100_000)
    peers_pairs: int = 512
    peers_rounds: int = 3
    phases: tuple[str, ...] = ("unsupervised", "distill")
    steps: tuple[int, int] = (40, 16)
    matrix: int = 8_192
    tokenised: float = 6_000.0


FULL = Sizes()
QUICK = Sizes(
    shape={
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
        "local_attention": 8,
    },
    small={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    vocabulary=400, words=300, documents=120, document_words=(6, 16), length=16, positions=64,
    lists=(20, 12), checked=(60, 24, 8), distill=(2, 4), contrastive=(2, 4), budgets=(128,),
    pairs=24, cached_budget=128, warm_up=4, rounds=1, scored=16, encoded=40, searched=(4, 200),
    peers_pairs=8, peers_rounds=1, phases=("unsupervised",), steps=(6, 2), matrix=128,
)  # fmt: skip
MATRIX_WEIGHTS = 111e6  # of ModernBERT-base, its table of tokens left out: 2 operations each for a token


def expected(sizes: Sizes) -> dict[str, float]:
    """Seconds that each part is expected to take on an H100 or H200, from its operations at ``RATE``.

    What is bound by starting processes, launching small kernels or tokenising is an estimate from runs on CPUs.
    """
    tokens = sizes.length + 32.0  # of a pair
    forward = 2 * MATRIX_WEIGHTS
    distilled = (sizes.distill[0] * (32 + sizes.distill[1] * sizes.length)) * 3 * forward / RATE
    contrasted = (sizes.contrastive[0] * (32 + sizes.contrastive[1] * sizes.length)) * 3 * forward / RATE
    ways, steps = len(sizes.budgets) + 1, sizes.rounds + 1
    # With small chunks, launching kernels takes several times as long as computing.
    step = ways * (2 * START + steps * 3 * (distilled + contrasted))
    encoder = sizes.pairs * tokens * 3 * forward * GRADCACHE / RATE
    tokenised = sizes.pairs / sizes.tokenised
    return {
        "prepare": 25.0,
        "machine": 8.0,
        "certify": 60.0,
        "resume": 45.0,
        "maxsim": START + 4 * all_pairs(sizes.scored, sizes.length),
        "steps": step,
        "options": 72.0,
        "encode": len(sizes.budgets) * (START + 2 * sizes.encoded / sizes.tokenised),
        "search": START + 15.0,
        "gradcache": 2 * (START + encoder + tokenised) + 1.2 * all_pairs(sizes.pairs, sizes.length),
        "peers": 4 * 35.0,
    }


def all_pairs(texts: int, length: int) -> float:
    """Seconds of MaxSim of so many queries of 32 tokens with as many documents, forward and backward, in float32.

    Four matrix products; passes over the similarities in memory take about as long.
    """
    return 2 * 4 * 2.0 * texts**2 * 32 * length * 128 / FLOAT32
