"""How long an explorer's Python takes from a moved slider to the redrawn figure.

Prints the median and the 90th percentile per explorer, over steps of one control back and forth, on a planted study of
60 runs and planted laws with 1,000 draws; single-threaded. Leaves with status 1 if a median is above 50 ms. Process
time, so that a busy machine counts as little as it can.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # before numpy is there

import numpy as np
import pandas as pd

from drscale.budget.explore import budget_explorer
from drscale.budget.prices import paper_prices
from drscale.frontier.explore import draw, frontier_explorer
from drscale.laws import fit as laws
from drscale.laws.curve import Curve
from drscale.laws.explore import law_explorer
from drscale.plotting.live import Explorer

MOST = 50.0  # milliseconds
WIDTHS = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
PAIRS = (2_000, 8_000, 32_000)
TRUTH = {"M": 3.5e4, "mu": 0.55, "B": 5e3, "eta": 1.1, "delta": 0.05}


def study(rng: np.random.Generator) -> pd.DataFrame:
    """Draw sizes crossed with amounts of data, two seeds each, from planted laws."""
    rows = []
    for width in WIDTHS:
        for pairs in PAIRS:
            for seed in (0, 1):
                n = 2 * (12 * width**2 + 13 * width)
                row = {"rung": f"L2H{width}", "params_layers": n, "train_pairs": pairs, "seed": seed, "synthetic": True}
                for scope, factor in (("in_domain", 1.0), ("ood", 1.6)):
                    mean = factor * laws.joint_law(n, pairs, **TRUTH) * (1 + 0.02 * rng.standard_normal())
                    for metric, share in (("entropy", 1.0), ("calibrated", 0.95)):
                        name = f"{scope}_{metric}"
                        row |= {
                            name: share * mean,
                            f"{name}_low": 0.97 * share * mean,
                            f"{name}_high": 1.03 * share * mean,
                        }
                rows.append(row)
    return pd.DataFrame(rows)


def curves(rng: np.random.Generator) -> dict[str, Curve]:
    """Two planted joint laws whose draws scatter by 5%."""
    made = {}
    for name, change in (("one", {}), ("another", {"M": 5e5, "B": 8e3})):
        values = TRUTH | change
        draws = pd.DataFrame({k: v * np.exp(0.05 * rng.standard_normal(1000)) for k, v in values.items()})
        made[name] = Curve(laws.joint_law, values, {"N": (5e5, 8e7), "D": (3e4, 5e5)}, draws, name)
    return made


def steps(box: Explorer, name: str, values: list[object], count: int) -> list[float]:
    """Milliseconds of each of so many moves of a control back and forth."""
    control, taken = box.controls[name], []
    for i in range(count + 2):
        started = time.process_time()
        control.value = values[i % len(values)]
        taken.append(1000 * (time.process_time() - started))
    return taken[2:]  # the first ones load what the others find ready


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    table = study(rng)
    sample = draw(table, pool=("rung", "train_pairs"))
    law = law_explorer(table)
    budget = budget_explorer(curves(rng), paper_prices(), 1e6)
    frontier = frontier_explorer(sample)
    moves: dict[str, Callable[[], list[float]]] = {
        "law explorer, hold-out cut": lambda: steps(
            law, "above", [v for _, v in law.controls["above"].options], options.steps
        ),
        "law explorer, run left out": lambda: steps(
            law, "without", [(i,) for _, i in law.controls["without"].options[:10:2]], options.steps
        ),
        "budget explorer, budget": lambda: steps(budget, "budget", [1e6, 1.25e6, 1.5e6, 2e6, 2.5e6], options.steps),
        "budget explorer, price of a pair": lambda: steps(budget, "pair", [0.6, 0.8, 1.0, 1.25, 1.5], options.steps),
        "frontier explorer, rungs": lambda: steps(
            frontier, "rungs", [tuple(f"L2H{w}" for w in WIDTHS[i : i + 5]) for i in range(5)], options.steps
        ),
        "frontier explorer, measure": lambda: steps(frontier, "y", ["ood_entropy", "ood_calibrated"], options.steps),
    }
    slow = []
    for name, move in moves.items():
        taken = np.array(move())
        median = float(np.median(taken))
        slow += [name] if median > MOST else []
        print(f"{name}: median {median:.1f} ms, p90 {np.quantile(taken, 0.9):.1f} ms of {len(taken)} steps")
    print(f"over {MOST:.0f} ms: {', '.join(slow)}" if slow else f"every median is below {MOST:.0f} ms")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
