"""A law with its numbers, fitted here or published, in the form that planners and figures use. Never imports torch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from drscale.results import Result
from drscale.stats.tables import Array, count_text


@dataclass(frozen=True, eq=False)
class Curve(Result):
    """A law, the values of its parameters, and the box of its arguments in which they were fitted.

    ``values`` and ``box`` are keyed by the law's own argument names, ``box`` with (lowest, highest). ``draws`` is a
    bootstrap sample with one column for each parameter, all finite (a coefficient that a refit cannot bound is e**690,
    its largest value); it is None if only the numbers are known, as for a published table. ``doubts`` say why the draws
    need caution; every plan made with the curve repeats them.

    >>> import drscale as ds
    >>> curve = ds.fit_law(ds.example_runs(), ds.additive_law, warn=False).curve()
    >>> sorted(curve.box)
    ['D', 'N']
    >>> curve.draws is None  # a bootstrap sample comes with .curve(100)
    True
    """

    law: Callable[..., Any]
    values: Mapping[str, float]
    box: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    draws: pd.DataFrame | None = None
    name: str = ""
    source: str = ""
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.law):
            raise ValueError(f"law={self.law!r}: a function is needed, as ds.additive_law")
        for what, given in (("values", self.values), ("box", self.box)):
            if not isinstance(given, Mapping):
                raise ValueError(f"{what}={given!r}: a value for each name is needed, as a dict")
        if self.draws is not None and not isinstance(self.draws, pd.DataFrame):
            raise ValueError(f"draws={self.draws!r}: a DataFrame is needed, a column for each parameter")
        known = _names(self.law)
        for what, names in (("values", self.values), ("box", self.box)):
            for n in names:
                if n not in known:
                    raise ValueError(f"{what}: no argument {n!r} in {_label(self.law)}, allowed are {', '.join(known)}")
        for n, value in self.values.items():
            if not isinstance(value, Real) or not np.isfinite(value):
                raise ValueError(f"values[{n!r}]={value!r}: a finite number is needed")
        for n, ends in self.box.items():
            if not (isinstance(ends, tuple | list) and len(ends) == 2 and all(isinstance(e, Real) for e in ends)):
                raise ValueError(f"box[{n!r}]={ends!r}: (lowest, highest), two numbers, is needed")
            low, high = ends
            if n in self.values:
                raise ValueError(f"box: {n!r} has a value; a box is for {', '.join(self.arguments)}")
            if not 0 < low <= high:
                raise ValueError(f"box[{n!r}]={(low, high)!r}: (lowest, highest), both above zero, is needed")
        if self.draws is not None:
            missing = [n for n in self.values if n not in self.draws]
            if missing or not len(self.draws):
                raise ValueError(
                    f"draws: {len(self.draws)} rows of {', '.join(map(str, self.draws.columns))}; "
                    f"a column for each of {', '.join(self.values)} and at least one row are needed"
                )
            for n in self.values:
                wrong = ~np.isfinite(self.draws[n].to_numpy(dtype=float))
                if wrong.any():
                    raise ValueError(
                        f"draws[{n!r}]: {wrong.sum()} of {len(wrong)} are not finite; a draw without end needs a large "
                        "number, as refits take e**690 for a coefficient"
                    )

    def table(self) -> pd.DataFrame:
        """The parameters: name, value and, where there are draws, the middle 95% of them as low and high."""
        rows = pd.DataFrame({"name": list(self.values), "value": [float(v) for v in self.values.values()]})
        if self.draws is not None:
            ends = np.quantile(self.draws[list(self.values)].to_numpy(dtype=float), [0.025, 0.975], axis=0)
            rows = rows.assign(low=ends[0], high=ends[1])
        return rows

    def __str__(self) -> str:
        numbers = ", ".join(f"{n} = {count_text(float(v))}" for n, v in self.values.items())
        text = f"{self.name or _label(self.law)}: {_label(self.law)} with {numbers}"
        text += f" ({self.source})" if self.source else ""
        return " ".join([text, *(f"Beware: {doubt}." for doubt in self.doubts)])

    @property
    def arguments(self) -> tuple[str, ...]:
        """The law's arguments that have no value yet, such as N and D."""
        return tuple(n for n in _names(self.law) if n not in self.values)

    def __call__(self, **at: npt.ArrayLike) -> Any:
        """Evaluate the law at the point or the points named by its arguments; arrays broadcast."""
        return self.law(**self._points(at), **self.values)

    def sample(self, **at: npt.ArrayLike) -> Array:
        """Evaluate every draw at the points; shape (draws, *points)."""
        if self.draws is None:
            raise ValueError(f"the curve {self.name or _label(self.law)!r} has no draws: only its numbers are known")
        points = self._points(at)
        deep = max(np.ndim(p) for p in points.values())
        column = (len(self.draws),) + (1,) * deep
        values = {n: self.draws[n].to_numpy(dtype=float).reshape(column) for n in self.values}
        return np.asarray(self.law(**points, **values), dtype=float)

    def interval(self, level: float = 0.95, **at: npt.ArrayLike) -> tuple[Array, Array]:
        """The percentile interval of the curve at the points over the draws, (low, high)."""
        if not 0 < level < 1:
            raise ValueError(f"level={level!r}: must lie between 0 and 1")
        low, high = np.quantile(self.sample(**at), [0.5 - level / 2, 0.5 + level / 2], axis=0)
        return low, high

    def inside(self, **at: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether the points lie in the fitted box; nowhere if the box lacks the range of an argument."""
        points = self._points(at)
        shape = np.broadcast_shapes(*(np.shape(p) for p in points.values()))
        found = np.full(shape, set(self.box) == set(self.arguments))
        for n, (low, high) in self.box.items():
            found &= (points[n] >= low * (1 - 1e-9)) & (points[n] <= high * (1 + 1e-9))  # an edge is inside
        return found

    def _points(self, at: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
        if set(at) != set(self.arguments):
            wanted, given = (", ".join(f"{n}=" for n in names) for names in (self.arguments, at))
            raise ValueError(f"{_label(self.law)} needs {wanted}; given: {given or 'none'}")
        try:
            points = {n: np.asarray(p, dtype=float) for n, p in at.items()}
        except (TypeError, ValueError):
            given = ", ".join(f"{n}={p!r}" for n, p in at.items())
            raise ValueError(f"{given}: finite numbers above zero are needed") from None
        for n, p in points.items():
            if not (np.isfinite(p) & (p > 0)).all():
                raise ValueError(f"{n}={at[n]!r}: finite numbers above zero are needed")
        return points


@functools.cache
def _names(law: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(law).parameters)


def _label(law: Callable[..., Any]) -> str:
    return getattr(law, "__name__", repr(law))
