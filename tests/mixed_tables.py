"""Tables that mixed models are tried on: one made up, and one of measured rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from conftest import ROOT

from drscale.runs import RunStore

RUNGS = ("L2H12", "L2H16", "L2H32", "L2H48", "L2H96")


def synthetic(
    models: int = 3,
    levels: int = 2,
    datasets: int = 8,
    queries: int = 7,
    missing: float = 0.15,
    by_query: bool = False,
    dataset_sd: float = 0.3,
    query_sd: float = 0.25,
    noise_sd: float = 0.2,
    seed: int = 0,
) -> pd.DataFrame:
    """Rows with planted variances and a planted advantage of m1 at home (f0); some of the rows are missing."""
    rng, found = np.random.default_rng(seed), []
    for d in range(datasets):
        easy = dataset_sd * rng.standard_normal()
        for q in range(int(rng.integers(queries // 2 + 1, 2 * queries))):
            known = query_sd * rng.standard_normal()
            f = int(rng.integers(levels)) if by_query else d % levels
            for m in range(models):
                y = 0.5 + 0.1 * m + 0.05 * f + 0.15 * (m == 1 and f == 0) + easy + known
                y += noise_sd * rng.standard_normal()
                if rng.random() >= missing:
                    found.append((round(y, 4), f"m{m}", f"f{f}", f"d{d}", f"q{q}"))
    return pd.DataFrame(found, columns=["y", "model", "factor", "dataset", "query"])


def without_a_cell() -> pd.DataFrame:
    """The same without any row of m2 at f1, the factor varying within datasets."""
    return synthetic(by_query=True).query("not (model == 'm2' and factor == 'f1')").reset_index(drop=True)


def measured() -> pd.DataFrame:
    """nDCG@10 of five sizes on every query of the docs benchmark; the packages are the datasets."""
    store = RunStore(ROOT / "data" / "runs" / "docs-strategies")
    runs = store.table().query("pairs == 0 and strategy == 'standard'")
    rung = dict(zip(runs["key"], runs["rung"], strict=True))
    rows = store.queries()
    home = rows["scope"] == "in_domain"
    rows = rows[rows["key"].isin(list(rung)) & (home | rows["scope"].str.startswith("ood:"))]
    package = np.where(home[rows.index], rows["query"].str.split(".").str[0], rows["scope"].str[4:])
    made = pd.DataFrame(
        {
            "y": rows["ndcg10"].to_numpy(float).round(6),
            "model": pd.Categorical(rows["key"].map(rung), RUNGS),
            "factor": np.where(home[rows.index], "home", "foreign"),
            "dataset": package,
            "query": rows["query"],
        }
    )
    return made.sort_values("model", kind="stable").astype({"model": str}).reset_index(drop=True)
