"""Write trec/: runs of two retrievers on Tornado's documentation, examples for ``drscale compare`` and ``stability``.

Sixty queries, ten passages each: BM25, and ``grams``, the cosine of counts of four letters in a row. ``misspelling``
and ``naturality`` (stop words left out) are BM25 on the same queries in other words. Needs the lab:
``python data/examples/make_trec.py``
"""

import zlib
from pathlib import Path

import numpy as np

import drscale as ds
from drscale.evaluate.retrievers import measured_queries
from drscale.files import write_atomic

FOLDER = Path(__file__).resolve().parent / "trec"
QUERIES, DEPTH = 60, 10


def grams(texts: list[str]) -> np.ndarray:
    """Texts as counts of four letters in a row, each hashed to one of 4,096 places, of length 1."""
    counts = np.zeros((len(texts), 4096), np.float32)
    for i, text in enumerate(texts):
        places = [zlib.crc32(text[k : k + 4].lower().encode()) % 4096 for k in range(len(text) - 3)]
        np.add.at(counts[i], places, 1)
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


def main() -> None:
    texts = ds.collection("docs:tornado")
    rows = measured_queries(texts, QUERIES)
    asked = dict(zip(*(texts.queries[c].take(rows).to_pylist() for c in ("id", "text")), strict=True))
    names = texts.passages["id"].to_pylist()
    relevant = [(q, p) for q, p in zip(*texts.pairs, strict=True) if q in set(rows)]
    ids = texts.queries["id"].to_pylist()
    write_atomic(FOLDER / "tornado.qrels", "".join(f"{ids[q]} 0 {names[p]} 1\n" for q, p in relevant))
    runs: dict = {"bm25": ("bm25", list(asked.values())), "grams": (grams, list(asked.values()))}
    for family in ("misspelling", "naturality"):
        runs[family] = ("bm25", ds.variations(asked, family)["varied"].tolist())
    for name, (model, queries) in runs.items():
        scores, found = ds.retriever(model).rank(queries, texts, DEPTH)
        lines = [
            f"{query} Q0 {names[p]} {place + 1} {score:.4f} {name}\n"
            for query, ps, ss in zip(asked, found, scores, strict=True)
            for place, (p, score) in enumerate(zip(ps, ss, strict=True))
            if p >= 0
        ]
        write_atomic(FOLDER / f"{name}.run", "".join(lines))
    print(f"wrote {len(runs)} runs and qrels of {len(asked)} queries to data/examples/trec")


if __name__ == "__main__":
    main()
