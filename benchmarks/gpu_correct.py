"""The parts of ``gpu_check.py`` that check numbers: certificates, and the bits of runs that were resumed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpu_book import Line, impossible, line
from gpu_process import Check, command
from gpu_texts import checked

KERNELS = "late_interaction_kernels"
ROUNDED = ["certify.tolerance.float32.scores=2e-3", "certify.tolerance.float32.gradient=2e-2"]
"""What float16's 10 bits explain: the kernels round embeddings, and near ties go to another token."""
TWO = "schedule=[unsupervised,distill]"
LOOK = 0.002  # seconds between two looks for a checkpoint
STUDENTS = {"bert": "BERT of 6 layers", "modernbert": "ModernBERT-base"}


def student(check: Check, model_type: str) -> list[str]:
    """Arguments of a student with dropout over the synthetic texts, and of where it computes."""
    folder = checked(check.work)
    return [
        "+experiment=colbert_zero", "prompts=inherit",
        f"student.backbone={check.work / model_type}", "student.dropout=0.1",
        f"student.document_length={check.sizes.length}", "student.query_length=32",
        "data=scored_lists", f"data.path={folder}", "data.scores=kd/train.jsonl",
        "data@phases.unsupervised.data=beir", f"phases.unsupervised.data.path={folder}",
        f"trainer.accelerator={'gpu' if check.device == 'cuda' else 'cpu'}",
        f"trainer.precision={'bf16-mixed' if check.device == 'cuda' else '32-true'}",
        f"cache_dir={check.work / 'cache'}", "allow_flat_teacher=true",
        "phases.unsupervised.batch_size=16", "phases.distill.n_way=8",
    ]  # fmt: skip


def certify(check: Check) -> Iterator[Line]:
    """``task=certify`` with dropout of both backbones, and of the fused kernels where they are installed."""
    ways = {
        name: (name, ["certify.checks=[chunking,recomputation,maxsim,attention,precision]"])
        for name in STUDENTS
    }
    if check.quick:
        ways = {name: (name, ["certify.checks=[chunking,recomputation,maxsim]"]) for name in ("bert",)}
    kernels = "trainer.maxsim=kernels"
    missing = None
    if check.device != "cuda":
        missing = "needs a CUDA device"
    elif importlib.util.find_spec(KERNELS) is None:
        missing = "late-interaction-kernels is not installed"
    else:
        ways[kernels] = (
            "bert",
            [
                "certify.checks=[maxsim]",
                kernels,
                "trainer.deterministic=false",
                "schedule=[unsupervised]",
                *ROUNDED,
            ],
        )
    begun, running = time.monotonic(), {}
    for name, (model_type, given) in ways.items():
        out, log = check.work / f"certify-{len(running)}.json", check.work / f"certify-{len(running)}.log"
        out.unlink(missing_ok=True)
        log.write_text("", encoding="utf-8")
        arguments = [
            "task=certify",
            "evaluation=none",
            TWO,
            *student(check, model_type),
            *given,
            f"out={out}",
        ]
        if check.quick:
            arguments += ["certify.micro_batches=1", "certify.queries=4", "certify.documents=4"]
        running[name] = (command(arguments, log, check.threads), out, log)
    for name, (process, out, log) in running.items():
        process.join()
        print(log.read_text(encoding="utf-8"))
        what = STUDENTS.get(name, name)
        if out.is_file():
            yield from _findings(what, json.loads(out.read_text(encoding="utf-8")))
        else:
            yield line(what, f"no certificate (status {process.exitcode}): {_end(log)}", ok=False)
    if missing:
        yield impossible(kernels, missing)
    print(f"certified in {time.monotonic() - begun:.0f} s")


def _end(log: Path) -> str:
    return " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:])


def _findings(what: str, certificate: Mapping[str, Any]) -> Iterator[Line]:
    """A line for each check of a certificate: its worst difference as a share of its tolerance."""
    checks: dict[str, list[dict[str, Any]]] = {}
    for finding in certificate["findings"]:
        checks.setdefault(finding["check"], []).append(finding)
    for check, findings in checks.items():
        failed = [each for each in findings if not each["passed"]]
        shown = "; ".join(map(_said, failed)) or f"worst: {_said(max(findings, key=_share))}"
        yield line(
            f"{what}: {check}", f"{len(findings) - len(failed)} of {len(findings)}; {shown}", not failed,
            findings=findings,
        )  # fmt: skip


def _share(finding: Mapping[str, Any]) -> float:
    if finding["difference"] is None:
        return float("inf")
    return float(finding["difference"] / finding["tolerance"]) if finding["tolerance"] else 0.0


def _said(finding: Mapping[str, Any]) -> str:
    difference = "not a number" if finding["difference"] is None else f"{finding['difference']:.1e}"
    allowed = f"{finding['tolerance']:.1e} allowed" if finding["setting"] else "same bits wanted"
    return f"{finding['phase']}: {finding['what']} {difference} ({allowed})"


def resume(check: Check) -> Iterator[Line]:
    """One run, the same again, one that is killed after a checkpoint and goes on, and one with another seed."""
    steps, every = check.sizes.steps
    common = student(check, "bert")
    common += [f"schedule=[{','.join(check.sizes.phases)}]"]
    # A student is measured before it is trained, as by default: what that computes comes before training begins.
    common += ["evaluation=beir", f"evaluation.path={checked(check.work)}"]
    for phase in check.sizes.phases:
        common += [
            f"phases.{phase}.{key}"
            for key in (
                "epochs=null", f"steps={steps}", f"checkpoint_every={every}", "log_every=1",
                "optimizer.lr=1e-3", "evaluate_every=null", f"document_length={check.sizes.length}",
            )
        ]  # fmt: skip
    common += ["phases.unsupervised.recompute=true", "phases.distill.batch_size=4"]
    seeds = {"one": 1, "again": 1, "killed": 1, "other": 2}

    def start(name: str) -> Any:
        folder = check.work / "resume" / name
        folder.mkdir(parents=True, exist_ok=True)
        return command(
            [*common, f"seed={seeds[name]}", f"output_dir={folder}"], folder / "log", check.threads
        )

    running = {name: start(name) for name in seeds}
    killed = check.work / "resume" / "killed"
    at = _kill_after_checkpoint(running["killed"], killed)
    for process in running.values():
        process.join()
    ended = {name: process.exitcode for name, process in running.items()}
    if at is not None:
        process = start("killed")
        process.join()
        ended["killed"] = process.exitcode
    for name in seeds:
        print(f"--- {name}", (check.work / "resume" / name / "log").read_text(encoding="utf-8"), sep="\n")
    broken = [name for name, status in ended.items() if status]
    if broken:
        log = check.work / "resume" / broken[0] / "log"
        yield line("runs", f"{broken[0]} ended with status {ended[broken[0]]}: {_end(log)}", ok=False)
        return
    bits = {name: weights(check.work / "resume" / name) for name in seeds}
    counted = (
        f"{len(bits['one'])} files of weights after {steps} steps of each of {len(check.sizes.phases)} phases"
    )
    same = bits["one"] == bits["again"]
    yield line("same seed again", f"{'the same' if same else 'other'} bits in {counted}", same)
    if at is None:
        yield line("killed and gone on", "the run ended before it could be killed", ok=False)
    else:
        same = bits["one"] == bits["killed"]
        went_on = "going on from step" in (killed / "log").read_text(encoding="utf-8")
        found = f"killed once {at} was there; {'the same' if same else 'other'} bits in {counted}"
        yield line("killed and gone on", found + ("" if went_on else "; it began anew"), same and went_on)
    differs = bits["one"] != bits["other"]
    found = "other bits" if differs else "the same bits, so that the lines above say nothing"
    yield line("another seed", found, differs)


def _kill_after_checkpoint(process: Any, folder: Path) -> str | None:
    """Kill a run as soon as it has a checkpoint; the file's name, or None where it ended before."""
    while process.is_alive():
        found = sorted(path.name for path in folder.glob("*/*/*/checkpoints/*.ckpt"))
        if found:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            return found[-1] if process.exitcode == -signal.SIGKILL else None
        time.sleep(LOOK)
    return None


def weights(folder: Path) -> dict[str, str]:
    """A hash of every file of weights of the students of a run, by phase and name."""
    found = {}
    for student in sorted(folder.glob("*/*/*/student")):
        for path in sorted(student.rglob("*")):
            if path.suffix in (".safetensors", ".pt", ".bin"):
                name = f"{student.parent.name}/{path.relative_to(student)}"
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
