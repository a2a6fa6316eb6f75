"""Print how long collections take to be read, by rows and by columns, and how much memory they hold.

Passages of 60 words are written as a data set of the hub (Parquet), in BEIR's JSONL and as MS MARCO's TSV, and read in
an interpreter of their own. ``rows`` is how a data set of the hub was read before, record by record through Python.
Time is CPU seconds of all threads, so that a busy machine tells the same. Memory is what the process holds of its own
(RssAnon, sampled), without the pages of files mapped into it: those go when another needs the room. Linux only, for
this reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS, QUERIES, BATCH = 60, 1000, 50_000
MS_MARCO = 8_841_823


def batches(passages: int) -> Iterator[tuple[list[str], list[str]]]:
    """Ids and texts of random words, a batch at a time."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i:05d}" for i in range(20_000)])
    for start in range(0, passages, BATCH):
        n = min(BATCH, passages - start)
        yield (
            [f"d{start + i}" for i in range(n)],
            [" ".join(row) for row in words[rng.integers(0, len(words), (n, WORDS))]],
        )


def write(folder: Path, passages: int) -> None:
    """The same collection in three layouts."""
    for name in ("hub/corpus", "hub/queries", "hub/default", "beir/qrels", "tsv"):
        (folder / name).mkdir(parents=True)
    queries = [{"_id": f"q{i}", "text": f"what is number {i}"} for i in range(QUERIES)]
    qrels = [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1.0} for i in range(QUERIES)]
    schema = pa.schema([("_id", pa.string()), ("title", pa.string()), ("text", pa.string())])
    with (
        pq.ParquetWriter(folder / "hub/corpus/test.parquet", schema) as parquet,
        (folder / "beir/corpus.jsonl").open("w") as jsonl,
        (folder / "tsv/collection.tsv").open("w") as tsv,
    ):
        for ids, texts in batches(passages):
            parquet.write_table(pa.table([ids, [""] * len(ids), texts], schema=schema))
            for name, text in zip(ids, texts, strict=True):
                jsonl.write(json.dumps({"_id": name, "title": "", "text": text}) + "\n")
                tsv.write(f"{name}\t{text}\n")
    pq.write_table(pa.Table.from_pylist(queries), folder / "hub/queries/test.parquet")
    pq.write_table(pa.Table.from_pylist(qrels), folder / "hub/default/test.parquet")
    parts = "".join(f"- config_name: {c}\n  data_files: {c}/test.parquet\n" for c in ("corpus", "queries", "default"))
    (folder / "hub/README.md").write_text(f"---\nconfigs:\n{parts}---\n")
    (folder / "beir/queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    (folder / "beir/qrels/test.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(QUERIES)))
    (folder / "tsv/queries.dev.tsv").write_text("".join(f"q{i}\twhat is number {i}\n" for i in range(QUERIES)))
    (folder / "tsv/qrels.dev.tsv").write_text("".join(f"q{i}\t0\td{i}\t1\n" for i in range(QUERIES)))


def held() -> float:
    """Gigabytes that this process holds of its own."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1e6


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, and the most gigabytes held above what was held before."""
    before, peak, done = held(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], held() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.process_time()
    work()
    seconds = time.process_time() - begin
    done.set()
    watcher.join()
    return seconds, peak[0]


def by_rows(data: Iterable[dict[str, str]], kept: Path) -> None:
    from drscale.texts.readers import Sink, document
    from drscale.texts.tables import TEXTS

    with Sink(kept, TEXTS) as sink:
        for i, row in enumerate(data):
            sink.add(*document(row, f"row {i}"))
        sink.table()


def one(what: str, folder: Path) -> tuple[float, float]:
    """Do one thing in this interpreter."""
    import datasets

    from drscale.texts import collection
    from drscale.texts.hub import _documents

    datasets.disable_progress_bars()
    specs = {"BEIR's JSONL": f"folder:{folder / 'beir'}", "MS MARCO's TSV": f"folder:{folder / 'tsv'}"}
    hub = f"hub:{folder / 'hub'}"
    if what in ("rows", "columns"):
        data = datasets.load_dataset(str(folder / "hub"), "corpus")["train"]
        kept = folder / f"{what}.arrow"
        return measured(lambda: by_rows(data, kept) if what == "rows" else _documents(data, "corpus", kept))
    if what == "datasets' own part":
        return measured(lambda: datasets.load_dataset(str(folder / "hub"), "corpus"))
    return measured(lambda: collection(specs.get(what, hub), progress=False))


KINDS = ("datasets' own part", "rows", "columns", "hub, whole", "hub, from the cache", "BEIR's JSONL", "MS MARCO's TSV")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, nargs="+", default=[200_000])
    parser.add_argument("--without-rows", action="store_true", help="leave out the slowest")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one[0], Path(arguments.one[1]))))
        return
    for passages in arguments.passages:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder / "data", passages)
            environment = os.environ | {
                "DRSCALE_CACHE": f"{name}/cache",
                "HF_HOME": f"{name}/hf",
                "HF_HUB_OFFLINE": "1",
            }
            size = (folder / "data/tsv/collection.tsv").stat().st_size / 1e9
            print(f"{passages:,} passages of {WORDS} words, {size:.2f} GB of text")
            seconds = {}
            for what in (kind for kind in KINDS if kind != "rows" or not arguments.without_rows):
                command = [sys.executable, __file__, "--one", what, str(folder / "data")]
                out = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
                seconds[what], memory = json.loads(out.splitlines()[-1])
                whole = seconds[what] * MS_MARCO / passages
                print(f"  {what:20} {seconds[what]:8.2f} s {memory:6.2f} GB held; 8.8M passages: {whole:7.0f} s")
            if "rows" in seconds:
                print(f"  columns are {seconds['rows'] / seconds['columns']:.0f} times as fast as rows")


if __name__ == "__main__":
    main()
