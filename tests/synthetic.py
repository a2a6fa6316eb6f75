"""Run tables and stores from planted laws, for the tests of what stands on the far side of the waist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drscale.laws import fit as laws
from drscale.recipe import Recipe
from drscale.runs import Measure, Run, RunStore

WIDTHS = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
TRUTH = {"M": 3.48e4, "mu": 0.55, "delta": 0.05}  # Table 1, effectiveness on MS MARCO


def size_table(noise: float = 0.02, seeds: int = 2, levels: int = 12, seed: int = 0, **truth: float) -> pd.DataFrame:
    """Runs that obey the size law up to relative noise, over the sizes of the paper."""
    rng, planted = np.random.default_rng(seed), {**TRUTH, **truth}
    n = np.repeat(np.geomspace(5e5, 8.2e7, levels), seeds)
    y = laws.size_law(n, **planted)
    return pd.DataFrame(
        {
            "params_layers": n,
            "in_domain_entropy": y * (1 + noise * rng.standard_normal(len(n))),
            "ood_entropy": 1.6 * y * (1 + noise * rng.standard_normal(len(n))),
            "seed": np.tile(np.arange(seeds), levels),
            "synthetic": True,
        }
    )


def layers(width: int) -> int:
    return 2 * (12 * width**2 + 13 * width)


def run(recipe: Recipe, pairs: int, rng: Any, curve: bool = True) -> Run:
    """One run whose in-domain and out-of-domain entropies follow planted laws of size and data."""
    n = layers(int(recipe.rung.split("H")[1]))
    base = {"in_domain": (2e4 / n) ** 0.35 + (3e3 / pairs) ** 0.7 + 0.9, "ood": (4e4 / n) ** 0.25 + 2e3 / pairs + 2.6}
    measures: dict[str, dict[str, Measure]] = {}
    for scope, value in [*base.items(), *((f"ood:{d}", base["ood"] * f) for d, f in (("numpy", 0.9), ("scipy", 1.1)))]:
        mean = value * (1 + 0.01 * rng.standard_normal())
        measures[scope] = {
            "entropy": Measure(mean, mean - 0.05, mean + 0.06, 400),
            "calibrated": Measure(0.95 * mean, 0.95 * mean - 0.05, 0.95 * mean + 0.05, 400),
            "ndcg10": Measure(0.9 / mean, 0.85 / mean, 0.95 / mean, 400),
        }
    mean = measures["in_domain"]["entropy"].mean
    steps = np.linspace(recipe.steps / 10, recipe.steps, 10) if curve else np.array([])
    return Run(
        recipe=recipe,
        status="done",
        fingerprint="f" * 64,
        synthetic=True,
        train_pairs=pairs,
        temperature=1.0,
        parameters={"layers": n, "drscale": n + 768 * 300},
        cost={"flops": 6.0 * n * 1e6, "seconds": 10.0},
        measures=measures,
        curve=[
            {"step": float(s), "loss": mean + 2 * np.exp(-s / 200), "validation": mean + 2 * np.exp(-s / 150)}
            for s in steps
        ],
    )


def study(
    path: Path, widths: tuple[int, ...] = WIDTHS, sizes: tuple[int, ...] = (550, 1100, 2200, 4400, 8800)
) -> RunStore:
    """A store of the shape of the measured study: a ladder at full data and data sizes at one rung, two seeds each."""
    store, rng = RunStore(path), np.random.default_rng(0)
    for seed in (0, 1):
        for width in widths:
            store.save(run(Recipe(rung=f"L2H{width}", seed=seed), 17600, rng))
        for pairs in sizes:
            store.save(run(Recipe(rung="L2H192", pairs=pairs, seed=seed), pairs, rng))
    return store
