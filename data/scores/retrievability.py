"""How often each passage is found: by the kept models of `docs-models` and by BM25, on the queries of `docs`.

One command, minutes on two cores: `python data/scores/retrievability.py` writes `retrievability.parquet`.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from drscale.evaluate.retrievers import measured_queries, retriever
from drscale.files import write_atomic
from drscale.geometry.measure import occurrences
from drscale.models import kept_recipes, load_model
from drscale.runs import RunStore
from drscale.texts import benchmark

DEPTH, LIMIT = 10, 300
store, texts = RunStore(Path(__file__).parents[1] / "runs" / "docs-models"), benchmark("docs")
models = {r.rung: load_model(r, store) for r in kept_recipes(store)} | {"bm25": "bm25"}
parts = [("in_domain", texts.test, None), *((f"ood:{name}", c, LIMIT) for name, c in texts.ood.items())]
rows = []
for name, model in models.items():
    found = retriever(model)
    for scope, collection, limit in parts:
        queries = measured_queries(collection, limit)
        _, places = found.rank(collection.queries["text"].take(queries).to_pylist(), collection, DEPTH)
        relevant = np.zeros(len(collection.passages), dtype=bool)
        every, passages = collection.pairs
        relevant[passages[np.isin(every, queries)]] = True
        times = occurrences(places, len(relevant))
        rows.append(pd.DataFrame({"model": name, "dataset": scope, "passage": range(len(times)), "times": times}))
        rows[-1] = rows[-1].assign(relevant=relevant, queries=len(queries))
        print(name, scope, len(times), len(queries), flush=True)
table = pd.concat(rows, ignore_index=True).astype({"passage": np.int32, "times": np.int32, "queries": np.int32})
table["fingerprint"] = texts.fingerprint
buffer = io.BytesIO()
table.to_parquet(buffer, index=False, compression="zstd")
write_atomic(Path(__file__).with_suffix(".parquet"), buffer.getvalue())
print(f"{len(table):,} rows")
