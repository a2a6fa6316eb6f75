"""Training queries in clusters: what a poisoned passage aims at, and who its gold passages are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drscale.encoder import BiEncoder
from drscale.evaluation.score import checked
from drscale.texts import Collection

HELD, HELD_SHARE = 1000, 0.3  # held-out queries of a cluster: at most so many, and this share


@dataclass(frozen=True)
class Cluster:
    """The queries one passage is made for, as vectors; the held-out ones only judge it.

    ``gold`` are the scores of each query's own passage, where some are held out, and ``text`` is one of these passages.
    """

    centroid: np.ndarray
    queries: np.ndarray
    held: np.ndarray
    gold: np.ndarray | None
    held_gold: np.ndarray | None
    text: str

    def __len__(self) -> int:
        return len(self.queries) + len(self.held)


def pairs_of(queries: Sequence[str] | Collection, gold: Sequence[str] | None) -> tuple[list[str], list[str] | None]:
    """Queries, each with its gold passage where there is one; a collection gives each query its first."""
    if isinstance(queries, Collection):
        if gold is not None:
            raise ValueError("gold: a collection brings its own; give it with a list of queries only")
        asked, first = np.unique(queries.pairs[0], return_index=True)
        passages = queries.passages["text"].take(queries.pairs[1][first]).to_pylist()
        return queries.queries["text"].take(asked).to_pylist(), passages
    if isinstance(queries, str) or not len(queries):
        raise ValueError("queries: a non-empty list of strings or a Collection is needed")
    if gold is not None and len(gold) != len(queries):
        raise ValueError(f"gold: {len(gold)} passages for {len(queries)} queries; one each is needed")
    return list(queries), None if gold is None else list(gold)


def kmeans(vectors: np.ndarray, clusters: int, seed: int = 0, rounds: int = 25) -> np.ndarray:
    """The cluster of each vector by faiss' k-means on Euclidean distances; no cluster stays empty.

    Passages are drawn in the space of inner products, clusters in that of distances, as both papers do.
    """
    import faiss

    if not 1 <= clusters <= len(vectors):
        raise ValueError(f"clusters={clusters}: must lie between 1 and the {len(vectors)} vectors")
    if clusters == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    points = np.ascontiguousarray(vectors, np.float32)
    options = {"niter": rounds, "seed": seed, "min_points_per_centroid": 1, "max_points_per_centroid": len(points)}
    found = faiss.Kmeans(points.shape[1], clusters, **options)
    found.train(points)
    distances, nearest = found.index.search(points, 1)
    labels, far = nearest[:, 0].astype(np.int64), np.argsort(-distances[:, 0], kind="stable")
    for empty in np.setdiff1d(np.arange(clusters), labels):  # the farthest query of a cluster that can spare it
        spare = next(i for i in far if (labels == labels[i]).sum() > 1)
        labels[spare] = empty
    return labels


def clusters_of(
    encoder: BiEncoder, queries: list[str], gold: list[str] | None, count: int, seed: int, held: bool
) -> list[Cluster]:
    """Cut queries into so many clusters, the largest first; ``held`` says whether some are held out to judge."""
    vectors = checked(encoder.encode, queries, "encode(queries)")
    own = None  # the score of each query's gold passage, which only held-out queries are asked about
    if held and gold is not None:
        own = (vectors * checked(encoder.encode_passages, gold, "encode(gold)")).sum(1)
    labels = kmeans(vectors, count, seed)
    sizes = np.bincount(labels, minlength=count)
    made = []
    for place, label in enumerate(np.argsort(-sizes, kind="stable")):
        rows = np.flatnonzero(labels == label)
        mixed = np.random.default_rng([seed, place, 1]).permutation(rows)
        out = min(HELD, int(HELD_SHARE * len(rows))) if held else 0
        judging, rest = mixed[:out], mixed[out:]
        made.append(
            Cluster(
                centroid=vectors[rows].astype(np.float64).mean(0).astype(np.float32),
                queries=vectors[rest],
                held=vectors[judging],
                gold=None if own is None else own[rest],
                held_gold=None if own is None else own[judging],
                text="" if gold is None else gold[int(mixed[-1])],
            )
        )
    return made
