"""The weight of the robustness loss: what Pareto training's controller did in a run, and in a toy. No torch.

:func:`trajectory` and :func:`behaviour` judge a course of weights. The toy is Eq. 10 and 11 of Liu et al. (2025) on two
made-up losses whose ratio rises with the robustness loss's weight, late and with noise. It shows what the step eta,
smoothing and the target 1 / omega_0 do to the weight, and nothing about retrieval. :func:`from_line` measures how far a
way of weighing lies from the line of fixed weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
from scipy import stats

from drscale.runs import Run
from drscale.stats.correlate import adjusted
from drscale.stats.tables import Array, require

BOUND = 1e-9  # a weight this near to 0 or 1 is at the bound
STANDARD, ALONE = "standard training", "robustness loss alone"  # what a run is whose weight sits at a bound


@dataclass(frozen=True)
class Behaviour:
    """How a weight behaves in the second half of its course.

    ``kind`` is ``saturates`` (at one bound for more than half of the steps, and hardly ever at the other),
    ``settles`` (its middle 90% spans at most 0.2), ``drifts`` (so it would without its straight trend) or
    ``oscillates``; ``at_bounds`` is the share of steps at 0 or 1, ``spread`` the width of the middle 90%.
    """

    kind: str
    at_bounds: float
    spread: float
    mean: float


@dataclass(frozen=True)
class Trajectory:
    """What a run's weight did over all its steps, and what that makes of the run.

    ``at_0`` and ``at_1`` are shares of steps, ``mean`` is over all steps, ``late_sd`` is the standard deviation in the
    second half. ``called`` is "standard training" where the robustness loss had weight 0 in most steps, "robustness
    loss alone" where it had weight 1 in most, and "both losses" otherwise.
    """

    at_0: float
    at_1: float
    mean: float
    late_sd: float
    called: str


def next_weight(omega: float, effectiveness: float, robustness: float, omega_0: float, eta: float) -> float:
    """The robustness loss's weight after a step (Eq. 10), clipped to 0 and 1 (Eq. 11)."""
    ratio = effectiveness / max(robustness, 1e-12)
    return min(max(omega - eta * (ratio - 1 / omega_0), 0.0), 1.0)


def simulate(
    omega_0: float = 0.5,
    eta: float = 0.1,
    smooth: float = 0.0,
    *,
    ratio: float = 1.5,
    gain: float = 1.5,
    lag: float = 30.0,
    noise: float = 0.2,
    steps: int = 800,
    seed: int = 0,
) -> pd.DataFrame:
    """Let the controller run on two made-up losses; a row a step: step, omega, ratio (as seen) and target.

    At weight omega the losses' ratio l_E / l_R tends to ``ratio * exp(gain * (omega - 0.5))``, with a delay of ``lag``
    steps; each loss carries lognormal ``noise`` (a standard deviation in logs), as batches make it. ``smooth`` is the
    memory of an exponential moving average of each loss, 0 for the paper's form.
    """
    for name, value, fine, allowed in (
        ("omega_0", omega_0, omega_0 > 0, "above 0"),
        ("eta", eta, eta > 0, "above 0"),
        ("smooth", smooth, 0 <= smooth < 1, "in [0, 1)"),
        ("ratio", ratio, ratio > 0, "above 0"),
        ("gain", gain, gain >= 0, "at least 0"),
        ("lag", lag, lag >= 1, "at least 1"),
        ("noise", noise, noise >= 0, "at least 0"),
        ("steps", steps, steps >= 1, "at least 1"),
    ):
        if not fine:
            raise ValueError(f"{name}={value}: must be {allowed}")
    luck = np.exp(noise * np.random.default_rng(seed).standard_normal((steps, 2)))
    omega = min(omega_0, 1.0)
    level = math.log(ratio) + gain * (omega - 0.5)
    seen: list[float] = []
    rows = []
    for step in range(steps):
        level += (math.log(ratio) + gain * (omega - 0.5) - level) / lag
        losses = [math.exp(level / 2) * luck[step, 0], math.exp(-level / 2) * luck[step, 1]]
        seen = [smooth * a + (1 - smooth) * b for a, b in zip(seen or losses, losses, strict=True)]
        rows.append((step, omega, seen[0] / seen[1]))
        omega = next_weight(omega, seen[0], seen[1], omega_0, eta)
    return pd.DataFrame(rows, columns=["step", "omega", "ratio"]).assign(target=1 / omega_0)


def resting_weight(omega_0: float = 0.5, *, ratio: float = 1.5, gain: float = 1.5) -> float:
    """The weight at which the toy's ratio meets the target; outside 0 to 1 none does, and the weight must saturate."""
    error = -math.log(omega_0 * ratio)
    return 0.5 + error / gain if gain else math.copysign(math.inf, error)


def behaviour(omega: Sequence[float] | np.ndarray | pd.Series) -> Behaviour:
    """Say how a weight behaves, from its course over the steps; the first half is its way there."""
    course = _course(omega)
    late = course[len(course) // 2 :]
    low, high = (float((late <= BOUND).mean()), float((late >= 1 - BOUND).mean()))
    steps = np.arange(len(late))
    level = late - np.polyval(np.polyfit(steps, late, 1), steps) if len(late) > 2 else late
    spread, around = (float(np.subtract(*np.quantile(course, [0.95, 0.05]))) for course in (late, level))
    stuck = max(low, high) > 0.5 and min(low, high) < 0.1
    calm = "settles" if spread <= 0.2 else "drifts" if around <= 0.2 else "oscillates"
    return Behaviour("saturates" if stuck else calm, low + high, spread, float(late.mean()))


def trajectory(omega: Sequence[float] | np.ndarray | pd.Series) -> Trajectory:
    """Judge the weight's course over all steps of a run, as ``Run.omega`` keeps it: did it weigh both losses?"""
    course = _course(omega)
    at_0, at_1 = float((course <= BOUND).mean()), float((course >= 1 - BOUND).mean())
    called = STANDARD if at_0 > 0.5 else ALONE if at_1 > 0.5 else "both losses"
    return Trajectory(at_0, at_1, float(course.mean()), float(course[len(course) // 2 :].std()), called)


def trajectories(runs: Iterable[Run]) -> pd.DataFrame:
    """Judge every run that keeps its weight, as ``RunStore.runs()`` gives them; a row a run, ``key`` and Trajectory."""
    rows = [{"key": run.key, **asdict(trajectory(run.omega))} for run in runs if run.omega]
    return pd.DataFrame(rows, columns=["key", *(f.name for f in fields(Trajectory))])


def _course(omega: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    course = np.asarray(omega, dtype=float)
    if course.ndim != 1 or len(course) < 2 or not np.isfinite(course).all():
        raise ValueError(f"omega: a course of at least 2 finite numbers is needed, got shape {course.shape}")
    return course


def from_line(
    runs: pd.DataFrame,
    fixed: list[str],
    x: str,
    y: str,
    *,
    by: str = "arm",
    unit: str = "seed",
    level: float = 0.95,
) -> pd.DataFrame:
    """Hold each arm's mean against the line through the means of the ``fixed`` weights, both axes losses.

    The line runs through the fixed arms' means in the order given and goes on straight beyond its ends; ``distance`` is
    how far an arm's mean ``y`` lies above it at the arm's mean ``x``, so that below zero an arm does what no fixed
    weight does. ``beyond`` says that the arm lies outside the line's own range, where its distance is an extrapolation.

    The unit is what is drawn again, for instance a seed: all arms must have the same ones, once each. The interval is
    the jackknife's over units with Student's t; ``p`` is for a distance of zero, ``p_holm`` corrected for the arms.
    """
    table = _square(runs, by, unit, (x, y))
    known = list(dict.fromkeys(table.columns.get_level_values(1)))
    arms, missing = [arm for arm in known if arm not in fixed], [arm for arm in fixed if arm not in known]
    if missing or len(fixed) < 2 or not arms:
        raise ValueError(
            f"fixed={fixed!r}: at least two arms of column {by!r}, and one more to hold against them; it has "
            f"{', '.join(map(repr, known))}"
        )
    units = len(table)
    if units < 3:
        raise ValueError(f"unit={unit!r}: {units} of them; at least 3 are needed for an interval")
    rows = []
    for arm in arms:
        names = [*fixed, arm]
        values = np.stack([table[x][names].to_numpy(float), table[y][names].to_numpy(float)])  # (2, units, arms)
        whole, beyond = _distance(values.mean(1))
        left_out = np.array([_distance(np.delete(values, i, axis=1).mean(1))[0] for i in range(units)])
        error = np.sqrt((units - 1) / units * ((left_out - left_out.mean()) ** 2).sum())
        reach = error * stats.t.ppf(0.5 + level / 2, units - 1)
        p = 2 * stats.t.sf(abs(whole) / error, units - 1) if error > 0 else float(whole == 0)
        mine = values[:, :, -1].mean(1)
        rows.append((arm, mine[0], mine[1], whole, whole - reach, whole + reach, float(p), beyond, units))
    names = [by, x, y, "distance", "low", "high", "p", "beyond", "units"]
    frame = pd.DataFrame(rows, columns=names)
    frame.insert(7, "p_holm", adjusted(frame["p"], "holm"))
    return frame


def _square(runs: pd.DataFrame, by: str, unit: str, values: tuple[str, str]) -> pd.DataFrame:
    """A row a unit and a column a value and arm; ValueError where one is missing or there twice."""
    require(runs, by, unit, *values)
    if runs.duplicated([by, unit]).any():
        twice = runs[runs.duplicated([by, unit])].iloc[0]
        raise ValueError(f"{by}={twice[by]!r}, {unit}={twice[unit]!r}: there twice; one run each is needed")
    table = runs.pivot_table(index=unit, columns=by, values=list(values))
    if table.isna().to_numpy().any():
        arm = table.columns[table.isna().any()][0][1]
        raise ValueError(
            f"{by}={arm!r}: lacks some of the {len(table)} values of {unit!r}; every arm needs the same ones"
        )
    return table


def _distance(means: Array) -> tuple[float, bool]:
    """How far the last point lies above the line through the others, along y; and whether beyond its ends."""
    order = np.argsort(means[0, :-1], kind="stable")
    xs, ys = means[0, :-1][order], means[1, :-1][order]
    at = int(np.clip(np.searchsorted(xs, means[0, -1]), 1, len(xs) - 1))  # the segment, the end ones go on
    slope = (ys[at] - ys[at - 1]) / max(xs[at] - xs[at - 1], 1e-12)
    on_line = ys[at - 1] + slope * (means[0, -1] - xs[at - 1])
    return float(means[1, -1] - on_line), bool(not xs[0] <= means[0, -1] <= xs[-1])
