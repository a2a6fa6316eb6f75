"""Colours, markers, axes and the one template of every figure. Never imports torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go

from drscale.recipe import STRATEGIES
from drscale.runs import CHANCE as CHANCE
from drscale.stats.tables import count_text

# Okabe and Ito's palette: told apart by colour-blind eyes; scopes also differ by marker and stay apart in grey.
SCOPES = {"in_domain": "In-domain", "ood": "Out-of-domain", "adversarial": "Adversarial"}
MARKERS = {"in_domain": "circle", "ood": "square", "adversarial": "diamond"}
_LIGHT = {
    "in_domain": "#0072B2",
    "ood": "#D55E00",
    "adversarial": "#009E73",
    "ink": "#222222",
    "faint": "#767676",
    "grid": "#E4E4E4",
    "paper": "#FFFFFF",
}
_DARK = {
    "in_domain": "#56B4E9",
    "ood": "#E69F00",
    "adversarial": "#2FBF95",
    "ink": "#E8E8E8",
    "faint": "#A0A0A0",
    "grid": "#3A3A3A",
    "paper": "#161616",
}
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SERIES_MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
# Of viridis: light to dark for small to large on white, the other way round on black.
RAMP = ("#AADC32", "#35B779", "#21908C", "#31688E", "#443A83", "#440154")
RAMP_DARK = ("#5A4FA0", "#31688E", "#21908C", "#35B779", "#8FD744", "#FDE725")
FAMILY = "Open Sans, DejaVu Sans, Arial, sans-serif"
CHANCE_TEXT = f"chance, ln {round(math.exp(CHANCE))}"

AXES = {
    "projection": "Numbers in a vector (dimension)",
    "params_layers": "Non-embedding parameters N<br>(transformer layers)",
    "params_drscale": "Non-embedding parameters N<br>(with pooler and projection)",
    "params_fang": "Parameters N<br>(all but the word table)",
    "params_trainable": "Trainable parameters N",
    "params_total": "Parameters N (all)",
    "train_pairs": "Training pairs D",
    "step": "Training step",
    "flops": "Training compute (FLOPs)",
    "tokens": "Training tokens",
}
MEASURES = {
    "entropy": "Contrastive entropy (nats)",
    "calibrated": "Calibrated contrastive entropy (nats)",
    "ndcg10": "nDCG@10",
    "mrr10": "MRR@10",
    "recall10": "Recall@10",
    "recall100": "Recall@100",
    "loss": "Training loss (nats)",
    "validation": "Validation entropy (nats)",
}


def colours(dark: bool = False) -> dict[str, str]:
    """The colours of scopes (in_domain, ood, adversarial) and of ink, faint lines, grid and paper."""
    return _DARK if dark else _LIGHT


def scope(name: str, i: int, dark: bool = False) -> tuple[str, str]:
    """Colour and marker of a scope; one without its own gets those of the i-th series."""
    return (colours(dark)[name], MARKERS[name]) if name in SCOPES else series(i, dark)


def series(i: int, dark: bool = False) -> tuple[str, str]:
    """Colour and marker of the i-th series; after seven the colours come again with open markers."""
    colour = SERIES[i % 7]
    ink = _DARK["ink"] if dark and colour == "#000000" else colour
    return ink, SERIES_MARKERS[i % 7] + ("-open" if i % 14 >= 7 else "")


def in_order(values: Iterable[Any], first: Iterable[Any] = ()) -> list[Any]:
    """Each value once: those of ``first`` in its order, strategies in their registry's, then the rest as they come."""
    known = {value: i for i, value in enumerate(dict.fromkeys([*first, *STRATEGIES]))}
    return sorted(dict.fromkeys(values), key=lambda value: known.get(value, len(known)))


def ranks(values: Iterable[Any], first: Iterable[Any] = ()) -> dict[Any, int]:
    """Which series each value is, for :func:`series`: a strategy has the same colour and marker in every figure.

    If one of ``values`` or ``first`` is a strategy, all of the registry come first, those that are not there included;
    then come all of ``first``, then the others as they come, in colours that are free as long as there are any.
    """
    every = [*first, *in_order(values)]
    known = STRATEGIES if any(value in STRATEGIES for value in every) else ()
    rank = {value: i for i, value in enumerate(dict.fromkeys([*known, *first]))}
    taken, following = {rank[value] % 7 for value in every if value in rank}, len(rank)
    for value in (value for value in dict.fromkeys(every) if value not in rank):
        while following % 7 in taken and len(taken) < 7:
            following += 1
        rank[value] = following
        taken.add(following % 7)
        following += 1
    return rank


def tint(colour: str, share: float) -> str:
    """A colour made transparent; ``share`` is what remains of it."""
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},{share:g})"


def ramp(share: float, dark: bool = False) -> str:
    """The colour at a share between 0 (smallest) and 1 (largest) of the sequential scale."""
    stops = RAMP_DARK if dark else RAMP
    place = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    i = min(int(place), len(stops) - 2)
    mixed = (
        round(int(a, 16) + (int(b, 16) - int(a, 16)) * (place - i))
        for a, b in ((stops[i][k : k + 2], stops[i + 1][k : k + 2]) for k in (1, 3, 5))
    )
    return "#" + "".join(f"{c:02X}" for c in mixed)


def template(dark: bool = False) -> go.layout.Template:
    """Thin axes on two sides, a faint grid, one font; sizes are for the screen, export shrinks them for print."""
    c = colours(dark)
    axis = {
        "showline": True,
        "linecolor": c["ink"],
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 5,
        "tickcolor": c["ink"],
        "gridcolor": c["grid"],
        "gridwidth": 1,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 8},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FAMILY, "size": 14, "color": c["ink"]},
            "colorway": SERIES,
            "paper_bgcolor": c["paper"],
            "plot_bgcolor": c["paper"],
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 12, "r": 16, "t": 40, "b": 12},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "bgcolor": "rgba(0,0,0,0)",
                "itemsizing": "trace",
            },
            "hoverlabel": {"font": {"family": FAMILY, "size": 13}, "align": "left"},
            "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 15}},
        }
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Round values for a log axis: about four to eight of them."""
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8), tuple(i / 10 for i in range(10, 100, 2))):
        found = [
            d * 10.0**k
            for k in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
            for d in digits
            if low * 0.999 <= d * 10.0**k <= high * 1.001
        ]
        if len(found) >= 4:
            return found[:: math.ceil(len(found) / 8)]
    return [low + (high - low) * i / 4 for i in range(5)]


def count_axis(values: Iterable[float], column: str) -> dict[str, object]:
    """A log axis for counts: labels of few levels are the levels themselves, else round numbers."""
    levels = sorted(set(values))
    low, high = levels[0], levels[-1]
    steps = [b / a for a, b in itertools.pairwise(levels)]
    ticks = levels if 2 <= len(levels) <= 8 and min(steps) > 1.6 else log_ticks(low / 1.3, high * 1.3)
    return {
        "type": "log",
        "title": {"text": AXES.get(column, column)},
        "tickvals": ticks,
        "ticktext": [count_text(t) for t in ticks],
        "range": [math.log10(low / 1.3), math.log10(high * 1.3)],
    }
