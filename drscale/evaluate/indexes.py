"""Indexes for large collections: BM25's kept on disk and mapped, and FAISS's approximate ones, which lose a little."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from drscale.evaluate.ranking import bm25_index, bm25_load, bm25_version, faiss
from drscale.texts import Collection
from drscale.texts.cache import cached, key_of

MAPPED = 200_000  # passages from which BM25's index is kept in the cache and mapped, not held in memory
VERSION = 1  # raise when the same passages come to another index
SEED_POINTS = 64  # vectors a cell that the cells are found from
Kind = Literal["ivf", "hnsw"]


def bm25_of(collection: Collection) -> Any:
    """BM25's index of a collection's passages, for :func:`drscale.evaluate.ranking.bm25_rank`.

    From :data:`MAPPED` passages on it is built once, kept in the cache by the collection's fingerprint, and its arrays
    are mapped: a search reads what belongs to its words, and nothing else is held in memory.

    >>> import drscale as ds
    >>> from drscale.evaluate.indexes import bm25_of
    >>> from drscale.evaluate.ranking import bm25_rank
    >>> texts = ds.collection("planted?pairs=40")
    >>> bm25_rank(bm25_of(texts), texts.queries["text"].to_pylist(), 5)[1].shape
    (40, 5)
    """
    if len(collection.passages) < MAPPED:
        return bm25_index(collection.passages["text"])
    key = key_of("bm25-index", VERSION, bm25_version(), collection.fingerprint)
    return cached("bm25-index", key, _Kept.load, lambda _: _Kept(bm25_index(collection.passages["text"]))).index


class _Kept:
    """An index of bm25s as a folder of arrays and two JSON files."""

    def __init__(self, index: Any) -> None:
        self.index = index

    def save(self, folder: str | Path) -> Path:
        self.index.save(str(folder), show_progress=False)
        return Path(folder)

    @classmethod
    def load(cls, folder: Path) -> _Kept:
        try:
            return cls(bm25_load(folder))
        except (OSError, ValueError, KeyError) as e:
            raise ValueError(f"{folder}: no index of bm25s ({str(e).splitlines()[0]})") from None


@dataclass(frozen=True, eq=False)
class Approximate:
    """An index that looks at a part of the passages only."""

    kind: Kind
    index: Any

    def search(self, queries: np.ndarray, depth: int = 100) -> tuple[np.ndarray, np.ndarray]:
        """Scores and passage rows, best first, both (queries, depth); row -1 where fewer were found."""
        scores, rows = self.index.search(np.ascontiguousarray(queries, dtype=np.float32), depth)
        return scores, rows


def approximate(
    passages: np.ndarray, kind: Kind = "ivf", *, cells: int = 0, probes: int = 16, links: int = 32, breadth: int = 64
) -> Approximate:
    """Index passage vectors for approximate search by inner product, in half precision, with FAISS.

    ``ivf`` sorts the vectors into ``cells`` (by default 4 sqrt(n), at most one for 64 vectors) and looks into the
    ``probes`` cells nearest to a query. ``hnsw`` walks a graph of ``links`` neighbours a passage, keeping ``breadth``
    candidates. Both lose some of the best passages: measure how many with :func:`found_share`.

    >>> import numpy as np
    >>> from drscale.evaluate.indexes import approximate
    >>> vectors = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    >>> scores, rows = approximate(vectors, cells=8, probes=8).search(vectors[:3], depth=5)
    >>> rows.shape
    (3, 5)
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind={kind!r}: allowed are {', '.join(map(repr, get_args(Kind)))}")
    if faiss is None:
        raise ValueError("approximate search needs FAISS, which is not installed: pip install faiss-cpu")
    # A graph of one link ends the interpreter: FAISS divides by the logarithm of links.
    least = {"cells": (cells, 0), "probes": (probes, 1), "links": (links, 2), "breadth": (breadth, 1)}
    for name, (value, limit) in least.items():
        if value < limit:
            raise ValueError(f"{name}={value}: at least {limit}")
    vectors = np.ascontiguousarray(passages, dtype=np.float32)
    if vectors.ndim != 2 or not vectors.size:
        raise ValueError(f"passages of shape {np.shape(passages)}: vectors are needed, (passages, dimensions)")
    count, width = vectors.shape
    cells = min(cells or round(4 * math.sqrt(count)), max(1, count // SEED_POINTS))
    made_as = f"HNSW{links}_SQfp16" if kind == "hnsw" else f"IVF{cells},SQfp16"
    index = faiss.index_factory(width, made_as, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index.hnsw.efSearch = breadth
    else:
        index.nprobe = min(probes, cells)
    some = np.random.default_rng(0).permutation(count)[: SEED_POINTS * cells]
    index.train(vectors[np.sort(some)])
    index.add(vectors)
    return Approximate(kind, index)


def found_share(rows: np.ndarray, exact: np.ndarray, k: int = 10) -> np.ndarray:
    """The share of each query's exact first ``k`` passages that are among the first ``k`` of ``rows``.

    >>> import numpy as np
    >>> from drscale.evaluate.indexes import found_share
    >>> found_share(np.array([[4, 1, -1]]), np.array([[1, 2, 4]]), k=2).tolist()
    [0.5]
    """
    if k < 1 or min(rows.shape[1], exact.shape[1]) < k:
        raise ValueError(f"k={k}: from 1 to {min(rows.shape[1], exact.shape[1])}, the depth of the lists")
    return (exact[:, :k, None] == rows[:, None, :k]).any(2).mean(1)
