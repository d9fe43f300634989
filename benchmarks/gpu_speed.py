"""The parts of ``gpu_check.py`` that time training and encoding, by colbert_lab's side of the suite."""

from __future__ import annotations

import gc
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from gpu_book import Line, impossible, line
from gpu_process import Check
from gpu_texts import collection
from suite_texts import Collection, list_batches, pair_batches
from talk import Suite

GIB = 2**30
KERNELS = "late_interaction_kernels"
FREE = ["trainer.deterministic=false"]
WITH_KERNELS = ["trainer.maxsim=kernels", *FREE]
TRIES = 5


class Alone(Suite):
    """In place of the suite: commands so many steps, and keeps what a side answers.

    Args:
        spec: what to do, see ``suite.py``.
        texts: of the workload.
        steps: that are taken.

    Attributes:
        ready: what the side said before its first step.
        answers: what it said after each.
    """

    def __init__(self, spec: dict[str, Any], texts: dict[str, Any], steps: int) -> None:
        self.spec, self.texts, self.left = spec, texts, steps
        self.ready: dict[str, Any] = {}
        self.answers: list[dict[str, Any]] = []
        self.tokenising = self.encoding = 0.0

    def tell(self, **values: Any) -> None:
        """Keep an answer."""
        if "ready" in values:
            self.ready = values
        else:
            self.answers.append(values)

    def wait(self) -> None:
        """Start the clock for the next step.

        Raises:
            SystemExit: there is none.
        """
        if not self.left:
            raise SystemExit(0)
        self.left -= 1
        self.tokenising = self.encoding = 0.0
        if self.spec["device"] == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self._before = None
        self._begun = time.perf_counter()


def wait_for(device: str) -> None:
    """Wait for what a GPU still computes."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(device: str, compute: Callable[[], object], tries: int = TRIES) -> float:
    """Median seconds of a computation, after one that does not count."""
    compute()
    taken = []
    for _ in range(tries):
        wait_for(device)
        begun = time.perf_counter()
        compute()
        wait_for(device)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def matrix_rate(check: Check, dtype: torch.dtype) -> float:
    """Operations a second of a product of square matrices of random numbers: on ones a GPU is faster than on data."""
    side = check.sizes.matrix
    generator = torch.Generator(check.device).manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator, device=check.device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2.0 * side**3 / timed(check.device, lambda: torch.mm(a, b, out=out))


def machine(check: Check) -> Iterator[Line]:
    """What the device is, and what it reaches: matrix products, copies."""
    import numpy
    import pytorch_lightning
    import transformers

    versions = {
        "torch": torch.__version__, "transformers": transformers.__version__, "numpy": numpy.__version__,
        "pytorch-lightning": pytorch_lightning.__version__, "CUDA": torch.version.cuda,
    }  # fmt: skip
    name = "CPU"
    if check.device == "cuda":
        facts = torch.cuda.get_device_properties(0)
        name = (
            f"{facts.name}, {facts.total_memory / GIB:.0f} GiB, {facts.multi_processor_count} multiprocessors"
        )
    said = ", ".join(f"{key} {value}" for key, value in versions.items() if value)
    yield line("device", f"{name}; {said}", versions=versions)
    kinds = {"bf16": torch.bfloat16, "fp32": torch.float32}
    rates = {kind: matrix_rate(check, dtype) for kind, dtype in kinds.items()}
    if check.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        rates["fp32 by TF32"] = matrix_rate(check, torch.float32)
        torch.backends.cuda.matmul.allow_tf32 = False
    said = ", ".join(f"{kind} {rate / 1e12:.3g}" for kind, rate in rates.items())
    yield line(
        "matrix products, TFLOP/s", f"{said} ({check.sizes.matrix} x {check.sizes.matrix})", rates=rates
    )
    if check.device != "cuda":
        return
    size = GIB // 4
    there, host = torch.empty(size, device="cuda"), torch.zeros(size)
    copies = {"within the device": 2 * GIB / timed("cuda", lambda: there.clone())}
    copies["to it from pageable memory"] = GIB / timed("cuda", lambda: there.copy_(host))
    pinned = host.pin_memory()
    copies["to it from pinned memory"] = GIB / timed("cuda", lambda: there.copy_(pinned, non_blocking=True))
    said = ", ".join(f"{rate / 1e9:.0f} {way}" for way, rate in copies.items())
    yield line("copies, GB/s", said, copies=copies)


def texts_of(check: Check, kind: str, count: int, size: int, ways: int) -> dict[str, Any]:
    """Batches of the synthetic collection: ``distillation``, ``contrastive``, or pairs for ``cached``."""
    found = Collection.folder(collection(check.work))
    if kind == "cached":
        return {"batches": pair_batches(found, count, size)}
    return {"batches": list_batches(found, count, size, ways, kind == "distillation")}


def spec_of(check: Check, loss: str, **values: Any) -> dict[str, Any]:
    """What colbert_lab's side of the suite is told, but for what a case changes."""
    return {
        "kind": "train", "loss": loss, "defaults": False, "lr": 1e-5, "temperature": 0.02 if loss == "cached" else 0.2,
        "precision": "bf16", "threads": check.threads, "device": check.device, "variant": {}, "compared": 0,
        "document_length": check.sizes.length, "weights": str(check.work / "weights" / "same" / "colbert_lab"),
        "folder": str(check.work), "side": "colbert_lab", "overrides": [],
    } | values  # fmt: skip


def trained(spec: dict[str, Any], texts: dict[str, Any], steps: int) -> Alone:
    """Take steps as colbert_lab's side of the suite does."""
    import colbert_lab_side as side

    from colbert_lab.training.precision import prepare_torch

    alone, cfg = Alone(spec, texts, steps), side.config(spec)
    prepare_torch(spec["threads"], float32_matmul=cfg.trainer.float32_matmul)
    with suppress(SystemExit):
        side.training(alone, cfg)
    gc.collect()  # trainers refer to themselves, and their tensors would count as memory of the next steps
    if spec["device"] == "cuda":
        torch.cuda.empty_cache()
    return alone


def medians(answers: list[dict[str, Any]]) -> dict[str, float]:
    """Medians of the seconds of steps with and without tokenising, and of what belongs to one of them."""
    found = {"seconds": statistics.median(each["seconds"] for each in answers)}
    found["computing"] = statistics.median(each["seconds"] - each.get("tokenising", 0) for each in answers)
    for name in ("flops", "tokens", "padded", "loss"):
        if name in answers[-1]:
            found[name] = answers[-1][name]
    peaks = [each["peak of the device"] for each in answers if "peak of the device" in each]
    return found | ({"peak": max(peaks)} if peaks else {})


def shown(found: dict[str, float], rate: float, unit: str, count: int) -> str:
    """Seconds, rate, MFU and memory of a step, in words."""
    seconds, computing = found["seconds"], found["computing"]
    said = [
        f"{seconds:.3g} s a step ({computing:.3g} without tokenising), {count / seconds:,.0f} {unit} a second"
    ]
    said.append(f"{found['tokens'] / seconds:,.0f} tokens a second")
    share = found["flops"] / rate
    said.append(f"MFU {share / seconds:.1%} ({share / computing:.1%} without tokenising)")
    if "peak" in found:
        said.append(f"peak {found['peak'] / GIB:.1f} GiB")
    return ", ".join(said)


def steps(check: Check) -> Iterator[Line]:
    """Distillation and contrastive steps at the default token budget and a large one, and without determinism."""
    rate, sizes = matrix_rate(check, torch.bfloat16), check.sizes
    for kind, (size, ways) in (("distillation", sizes.distill), ("contrastive", sizes.contrastive)):
        texts = texts_of(check, kind, sizes.rounds + 1, size, ways)
        cases = [(_budget(each), _budgeted(each)) for each in sizes.budgets]
        if check.device == "cuda":
            cases.append((f"{_budget(sizes.budgets[-1])}, not deterministic", _budgeted(sizes.budgets[-1])))
        for name, variant in cases:
            spec = spec_of(check, kind, batch_size=size, n_way=ways, variant=variant)
            if "not" in name:
                spec["overrides"] = FREE
            what = f"{kind}, {size} x {ways}, {name}"
            alone = trained(spec, texts, sizes.rounds + 1)
            answers, settings = alone.answers[1:], alone.ready["settings"]
            found = medians(answers)
            said = shown(found, rate, "queries", size) + f", attention {settings['attention']}"
            said += ", activations computed twice" if settings["recompute"] else ""
            yield line(what, said, rounds=answers, rate=rate, settings=settings, **found)


def options(check: Check) -> Iterator[Line]:
    """Steps with what is off by default, at the largest token budget: torch.compile, TF32, no padding, bf16 alone."""
    rate, sizes = matrix_rate(check, torch.bfloat16), check.sizes
    backend = "inductor" if check.device == "cuda" else "eager"
    cases = {
        f"trainer.compile={backend}": ("distillation", sizes.distill),
        "trainer.float32_matmul=high": ("contrastive", sizes.contrastive),
        "student.attention=packed": ("distillation", sizes.distill),
        "trainer.precision=bf16-true": ("distillation", sizes.distill),
    }
    for override, (kind, (size, ways)) in cases.items():
        texts = texts_of(check, kind, sizes.rounds + 2, size, ways)
        values = {"variant": _budgeted(sizes.budgets[-1]), "overrides": [override]}
        spec = spec_of(check, kind, batch_size=size, n_way=ways, **values)
        alone = trained(spec, texts, sizes.rounds + 2)
        found = medians(alone.answers[2:])  # kernels are made anew where sizes turn out to vary
        said = f"{shown(found, rate, 'queries', size)}, first step {alone.answers[0]['seconds']:.1f} s"
        yield line(f"{kind}, {size} x {ways}, {override}", said, rounds=alone.answers, rate=rate, **found)


def _budget(budget: int | None) -> str:
    return "default token budget" if budget is None else f"token budget {budget:,}"


def _budgeted(budget: int | None) -> dict[str, Any]:
    return {} if budget is None else {"token_budget": budget}


def gradcache(check: Check) -> Iterator[Line]:
    """One contrastive step of very many pairs with activations computed twice, after one of few."""
    rate, sizes = matrix_rate(check, torch.bfloat16), check.sizes
    variant = {"recompute": True, "token_budget": sizes.cached_budget}
    small, large = (texts_of(check, "cached", 1, size, 1) for size in (sizes.warm_up, sizes.pairs))
    ways = {"trainer.maxsim=kernels": WITH_KERNELS, "trainer.maxsim=torch": []}
    for name, overrides in ways.items():
        what = f"{sizes.pairs:,} pairs, {_budget(sizes.cached_budget)}, {name}"
        if (missing := no_kernels(check)) and overrides:
            yield impossible(what, missing)
            continue
        values = {"n_way": 1, "variant": variant, "overrides": overrides}
        trained(spec_of(check, "cached", batch_size=sizes.warm_up, **values), small, 1)
        answers = trained(spec_of(check, "cached", batch_size=sizes.pairs, **values), large, 1).answers
        found = medians(answers)
        yield line(what, shown(found, rate, "pairs", sizes.pairs), rounds=answers, rate=rate, **found)


def no_kernels(check: Check) -> str | None:
    """Why the fused kernels cannot run here; None where they can."""
    if check.device != "cuda":
        return "needs a CUDA device"
    return None if importlib.util.find_spec(KERNELS) else "late-interaction-kernels is not installed"


def encode(check: Check) -> Iterator[Line]:
    """Encoding documents in bf16 as an evaluation does."""
    import colbert_lab_side as side

    rate, sizes = matrix_rate(check, torch.bfloat16), check.sizes
    rows = (collection(check.work) / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {"documents": [json.loads(row)["text"] for row in rows[: sizes.encoded]]}
    for budget in sizes.budgets:
        overrides = [] if budget is None else [f"evaluation.token_budget={budget}"]
        embeddings = str(check.work / "embeddings.npz")
        spec = spec_of(check, "distillation", kind="encode", embeddings=embeddings, overrides=overrides)
        alone = Alone(spec, texts, 2)
        with suppress(SystemExit):
            side.encoding(alone, side.config(spec))
        found = medians(alone.answers[1:])
        count = len(texts["documents"])
        seconds = found["seconds"]
        said = f"{count / seconds:,.0f} documents a second, {found['tokens'] / seconds:,.0f} tokens a second"
        said += f" with tokenising, MFU {found['flops'] / rate / seconds:.1%}"
        if "peak" in found:
            said += f", peak {found['peak'] / GIB:.1f} GiB"
        yield line(f"{count:,} documents, {_budget(budget)}", said, rate=rate, **found)


def prepared(check: Check) -> Iterator[Line]:
    """The synthetic texts and random students that the other parts use."""
    from gpu_texts import prepare

    prepare(check.work, check.sizes)
    yield line("texts and students", f"{check.sizes.documents:,} documents in {check.work.name}")
