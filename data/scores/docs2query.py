"""The small query generator of `docs`: train it (cross-fitted, two folds), and write a query for every passage.

Ten to fifteen minutes of one core; interrupt it as you like: training goes on from its last half minute, and writing
from its last 512 passages. Weights and queries are kept in the cache, where recipes with `annotation=generated` and
`mixture` find them; the losses, examples and times are written beside this file.

    python data/scores/docs2query.py
"""

import json
import time
from pathlib import Path

import torch

from drscale.files import write_atomic
from drscale.labels.docs2query import train_docs2query
from drscale.labels.queries import generate_queries, share_copied
from drscale.texts import benchmark

torch.set_num_threads(1)
train = benchmark("docs").train


def note(step, values):
    """Say where the training stands."""
    print(time.strftime("%H:%M:%S"), step, {k: round(v, 3) for k, v in values.items()}, flush=True)


writer = train_docs2query(train, note=note)
print(writer, flush=True)
started, used = time.perf_counter(), time.process_time()
made = generate_queries(train, writer)
seconds, cpu = time.perf_counter() - started, time.process_time() - used
texts = made.queries["text"].to_pylist()
about = {
    "model": str(writer),
    "curve": writer.curve.to_dict("list"),
    "examples": writer.examples.to_dict("list"),
    "queries": len(texts),
    "distinct": len(set(texts)),
    "copied": share_copied(made, train),  # the share that equals the person's query of the same passage
    "writing_seconds": seconds,  # little, where the cache had them
    "writing_cpu_seconds": cpu,
    "fingerprint": made.fingerprint,
}
write_atomic(Path(__file__).with_suffix(".json"), json.dumps(about, indent=1, ensure_ascii=False) + "\n")
print(f"{len(texts):,} queries, {about['distinct']:,} distinct, {about['copied']:.2%} copied, {seconds:.0f} s")
