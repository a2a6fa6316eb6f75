"""Near-duplicates: an exact join of texts by the Jaccard similarity of their word shingles."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

WORD = re.compile(r"\w+")
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
WIDTH = 4
CHUNK = 2_000_000  # candidate pairs looked at together, which bounds memory
# Odd multipliers, one a place in the shingle: they keep every bit of a word's hash, and differ so that order matters.
MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)


def normalised(text: str) -> str:
    """Lower case, words only, single spaces: the form in which two texts count as equal."""
    return " ".join(WORD.findall(text.lower()))


def spaced(text: str) -> str:
    """Put spaces around each Chinese character, so that it counts as a word of its own.

    >>> spaced("创建CDH实例").split()
    ['创', '建', 'CDH', '实', '例']
    """
    return HAN.sub(r" \g<0> ", text)


@dataclass(frozen=True, eq=False)
class Shingles:
    """The distinct 4-word shingles of texts, as 64-bit hashes end to end: text i has ``starts[i]:starts[i + 1]``."""

    hashes: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> np.ndarray:
        return np.diff(self.starts)

    @property
    def rows(self) -> np.ndarray:
        """The text of each shingle."""
        return np.repeat(np.arange(len(self)), self.sizes)


def shingled(texts: Sequence[str]) -> Shingles:
    """Cut texts into shingles; a text of fewer than four words is one shingle."""
    known: dict[str, int] = {}
    codes: list[int] = []
    counts = np.zeros(len(texts), np.int64)
    for i, text in enumerate(texts):
        words = WORD.findall(text.lower())
        codes += [known.setdefault(word, len(known)) for word in words]
        # Padding makes a shingle of a short text; the padded word is no word, so it equals no longer text.
        padding = max(WIDTH - len(words), 0)
        codes += [-1] * padding
        counts[i] = len(words) + padding
    hashed = [int.from_bytes(hashlib.blake2b(w.encode(), digest_size=8).digest(), "little") for w in known]
    flat = np.array([*hashed, 0], np.uint64)[np.array(codes, np.int64)]
    windows = np.zeros(max(len(flat) - WIDTH + 1, 0), np.uint64)
    for place, factor in enumerate(MIX):
        windows += flat[place : place + len(windows)] * factor
    ends = np.cumsum(counts)
    row = np.repeat(np.arange(len(texts)), counts)[: len(windows)]
    whole = np.arange(len(windows)) + WIDTH <= ends[row]  # the others reach into the next text
    # One number for text and shingle: plain numbers are sorted ten times as fast as rows by two keys.
    windows, row = windows[whole], row[whole]
    order = np.argsort(windows)
    distinct, number = windows[order], np.empty(len(order), np.int64)
    new = _changes(distinct)
    number[order], distinct = np.cumsum(new) - 1, distinct[new]
    both = np.sort(row * len(distinct) + number)
    row, number = np.divmod(both[_changes(both)], max(len(distinct), 1))
    starts = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(texts)))])
    return Shingles(distinct[number], starts.astype(np.int64))


def _changes(values: np.ndarray) -> np.ndarray:
    """Whether each of some sorted values is the first of its kind."""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return new


def near_duplicates(
    texts: Sequence[str] | Shingles, others: Sequence[str] | Shingles | None = None, threshold: float = 0.7
) -> np.ndarray:
    """Find all pairs of rows whose 4-word shingles have a Jaccard similarity of at least ``threshold``.

    Returns an int64 array of shape (found, 2), sorted. With ``others`` the second column counts rows of ``others``;
    without, pairs lie within ``texts`` and the first column is the smaller. The answer is exact but for collisions of
    64-bit hashes: two sets this similar must share one of their rarest shingles, so only texts that do are compared
    (prefix filter).
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"near_duplicates(threshold={threshold}): must lie in (0, 1]")
    left = texts if isinstance(texts, Shingles) else shingled(texts)
    right = others if isinstance(others, Shingles) or others is None else shingled(others)
    if not len(left) or (right is not None and not len(right)):
        return np.empty((0, 2), np.int64)
    split = len(left) if right is not None else None
    ranks, starts = _ranked(left, right)
    sizes = np.diff(starts)
    prefix = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    rows = np.repeat(np.arange(len(sizes)), sizes)
    inside = np.arange(len(ranks)) - starts[rows] < prefix[rows]
    found = [
        pairs[_similar(pairs, ranks, starts, threshold)]
        for pairs in _candidates(ranks[inside], rows[inside], sizes, threshold, split)
    ]
    pairs = np.unique(np.concatenate([np.empty((0, 2), np.int64), *found]), axis=0)
    return pairs - np.array([0, split or 0])


def _ranked(left: Shingles, right: Shingles | None) -> tuple[np.ndarray, np.ndarray]:
    """Every shingle as its rank by rarity (rarest first), sorted within its text; texts of both sides end to end."""
    sides = [left] if right is None else [left, right]
    starts = np.concatenate([[0], np.cumsum(np.concatenate([s.sizes for s in sides]))])
    _, inverse, frequency = np.unique(
        np.concatenate([s.hashes for s in sides]), return_inverse=True, return_counts=True
    )
    rank = np.empty(len(frequency), np.int64)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency))
    ranks = rank[inverse]
    return ranks[np.lexsort((ranks, np.repeat(np.arange(len(starts) - 1), np.diff(starts))))], starts


def _candidates(
    ranks: np.ndarray, rows: np.ndarray, sizes: np.ndarray, threshold: float, split: int | None
) -> Iterator[np.ndarray]:
    """Yield arrays (n, 2) of rows that share a shingle of their prefixes and are of comparable size."""
    order = np.lexsort((rows, ranks))
    ranks, rows = ranks[order], rows[order]
    place = np.arange(len(ranks))
    # Partners are the later rows in the list of the same shingle; with two sides, the first row of the right one on.
    ends = np.searchsorted(ranks, ranks, side="right")
    begins = place + 1
    if split is not None:
        rights = np.concatenate([np.cumsum((rows >= split)[::-1])[::-1], [0]])
        begins = np.where(rows < split, ends - (rights[place] - rights[ends]), ends)
    partners = ends - begins
    total = np.cumsum(partners)
    low = 0
    while low < len(rows):
        done = total[low - 1] if low else 0
        high = max(int(np.searchsorted(total, done + CHUNK, side="right")), low + 1)
        n = partners[low:high]
        first = np.repeat(place[low:high], n)
        second = np.repeat(begins[low:high] - (np.cumsum(n) - n), n) + np.arange(len(first))
        a, b = rows[first], rows[second]
        keep = np.minimum(sizes[a], sizes[b]) >= threshold * np.maximum(sizes[a], sizes[b]) - 1e-9
        joint = np.unique(a[keep] * len(sizes) + b[keep])
        yield np.stack(np.divmod(joint, len(sizes)), axis=1)
        low = high


def _similar(pairs: np.ndarray, ranks: np.ndarray, starts: np.ndarray, threshold: float) -> np.ndarray:
    keep = np.zeros(len(pairs), bool)
    for i, (a, b) in enumerate(pairs.tolist()):
        left, right = ranks[starts[a] : starts[a + 1]], ranks[starts[b] : starts[b + 1]]
        at = np.searchsorted(left, right)
        shared = np.count_nonzero(left[np.minimum(at, len(left) - 1)] == right)
        keep[i] = shared >= threshold * (len(left) + len(right) - shared) - 1e-9
    return keep
