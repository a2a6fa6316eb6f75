"""Near-duplicates: an exact join of texts by the Jaccard similarity of their word shingles."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

WORD = re.compile(r"\w+")
WIDTH = 4
CHUNK = 2_000_000  # candidate pairs looked at together, which bounds memory


def normalised(text: str) -> str:
    """Lower case, words only, single spaces: the form in which two texts count as equal."""
    return " ".join(WORD.findall(text.lower()))


def near_duplicates(texts: Sequence[str], others: Sequence[str] | None = None, threshold: float = 0.7) -> np.ndarray:
    """Find all pairs of rows whose 4-word shingles have a Jaccard similarity of at least ``threshold``.

    Returns an int64 array of shape (found, 2). With ``others`` the second column counts rows of ``others``; without,
    pairs lie within ``texts`` and the first column is the smaller. A text of fewer than four words is one shingle.
    The answer is exact (up to 64-bit hashes): two sets this similar must share one of their rarest shingles, so only
    texts that do are compared (prefix filter).
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"near_duplicates(threshold={threshold}): must lie in (0, 1]")
    split = len(texts)
    if not split or (others is not None and not others):
        return np.empty((0, 2), np.int64)
    ranks, starts = _ranked_shingles([*texts, *(others if others is not None else ())])
    sizes = np.diff(starts)
    prefix = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    rows = np.repeat(np.arange(len(sizes)), sizes)
    inside = np.arange(len(ranks)) - np.repeat(starts[:-1], sizes) < np.repeat(prefix, sizes)
    found = [
        _similar(pairs, ranks, starts, threshold)
        for pairs in _candidates(ranks[inside], rows[inside], sizes, threshold, split if others is not None else None)
    ]
    pairs = np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)
    return pairs - np.array([0, split]) if others is not None else pairs


def _ranked_shingles(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each text's distinct shingles as ranks by rarity (rarest first), laid end to end, and where each text starts."""
    known: dict[str, int] = {}
    hashed, counts = [], np.zeros(len(texts) + 1, np.int64)
    # Odd multipliers keep every bit of a word's hash; the order of the words matters because they differ.
    mix = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
    for i, text in enumerate(texts):
        words = WORD.findall(text.lower())
        for word in words:
            if word not in known:
                known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        h = np.array([known[word] for word in words], np.uint64)
        if len(h) >= WIDTH:
            windows = np.lib.stride_tricks.sliding_window_view(h, WIDTH)
            shingles = np.unique((windows * mix).sum(axis=1, dtype=np.uint64))
        else:
            shingles = np.array([(h * mix[: len(h)]).sum(dtype=np.uint64) + np.uint64(len(h))], np.uint64)
        hashed.append(shingles)
        counts[i + 1] = len(shingles)
    starts = np.cumsum(counts)
    flat = np.concatenate(hashed)
    _, inverse, frequency = np.unique(flat, return_inverse=True, return_counts=True)
    rank = np.empty(len(frequency), np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency))
    ranks = rank[inverse]
    order = np.lexsort((ranks, np.repeat(np.arange(len(texts)), np.diff(starts))))
    return ranks[order], starts


def _candidates(ranks: np.ndarray, rows: np.ndarray, sizes: np.ndarray, threshold: float, split: int | None):  # type: ignore[no-untyped-def]
    """Yield arrays (n, 2) of rows that share a shingle of their prefixes and are of comparable size."""
    order = np.lexsort((rows, ranks))
    ranks, rows = ranks[order], rows[order]
    ends = np.searchsorted(ranks, ranks, side="right")
    partners = ends - np.arange(len(ranks)) - 1  # the rows after me in the list of this shingle
    low = 0
    while low < len(rows):
        reach = np.searchsorted(np.cumsum(partners[low:]), CHUNK, side="right")
        high = low + max(int(reach), 1)
        n = partners[low:high]
        first = np.repeat(np.arange(low, high), n)
        second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(n) - n, n)
        a, b = rows[first], rows[second]
        small, large = np.minimum(sizes[a], sizes[b]), np.maximum(sizes[a], sizes[b])
        keep = small >= threshold * large - 1e-9
        if split is not None:
            keep &= (a < split) & (b >= split)
        yield np.unique(np.stack([a[keep], b[keep]], axis=1), axis=0)
        low = high


def _similar(pairs: np.ndarray, ranks: np.ndarray, starts: np.ndarray, threshold: float) -> np.ndarray:
    keep = np.zeros(len(pairs), bool)
    for i, (a, b) in enumerate(pairs):
        left, right = ranks[starts[a] : starts[a + 1]], ranks[starts[b] : starts[b + 1]]
        shared = len(np.intersect1d(left, right, assume_unique=True))
        keep[i] = shared >= threshold * (len(left) + len(right) - shared) - 1e-9
    return pairs[keep]
