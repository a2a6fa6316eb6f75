"""Correlations between measures of models, partial ones, and what few models can show. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from drscale.stats.tables import Array, require

Method = Literal["pearson", "spearman", "kendall"]
Adjust = Literal["holm", "bh", "bonferroni", "none"]
COLUMNS = [
    *("x", "y", "control", "method", "r", "low", "high", "joint_low", "joint_high"),
    *("boot_low", "boot_high", "p", "p_adjusted", "n", "clusters"),
]


def correlations(
    table: pd.DataFrame,
    x_columns: str | Sequence[str],
    y_columns: str | Sequence[str],
    control: str | Sequence[str] | None = None,
    method: Method = "pearson",
    adjust: Adjust = "holm",
    *,
    cluster: str | None = None,
    within: str | None = None,
    level: float = 0.95,
    n_boot: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate every x with every y over models, one row for each pair, with intervals and p-values.

    ``control`` names columns that are held fixed: r is then a partial correlation, of the residuals of a linear
    regression on them (of the ranks for spearman; of tau by the same algebra for kendall), and each column costs a
    degree of freedom. ``within`` names a column: models are compared only inside its groups. The group's mean is
    subtracted from every value, which for pearson is the same as holding a dummy of each group fixed, and costs as many
    degrees of freedom; a group of one row has no information and does not count, and the bootstrap draws whole groups.

    Without ``cluster`` every row of the table counts as an independent model: ``low`` and ``high`` come from Fisher's z
    (standard error 1 / sqrt(n - 3 - controls); times sqrt(1 + r^2 / 2) for spearman, Bonett & Wright 2000; sqrt(0.437 /
    (n - 4 - controls)) for kendall, Fieller et al. 1957), ``p`` from t with n - 2 - controls degrees of freedom (for
    kendall from tau's normal limit, or exactly where n is small and nothing is held fixed). Three seeds of one size are
    not three independent models: ``cluster`` names the column whose values say which rows belong together. The standard
    error of z is then that of the jackknife that leaves a whole cluster out, with t of clusters - 1 - controls degrees
    of freedom, and ``boot_low`` and ``boot_high``, a percentile bootstrap, resample whole clusters. With few clusters
    the jackknife's tail is too light: with eight sizes there are two to three times as many false findings at p < .001
    as there should be, but the right number at .05. So if x or y has one value in each cluster, such as a size, ``p``
    is the larger one of the jackknife's p and that of the clusters' means; in other cases read p < .001 as p < .003.
    The intervals are the jackknife's: those of a level above .99, such as ``joint_low``, contain the truth less often
    than they claim.

    ``p_adjusted`` and the wider ``joint_low`` and ``joint_high`` (Bonferroni) allow for all the rows of this table:
    "holm" bounds the chance of any false finding, "bh" the expected share of false ones. Rows with a missing value are
    left out of the pairs with that value.

    >>> import drscale as ds
    >>> y = ["in_domain_entropy", "ood_entropy"]
    >>> table = ds.correlations(ds.example_runs(), "params_layers", y, method="spearman", cluster="rung", n_boot=200)
    >>> table[["y", "r"]].round(2)
                       y     r
    0  in_domain_entropy -0.46
    1        ood_entropy -0.50
    """
    xs, ys, held = _names(x_columns), _names(y_columns), _names(control)
    _check(table, [*xs, *ys, *held], [c for c in (cluster, within) if c], method, adjust, level, n_boot)
    pairs = [(x, y) for x in xs for y in ys if x != y]
    if not pairs:
        raise ValueError(f"x_columns={xs}, y_columns={ys}: at least one pair of different columns is needed")
    how = (held, method, cluster, within, level, len(pairs), n_boot, seed)
    rows = [_pair(table, x, y, *how) for x, y in pairs]
    frame = pd.DataFrame(rows)
    frame = frame.assign(p_adjusted=adjusted(frame["p"].to_numpy(), adjust))[COLUMNS]
    frame.attrs |= {"level": level, "adjust": adjust, "cluster": cluster or "", "within": within or ""}
    return frame


def _pair(
    table: pd.DataFrame,
    x: str,
    y: str,
    held: list[str],
    method: Method,
    cluster: str | None,
    within: str | None,
    level: float,
    pairs: int,
    n_boot: int,
    seed: int,
) -> dict[str, object]:
    columns = [x, y, *held]
    part = table.dropna(subset=[*columns, *(c for c in (cluster, within) if c)])
    if within is not None:
        part = part[part.groupby(within)[x].transform("size") > 1]
    data = part[columns].to_numpy(dtype=np.float64)
    n = len(data)
    for column, endless in zip(columns, np.isinf(data).sum(0), strict=True):
        if endless:
            raise ValueError(f"column {column!r}: {endless} of {n} rows are infinite, finite numbers are needed")
    codes = np.arange(n) if cluster is None else pd.factorize(part[cluster])[0]
    groups = len(np.unique(codes))
    inside = np.zeros(n, dtype=np.intp) if within is None else pd.factorize(part[within])[0]
    lost = len(held) + (len(np.unique(inside)) - 1 if n else 0)  # degrees of freedom beyond those of a plain r
    least = (5 if method == "kendall" else 4) + lost if cluster is None else 3 + len(held)
    if groups < least or n < 3 + lost:
        what = "models" if cluster is None else f"values of {cluster!r}"
        raise ValueError(f"{x} and {y}: {groups} {what} ({n} rows) with all values are too few, {least} are needed")
    if within is not None:
        data = data - part[columns].groupby(inside).transform("mean").to_numpy(dtype=np.float64)
    for column, values in zip(columns, data.T, strict=True):
        if np.ptp(values) <= 1e-12 * np.abs(part[column]).max():
            where = f" of each {within!r}" if within else ""
            raise ValueError(f"column {column!r}: has one value in all {n} rows{where}, which correlates with nothing")
    data = (data - data.mean(0)) / data.std(0)  # small differences of large numbers stay visible
    r = float(_partial(data, np.ones((1, n)), method)[0])
    if not math.isfinite(r):
        raise ValueError(f"{x} and {y}: control={held} leaves nothing of one of them over")
    error, free, p = _textbook(data, r, method, lost) if cluster is None else _jackknife(data, codes, r, method)
    middle = math.atanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))

    def ends(share: float) -> tuple[float, float]:
        quantile = stats.norm.ppf(1 - share / 2) if free is None else stats.t.ppf(1 - share / 2, free)
        return math.tanh(middle - quantile * error), math.tanh(middle + quantile * error)

    units = inside if within is not None and cluster is None else codes  # a group's mean belongs to all of it
    count = len(np.unique(units))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=n_boot)
    again = _partial(data, drawn[:, units].astype(np.float64), method)
    again = again[np.isfinite(again)]  # a draw of too few different models has no correlation
    tails = [(1 - level) / 2, (1 + level) / 2]
    boot = np.quantile(again, tails) if len(again) >= n_boot / 2 else np.array([np.nan, np.nan])
    (low, high), (joint_low, joint_high) = ends(1 - level), ends((1 - level) / pairs)
    return {
        **{"x": x, "y": y, "control": ", ".join(held), "method": method, "r": r, "low": low, "high": high},
        **{"joint_low": joint_low, "joint_high": joint_high, "boot_low": boot[0], "boot_high": boot[1]},
        **{"p": p, "n": n, "clusters": groups if cluster else pd.NA},
    }


# ------------------------------------------------------------------------------------------- correlation, with weights


def _partial(data: Array, counts: Array, method: Method) -> Array:
    """Correlation of the first two columns given the others, for each row of ``counts`` (how often a model counts)."""
    matrix = {"pearson": _pearson, "spearman": _spearman, "kendall": _kendall}[method](data, counts)
    out = np.full(len(counts), np.nan)
    ok = np.isfinite(matrix).all((1, 2))
    if data.shape[1] == 2:
        out[ok] = matrix[ok, 0, 1]
        return np.clip(out, -1, 1)
    # The residuals of x and y, by the Schur complement of the controls' block: (rows, 2, 2).
    block, mixed = matrix[:, 2:, 2:], matrix[:, :2, 2:]
    ok[ok] &= np.linalg.cond(block[ok]) < 1e10
    left = matrix[ok, :2, :2] - mixed[ok] @ np.linalg.solve(block[ok], mixed[ok].transpose(0, 2, 1))
    spread = left[:, 0, 0] * left[:, 1, 1]
    alive = (left[:, 0, 0] > 1e-10) & (left[:, 1, 1] > 1e-10)
    out[ok] = np.where(alive, left[:, 0, 1] / np.sqrt(np.where(alive, spread, 1)), np.nan)
    return np.clip(out, -1, 1)


def _pearson(data: Array, counts: Array) -> Array:
    return _correlate(np.broadcast_to(data, (len(counts), *data.shape)), counts)


def _spearman(data: Array, counts: Array) -> Array:
    below = (data[None] < data[:, None]) + 0.5 * (data[None] == data[:, None])  # (n, n, columns): j below i
    ranks = np.einsum("bj,ijc->bic", counts, below)  # mid-ranks within the resample, up to a constant
    return _correlate(ranks, counts)


def _correlate(values: Array, counts: Array) -> Array:
    """Weighted correlation matrices, (rows, columns, columns); NaN where a column is constant."""
    total = counts.sum(1)[:, None, None]
    centred = values - (counts[:, None] @ values) / total
    cov = (centred * counts[..., None]).transpose(0, 2, 1) @ centred
    return _scaled(cov, (np.square(values).transpose(0, 2, 1) @ counts[..., None])[..., 0])


def _kendall(data: Array, counts: Array) -> Array:
    """Tau-b: ties in a column shorten its own norm."""
    signs = np.sign(data[:, None] - data[None])  # (n, n, columns)
    columns, out = data.shape[1], np.empty((len(counts), data.shape[1], data.shape[1]))
    for a in range(columns):
        for b in range(a, columns):
            product = signs[..., a] * signs[..., b]
            out[:, a, b] = out[:, b, a] = ((counts @ product) * counts).sum(1)
    return _scaled(out, np.ones((len(counts), columns)))


def _scaled(cov: Array, size: Array) -> Array:
    """A matrix of products to one of correlations; ``size`` tells rounding from variance."""
    spread = np.einsum("bii->bi", cov).copy()
    spread[spread <= 1e-12 * np.abs(size)] = np.nan
    root = np.sqrt(spread)
    scaled: Array = cov / (root[:, :, None] * root[:, None, :])
    return scaled


# -------------------------------------------------------------------------------------------------- errors and p-values


def _textbook(data: Array, r: float, method: Method, lost: int) -> tuple[float, int | None, float]:
    """The standard error of atanh r for independent models, t's degrees of freedom (None: normal), and p."""
    n = len(data)
    if method == "kendall":
        error = math.sqrt(0.437 / (n - 4 - lost))
        if not lost:
            return error, None, float(stats.kendalltau(data[:, 0], data[:, 1]).pvalue)
        m = n - lost  # Kim 2015: the variance of tau under independence
        return error, None, float(2 * stats.norm.sf(abs(r) / math.sqrt(2 * (2 * m + 5) / (9 * m * (m - 1)))))
    free = n - 2 - lost
    p = 2 * stats.t.sf(abs(r) * math.sqrt(free / max(1 - r * r, 1e-300)), free)
    widened = math.sqrt(1 + r * r / 2) if method == "spearman" else 1.0
    return widened / math.sqrt(n - 3 - lost), None, float(p)


def _jackknife(data: Array, codes: npt.NDArray[np.intp], r: float, method: Method) -> tuple[float, int, float]:
    """The standard error of atanh r from leaving each cluster out, its degrees of freedom, and p."""
    groups, held = int(codes.max()) + 1, data.shape[1] - 2
    without = (codes[None] != np.arange(groups)[:, None]).astype(np.float64)
    left = _partial(data, without, method)
    if not np.isfinite(left).all():
        raise ValueError("cluster: without one of the clusters a column has a single value; more clusters are needed")
    z, middle = np.arctanh(np.clip(left, -1 + 1e-15, 1 - 1e-15)), math.atanh(np.clip(r, -1 + 1e-15, 1 - 1e-15))
    error = math.sqrt((groups - 1) / groups * float(np.square(z - middle).sum()))
    free = groups - 1 - held
    return (
        error,
        free,
        max(float(2 * stats.t.sf(abs(middle) / max(error, 1e-300), free)), _of_means(data, codes, method)),
    )


def _of_means(data: Array, codes: npt.NDArray[np.intp], method: Method) -> float:
    """P of the correlation of the clusters' means if x or y is a property of the cluster, such as its size; else 0."""
    counts = np.bincount(codes)
    means = np.column_stack([np.bincount(codes, column) / counts for column in data.T])
    lost, owned = data.shape[1] - 2, (np.abs(data - means[codes]) < 1e-9)[:, :2].all(axis=0).any()
    few = len(counts) < (5 if method == "kendall" else 4) + lost
    if few or not owned or (np.ptp(means, axis=0) < 1e-9).any():
        return 0.0
    r = float(_partial(means, np.ones((1, len(counts))), method)[0])
    return _textbook(means, r, method, lost)[2] if math.isfinite(r) else 0.0


def adjusted(p: npt.ArrayLike, adjust: Adjust = "holm") -> Array:
    """P-values adjusted for their number, or unchanged ("none").

    Holm's step-down and "bonferroni" bound the chance of any false finding, Benjamini and Hochberg's "bh" the share of
    false ones. They equal those of statsmodels' ``multipletests`` (tested), which collects garbage at every call and so
    takes 0.4 s instead of microseconds.
    """
    values = np.asarray(p, dtype=np.float64)
    if adjust not in get_args(Adjust):
        raise ValueError(f"adjust={adjust!r}: allowed are {', '.join(map(repr, get_args(Adjust)))}")
    if values.ndim != 1 or ((values < 0) | (values > 1) | np.isnan(values)).any():
        raise ValueError("p: a list of numbers from 0 to 1")
    if adjust == "none" or not len(values):
        return values.copy()
    count, order = len(values), np.argsort(values, kind="stable")
    if adjust == "holm":
        steps = np.maximum.accumulate(values[order] * np.arange(count, 0, -1))
    elif adjust == "bh":
        steps = np.minimum.accumulate((values[order] * count / np.arange(1, count + 1))[::-1])[::-1]
    else:
        steps = values[order] * count
    out = np.empty(count)
    out[order] = np.minimum(steps, 1.0)
    return out


# ---------------------------------------------------------------------------------------- what so many models can tell


def critical_r(n: int, controls: int = 0, level: float = 0.95) -> float:
    """The least |r| (Pearson) that ``n`` independent models can distinguish from zero."""
    free = _free(n, controls, level)
    quantile = float(stats.t.ppf((1 + level) / 2, free))
    return quantile / math.sqrt(free + quantile**2)


def detectable_r(n: int, power: float = 0.8, controls: int = 0, level: float = 0.95) -> float:
    """The true |r| (Pearson, normal values) that ``n`` independent models distinguish from zero with this ``power``.

    A weaker true correlation is found mostly when chance exaggerates it. Given x, the test statistic is noncentral t
    with r / sqrt(1 - r^2) times the root of x's sum of squares, which is chi-square of n - 1 - controls.
    """
    if not 0.1 <= power < 1:
        raise ValueError(f"power={power}: from 0.1 to below 1")
    free = _free(n, controls, level)
    limit = float(stats.t.ppf((1 + level) / 2, free))
    shares = (np.arange(200) + 0.5) / 200
    root = np.sqrt(stats.chi2.ppf(shares, free + 1))  # of x's sum of squares
    noise = limit * np.sqrt(stats.chi2.ppf(shares, free) / free)[:, None]  # the limit from the slope's error

    def lacking(r: float) -> float:
        shift = r / math.sqrt(1 - r * r) * root
        return float((stats.norm.sf(noise - shift) + stats.norm.cdf(-noise - shift)).mean()) - power

    return float(optimize.brentq(lacking, 0, 1 - 1e-9, xtol=1e-9))


def _free(n: int, controls: int, level: float) -> int:
    if not 0 < level < 1:
        raise ValueError(f"level={level}: between 0 and 1")
    if controls < 0 or n - 2 - controls < 1:
        raise ValueError(f"n={n}, controls={controls}: at least {3 + max(controls, 0)} models are needed")
    return n - 2 - controls


# ------------------------------------------------------------------------------------------------------------- checks


def _names(columns: str | Sequence[str] | None) -> list[str]:
    return [columns] if isinstance(columns, str) else list(dict.fromkeys(columns or ()))


def _check(
    table: pd.DataFrame, numbers: list[str], names: list[str], method: str, adjust: str, level: float, n_boot: int
) -> None:
    require(table, *numbers, *names)
    if words := [c for c in numbers if not pd.api.types.is_numeric_dtype(table[c])]:
        raise ValueError(f"column {words[0]!r}: holds {table[words[0]].dtype}, numbers are needed")
    for name, value, allowed in (("method", method, get_args(Method)), ("adjust", adjust, get_args(Adjust))):
        if value not in allowed:
            raise ValueError(f"{name}={value!r}: allowed are {', '.join(map(repr, allowed))}")
    if not 0 < level < 1 or n_boot < 100:
        raise ValueError(f"level={level}, n_boot={n_boot}: a level between 0 and 1 and at least 100 samples")
