"""Results of a mixed model: marginal means, contrasts, type III tests, the specialisation tax. No torch.

A marginal mean is the plain average of the model's cells, in which each level of the factor counts once, however many
queries it has. Degrees of freedom are Satterthwaite's, from exact derivatives of the closed form; tests of several
contrasts at once combine them as Fai and Cornelius (1996) do. R's lmerTest and emmeans give the same results if every
cell has rows. If a cell has none, the definitions differ. Here a type III test uses only the contrasts that need no
empty cell; lmerTest tests all of them, with another definition (in one table F is 24.7 for two contrasts here, and 16.5
for three there). The adjustment for multiple comparisons counts only the means that can be estimated, so that p came
out up to .024 below that of emmeans. ``note`` marks rows that cannot be estimated.

Standard errors assume, as ``(1 | dataset/query)`` says, that queries and datasets are drawn at random and that the
difference between two models is the same in all datasets. If this difference varies between datasets by more than the
factor explains, a fit to the means of the datasets (``query=None``) is the more careful one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import interpolate, linalg, stats

from drscale.mixed import _likelihood as nested
from drscale.mixed.fit import TINY, Mixed
from drscale.stats.correlate import adjusted
from drscale.stats.tables import Array, check_level

Group = Literal["dataset", "query"]
FEWEST = 20  # draws needed for an interval


def variance_shares(fit: Mixed, level: float = 0.95, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
    """Divide the variance of scores over the grid: model, factor, their interaction, dataset, query, residual.

    For a fixed source it is the variance of its marginal means (each cell of the grid counts once) minus the part that
    sampling error adds; if chance makes this slightly negative, it is shown as zero. For the other sources it is the
    fit's variance. Intervals are percentiles of a parametric bootstrap: ``n_boot`` new responses from the fitted model,
    each fitted again. With 0 draws there are no intervals. Sources that need a cell without rows are missing.
    """
    check_level(level)
    if n_boot and n_boot < FEWEST:
        raise ValueError(f"n_boot={n_boot}: at least {FEWEST}, or 0 for no intervals")
    fixed = _fixed_sources(fit)
    residual = fit.variances["residual"]
    known = _divided(fit, fixed, fit.beta, fit.covariance, fit.ratios, residual)
    kinds = ["fixed"] * len(fixed) + ["random"] * (len(known) - len(fixed))
    told = {"source": list(known), "kind": kinds, "variance": list(known.values())}
    found = pd.DataFrame(told)
    found["share"] = found["variance"] / found["variance"].sum()
    if not n_boot:
        return found
    rng, drawn, simulate = np.random.default_rng(seed), np.empty((n_boot, len(found))), _simulator(fit)
    for i in range(n_boot):
        sums = nested.sums(fit.layout, fit.coding, simulate(rng))
        best = nested.optimise(sums, fit.reml, free=("query" in fit.names, "dataset" in fit.names), start=fit.ratios)
        solved = nested.solve(nested.terms(sums, *best.ratios).products)
        left = solved.left / (sums.rows - (sums.columns if fit.reml else 0))
        made = _divided(fit, fixed, solved.beta, solved.inverse * left, best.ratios, left)
        drawn[i] = np.array(list(made.values())) / np.nansum(list(made.values()))
    ends = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return found.assign(low=ends[0], high=ends[1])


def effects(fit: Mixed, of: Group = "dataset", level: float = 0.95) -> pd.DataFrame:
    """How much easier each dataset or query is than the fixed part says: effect, sd and interval, hardest first.

    Conditional modes (best linear unbiased predictions): shrunk towards zero, and more so if there are fewer rows.
    ``sd`` treats the fixed part and the variances as known, as in lme4.
    """
    check_level(level)
    if of not in get_args(Group) or of not in fit.names:
        raise ValueError(f"of={of!r}: allowed are {', '.join(map(repr, fit.names))}")
    g_query, g_dataset = fit.ratios
    s, n, residual = fit.sums, fit.sums.sizes, fit.variances["residual"]
    e = np.append(-(fit.beta - fit.centre * np.eye(len(fit.beta))[0]), 1.0)
    weighed = 1 / (1 + n * g_query)
    behind = g_dataset / (1 + g_dataset * (s.count @ (n * weighed)))
    effect, variance = behind * ((s.level @ e) @ weighed), residual * behind
    rows = s.count @ n
    if of == "query":
        place, size = fit.layout.dataset, n[fit.layout.size]
        left = fit.layout.incidence @ (fit.coding @ e[:-1]) + fit.totals - size * effect[place]
        pull = g_query / (1 + size * g_query)
        effect, variance = pull * left, residual * pull + (pull * size) ** 2 * variance[place]
        rows = size
    half = stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance)
    told = {"rows": rows.astype(int), "effect": effect, "sd": np.sqrt(variance), "low": effect - half}
    found = fit.names[of].assign(**told, high=effect + half)
    return found.sort_values("effect", kind="stable", ignore_index=True)


def _fixed_sources(fit: Mixed) -> dict[str, Array]:
    """For each fixed source, weights of cells; the mean square of the weighted cells is its variance on the grid."""
    cells = len(fit.grid)
    names = [fit.model] if fit.factor is None else [fit.model, fit.factor]
    whole = np.full((cells, cells), 1 / cells)
    found, rest = {}, np.eye(cells) - whole
    for name in names:
        same = fit.grid[name].to_numpy()[:, None] == fit.grid[name].to_numpy()
        found[name] = same / same.sum(axis=1, keepdims=True) - whole
        rest = rest - found[name]
    if fit.interaction:
        found[" × ".join(names)] = rest
    return found


def _divided(
    fit: Mixed, fixed: dict[str, Array], beta: Array, covariance: Array, ratios: tuple[float, float], residual: float
) -> dict[str, float]:
    found = {}
    for name, weights in fixed.items():
        columns = weights @ fit.coding
        noise = np.einsum("mp,pq,mq->m", columns, covariance, columns)
        value = max(float(np.mean((columns @ beta) ** 2 - noise)), 0.0)
        able = np.abs(weights @ fit.missing).max(initial=0) <= TINY
        found[name] = value if able else np.nan
    if "dataset" in fit.names:
        found["dataset"] = residual * ratios[1]
    if fit.queries is not None:
        found["query"] = residual * ratios[0]
    return found | {"residual": residual}


def _simulator(fit: Mixed) -> Callable[[np.random.Generator], Array]:
    """A function that draws a response from the fitted model, in the units of the sums."""
    where = fit.layout
    mean = (fit.coding @ fit.beta - fit.centre)[where.cell]
    place = where.dataset[where.query]
    sd = {name: np.sqrt(v) for name, v in fit.variances.items()}

    def draw(rng: np.random.Generator) -> Array:
        y = mean + sd["residual"] * rng.standard_normal(len(mean))
        if "dataset" in sd:
            y += (sd["dataset"] * rng.standard_normal(fit.datasets))[place]
        if fit.queries is not None:
            y += (sd["query"] * rng.standard_normal(fit.queries))[where.query]
        return y

    return draw


Adjust = Literal["tukey", "holm", "bonferroni", "none"]
Names = str | Sequence[str]
KNOTS = 12  # with more different degrees of freedom, quantiles of the range are interpolated between this many points
CANNOT = "needs a cell without rows"


def marginal_means(fit: Mixed, by: Names = "model", level: float = 0.95) -> pd.DataFrame:
    """The marginal mean of each model, level of the factor, or both: one row each with se, df and interval.

    ``by`` names one or two columns of the fit. ``raw`` is the plain mean of all the rows behind it, and ``rows`` their
    number. A mean that needs an empty cell is missing, and ``note`` says so.

    >>> import drscale as ds
    >>> from drscale.mixed import planted
    >>> fit = ds.fit_mixed(planted(datasets=6, n_queries=10), factor="where")
    >>> ds.marginal_means(fit, "where")[["where", "rows"]]
        where  rows
    0  abroad    58
    1    home    46
    """
    check_level(level)
    names = _named(fit, by)
    weights, groups = _averages(fit, names)
    behind = fit.grid.assign(total=fit.grid["rows"] * fit.grid["raw"].fillna(0)).groupby(names, sort=False)
    counted = behind[["rows", "total"]].sum().reset_index(drop=True)
    found = _estimated(fit, weights).rename(columns={"estimate": "mean"})
    half = stats.t.ppf(0.5 + level / 2, found["df"]) * found["se"]
    found = found.assign(low=found["mean"] - half, high=found["mean"] + half).drop(columns="t")
    raw = counted["total"] / counted["rows"].where(counted["rows"] > 0)
    return _said(pd.concat([groups, found, pd.DataFrame({"raw": raw, "rows": counted["rows"]})], axis=1), "mean")


def contrasts(
    fit: Mixed, by: str = "model", within: str | None = None, adjust: Adjust = "tukey", level: float = 0.95
) -> pd.DataFrame:
    """Each pair of marginal means of ``by``, ``first`` minus ``second``, with p and interval adjusted for all of them.

    ``within`` compares inside each level of the other column; each level is a family of comparisons. ``adjust``:
    "tukey" (the studentised range), "holm" (with Bonferroni's intervals, because it has none of its own), "bonferroni"
    or "none".
    """
    check_level(level)
    if adjust not in get_args(Adjust):
        raise ValueError(f"adjust={adjust!r}: allowed are {', '.join(map(repr, get_args(Adjust)))}")
    (name,) = _named(fit, [by])
    weights, groups = _averages(fit, [name] if within is None else _named(fit, [within, name]))
    families = [groups] if within is None else [part for _, part in groups.groupby(within, sort=False)]
    found = []
    for family in families:
        if len(family) < 2:
            raise ValueError(f"by={by!r}: there is only {family[name].iloc[0]!r}, so there is nothing to compare")
        pairs = list(itertools.combinations(family.index, 2))
        first, second = (np.array(side) for side in zip(*pairs, strict=True))
        told = pd.DataFrame({"first": groups[name].to_numpy()[first], "second": groups[name].to_numpy()[second]})
        if within is not None:
            told.insert(0, within, family[within].iloc[0])
        made = _estimated(fit, weights[first] - weights[second]).rename(columns={"estimate": "difference"})
        means = int(_able(fit, weights[family.index]).sum())
        found.append(pd.concat([told, _adjusted(made, adjust, means, level)], axis=1))
    return _said(pd.concat(found, ignore_index=True), "difference").assign(adjust=adjust)


def ranks(fit: Mixed, by: str = "model", adjust: Adjust = "tukey", level: float = 0.95) -> pd.DataFrame:
    """The rank of each model with its interval, and the groups whose members cannot be told apart.

    Rank 1 is the highest mean. ``low`` is one more than the number of models that lie surely above, ``high`` the number
    of models less those that lie surely below: with adjusted comparisons (:func:`contrasts`) all these intervals hold
    together (Klein, Wright and Wieczorek 2020). ``groups`` are letters; two models that share one are not told apart
    (Piepho 2004). A model may be in several groups, as being alike does not pass on.

    >>> import drscale as ds
    >>> from drscale.mixed import planted, ranks
    >>> means = {"a": (0.6, 0.5), "b": (0.59, 0.5), "c": (0.3, 0.2)}
    >>> ranks(ds.fit_mixed(planted(means)))[["model", "rank", "low", "high", "groups"]]
      model  rank  low  high groups
    0     b     1    1     2      a
    1     a     2    1     2      a
    2     c     3    3     3      b
    """
    if not isinstance(by, str):
        raise ValueError(f"by={by!r}: the name of one column is needed")
    pairs = contrasts(fit, by, adjust=adjust, level=level)
    means = marginal_means(fit, by, level).sort_values("mean", ascending=False, kind="stable", na_position="last")
    names = means.loc[means["mean"].notna(), by].tolist()
    sides = zip(*(pairs[c].tolist() for c in ("first", "second", "low", "high")), strict=True)
    over = [(a, b) if low > 0 else (b, a) for a, b, low, high in sides if low > 0 or high < 0]
    above, below = ({n: sum(pair[side] == n for pair in over) for n in names} for side in (1, 0))
    letters = _letters(names, over)
    told = {
        by: names,
        "rank": range(1, len(names) + 1),
        "low": [1 + above[n] for n in names],
        "high": [len(names) - below[n] for n in names],
        "groups": [letters[n] for n in names],
    }
    return pd.DataFrame(told).merge(means[[by, "mean", "se"]], on=by, how="left")


def _letters(names: Sequence[object], apart: Sequence[tuple[object, object]]) -> dict[object, str]:
    """Letters by insertion and absorption: each pair that is apart splits every group that holds both."""
    groups = [frozenset(names)]
    for first, second in apart:
        split = [g - {one} for g in groups if {first, second} <= g for one in (first, second)]
        kept = [g for g in groups if not {first, second} <= g]
        new = list(dict.fromkeys([*kept, *split]))
        groups = [g for g in new if not any(g < other for other in new)]
    groups.sort(key=lambda g: min(names.index(n) for n in g))
    marks = [_mark(i) for i in range(len(groups))]
    return {n: " ".join(m for m, g in zip(marks, groups, strict=True) if n in g) for n in names}


def _mark(i: int) -> str:
    return chr(ord("a") + i) if i < 26 else _mark(i // 26 - 1) + chr(ord("a") + i % 26)


def anova(fit: Mixed) -> pd.DataFrame:
    """Type III tests of marginal means: are all models equal, all levels, and the models' differences at all levels?

    One row for each term with F, its two degrees of freedom and p. If cells are empty, a test uses only the contrasts
    that need none of them, and ``note`` says how many these are.
    """
    terms: dict[str, Any] = {name: _spread(_averages(fit, [name])[0]) for name in _fixed(fit)}
    if fit.interaction:
        first, second = (len(pd.unique(fit.grid[name])) for name in _fixed(fit))
        sides = [_spread(np.eye(n)) for n in (first, second)]
        terms[":".join(_fixed(fit))] = np.kron(*sides)
    rows = []
    for name, weights in terms.items():
        if not len(weights):
            continue
        free = linalg.null_space(fit.missing.T @ weights.T).T if fit.missing.size else np.eye(len(weights))
        note = "" if len(free) == len(weights) else f"{len(free)} of {len(weights)} contrasts, the rest {CANNOT}"
        f, df = _f_test(fit, free @ weights @ fit.coding)
        p = float(stats.f.sf(f, len(free), df))
        rows.append({"term": name, "df1": len(free), "df2": df, "F": f, "p": p, "note": note})
    found = pd.DataFrame(rows, columns=["term", "df1", "df2", "F", "p", "note"])
    return found if found["note"].any() else found.drop(columns="note")


def specialisation(
    fit: Mixed, models: Names, home: Names, abroad: Names, against: Names | None = None, level: float = 0.95
) -> pd.DataFrame:
    """The specialisation tax: how much larger the lead of some models is in-domain than out-of-domain.

    It is a contrast of contrasts. ``models`` are compared with ``against`` (None: all others) over the levels ``home``
    and ``abroad`` of the factor; several of one kind are averaged. The rows are the lead at home, the lead abroad and
    their difference, the ``tax``; above zero, the lead is larger at home. Each interval is for its row alone.
    """
    check_level(level)
    if fit.factor is None or not fit.interaction:
        raise ValueError(f"fit={fit.formula!r}: a tax needs a factor and its interaction with the models")
    mine = _members("models", models, fit.models)
    others = [m for m in fit.models if m not in mine] if against is None else _members("against", against, fit.models)
    inside, outside = _members("home", home, fit.levels), _members("abroad", abroad, fit.levels)
    for (one, two), a, b in ((("models", "against"), mine, others), (("home", "abroad"), inside, outside)):
        if not b or set(a) & set(b):
            raise ValueError(f"{two}={b!r}: at least one name is needed, and none that is in {one}={a!r}")
    lead = _share(fit.grid[fit.model], mine) - _share(fit.grid[fit.model], others)
    at_home, away = (lead * _share(fit.grid[fit.factor], levels) for levels in (inside, outside))
    found = _estimated(fit, np.stack([at_home, away, at_home - away]))
    p = 2 * stats.t.sf(found["t"].abs(), found["df"])
    half = stats.t.ppf(0.5 + level / 2, found["df"]) * found["se"]
    ends = {"low": found["estimate"] - half, "high": found["estimate"] + half, "p": p}
    what = pd.DataFrame({"what": ["lead at home", "lead abroad", "tax"]})
    return _said(pd.concat([what, found.assign(**ends)], axis=1), "estimate")


# ------------------------------------------------------------------------------------------------------- what is behind


def _fixed(fit: Mixed) -> list[str]:
    return [fit.model] if fit.factor is None else [fit.model, fit.factor]


def _named(fit: Mixed, by: Names) -> list[str]:
    if not isinstance(fit, Mixed):
        raise ValueError(f"fit={type(fit).__name__}: a Mixed is needed, as fit_mixed gives it")
    if not isinstance(by, str | Sequence):
        raise ValueError(f"by={by!r}: the fit has {' and '.join(map(repr, _fixed(fit)))}")
    names = [by] if isinstance(by, str) else list(by)
    if not names or len(set(names)) < len(names) or not set(names) <= set(_fixed(fit)):
        raise ValueError(f"by={by!r}: the fit has {' and '.join(map(repr, _fixed(fit)))}")
    return names


def _members(argument: str, names: Names, known: Sequence[object]) -> list[object]:
    found: list[object] = [names] if names in known or isinstance(names, str) else list(names)
    wrong = [name for name in found if name not in known]
    if wrong or not found:
        raise ValueError(f"{argument}={names!r}: allowed are {', '.join(map(str, known))}")
    return found


def _share(column: pd.Series, names: Sequence[object]) -> Array:
    return column.isin(list(names)).to_numpy(dtype=float) / len(names)


def _averages(fit: Mixed, names: list[str]) -> tuple[Array, pd.DataFrame]:
    """The weights that average the cells of each group, and the groups themselves."""
    groups = fit.grid.groupby(names, sort=False)
    number = groups.ngroup().to_numpy()
    member = (np.arange(groups.ngroups)[:, None] == number).astype(float)
    return member / member.sum(axis=1, keepdims=True), fit.grid[names].drop_duplicates().reset_index(drop=True)


def _spread(weights: Array) -> Array:
    """Every row minus the first: the contrasts that are all zero if the rows are equal."""
    return weights[1:] - weights[0]


@dataclass(frozen=True)
class _Variation:
    """How uncertain the coefficients' covariance is: its derivatives by the variances, and the covariance of these."""

    slopes: list[Array]
    error: Array


def _variation(fit: Mixed) -> _Variation:
    """Satterthwaite's ingredients; a variance estimated as zero counts as known, as in lmerTest."""
    residual = fit.variances["residual"]
    curve, information = nested.curvature(fit.sums, fit.ratios, residual, fit.reml)
    used = [i for i in (0, 1) if fit.ratios[i] > 0]
    part = curve[np.ix_([*used, 2], [*used, 2])]
    scale = 1 / np.sqrt(np.abs(np.diag(part)))
    error = 2 * linalg.pinvh(part * np.outer(scale, scale)) * np.outer(scale, scale)
    slopes = [-(fit.covariance @ information[i] @ fit.covariance) / residual for i in used]
    return _Variation([*slopes, fit.covariance / residual], error)


def _freedom(variation: _Variation, columns: Array, variance: Array) -> Array:
    """Satterthwaite's degrees of freedom of combinations of coefficients, (combinations, p)."""
    slopes = np.stack([np.einsum("mp,pq,mq->m", columns, slope, columns) for slope in variation.slopes])
    return 2 * variance**2 / np.einsum("im,ij,jm->m", slopes, variation.error, slopes)


def _estimated(fit: Mixed, weights: Array) -> pd.DataFrame:
    """Estimate, se, df and t of combinations of cells; missing where one needs a cell without rows."""
    columns = weights @ fit.coding
    variance = np.einsum("mp,pq,mq->m", columns, fit.covariance, columns)
    df = _freedom(_variation(fit), columns, variance)
    estimate, se = columns @ fit.beta, np.sqrt(variance)
    found = pd.DataFrame({"estimate": estimate, "se": se, "df": df, "t": estimate / se})
    found.loc[~_able(fit, weights)] = np.nan
    return found


def _able(fit: Mixed, weights: Array) -> npt.NDArray[np.bool_]:
    """Whether combinations of cells need only cells with rows."""
    return np.abs(weights @ fit.missing).max(axis=1, initial=0) <= TINY


def _f_test(fit: Mixed, columns: Array) -> tuple[float, float]:
    """Wald's F for the hypothesis that all combinations are zero, and its denominator's degrees of freedom."""
    if not len(columns):
        return np.nan, np.nan
    columns = linalg.orth(columns.T).T
    values, vectors = np.linalg.eigh(columns @ fit.covariance @ columns.T)
    apart = vectors.T @ columns  # independent of each other
    f = float(np.mean((apart @ fit.beta) ** 2 / values))
    df = _freedom(_variation(fit), apart, values)
    if np.ptp(df) < TINY * df.max():
        return f, float(df.mean())
    if df.min() <= 2:
        return f, 2.0
    expected = float((df / (df - 2)).sum())
    return f, 2 * expected / (expected - len(df))


def _adjusted(made: pd.DataFrame, adjust: Adjust, means: int, level: float) -> pd.DataFrame:
    """p-values and intervals for one family of comparisons between ``means`` means."""
    t, df, able = made["t"].abs().to_numpy(), made["df"].to_numpy(), made["t"].notna().to_numpy()
    p, wide, m = np.full(len(t), np.nan), np.full(len(t), np.nan), int(able.sum())
    if m and adjust == "tukey":
        p[able] = stats.studentized_range.sf(np.sqrt(2) * t[able], means, df[able])
        wide[able] = _range_quantile(level, means, df[able]) / np.sqrt(2)
    elif m:
        family = 1 if adjust == "none" else m
        p[able] = adjusted(stats.t.sf(t[able], df[able]) * 2, adjust)  # type: ignore[arg-type]  # tukey is above
        wide[able] = stats.t.ppf(1 - (1 - level) / (2 * family), df[able])
    return made.assign(p=p, low=made["difference"] - wide * made["se"], high=made["difference"] + wide * made["se"])


def _range_quantile(level: float, means: int, df: Array) -> Array:
    """Quantiles of the studentised range, smooth in 1/df; for many different df most are interpolated."""
    different, place = np.unique(np.round(df, 9), return_inverse=True)
    if len(different) <= KNOTS:
        return np.asarray(stats.studentized_range.ppf(level, means, different))[place]
    low, high = 1 / different[-1], 1 / different[0]
    knots = (low + high) / 2 - (high - low) / 2 * np.cos(np.pi * np.arange(KNOTS) / (KNOTS - 1))
    found = stats.studentized_range.ppf(level, means, 1 / knots)
    return interpolate.BarycentricInterpolator(knots, found)(1 / df)


def _said(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The frame, with a note where a number is missing."""
    missing = frame[column].isna()
    return frame.assign(note=np.where(missing, CANNOT, "")) if missing.any() else frame
