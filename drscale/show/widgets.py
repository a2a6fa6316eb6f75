"""Live figures for a notebook: pure functions plus ranges, testable without a browser. Never imports torch."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Generic, TypeVar

import ipywidgets
import pandas as pd
import plotly.graph_objects as go

from drscale.analysis import laws, trust
from drscale.show import figures, style

T = TypeVar("T")


class LiveFigure(go.FigureWidget):
    """A FigureWidget that shows its present data, not its first, when a page is loaded again."""

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """The state a page asks for; plotly keeps the data of creation there, so put in what is drawn now."""
        state: dict[str, Any] = super().get_state(key=key, drop_defaults=drop_defaults)
        if key is None and "_widget_data" in state and getattr(self, "_data", None):
            now = {"_widget_data": deepcopy(self._data), "_widget_layout": deepcopy(self._layout_obj._props)}
            for name, value in now.items():
                to_json = self.trait_metadata(name, "to_json", self._trait_to_json)
                state[name] = to_json(value, self)
        return state


def holdout_view(
    table: pd.DataFrame,
    law: Callable[..., Any] = laws.size_law,
    measure: str = "entropy",
    scope: str = "ood",
    above: float | None = None,
    *,
    x: str | None = None,
    dark: bool = False,
    **options: Any,
) -> tuple[go.Figure, str]:
    """The figure of a law fitted to the runs at x <= ``above``, and its equation and error beyond as a sentence."""
    column = f"{scope}_{measure}"
    part, rest, name = trust.split(table, law, x, column, above)
    cut = float(part[name].max())
    fig = figures.law_figure(table, law, measure, x=name, scopes=(scope,), above=cut, dark=dark, warn=False, **options)
    result = laws.fit(part, law, name, column, warn=False, **options)
    missed = trust.holdout(table, law, name, column, above=cut, warn=False, **options)
    worst = missed.iloc[missed["error"].abs().argmax()]
    largest = float(rest[name].max())
    sentence = (
        f"{style.SCOPES[scope]}, fitted up to {style.count_text(cut)}: {figures.equation(result)}. "
        f"Beyond, up to {largest / cut:.1f} times that size, the curve is off by {100 * worst['error']:+.1f}% at most "
        f"({missed['inside'].sum()} of {len(missed)} levels inside their 95% prediction interval)."
    )
    return fig, " ".join([sentence, *(f"Beware: {said}." for said in laws.diagnose(result))])


def holdout_explorer(
    table: pd.DataFrame,
    law: Callable[..., Any] = laws.size_law,
    *,
    x: str | None = None,
    measures: Iterable[str] = ("entropy", "calibrated"),
    dark: bool = False,
    **options: Any,
) -> ipywidgets.VBox:
    """A slider for the hold-out cut with the scope and the measure to choose: the fit follows.

    The box has ``cut``, ``scope``, ``measure``, ``figure`` and ``sentence`` as attributes. Cuts that leave too few
    levels to fit are not offered.
    """
    kinds = [m for m in measures if any(f"{s}_{m}" in table for s in style.SCOPES)]
    scopes = [s for s in style.SCOPES if any(f"{s}_{m}" in table for m in kinds)]
    if not kinds:
        raise ValueError(f"measures={tuple(measures)!r}: the table has none of them, as in in_domain_entropy")
    name = laws.default_x(law) if x is None else x
    levels = sorted(set(laws.numbers(table, name, f"{scopes[-1]}_{kinds[0]}")[0]))
    cuts = levels[len(laws.parameter_names(law)) : -1]
    if not cuts:
        raise ValueError(
            f"column {name!r} has {len(levels)} different values: too few to hold one out and fit the rest"
        )
    wide = {"style": {"description_width": "initial"}}
    cut = ipywidgets.SelectionSlider(
        options=[(style.count_text(c), c) for c in cuts], value=cuts[-1], description="fit up to", **wide
    )
    scope = ipywidgets.ToggleButtons(options=[(style.SCOPES[s], s) for s in scopes], value=scopes[-1])
    measure = ipywidgets.ToggleButtons(options=kinds)

    def view() -> tuple[go.Figure, str]:
        return holdout_view(table, law, measure.value, scope.value, cut.value, x=name, dark=dark, **options)

    fig, words = view()
    fig.update_layout(height=420)
    figure, sentence = LiveFigure(fig), ipywidgets.HTML(f"<p>{html.escape(words)}</p>")

    def redraw(_: Any = None) -> None:
        fresh, said = view()
        with figure.batch_update():
            for old, new in zip(figure.data, fresh.data, strict=True):
                old.update(new.to_plotly_json(), overwrite=False)
            now = fresh.layout
            figure.update_layout(xaxis=now.xaxis, yaxis=now.yaxis, shapes=now.shapes, annotations=now.annotations)
        sentence.value = f"<p>{html.escape(said)}</p>"

    for control in (cut, scope, measure):
        control.observe(redraw, names="value")
    box = ipywidgets.VBox([ipywidgets.HBox([scope, measure]), cut, figure, sentence])
    box.cut, box.scope, box.measure, box.figure, box.sentence = cut, scope, measure, figure, sentence
    return box


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
