"""Print how long a store of many runs takes to read: `python benchmarks/many_runs.py [COUNT]` (default 10,000).

The records are copies of data/runs/docs-standard under other seeds, kept one by one as a sweep keeps them. Timed are
the first table of the store as it grew, the second, the first without an index, which reads every record, and one run's
per-query rows.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from drscale.runs import RunStore

SOURCE = Path(__file__).parents[1] / "data" / "runs" / "docs-standard"


def main(count: int) -> int:
    """Fill a store and time its reading."""
    done = [run for run in RunStore(SOURCE).runs() if run.status == "done"]
    rows = RunStore(SOURCE).queries(done[0].key).drop(columns="key")
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(folder)
        for number in range(count):
            run = done[number % len(done)]
            copy = replace(run, recipe=run.recipe.but(seed=1000 + number))
            store.save(copy)
        store.save(replace(done[0], recipe=done[0].recipe.but(seed=999)), rows)
        key = str(done[0].recipe.but(seed=999))
        for what in ("first table", "second table", "table without an index"):
            if what.endswith("index"):
                for index in store.path.glob(".index*"):
                    index.unlink()
            started = time.perf_counter()
            table = store.table()
            print(f"{what}: {len(table):,} runs in {time.perf_counter() - started:.2f} s")
        started = time.perf_counter()
        found = len(store.queries(key))
        print(f"one run: {found:,} rows in {1e3 * (time.perf_counter() - started):.0f} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
