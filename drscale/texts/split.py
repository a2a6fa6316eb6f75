"""Compose collections into a benchmark whose training pairs share nothing with what it is measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from drscale.texts.collection import Benchmark, Collection, joined, shuffled
from drscale.texts.near import near_duplicates, normalised

SPLITTER = 1  # raise when the split of the same collections changes: it is part of cache keys
SHARED = 0.5  # the Jaccard similarity from which two texts count as the same


def compose(
    train: Collection | Sequence[Collection],
    ood: Mapping[str, Collection] | None = None,
    test: Collection | None = None,
    validation: Collection | None = None,
    *,
    name: str = "composed",
    test_pairs: int = 1000,
    validation_pairs: int = 500,
    near: float = SHARED,
    seed: int = 0,
) -> Benchmark:
    """Make a benchmark; a test or validation split that is not given is held out from the training pairs.

    Held-out pairs are drawn from each training collection in proportion to its size, and a split that was drawn has
    exactly its pairs' passages. A given ``test`` and the domains ``ood`` are taken as they are. Training and validation
    lose every pair that is related to them (:func:`related`), and training those related to validation.
    """
    sources = [train] if isinstance(train, Collection) else list(train)
    pool, outside = joined(name, sources), dict(ood or {})
    groups = np.repeat(np.arange(len(sources)), [len(c) for c in sources])
    free = np.ones(len(pool), bool)
    fixed = [*outside.values(), *([test] if test is not None else [])]
    for other in fixed:
        free &= ~related(pool, other, near)
    if test is None:
        drawn = _draw(free, groups, test_pairs, seed, f"{name}: test_pairs={test_pairs}")
        test = pool.select(drawn)
        fixed.append(test)
        free[drawn] = False
        free &= ~related(pool, test, near)
    if validation is None:
        drawn = _draw(free, groups, validation_pairs, seed, f"{name}: validation_pairs={validation_pairs}")
        validation = pool.select(drawn)
        free[drawn] = False
    else:
        clash = np.any([related(validation, other, near) for other in fixed], axis=0)
        if clash.all():
            raise ValueError(f"{name}: every validation pair is related to the test or to a domain outside")
        if clash.any():
            validation = validation.select(np.flatnonzero(~clash))
    free &= ~related(pool, validation, near)
    if not free.any():
        raise ValueError(f"{name}: no pair is left to train on once everything related to the other parts is out")
    parts = {"train": pool.select(np.flatnonzero(free)), "validation": validation, "test": test}
    return Benchmark(
        name,
        **{part: c.renamed(f"{name}/{part}") for part, c in parts.items()},
        ood={domain: c.renamed(f"{name}/{domain}", domain) for domain, c in outside.items()},
    )


def related(pairs: Collection, others: Collection, near: float = SHARED) -> np.ndarray:
    """Mark the pairs of one collection that share something with the pairs of another.

    Shared is an equal query (lower case, words only), a passage whose 4-word shingles have a Jaccard similarity of at
    least ``near``, or a query and passage that together do. Returns a boolean for each pair.
    """
    (mine, my_passages), (theirs, their_passages) = pairs.pairs, others.pairs
    my_queries, their_queries = _texts(pairs.queries, mine), _texts(others.queries, theirs)
    asked = {normalised(q) for q in their_queries}
    found = np.array([normalised(q) in asked for q in my_queries])
    # Passages that several queries share are compared once.
    rows, where = np.unique(my_passages, return_inverse=True)
    their_rows = np.unique(their_passages)
    alike = near_duplicates(_texts(pairs.passages, rows), _texts(others.passages, their_rows), near)
    found |= np.isin(where, alike[:, 0])
    my_whole = _together(my_queries, _texts(pairs.passages, my_passages))
    alike = near_duplicates(my_whole, _together(their_queries, _texts(others.passages, their_passages)), near)
    found[alike[:, 0]] = True
    return found


def _together(queries: list[str], passages: list[str]) -> list[str]:
    return [f"{query} {passage}" for query, passage in zip(queries, passages, strict=True)]


def _texts(table: pa.Table, rows: np.ndarray) -> list[str]:
    texts: list[str] = table["text"].take(pa.array(rows)).to_pylist()
    return texts


def _draw(free: np.ndarray, groups: np.ndarray, wanted: int, seed: int, what: str) -> np.ndarray:
    """Choose free pairs, from each group in proportion to its size (largest remainders), in their order."""
    sizes = np.bincount(groups[free], minlength=int(groups.max()) + 1)
    if not 1 <= wanted < sizes.sum():
        raise ValueError(f"{what} must lie between 1 and {max(sizes.sum() - 1, 0):,}, the free pairs less one")
    exact = wanted * sizes / sizes.sum()
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: wanted - shares.sum()]] += 1
    order = shuffled(len(free), seed)
    order = order[free[order]]
    return np.sort(np.concatenate([order[groups[order] == g][:n] for g, n in enumerate(shares)]))
