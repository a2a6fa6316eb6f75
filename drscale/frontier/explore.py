"""The frontier explorer: any two measures, any runs, and each run's probability to be on the front. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.frontier import dominance as frontier
from drscale.frontier import plot as fronts
from drscale.plotting import live, plane, style
from drscale.plotting.live import Explorer, Settings, View
from drscale.runs import SCOPES
from drscale.stats import bootstrap as resample
from drscale.stats.bootstrap import Pool
from drscale.stats.tables import Array, non_dominated, signs

LESS = ("entropy", "calibrated")  # metrics of which less is better
METRICS = ("entropy", "calibrated", "ndcg10", "mrr10", "recall10", "recall100")
WHO = ("key", "rung", "train_pairs", "params_layers", "strategy", "share", "seed", "synthetic", "runs")
DRAWS = 1000
LEVEL = 0.95
SAMPLE = "# sample: the runs that frontier_explorer was given, drawn by draw"
Contour = Literal["rung", "train_pairs"]


@dataclass(frozen=True, eq=False)
class Sample:
    """Runs, or recipes, with draws of their values on other queries and seeds: a (draws, rows) array for each column.

    Made by :func:`draw`; drawn once, so that a front over any two columns and any rows takes no time.
    """

    rows: pd.DataFrame
    values: Mapping[str, Array]


def draw(
    table: pd.DataFrame,
    columns: Iterable[str] | None = None,
    rows: pd.DataFrame | None = None,
    *,
    pool: Pool = None,
    n_boot: int = DRAWS,
    seed: int = 0,
) -> Sample:
    """Draw the values that the runs could have had; arguments as for :func:`drscale.stats.bootstrap.resampled`.

    ``columns`` are the measures to choose from, by default every one with an interval.
    """
    chosen = measures(table) if columns is None else list(columns)
    if len(chosen) < 2:
        raise ValueError(f"columns={chosen!r}: at least two measures are needed, as in_domain_entropy and ood_entropy")
    runs = frontier.checked(table, chosen[0], chosen[1])
    for column in chosen[2:]:
        runs = frontier.checked(runs, chosen[0], column)
    values = resample.resampled(runs, chosen, rows, pool=pool, n_boot=n_boot, seed=seed)
    points = resample.pooled(runs, chosen, pool).reset_index(drop=True)
    kept = [*WHO, *(c + end for c in chosen for end in ("", "_low", "_high"))]
    return Sample(points[[c for c in kept if c in points]], {c: values[:, :, i] for i, c in enumerate(chosen)})


def measures(table: pd.DataFrame) -> list[str]:
    """The columns of a run table that are measures with an interval."""
    found = [f"{s}_{m}" for m in METRICS for s in (*SCOPES, "adversarial:alone")]
    return [c for c in found if {c, f"{c}_low", f"{c}_high"} <= set(table)]


def frontier_view(
    sample: Sample,
    x: str = frontier.X,
    y: str = frontier.Y,
    *,
    rungs: Sequence[str] = (),
    pairs: Sequence[int] = (),
    strategies: Sequence[str] = (),
    contour: Contour | None = None,
    reference: tuple[float, float] | None = None,
    dark: bool = False,
) -> View:
    """The front of chosen runs with each run's probability to be on it, the area it dominates, and its members.

    ``rungs``, ``pairs`` and ``strategies`` choose rows; empty means all. ``contour`` draws joint trends instead, one
    contour for each rung or number of pairs. The area (hypervolume) reaches to ``reference``, by default the worst
    value on each axis.
    """
    if x == y or not {x, y} <= set(sample.values):
        raise ValueError(f"x={x!r}, y={y!r}: two different ones of {', '.join(sample.values)} are needed")
    kept = _kept(sample.rows, {"rung": rungs, "train_pairs": pairs, "strategy": strategies})
    better = (_better(x), _better(y))
    rows, drawn = sample.rows[kept], np.stack([sample.values[c][:, kept] for c in (x, y)], axis=-1)
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} of {len(kept)} runs left: choose at least two")
    on = non_dominated(frontier.lower(drawn, better))
    rows = frontier.front(rows.assign(probability=on.mean(axis=0)), x, y, better=better, warn=False)
    at = _worst(rows, x, y) if reference is None else reference
    area = float(frontier.hypervolume(rows[[x, y]].to_numpy(dtype=float), at, better=better))
    low, high = np.quantile(frontier.hypervolume(drawn, at, better=better), [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    if contour is None:
        fig = fronts.frontier_figure(rows, x, y, better=better, dark=dark, warn=False)
    else:
        by = [c for c in ("strategy", "share") if c in rows] or "rung"
        fig = fronts.joint_figure(rows, by, contour, x, y, better=better, inverse="none", dark=dark)
    _area(fig, rows, (x, y), at, dark)
    fig.layout.width = live.WIDTH
    front = rows[rows["on_front"]].sort_values(x)
    names = dict(zip(rows.index, (", ".join(parts) for parts in fronts.run_parts(rows)), strict=True))
    listed = [f"{names[i]} ({p:.0%})" for i, p in front["probability"].items()]
    sentence = (
        f"{len(front)} of {len(rows)} on the front as measured, each with its probability: {', '.join(listed)}. "
        f"Expected size {on.sum(axis=1).mean():.1f}. The front dominates an area of {area:.3g} "
        f"[{low:.3g}, {high:.3g}] up to ({at[0]:.3g}, {at[1]:.3g})."
    )
    likely = rows.sort_values("probability", ascending=False).head(10)
    table = pd.DataFrame({"run": [names[i] for i in likely.index]})
    for c in (x, y):
        ends = zip(likely[c], likely[f"{c}_low"], likely[f"{c}_high"], strict=True)
        table[plane.words(c).replace("<br>", " ")] = [f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in ends]
    return View(fig, sentence, table.assign(**{"on the front": [f"{p:.0%}" for p in likely["probability"]]}))


def frontier_explorer(runs: Sample | pd.DataFrame, *, dark: bool = False, setup: str = SAMPLE) -> Explorer:
    """Choose axes, rungs, pairs, strategies, contours and the reference; each choice updates the front.

    It opens on the calibrated entropies where the runs have them, else on the raw ones.

    ``runs`` is a sample from :func:`draw`, or a table; from a table a sample is drawn by the intervals of its runs,
    with the seeds of a recipe pooled if it has keys. ``setup`` is the code that makes ``sample``, for the settings as
    code.
    """
    sample = runs if isinstance(runs, Sample) else draw(runs, pool="seed" if "key" in runs else None)
    axes = {plane.words(c).replace("<br>", " "): c for c in sample.values}
    fair = [c.replace("entropy", "calibrated") for c in (frontier.X, frontier.Y)]  # confidence does not count
    usual = fair if set(fair) <= set(sample.values) else (frontier.X, frontier.Y)
    x, y = (c if c in sample.values else list(sample.values)[i] for i, c in enumerate(usual))
    many = {c: _levels(sample.rows, c) for c in ("rung", "train_pairs", "strategy")}
    names = [", ".join(parts) for parts in fronts.run_parts(sample.rows)]
    references = {"the worst of each": None, style.CHANCE_TEXT: "chance"} | {n: i for i, n in enumerate(names)}
    contours: dict[str, str | None] = {"none": None}
    contours |= {"by size": "rung"} if many["rung"] else {}
    contours |= {"by pairs": "train_pairs"} if many["train_pairs"] else {}
    wide = {"style": {"description_width": "5.5em"}}
    controls: dict[str, Any] = {
        "x": ipywidgets.Dropdown(options=axes, value=x, description="x", **wide),
        "y": ipywidgets.Dropdown(options=axes, value=y, description="y", **wide),
        "contour": ipywidgets.Dropdown(options=contours, description="contours", **wide),
        "reference": ipywidgets.Dropdown(options=references, description="reference", **wide),
        "rungs": ipywidgets.SelectMultiple(options=many["rung"], description="rungs", rows=5, **wide),
        "pairs": ipywidgets.SelectMultiple(
            options=[(style.count_text(v), v) for v in many["train_pairs"]], description="pairs", rows=5, **wide
        ),
        "strategies": ipywidgets.SelectMultiple(options=many["strategy"], description="strategies", rows=5, **wide),
    }
    for name in ("rungs", "pairs", "strategies"):
        controls[name].layout = {"width": "15em"} | ({} if controls[name].options else {"display": "none"})

    def settings(chosen: Settings) -> dict[str, Any]:
        given = {n: chosen[n] for n in ("x", "y")}
        given |= {n: chosen[n] for n in ("rungs", "pairs", "strategies", "contour") if chosen[n]}
        at = chosen["reference"]
        if at == "chance":
            given["reference"] = (style.CHANCE, style.CHANCE)
        elif at is not None:
            given["reference"] = tuple(sample.rows[[chosen["x"], chosen["y"]]].to_numpy(dtype=float)[at].tolist())
        return given | ({"dark": True} if dark else {})

    def code(chosen: Settings) -> str:
        lines = ["from drscale.frontier.explore import frontier_view"]
        shown = live.call(frontier_view, "sample", **settings(chosen))
        return "\n".join([*lines, "", setup, f"view = {shown}", "view.figure"])

    return Explorer(
        lambda chosen: frontier_view(sample, **settings(chosen)),
        controls,
        code,
        [[["x", "y", "contour", "reference"], "rungs", "pairs", "strategies"]],
        name="frontier",
    )


def _levels(rows: pd.DataFrame, column: str) -> list[Any]:
    """The different values of a column, small to large, if there are several."""
    if column not in rows:
        return []
    order = "params_layers" if column == "rung" and "params_layers" in rows else column
    found = list(dict.fromkeys(rows.sort_values(order, kind="stable")[column]))
    return found if len(found) > 1 else []


def _better(column: str) -> Literal["lower", "higher"]:
    return "lower" if column.endswith(LESS) else "higher"


def _kept(rows: pd.DataFrame, chosen: Mapping[str, Sequence[Any]]) -> np.ndarray[Any, Any]:
    """Which rows have one of the chosen values, in each column with a choice."""
    kept = np.ones(len(rows), dtype=bool)
    for column, values in chosen.items():
        if not values:
            continue
        have = list(dict.fromkeys(rows[column])) if column in rows else []
        wrong = [v for v in values if v not in have]
        if wrong:
            raise ValueError(f"{column}: no run has {wrong[0]!r}, there are {', '.join(map(str, have)) or 'none'}")
        kept &= rows[column].isin(list(values)).to_numpy()
    return kept


def _worst(rows: pd.DataFrame, x: str, y: str) -> tuple[float, float]:
    worst = [rows[c].max() if _better(c) == "lower" else rows[c].min() for c in (x, y)]
    return float(worst[0]), float(worst[1])


def _area(fig: go.Figure, rows: pd.DataFrame, axes: tuple[str, str], at: tuple[float, float], dark: bool) -> None:
    """The area that the front dominates, up to the reference, and the reference itself."""
    sides, c = signs((_better(axes[0]), _better(axes[1]))), style.colours(dark)
    worst = np.array(at) * sides
    corners = frontier.staircase(np.minimum(rows[list(axes)].to_numpy(dtype=float) * sides, worst))
    outline = np.vstack([[corners[0, 0], worst[1]], corners, [worst[0], corners[-1, 1]], worst]) * sides
    fill = {"fill": "toself", "fillcolor": style.tint(c["in_domain"], 0.07), "line": {"width": 0}, "hoverinfo": "skip"}
    fig.add_scatter(x=outline[:, 0], y=outline[:, 1], mode="lines", name="dominated", showlegend=False, **fill)
    marker = {"symbol": "cross-thin", "size": 12, "line": {"color": c["ink"], "width": 2}}
    hover = "reference: the area reaches to here<br>(%{x:.3g}, %{y:.3g})<extra></extra>"
    fig.add_scatter(x=[at[0]], y=[at[1]], mode="markers", marker=marker, name="reference", hovertemplate=hover)
