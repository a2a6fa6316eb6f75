"""What a large collection costs on this machine: seconds and memory at 100K, 300K and 1M passages, projected to 8.8M.

Each size is measured in an interpreter of its own, on one thread: texts written and mapped, passages encoded by a model
of data/runs/docs-models, 1,000 queries searched exactly, measured, ranked by BM25, hard negatives mined, and searched
approximately (IVF and HNSW). Seconds are CPU seconds, so that a
busy machine tells the same; memory is the most that the process held (VmHWM), mapped files with it. The passages are
those of the documentation benchmark and, beyond them, two of their sentences put together at random: text for its cost,
not for its meaning. So only what a search loses is told of quality: the share of the exact first ten that it finds.

    python benchmarks/size.py [SIZE ...]     # writes data/scores/size.csv; about an hour of one core
    python benchmarks/size.py --table        # the table of docs/size.md, from what is there
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

import drscale as ds
from drscale.evaluate.entropy import encoded
from drscale.evaluate.indexes import approximate, bm25_of, found_share
from drscale.evaluate.ranking import bm25_rank, ranking_metrics, search
from drscale.files import write_atomic
from drscale.labels.queries import crop_sentences
from drscale.texts import Collection
from drscale.texts.cache import cached, key_of
from drscale.training.batches import hard_negatives

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "data" / "scores" / "size.csv"
SIZES, QUERIES = (100_000, 300_000, 1_000_000), 1000
PROBES = 64  # cells that a second search looks into, beside the 16 that are the default
MS_MARCO = 8_841_823
STEPS = {
    "texts": "texts written and mapped",
    "bm25_index": "BM25's index",
    "bm25_search": "1,000 queries by BM25",
    "mine": "hard negatives of 1,000 queries",
    "encode": "passages encoded (L2H12)",
    "search": "1,000 queries, exact",
    "measure": "metrics of 1,000 queries",
    "ivf_index": "IVF index",
    "ivf_search": "1,000 queries by IVF, 16 cells",
    "ivf64_search": f"1,000 queries by IVF, {PROBES} cells",
    "hnsw_index": "HNSW index",
    "hnsw_search": "1,000 queries by HNSW",
}
FOUND = {"ivf": "IVF, 16 cells", "ivf64": f"IVF, {PROBES} cells", "hnsw": "HNSW"}
RUNG = "L2H12"  # the cheapest: vectors have 768 numbers at every rung, so memory and search are those of all


def texts_of(size: int) -> Collection:
    """The test queries of `docs` among so many passages, kept in the cache and mapped."""
    docs = ds.benchmark("docs")

    def build(_: Path) -> Collection:
        real = pa.concat_tables([c.passages for c in (docs.test, docs.train, *docs.ood.values())])
        sentences = crop_sentences(docs.train).queries["text"]
        rng = np.random.default_rng(0)
        lacking = size - len(real)
        first, second = (sentences.take(rng.integers(0, len(sentences), lacking)).to_pylist() for _ in range(2))
        made = pa.table(
            {
                "id": [f"made{n}" for n in range(lacking)],
                "text": [f"{a} {b}" for a, b in zip(first, second, strict=True)],
            },
            real.schema,
        )
        passages = pa.concat_tables([real, made]).combine_chunks()
        name, own = f"docs among {size:,}", docs.test
        return Collection(name, own.queries, passages, own.qrels, language="en", synthetic=True, versions=own.versions)

    return cached("size", key_of("size/1", docs.fingerprint, size), Collection.load, build)


def held() -> float:
    """The most memory this process has held so far, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM"))


def measure(size: int) -> dict[str, float]:
    """Every step's seconds, the memory after it, and what approximate search finds."""
    torch.set_num_threads(1)
    told: dict[str, float] = {"passages": size}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        gc.collect()
        told[f"{name}_s"], told[f"{name}_gb"] = time.process_time() - began, held()
        print(f"{size:>9,} {name:14} {told[f'{name}_s']:8.1f} s {told[f'{name}_gb']:5.2f} GB", file=sys.stderr)

    with step("texts"):
        texts = texts_of(size)
    study = ds.load_study(ROOT / "data" / "runs" / "docs-models.py")
    model = ds.load_model(next(r for r in study.recipes if r.rung == RUNG and r.seed == 0), study.store)
    asked = np.arange(min(QUERIES, len(texts.queries)))
    queries = texts.queries["text"].take(asked).to_pylist()
    with step("bm25_index"):
        words = bm25_of(texts)
    with step("bm25_search"):
        bm25_rank(words, queries, 100)
    with step("mine"):
        hard_negatives(texts, refresh=True)
    del words
    with step("encode"):
        passages = encoded(model.encode_passages, texts)
        vectors = model.encode(queries)
    with step("search"):
        scores, exact = search(vectors, passages, 100)
    with step("measure"):
        told["ndcg10"] = float(ranking_metrics(texts, asked, scores, exact)["ndcg10"].mean())
    for kind in ("ivf", "hnsw"):
        with step(f"{kind}_index"):
            index = approximate(passages, kind)
        with step(f"{kind}_search"):
            _, rows = index.search(vectors, 100)
        told[f"{kind}_found10"] = float(found_share(rows, exact).mean())
        told[f"{kind}_found100"] = float(found_share(rows, exact, 100).mean())
        if kind == "ivf":
            index.index.nprobe = PROBES
            with step("ivf64_search"):
                _, rows = index.search(vectors, 100)
            told["ivf64_found10"] = float(found_share(rows, exact).mean())
        del index
    return told


def main(sizes: list[int]) -> None:
    """Measure each size in its own interpreter and write the table."""
    rows: list[dict[str, float]] = []
    for size in sizes:
        command = [sys.executable, __file__, "--one", str(size)]
        rows.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
        known = [pd.read_csv(OUT).query("passages != @size")] if OUT.is_file() else []
        table = pd.concat([*known, pd.DataFrame(rows[-1:])]).sort_values("passages")
        write_atomic(OUT, table.to_csv(index=False, float_format="%.4g"))
    print(table_text(pd.read_csv(OUT)))


def table_text(rows: pd.DataFrame) -> str:
    """The table of docs/size.md: what each step costs by size, and at MS MARCO's by a line through the last two."""
    rows = rows.sort_values("passages").set_index("passages")
    columns = [f"{name}_{unit}" for name in STEPS for unit in ("s", "gb")] + [f"{kind}_found10" for kind in FOUND]
    rows = rows.reindex(columns=columns)
    heads = [*(f"{n:,}" for n in rows.index), *([f"{MS_MARCO:,}, projected"] if len(rows) > 1 else [])]
    lines = ["| step | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for name, words in STEPS.items():
        seconds, memory = rows[f"{name}_s"].to_list(), rows[f"{name}_gb"].to_list()
        if len(rows) > 1:
            seconds, memory = ([*v, _ahead(rows.index, v)] for v in (seconds, memory))
        cells = ["-" if s != s else f"{_rounded(s)} s, {g:.1f} GB" for s, g in zip(seconds, memory, strict=True)]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    for kind, words in FOUND.items():
        shares = [f"{v:.3f}" if v == v else "-" for v in rows[f"{kind}_found10"]]
        lines.append(f"| {words}: share of the exact first ten | {' | '.join(shares)} |{' - |' * (len(rows) > 1)}")
    return "\n".join(lines)


def _rounded(seconds: float) -> str:
    return f"{float(f'{seconds:.3g}'):,.0f}" if seconds >= 100 else f"{seconds:.3g}"


def _ahead(sizes: pd.Index, values: list[float]) -> float:
    slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
    return float(values[-1] + slope * (MS_MARCO - sizes[-1]))


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        print(table_text(pd.read_csv(OUT)))
    elif sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        main([int(size) for size in sys.argv[1:]] or list(SIZES))
