"""Training watched live: its curve grows while a thread works, and a button stops it. Never imports torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import ipywidgets
import plotly.graph_objects as go

from drscale.show import style
from drscale.show.redrawn import LiveFigure

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
