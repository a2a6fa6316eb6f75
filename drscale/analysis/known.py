"""Numbers known as far as they were printed, and what can be said of them. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drscale.analysis.curve import count_text

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided"


@dataclass(frozen=True)
class Known:
    """A number with the least and the greatest value that rounding in print allows."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return "{} [{}, {}]".format(*(f"{v:.4g}" if abs(v) < 1000 else count_text(v) for v in self._three))

    def __sub__(self, other: Known) -> Known:
        return Known(self.value - other.value, self.low - other.high, self.high - other.low)

    def __truediv__(self, other: Known) -> Known:
        """The ratio of two numbers above zero."""
        return Known(self.value / other.value, self.low / other.high, self.high / other.low)

    @property
    def _three(self) -> tuple[float, float, float]:
        return self.value, self.low, self.high


def spread(value: npt.ArrayLike, corners: npt.ArrayLike) -> Known:
    """A number as computed from what was printed, and from all corners of what rounding allows."""
    sample = np.asarray(corners, dtype=float)
    return Known(float(np.asarray(value)), float(sample.min()), float(sample.max()))


def more(known: Iterable[Known], than: float = 0.0) -> str:
    """Whether a number is above a bound, whatever its rounding and whichever its reading."""
    signs = {HOLDS if k.low > than else FAILS if k.high < than else OPEN for k in known}
    return signs.pop() if len(signs) == 1 else OPEN


def equal(known: Iterable[Known], to: float, within: float = 0.0) -> str:
    """Whether a number is a given one up to a share ``within``; readings on both sides of it leave that open."""
    low, high = to * (1 - within), to * (1 + within)
    signs = {1 if k.low > high else -1 if k.high < low else 0 for k in known}
    return HOLDS if signs == {0} else FAILS if signs in ({1}, {-1}) else OPEN


def say(known: Mapping[str, Known]) -> str:
    """Several numbers in one line, by name."""
    return "; ".join(f"{name}: {k}" if name else str(k) for name, k in known.items())
