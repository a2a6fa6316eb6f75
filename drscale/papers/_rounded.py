"""Numbers known as far as print, fit and reading allow, and what can be said of them. Never imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from drscale.stats.tables import Array, count_text

HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be decided"
LEVEL = 0.95  # of every range here, two-sided: the one level at which something is decided
TENTH, FIFTH = 0.1, 0.2  # "about", "approximately", "nearly identical": within a tenth surely, beyond a fifth no longer


@dataclass(frozen=True, eq=False)
class Known:
    """A number as computed from what was printed, and draws of what it may have been before rounding and fitting.

    Differences and ratios go draw by draw, so two laws must have equally many draws, drawn independently.
    """

    value: float
    draws: Array

    @cached_property
    def low(self) -> float:
        """The lower end of the central range of the draws at LEVEL; the method is exact for infinite draws, too."""
        return float(np.quantile(self.draws, 0.5 - LEVEL / 2, method="lower"))

    @cached_property
    def high(self) -> float:
        """The upper end of that range."""
        return float(np.quantile(self.draws, 0.5 + LEVEL / 2, method="higher"))

    def __str__(self) -> str:
        return f"{short(self.value)} [{short(self.low)}, {short(self.high)}]"

    def __sub__(self, other: Known) -> Known:
        return Known(self.value - other.value, self.draws - other.draws)

    def __add__(self, other: Known) -> Known:
        return Known(self.value + other.value, self.draws + other.draws)

    def __truediv__(self, other: Known) -> Known:
        """The ratio of two numbers, of which the second is above zero, or in a draw also zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return Known(self.value / other.value, self.draws / other.draws)


def known(value: npt.ArrayLike, draws: npt.ArrayLike) -> Known:
    """A number with its draws, from whatever arrays hold them."""
    return Known(float(np.squeeze(value)), np.ravel(np.asarray(draws, dtype=float)))


def short(value: float) -> str:
    """A number in three digits, or as a count: 0.217, 14.9K."""
    return f"{value:.3g}" if abs(value) < 1000 else count_text(value)


def more(numbers: Iterable[Known], than: float = 0.0) -> str:
    """Whether a number is above a bound: its whole range, under each of its readings."""
    return _all({HOLDS if k.low > than else FAILS if k.high < than else OPEN for k in numbers})


def several(numbers: Iterable[Known], least: float = 2.0, surely: float = 3.0) -> str:
    """Whether a number is "several": surely from three on, surely not below two, and between them words do not say."""
    return _all({HOLDS if k.low >= surely else FAILS if k.high < least else OPEN for k in numbers})


def near(numbers: Iterable[Known], to: float) -> str:
    """Whether a number is about, approximately or nearly another one, under each of its readings.

    Such words set no limit. A tenth off is what a reader still lets pass, more than a fifth is what no reader would;
    so the whole range has to lie within a tenth to hold, or wholly beyond a fifth not to, and all else is undecided.
    """
    shares = [(k.low / to - 1, k.high / to - 1) for k in numbers]
    far = (FAILS if low > FIFTH or high < -FIFTH else OPEN for low, high in shares)
    return _all({HOLDS if s[0] >= -TENTH and s[1] <= TENTH else f for s, f in zip(shares, far, strict=True)})


def agree(differences: Iterable[Known]) -> str:
    """Whether numbers that must be one and the same differ by no more than their uncertainty, at LEVEL."""
    return _all({HOLDS if k.low <= 0 <= k.high else FAILS for k in differences})


def _all(found: set[str]) -> str:
    return found.pop() if len(found) == 1 else OPEN


def say(numbers: Mapping[str, Known]) -> str:
    """Several numbers in one line, by name."""
    return "; ".join(f"{name}: {k}" if name else str(k) for name, k in numbers.items())


def span(readings: Mapping[str, Known]) -> str:
    """A number under all readings of a damaged row: the values from least to greatest, and the range of all of them."""
    numbers = list(readings.values())
    if len(numbers) == 1:
        return str(numbers[0])
    values = " to ".join(dict.fromkeys(short(f(k.value for k in numbers)) for f in (min, max)))
    low, high = short(min(k.low for k in numbers)), short(max(k.high for k in numbers))
    return f"{values} under {len(numbers)} readings [{low}, {high}]"
