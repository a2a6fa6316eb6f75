"""The same need answered in several packages: functions of one name whose summaries say nearly the same."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import pandas as pd

from drscale.texts.near import near_duplicates

LEAST = 0.25  # summaries this similar, and a common name, are one need
COPIED = 0.5  # bodies this similar are copies of each other, which nobody could tell apart by their package
STEM = 5  # letters of a word that count, so that "array" is "arrays"
WORD = re.compile(r"[a-z]+")


def short_name(name: str) -> str:
    """What a documented thing is called, without its module, in lower case: ``numpy.fft._pocketfft.fft`` is ``fft``."""
    return re.split(r"[.:]", name.partition("#")[0])[-1].lower().strip("_")


class Alike:
    """How alike two summaries are: the Jaccard similarity of their words' stems, rare words weighing more.

    A stem weighs ln(summaries / summaries that have it); both sums run over these weights. Between 0 and 1.
    """

    def __init__(self, summaries: Sequence[str]) -> None:
        self.stems = [frozenset(w[:STEM] for w in WORD.findall(s.lower())) for s in summaries]
        seen = Counter(stem for stems in self.stems for stem in stems)
        self.weights = {stem: math.log(len(summaries) / n) for stem, n in seen.items()}

    def __call__(self, one: int, other: int) -> float:
        a, b = self.stems[one], self.stems[other]
        return self._weight(a & b) / (self._weight(a | b) or 1.0)

    def _weight(self, stems: frozenset[str]) -> float:
        return math.fsum(self.weights[stem] for stem in stems)


def find_needs(docs: pd.DataFrame, least: float = LEAST) -> list[list[int]]:
    """Find sets of rows that answer one need in different packages, at most one row a package.

    ``docs`` has the columns id, package, query (the summary) and passage. The most similar pair is joined first; two
    sets are joined where every pair across them is alike enough, of one name, and no copy of the other. Special methods
    (``__init__``) are left out: their names say nothing. Sorted; the same rows give the same sets everywhere.
    """
    if not 0 < least <= 1:
        raise ValueError(f"find_needs(least={least}): must lie in (0, 1]")
    packages, alike = docs["package"].tolist(), Alike(docs["query"].tolist())
    edges = _edges(docs["id"].tolist(), packages, alike, least)
    rows = sorted({row for pair in edges for row in pair})
    for one, other in near_duplicates([docs["passage"].iloc[row] for row in rows], threshold=COPIED).tolist():
        edges.pop((rows[one], rows[other]), None)
    home = {row: row for row in rows}
    members = {row: [row] for row in rows}
    for one, other in sorted(edges, key=lambda pair: (-edges[pair], pair)):
        a, b = home[one], home[other]
        across = [(min(i, j), max(i, j)) for i in members[a] for j in members[b]]
        if a == b or any(pair not in edges for pair in across):  # rows of one package have no edge
            continue
        members[a] += members.pop(b)
        home.update(dict.fromkeys(members[a], a))
    return sorted(sorted(some) for some in members.values() if len(some) > 1)


def siblings(docs: pd.DataFrame, needs: Sequence[Sequence[int]]) -> set[int]:
    """The rows in no need that share their name and package with a row of one: they may answer it as well."""
    inside = {row for need in needs for row in need}
    names, packages = [short_name(i) for i in docs["id"]], docs["package"].tolist()
    taken = {(names[row], packages[row]) for row in inside}
    return {row for row in range(len(docs)) if row not in inside and (names[row], packages[row]) in taken}


def sides(docs: pd.DataFrame, needs: Sequence[Sequence[int]]) -> list[int]:
    """Number the groups of needs that share a name, so that a split can keep each on one side."""
    first: dict[str, int] = {}
    return [first.setdefault(short_name(docs["id"].iloc[need[0]]), len(first)) for need in needs]


def _edges(names: list[str], packages: list[str], alike: Alike, least: float) -> dict[tuple[int, int], float]:
    """Pairs of rows of one name in two packages, and how alike they are."""
    called: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(names):
        if not name.partition("#")[0].endswith("__"):
            called[short_name(name)].append(row)
    return {
        (one, other): value
        for rows in called.values()
        for i, one in enumerate(rows)
        for other in rows[i + 1 :]
        if packages[one] != packages[other] and (value := alike(one, other)) >= least
    }
