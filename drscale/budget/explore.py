"""The budget explorer: what a budget buys at any prices, for two trainings side by side. Never imports torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import ipywidgets
import numpy as np
import pandas as pd

from drscale.budget import plan as planning
from drscale.budget import plot as plans
from drscale.budget.plan import Allocation
from drscale.budget.prices import Prices, paper_prices
from drscale.laws.curve import Curve
from drscale.plotting import live
from drscale.plotting import parts as traces
from drscale.plotting.live import Explorer, Settings, View
from drscale.plotting.parts import beside
from drscale.stats.tables import count_text

DRAWS = 1000  # of a curve's bootstrap sample; enough for an interval on the screen
RANGE = 100.0  # a price's slider reaches from a hundredth to a hundred times its start
CURVES = "# curves: the laws that budget_explorer was given"
PRICES = {
    "pair": "an annotated pair",
    "gpu_hour": "a GPU-hour",
    "peak_flops": "peak FLOP/s",
    "utilisation": "utilisation",
    "steps": "training steps",
    "tokens_per_step": "tokens a step",
    "documents": "documents",
    "tokens_per_document": "tokens a document",
}


def budget_view(
    curves: Mapping[str, Curve],
    budget: float,
    prices: Prices,
    *,
    names: Sequence[str] = (),
    within: Literal["box"] | None = None,
    level: float = 0.95,
    dark: bool = False,
) -> View:
    """What a budget buys: isocost line, loss contours and best plan for one or two laws, as sentences and as a table.

    ``names`` chooses among ``curves``, by default the first two; a name given twice is one panel. Panels share their
    window, which contains the fitted boxes and the best plans and ends at whole decades.
    """
    _check(curves)
    shown = list(dict.fromkeys(names or list(curves)[:2]))
    unknown = [n for n in shown if n not in curves]
    if unknown or not shown:
        raise ValueError(f"names={list(names)!r}: allowed are {', '.join(map(repr, curves)) or 'none'}")
    laws = {n: _lighter(curves[n]) for n in shown}
    made = {n: planning.allocate(c, budget, prices, within=within, level=level) for n, c in laws.items()}
    free = [planning.allocate(replace(c, draws=None), budget, prices) for c in laws.values()]
    span = {axis: _decades(axis, laws.values(), free) for axis in ("N", "D")}
    panels = {
        n: plans.isocost_parts(c, budget, prices, within=within, span=span, level=level, dark=dark)
        for n, c in laws.items()
    }
    fig = beside(panels)
    fig.layout.width = live.WIDTH
    if any("synthetic" in c.source.lower() for c in laws.values()):
        fig.update_layout(traces.title(pd.DataFrame({"synthetic": [True]})))
    said = " ".join(f"{n}: {plan}" if len(made) > 1 else str(plan) for n, plan in made.items())
    return View(fig, said, pd.DataFrame([_row(n, plan) for n, plan in made.items()]))


def budget_explorer(
    curves: Mapping[str, Curve],
    prices: Prices | None = None,
    budget: float | None = None,
    *,
    names: Sequence[str] = (),
    level: float = 0.95,
    dark: bool = False,
    setup: str = CURVES,
) -> Explorer:
    """Sliders for the budget and for every price, and what they buy under one or two laws of N and D.

    Default prices are the papers' without encoding; the default budget is the cost of the middle of the first law's
    box. Each slider starts exactly at the given value. ``setup`` is the code that makes ``curves``, for the settings as
    code.
    """
    _check(curves)
    base = paper_prices(documents=0, tokens_per_document=60) if prices is None else prices
    first = list(dict.fromkeys(names or list(curves)[:2]))
    start = _middle(curves[first[0]], base) if budget is None else float(budget)
    controls: dict[str, Any] = {
        "budget": live.slider("budget", start, start / 1e4, start * 1e4, base.money, width="44em"),
        "within": ipywidgets.Checkbox(False, description="stay in the fitted box", indent=False),
    }
    for side, name in (("left", first[0]), ("right", first[-1])):
        controls[side] = ipywidgets.Dropdown(options=list(curves), value=name, description=side)
        controls[side].layout.display = None if len(curves) > 2 else "none"
    for name, text in PRICES.items():
        controls[name] = _price(base, name, text)

    def settings(chosen: Settings) -> dict[str, Any]:
        paid = replace(base, **{n: chosen[n] for n in PRICES})
        given = {"budget": chosen["budget"], "prices": paid, "names": (chosen["left"], chosen["right"])}
        given |= {"within": "box"} if chosen["within"] else {}
        return given | ({"level": level} if level != 0.95 else {}) | ({"dark": True} if dark else {})

    def code(chosen: Settings) -> str:
        lines = [
            "from drscale.budget.prices import Prices",
            "from drscale.budget.explore import budget_view",
            "",
        ]
        return "\n".join(
            [*lines, setup, "view = " + live.call(budget_view, "curves", **settings(chosen)), "view.figure"]
        )

    columns = [list(PRICES)[:4], list(PRICES)[4:]]
    return Explorer(
        lambda chosen: budget_view(curves, **settings(chosen)),
        controls,
        code,
        [["budget", "within"], ["left", "right"], columns],
        name="budget",
    )


def _check(curves: Any) -> None:
    given = list(curves.values()) if isinstance(curves, Mapping) else [curves]
    wrong = [type(c).__name__ for c in given if not isinstance(c, Curve) or not isinstance(curves, Mapping)]
    if wrong or not given:
        example = "{'mine': fit.curve(1000)}"
        raise ValueError(f"curves={wrong[0] if wrong else {}}: laws of N and D by name are needed, as in {example}")


def _price(base: Prices, name: str, text: str) -> ipywidgets.SelectionSlider:
    start = float(getattr(base, name))
    if name == "utilisation":
        return live.slider(text, start, 0.01, 1.0, lambda v: f"{v:.3g}" if v < 0.01 else f"{100 * v:.3g}%")
    if name == "documents":
        return live.slider(text, start, 1e3, 1e14, count_text, zero=True)
    if name == "tokens_per_document":
        return live.slider(text, start or 60.0, 8, 8192, count_text)
    say = base.money if name in ("pair", "gpu_hour") else count_text
    return live.slider(text, start, start / RANGE, start * RANGE, say)


def _lighter(curve: Curve) -> Curve:
    """The same curve with no more draws than a picture needs."""
    if curve.draws is None or len(curve.draws) <= DRAWS:
        return curve
    return replace(curve, draws=curve.draws.iloc[:DRAWS])


def _middle(curve: Curve, prices: Prices) -> float:
    """What the middle of the fitted box costs, to one digit."""
    if not {"N", "D"} <= set(curve.box):
        raise ValueError("budget=None: the first law has no box of N and D to take a budget from, so give one")
    N, D = (math.sqrt(math.prod(curve.box[a])) for a in ("N", "D"))
    return float(f"{prices.cost(N, D):.1g}")


def _decades(axis: str, curves: Any, plans_: Sequence[Allocation]) -> tuple[float, float]:
    """A window that contains boxes and plans, in whole decades so that a slider rarely moves it."""
    ends = [v for c in curves for v in c.box.get(axis, ())] + [float(getattr(p, axis)) for p in plans_]
    return 10.0 ** math.floor(math.log10(min(ends) / 1.5)), 10.0 ** math.ceil(math.log10(max(ends) * 1.5))


def _row(name: str, plan: Allocation) -> dict[str, Any]:
    """A plan as a line of the table."""

    def said(key: str, value: float, form: Any) -> str:
        if not np.isfinite(value):
            return ""
        low, high = plan.intervals.get(key, (np.nan, np.nan))
        return form(value) + (f" [{form(low)}, {form(high)}]" if key in plan.intervals else "")

    row = {"training": name, "parameters N": said("N", plan.N, count_text), "pairs D": said("D", plan.D, count_text)}
    row["predicted loss"] = said("loss", plan.loss, lambda v: f"{v:.3f}")
    return row | {f"for {k}": plan.prices.money(v) if np.isfinite(v) else "" for k, v in plan.costs.items()}
