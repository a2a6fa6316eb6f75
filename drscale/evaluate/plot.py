"""Retrievers side by side: a figure of domains. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pandas as pd
import plotly.graph_objects as go

from drscale.plotting import parts as traces
from drscale.plotting import style
from drscale.stats.tables import require


def domain_figure(
    domains: pd.DataFrame,
    keys: Mapping[str, str] | Iterable[str] | None = None,
    metric: str = "entropy",
    *,
    dark: bool = False,
) -> go.Figure:
    """Draw each domain's metric with its interval for chosen runs, domains sorted by the first run.

    ``domains`` is ``RunStore.domains()``; ``keys`` are run keys, or a mapping from keys to the names to show.
    """
    found = domains[(domains["metric"] == metric) & domains["scope"].str.match("in_domain$|ood:")]
    if found.empty:
        have = ", ".join(sorted(set(domains["metric"]))) or "none"
        raise ValueError(f"metric={metric!r}: not among the measured ones, {have}")
    names = dict(keys) if isinstance(keys, Mapping) else {k: k for k in (keys or sorted(set(found["key"])))}
    if not names:
        raise ValueError("keys=[]: at least one run")
    for key in names:
        if key not in set(found["key"]):
            raise ValueError(f"keys: no run {key!r} with {metric} in this table")
    first = found[found["key"] == next(iter(names))].sort_values("mean", ascending=metric not in _LESS_IS_BETTER)
    labels = {s: "in-domain" if s == "in_domain" else str(s).removeprefix("ood:") for s in found["scope"]}
    fig = go.Figure()
    for i, (key, name) in enumerate(names.items()):
        rows = found[found["key"] == key].set_index("scope").reindex(first["scope"])
        places = [labels[s] for s in rows.index]
        hover = f"<b>%{{y}}</b>, {name}<br>%{{x:.3f}} [%{{customdata[1]:.3f}}, %{{customdata[2]:.3f}}], "
        hover += "%{customdata[3]} queries<extra></extra>"
        traces.interval_rows(fig, rows, "mean", places, places, name, style.series(i, dark), hover, rows["n"])
    chance = metric in ("entropy", "calibrated") and found["high"].max() > 0.85 * style.CHANCE
    fig.update_layout(template=style.template(dark), height=120 + 26 * len(first))
    low, high = float(found["low"].min()), max(float(found["high"].max()), style.CHANCE if chance else 0.0)
    ends = [low - 0.04 * (high - low), high + 0.04 * (high - low)]
    words = traces.beside_rows(style.MEASURES.get(metric, metric), labels.values())
    fig.update_layout(xaxis={"title": {"text": words}, "range": ends})
    if chance:
        fig.add_vline(style.CHANCE, line={"dash": "dot", "color": style.colours(dark)["faint"], "width": 1.5})
        fig.add_annotation(
            x=style.CHANCE,
            xanchor="right",
            y=1,
            yref="paper",
            yanchor="top",
            text=style.CHANCE_TEXT,
            textangle=-90,
            showarrow=False,
            font={"color": style.colours(dark)["faint"]},
        )
    return fig


_LESS_IS_BETTER = ("entropy", "calibrated")


def bytes_figure(
    means: pd.DataFrame, y: str = "ndcg10", by: str = "way", panels: str = "", *, dark: bool = False
) -> go.Figure:
    """Draw what is left of a measure against the bytes a passage takes (column ``bytes``, log), a line for each way.

    A column ``panels`` gives a panel for each of its values. A way with one number of bytes is a mark alone.
    """
    require(means, "bytes", y, by, *([panels] if panels else []))
    ways, drawn = list(dict.fromkeys(means[by])), {}
    low, high = 0.8 * float(means["bytes"].min()), 1.3 * float(means["bytes"].max())
    axis = traces.log_axis(low, high, traces.broken("Bytes a passage", 10 if panels else 26), traces.short)
    for value, part in means.groupby(panels, sort=False) if panels else [("", means)]:
        fig = go.Figure(layout={"template": style.template(dark)})
        for i, way in enumerate(ways):
            rows = part[part[by] == way].sort_values("bytes")
            colour, symbol = style.series(i, dark)
            look = {"marker": {"color": colour, "symbol": symbol, "size": 8}, "line": {"color": colour, "width": 1.5}}
            hover = f"{way}: %{{y:.3f}} with %{{x:,}} bytes<extra></extra>"
            if len(rows):
                fig.add_scatter(
                    x=rows["bytes"].tolist(),
                    y=rows[y].tolist(),
                    name=str(way),
                    mode="lines+markers",
                    hovertemplate=hover,
                    **look,
                )
        span = [float(means[y].min()), float(means[y].max())]
        room = 0.06 * (span[1] - span[0])
        title = {"title": {"text": style.MEASURES.get(y, y)}, "range": [span[0] - room, span[1] + room]}
        drawn[str(value)] = fig.update_layout(xaxis=axis, yaxis=title, height=420)
    return traces.beside(drawn)
