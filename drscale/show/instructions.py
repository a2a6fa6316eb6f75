"""Means with their intervals, a line a condition and a colour a model: what instructions do. Never imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from drscale.show import style

APART = 0.16  # between two models on one line, of the space between lines


def interval_figure(
    table: pd.DataFrame,
    of: str,
    by: str = "model",
    *,
    label: str = "mean",
    names: Sequence[str] = (),
    at: float | None = None,
    dark: bool = False,
) -> go.Figure:
    """Draw each row's mean and interval (columns mean, low and high): ``of`` says its line, ``by`` its colour.

    ``label`` is the axis' text, ``names`` the models in their order (all that are there, unless given), ``at`` a value
    that deserves a line across, such as no change at 0.
    """
    lacking = [c for c in (of, by, "mean", "low", "high") if c not in table.columns]
    if lacking:
        raise ValueError(f"interval_figure: the table lacks the columns {', '.join(lacking)}")
    chosen = list(names) or list(dict.fromkeys(table[by]))
    if unknown := [n for n in chosen if n not in set(table[by])]:
        raise ValueError(f"names={unknown}: {by} has {', '.join(map(str, table[by].unique()))}")
    lines = list(dict.fromkeys(table[of]))
    place = {line: -i for i, line in enumerate(lines)}
    fig = go.Figure(layout={"template": style.template(dark)})
    if at is not None:
        fig.add_vline(x=at, line={"color": style.colours(dark)["faint"], "width": 1, "dash": "dot"})
    for i, name in enumerate(chosen):
        rows, (colour, marker) = table[table[by] == name], style.series(i, dark)
        fig.add_scatter(
            name=str(name),
            x=rows["mean"].tolist(),
            y=[place[line] + APART * ((len(chosen) - 1) / 2 - i) for line in rows[of]],
            error_x={
                "type": "data",
                "array": (rows["high"] - rows["mean"]).tolist(),
                "arrayminus": (rows["mean"] - rows["low"]).tolist(),
                "thickness": 1.5,
                "width": 0,
            },
            mode="markers",
            marker={"color": colour, "symbol": marker, "size": 9},
            customdata=rows[["low", "high"]].assign(line=rows[of].astype(str)).to_numpy().tolist(),
            hovertemplate="%{customdata[2]}: %{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})",
        )
    fig.update_xaxes(title_text=label)
    fig.update_yaxes(
        tickvals=[place[line] for line in lines],
        ticktext=[str(line) for line in lines],
        range=[0.6 - len(lines), 0.6],
        showgrid=False,
    )
    fig.update_layout(height=130 + 46 * len(lines), hovermode="closest")
    return fig
