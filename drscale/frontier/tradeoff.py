"""Supervised against zero-shot: published retrievers in one plane, and which differences hold over data sets. No torch.

The question of Figure 1 in Lin et al., How to Train Your DRAGON (2023), put to its Table 4 or to a table like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy import stats as distributions

from drscale.frontier import dominance as frontier
from drscale.frontier.plot import edge
from drscale.plotting import live, plane, style
from drscale.plotting.live import Explorer, Settings, View
from drscale.stats.tables import check_level, require

SUPERVISED = ("MARCO Dev", "RR@10")
ZERO_SHOT = "nDCG@10"
SETUP = "from drscale import papers\nfrom drscale.frontier.tradeoff import dragon_view\n\ntable = papers.dragon(4)"


def dragon_figure(
    table: pd.DataFrame,
    x: str = "x",
    y: str = "y",
    *,
    x_title: str = "MS MARCO Dev RR@10 (supervised)",
    y_title: str = "BEIR-13 nDCG@10 (zero-shot)",
    dark: bool = False,
) -> go.Figure:
    """Draw supervised against zero-shot effectiveness of many retrievers, as DRAGON's Figure 1; higher is better.

    ``table`` has ``name``, ``group`` (colour and marker), x and y; where ``comparable`` is False, the marker is open
    and not part of the dashed line, the edge of the front. :func:`dragon_points` makes such a table.
    """
    require(table, "name", "group", x, y)
    rows = frontier.checked(table.dropna(subset=[x, y]), x, y)
    fair = rows.get("comparable", pd.Series(True, index=rows.index)).astype(bool)
    axes = [plane.axis(rows[c].to_numpy(), t, "none", True) for c, t in ((x, x_title), (y, y_title))]
    fig = go.Figure()
    edge(fig, rows[fair], (x, y), axes, "higher", dark)
    held = rows["group"].dtype
    groups = list(held.categories) if isinstance(held, pd.CategoricalDtype) else list(dict.fromkeys(rows["group"]))
    for i, group in enumerate(groups):
        part = rows[rows["group"] == group]
        if part.empty:  # it keeps its colour for the next figure
            continue
        hover = [n if ok else f"{n}, not comparable" for n, ok in zip(part["name"], fair[part.index], strict=True)]
        colour, symbol = style.series(i, dark)
        marker = {"symbol": [symbol if ok else f"{symbol}-open" for ok in fair[part.index]], "size": 10}
        plane.point_trace(fig, part, str(group), (x, y), axes, (colour, symbol), hover, marker=marker)
    plane.name_points(fig, rows, "name", (x, y), axes, dark)
    if not fair.all():
        plane.legend_entry(fig, "not comparable", style.colours(dark)["faint"], "circle-open")
    plane.corner(fig, axes, "better", dark)
    fig.update_layout(plane.layout(axes, dark))
    return fig


def dragon_points(
    table: pd.DataFrame,
    x: tuple[str, str] = SUPERVISED,
    y: tuple[str, str] = ("BEIR-13", ZERO_SHOT),
    *,
    sets: Sequence[str] | None = None,
) -> pd.DataFrame:
    """DRAGON's Table 4 (``papers.dragon(4)``) as one row a retriever: name, group, x, y, comparable.

    ``x`` and ``y`` each name a set and a metric of the table. With ``sets``, the mean over these takes the place of y's
    set. Retrievers that lack one of them are left out.

    >>> from drscale import frontier, papers
    >>> points = frontier.dragon_points(papers.dragon(4), sets=["SciFact", "NFCorpus"])
    >>> points.set_index("name").loc["DRAGON+", ["x", "y"]].round(2).tolist()
    [39.0, 50.8]
    """
    sets = [y[0]] if sets is None else list(sets)
    if not sets:
        raise ValueError("sets=[]: at least one set is needed")
    a = _row_each(table, [x[0]], x[1])
    b = _row_each(table, sets, y[1])
    about = table.drop_duplicates("model").set_index("model")
    found = pd.DataFrame({"x": a.mean(axis=1, skipna=False), "y": b.mean(axis=1, skipna=False)})
    group = about["type"].where(about["family"] != "ours", "DRAGON")
    found["group"] = pd.Categorical(group.reindex(found.index), categories=list(dict.fromkeys(group)))
    used = table["set"].isin([x[0], *sets]) & table["metric"].isin([x[1], y[1]])
    unlike = set(table.loc[used & (table["comparable"] == "no"), "model"])
    found["comparable"] = ~found.index.isin(list(unlike))
    return found.dropna(subset=["x", "y"]).rename_axis("name").reset_index()


def set_differences(
    table: pd.DataFrame,
    base: str,
    sets: Sequence[str] | None = None,
    metric: str = ZERO_SHOT,
    *,
    level: float = 0.95,
    together: bool = True,
    n_boot: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Each retriever minus ``base``, as a mean over data sets, with an interval that draws the data sets anew.

    ``table`` has ``model``, ``set``, ``metric`` and ``value``; ``sets`` are by default those of the group BEIR, or all
    where no column ``group`` is. A retriever is compared over the sets that both have. The interval is the wider of the
    bootstrap's and Student's, for with a dozen data sets the bootstrap's alone is too narrow; with ``together`` it is
    Bonferroni's over all rows. Differences without any scatter are too few to survive. A row: ``model``, ``sets``,
    ``won`` (sets where it is better, a tie counts half), ``mean``, ``low``, ``high`` and ``survives``, whether the
    interval leaves out zero.

    >>> from drscale import frontier, papers
    >>> rows = frontier.set_differences(papers.dragon(4), "DRAGON+").set_index("model")
    >>> bool(rows.loc["RetroMAE", "survives"]), bool(rows.loc["SPLADE++", "survives"])
    (True, False)
    """
    require(table, "model", "set", "metric", "value")
    if sets is None:
        part = table[table["group"] == "BEIR"] if "group" in table else table
        sets = list(part.loc[part["metric"] == metric, "set"].drop_duplicates())
    check_level(level)
    if n_boot < 1:
        raise ValueError(f"n_boot={n_boot}: at least 1")
    wide = _row_each(table, list(dict.fromkeys(sets)), metric)
    if base not in wide.index:
        raise ValueError(f"base={base!r}: not among {', '.join(map(str, wide.index))}")
    rng, rows = np.random.default_rng(seed), []
    alpha = (1 - level) / (len(wide) - 1 if together and len(wide) > 1 else 1)
    for name, values in wide.drop(index=base).iterrows():
        change = (values - wide.loc[base]).dropna().to_numpy(dtype=float)
        n = len(change)
        row = {"model": name, "sets": n, "won": float((np.sign(change) + 1).sum() / 2), "mean": np.nan}
        if n:
            row["mean"] = float(change.mean())
        low, high = -np.inf, np.inf
        if n > 1:
            drawn = change[rng.integers(0, n, (n_boot, n))].mean(axis=1)
            low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
            half = distributions.t.ppf(1 - alpha / 2, n - 1) * change.std(ddof=1) / np.sqrt(n)
            low, high = min(low, row["mean"] - half), max(high, row["mean"] + half)
        rows.append(row | {"low": low, "high": high, "survives": bool(n > 1 and high > low and not low <= 0 <= high)})
    return pd.DataFrame(rows).sort_values("mean", ignore_index=True)


def dragon_view(
    table: pd.DataFrame,
    sets: Sequence[str],
    base: str,
    x: tuple[str, str] = SUPERVISED,
    *,
    metric: str = ZERO_SHOT,
    models: Sequence[str] = (),
    dark: bool = False,
) -> View:
    """The plane of some retrievers over some data sets, who is on its front, and whose difference from ``base`` holds.

    ``models`` chooses retrievers, empty means all.
    """
    kept = table[table["model"].isin([*models, base])] if models else table
    points = dragon_points(kept, x, ("", metric), sets=sets)
    if len(points) < 2:
        raise ValueError(f"{len(points)} retrievers have all of the sets chosen: at least two are needed")
    titles = {"x_title": f"{x[0]} {x[1]} (supervised)", "y_title": f"{metric}, mean of {len(sets)} (zero-shot)"}
    if len(sets) == 1:
        titles["y_title"] = f"{sets[0]} {metric} (zero-shot)"
    fair = points[points["comparable"]]
    members: list[str] = []
    if len(fair):
        on = frontier.front(fair, "x", "y", better="higher", warn=False)
        members = on.loc[on["on_front"], "name"].tolist()
    rows = set_differences(kept, base, sets, metric)
    holds = int(rows["survives"].sum())
    said = (
        f"On the front: {', '.join(members) or 'none'}. Of {len(rows)} retrievers {holds} differ from {base} "
        "surely over these data sets (intervals that hold together)."
    )
    return View(dragon_figure(points, **titles, dark=dark), said, rows.round(2))


def tradeoff_explorer(table: pd.DataFrame, *, dark: bool = False, setup: str = SETUP) -> Explorer:
    """Choose the supervised measure, the data sets, the retrievers and the base; the front and the differences follow.

    ``table`` is ``papers.dragon(4)`` or has its columns: group, set, metric, model, value, comparable, type, family.
    """
    require(table, "group", "set", "metric", "model", "value", "comparable", "type", "family")
    beir = list(table.loc[table["group"] == "BEIR", "set"].drop_duplicates())
    xs = table.loc[table["group"] == "MS MARCO", ["set", "metric"]].drop_duplicates().itertuples(index=False, name=None)
    names = list(table["model"].drop_duplicates())
    metrics = {ZERO_SHOT: beir}
    for _, part in table[~table["group"].isin(["BEIR", "BEIR mean", "MS MARCO"])].groupby("group", sort=False):
        metrics[str(part["metric"].iloc[0])] = [*part["set"].drop_duplicates()]
    wide = {"style": {"description_width": "6em"}}
    several = {"rows": 8, "layout": {"width": "17em"}} | wide
    controls: dict[str, Any] = {
        "x": ipywidgets.Dropdown(options={f"{s} {m}": (s, m) for s, m in xs}, description="supervised", **wide),
        "metric": ipywidgets.Dropdown(options=list(metrics), description="zero-shot", **wide),
        "base": ipywidgets.Dropdown(options=names, value=names[-1], description="compare with", **wide),
        "sets": ipywidgets.SelectMultiple(options=beir, value=beir, description="data sets", **several),
        "models": ipywidgets.SelectMultiple(options=names, description="retrievers", **several),
    }

    def offer(changed: str | None) -> None:
        if changed == "metric":
            offered = metrics[controls["metric"].value]
            controls["sets"].options = offered
            controls["sets"].value = tuple(offered)

    def settings(chosen: Settings) -> dict[str, Any]:
        return dict(chosen) | {k: list(chosen[k]) for k in ("sets", "models")} | ({"dark": True} if dark else {})

    def code(chosen: Settings) -> str:
        return "\n".join([setup, "", "view = " + live.call(dragon_view, "table", **settings(chosen)), "view.figure"])

    return Explorer(
        lambda chosen: dragon_view(table, **settings(chosen)),
        controls,
        code,
        [[["x", "metric", "base"], "sets", "models"]],
        offer=offer,
        name="tradeoff",
    )


def _row_each(table: pd.DataFrame, sets: Sequence[str], metric: str) -> pd.DataFrame:
    """The values of a metric, a row a retriever and a column a set."""
    known = table.loc[table["metric"] == metric, "set"].drop_duplicates()
    for name in sets:
        if name not in set(known):
            have = ", ".join(f"{s} {m}" for s, m in table[["set", "metric"]].drop_duplicates().to_numpy())
            raise ValueError(f"{(name, metric)!r}: not in the table, which has {have}")
    part = table[table["set"].isin(list(sets)) & (table["metric"] == metric)]
    wide = part.pivot_table("value", "model", "set", sort=False, dropna=False)
    return wide.reindex(table["model"].drop_duplicates())[list(sets)]
