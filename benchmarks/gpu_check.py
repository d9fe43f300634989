"""One command that checks and measures colbert_lab on one GPU in less than ten minutes, with nothing to download.

    python benchmarks/gpu_check.py --out DIR                       everything, on one H100 or H200
    python benchmarks/gpu_check.py --out DIR --parts certify,resume --minutes 4
    python benchmarks/gpu_check.py --out DIR --again gradcache     repeat a part that is finished
    python benchmarks/gpu_check.py --out DIR --device cpu --quick  tiny sizes on a CPU: does every part run

Weights are random, in the shape of ModernBERT-base (22 layers, 768 wide, 149M parameters; certify and resume also have
a BERT of 6 layers, 384 wide), and texts are synthetic. ``DIR/gpu_check.json`` and ``DIR/gpu_check.md`` are written
after each part: every line passed, failed, was not possible here, or was not reached, with its numbers or the reason.
``DIR/gpu_check.log`` has all that was printed, and the traceback of a part that broke off. The same command goes on
with parts that did not run to their end.

Each part has a process of its own and a time limit, and the whole has ``--minutes``. The plan for ten minutes, in the
order of the parts, in seconds for one H200 (an H100 has the same arithmetic). What is bound by arithmetic is counted
from its operations: bf16 at half of 790 TFLOP/s, float32 without TF32 at 50 TFLOP/s. ``--plan`` prints it.

    prepare     25   texts, two random backbones, one student in files
    machine      8   matrix products of bf16, float32 and TF32 (8192 x 8192), copies
    certify     60   task=certify with dropout: chunks, GradCache on and off, MaxSim, attention, bf16, of both
                     backbones; late-interaction-kernels against the formula; three commands at the same time
    resume      45   four runs of two phases at the same time: the same seed twice, killed after a checkpoint and gone
                     on, another seed; the bits of all weights
    maxsim      20   4,096 queries x 4,096 documents of 180 tokens, forward and backward: torch (24 TFLOP forward,
                     0.5 s), with TF32, and by kernels
    steps       30   distillation 16 x 16 (46,592 tokens, 31 TFLOP, 0.08 s) and contrastive 32 x 8 (47,104 tokens, 31
                     TFLOP, 0.08 s) at the default token budget, at 65,536, and there without determinism: seconds,
                     MFU, peak memory; each case reads its student anew
    options     72   distillation with torch.compile, contrastive with TF32, distillation without padding and in bf16
                     alone, at 65,536; making kernels takes most of it
    encode      13   8,192 documents (1.4M tokens, 0.3 PFLOP, 0.8 s; tokenising takes longer)
    search      19   512 queries, 100,000 documents of 64 tokens, 128 dimensions (27 TFLOP in float32, 0.5 s); an
                     upper bound for blocks that are sized for a CPU
    gradcache  105   16,384 pairs (3.5M tokens; encoder 3.1 PFLOP with recomputation, 8 s; tokenising 3 s) with the
                     fused kernels, then with torch, whose MaxSim alone is 1.6 PFLOP in float32 (32 s, and as much
                     again for passes over the similarities in memory)
    peers      140   distillation 16 x 16 and GradCache of 512 pairs in turns with PyLate 1.6.0 (its default takes
                     late-interaction-kernels where they are installed) and sentence-transformers 6.2.0
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from gpu_book import IMPOSSIBLE, Book, Line, line, unreached  # noqa: E402
from gpu_process import Check, run_part, server  # noqa: E402
from gpu_sizes import FULL, QUICK, expected  # noqa: E402

PARTS = {
    "prepare": ("gpu_speed:prepared", 180.0),
    "machine": ("gpu_speed:machine", 40.0),
    "certify": ("gpu_correct:certify", 150.0),
    "resume": ("gpu_correct:resume", 120.0),
    "maxsim": ("gpu_search:maxsim", 90.0),
    "steps": ("gpu_speed:steps", 120.0),
    "options": ("gpu_speed:options", 150.0),
    "encode": ("gpu_speed:encode", 60.0),
    "search": ("gpu_search:search", 90.0),
    "gradcache": ("gpu_speed:gradcache", 200.0),
    "peers": ("gpu_peers:peers", 240.0),
}
"""Where each part is, and the seconds that it may take; in the order in which they run."""
FIRST = "prepare"
LEAST = 15.0  # seconds that have to be left for a part to begin


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="a folder for the report; one that is there is gone on from")
    parser.add_argument(
        "--work", type=Path, help="a folder for texts, weights and runs (4 GB); default: OUT/work"
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--parts", help=f"some of them, with commas between: {', '.join(list(PARTS)[1:])}")
    parser.add_argument("--again", action="append", default=[], metavar="PART", help="repeat a finished part")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument(
        "--threads", type=int, help="of torch on the CPU; default: half of the cores, 8 at most"
    )
    parser.add_argument(
        "--pylate", type=Path, help="Python of an environment with pylate==1.6.0; default: this one"
    )
    parser.add_argument("--sentence-transformers", type=Path, help="with sentence-transformers==6.2.0")
    parser.add_argument("--plan", action="store_true", help="print expected seconds and stop")
    given = parser.parse_args()
    given.parts = list(PARTS) if given.parts is None else given.parts.split(",")
    unknown = [name for name in (*given.parts, *given.again) if name not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]}; there are {', '.join(PARTS)}")
    if given.out is None and not given.plan:
        parser.error("--out is needed")
    return given


def main() -> int:
    """Run what is missing; 1 where a line failed."""
    begun = time.monotonic()
    given = options()
    sizes = QUICK if given.quick else FULL
    if given.plan:
        for name, seconds in (plan := expected(sizes)).items():
            print(f"{name:10} {seconds:6.0f} s")
        print(f"{'all':10} {sum(plan.values()):6.0f} s")
        return 0
    out: Path = given.out.resolve()
    work: Path = (given.work or out / "work").resolve()
    for folder in (out, work):
        folder.mkdir(parents=True, exist_ok=True)
    book = Book(out, {"device": given.device, "sizes": "tiny (--quick)" if given.quick else "full"})
    threads = given.threads or max(1, min(8, (os.cpu_count() or 2) // 2))
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    # torch reads it at its first product of matrices, and training is deterministic.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    pythons = {"pylate": given.pylate, "sentence_transformers": given.sentence_transformers}
    check = Check(given.device, given.quick, sizes, work, pythons, threads)
    wanted = [n for n in PARTS if n in given.parts and (n in given.again or not book.finished(n))]
    if wanted not in ([], [FIRST]):
        run(check, book, [FIRST, *(name for name in wanted if name != FIRST)], begun + given.minutes * 60)
    print(book.table())
    return int(book.failed)


def run(check: Check, book: Book, wanted: Sequence[str], deadline: float) -> None:
    """Run parts in turn and write each down.

    Args:
        check: what all are told.
        book: where lines go.
        wanted: the parts, the first one being what the others need.
        deadline: monotonic time at which the last one ends.
    """
    context, log, ready = server(), book.out / "gpu_check.log", True
    for name in wanted:
        place, limit = PARTS[name]
        begun = time.monotonic()
        left, ended = deadline - begun, False
        if not ready or left < LEAST:
            reason = f"{max(0.0, left):.0f} s were left" if ready else f"{FIRST} has failed"
            lines = [unreached("everything", reason)]
            if name in book.parts:  # what is known of it says more
                continue
        else:
            lines, why = run_part(context, name, place, replace(check, seconds=min(limit, left)), log)
            ended = why is None
            if why is not None:
                lines.append(line("it broke off", f"{why} (see {log.name})", ok=False))
        if name == FIRST:
            ready = ended
        book.add(name, lines, time.monotonic() - begun, ended)
        _say(name, lines)


def _say(part: str, lines: list[Line]) -> None:
    for each in lines:
        print(f"{part}: {each['what']}: {each['outcome']}: {each['found']}", flush=True)
    if all(each["outcome"] == IMPOSSIBLE for each in lines):
        print(f"{part}: is tried again by the next command", flush=True)


if __name__ == "__main__":
    sys.exit(main())
