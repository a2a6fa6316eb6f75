"""How long do 4,000 bootstrap refits of the size law and of the joint law take on 60 runs?

Prints the seconds, the ratio to a loop of lmfit fits (a sample of them timed and scaled), and, where the package
chinchilla can be imported or ``--chinchilla`` names a Python that has it, the ratio to its fit of the same table. The
tables are synthetic, from planted laws. Leaves with status 1 when a target is missed: 1 s for the size law, 5 s for the
joint law, in CPU seconds of one core.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # one core, before numpy is loaded
    os.environ.setdefault(name, "1")

import lmfit  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from drscale.laws import fit as laws  # noqa: E402
from drscale.laws import intervals as trust  # noqa: E402

SIZE = {"M": 3.48e4, "mu": 0.55, "delta": 0.05}
BOTH = {"M": 8.34e5, "mu": 0.57, "B": 2.17e3, "eta": 1.38, "delta": 0.03}
TARGETS = {"size_law": 1.0, "joint_law": 5.0}

# Runs in the Python that has chinchilla: the additive law on the table it reads from stdin.
THEIRS = """
import json, sys, tempfile, time
import numpy as np
from chinchilla import Chinchilla
from chinchilla._metrics import mse
if __name__ == "__main__":
    table = json.load(sys.stdin)
    grid = {"E": np.linspace(0.01, 0.1, 3), "a": np.linspace(4, 12, 3), "b": np.linspace(4, 12, 3),
            "alpha": np.linspace(0.3, 1.2, 3), "beta": np.linspace(0.3, 1.2, 3)}
    with tempfile.TemporaryDirectory() as folder:
        cc = Chinchilla(folder, param_grid=grid, loss_fn=mse, log_level=40)
        for n, d, y in zip(table["N"], table["D"], table["y"]):
            cc.append(N=n, D=d, loss=y)
        started = time.perf_counter()
        cc.fit()
        spent = time.perf_counter() - started
    predicted = [float(cc.L(n, d)) for n, d in zip(table["N"], table["D"])]
    print("RESULT", json.dumps({"seconds": spent, "starts": 3 ** 5, "predicted": predicted}))
"""


def size_table(noise: float, rng: np.random.Generator) -> pd.DataFrame:
    """Draw 60 runs that obey a planted size law."""
    n = np.repeat(np.geomspace(5e5, 8.2e7, 12), 5)
    y = laws.size_law(n, **SIZE) * np.exp(noise * rng.standard_normal(60))
    return pd.DataFrame({"params_layers": n, "in_domain_entropy": y})


def joint_table(noise: float, rng: np.random.Generator, law: Callable[..., Any]) -> pd.DataFrame:
    """Draw 60 runs that obey a planted law of size and data: 6 sizes, 5 amounts of data, 2 seeds."""
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(5e5, 8.2e7, 6), np.geomspace(3e4, 4.8e5, 5)))
    n, d = np.repeat(n, 2), np.repeat(d, 2)
    y = law(n, d, **BOTH) * np.exp(noise * rng.standard_normal(60))
    return pd.DataFrame({"params_layers": n, "train_pairs": d, "in_domain_entropy": y})


def refits(table: pd.DataFrame, law: Callable[..., Any], draws: int, sample: int) -> float:
    """Time our refits and a sample of lmfit's on the same table; the CPU seconds of ours."""
    name = law.__name__
    result = laws.fit_law(table, law, warn=False)
    trust.bootstrap_runs(result, 100)  # what is loaded on first use counts for neither
    started = time.process_time()
    trust.bootstrap_runs(result, draws)
    ours = time.process_time() - started
    rng, points, y = np.random.default_rng(0), result.fitted.points, result.fitted.y
    model = lmfit.Model(law, independent_vars=list(points))
    started = time.process_time()
    for _ in range(sample):
        counts = np.bincount(rng.integers(len(y), size=len(y)), minlength=len(y))
        start = model.make_params(**result.best_values)
        for p in start.values():
            p.min = 0
        model.fit(y, start, weights=np.sqrt(counts) / y, **points)
    theirs = (time.process_time() - started) / sample * draws
    print(
        f"{name}: {draws} refits of {len(y)} synthetic runs in {ours:.2f} s (target {TARGETS[name]:g} s); a loop of "
        f"lmfit fits, each started at the fit to all runs, would take {theirs:.0f} s (scaled from {sample}): "
        f"{theirs / ours:.0f} times as long"
    )
    return ours


def chinchilla(python: str | None, noise: float, draws: int) -> None:
    """Time the fit that the package chinchilla makes of the additive law on the same table."""
    table = joint_table(noise, np.random.default_rng(1), laws.additive_law)
    if python is None and importlib.util.find_spec("chinchilla") is None:
        print(
            "chinchilla: not installed here, so not compared; pip install chinchilla==0.2.0 into a virtual environment "
            "of its own and give its Python with --chinchilla"
        )
        return
    told = {"N": table["params_layers"].tolist(), "D": table["train_pairs"].tolist()}
    told["y"] = table["in_domain_entropy"].tolist()
    done = subprocess.run(
        [python or sys.executable, "-c", THEIRS], input=json.dumps(told), capture_output=True, text=True, check=False
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
    if line is None:
        raise SystemExit(f"chinchilla: its fit failed in {python or sys.executable}\n{done.stderr[-2000:]}")
    theirs = json.loads(line.removeprefix("RESULT "))
    started = time.perf_counter()
    result = laws.fit_law(table, laws.additive_law, space="linear", warn=False)
    one = time.perf_counter() - started
    started = time.perf_counter()
    trust.bootstrap_runs(result, draws)
    many = time.perf_counter() - started
    y = table["in_domain_entropy"].to_numpy()
    squares = float(np.sum((np.array(theirs["predicted"]) - y) ** 2))
    print(
        f"chinchilla: its fit of the additive law to the same {len(y)} synthetic runs, by mean squared error from "
        f"{theirs['starts']} starts on {os.cpu_count()} cores, takes {theirs['seconds']:.1f} s, ours {one:.2f} s: "
        f"{theirs['seconds'] / one:.0f} times as long; {draws} refits of ours take {many:.2f} s, "
        f"{theirs['seconds'] / many:.1f} times less than its single fit. "
        f"Sums of squares: {squares:.6g} and {result.chisqr:.6g}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--sample", type=int, default=40, help="lmfit fits to time")
    parser.add_argument("--noise", type=float, default=0.02)
    parser.add_argument("--chinchilla", metavar="PYTHON", help="a Python that can import chinchilla")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    spent = {
        "size_law": refits(size_table(options.noise, rng), laws.size_law, options.draws, options.sample),
        "joint_law": refits(
            joint_table(options.noise, rng, laws.joint_law), laws.joint_law, options.draws, options.sample
        ),
    }
    chinchilla(options.chinchilla, options.noise, options.draws)
    late = [name for name, seconds in spent.items() if seconds > TARGETS[name] * options.draws / 4000]
    print(f"targets: {'missed by ' + ', '.join(late) if late else 'met'}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
