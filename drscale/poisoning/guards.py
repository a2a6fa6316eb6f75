"""Cheap guards against poisoned passages: they check a passage before it enters the index.

Each guard gives a number for each passage, larger for a more suspicious one, and has a threshold that only a stated
share of known real passages exceeds. None of them knows the attack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from drscale.encoder import BiEncoder
from drscale.evaluate.entropy import unit_rows
from drscale.poisoning.exposure import CUTS, attack_success, poison_ranks, rate_interval
from drscale.poisoning.make import kmeans
from drscale.texts import Collection

Kind = Literal["norm", "likelihood", "centroids", "twins"]
SMOOTHING = 0.5  # counts added to each word piece; the weight of pairs against single pieces


@dataclass(frozen=True, eq=False)
class Guard:
    """A measure of suspicion and its threshold; ``rate`` is the share of real passages that it may refuse."""

    kind: str
    suspicion: Callable[[list[str]], np.ndarray]
    threshold: float
    rate: float

    def refuses(self, passages: Sequence[str]) -> np.ndarray:
        """Whether each passage is refused, given all passages that come in together."""
        refused: np.ndarray = self.suspicion(list(passages)) > self.threshold
        return refused


def guard(
    kind: Kind,
    encoder: BiEncoder,
    real: Sequence[str],
    queries: Sequence[str] = (),
    *,
    rate: float = 0.01,
    clusters: int = 10,
    seed: int = 1,
) -> Guard:
    """Set up a guard from real passages (of the training split, say), of which it may refuse the share ``rate``.

    ``kind`` says what is suspicious. ``norm``: a long vector, which inner products favour. ``likelihood``: word pieces
    that rarely occur together; mean log-likelihood per piece under a model of single pieces and pairs, learnt from one
    half of ``real`` with the threshold from the other. ``centroids``: a vector whose direction is that of a cluster of
    ``queries``; cosine to the nearest of ``clusters`` centroids of the defender's own. ``twins``: a direction that
    another passage coming in, or a known one, shares; highest cosine.

    >>> import drscale as ds
    >>> from drscale.encoder import build
    >>> texts = ds.collection("planted?pairs=60").passages["text"].to_pylist()
    >>> encoder = build(ds.Recipe(rung="L2H12", start="scratch"), texts)
    >>> norm = ds.guard("norm", encoder, texts, rate=0.1)
    >>> int(norm.refuses(texts).sum())
    6
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind={kind!r}: allowed are {', '.join(get_args(Kind))}")
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate}: a share between 0 and 1 of real passages that may be refused")
    if not isinstance(encoder, BiEncoder):
        raise ValueError(f"encoder={type(encoder).__name__}: a drscale BiEncoder is needed, as load_model gives one")
    known = list(real)
    if len(known) * rate < 1:
        raise ValueError(f"real: {len(known)} passages are too few to tell a rate of {rate:g} from none")
    if kind == "likelihood":
        judging = known[1::2]
        suspicion = _unlikely(encoder, known[::2])
    elif kind == "norm":
        judging = known

        def suspicion(texts: list[str]) -> np.ndarray:
            return np.linalg.norm(encoder.encode_passages(texts), axis=1)
    elif kind == "centroids":
        if not len(queries):
            raise ValueError("queries: kind='centroids' needs queries to cluster")
        judging, suspicion = known, _near_queries(encoder, list(queries), clusters, seed)
    else:
        own = unit_rows(encoder.encode_passages(known))
        return Guard(kind, _twins(encoder, own), float(np.quantile(_nearest(own, own, itself=True), 1 - rate)), rate)
    return Guard(kind, suspicion, float(np.quantile(suspicion(judging), 1 - rate)), rate)


def _near_queries(
    encoder: BiEncoder, queries: list[str], clusters: int, seed: int
) -> Callable[[list[str]], np.ndarray]:
    vectors = encoder.encode(queries)
    labels = kmeans(vectors, clusters, seed)
    centroids = unit_rows(np.stack([vectors[labels == label].mean(0) for label in range(clusters)]))

    def suspicion(texts: list[str]) -> np.ndarray:
        nearest: np.ndarray = (unit_rows(encoder.encode_passages(texts)) @ centroids.T).max(1)
        return nearest

    return suspicion


def _twins(encoder: BiEncoder, known: np.ndarray) -> Callable[[list[str]], np.ndarray]:
    def suspicion(texts: list[str]) -> np.ndarray:
        own = unit_rows(encoder.encode_passages(texts))
        return np.maximum(_nearest(own, own, itself=True), _nearest(own, known))

    return suspicion


def _nearest(rows: np.ndarray, others: np.ndarray, itself: bool = False, block: int = 2048) -> np.ndarray:
    """The highest cosine of each row to the others; -1 where there is none."""
    found = np.full(len(rows), -1.0, dtype=np.float32)
    for at in range(0, len(rows), block):
        cosines = rows[at : at + block] @ others.T  # (block, others)
        if itself:
            cosines[np.arange(len(cosines)), np.arange(at, at + len(cosines))] = -1.0
        found[at : at + block] = cosines.max(1)
    return found


def _unlikely(encoder: BiEncoder, texts: list[str]) -> Callable[[list[str]], np.ndarray]:
    """Minus the mean log-likelihood per word piece: P(b | a) = .5 n(a, b) / n(a) + .5 (n(b) + .5) / (n + .5 V)."""
    size = len(encoder.tokenizer)
    learnt = encoder.tokens(texts, "passage")
    single = np.bincount(learnt.ids, minlength=size).astype(float)
    first, second = _neighbours(learnt.ids, learnt.starts)
    pairs, times = np.unique(first * size + second, return_counts=True)
    before = np.bincount(first, minlength=size)
    alone = (single + SMOOTHING) / (single.sum() + SMOOTHING * size)

    def suspicion(given: list[str]) -> np.ndarray:
        tokens = encoder.tokens(given, "passage")
        a, b = _neighbours(tokens.ids, tokens.starts)
        place = np.minimum(np.searchsorted(pairs, a * size + b), len(pairs) - 1)
        together = np.where(pairs[place] == a * size + b, times[place], 0) / np.maximum(before[a], 1)
        surprise = -np.log(SMOOTHING * together + (1 - SMOOTHING) * alone[b])
        text = np.repeat(np.arange(len(given)), tokens.lengths - 1)
        counts = np.bincount(text, minlength=len(given))
        mean: np.ndarray = np.bincount(text, surprise, minlength=len(given)) / np.maximum(counts, 1)
        return mean

    return suspicion


def _neighbours(ids: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every two tokens that follow each other within a text, its special tokens with them."""
    inside = np.ones(max(len(ids) - 1, 0), dtype=bool)
    inside[starts[1:-1] - 1] = False
    wide = ids.astype(np.int64)
    return wide[:-1][inside], wide[1:][inside]


def guarded(
    model: object, one: Guard, collection: Collection, passages: Sequence[str], rows: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of :func:`drscale.poisoning.exposure.poison_ranks` for the passages that pass a guard, and which it refuses.

    ``rows`` are those without the guard, of the same passages; their depth is used. The real passages that the guard
    refuses stay in the list, which favours the guard a little: without them the passed passages would rank higher.
    """
    refused = one.refuses(passages)
    through = [text for text, out in zip(passages, refused, strict=True) if not out]
    if not through:
        return rows.assign(rank=np.float32(np.nan), passage=np.int32(-1), margin=np.float32(np.nan)), refused
    return poison_ranks(model, collection, through, depth=int(rows["depth"].iloc[0]), limit=len(rows)), refused


def defended(
    model: object,
    guards: Sequence[Guard],
    collection: Collection,
    passages: Sequence[str],
    *,
    k: Sequence[int] = CUTS,
    limit: int | None = None,
) -> pd.DataFrame:
    """The effect of each guard on an attack: one row for each guard and k, and first one without any guard.

    Columns: ``guard``, ``caught`` (share of the poisoned passages, with ``caught_low`` and ``caught_high``, Clopper and
    Pearson's for independent ones; of several attacks see ``exposure.rate_interval``), ``refused`` (share of the
    collection's real passages, beside the ``rate`` that was asked for), ``lost`` (share of queries with no relevant
    passage left), then ``k``, ``asr``, ``low``, ``high``, ``queries`` of the attack with the passed passages, as
    :func:`drscale.poisoning.exposure.attack_success`. The real passages that were refused stay in the list when ranks
    are counted, so a guard that refuses many of them looks better than it is.
    """
    poisoned, real = list(passages), collection.passages["text"].to_pylist()
    rows = poison_ranks(model, collection, poisoned, depth=max(k), limit=limit)
    shown = [attack_success(rows, k).assign(guard="none", caught=0.0, refused=0.0, lost=0.0, rate=0.0)]
    pair_query, pair_passage = collection.pairs
    for one in guards:
        left, caught = guarded(model, one, collection, poisoned, rows)
        refused = one.refuses(real)
        alive = np.bincount(pair_query, ~refused[pair_passage])[np.unique(pair_query)] > 0
        share, low, high = rate_interval(caught.astype(float))
        part = attack_success(left, k).assign(
            guard=one.kind, rate=one.rate, caught=share, caught_low=low, caught_high=high
        )
        shown.append(part.assign(refused=float(refused.mean()), lost=float(1 - alive.mean())))
    table = pd.concat(shown, ignore_index=True)
    first = ["model", "dataset", "guard", "caught", "caught_low", "caught_high", "rate", "refused", "lost"]
    return table[[*first, *(c for c in table if c not in first)]]
