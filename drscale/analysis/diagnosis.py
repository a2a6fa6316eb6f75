"""The sentences that a fitted law is diagnosed with; they need other laws and the level means. Never imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import lmfit
import numpy as np
import pandas as pd

from drscale.analysis import laws, levels, power, profile
from drscale.analysis.columns import TooFewLevels
from drscale.analysis.doubts import CORRELATED, MISFIT, at_bounds, coverage, lack_of_fit, without
from drscale.analysis.fitted import Fitted, fitted, name_of, solved
from drscale.analysis.power import Power


def diagnose(result: lmfit.model.ModelResult) -> list[str]:
    """Say in plain sentences why a fit deserves caution; an empty list when nothing speaks against it."""
    f, said = fitted(result), []
    gone = without(result, f)
    if gone == list(f.columns.values()):
        return [f"{f.y_name} does not fall with {' or '.join(gone)}: there is no power law to read off"]
    said += [f"{f.y_name} does not fall with {column} beside the rest: its part of the law is nil" for column in gone]
    for name, at in at_bounds(result, f):
        said.append(
            f"{name} is at its bound {at:g}: the runs only say that it lies on that side, "
            "and the standard errors of the others take it as known"
        )
    said += coverage(result, f)
    lack = lack_of_fit(result)
    if lack is not None and lack[1] < MISFIT:
        said.append(
            f"lack of fit: the level means miss the curve by more than the seeds explain (F={lack[0]:.1f}, "
            f"p={lack[1]:.1g}), so only intervals by level count that error; {_rivals(f)}"
        )
    return said + _identified(result, f)


def _rivals(f: Fitted) -> str:
    """Whether the other laws of the same columns fit where this one does not, in words."""
    frame, told = pd.DataFrame({**f.points, "y": f.y}), []
    for law in laws.rivals(f.law):
        columns = dict(zip(laws.LAWS[law].columns, f.points, strict=True))
        try:
            result = laws.fit(frame, law, columns, "y", space=f.space, robust=f.robust, warn=False)
        except TooFewLevels:
            told.append(f"its rival {name_of(law)} needs more levels to be tried")
            continue
        lack = lack_of_fit(result)
        fits = lack is not None and lack[1] >= MISFIT
        told.append(f"its rival {name_of(law)} {f'fits (p={lack[1]:.2g})' if lack and fits else 'does not fit either'}")
    return "; ".join(told) or "a law of another form may fit"


def _identified(result: lmfit.model.ModelResult, f: Fitted) -> list[str]:
    if result.covar is None:
        return ["standard errors cannot be estimated: some combination of parameters leaves the curve unchanged"]
    if f.entry is None or f.problem is None:
        return []
    said, means = [], levels.by_level(result)
    judged, names = means.result, list(result.params)
    own = fitted(judged)
    allowed = own.unit * means.times(0.95) ** 2
    pairs = [(c, e) for c, e in f.entry.coefficients if result.params[c].value > 0 and judged.params[c].value > 0]
    places = [names.index(e) for _, e in pairs]
    if isinstance(own.problem, Power):
        found = [power.mu_interval(own.problem, allowed)] if pairs else []
    else:
        found = profile.profile(*solved(own), allowed, places)
    factors: Sequence[float] = list(means.widened(np.eye(len(names))[places], 0.95)) if pairs else []
    ends = {}
    for (_, e), (low, high), factor in zip(pairs, found, factors, strict=True):
        middle, (least, most) = judged.params[e].value, f.limits[e]
        ends[e] = tuple(np.clip(middle * (np.array([low, high]) / middle) ** factor, least, most))
    for _, exponent in pairs:
        low, high = ends[exponent]
        if high > 5 * low:
            said.append(f"{exponent} is hardly determined: its 95% interval reaches from {low:.2g} to {high:.2g}")
    for (coefficient, _), (_, exponent) in itertools.product(pairs, pairs):
        correlation = (result.params[coefficient].correl or {}).get(exponent, 0.0)
        if abs(correlation) >= CORRELATED:
            said.append(
                f"{coefficient} and {exponent} are correlated by {correlation:.3f}: compare curves with other studies, "
                "not these two numbers one by one"
            )
    return said
