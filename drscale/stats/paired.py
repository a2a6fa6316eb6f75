"""Differences between arms of a study that share sizes and seeds, with the wider of two intervals. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

from drscale.stats.tables import Array, check_level, require


def paired_steps(
    runs: pd.DataFrame,
    outcomes: Mapping[str, str] | Sequence[str],
    steps: Mapping[str, tuple[str, str]],
    *,
    by: str = "arm",
    pairs: Sequence[str] = ("rung", "seed"),
    unit: str = "rung",
    level: float = 0.95,
) -> pd.DataFrame:
    """How much outcomes change from one arm to another, run by run: a row for each step and outcome.

    ``steps`` names pairs of values of the column ``by``, (from, to). Runs that agree in ``pairs`` are subtracted; one
    without a partner is an error. Runs of one ``unit`` (a size) share an error, so the interval is Student's over all
    differences or over the units' means, whichever is wider, and Bonferroni's over all rows: they hold together with
    probability ``level``. ``outcomes`` are columns, or columns with words for them.

    >>> import pandas as pd
    >>> from drscale.stats.paired import paired_steps
    >>> runs = pd.DataFrame({"rung": ["a", "a", "b", "b"] * 2, "seed": [0, 1] * 4, "arm": ["old"] * 4 + ["new"] * 4})
    >>> runs["loss"] = [3.0, 3.1, 2.0, 2.1, 2.5, 2.7, 1.6, 1.5]
    >>> rows = paired_steps(runs, ["loss"], {"old to new": ("old", "new")})
    >>> float(rows["mean"].round(3)[0]), int(rows["pairs"][0])
    (-0.475, 4)
    """
    words = dict(outcomes) if isinstance(outcomes, Mapping) else {o: o for o in outcomes}
    require(runs, by, unit, *pairs, *words)
    check_level(level)
    known = list(dict.fromkeys(runs[by].astype(str)))
    if not words or not steps:
        raise ValueError(f"outcomes={list(words)}, steps={list(steps)}: at least one of each")
    if unknown := [a for step in steps.values() for a in step if a not in known]:
        raise ValueError(f"steps: {unknown[0]!r} is no {by}; there are {', '.join(known)}")
    if runs.duplicated([by, *pairs]).any():
        raise ValueError(f"pairs={list(pairs)}: two runs of one {by} agree in them")
    each = 1 - (1 - level) / (len(steps) * len(words))
    table, rows = runs.assign(**{by: runs[by].astype(str)}).set_index(list(dict.fromkeys([*pairs, unit]))), []
    for step, (old, new) in steps.items():
        before, after = (table[table[by] == a] for a in (old, new))
        for outcome, said in words.items():
            gap = (after[outcome] - before[outcome]).dropna()
            if lost := max(len(before), len(after)) - len(gap):
                raise ValueError(f"{step}, {outcome}: {lost} runs have no partner or no value; leave them out first")
            means = gap.groupby(level=unit).mean()
            if len(gap) < 2 or len(means) < 2:
                raise ValueError(f"{step}, {outcome}: {len(gap)} pairs at {len(means)} {unit}s; at least 2 are needed")
            half = max(_half(gap.to_numpy(float), each), _half(means.to_numpy(float), each))
            mean = float(gap.mean())
            told = {"step": step, "outcome": said, "mean": mean, "low": mean - half, "high": mean + half}
            rows.append(told | {"pairs": len(gap), "units": len(means)})
    return pd.DataFrame(rows)


def _half(values: Array, level: float) -> float:
    """Half the length of Student's interval of a mean."""
    return float(t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
