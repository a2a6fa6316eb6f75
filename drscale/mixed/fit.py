"""Linear mixed-effects models of per-query scores: ``metric ~ model * factor + (1 | dataset/query)``. No torch.

The model of the generalisability study (arXiv 2604.16576): a score depends on the retriever, on a factor such as the
kind of query or of corpus, and on the dataset and the query, which are equally easy or hard for all retrievers.
:func:`fit_mixed` takes rows from :mod:`drscale.mixed.scores`; the results of a fit come from
:mod:`drscale.mixed.margins` (marginal means, contrasts, tests) and :mod:`drscale.mixed.margins` (shares of variance,
the datasets' own effects).
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import linalg

from drscale.mixed import _likelihood as nested
from drscale.mixed._likelihood import Codes, Layout, Sums
from drscale.stats.tables import Array

MOST = 20_000  # rows that statsmodels fits within minutes
TINY = 1e-8  # relative to what it is compared with: a column that depends on others, a variance that is none


class MixedWarning(UserWarning):
    """The optimiser did not converge, or that cannot say something it was asked for."""


@dataclass(frozen=True, eq=False, repr=False)
class Mixed:
    """A fitted model; its repr has everything that a paper would report about it.

    ``variances`` are those of ``dataset``, ``query`` (where the model has it) and ``residual``. ``grid`` has each model
    at each level of the factor, with ``rows`` and ``raw`` mean; ``coding`` (cells of the grid, p) is the fixed part
    there, in treatment coding, and ``beta`` its coefficients. ``boundary`` names variances that are estimated as zero,
    ``notes`` says what the data cannot determine.
    """

    formula: str
    metric: str
    model: str
    factor: str | None
    names: dict[str, pd.DataFrame]
    grid: pd.DataFrame
    reml: bool
    interaction: bool
    variances: dict[str, float]
    beta: Array
    covariance: Array
    criterion: float
    rows: int
    queries: int | None
    datasets: int
    converged: bool
    boundary: tuple[str, ...]
    notes: tuple[str, ...]
    coding: Array
    missing: Array  # (cells, columns left out): zero where a combination of cells can be estimated
    ratios: tuple[float, float]  # variances of queries and of datasets over the residual one
    layout: Layout
    sums: Sums
    totals: Array  # of each query's rows, minus centre
    y: Array  # the response of each row
    centre: float

    def __repr__(self) -> str:
        total = sum(self.variances.values())
        asked = "" if self.queries is None else f"{self.queries:,} queries in "
        lines = [
            f"Mixed model by {'REML' if self.reml else 'maximum likelihood'}: {self.formula}",
            f"{self.rows:,} rows: {asked}{self.datasets:,} datasets, {len(self.models)} models"
            + (f", {len(self.levels)} levels of {self.factor}" if self.factor else ""),
            "variance  " + ", ".join(f"{k} {v:.4g} ({v / total:.1%})" for k, v in self.variances.items()),
            f"-2 log {'restricted ' if self.reml else ''}likelihood {self.criterion:.6f}, "
            + ("converged" if self.converged else "NOT CONVERGED: do not use it"),
            *(f"the variance of {name} is zero: the least that is allowed fits best" for name in self.boundary),
            *self.notes,
        ]
        return "\n".join(lines)

    @property
    def models(self) -> list[object]:
        """The models, in the order of their first rows."""
        return list(pd.unique(self.grid[self.model]))

    @property
    def levels(self) -> list[object]:
        """The levels of the factor, likewise; empty without a factor."""
        return list(pd.unique(self.grid[self.factor])) if self.factor else []


def fit_mixed(
    rows: pd.DataFrame,
    metric: str = "ndcg10",
    factor: str | None = None,
    model: str = "model",
    dataset: str | None = "dataset",
    query: str | None = "query",
    *,
    interaction: bool = True,
    reml: bool = True,
) -> Mixed:
    """Fit ``metric ~ model * factor + (1 | dataset/query)`` to a row for each model and query.

    The arguments name columns; queries of the same name in two datasets are two queries. ``query=None`` leaves the
    queries' variance out, for means of datasets (MTEB's files), ``dataset=None`` that of the datasets, for the queries
    of one; with ``interaction=False`` every model gains equally from the factor. The solution is exact, balanced or
    not. The model assumes that, apart from the factor, a dataset is as easy for one model as for another; if it is not,
    the differences between models are less certain than their contrasts say. It does not include training seeds either:
    rows of several runs of one model are treated as independent, although a run's deviation is common to all of its
    queries (a MixedWarning).

    >>> import drscale as ds
    >>> from drscale.mixed import planted
    >>> fit = ds.fit_mixed(planted(datasets=6, n_queries=10), factor="where")
    >>> print(fit)
    Mixed model by REML: ndcg10 ~ model * where + (1 | dataset/query)
    104 rows: 52 queries in 5 datasets, 2 models, 2 levels of where
    ...
    """
    columns = {"metric": metric, "model": model}
    columns |= {k: v for k, v in (("dataset", dataset), ("factor", factor), ("query", query)) if v is not None}
    y = _checked(rows, columns)
    _check_repeats(rows, columns)
    centre = float(y.mean())
    fixed = [model] if factor is None else [model, factor]
    cell, grid = _cells(rows, fixed)
    one = np.zeros(len(rows), dtype=np.intp), np.array(["all"], dtype=object)
    dataset_code, dataset_names = one if dataset is None else _codes(rows[dataset])
    query_code, of_query, query_names = _queries(rows, query, dataset_code)
    counts = np.bincount(cell, minlength=len(grid))
    grid = grid.assign(rows=counts, raw=np.bincount(cell, y, len(grid)) / np.where(counts, counts, np.nan))
    kept, missing = _independent(_coding(grid, fixed, interaction), counts > 0)
    where = nested.layout(cell, query_code, of_query, len(grid))
    sums = nested.sums(where, kept, y - centre)
    _check_told_apart(sums, columns)
    best = nested.optimise(sums, reml, free=(query is not None, dataset is not None))
    solved = nested.solve(nested.terms(sums, *best.ratios).products)
    left = solved.left / (sums.rows - (sums.columns if reml else 0))
    variances = {} if dataset is None else {"dataset": left * best.ratios[1]}
    variances |= {} if query is None else {"query": left * best.ratios[0]}
    solved.beta[0] += centre  # the first column is the constant
    names = {} if dataset is None else {"dataset": pd.DataFrame({dataset: dataset_names})}
    if query is not None:
        place = {} if dataset is None else {dataset: dataset_names[of_query]}
        names["query"] = pd.DataFrame(place | {query: query_names})
    inside = "/".join(n for n in (dataset, query) if n is not None)
    by = "" if factor is None else f" {'*' if interaction else '+'} {factor}"
    found = Mixed(
        formula=f"{metric} ~ {model}{by} + (1 | {inside})",
        metric=metric,
        model=model,
        factor=factor,
        names=names,
        grid=grid,
        reml=reml,
        interaction=interaction and factor is not None,
        variances=variances | {"residual": left},
        beta=solved.beta,
        covariance=solved.inverse * left,
        criterion=best.criterion,
        rows=len(y),
        queries=None if query is None else len(of_query),
        datasets=len(dataset_names),
        converged=best.converged,
        boundary=tuple(name for name, v in variances.items() if v == 0),
        notes=_notes(grid, fixed),
        coding=kept,
        missing=missing,
        ratios=best.ratios,
        layout=where,
        sums=sums,
        totals=np.bincount(query_code, y - centre, len(of_query)).astype(float),
        y=y,
        centre=centre,
    )
    if not found.converged:
        warnings.warn(f"{found.formula}: the search for the variances did not converge", MixedWarning, stacklevel=2)
    return found


def crosscheck(fit: Mixed, slopes: bool = False) -> pd.DataFrame:
    """Fit the same model by statsmodels' MixedLM: one row for each number, with ours, theirs and the difference.

    ``what`` is "effect" (in treatment coding: the first model and level are the reference), "se" of each of them,
    "variance" or "criterion" (-2 log likelihood). With ``slopes=True`` every model may lead by another amount in each
    dataset: theirs then has one more variance, ``model in dataset``, and standard errors that include it, so the
    difference of an "se" is the part that the model of :func:`fit_mixed` leaves out. Its standard errors come from the
    observed information, so they differ a little in small tables that are not balanced. MixedLM builds matrices of
    every dataset, so at most 20,000 rows are taken; fit a part of larger tables, or the means of datasets. It also
    searches where a variance is zero and may not converge there, which gives a MixedWarning.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM  # takes seconds: import it only here

    if fit.rows > MOST:
        raise ValueError(f"fit: {fit.rows:,} rows; statsmodels takes at most {MOST:,} within minutes")
    if slopes and not {"dataset", "query"} <= set(fit.names):
        raise ValueError(
            f"slopes=True: {fit.formula} needs datasets and queries both, to tell a lead's luck from noise"
        )
    where, unit = fit.layout, float(fit.y.std())
    columns = {f"x{i}": column for i, column in enumerate(fit.coding[where.cell].T)}
    codes = {"query": where.query, "dataset": where.dataset[where.query]}
    model = pd.factorize(fit.grid[fit.model])[0][where.cell]
    rows = pd.DataFrame({"y": (fit.y - fit.centre) / unit, **codes, "model": model, **columns})
    inside = {"query": "0 + C(query)"} if {"dataset", "query"} <= set(fit.names) else {}
    inside |= {"model in dataset": "0 + C(model)"} if slopes else {}
    group = "dataset" if "dataset" in fit.names else "query"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lm = MixedLM.from_formula(f"y ~ 0 + {' + '.join(columns)}", rows, "1", inside or None, groups=group)
        theirs = lm.fit(reml=fit.reml)
    if not theirs.converged:
        why = "; ".join(dict.fromkeys(str(w.message) for w in said))
        warnings.warn(f"{fit.formula}: statsmodels did not converge ({why})", MixedWarning, stacklevel=2)
    names, first = _coefficients(fit), np.eye(len(fit.beta))[0]
    free = fit.rows - (len(fit.beta) if fit.reml else 0)
    variances = {group: float(theirs.cov_re.iloc[0, 0])} | dict(zip(lm.exog_vc.names, theirs.vcomp, strict=True))
    variances["residual"] = theirs.scale
    parts: dict[str, tuple[Any, Any, Iterable[str]]] = {
        "effect": (fit.beta, theirs.fe_params * unit + fit.centre * first, names),
        "se": (np.sqrt(np.diag(fit.covariance)), theirs.bse_fe * unit, names),
        "variance": (
            [fit.variances.get(v, np.nan) for v in variances],
            np.array([*variances.values()]) * unit**2,
            variances,
        ),
        "criterion": ([fit.criterion], [-2 * theirs.llf + 2 * free * np.log(unit)], [""]),
    }
    told = [
        pd.DataFrame({"what": what, "name": list(name), "ours": np.asarray(ours), "statsmodels": np.asarray(other)})
        for what, (ours, other, name) in parts.items()
    ]
    found = pd.concat(told, ignore_index=True)
    return found.assign(difference=found["statsmodels"] - found["ours"])


def _coefficients(fit: Mixed) -> list[str]:
    """The name of each coefficient of a fit; the constant is the mean of the first cell."""
    fixed = [fit.model] if fit.factor is None else [fit.model, fit.factor]
    whole = _coding(fit.grid, fixed, fit.interaction)
    own = [list(pd.unique(fit.grid[name]).astype(str))[1:] for name in fixed]
    names = ["constant", *itertools.chain(*own)]
    if fit.interaction:
        names += [f"{a}:{b}" for b, a in itertools.product(own[1], own[0])]
    left = iter(zip(names, whole.T, strict=True))  # columns that depend on earlier ones were left out
    return [next(name for name, column in left if np.array_equal(column, kept)) for kept in fit.coding.T]


def _checked(rows: pd.DataFrame, columns: dict[str, str]) -> Array:
    """The response of rows to which a model can be fitted; ValueError for other rows."""
    if not isinstance(rows, pd.DataFrame):
        raise ValueError(f"rows={type(rows).__name__}: a DataFrame with a row for each model and query is needed")
    for argument, name in columns.items():
        if name not in rows:
            hint = "; pass query=None where there are only means of datasets" if argument == "query" else ""
            raise ValueError(
                f"{argument}={name!r}: the rows have no such column, only {', '.join(map(str, rows))}{hint}"
            )
        if isinstance(rows[name], pd.DataFrame):
            raise ValueError(f"{argument}={name!r}: the rows have several such columns, keep one")
        if list(columns.values()).count(name) > 1:
            raise ValueError(f"{argument}={name!r}: the column is named twice")
        if argument != "metric" and (empty := rows[name].isna()).any():
            raise ValueError(f"{argument}={name!r}: {int(empty.sum())} of {len(rows)} rows have none")
    metric = columns["metric"]
    if not pd.api.types.is_numeric_dtype(rows[metric]):
        raise ValueError(f"metric={metric!r}: holds {rows[metric].dtype}, not numbers")
    y = rows[metric].to_numpy(dtype=float, na_value=np.nan)
    wrong = np.flatnonzero(~np.isfinite(y))
    if len(wrong):
        raise ValueError(
            f"metric={metric!r}: {y[wrong[0]]:g} in row {rows.index[wrong[0]]!r}, {len(wrong)} such of {len(y)}"
        )
    if not len(y):
        raise ValueError("rows: none at all; a row for each model and query is needed")
    if np.ptp(y) <= TINY * np.abs(y).max():
        raise ValueError(f"metric={metric!r}: all {len(y)} values are alike, so there is nothing to explain")
    return y


def _check_repeats(rows: pd.DataFrame, columns: dict[str, str]) -> None:
    """Raise an error for a table with repeated rows, and warn if several runs of a model appear as one."""
    named = [columns[c] for c in ("model", "dataset", "factor", "query") if c in columns]
    if "query" not in columns:
        return
    again, copies = rows.duplicated(named), rows.duplicated()
    if again.any() and copies[again].all():
        said = ", ".join(f"{n} {rows[n][copies].iloc[0]!r}" for n in named)
        raise ValueError(f"rows: {int(copies.sum())} of {len(rows)} are there twice, as the one of {said}")
    if again.any() and len(set(rows[columns["model"]])) > 1:
        warnings.warn(
            f"rows: {int(again.sum())} of {len(rows)} repeat a model on a query, as of several training seeds; they "
            "count as independent, which makes differences between models look surer than they are: average them by "
            "query (and compare with the spread of the seeds' means), or give every run a name",
            MixedWarning,
            stacklevel=3,
        )


def _codes(column: pd.Series) -> tuple[Codes, npt.NDArray[Any]]:
    """Codes and names of a column's levels: a categorical's in its order, others as they first appear."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = column.cat.remove_unused_categories().cat
        return np.asarray(known.codes, dtype=np.intp), known.categories.to_numpy(dtype=object)
    codes, names = pd.factorize(column)
    return np.asarray(codes, dtype=np.intp), np.asarray(names, dtype=object)


def _cells(rows: pd.DataFrame, fixed: list[str]) -> tuple[Codes, pd.DataFrame]:
    """The cell of each row, and the grid of all cells, whether there are rows in them or not."""
    found = [_codes(rows[name]) for name in fixed]
    cell = np.zeros(len(rows), dtype=np.intp)
    for codes, names in found:
        cell = cell * len(names) + codes
    return cell, pd.DataFrame(list(itertools.product(*(names for _, names in found))), columns=fixed)


def _queries(rows: pd.DataFrame, query: str | None, dataset: Codes) -> tuple[Codes, Codes, npt.NDArray[Any] | None]:
    """The query of each row, the dataset of each query, and the queries' names; without queries each row is one."""
    if query is None:
        return np.arange(len(rows)), dataset, None
    codes, names = _codes(rows[query])
    both, place = np.unique(dataset * len(names) + codes, return_inverse=True)
    return place.astype(np.intp), both // len(names), names[both % len(names)]


def _coding(grid: pd.DataFrame, fixed: list[str], interaction: bool) -> Array:
    """Treatment coding of every cell, the first levels being the reference: a constant, then what adds to it."""
    own = [np.eye(int(codes.max()) + 1)[codes, 1:] for codes in (pd.factorize(grid[name])[0] for name in fixed)]
    columns = [np.ones((len(grid), 1)), *own]
    if len(own) == 2 and interaction:
        columns.append((own[0][:, None, :] * own[1][:, :, None]).reshape(len(grid), -1))
    return np.hstack(columns)


def _independent(coding: Array, observed: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """The columns that are independent of earlier ones in cells with rows, and what the others would add elsewhere."""
    seen, kept = coding[observed], list[int]()
    basis = np.empty((len(seen), 0))
    for j in range(seen.shape[1]):
        rest = seen[:, j] - basis @ (basis.T @ seen[:, j])
        rest -= basis @ (basis.T @ rest)
        if np.linalg.norm(rest) > TINY * max(float(np.linalg.norm(seen[:, j])), 1.0):
            kept.append(j)
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
    left = np.setdiff1d(np.arange(seen.shape[1]), kept)
    same = np.linalg.lstsq(seen[:, kept], seen[:, left], rcond=None)[0]
    return coding[:, kept], coding[:, left] - coding[:, kept] @ same


def _check_told_apart(s: Sums, columns: dict[str, str]) -> None:
    """Raise ValueError if rows cannot separate a variance from the fixed part or from another variance."""
    p, datasets, queries = s.columns, len(s.count), int(s.count.sum())
    if "dataset" not in columns and "query" not in columns:
        raise ValueError("dataset=None, query=None: one of them is needed, whose luck there is to allow for")
    if "dataset" in columns and datasets < 2:
        raise ValueError(
            f"dataset={columns['dataset']!r}: there is only one, and the variance of datasets needs two; pass "
            "dataset=None where all queries are of one"
        )
    if "query" in columns:
        if s.sizes.max() == 1:
            raise ValueError(
                f"query={columns['query']!r}: every query stands in one row only, so its own difficulty cannot be told "
                "from noise; two models on the same queries are needed, or query=None for the means alone"
            )
        if "dataset" in columns and queries == datasets:
            raise ValueError(f"query={columns['query']!r}: every dataset has one query only; pass query=None")
    inverse = linalg.inv(s.total[:p, :p])
    inside = s.level[:, :, :p].sum(axis=1)
    if s.rows <= p:
        raise ValueError(f"{s.rows} rows for {p} means: nothing is left to tell noise from")
    apart = float((s.count @ s.sizes).sum() - np.sum((inside @ inverse) * inside))
    if "dataset" in columns and apart <= TINY * s.rows:
        name = f"factor={columns['factor']!r}" if "factor" in columns else f"model={columns['model']!r}"
        raise ValueError(
            f"{name}: every dataset has a level of its own, so what a level does cannot be told from the luck with a "
            f"dataset; {datasets} datasets need fewer levels than that"
        )
    if nested.solve(s.total).left <= TINY**2 * s.total[p, p]:
        raise ValueError(
            f"metric={columns['metric']!r}: the means of the cells explain every row, so no variance is left"
        )


def _notes(grid: pd.DataFrame, fixed: list[str]) -> tuple[str, ...]:
    empty = grid.loc[grid["rows"] == 0, fixed]
    if empty.empty:
        return ()
    said = "; ".join(" at ".join(map(str, row)) for row in empty.head(4).itertuples(index=False))
    more = f" and {len(empty) - 4} more" if len(empty) > 4 else ""
    return (f"no rows of {said}{more}: means that need them are missing",)
