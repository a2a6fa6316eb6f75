"""How long does a mixed model of a whole study of retrievers take, and does statsmodels agree?

Fits nDCG@10 ~ model * task + (1 | dataset/query) to synthetic rows as many as the generalisability study has (9 models,
30 datasets, 36,000 queries), with marginal means, all pairs by Tukey and type III tests, and prints seconds and the
process's peak memory. Then fits a part that statsmodels can do in memory and reasonable time with both, and prints how
far apart they are and how many times faster the closed form is. Leaves with status 1 beyond 10 s, 4 GB or 1e-4.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd
from statsmodels.regression.mixed_linear_model import MixedLM

from drscale.mixed import fit as mixed
from drscale.mixed import margins
from drscale.mixed import margins as shares

LONGEST, MOST, APART = 10.0, 4.0, 1e-4  # seconds, GB, and what estimates may differ by


def study(models: int, datasets: int, queries: int, tasks: int, seed: int) -> pd.DataFrame:
    """Synthetic rows: datasets of unequal size, some scores missing, a planted advantage of every model."""
    rng = np.random.default_rng(seed)
    place = np.sort(rng.choice(datasets, queries, p=rng.dirichlet(np.full(datasets, 2.0))))
    easy, known = 0.1 * rng.standard_normal(datasets), 0.25 * rng.standard_normal(queries)
    skill = np.linspace(0.3, 0.6, models)[:, None] + 0.05 * rng.standard_normal((models, tasks))
    task = np.arange(datasets) % tasks
    y = skill[:, task[place]] + easy[place] + known + 0.2 * rng.standard_normal((models, queries))
    rows = pd.DataFrame(
        {
            "model": np.repeat([f"model {m}" for m in range(models)], queries),
            "dataset": np.tile([f"dataset {d}" for d in place], models),
            "query": np.tile([f"query {q}" for q in range(queries)], models),
            "task": np.tile([f"task {t}" for t in task[place]], models),
            "ndcg10": y.ravel(),
        }
    )
    return rows[rng.random(len(rows)) > 0.005].reset_index(drop=True)


def by_statsmodels(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, float]:
    """Marginal means by MixedLM, the variances of datasets, queries and residuals, and -2 log restricted likelihood."""
    cells = (rows["model"] + rows["task"]).factorize()
    named = rows.assign(cell=pd.Categorical(cells[0]))
    vc = {"query": "0 + C(query)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its search
        model = MixedLM.from_formula("ndcg10 ~ 0 + cell", named, groups="dataset", re_formula="1", vc_formula=vc)
        # as it comes it stops where variances still are some 1e-3 away; to the end it takes no longer
        found = model.fit(reml=True, method="bfgs", gtol=1e-8)
    order = rows.drop_duplicates(["model", "task"])["model"].factorize()[0]
    weights = (np.arange(order.max() + 1)[:, None] == order) / np.bincount(order)[:, None]
    variances = np.array([found.cov_re.iloc[0, 0], found.vcomp[0], found.scale])
    return weights @ np.asarray(found.fe_params), variances, float(-2 * found.llf)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, default=9)
    parser.add_argument("--datasets", type=int, default=30)
    parser.add_argument("--queries", type=int, default=36_000)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--small", type=int, default=300, help="queries of the part that statsmodels fits too")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    rows = study(o.models, o.datasets, o.queries, o.tasks, o.seed)
    before = peak()
    started = time.perf_counter()
    fit = mixed.fit_mixed(rows, factor="task")
    fitted = time.perf_counter() - started
    margins.marginal_means(fit, ["model", "task"])
    margins.contrasts(fit)
    margins.anova(fit)
    seconds = time.perf_counter() - started
    memory = peak()
    print(fit)
    print(f"{len(rows):,} synthetic rows: fit {fitted:.2f} s; with means, pairs and tests {seconds:.2f} s")
    print(f"peak memory {memory:.2f} GB, of which {before:.2f} GB before the fit")
    started = time.perf_counter()
    shares.variance_shares(fit, n_boot=100)
    print(f"shares of variance with 100 bootstrap draws: {time.perf_counter() - started:.1f} s")

    part = study(o.models, min(o.datasets, 12), o.small, min(o.tasks, 3), o.seed)
    started = time.process_time()  # of short fits on a busy machine only the processor's time can be compared
    small = mixed.fit_mixed(part, factor="task")
    ours = time.process_time() - started
    means = margins.marginal_means(small)
    started = time.process_time()
    theirs, variances, least = by_statsmodels(part)
    other = time.process_time() - started
    apart = np.abs(np.array(list(small.variances.values())) / variances - 1).max()
    apart = max(float(np.abs(means["mean"] - theirs).max()), float(apart))
    print(f"{len(part):,} rows: closed form {ours:.3f} s of CPU, statsmodels {other:.2f} s, {other / ours:.0f}:1")
    print(f"marginal means and variances differ by {apart:.1e} at most")
    print(f"-2 log restricted likelihood {small.criterion:.6f} here, {least:.6f} there")
    right = seconds < LONGEST and memory < MOST and apart < APART
    print("as wanted" if right else "NOT as wanted")
    return 0 if right else 1


def peak() -> float:
    """The process's largest memory so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    sys.exit(main())
