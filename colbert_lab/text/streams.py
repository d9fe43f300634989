"""Take rows from a dataset's stream: only what is read is downloaded, and what was read is kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import datasets
from datasets.arrow_writer import ArrowWriter
from tqdm.auto import tqdm

from colbert_lab.atomic import atomic_folder
from colbert_lab.text.fingerprint import fingerprint, folder_state

BUFFER = 10_000  # rows among which the next one is drawn
SEED = 0
log = logging.getLogger(__name__)


def read_streams(
    path: str, *, split: str | None, revision: str | None, rows: int, folder: Path
) -> dict[str, datasets.Dataset]:
    """The first rows of each split's shuffled stream, as memory-mapped datasets.

    Training wants rows by number (exact resume, one order for all processes, no document twice in a batch), which a
    stream cannot give. So the rows that a study needs are read once, in the stream's order (shuffled in a buffer of
    10,000 rows with a fixed seed; a dataset of several files has its files shuffled too), and written to an Arrow file
    that later runs open without the network.

    Args:
        path: hub id or folder of a dataset.
        split: read this split alone.
        revision: of a dataset on the hub.
        rows: most rows of a split.
        folder: where to keep them; one subfolder for each combination of the settings above.

    Raises:
        OSError: what :func:`datasets.load_dataset` raises, as for the other errors it has.
    """
    what = [path, str(split), str(revision), str(rows), *folder_state(Path(path))]
    kept = folder / fingerprint(what)
    if not (kept / "splits.json").is_file():
        loaded = datasets.load_dataset(path, split=split, revision=revision, streaming=True)
        several = not isinstance(loaded, datasets.IterableDataset)
        streams = dict(loaded) if several else {split or "train": loaded}
        with atomic_folder(kept, whole_with="splits.json") as temporary:
            for number, (name, stream) in enumerate(streams.items()):
                _keep(
                    stream.shuffle(seed=SEED, buffer_size=BUFFER).take(rows),
                    rows,
                    name,
                    temporary / f"{number}.arrow",
                )
            (temporary / "splits.json").write_text(json.dumps(list(streams)), encoding="utf-8")
    log.info("%s: rows of its stream in %s (delete the folder to read it anew)", path, kept)
    names = json.loads((kept / "splits.json").read_text(encoding="utf-8"))
    return {name: datasets.Dataset.from_file(str(kept / f"{n}.arrow")) for n, name in enumerate(names)}


def _keep(stream: datasets.IterableDataset, rows: int, name: str, file: Path) -> None:
    with (
        ArrowWriter(path=str(file), features=stream.features) as writer,
        tqdm(total=rows, desc=f"stream of {name}", unit=" rows", disable=None) as bar,
    ):
        for block in stream.iter(batch_size=1000):
            writer.write_batch(block)
            bar.update(len(next(iter(block.values()))))
        writer.finalize()
