"""How long does it take to say how surely each of 300 runs is on the front?

Times probability_on_front for synthetic runs, from per-query rows and from intervals, and its core, the fronts of 2,000
draws, against a loop over pymoo's NonDominatedSorting (pip install pymoo==0.6.2; without it, a loop in plain Python).
Leaves with status 1 if the fronts differ, or the whole takes over ten seconds.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from drscale.frontier import dominance as frontier
from drscale.stats.bootstrap import resampled
from drscale.stats.tables import non_dominated

LONGEST = 10.0  # seconds
SLOW = 100  # draws that the loop is timed on


def study(runs: int, queries: int, domains: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A synthetic table of runs on a trade-off, and the per-query rows behind it."""
    rng = np.random.default_rng(seed)
    keys, lean = [f"run {i}" for i in range(runs)], rng.uniform(-0.5, 0.5, runs)
    level, frames = 1.5 + rng.uniform(0, 0.3, runs), []
    for scope in ("in_domain", *(f"ood:{d}" for d in range(domains))):
        mean = level * np.exp((-lean if scope == "in_domain" else lean) / 2)
        values = rng.gamma(2, mean / 2, (queries, runs))
        rows = {"entropy": values.T.ravel(), "query": np.tile([f"query {i}" for i in range(queries)], runs)}
        frames.append(pd.DataFrame(rows).assign(scope=scope, key=np.repeat(keys, queries), positives=1))
    asked = pd.concat(frames, ignore_index=True)
    means = asked.pivot_table(index="key", columns="scope", values="entropy")
    ood = means.drop(columns="in_domain").mean(axis=1)
    table = pd.DataFrame({"in_domain_entropy": means["in_domain"], "ood_entropy": ood})
    for c in ("in_domain_entropy", "ood_entropy"):
        table[f"{c}_low"], table[f"{c}_high"] = table[c] - 0.1, table[c] + 0.1
    return table.loc[keys].reset_index(), asked


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result and the seconds of the quicker of two goes."""
    best = np.inf
    for _ in range(2):
        started = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - started)
    return result, best


def by_pymoo(draws: np.ndarray) -> np.ndarray:
    """The front of each draw, one call of pymoo a draw."""
    sorting = importlib.import_module("pymoo.util.nds.non_dominated_sorting")
    sort, found = sorting.NonDominatedSorting(), np.zeros(draws.shape[:2], dtype=bool)
    for i, points in enumerate(draws):
        found[i, sort.do(points, only_non_dominated_front=True)] = True
    return found


def by_python(draws: np.ndarray) -> np.ndarray:
    """The front of each draw, by a loop over sorted points."""
    found = np.zeros(draws.shape[:2], dtype=bool)
    for i, points in enumerate(draws):
        least = np.inf
        for j in np.lexsort((points[:, 1], points[:, 0])):
            found[i, j] = points[j, 1] < least
            least = min(least, points[j, 1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=300, help="a domain")
    parser.add_argument("--domains", type=int, default=10, help="out of domain")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    table, asked = study(o.runs, o.queries, o.domains, o.seed)
    found, queries = timed(lambda: frontier.probability_on_front(table, rows=asked, n_boot=o.draws))
    _, intervals = timed(lambda: frontier.probability_on_front(table, n_boot=o.draws))
    print(f"{o.runs} synthetic runs, {o.draws} draws: {queries:.2f} s from {len(asked)} rows of queries")
    print(f"the same from intervals: {intervals:.2f} s")
    likely = int((found["probability"] > 0.5).sum())
    print(f"expected size of the front {found['probability'].sum():.1f}, {likely} runs likelier on it than not")
    draws = resampled(table, ("in_domain_entropy", "ood_entropy"), n_boot=o.draws)
    ours, quick = timed(lambda: non_dominated(draws))
    there = importlib.util.find_spec("pymoo") is not None
    few = draws[:SLOW]
    theirs, slow = timed(lambda: (by_pymoo if there else by_python)(few))
    slow *= len(draws) / len(few)
    name = "pymoo's NonDominatedSorting, draw by draw" if there else "a plain Python loop (pymoo is not installed)"
    same = bool((theirs == ours[: len(few)]).all())
    print(f"the fronts alone: {1e3 * quick:.0f} ms, {name} about {1e3 * slow:.0f} ms (from {len(few)} draws)")
    print(f"ratio {slow / quick:.1f}, fronts {'equal' if same else 'DIFFERENT'}")
    return 0 if same and queries < LONGEST else 1


if __name__ == "__main__":
    sys.exit(main())
