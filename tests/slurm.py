"""A SLURM of one machine, whose nodes are processes: ``sbatch``, ``srun`` and ``sacct`` as submitit calls them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

PROGRAMS = ("sbatch", "srun", "sacct")


def install(folder: Path) -> None:
    """Write the programs; a folder on PATH.

    Args:
        folder: is made.
    """
    folder.mkdir(parents=True)
    for name in PROGRAMS:
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" {name} "$@"\n')
        file.chmod(0o755)


def job(number: int, nodes: int, per_node: int, name: str = "colbert_lab") -> dict[str, str]:
    """What SLURM says in the environment of a job.

    Args:
        number: its id.
        nodes: machines.
        per_node: processes of each.
        name: of the job.
    """
    tasks, machines = str(nodes * per_node), str(nodes)
    return {
        "SLURM_JOB_ID": str(number), "SLURM_JOB_NAME": name, "SLURM_NTASKS": tasks, "SLURM_NNODES": machines,
        "SLURM_NTASKS_PER_NODE": str(per_node), "SLURM_JOB_NUM_NODES": machines, "SLURM_NODELIST": "localhost",
        "SLURM_JOB_NODELIST": "localhost", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip


def task(number: int, per_node: int) -> dict[str, str]:
    """What it says to one of the processes.

    Args:
        number: of the process.
        per_node: processes of a machine.
    """
    place = {"SLURM_NODEID": number // per_node, "SLURM_LOCALID": number % per_node}
    return {name: str(value) for name, value in ({"SLURM_PROCID": number} | place).items()}


def sbatch(arguments: list[str]) -> int:
    """Start a job behind this program, and say its number."""
    text = Path(arguments[-1]).read_text(encoding="utf-8")
    asked = dict(re.findall(r"#SBATCH --([\w-]+)=(.*)", text))
    number = os.getpid()
    environment = job(
        number, int(asked["nodes"]), int(asked["ntasks-per-node"]), asked["job-name"].strip("'\"")
    )
    with Path(arguments[-1]).with_suffix(".log").open("wb") as said:
        subprocess.Popen(
            ["/bin/bash", arguments[-1]], env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=said,
            stderr=said,
        )  # fmt: skip
    print(f"Submitted batch job {number}")
    return 0


def srun(arguments: list[str]) -> int:
    """Run a command in all tasks of this job; where one fails, the others are ended."""
    output = None
    while arguments[0].startswith("--"):
        flag = arguments.pop(0)
        if flag == "--output":
            output = arguments.pop(0)
        elif flag == "--error":
            arguments.pop(0)
    per_node, running = int(os.environ["SLURM_NTASKS_PER_NODE"]), []
    for number in range(int(os.environ["SLURM_NTASKS"])):
        to = None
        if output is not None:
            name = output.replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", str(number))
            to = Path(name).open("wb")  # noqa: SIM115 - the process writes to it
        own = os.environ | task(number, per_node)
        running.append(subprocess.Popen(arguments, env=own, stdout=to, stderr=to))
    codes = [process.wait() for process in running[:1]]
    if codes[0]:
        for process in running[1:]:
            process.terminate()
    codes += [process.wait() for process in running[1:]]
    return max(map(abs, codes))


def sacct(arguments: list[str]) -> int:
    """Say that all jobs run; results are found by their files."""
    print("JobID|State|NodeList")
    for number in (value for flag, value in pairwise(arguments) if flag == "-j"):
        print(f"{number}|RUNNING|localhost")
    return 0


if __name__ == "__main__":
    sys.exit({"sbatch": sbatch, "srun": srun, "sacct": sacct}[sys.argv[1]](sys.argv[2:]))
