"""Is a way of weighing two losses better than a fixed weight could be? Its distance from the line of fixed weights."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

Array = npt.NDArray[np.float64]


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
    frame.insert(7, "p_holm", multipletests(frame["p"], method="holm")[1])
    return frame


def _square(runs: pd.DataFrame, by: str, unit: str, values: tuple[str, str]) -> pd.DataFrame:
    """A row a unit and a column a value and arm; ValueError where one is missing or there twice."""
    for name in (by, unit, *values):
        if name not in runs:
            raise ValueError(f"the table has no column {name!r}; it has {', '.join(map(str, runs.columns))}")
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
