"""How long each run was trained, and whether longer would have paid. Never imports torch."""

from __future__ import annotations

import pandas as pd

from drscale.analysis import laws
from drscale.runs import Recipe


def durations(table: pd.DataFrame, curves: pd.DataFrame, gain: float = 0.02, value: str = "validation") -> pd.DataFrame:
    """Hold runs of one recipe at several lengths against each other: when did training longer stop paying?

    ``table`` is ``RunStore.table()``, ``curves`` is ``RunStore.curves()``. Every run that is done gets ``best``, its
    lowest look at ``value``; ``gained``, by which share that lies below the next shorter run's (missing for the
    shortest); ``chosen``, true for the one run of each recipe at which lengthening stops, because the next longer one
    gains less than ``gain`` or there is none; and ``settled``, true for the chosen run if a longer one was tried: else
    it is not known what longer training would have gained.
    """
    if not 0 <= gain < 1:
        raise ValueError(f"gain={gain!r}: a share of the entropy, at least 0 and below 1")
    for name, frame, needed in (("table", table, ("key", "steps")), ("curves", curves, ("key", value))):
        for column in needed:
            if column not in frame:
                raise ValueError(f"{name}: no column {column!r}; it has {', '.join(map(str, frame.columns))}")
    rows = laws.done(table).copy()
    rows["best"] = rows["key"].map(curves.groupby("key")[value].min())
    if rows["best"].isna().any():
        missing = rows.loc[rows["best"].isna(), "key"].iloc[0]
        raise ValueError(f"curves: run {missing!r} was never looked at for {value!r}")
    same = rows["key"].map(lambda key: str(Recipe.parse(key).but(steps=Recipe().steps)))
    rows = rows.assign(_same=same).sort_values(["_same", "steps"])
    groups = rows.groupby("_same", sort=False)
    rows["gained"] = 1 - rows["best"] / groups["best"].shift()
    pays = rows["gained"] >= gain  # the shortest run of a recipe has no shorter one to gain on
    walked = (pays | rows["gained"].isna()).groupby(rows["_same"]).cummin()
    last = walked & ~walked.groupby(rows["_same"]).shift(-1, fill_value=False)
    at_the_end = rows["steps"] == groups["steps"].transform("max")
    rows["chosen"] = last
    rows["settled"] = last & ~at_the_end
    return rows.drop(columns="_same").reset_index(drop=True)


def settled(table: pd.DataFrame, curves: pd.DataFrame, gain: float = 0.02, value: str = "validation") -> pd.DataFrame:
    """The chosen run of each recipe (:func:`durations`): each trained for as long as it paid.

    The column ``steps`` is left out, as it is no longer set but found, by one rule for all; ``steps_done`` says it.
    """
    rows = durations(table, curves, gain, value)
    return rows[rows["chosen"]].drop(columns=["steps", "gained", "chosen"]).reset_index(drop=True)


def selected_in_warmup(table: pd.DataFrame) -> pd.DataFrame:
    """The runs whose measured weights are from before the end of their warm-up, when the rate had not reached its peak.

    Such a run was never trained by its recipe's rate and is no measurement of the amount or the size it stands for.
    """
    rows = laws.done(table)
    for column in ("best_step", "warmup"):
        if column not in rows:
            raise ValueError(f"table: no column {column!r}; it has {', '.join(map(str, rows.columns))}")
    return rows[rows["best_step"] < rows["warmup"]]
