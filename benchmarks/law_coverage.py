"""How often do 95% intervals of the size law's parameters hold the planted truth?

Prints the shares over simulated tables as large as a study: 12 sizes, 2 seeds, 2% relative noise, the law of Table 1.
Leaves with status 1 unless the profile interval of the exponent covers the truth in 92 to 98% of the tables.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import pandas as pd

from drscale.analysis import laws, trust

TRUTH = {"M": 3.48e4, "mu": 0.55, "delta": 0.05}
LEAST, MOST = 0.92, 0.98


def table(rng: np.random.Generator, noise: float) -> pd.DataFrame:
    """Draw one study from the planted law."""
    n = np.repeat(np.geomspace(5e5, 8.2e7, 12), 2)
    y = laws.size_law(n, **TRUTH) * (1 + noise * rng.standard_normal(len(n)))
    return pd.DataFrame({"params_layers": n, "in_domain_entropy": y})


def covered(method: str, tables: int, noise: float, seed: int) -> dict[str, float]:
    """The share of tables whose interval holds the truth, for each parameter."""
    rng, hits = np.random.default_rng(seed), dict.fromkeys(TRUTH, 0)
    for _ in range(tables):
        result = laws.fit(table(rng, noise), laws.size_law, warn=False)
        found = trust.intervals(result, method).set_index("name")  # type: ignore[arg-type]
        for name, truth in TRUTH.items():
            low, high = found.loc[[name], ["low", "high"]].to_numpy(dtype=float)[0]
            hits[name] += int(low <= truth <= high)
    return {name: n / tables for name, n in hits.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--noise", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    exponent = 0.0
    for method in ("profile", "stderr", "bootstrap"):
        started = time.perf_counter()
        shares = covered(method, options.tables, options.noise, options.seed)
        exponent = shares["mu"] if method == "profile" else exponent
        words = ", ".join(f"{name} {100 * share:.1f}%" for name, share in shares.items())
        print(
            f"{method}: 95% intervals hold {words} of {options.tables} truths ({time.perf_counter() - started:.1f} s)"
        )
    right = LEAST <= exponent <= MOST
    print(f"profile coverage of the exponent: {exponent:.3f}, {'inside' if right else 'OUTSIDE'} [{LEAST}, {MOST}]")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
