"""Per-query scores of BM25 and MiniLM on the benchmark `docs`: the queries that every run of ours is measured on.

One command, minutes on two cores: `python data/scores/docs.py` writes `docs.parquet` beside this file.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd

from drscale.evaluate.ranking import METRICS
from drscale.evaluate.retrievers import rank_scores, retriever
from drscale.files import write_atomic
from drscale.texts import benchmark

texts = benchmark("docs")
parts = [("in_domain", texts.test, None), *((f"ood:{name}", c, 300) for name, c in texts.ood.items())]
rows = []
for name in ("bm25", "minilm"):
    model = retriever(name)
    for scope, collection, limit in parts:
        rows.append(rank_scores(model, collection, limit=limit).assign(dataset=scope))
        print(name, scope, rows[-1]["ndcg10"].mean().round(4), flush=True)
table = pd.concat(rows, ignore_index=True).astype(dict.fromkeys(METRICS, np.float32))
table["fingerprint"] = texts.fingerprint
buffer = io.BytesIO()
table.to_parquet(buffer, index=False, compression="zstd")
write_atomic(Path(__file__).with_suffix(".parquet"), buffer.getvalue())
print(f"{len(table):,} rows")
