"""BM25 on the queries that the runs of data/runs/card were scored on: python data/scores/card_bm25.py.

Needs the packages of the extra ``corpora`` (api-docs is read from them). Writes card_bm25.parquet: a row a query.
"""

from pathlib import Path

import pandas as pd

import drscale as ds
from drscale.evaluate.entropy import sample_queries
from drscale.evaluate.ranking import bm25_index, bm25_rank, ranking_metrics
from drscale.files import write_atomic

KEPT = ("mrr10", "ndcg10")
LIMIT, DEEP = 300, 100  # as score_benchmark: so many queries of each domain out of the training domain


def ranked(collection, limit):
    """BM25's metrics of the queries that every encoder is scored on, a row a query."""
    rows = sample_queries(pd.unique(collection.pairs[0]), limit)
    index = bm25_index(collection.passages["text"].to_pylist())
    queries = collection.queries.take(rows)
    scores, found = bm25_rank(index, queries["text"].to_pylist(), DEEP)
    return ranking_metrics(collection, rows, scores, found)[list(KEPT)].assign(query=queries["id"].to_pylist())


frames = []
for name in ("api-docs", "docs"):
    texts = ds.benchmark(name)
    parts = {"in_domain": (texts.test, None), **{f"ood:{domain}": (c, LIMIT) for domain, c in texts.ood.items()}}
    about = {"texts": name, "fingerprint": texts.fingerprint}
    frames += [ranked(*part).assign(scope=scope, **about) for scope, part in parts.items()]
table = pd.concat(frames, ignore_index=True).astype(dict.fromkeys(KEPT, "float32"))
table = table.astype(dict.fromkeys(("scope", "texts", "fingerprint"), "category"))
write_atomic(Path(__file__).with_suffix(".parquet"), table.to_parquet(index=False, compression="zstd"))
