"""One law under several counts of the parameters, as its exponent depends on what is counted. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from drscale.analysis import laws, trust

COUNTS = {
    "params_layers": "transformer layers",
    "params_drscale": "layers, pooler and projection",
    "params_fang": "all but the word table",
    "params_trainable": "all that is trained",
}
PAPER = "params_drscale"  # the count of the code behind the scaling paper


def by_count(
    table: pd.DataFrame,
    y: str = "in_domain_entropy",
    law: Callable[..., Any] = laws.size_law,
    counts: Mapping[str, str] = COUNTS,
    **options: Any,
) -> pd.DataFrame:
    """Fit a law of size under each count of the parameters; a row a count, by its words.

    Columns: ``least`` and ``most`` N, those of :func:`drscale.analysis.trust.summary`, and those of
    :func:`drscale.analysis.trust.holdout` for the largest size. ``counts`` names columns in words; ``options`` go to
    :func:`drscale.analysis.laws.fit`.
    """
    rows = laws.done(table)
    fits = {words: laws.fit(table, law, c, y, warn=False, **options) for c, words in counts.items()}
    held = [trust.holdout(table, law, c, y, warn=False, **options).drop(columns=c) for c in counts]
    found = trust.summary(fits).rename(columns={"name": "counted"})
    found[["least", "most"]] = [(rows[c].min(), rows[c].max()) for c in counts]
    return pd.concat([found, pd.concat(held, ignore_index=True)], axis=1).set_index("counted")


def stacked(table: pd.DataFrame, counts: Mapping[str, str] = COUNTS) -> pd.DataFrame:
    """The table once for each count, one below the other: the number in ``N``, the words in ``counted``."""
    return pd.concat([table.assign(N=table[c], counted=words) for c, words in counts.items()], ignore_index=True)
