"""Look at attacked passages: original and attacked text side by side, swaps marked, ranks before and after.

The input is rows of the table that an attack returns, or of its Parquet file. Never imports torch.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from drscale.files import write_atomic
from drscale.plotting import style
from drscale.stats.tables import require

NEEDED = ("original", "attacked", "swaps", "places")
AROUND = 60  # characters shown behind the last swap of a longer text
MOST_TOLD = 120  # characters of swaps that are shown when hovering over a point
# Half-transparent marks are readable on light and dark pages; strike-out and underline distinguish them in grey.
_GONE = f"background:{style.tint(style.SERIES[1], 0.25)};text-decoration:line-through"
_PUT = f"background:{style.tint(style.SERIES[0], 0.25)};text-decoration:underline"
_CARD = "border:1px solid rgba(128,128,128,.4);border-radius:4px;padding:.6em .8em;margin:.5em 0;max-width:76em"
_SIDES = "display:flex;flex-wrap:wrap;gap:1em;margin-top:.5em"
_SIDE = "flex:1 1 20em;min-width:0;overflow-wrap:anywhere;white-space:pre-wrap;line-height:1.45"


@dataclass(frozen=True, repr=False)
class View:
    """A piece of static HTML that notebooks show by themselves."""

    html: str

    def __repr__(self) -> str:
        return "(Attacked passages stand here: a notebook shows them, .save(path) writes a page.)"

    def _repr_html_(self) -> str:
        return self.html

    def save(self, path: str | Path) -> Path:
        """Write it as a page of its own."""
        head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Attacked passages</title>'
        scheme = "<style>:root{color-scheme:light dark}body{font-family:" + style.FAMILY + ";margin:1em}</style>"
        write_atomic(Path(path), f"{head}{scheme}<body>{self.html}</body></html>\n")
        return Path(path)


def attack_view(
    rows: pd.DataFrame | pd.Series | Mapping[str, Any], queries: Mapping[str, str] | str | None = None, most: int = 700
) -> View:
    """Show attacked passages, one card each: original left, attacked right, each swap marked in both.

    ``rows`` is a table of attacked passages or a row of it; ``queries`` gives the text of each query id, or the one
    text. In a text longer than ``most`` characters the part after the last swap is left out, with a note.
    """
    if most < 1:
        raise ValueError(f"most={most}: at least 1 character")
    listed = [row for _, row in rows.iterrows()] if isinstance(rows, pd.DataFrame) else [rows]
    if not listed:
        raise ValueError("rows: there is no attacked passage to show")
    return View("\n".join(_card(row, queries, most) for row in listed))


def _card(row: pd.Series | Mapping[str, Any], queries: Mapping[str, str] | str | None, most: int) -> str:
    if missing := [name for name in NEEDED if name not in row]:
        raise ValueError(f"rows: {', '.join(missing)} missing; the table of an attack has them")
    original, attacked = str(row["original"]), str(row["attacked"])
    swaps = _swaps(row)
    left, right = _marked(original, swaps)
    if right[0] != attacked:
        raise ValueError("rows: the attacked text is not the original with its swaps made")
    end = max([most, *(at + len(old) + AROUND for at, old, _ in swaps)])
    sides = "".join(
        f'<div style="{_SIDE}"><strong>{name}</strong><br>{_cut(parts, end)}</div>'
        for name, parts in (("original", left[1]), ("attacked", right[1]))
    )
    return f'<div style="{_CARD}">{_heading(row, queries, len(swaps))}<div style="{_SIDES}">{sides}</div></div>'


def _swaps(row: pd.Series | Mapping[str, Any]) -> list[tuple[int, str, str]]:
    pairs = [str(swap).partition(" -> ") for swap in row["swaps"]]
    places = [int(at) for at in row["places"]]
    if len(pairs) != len(places):
        raise ValueError(f"rows: {len(pairs)} swaps but {len(places)} places")
    return sorted((at, old, new) for at, (old, _, new) in zip(places, pairs, strict=True))


# A text, and its parts: what they show, where they begin in the original, and the tag around them.
Parts = list[tuple[str, int, str]]


def _marked(original: str, swaps: list[tuple[int, str, str]]) -> tuple[tuple[str, Parts], tuple[str, Parts]]:
    """The original and the attacked text, each with its parts."""
    old_parts: Parts = []
    new_parts: Parts = []
    done = 0
    for at, old, new in swaps:
        if at < done or original[at : at + len(old)] != old:
            raise ValueError(f"rows: the original has no {old!r} at {at}")
        between = (original[done:at], done, "")
        old_parts += [between, (old, at, "del")]
        new_parts += [between, (new, at, "ins")]
        done = at + len(old)
    rest = (original[done:], done, "")
    texts = ["".join(text for text, _, _ in parts) for parts in ([*old_parts, rest], [*new_parts, rest])]
    return (texts[0], [*old_parts, rest]), (texts[1], [*new_parts, rest])


def _cut(parts: Parts, end: int) -> str:
    """Parts as HTML, as far as the original's character ``end``."""
    shown, left = [], 0
    for text, at, tag in parts:
        kept = text if tag else text[: max(0, end - at)]
        left += len(text) - len(kept)
        mark = {"del": _GONE, "ins": _PUT}.get(tag)
        shown.append(f'<{tag} style="{mark}">{html.escape(kept)}</{tag}>' if mark else html.escape(kept))
    more = f' <span style="opacity:.65">… {left:,} more characters</span>' if left else ""
    return "".join(shown) + more


def _heading(row: pd.Series | Mapping[str, Any], queries: Mapping[str, str] | str | None, swaps: int) -> str:
    asked = row.get("query", "")
    text = queries if isinstance(queries, str) else (queries or {}).get(str(asked), asked)
    said = []
    if "rank_before" in row:
        said.append(f"rank <strong>{int(row['rank_before']):,} → {int(row['rank_after']):,}</strong>")
    if "score_before" in row:
        said.append(f"score {float(row['score_before']):.3f} → {float(row['score_after']):.3f}")
    words = f" of {int(row['words'])} words" if "words" in row else ""
    said.append(f"{swaps}{words} swapped" if swaps else "unchanged: no swap was kept")
    if "similarity" in row and not math.isnan(float(row["similarity"])):
        said.append(f"similarity {float(row['similarity']):.2f}")
    said += [html.escape(str(row[name])) for name in ("method", "source") if name in row]
    head = f'<div><strong>Query</strong> <span style="white-space:pre-wrap">{html.escape(str(text))}</span></div>'
    return (head if str(text) else "") + f'<div style="opacity:.85">{" · ".join(said)}</div>'


def climb_figure(rows: pd.DataFrame, dark: bool = False) -> go.Figure:
    """Draw the rank of each attacked document before and after; above the dotted curve it climbed.

    Ranks afterwards are on a logarithmic scale with the top of the list at the top. Documents with an unchanged rank
    lie on the curve, as hollow marks if their text was not changed.
    """
    require(rows, "rank_before", "rank_after", "changed", what="rows", hint="attack_collection(...) makes such a table")
    c = style.colours(dark)
    fig = go.Figure()
    last = float(rows[["rank_before", "rank_after"]].max().max()) if len(rows) else 1.0
    line = {"color": c["faint"], "width": 1, "dash": "dot"}
    same = np.geomspace(1.0, max(last, 2.0), 60)
    fig.add_scatter(x=same, y=same, mode="lines", line=line, name="rank unchanged", hoverinfo="skip")
    for changed, name in ((True, "attacked"), (False, "no swap was kept")):
        part = rows[rows["changed"] == changed]
        if not len(part):
            continue
        told = [", ".join(map(str, s)) or "none" for s in part["swaps"]] if "swaps" in part else [""] * len(part)
        fig.add_scatter(
            x=part["rank_before"],
            y=part["rank_after"],
            mode="markers",
            name=name,
            marker={
                "size": 5,
                "color": style.tint(c["in_domain"], 0.5) if changed else "rgba(0,0,0,0)",
                "line": {"width": 0 if changed else 1, "color": c["ood"]},
            },
            text=[html.escape(t if len(t) <= MOST_TOLD else f"{t[:MOST_TOLD]} …") for t in told],
            hovertemplate="rank %{x:,} → %{y:,}<br>%{text}<extra></extra>",
        )
    ticks = style.log_ticks(1.0, max(last, 2.0))
    y = {
        "type": "log",
        "range": [math.log10(last * 1.2), math.log10(0.85)],
        "tickvals": ticks,
        "ticktext": [style.count_text(t) for t in ticks],
        "title": {"text": "Rank after (logarithmic)"},
    }
    x = {"range": [0, last * 1.03], "title": {"text": "Rank before"}}
    fig.update_layout(template=style.template(dark), xaxis=x, yaxis=y)
    return fig
