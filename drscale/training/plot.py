"""Training curves, live and stored, and the weight of Pareto training over the steps. Never imports torch."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import ipywidgets
import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy import stats

from drscale.ladder import parse_rung
from drscale.plotting import live, plane, style
from drscale.plotting import parts as lines
from drscale.plotting.live import Explorer, LiveFigure, Settings, View
from drscale.recipe import Recipe, first_variant
from drscale.stats.tables import require
from drscale.training import weight as controller

HEIGHT = 120  # pixels of a panel
TITLE = 50  # letters in a line of its title
APART = "9px,3px"  # the dash of every other line, where neighbours look alike
MOST = 200  # points that a stored curve keeps
CALLED = (controller.STANDARD, controller.ALONE)  # what a weighing is when it weighs nothing
SETUP = "from drscale.training.plot import weight_view"
# What the toy's sliders are called, and their ends; eta and the ratio go by decades.
TOY = {
    "omega_0": ("omega_0", 0.05, 4.0),
    "eta": ("eta, the step", 0.0005, 1.0),
    "smooth": ("smoothing", 0.0, 0.99),
    "ratio": ("loss ratio at weight 1/2", 0.1, 100.0),
    "gain": ("what the weight does to it", 0.0, 4.0),
    "lag": ("its delay in steps", 1, 200),
    "noise": ("noise of a batch", 0.0, 1.0),
    "seed": ("seed", 0, 9),
}


def weight_figure(courses: Mapping[str, Sequence[float]], *, dark: bool = False) -> go.Figure:
    """Draw the weight of the robustness loss at every step, a panel a run, with how its second half behaves.

    ``courses`` maps a run's name to its weights, as ``Run.omega`` keeps them. A long course is thinned to its least
    and largest values, so that no swing is hidden.
    """
    if not courses:
        raise ValueError("courses={}: at least one run's weights")
    titles = []
    for name, omega in courses.items():
        b, t = controller.behaviour(omega), controller.trajectory(omega)
        is_it = "" if t.called not in CALLED else f", which is {t.called}"
        words = f"{name}: {b.kind}, mean {b.mean:.2f}, {b.at_bounds:.0%} of steps at a bound{is_it}"
        titles.append(lines.broken(words, TITLE))
    more = 16 * max(title.count("<br>") for title in titles)  # pixels for the further lines of a title
    rows, high = len(courses), HEIGHT + more
    gap = min((high - 76) / (rows * high), 0.4 / max(rows - 1, 1))
    fig = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=gap, subplot_titles=titles)
    for i, (name, omega) in enumerate(courses.items()):
        steps, values = thinned(np.asarray(omega, dtype=float))
        colour, _ = style.series(i, dark)
        hover = f"{name}<br>step %{{x}}: weight %{{y:.3f}}<extra></extra>"
        line = lines.scatter(steps, values, name, "lines", line={"color": colour, "width": 1.2}, hovertemplate=hover)
        fig.add_trace(line, row=i + 1, col=1)
    fig.update_layout(template=style.template(dark), height=high * rows + 100, showlegend=False)
    fig.update_yaxes(range=[-0.05, 1.05], tickvals=[0, 0.5, 1])
    fig.update_xaxes(title=style.AXES["step"], row=rows, col=1)
    fig.update_annotations(x=0, xanchor="left", align="left", font_size=13)
    fig.update_layout(title="Weight of the robustness loss", margin={"t": 64 + more})
    return fig


def line_figure(
    runs: pd.DataFrame,
    fixed: Sequence[str],
    x: str,
    y: str,
    *,
    by: str = "arm",
    words: tuple[str, str] = ("", ""),
    dark: bool = False,
) -> go.Figure:
    """Draw the line that fixed weights span, from mean to mean, and the other arms beside it; both axes are losses.

    Bars are 95% intervals of the mean over an arm's runs (Student's t), one a seed. Beyond the outer weights the line
    is an extrapolation and dashed. ``words`` name the axes; for distances from the line see
    :func:`drscale.training.weight.from_line`.
    """
    means = runs.groupby(by)[[x, y]].agg(["mean", "sem", "size"])
    reach = {name: means[name]["sem"] * stats.t.ppf(0.975, means[name]["size"] - 1) for name in (x, y)}
    ends = means.loc[list(fixed)].sort_values((x, "mean"))
    xs, ys = ends[x]["mean"].to_numpy(), ends[y]["mean"].to_numpy()
    c, fig = style.colours(dark), go.Figure()
    line = {"color": c["ink"], "width": 1.5}
    fig.add_trace(lines.scatter(xs, ys, "fixed weights", "lines", line=line, hoverinfo="skip", showlegend=True))
    centre = means[x]["mean"]
    for a, b, end in ((0, 1, min(centre.min(), xs[0])), (-1, -2, max(centre.max(), xs[-1]))):
        there = ys[a] + (ys[b] - ys[a]) / (xs[b] - xs[a]) * (end - xs[a])
        dashed = line | {"dash": lines.DASH}
        fig.add_trace(lines.scatter([xs[a], end], [ys[a], there], "", "lines", line=dashed, hoverinfo="skip"))
    others = [arm for arm in means.index if arm not in fixed]
    colours = [c["ink"]] * len(ends) + [style.series(1, dark)[0]] * len(others)
    for kind, arms in (("fixed", list(ends.index)), ("steered", others)):
        colour, symbol = (c["ink"], "circle") if kind == "fixed" else style.series(1, dark)
        part = means.loc[arms]
        bars = {
            f"error_{axis}": {"array": reach[name].loc[arms], "color": colour, "thickness": 1, "width": 3}
            for axis, name in (("x", x), ("y", y))
        }
        marker = {"color": colour, "symbol": symbol, "size": 9}
        look = {"marker": marker, "text": arms, **bars}
        fig.add_trace(lines.scatter(part[x]["mean"], part[y]["mean"], kind, "markers", **look))
    fig.update_layout(template=style.template(dark), height=440)
    room = 0.3 * (centre.max() - centre.min())  # for the names beside the outer arms
    fig.update_xaxes(title=words[0] or x, range=[centre.min() - room, centre.max() + room])
    fig.update_yaxes(title=words[1] or y)
    named = pd.DataFrame({c: means[c]["mean"] for c in (x, y)}).loc[[*ends.index, *others]]
    axes = [plane.axis(named[c].to_numpy(), c) for c in (x, y)]
    plane.name_points(fig, named.assign(arm=named.index), "arm", (x, y), axes, dark, 12, colours)
    return fig


def weight_label(recipe: Recipe, omega: Sequence[float] = ()) -> str:
    """How a recipe weighs its two losses, in a few words: enough to tell apart runs that differ in nothing else.

    The controller's step is what the paper calls eta, a letter that its laws need for another number. ``omega`` is
    the run's own weight at every step (``Run.omega``): where it sat at a bound in most steps, the label says what the
    run was in truth, "standard training" or "robustness loss alone".
    """
    words = {
        "none": recipe.strategy.replace("_", " ") + (f", weight {recipe.weight:g}" if recipe.weight != 1 else ""),
        "fixed": f"fixed weight {recipe.omega:g}",
        "pareto": f"Pareto, ω₀ {recipe.omega:g}, step {recipe.eta:g}",
        "mgda": "MGDA",
        "pcgrad": "PCGrad",
    }[recipe.balance]
    smooth = f", smoothed {recipe.smooth:g}" if recipe.smooth else ""
    share = f", share {recipe.share:g}" if recipe.strategy != "standard" and recipe.share != 0.5 else ""
    variant = f", {recipe.variant}" if recipe.variant != first_variant(recipe.strategy) else ""
    called = controller.trajectory(omega).called if len(omega) else ""
    return words + smooth + share + variant + (f" (is {called})" if called in CALLED else "")


def thinned(values: npt.NDArray[np.float64], most: int = MOST) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """A course in about ``most`` points, steps and values: the least and the largest of each stretch."""
    if len(values) <= most:
        return np.arange(len(values)), values
    parts = np.array_split(np.arange(len(values)), most // 2)
    kept = np.unique([i for p in parts for i in (p[values[p].argmin()], p[values[p].argmax()])])
    return kept, values[kept]


def weight_view(
    omega_0: float = 0.5,
    eta: float = 0.1,
    smooth: float = 0.0,
    *,
    ratio: float = 1.5,
    gain: float = 1.5,
    lag: float = 30.0,
    noise: float = 0.2,
    seed: int = 0,
    steps: int = 800,
    dark: bool = False,
) -> View:
    """Let Eq. 10 run on the made-up losses of :func:`drscale.training.weight.simulate`: weight, ratio, verdict."""
    given: dict[str, Any] = {"ratio": ratio, "gain": gain}
    course = controller.simulate(omega_0, eta, smooth, **given, lag=lag, noise=noise, steps=steps, seed=seed)
    rest = controller.resting_weight(omega_0, **given)
    b = controller.behaviour(course["omega"])
    found = f"The weight {b.kind}: mean {b.mean:.2f}, {b.at_bounds:.0%} of the steps at a bound, spread {b.spread:.2f}."
    where = (
        f"The losses would meet the target at a weight of {rest:.2f}."
        if 0 <= rest <= 1
        else "No weight between 0 and 1 meets the target, so it can only saturate."
    )
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.6, 0.4])
    c = style.colours(dark)
    panels = (("omega", c["in_domain"], "weight of robustness"), ("ratio", c["ood"], "ratio of the losses, as seen"))
    for row, (column, colour, words) in enumerate(panels, 1):
        line = {"color": colour, "width": 1.3}
        fig.add_trace(lines.scatter(course["step"], course[column], words, "lines", line=line), row=row, col=1)
    fig.add_hline(y=1 / omega_0, line={"dash": "dash", "color": c["ink"], "width": 1}, row=2, col=1)
    fig.update_layout(template=style.template(dark), height=420, width=live.WIDTH, showlegend=False)
    fig.update_layout(title="Synthetic: a toy of Eq. 10, not a training run", margin={"t": 48})
    fig.update_yaxes(title="weight", range=[-0.05, 1.05], tickvals=[0, 0.5, 1], row=1, col=1)
    fig.update_yaxes(title="ratio, target dashed", type="log", row=2, col=1)
    fig.update_xaxes(title=style.AXES["step"], range=[0, steps], row=2, col=1)
    numbers = {"behaviour": b.kind, "mean weight": b.mean, "steps at a bound": b.at_bounds, "spread": b.spread}
    return View(fig, f"{found} {where}", pd.DataFrame([numbers | {"target ratio": 1 / omega_0}]))


def weight_explorer(*, dark: bool = False, **start: float) -> Explorer:
    """Sliders for the controller (omega_0, eta, smoothing) and the toy it steers; ``start`` is where they begin."""
    unknown = start.keys() - TOY.keys()
    if unknown:
        raise ValueError(f"{min(unknown)}={start[min(unknown)]}: allowed are {', '.join(TOY)}")
    for name, value in start.items():
        _, low, high = TOY[name]
        if not low <= value <= high:
            raise ValueError(f"{name}={value}: between {low} and {high}")
        if name in ("lag", "seed") and value != int(value):
            raise ValueError(f"{name}={value}: a whole number")
    first = {"omega_0": 0.5, "eta": 0.1, "smooth": 0.0, "ratio": 1.5, "gain": 1.5, "lag": 30, "noise": 0.2, "seed": 0}
    first |= start
    controls: dict[str, Any] = {}
    for name, (words, low, high) in TOY.items():
        if name in ("eta", "ratio", "omega_0"):
            controls[name] = live.slider(words, float(first[name]), low, high, lambda v: f"{v:g}")
        else:
            kind = ipywidgets.IntSlider if name in ("lag", "seed") else ipywidgets.FloatSlider
            more = {"step": 0.05 if name != "smooth" else 0.01} if kind is ipywidgets.FloatSlider else {}
            look = {"style": {"description_width": "10em"}, "layout": {"width": "32em", "max_width": "100%"}}
            controls[name] = kind(value=first[name], min=low, max=high, description=words, **more, **look)

    def settings(chosen: Settings) -> dict[str, Any]:
        return dict(chosen) | ({"dark": True} if dark else {})

    def code(chosen: Settings) -> str:
        return "\n".join([SETUP, "", "view = " + live.call(weight_view, **settings(chosen)), "view.figure"])

    names = list(TOY)
    return Explorer(
        lambda chosen: weight_view(**settings(chosen)), controls, code, [[names[:3], names[3:]]], name="weight"
    )


T = TypeVar("T")


class Watched(Generic[T]):
    """Work in a thread with its progress, its curve and a Stop button; made by :func:`watch`."""

    def __init__(self, train: Callable[..., T], steps: int | None, values: Iterable[str], dark: bool) -> None:
        self._train, self._values, self._stop = train, tuple(values), threading.Event()
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        self._points: dict[str, tuple[list[float], list[float]]] = {v: ([], []) for v in self._values}
        self._started = self._drawn = time.monotonic()
        self.figure = LiveFigure(_curves(self._values, dark))
        self.bar = ipywidgets.IntProgress(max=steps or 1, bar_style="info")
        self.label = ipywidgets.Label("waiting for the first step")
        self.button = ipywidgets.Button(description="Stop", icon="stop")
        self.button.on_click(lambda _: self.stop())
        self.steps = steps
        self.view = ipywidgets.VBox([ipywidgets.HBox([self.bar, self.button, self.label]), self.figure])
        self.thread = threading.Thread(target=self._run, name="drscale-watch", daemon=True)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.view._repr_mimebundle_(**options)

    def note(self, step: int, values: dict[str, float]) -> None:
        """Take in what training says of a step; the figure follows four times a second."""
        for name, (steps, seen) in self._points.items():
            if name in values:
                steps.append(step)
                seen.append(float(values[name]))
        now = time.monotonic()
        if now - self._drawn >= 0.25 or step == self.steps:
            self._drawn = now
            self._draw(step)

    def stopped(self) -> bool:
        """Whether Stop was pressed; training asks this at every step."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask training to end after the present step."""
        self._stop.set()
        self.button.disabled = True

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end of the work; an error in it is raised by :meth:`result`."""
        self.thread.join(timeout)

    def result(self, timeout: float | None = None) -> T:
        """Wait, then hand back what training returned, or raise what it raised."""
        self.join(timeout)
        if self.thread.is_alive():
            raise TimeoutError(f"timeout={timeout}: training still runs")
        if self._error is not None:
            raise self._error
        return self._outcome[0]

    def _run(self) -> None:
        try:
            self._outcome.append(self._train(note=self.note, stopped=self.stopped))
        except BaseException as e:  # shown here, raised again by result()
            self._error = e
        self._draw(None)
        self.button.disabled = True
        ended = f"failed: {self._error}" if self._error else "stopped" if self.stopped() else "done"
        self.bar.bar_style = "danger" if self._error else "warning" if self.stopped() else "success"
        self.label.value = f"{ended} after {time.monotonic() - self._started:.0f} s"

    def _draw(self, step: int | None) -> None:
        with self.figure.batch_update():
            for trace, name in zip(self.figure.data, self._values, strict=True):
                trace.x, trace.y = (tuple(part) for part in self._points[name])
        if step is None:
            return
        self.bar.value = min(step, self.bar.max)
        spent = time.monotonic() - self._started
        words = [f"step {step}" + (f" of {self.steps}" if self.steps else "")]
        words += [f"{name} {seen[-1]:.3f}" for name, (_, seen) in self._points.items() if seen]
        if self.steps and step:
            words.append(f"about {spent / step * (self.steps - step):.0f} s left")
        self.label.value = ", ".join(words)


def watch(
    train: Callable[..., T],
    steps: int | None = None,
    *,
    values: Iterable[str] = ("loss", "validation"),
    dark: bool = False,
) -> Watched[T]:
    """Run ``train(note=..., stopped=...)`` in a thread and show its curve growing, with a Stop button.

    Training calls ``note(step, values)`` and ends when ``stopped()`` says so. The cell returns at once; ``result()`` in
    a later cell waits and hands back what training returned, or raises what it raised.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"steps={steps}: at least 1, or None if unknown")
    watched = Watched(train, steps, values, dark)
    watched.thread.start()
    return watched


def _curves(values: tuple[str, ...], dark: bool) -> go.Figure:
    fig = go.Figure()
    for i, name in enumerate(values):
        few = i > 0  # the first is noted at every step, the others at a few
        line = {"color": style.SERIES[i % 6], "width": 2 if few else 1.2}
        label = style.MEASURES.get(name, name)
        fig.add_scatter(x=[], y=[], mode="lines+markers" if few else "lines", name=label, line=line)
    axis = {"title": {"text": "Entropy (nats)"}}
    fig.update_layout(
        template=style.template(dark), height=320, xaxis={"title": {"text": style.AXES["step"]}}, yaxis=axis
    )
    return fig


def curve_figure(
    curves: pd.DataFrame, value: str = "validation", *, log_x: bool = False, log_y: bool = False, dark: bool = False
) -> go.Figure:
    """Draw training curves, a line a run, light to dark from the smallest rung or fewest pairs to the largest.

    ``curves`` is ``RunStore.curves()``: key, step and what was noted. Runs with equal size and data share a colour and
    a legend entry; of more than six, every other line is dashed. A flat end says that a run has plateaued.
    """
    require(curves, "key", "step", value, what="curves")
    labels = _curve_labels(sorted(set(curves["key"])))
    order = sorted(set(labels.values()))
    fig, shown = go.Figure(), set[str]()
    for key, group in sorted(curves.dropna(subset=[value]).groupby("key"), key=lambda item: labels[str(item[0])]):
        size, text = labels[str(key)]
        place = order.index((size, text))
        colour = style.ramp(place / max(len(order) - 1, 1), dark)
        dash = APART if len(order) > 6 and place % 2 else "solid"
        fig.add_scatter(
            x=group["step"],
            y=group[value],
            mode="lines",
            line={"color": colour, "width": 2, "dash": dash},
            name=text,
            legendgroup=text,
            showlegend=text not in shown,
            hovertemplate=f"{key}<br>step %{{x}}: %{{y:.3f}}<extra></extra>",
        )
        shown.add(text)
    x_axis: dict[str, Any] = {"type": "log" if log_x else "linear", "title": {"text": style.AXES["step"]}}
    y_axis = {"type": "log" if log_y else "linear", "title": {"text": style.MEASURES.get(value, value)}}
    x_axis |= {} if log_x else {"rangemode": "tozero"}
    fig.update_layout(template=style.template(dark), xaxis=x_axis, yaxis=y_axis)
    fig.update_layout(
        legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"}, height=max(420, 110 + 24 * len(order))
    )
    return fig


def length_figure(lengths: pd.DataFrame, *, dark: bool = False) -> go.Figure:
    """Draw each rung's lowest look by the length it was trained for, mean over seeds, a line a rung.

    ``lengths`` is :func:`drscale.laws.diagnostics.durations` of runs on all pairs. A full marker is the length
    that for no seed the next longer one betters much; where there is none, it is not known how far the rung would go.
    """
    fig, rungs = go.Figure(), lengths.sort_values("params_layers")["rung"].unique()
    for i, rung in enumerate(rungs):
        part = lengths[lengths["rung"] == rung]
        longer = part["steps"] < part.groupby("seed")["steps"].transform("max")  # seeds that were lengthened from here
        best, ended = part.groupby("steps")["best"].mean(), part[longer].groupby("steps")["settled"].all()
        done = ended.reindex(best.index, fill_value=False)
        colour = style.ramp(i / max(len(rungs) - 1, 1), dark)
        fig.add_scatter(
            x=best.index,
            y=best.to_numpy(),
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"symbol": ["circle" if d else "circle-open" for d in done], "size": 10, "color": colour},
            name=rung,
            hovertemplate=f"{rung}, %{{x}} steps: %{{y:.3f}}<extra></extra>",
        )
    ticks = sorted(set(lengths["steps"]))
    x_axis = {"type": "log", "tickvals": ticks, "ticktext": [f"{t:,}" for t in ticks], "title": "Training steps in all"}
    fig.update_layout(template=style.template(dark), xaxis=x_axis, yaxis={"title": style.MEASURES["validation"]})
    fig.update_layout(legend={"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"}, height=440)
    return fig


def _curve_labels(keys: list[str]) -> dict[str, tuple[tuple[float, float], str]]:
    """For each run the place in the order and the legend's words: its rung, and its pairs if these are not all."""
    recipes = {key: Recipe.parse(key) for key in keys}
    sizes = {r.rung: parse_rung(r.rung) for r in recipes.values()}
    labels = {}
    for key, r in recipes.items():
        size = sizes[r.rung]
        parameters = size[0] * (12 * size[1] ** 2 + 13 * size[1]) if size else 0
        text = r.rung + (f", {style.count_text(r.pairs)} pairs" if r.pairs else "")
        labels[key] = ((float(parameters), float(r.pairs or math.inf)), text)
    return labels
