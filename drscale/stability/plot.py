"""Figures and tables of stability: the card of one model, a leaderboard of many. Never imports torch.

The input is a table of drop rates, from :func:`drscale.stability.drops.drop_rates` or, for run records, from
:func:`rates_from_records`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.plotting import parts as traces
from drscale.plotting import style
from drscale.plotting.parts import beside
from drscale.stats.tables import require

NEEDED = ("model", "family", "metric", "clean", "varied", "drop", "low", "high")
SCOPE = "stability:"
ALL = "all"  # the family that stands for all of them together


def stability_card(rates: pd.DataFrame, seeds: pd.DataFrame | None = None, *, dark: bool = False) -> go.Figure:
    """Draw one model's stability: its metric clean and in other words, and the drop rates with their intervals.

    ``seeds``, the table of :func:`drscale.stability.drops.seed_drops`, adds a short stroke for each seed.
    :func:`stability_table` has the numbers.
    """
    _check(rates)
    models = list(dict.fromkeys(zip(rates["model"], _dataset(rates), strict=True)))
    if len(models) != 1:
        raise ValueError(
            f"rates: of {len(models)} models or data sets; a card is one model's, a leaderboard takes many"
        )
    colours = style.colours(dark)
    families, metric = list(rates["family"]), style.MEASURES.get(str(rates["metric"].iloc[0]), "metric")
    names = [f"{f}" for f in families]
    left, right = go.Figure(), go.Figure()
    for clean, varied, name in zip(rates["clean"], rates["varied"], names, strict=True):
        line = {"color": colours["faint"], "width": 1.5}
        left.add_scatter(x=[clean, varied], y=[name, name], mode="lines", line=line, showlegend=False, hoverinfo="skip")
    for label, column, symbol, colour in (
        ("clean", "clean", "circle-open", colours["in_domain"]),
        ("in other words", "varied", "diamond", colours["adversarial"]),
    ):
        mark = {"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2, "color": colour}}
        left.add_scatter(x=rates[column], y=names, mode="markers", name=label, marker=mark)
    if seeds is not None:
        kept = seeds[seeds["family"].isin(families) & (seeds["model"] == models[0][0])]
        mark = {"symbol": "line-ns-open", "size": 12, "color": colours["faint"], "line": {"width": 1.5}}
        right.add_scatter(x=100 * kept["drop"], y=kept["family"], mode="markers", name="a seed", marker=mark)
    look = colours["adversarial"], "square"  # the axis has this name, and a column has room for three names
    _drops(right, rates, names, "drop, 95% interval over queries", look, showlegend=False)
    for panel, title in ((left, f"{metric}<br> "), (right, "Drop rate (%), 95%<br>interval over queries")):
        panel.update_layout(template=style.template(dark), xaxis={"title": {"text": title}})
        panel.update_layout(
            yaxis={
                "type": "category",
                "range": [len(names) - 0.5, -0.5],  # of both panels alike
                "categoryorder": "array",
                "categoryarray": names,
            }
        )
    left.update_layout(xaxis={"rangemode": "tozero"})
    right.update_layout(yaxis={"showticklabels": False})  # the left panel's
    _zero(right, colours)
    card = beside({f"{models[0][0]}": left, "What is lost": right})
    return card.update_layout(height=190 + 34 * len(names))


def stability_table(rates: pd.DataFrame) -> pd.DataFrame:
    """The card's numbers as a table: clean, varied, the drop with its interval in percent, its spread over seeds."""
    _check(rates)
    head = [c for c in ("model", "dataset", "family") if c in rates]
    head = [c for c in head if c == "family" or len(set(rates[c])) > 1]
    table = rates[head].copy()
    table["clean"], table["in other words"] = rates["clean"].round(3), rates["varied"].round(3)
    table["drop, %"] = [_said(*v) for v in rates[["drop", "low", "high"]].itertuples(index=False)]
    if "seed_sd" in rates:
        table["sd over seeds, %"] = (100 * rates["seed_sd"]).round(1)
    if "changed" in rates:
        table["queries changed, %"] = (100 * rates["changed"]).round().astype(int)
    return table.set_index(head)


def leaderboard(rates: pd.DataFrame) -> pd.DataFrame:
    """Models side by side, the most stable one first: the clean metric and each family's drop with interval in percent.

    The order is that of the family ``all`` if it is given, else that of the mean drop over the families.
    """
    _check(rates)
    key = [c for c in ("dataset", "model") if c in rates]
    said = rates.assign(said=[_said(*v) for v in rates[["drop", "low", "high"]].itertuples(index=False)])
    wide = said.pivot_table("said", key, "family", aggfunc="first")[list(dict.fromkeys(rates["family"]))]
    wide.insert(0, f"clean {rates['metric'].iloc[0]}", rates.groupby(key)["clean"].first().round(3))
    wide.columns.name = None
    return wide.loc[_order(rates, key)]


def leaderboard_figure(rates: pd.DataFrame, *, dark: bool = False) -> go.Figure:
    """Draw the drop rates of several models by family, with their intervals, the most stable model first."""
    _check(rates)
    if "dataset" in rates and len(set(rates["dataset"])) > 1:
        raise ValueError(
            "rates: of several data sets; draw them one by one, or drop_rates(rows, by=('model', 'family'))"
        )
    fig, families = go.Figure(), list(dict.fromkeys(rates["family"]))
    order = list(_order(rates, ["model"]))
    for i, model in enumerate(order):
        part = rates[rates["model"] == model].set_index("family").reindex(families).reset_index()
        places = traces.row_places(families, families, i, len(order), min(0.18, 0.7 / len(order)))
        _drops(fig, part, places, str(model), style.series(i, dark))
    ticks = traces.row_axis(families) | {"range": None, "showgrid": False}
    fig.update_layout(template=style.template(dark), xaxis={"title": {"text": "Drop rate (%)"}}, yaxis=ticks)
    _zero(fig, style.colours(dark))
    return fig.update_layout(height=150 + (26 + 13 * len(order)) * len(families))


def drops_by_size(
    table: pd.DataFrame, families: Sequence[str], x: str = "params_layers", *, dark: bool = False
) -> go.Figure:
    """Draw the drop rates of families against model size: runs with their intervals, a line through each size's mean.

    ``table`` is ``RunStore.table()`` with the scopes ``stability:FAMILY``; runs that were not measured are left out.
    """
    columns = {f: f"{SCOPE}{f}_drop" for f in families}
    require(table, x, *columns.values(), hint="RunStore.table() takes scopes such as 'stability:ordering'")
    kept, fig = table.dropna(subset=[x, *columns.values()]), go.Figure()
    if kept.empty:
        raise ValueError("table: no run in it was measured for stability")
    for i, (family, column) in enumerate(columns.items()):
        colour, symbol = style.series(i, dark)
        drop, low, high = (100 * kept[f"{column}{end}"] for end in ("", "_low", "_high"))
        mean = drop.groupby(kept[x]).mean()
        fig.add_scatter(
            x=mean.index, y=mean, mode="lines", line={"color": colour, "width": 2}, showlegend=False, hoverinfo="skip"
        )
        fig.add_scatter(
            x=kept[x] * 1.03 ** (i - (len(columns) - 1) / 2),  # side by side, so that the bars do not hide each other
            y=drop,
            mode="markers",
            name=family,
            marker={"symbol": symbol, "size": 8, "color": colour},
            error_y=traces.bars(drop, low, high, style.tint(colour, 0.45)),
            customdata=kept["rung"] if "rung" in kept else kept[x],
            hovertemplate=f"<b>%{{customdata}}</b>, {family}<br>%{{y:.1f}}%<extra></extra>",
        )
    fig.update_layout(template=style.template(dark), xaxis=style.count_axis(kept[x], x))
    fig.update_layout(yaxis={"title": {"text": "Drop rate (%)"}}, height=440)
    return fig.add_hline(0, line={"dash": "dot", "color": style.colours(dark)["faint"], "width": 1.5})


def rates_from_records(
    domains: pd.DataFrame, names: Mapping[str, str] | None = None, dataset: str = ""
) -> pd.DataFrame:
    """Drop rates from run records: ``domains`` is ``RunStore.domains()``, ``names`` maps the wanted keys to names.

    A record holds drops of nDCG@10, intervals included, but no single seeds. ``dataset`` says where they were measured
    ("docs/test" those of the study docs-models), so that they can be combined with rates of other retrievers.
    """
    metric = "ndcg10"
    kept = domains[domains["scope"].str.startswith(SCOPE)]
    if names is not None:
        kept = kept[kept["key"].isin(names)]
    if kept.empty:
        raise ValueError("domains: no record in it was measured for stability")
    rows: list[dict[str, Any]] = []
    for key, mine in kept.groupby("key", sort=False):
        table = {(r["scope"].removeprefix(SCOPE), r["metric"]): r for r in mine.to_dict("records")}
        for family in dict.fromkeys(f for f, m in table if m == "drop"):
            drop = table[family, "drop"]
            row = {"model": names[str(key)] if names else key, **({"dataset": dataset} if dataset else {})}
            row |= {"family": family, "metric": metric}
            row |= {"clean": table["clean", metric]["mean"], "varied": table[family, metric]["mean"]}
            row |= {"drop": drop["mean"], "low": drop["low"], "high": drop["high"], "queries": drop["n"]}
            rows.append(row | {"changed": table[family, "changed"]["mean"]})
    return pd.DataFrame(rows)


def _check(rates: pd.DataFrame) -> None:
    require(rates, *NEEDED, what="rates", hint="drop_rates() and rates_from_records() make such a table")
    if rates.empty:
        raise ValueError("rates: no row in it")
    if "dataset" in rates and rates["dataset"].isna().any():
        raise ValueError("rates: some rows have no dataset; recorded(domains, names, 'docs/test') gives records one")
    whose = [c for c in ("model", "dataset", "family") if c in rates]
    if rates.duplicated(whose).any():
        raise ValueError(f"rates: {rates['model'][rates.duplicated(whose)].iloc[0]!r} comes twice in one family")


def _dataset(rates: pd.DataFrame) -> list[str]:
    return list(rates["dataset"]) if "dataset" in rates else [""] * len(rates)


def _order(rates: pd.DataFrame, key: list[str]) -> pd.Index[Any]:
    part = rates[rates["family"] == ALL] if (rates["family"] == ALL).any() else rates
    return part.groupby(key)["drop"].mean().sort_values(kind="stable").index


def _said(drop: float, low: float, high: float) -> str:
    if not np.isfinite(drop):
        return "not known"
    return f"{100 * drop:.1f} [{100 * low:.1f}, {100 * high:.1f}]".replace("-", "−")


def _drops(fig: go.Figure, rates: pd.DataFrame, places: Any, name: str, look: tuple[str, str], **more: Any) -> None:
    """Add drop rates in percent with their intervals."""
    percent = 100 * rates[["drop", "low", "high"]]
    hover = f"<b>%{{customdata[0]}}</b>, {name}<br>%{{x:.1f}}% [%{{customdata[1]:.1f}}, %{{customdata[2]:.1f}}]"
    traces.interval_rows(fig, percent, "drop", rates["family"], places, name, look, f"{hover}<extra></extra>", **more)


def _zero(fig: go.Figure, colours: Mapping[str, str]) -> None:
    fig.add_vline(0, line={"dash": "dot", "color": colours["faint"], "width": 1.5})
