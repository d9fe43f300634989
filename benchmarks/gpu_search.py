"""The parts of ``gpu_check.py`` that time MaxSim: of a batch forward and backward, and exact search of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from gpu_book import Line, impossible, line
from gpu_process import Check
from gpu_speed import GIB, no_kernels, timed, wait_for
from torch import Tensor

from colbert_lab.base.types import Embeddings, PackedEmbeddings
from colbert_lab.model.backends import AllPairs, maxsim_blocked, maxsim_kernels
from colbert_lab.model.maxsim import maxsim as reference
from colbert_lab.search.exact import search as exact
from colbert_lab.search.store import in_memory

DIM, QUERY_TOKENS, DOCUMENT_TOKENS = 128, 32, 64
SAMPLE = 8  # queries and documents whose scores are computed again in float64
TOP = 100
CHUNK = 512  # documents of a chunk of MaxSim
ALLOWED = {"torch": 1e-5, "kernels": 5e-3, "TF32": 5e-3}
"""Differences of scores from float64, as shares of the largest: roundings of float32, and of TF32's 10 bits."""


def unit(shape: Sequence[int], device: str, seed: int) -> Tensor:
    """Random unit vectors."""
    generator = torch.Generator(device).manual_seed(seed)
    values = torch.randn(*shape, generator=generator, device=device)
    return torch.nn.functional.normalize(values, dim=-1)


def maxsim(check: Check) -> Iterator[Line]:
    """All queries against all documents, forward and backward, in blocks of torch and by fused kernels."""
    count, length, device = check.sizes.scored, check.sizes.length, check.device
    ways: dict[str, AllPairs | None] = {
        "torch": maxsim_blocked,
        "TF32": maxsim_blocked,
        "kernels": maxsim_kernels,
    }
    for name, way in ways.items():
        what = f"{count:,} queries x {count:,} documents of {length} tokens, {name}"
        missing = no_kernels(check) if name == "kernels" else None
        if name == "TF32" and device != "cuda":
            missing = "needs a CUDA device"
        if missing or way is None:
            yield impossible(what, str(missing))
            continue
        torch.backends.cuda.matmul.allow_tf32 = name == "TF32"
        yield _scored(what, name, way, check)
        torch.backends.cuda.matmul.allow_tf32 = False


def _scored(what: str, name: str, way: AllPairs, check: Check) -> Line:
    count, length, device = check.sizes.scored, check.sizes.length, check.device
    queries = _embeddings(unit((count, QUERY_TOKENS, DIM), device, 1))
    documents = [
        _embeddings(unit((min(CHUNK, count - first), length, DIM), device, 2 + first))
        for first in range(0, count, CHUNK)
    ]
    weights = torch.rand(count, count, generator=torch.Generator(device).manual_seed(0), device=device)
    way(queries, documents)  # compiles kernels
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if device == "cuda" else 0
    found: dict[str, Any] = {}

    def forward() -> None:
        found["scores"] = way(queries, documents)

    def both() -> None:
        forward()
        (found["scores"] * weights).sum().backward()

    forwards, whole = timed(device, forward, 1), timed(device, both, 1)
    some = slice(0, min(SAMPLE, count))
    with torch.no_grad():
        truth = reference(_first(queries, some), _first(documents[0], some))
        apart = (found["scores"][some, some].double() - truth).abs().max() / truth.abs().max()
    operations = 2.0 * count**2 * QUERY_TOKENS * length * DIM
    said = (
        f"forward {forwards:.3g} s ({operations / forwards / 1e12:.3g} TFLOP/s), with backward {whole:.3g} s"
    )
    if device == "cuda":
        said += f", {(torch.cuda.max_memory_allocated() - before) / GIB:.2f} GiB beside the embeddings"
    said += f"; scores differ from float64 by {float(apart):.1e} ({ALLOWED[name]:.0e} allowed)"
    ok = float(apart) <= ALLOWED[name]
    return line(what, said, ok, forward=forwards, both=whole, difference=float(apart))


def _embeddings(values: Tensor) -> Embeddings:
    mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return Embeddings(values.requires_grad_(), mask)


def _first(embeddings: Embeddings, rows: slice) -> Embeddings:
    return Embeddings(embeddings.emb_NLD[rows].double(), embeddings.mask_NL[rows])


def search(check: Check) -> Iterator[Line]:
    """Exact search of a corpus in the machine's memory, as an evaluation does, and the products alone on the device."""
    queries, documents = check.sizes.searched
    device = torch.device(check.device)
    corpus_TD = unit((documents * DOCUMENT_TOKENS, DIM), check.device, 1)
    query_TD = unit((queries * QUERY_TOKENS, DIM), check.device, 2)
    # A query's first tokens are those of one document, so that it is known what is found first.
    wanted = torch.arange(queries) * (documents // queries)
    rows = (wanted[:, None] * DOCUMENT_TOKENS + torch.arange(QUERY_TOKENS // 2)).flatten().to(device)
    query_TD.view(queries, QUERY_TOKENS, DIM)[:, : QUERY_TOKENS // 2] = corpus_TD[rows].view(queries, -1, DIM)
    store = in_memory(PackedEmbeddings(corpus_TD.cpu(), torch.full((documents,), DOCUMENT_TOKENS)))
    packed = PackedEmbeddings(query_TD.cpu(), torch.full((queries,), QUERY_TOKENS))
    found: dict[str, Tensor] = {}

    def run() -> None:
        _, found["rows"] = exact(packed, store, torch.arange(documents), TOP, device=device)

    def floor() -> None:
        block = max(1, 2**28 // len(query_TD))
        for first in range(0, len(corpus_TD), block):
            torch.mm(query_TD, corpus_TD[first : first + block].T)

    if check.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    floors = timed(check.device, floor, 1)
    before = torch.cuda.memory_allocated() if check.device == "cuda" else 0
    seconds = timed(check.device, run, 1)
    wait_for(check.device)
    first = bool((found["rows"][:, 0] == wanted).all())
    what = f"{queries:,} queries of {QUERY_TOKENS} tokens, {documents:,} documents of {DOCUMENT_TOKENS} tokens, fp32"
    said = f"{queries / seconds:,.1f} queries a second ({seconds:.3g} s; products alone, on the device {floors:.3g} s)"
    if check.device == "cuda":
        said += f", peak {(torch.cuda.max_memory_allocated() - before) / GIB:.2f} GiB beside the corpus"
    said += "" if first else "; a query's own document was not found first"
    yield line(what, said, first, seconds=seconds, floor=floors)
