"""Contours of training strategies at one size and amount of data, and how they move as these grow. No torch.

Effectiveness and robustness are measured on logarithmic axes, turned so that higher is better: ``g = -log(loss)``, or
log of a score. Two numbers then give the place of a run: its **level** ``s = (g_x + g_y) / 2``, the mean of the two,
and its **lean** ``t = g_x - g_y``, positive towards x (effectiveness); of losses, ``t = log(R / E)``.

A contour is ``s = s0 - k (t - t0)**2``. It has the shape that the paper describes: both are low where a strategy leans
to one side, and best in between. It bends the right way for any k > 0. It is linear in its coefficients, so it has one
best fit and, from four strategies on, Fieller intervals that treat the leans as known. Unlike a superellipse around a
worst corner, or a hyperbola with its asymptotes, it needs no reference point: a factor on all x or all y only shifts
it. At ``t0`` a percent of x is worth a percent of y: this is the Pareto-efficient point, and ``exp(t0)`` is R / E
there. Within ``1 / (4 k)`` of t0 one of the two can only improve at the cost of the other, so that part is the front;
further out both get worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from drscale.frontier.dominance import X, Y, checked
from drscale.stats.tables import Array, Better, require, signs, warn_if_mixed

LEAST = 4  # strategies of different lean: three numbers and one degree of freedom
SAME = 1e-9  # leans this close count as equal


def contours(
    table: pd.DataFrame,
    by: str | Sequence[str] = ("rung", "train_pairs"),
    x: str = X,
    y: str = Y,
    *,
    better: Better = "lower",
    strategy: str | Sequence[str] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Fit the contour at each size and amount of data; one row for each contour, NaN if it cannot be fitted.

    ``strategy`` names columns; the runs of each combination of their values are averaged to one point (for the seeds of
    one strategy and share give ("strategy", "share")). Without it every run is a point. Columns: those of ``by``,
    ``points``, ``s0``, ``t0`` and ``curvature`` (k), ``x`` and ``y`` of the efficient point, ``ratio`` (``exp(t0)``: R
    / E of losses, omega_0) with ``ratio_low`` and ``ratio_high`` (Fieller; infinite if the data do not determine it),
    ``rms`` (of the level's residuals, per degree of freedom; 0.01 is a percent of the geometric mean), ``r2``,
    ``t_low`` and ``t_high`` (the leans in the data), and ``note``, which says what is wrong.

    >>> import numpy as np
    >>> import pandas as pd
    >>> import drscale as ds
    >>> lean = np.linspace(-0.4, 0.4, 5)  # log(ood / in-domain): five strategies, the one in the middle is best
    >>> level = 0.1 - 0.5 * lean**2
    >>> loss = {"in_domain_entropy": np.exp(-level - lean / 2), "ood_entropy": np.exp(-level + lean / 2)}
    >>> table = ds.contours(pd.DataFrame({"rung": "L2H64"} | loss), "rung", "in_domain_entropy", "ood_entropy")
    >>> table[["rung", "points", "curvature", "ratio"]].round(2)
        rung  points  curvature  ratio
    0  L2H64       5        0.5    1.0
    """
    columns = [by] if isinstance(by, str) else list(by)
    rows = points(table, columns, x, y, better=better, strategy=strategy)
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must lie between 0 and 1")
    side, found = signs(better), []
    for name, part in rows.groupby(columns, sort=True):
        values = dict(zip(columns, name, strict=True))
        found.append(values | _fit(part["t"].to_numpy(), part["s"].to_numpy(), level, side))
    return pd.DataFrame(found)


def points(
    table: pd.DataFrame,
    by: str | Sequence[str],
    x: str = X,
    y: str = Y,
    *,
    better: Better = "lower",
    strategy: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Level ``s`` and lean ``t`` of each run that is done, or of each strategy's mean at each contour."""
    columns = [by] if isinstance(by, str) else list(by)
    also = [strategy] if isinstance(strategy, str) else list(strategy or ())
    rows = checked(table, x, y)
    require(rows, *columns, *also)
    if also:
        rows = rows.groupby([*columns, *also], as_index=False)[[x, y]].mean()
    g = -signs(better) * np.log(_positive(rows, x, y))
    return rows.assign(s=g.mean(axis=1), t=g[:, 0] - g[:, 1])


def certain(fitted: pd.DataFrame) -> pd.Series:
    """Which contours certainly bend: the interval of their ratio has an end on both sides."""
    return (fitted["ratio_low"] > 0) & np.isfinite(fitted["ratio_high"])


def determined(fitted: pd.DataFrame) -> pd.Series:
    """Which contours determine their efficient point: they certainly bend, and it lies between the measured leans."""
    return certain(fitted) & fitted["t0"].between(fitted["t_low"], fitted["t_high"])


def trace(fitted: pd.DataFrame, count: int = 60, *, better: Better = "lower", widen: float = 0.0) -> pd.DataFrame:
    """Points along each fitted contour, for drawing: its columns, ``x``, ``y``, ``t``, ``front`` and ``extrapolated``.

    They go from the lowest measured lean to the highest, with the range widened by its share ``widen`` at both ends;
    ``front`` marks where x and y can each improve only at the cost of the other.
    """
    side, parts = signs(better), []
    own = [str(c) for c in fitted if c not in FIT]
    for row in fitted.dropna(subset=["s0"]).to_dict("records"):
        more = widen * (row["t_high"] - row["t_low"])
        t = np.linspace(row["t_low"] - more, row["t_high"] + more, count)
        s = row["s0"] - row["curvature"] * (t - row["t0"]) ** 2
        part = pd.DataFrame({c: [row[c]] * count for c in own})
        part[["x", "y"]] = _values(s, t, side)
        part = part.assign(t=t, front=2 * row["curvature"] * np.abs(t - row["t0"]) <= 0.5)
        parts.append(part.assign(extrapolated=(t < row["t_low"]) | (t > row["t_high"])))
    columns = [*own, "x", "y", "t", "front", "extrapolated"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def shortfall(
    table: pd.DataFrame,
    fitted: pd.DataFrame,
    x: str = X,
    y: str = Y,
    *,
    better: Better = "lower",
) -> pd.Series:
    """How far each run lies behind its contour's Pareto-efficient point: ``s0 - s``, in logarithms.

    0.1 means that the efficient point is about 10% better in the geometric mean of the two. NaN without a fitted
    contour.
    """
    by = [str(c) for c in fitted if c not in FIT]
    rows = points(table, by, x, y, better=better)
    known = rows[by].merge(fitted[[*by, "s0"]], on=by, how="left", validate="many_to_one")
    return pd.Series(known["s0"].to_numpy() - rows["s"].to_numpy(), index=rows.index, name="shortfall")


def scaling_direction(
    table: pd.DataFrame,
    along: str = "params_layers",
    by: str | Sequence[str] = "strategy",
    x: str = X,
    y: str = Y,
    *,
    better: Better = "lower",
    fitted: pd.DataFrame | None = None,
    level: float = 0.95,
    warn: bool = True,
) -> pd.DataFrame:
    """Where each strategy moves as size or data (``along``) grows: an angle with an interval; one row for each.

    ``gain_x`` and ``gain_y`` are the slopes of g over log ``along``, by least squares (a mean over the range, because
    laws with a floor bend): 0.3 means a loss that falls by about 0.3% for 1% more. ``angle`` is the direction of
    (gain_x, gain_y) in degrees: 0 gains effectiveness only, 90 robustness only, 45 both equally. ``low`` and ``high``
    are Fieller's limits, NaN if the runs do not even show that anything moves. ``normal`` is the direction
    perpendicular to the front at the place of the strategy: 45 at the efficient point, else that of the contours in
    ``fitted`` (:func:`contours`) at its mean lean; ``off`` is angle - normal: above zero the strategy drifts towards
    robustness. ``note`` says what is wrong.
    """
    columns = [by] if isinstance(by, str) else list(by)
    rows = points(table, [*columns, along], x, y, better=better)
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must lie between 0 and 1")
    if not pd.api.types.is_numeric_dtype(rows[along]) or not (rows[along] > 0).all():
        raise ValueError(f"along={along!r}: numbers above zero are needed, as counts of parameters or pairs are")
    found: list[dict[str, Any]] = []
    for name, part in rows.groupby(columns, sort=True):
        if warn:
            warn_if_mixed(part, along)
        u, lean = np.log(part[along].to_numpy(dtype=float)), float(part["t"].mean())
        g = np.column_stack([part["s"] + part["t"] / 2, part["s"] - part["t"] / 2])
        normal = _normal(fitted, lean)
        found.append(dict(zip(columns, name, strict=True)) | {"runs": len(part)} | _direction(u, g, level, normal))
    return pd.DataFrame(found)


FIT = (
    *("points", "s0", "t0", "curvature", "x", "y", "ratio", "ratio_low", "ratio_high"),
    *("rms", "r2", "t_low", "t_high", "note"),
)


def _fit(t: Array, s: Array, level: float, side: Array) -> dict[str, Any]:
    """One contour; see :func:`contours`."""
    row: dict[str, Any] = {"points": len(t), **dict.fromkeys(FIT[1:-1], np.nan), "note": ""}
    row |= {"t_low": float(t.min()), "t_high": float(t.max())}
    different = 1 + int((np.diff(np.sort(t)) > SAME).sum())
    if different < LEAST:
        return row | {"note": f"{different} of {LEAST} different leans: too few strategies for a contour"}
    centre = float(t.mean())
    u = t - centre
    design = np.column_stack([np.ones_like(u), u, u**2])
    coefficients, *_ = np.linalg.lstsq(design, s, rcond=None)
    residual, free = s - design @ coefficients, len(s) - 3
    _, slope, bend = coefficients
    total = float(np.sum((s - s.mean()) ** 2))
    squares = float(residual @ residual)
    row |= {"rms": float(np.sqrt(squares / free)), "r2": 1 - squares / total if total > 0 else np.nan}
    if bend >= 0:
        return row | {"note": "the strategies bend away from a front: no efficient point between them"}
    k, t0 = -float(bend), centre - float(slope / (2 * bend))
    s0 = float(coefficients[0] - slope**2 / (4 * bend))
    low, high = _vertex(coefficients, np.linalg.inv(design.T @ design) * squares / free, free, level)
    at = _values(np.array([s0]), np.array([t0]), side)[0]
    with np.errstate(over="ignore"):
        ratio, ratio_low, ratio_high = (float(v) for v in np.exp([t0, centre + low, centre + high]))
    row |= {"s0": s0, "t0": t0, "curvature": k, "x": at[0], "y": at[1]}
    row |= {"ratio": ratio, "ratio_low": ratio_low, "ratio_high": ratio_high}
    said = []
    if not (ratio_low > 0 and np.isfinite(ratio_high)):
        said.append("the bend is not certain, so neither is the efficient point")
    if not row["t_low"] <= t0 <= row["t_high"]:
        said.append("the efficient point lies beyond the strategies measured: extrapolated")
    return row | {"note": "; ".join(said)}


def _vertex(c: npt.NDArray[Any], covariance: npt.NDArray[Any], free: int, level: float) -> tuple[float, float]:
    """Where the slope ``c1 + 2 c2 u`` may be zero (Fieller); everywhere if the bend is not certain."""
    t2 = float(stats.t.ppf(0.5 + level / 2, free)) ** 2
    a = 4 * (c[2] ** 2 - t2 * covariance[2, 2])
    b = 4 * (c[1] * c[2] - t2 * covariance[1, 2])
    root = b**2 - 4 * a * (c[1] ** 2 - t2 * covariance[1, 1])
    if a <= 0:
        return -np.inf, np.inf
    half = float(np.sqrt(max(root, 0.0)))
    return float((-b - half) / (2 * a)), float((-b + half) / (2 * a))


def _direction(u: Array, g: Array, level: float, normal: float) -> dict[str, Any]:
    """The regression of both gains on u, and the direction of the slopes."""
    nothing = {**dict.fromkeys(("gain_x", "gain_y", "angle", "low", "high"), np.nan), "normal": normal, "off": np.nan}
    if len(np.unique(u)) < 2 or len(u) < 3:
        return nothing | {"note": f"{len(u)} runs at {len(np.unique(u))} levels: at least 3 runs at 2 are needed"}
    v, free = u - u.mean(), len(u) - 2
    b = v @ (g - g.mean(axis=0)) / (v @ v)
    residual = g - g.mean(axis=0) - np.outer(v, b)
    angle = float(np.degrees(np.arctan2(b[1], b[0])))
    row = {"gain_x": float(b[0]), "gain_y": float(b[1]), "angle": angle, "low": np.nan, "high": np.nan}
    row |= {"normal": normal, "off": (angle - normal + 180) % 360 - 180}
    turn = np.array([[b[0], b[1]], [-b[1], b[0]]]) / max(float(np.hypot(*b)), 1e-300)
    s = turn @ (residual.T @ residual) @ turn.T / free / (v @ v) * float(stats.t.ppf(0.5 + level / 2, free)) ** 2
    a = float(b @ b) - s[0, 0]
    if a <= 0:
        return row | {"note": "no movement beyond the scatter: the direction is open"}
    # In the turned axes the slopes are (|b|, 0); a direction tan is inside if it touches their ellipse of errors.
    half = float(np.sqrt(max(s[0, 1] ** 2 + a * s[1, 1], 0.0)))
    ends = np.degrees(np.arctan((np.array([-half, half]) - s[0, 1]) / a))
    return row | {"low": angle + float(ends[0]), "high": angle + float(ends[1]), "note": ""}


def _normal(fitted: pd.DataFrame | None, lean: float) -> float:
    """The mean direction perpendicular to the fitted contours at a lean, in degrees; 45 without contours."""
    known = None if fitted is None else fitted.dropna(subset=["s0"])
    if known is None or known.empty:
        return 45.0
    slope = -2 * known["curvature"].to_numpy(dtype=float) * (lean - known["t0"].to_numpy(dtype=float))
    return float(np.degrees(np.arctan2(np.mean(0.5 + slope), np.mean(0.5 - slope))))


def _positive(rows: pd.DataFrame, x: str, y: str) -> Array:
    values = rows[[x, y]].to_numpy(dtype=float)
    if not (values > 0).all():
        raise ValueError(
            f"columns {x!r}, {y!r}: values above zero are needed for logarithms, leave such runs out first"
        )
    return values


def _values(s: Array, t: Array, side: Array) -> Array:
    """Back from level and lean to the values of x and y; shape (points, 2)."""
    return np.asarray(np.exp(-side * np.column_stack([s + t / 2, s - t / 2])))
