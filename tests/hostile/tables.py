"""Bad tables and arguments on the table side: laws, budgets, mixed models, files to write."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

import drscale as ds
from drscale import budget, frontier, laws, mixed
from drscale.plotting import export_all
from hostile.judge import Case

NAN, INF = math.nan, math.inf
N, D, Y = "params_layers", "train_pairs", "in_domain_entropy"
Change = Callable[[pd.DataFrame], Any]


def planted() -> pd.DataFrame:
    """Runs of three sizes and three amounts of pairs or more, which follow a law."""
    rng = np.random.default_rng(0)
    rows = [(n, d) for n in (1e4, 3e4, 1e5, 3e5, 1e6) for d in (500.0, 1000.0, 2000.0, 4000.0)]
    table = pd.DataFrame(rows, columns=[N, D])
    loss = (3e4 / table[N]) ** 0.4 + (2e3 / table[D]) ** 0.5 + 0.5
    noise = 1 + 0.01 * rng.standard_normal(len(table))
    return table.assign(**{Y: loss * noise, "ood_entropy": 1.3 * loss * noise, "status": "done"})


def _put(column: str, value: object, row: int = 3) -> Change:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        made = table.copy()
        made[column] = made[column].astype(object)
        made.loc[row, column] = value
        numbers = not isinstance(value, str | bytes | list | None.__class__)
        return made.astype({column: float}) if numbers else made

    return change


DAMAGED: dict[str, tuple[Change, tuple[str, ...]]] = {
    "no rows": (lambda t: t.iloc[:0], ("0 runs", "no run")),
    "nothing": (lambda t: pd.DataFrame(), ("0 runs", "column")),
    "none is done": (lambda t: t.assign(status="failed"), ("failed",)),
    "no column of x": (lambda t: t.drop(columns=N), (N,)),
    "no column of y": (lambda t: t.drop(columns=Y), (Y,)),
    "one row": (lambda t: t.iloc[:1], (N, "level")),
    "two rows": (lambda t: t.iloc[:2], (N, "level")),
    "one size": (lambda t: t[t[N] == 1e4], (N,)),
    "x twice": (lambda t: pd.concat([t, t[[N]]], axis=1), (N,)),
    "y twice": (lambda t: pd.concat([t, t[[Y]]], axis=1), (Y,)),
    "x of dates": (lambda t: t.assign(**{N: pd.Timestamp("2026-01-01")}), (N,)),
    "x of true and false": (lambda t: t.assign(**{N: t[N] > 5e4}), (N,)),
    "y of complex numbers": (lambda t: t.assign(**{Y: t[Y] + 1j}), (Y,)),
    "y of categories": (lambda t: t.astype({Y: "category"}), (Y,)),
    "all of y the same": (lambda t: t.assign(**{Y: 1.0}), (Y, "size_law")),
    "y rises with x": (lambda t: t.assign(**{Y: t[N] ** 0.3}), (Y,)),
    "x of 1e294": (_put(N, 1e294), (N,)),
    "y of 1e294": (_put(Y, 1e294), (Y,)),
    "a column of two names": (lambda t: t.set_axis(pd.MultiIndex.from_product([["a"], t.columns]), axis=1), (N,)),
}
for _column in (N, Y):
    for _value in (NAN, INF, -INF, 0.0, -1.0, "many", None, [1], b"x"):
        DAMAGED[f"{_column} of {_value!r}"] = _put(_column, _value), (_column,)
NO_TABLES: tuple[object, ...] = (None, 5, "runs.csv", [], {}, np.ones((3, 2)), pd.Series([1.0, 2.0]))


def law_cases(place: Path) -> list[Case]:
    """Tables no law can be fitted to, wrong arguments of fits, intervals, predictions, comparisons and figures."""
    table, one = planted(), ds.size_law
    sizes = table[table[D] == 4000.0]
    found = [Case(f"fit_law: {w}", lambda c=c: ds.fit_law(c(table), one), names) for w, (c, names) in DAMAGED.items()]  # type: ignore[misc]
    found += [Case(f"fit_law({t!r:.30})", partial(ds.fit_law, t, one), ("table",)) for t in NO_TABLES]  # type: ignore[arg-type]
    for law in (None, "size_law", 5, [], ds):
        found.append(Case(f"law={law!r:.30}", partial(ds.fit_law, sizes, law), ("law",)))  # type: ignore[arg-type]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"x": "parameters"}, "parameters"),
        ({"x": ""}, "column"),
        ({"x": 5}, "x"),
        ({"x": [N, D]}, "x"),
        ({"x": ()}, "x"),
        ({"x": {"X": N}}, "x"),
        ({"x": {}}, "x"),
        ({"x": {"N": 5}}, "5"),
        ({"y": "loss"}, "loss"),
        ({"y": None}, "None"),
        ({"y": 5}, "5"),
        ({"y": [Y]}, "y"),
        ({"y": N}, N),
        ({"space": "cube"}, "space"),
        ({"space": None}, "space"),
        ({"space": ["log"]}, "space"),
        ({"robust": "yes"}, "robust"),
        ({"bounds": {"nu": (0, 1)}}, "bounds"),
        ({"bounds": {"mu": 1}}, "bounds"),
        ({"bounds": {"mu": (1, 0.1)}}, "bounds"),
        ({"bounds": {"mu": (0.1, 0.5, 1)}}, "bounds"),
        ({"bounds": {"mu": ("a", "b")}}, "bounds"),
        ({"bounds": {"mu": (NAN, 1)}}, "bounds"),
        ({"bounds": {"mu": (-1, 1)}}, "bounds"),
        ({"bounds": {"mu": None}}, "bounds"),
        ({"bounds": [("mu", 0, 1)]}, "bounds"),
        ({"bounds": {"M": (1, 2)}}, "bounds"),
        ({"start": {"mu": 1}}, "start"),
        ({"start": 5}, "start"),
    ]
    found += [Case(f"fit_law({o!r:.300})", partial(ds.fit_law, sizes, one, **o), (name,)) for o, name in wrong]
    well = "intervals below zero are cut: the offset's own bound"
    found.append(
        Case(
            "bounds of delta below 0",
            partial(ds.fit_law, sizes, one, bounds={"delta": (-1, 1)}, warn=False),
            accept=well,
        )
    )
    fit, both = ds.fit_law(sizes, one, warn=False), ds.fit_law(table, ds.additive_law, warn=False)
    for level in (0, 1, -0.1, 1.5, 95, NAN, INF, "0.95", None, [0.95], True):
        found.append(Case(f"intervals(level={level!r})", partial(fit.intervals, level=level), ("level",)))  # type: ignore[arg-type]
    for x in (0, -1, NAN, INF, [], "big", None, [[1e4, 1e5]], {"D": 1}, {}, [1e4, "x"], 1j):
        found.append(Case(f"predict({x!r})", partial(fit.predict, x), ("x",)))  # type: ignore[arg-type]
    for x in (1e4, {"N": 1e4}, {"N": [1e4, 2e4], "D": [1, 2, 3]}, {"N": NAN, "D": 5}, pd.DataFrame({"N": [1.0]})):
        found.append(Case(f"predict({x!r:.300}) of two", partial(both.predict, x), ("x", "N", "D")))  # type: ignore[arg-type]
    for runs in (0, -1, NAN, "two", None, [1, 2, 3]):
        found.append(Case(f"predict(n_runs={runs!r})", partial(fit.predict, [2e4, 3e4], n_runs=runs), ("n_runs",)))  # type: ignore[arg-type]
    for options, name in (
        ({"method": "guess"}, "method"),
        ({"method": None}, "method"),
        ({"unit": "seed"}, "unit"),
        ({"method": "bootstrap", "n_boot": 0}, "n_boot"),
        ({"method": "bootstrap", "n_boot": -5}, "n_boot"),
        ({"method": "bootstrap", "n_boot": 1.5}, "n_boot"),
        ({"method": "bootstrap", "n_boot": "many"}, "n_boot"),
        ({"method": "bootstrap", "n_boot": 50, "seed": -1}, "seed"),
        ({"method": "bootstrap", "n_boot": 50, "seed": "x"}, "seed"),
    ):
        found.append(Case(f"intervals({options!r})", partial(fit.intervals, **options), (name,)))  # type: ignore[arg-type]
    found += [
        Case("curve(-1)", partial(fit.curve, -1), ("n_boot", "draws")),
        Case("curve('many')", partial(fit.curve, "many"), ("n_boot", "draws")),  # type: ignore[arg-type]
        Case("compare no laws", partial(ds.compare_laws, table, []), ("candidates",)),
        Case("compare names of laws", partial(ds.compare_laws, table, ["size_law"]), ("law",)),  # type: ignore[list-item]
        Case("compare None", partial(ds.compare_laws, table, None), ("candidates",)),  # type: ignore[arg-type]
        Case("compare no table", partial(ds.compare_laws, None, [one]), ("table",)),  # type: ignore[arg-type]
        Case("choose of no table", partial(ds.choose_law, None), ("table",)),  # type: ignore[arg-type]
        Case("choose of a column that is not there", partial(ds.choose_law, table, "loss"), ("loss",)),
        Case("choose of one size", partial(ds.choose_law, table.iloc[:1]), (N, "level", "law")),
        Case("hold out above all", partial(laws.hold_out, sizes, one, above=1e9), ("above",)),
        Case("hold out above none", partial(laws.hold_out, sizes, one, above=1.0), ("above", "held out")),
        Case("hold out above 'x'", partial(laws.hold_out, sizes, one, above="x"), ("above",)),  # type: ignore[arg-type]
        Case("hold out above NaN", partial(laws.hold_out, sizes, one, above=NAN), ("above",)),
        Case("figure of a measure that is not there", partial(laws.size_figure, table, "ndcg10"), ("measure",)),
        Case("figure of no table", partial(laws.size_figure, None), ("table",)),  # type: ignore[arg-type]
        Case("figure of a column that is not there", partial(laws.size_figure, table, y="loss"), ("loss",)),
        Case("figure of x that is not there", partial(laws.size_figure, table, x="size"), ("size",)),
        Case("figure of no scope", partial(laws.size_figure, table, scopes=()), ("scopes", "measure")),
        Case("figure by a column that is not there", partial(laws.series_figure, table, one, by="kind"), ("kind",)),
        Case("figure of level 2", partial(laws.size_figure, sizes, warn=False, level=2), ("level",)),
        Case("converged runs of no table", partial(ds.converged_runs, None, None), ("table",)),  # type: ignore[arg-type]
        Case("register no function", partial(ds.register_law, "my_law", columns={"N": N}, start={}), ("law",)),  # type: ignore[arg-type]
        Case("fit_figure of no fit", partial(laws.fit_figure, None), ("result", "fit")),  # type: ignore[arg-type]
        Case("contours of no table", partial(ds.contours, None), ("table", "runs")),  # type: ignore[arg-type]
        Case("front of no table", partial(ds.front, None), ("table", "runs")),  # type: ignore[arg-type]
        Case("front of a column that is not there", partial(ds.front, table, x="cost"), ("cost",)),
        Case("front of NaN", partial(ds.front, _put(Y, NAN)(table)), (Y, "finite")),
        Case("front of no rows", partial(ds.front, table.iloc[:0]), ("run", "row")),
        Case("frontier figure of no table", partial(frontier.frontier_figure, None), ("table", "runs")),  # type: ignore[arg-type]
        Case("correlations of no table", partial(ds.correlations, None, [N], [Y]), ("table", "models")),  # type: ignore[arg-type]
    ]
    return found


def budget_cases(place: Path) -> list[Case]:
    """Wrong prices, budgets, targets, curves and limits."""
    good: dict[str, Any] = {
        "pair": 0.6,
        "gpu_hour": 3.93,
        "peak_flops": 312e12,
        "utilisation": 0.25,
        "steps": 1e4,
        "tokens_per_step": 4e4,
    }
    found = []
    for name in good:
        for value in (0, -1, NAN, INF, "1", None, [1], 1j):
            found.append(Case(f"Prices({name}={value!r})", partial(ds.Prices, **{**good, name: value}), (name,)))
    for name in ("documents", "tokens_per_document"):
        for value in (-1, NAN, INF, "1", None):
            found.append(Case(f"Prices({name}={value!r})", partial(ds.Prices, **{**good, name: value}), (name,)))
    more: list[tuple[dict[str, Any], str]] = [
        ({"utilisation": 1.01}, "utilisation"),
        ({"documents": 10}, "tokens_per_document"),
        ({"train_flops": 0}, "train_flops"),
        ({"encode_flops": -2}, "encode_flops"),
        ({"currency": None}, "currency"),
        ({"currency": 5}, "currency"),
        ({"currency": ""}, "currency"),
        ({"pair": True}, "pair"),
    ]
    found += [Case(f"Prices({o!r})", partial(ds.Prices, **{**good, **o}), (name,)) for o, name in more]
    for value in (-1, NAN, "many", None):
        found.append(Case(f"paper_prices({value!r})", partial(ds.paper_prices, value), ("documents",)))  # type: ignore[arg-type]
    table, prices = planted(), ds.Prices(**good)
    fit = ds.fit_law(table, ds.additive_law, warn=False)
    curve, size = fit.curve(), ds.fit_law(table[table[D] == 4000.0], ds.size_law, warn=False).curve()
    for amount in (0, -5, NAN, INF, "5000", None, [5000], 1j, np.array([1.0, 2.0]), True):
        found.append(Case(f"allocate({amount!r})", partial(ds.allocate, curve, amount, prices), ("budget",)))  # type: ignore[arg-type]
        found.append(Case(f"both({amount!r})", partial(ds.allocate_both, curve, curve, amount, prices), ("budget",)))  # type: ignore[arg-type]
        found.append(Case(f"cost_of({amount!r})", partial(ds.cost_of, curve, prices, amount), ("target",)))  # type: ignore[arg-type]
    for thing in (None, 5, "paper", good, ds.Prices):
        found.append(Case(f"allocate(prices={thing!r:.20})", partial(ds.allocate, curve, 5000, thing), ("prices",)))  # type: ignore[arg-type]
        found.append(Case(f"cost_of(prices={thing!r:.20})", partial(ds.cost_of, curve, thing, 2.0), ("prices",)))  # type: ignore[arg-type]
    for thing in (None, fit, size, "additive_law", table):
        found.append(Case(f"allocate({type(thing).__name__})", partial(ds.allocate, thing, 5000, prices), ("curve",)))  # type: ignore[arg-type]
    options: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any], str]] = [
        (ds.allocate, (curve, 5000, prices), {"within": "boxes"}, "within"),
        (ds.allocate, (curve, 5000, prices), {"within": True}, "within"),
        (ds.allocate, (curve, 5000, prices), {"level": 95}, "level"),
        (ds.allocate, (curve, 5000, prices), {"level": None}, "level"),
        (ds.cost_of, (curve, prices), {}, "target"),
        (ds.cost_of, (curve, prices), {"improvement": -0.1}, "improvement"),
        (ds.cost_of, (curve, prices), {"improvement": 0.1, "at": (1e4, 1e3)}, "improvement"),
        (ds.cost_of, (curve, prices), {"improvement": "x", "at": (1e4, 1e3)}, "improvement"),
        (ds.cost_of, (curve, prices), {"improvement": -0.1, "at": (1e4,)}, "at"),
        (ds.cost_of, (curve, prices), {"improvement": -0.1, "at": 5}, "at"),
        (ds.cost_of, (curve, prices), {"improvement": -0.1, "at": (-1, 5)}, "N"),
        (ds.cost_of, (curve, prices, 2.0), {"improvement": -0.1, "at": (1e4, 1e3)}, "target"),
        (ds.allocate_both, (curve, curve, 5000, prices), {"weight": 2}, "weight"),
        (ds.allocate_both, (curve, curve, 5000, prices), {"weight": "half"}, "weight"),
        (ds.allocate_both, (curve, curve, 5000, prices), {"weight": NAN}, "weight"),
        (ds.allocate_both, (curve, curve, 5000, prices), {"at_most": {"other": 1}}, "at_most"),
        (ds.allocate_both, (curve, curve, 5000, prices), {"at_most": {}}, "at_most"),
        (ds.allocate_both, (curve, curve, 5000, prices), {"at_most": {"robustness": "x"}}, "at_most"),
        (ds.allocate_both, (curve, curve, 5000, prices), {"at_most": {"robustness": NAN}}, "at_most"),
        (ds.allocate_both, (curve, curve, 5000, prices), {"at_most": 5}, "at_most"),
        (budget.path, (curve, [], prices), {}, "budgets"),
        (budget.path, (curve, [5, -1], prices), {}, "budget"),
        (budget.path, (curve, 5, prices), {}, "budgets"),
        (budget.path, (curve, None, prices), {}, "budgets"),
        (budget.isocost_figure, (curve, -5, prices), {}, "budget"),
        (budget.isocost_figure, (None, 5000, prices), {}, "curve"),
        (ds.Curve, (ds.additive_law, {"Q": 1.0}), {}, "values"),
        (ds.Curve, (ds.additive_law, {"M": NAN}), {}, "values"),
        (ds.Curve, (ds.additive_law, {"M": "x"}), {}, "values"),
        (ds.Curve, (ds.additive_law, None), {}, "values"),
        (ds.Curve, ("additive_law", {}), {}, "law"),
        (ds.Curve, (ds.additive_law, {"M": 1.0}), {"box": {"N": (5, 1)}}, "box"),
        (ds.Curve, (ds.additive_law, {"M": 1.0}), {"box": {"N": 5}}, "box"),
        (ds.Curve, (ds.additive_law, {"M": 1.0}), {"draws": pd.DataFrame()}, "draws"),
        (ds.Curve, (ds.additive_law, {"M": 1.0}), {"draws": 5}, "draws"),
        (curve, (), {"N": 1e4}, "D"),
        (curve, (), {"N": -1, "D": 5}, "N"),
        (curve, (), {"N": "x", "D": 5}, "N"),
        (curve.sample, (), {"N": 1e4, "D": 5}, "draws"),
    ]
    for call, given, named, name in options:
        label = f"{len(found)} {getattr(call, '__name__', 'curve')} {named!r:.300}"
        found.append(Case(label, partial(call, *given, **named), (name,)))
    return found


def mixed_cases(place: Path) -> list[Case]:
    """Rows and arguments that no mixed model can be fitted to."""
    rows = mixed.planted(datasets=6, n_queries=8)
    damaged: dict[str, tuple[Change, str]] = {
        "no rows": (lambda r: r.iloc[:0], "row"),
        "no column of the metric": (lambda r: r.drop(columns="ndcg10"), "ndcg10"),
        "no column of the model": (lambda r: r.drop(columns="model"), "model"),
        "no column of the dataset": (lambda r: r.drop(columns="dataset"), "dataset"),
        "no column of the query": (lambda r: r.drop(columns="query"), "query"),
        "a metric of NaN": (_put("ndcg10", NAN, 0), "ndcg10"),
        "a metric of infinity": (_put("ndcg10", INF, 0), "ndcg10"),
        "a metric of text": (_put("ndcg10", "high", 0), "ndcg10"),
        "a model that is missing": (lambda r: r.assign(model=r["model"].where(r.index > 3)), "model"),
        "a dataset that is missing": (lambda r: r.assign(dataset=r["dataset"].where(r.index > 3)), "dataset"),
        "a query that is missing": (lambda r: r.assign(query=r["query"].where(r.index > 3)), "query"),
        "one model": (lambda r: r[r["model"] == "specialist"], "model"),
        "one dataset": (lambda r: r[r["dataset"] == r["dataset"].iloc[0]], "dataset"),
        "a query in each row": (lambda r: r.assign(query=range(len(r))), "quer"),
        "every row twice": (lambda r: pd.concat([r, r]), "row"),
        "the metric twice": (lambda r: pd.concat([r, r[["ndcg10"]]], axis=1), "ndcg10"),
        "one value": (lambda r: r.assign(ndcg10=0.5), "ndcg10"),
        "a row a model": (lambda r: r.groupby("model").head(1), "row"),
    }
    found = [Case(f"fit_mixed: {w}", lambda c=c: ds.fit_mixed(c(rows)), (name,)) for w, (c, name) in damaged.items()]  # type: ignore[misc]
    for thing in (None, 5, "rows.parquet", [], rows["ndcg10"]):
        found.append(Case(f"fit_mixed({type(thing).__name__})", partial(ds.fit_mixed, thing), ("rows",)))  # type: ignore[arg-type]
    for options, name in (
        ({"metric": "recall"}, "recall"),
        ({"metric": None}, "metric"),
        ({"factor": "kind"}, "kind"),
        ({"factor": "model"}, "named twice"),
        ({"model": None}, "model"),
        ({"dataset": "none"}, "none"),
        ({"query": "model"}, "named twice"),
    ):
        found.append(Case(f"fit_mixed({options!r})", partial(ds.fit_mixed, rows, **options), (name,)))  # type: ignore[arg-type]
    why = "a success is true or false, which is 1 or 0"
    found.append(Case("a metric of true", lambda: ds.fit_mixed(rows.assign(ndcg10=rows["ndcg10"] > 0.5)), accept=why))
    fit = ds.fit_mixed(rows, factor="where")
    for call, given, name in (
        (ds.marginal_means, (fit, "kind"), "by"),
        (ds.marginal_means, (fit, None), "by"),
        (ds.marginal_means, (fit, []), "by"),
        (ds.marginal_means, (fit, "model", 2), "level"),
        (ds.marginal_means, (None,), "fit"),
        (mixed.contrasts, (fit, "model", None, "guess"), "adjust"),
        (mixed.contrasts, (fit, "model", "model"), "by"),
        (mixed.specialisation, (fit, "nobody", "home", "abroad"), "models"),
        (mixed.specialisation, (fit, "generalist", "home", "home"), "abroad"),
        (mixed.specialisation, (fit, "generalist", "x", "abroad"), "home"),
    ):
        found.append(Case(f"{call.__name__}{given[1:]!r}", partial(call, *given), (name,)))  # type: ignore[arg-type]
    return found


def export_cases(place: Path) -> list[Case]:
    """Things that cannot be written, places that cannot be written to, sizes no page has."""
    frame, figure = pd.DataFrame({"name": ["a"], "value": [1.0]}), go.Figure(go.Scatter(x=[1], y=[2]))
    found = []
    for thing in (None, 5, "text", [1], {"a": 1}, pd.Series([1.0]), np.ones(3), object(), pd.DataFrame):
        found.append(Case(f"export({type(thing).__name__})", partial(ds.export, thing, place / "a.csv"), ("thing",)))
    for name in ("a", "a.txt", "a.CSV", "a.xlsx", "a.pdf", "a.html", "", ".csv", "a.csv.gz", "a."):
        found.append(Case(f"a table to {name!r}", partial(ds.export, frame, place / name), ("path",)))
    for name in ("a.csv", "a.tex", "a.jpg", "a.PDF", "a", ""):
        found.append(Case(f"a figure to {name!r}", partial(ds.export, figure, place / name), ("path",)))
    for path in (None, 5, ["a.csv"], b"a.csv", "a\0.csv"):
        found.append(Case(f"to {path!r}", partial(ds.export, frame, path), ("path",)))  # type: ignore[arg-type]
    (place / "folder.csv").mkdir()
    (place / "file").write_text("x")
    for name in ("folder.csv", "file/a.csv", f"{'x' * 300}.csv"):
        found.append(Case(f"to {name[:20]!r}", partial(ds.export, frame, place / name), (name,)))
    for width in ("nonsense", "", 0, -3, 500, NAN, None, [3], "3"):
        found.append(Case(f"width={width!r}", partial(ds.export, figure, place / "w.html", width), ("width",)))  # type: ignore[arg-type]
    for height in (0, -3, 500, NAN, "3", [3]):
        found.append(
            Case(f"height={height!r}", partial(ds.export, figure, place / "h.html", "page", height), ("height",))
        )  # type: ignore[arg-type]
    for digits in (0, -1, 1.5, "three", None, 10**6):
        made = partial(ds.export, frame, place / "d.tex", digits=digits)
        found.append(Case(f"digits={digits!r:.12}", made, ("digits",)))
    found.append(Case("export_all of a list", partial(export_all, [frame]), ("things",)))  # type: ignore[arg-type]
    infeasible = ds.cost_of(ds.fit_law(planted(), ds.additive_law, warn=False).curve(), ds.paper_prices(0), 1e-3)
    found.append(Case("a plan that is none", partial(ds.export, infeasible, place / "p.tex"), ("no plan",)))
    found.append(
        Case("a column twice", partial(ds.export, pd.concat([frame, frame], axis=1), place / "t.tex"), ("several",))
    )
    strange = pd.DataFrame({1: [b"x"], "a_b": ["50% & #1 {x} \\"], "c": [None], "d": [pd.NaT]})
    for what, thing, why in (
        ("cells of any type", strange, "LaTeX gets them escaped"),
        ("no rows", frame.iloc[:0], "an empty table is a table"),
        ("numbers without an end", pd.DataFrame({"value": [INF, -INF, NAN]}), "LaTeX has a sign for them"),
    ):
        found.append(Case(what, partial(ds.export, thing, place / "well.tex"), accept=why))
    return found
