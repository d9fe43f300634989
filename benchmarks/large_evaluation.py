"""Memory of an evaluation of many short documents, and what a killed one still has to do.

    python benchmarks/large_evaluation.py                        300,000 documents, evaluation.memory=4
    python benchmarks/large_evaluation.py --documents 20000 --memory 0.5 --kill-at 5

A BEIR-layout folder of random words (about 20 a document, 20 queries that are parts of documents) is made in a
temporary folder and evaluated by ``task=evaluate`` with an untrained student of one narrow layer and 128 dimensions
(what is measured is memory, not quality): 300,000 documents are about 4.5 GB of token embeddings. The command is killed
(SIGKILL) when 13 of its shards are there, started again, and runs to its end. Prints the most anonymous memory of each
command (RssAnon of /proc: mapped files do not count, the system takes their pages back), its seconds, and how many
shards were there. ``evaluation.memory`` is in GiB.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from anonymous_memory import anonymous_mib

from colbert_lab.records.environment import hardware_label

ROOT = Path(__file__).resolve().parent.parent
WORDS, QUERIES = 20, 20
ARCHITECTURE = (
    "{model_type: bert, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 1, intermediate_size: 64}"
)


def write_collection(folder: Path, documents: int) -> None:
    """Random words from the words of this Python's own keywords and modules, so that the tokenizer knows them."""
    generator = random.Random(0)
    known = sorted({word for name in sys.stdlib_module_names for word in re.findall("[a-z]{3,}", name)})
    (folder / "qrels").mkdir(parents=True)
    queries = []
    with (folder / "corpus.jsonl").open("w") as file:
        for n in range(documents):
            words = generator.choices(known, k=generator.randint(WORDS // 2, WORDS * 3 // 2))
            file.write(json.dumps({"_id": f"d{n}", "title": "", "text": " ".join(words)}) + "\n")
            if n % (documents // QUERIES) == 0 and len(queries) < QUERIES:
                queries.append((f"q{n}", f"d{n}", " ".join(words[::2])))
    with (folder / "queries.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": name, "text": text}) + "\n" for name, _, text in queries)
    lines = [f"{name}\t{document}\t1\n" for name, document, _ in queries]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))


def shards(cache: Path) -> int:
    """Shards that are whole."""
    return len(list((cache / "embeddings").rglob("shard.json")))


def execute(command: list[str], cache: Path, until: int | None) -> tuple[float, float, int, str]:
    """Run a command, and kill it when so many shards are there; seconds, peak MiB, most shards seen, output.

    Raises:
        SystemExit: it failed; what it said is printed.
    """
    begun, peak, most = time.perf_counter(), 0.0, 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, cwd=ROOT)
        killed = False
        while process.poll() is None:
            with suppress(OSError, ValueError):  # it ends meanwhile
                peak = max(peak, anonymous_mib(process.pid))
            most = max(most, shards(cache))
            if until is not None and most >= until:
                process.kill()
                process.wait()
                killed = True
                break
            time.sleep(0.2)
        said.seek(0)
        text = said.read().decode()
    if process.returncode and not killed:
        sys.exit(text)
    return time.perf_counter() - begun, peak, most, text


def main() -> None:
    """Make the collection, run the two commands, print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--memory", type=float, default=4)
    parser.add_argument(
        "--kill-at", type=int, default=13, help="shards that are whole when the first one is killed"
    )
    arguments = parser.parse_args()
    print(f"machine: {hardware_label()}, {platform.platform()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        write_collection(place / "collection", arguments.documents)
        cache = place / "cache"
        command = [
            *(sys.executable, "-m", "colbert_lab", "task=evaluate", "name=large"),
            f"student.architecture={ARCHITECTURE}",
            *("evaluation=beir", f"evaluation.path={place / 'collection'}", "evaluation.split=test"),
            *(
                "evaluation.headline=null",
                f"evaluation.memory={arguments.memory:g}",
                "trainer.accelerator=cpu",
            ),
            *(f"output_dir={place / 'out'}", f"cache_dir={cache}", "tracking=off", "progress=false"),
        ]
        print(f"{arguments.documents:,} documents, evaluation.memory={arguments.memory:g}", flush=True)
        seconds, peak, first, _ = execute(command, cache, until=arguments.kill_at)
        what = "killed" if first >= arguments.kill_at else "NOT killed"
        print(f"{what} with {first} shards: {seconds:.0f} s, {peak:,.0f} MiB", flush=True)
        seconds, peak, most, _ = execute(command, cache, until=None)
        print(
            f"the same command: {seconds:.0f} s, {peak:,.0f} MiB; {first} of {most} shards were there",
            flush=True,
        )
        limit = arguments.memory * 1024 + 1536
        print(f"{'within' if peak < limit else 'ABOVE'} evaluation.memory plus 1.5 GiB ({limit:,.0f} MiB)")


if __name__ == "__main__":
    main()
