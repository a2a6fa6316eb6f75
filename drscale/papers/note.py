"""The eight claims of a machine-written note on instruction following, and what can settle each. No torch.

The note ("Instruction-Following Enhances Robustness in Retrieval Models Against Adversarial Queries", 2026) has no
tables: it lists eight sentences drawn from other papers and says itself that it verified none. So a case says what it
rests on: arithmetic, a measurement of ours that is handed in, or neither. The texts of its Eq. 6 and 7 are not known to
us. By the sentences themselves Eq. 6 adds terms and Eq. 7 has one softmax; the released code of InF-IR (arXiv
2505.21439) calls them the other way round. They are taken here by their structure, as ``sum_of_terms`` and
``joint_softmax`` of the strategy ``instructed``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pandas as pd

from drscale.papers._rounded import FAILS, HOLDS, OPEN, short
from drscale.recipe import STRATEGIES
from drscale.stats.tables import count_text, require

Case = tuple[str, str, str]
ARITHMETIC, MEASURED, NEITHER = "arithmetic", "measured here", "neither"
ROWS = (32, 64)  # a batch and one of twice as many rows
OTHERS = STRATEGIES["instructed"].texts_of("joint_softmax")  # other instructions of each row, the note's y
COLUMNS = ("claim", "measure", "mean", "low", "high")


def _marginal(values: Sequence[float], measured: pd.DataFrame) -> Iterator[Case]:
    """How counts grow when a batch is doubled: twice where they are linear, and more where they are not.

    The sentence is about what instructions add. All scores of a batch grow with its square without them, too, so they
    are told beside and decide nothing.
    """
    counts: dict[str, tuple[Callable[[int], int], bool]] = {
        "questions encoded": (lambda b: b * (1 + OTHERS), True),
        "scores under other instructions": (lambda b: b * OTHERS, True),
        "every instruction with every query and passage": (lambda b: b**3, False),
    }
    for what, (count, linear) in counts.items():
        few, many = (count(rows) for rows in ROWS)
        numbers = f"{few:,} at B = {ROWS[0]}, {many:,} at B = {ROWS[1]} (y = {OTHERS}): times {short(many / few)}"
        if what.startswith("scores"):
            all_few, all_many = (rows * (2 * rows - 1 + OTHERS) for rows in ROWS)
            numbers += f"; of all scores, {all_few:,} and {all_many:,}, these are few"
        yield f"{ARITHMETIC}: {what}", HOLDS if (many == 2 * few) == linear else FAILS, numbers


def _harder(values: Sequence[float], measured: pd.DataFrame) -> Iterator[Case]:
    """More negatives stand in the one softmax; whether that is harder depends on what it is held against."""
    b = ROWS[0]
    terms, joint = {"passages": b, "questions": b, "instructions": 1 + OTHERS}, 2 * b - 1 + OTHERS
    pools = ", ".join(f"{name} {size}" for name, size in terms.items())
    yield (
        f"{ARITHMETIC}: candidates in one softmax",
        HOLDS if joint > max(terms.values()) else FAILS,
        f"one softmax {joint}; {pools} (B = {b}, y = {OTHERS})",
    )
    apart = [math.log(size) for size in terms.values()]
    numbers = (
        f"one softmax {short(math.log(joint))} nats; terms {', '.join(map(short, apart))}, added {short(sum(apart))}"
    )
    yield f"{ARITHMETIC}: entropy where all scores are equal", OPEN, numbers


def _of_ours(values: Sequence[float], measured: pd.DataFrame, claim: str) -> Iterator[Case]:
    """What we measured of one softmax minus added terms.

    Above zero it speaks for the sentence and does not prove it, as the two objectives part in more than competition.
    "May" and "potentially" are not refuted by one measurement either, so nothing is decided.
    """
    rows = measured[measured["claim"] == claim]
    if rows.empty:
        yield f"{MEASURED}: not handed in", OPEN, "notebook 17 measures it"
    for measure, mean, low, high in rows[["measure", "mean", "low", "high"]].to_numpy():
        side = "speaks for it" if low > 0 else "speaks against it" if high < 0 else "no difference seen"
        numbers = f"one softmax minus added terms: {mean:.3f} [{low:.3f}, {high:.3f}], {side}"
        yield f"{MEASURED}: {measure}", OPEN, numbers


def _counts(values: Sequence[float], measured: pd.DataFrame) -> Iterator[Case]:
    """One wrong number is enough against a sentence of three."""
    named, parameters, *samples = values
    times = f"{named / 1e9:g} billion, {named / parameters:,.0f} times as many"
    numbers = f"{count_text(parameters)} printed; by its name {times}"
    rest = f"; of {' and '.join(map(count_text, samples))} samples we have no count"
    yield f"{ARITHMETIC}: parameters", OPEN if 0.5 < parameters / named < 2 else FAILS, numbers + rest


def _score(values: Sequence[float], measured: pd.DataFrame) -> Iterator[Case]:
    numbers = f"{values[0]:g}, of no metric that the note names; Robust04's texts and these weights are not here"
    yield f"{NEITHER}: score", OPEN, numbers


def checked(measured: pd.DataFrame | None) -> pd.DataFrame:
    """Measurements of ours: claim, measure, and mean, low, high of one softmax minus added terms."""
    if measured is None:
        return pd.DataFrame(columns=list(COLUMNS))
    require(measured, *COLUMNS, what="measured")
    if wrong := set(measured["claim"]) - set(OURS):
        raise ValueError(f"measured: claim={sorted(wrong)[0]!r}: allowed are {', '.join(map(repr, OURS))}")
    return measured


OURS = ("competing-terms", "less-competition")
TESTS: dict[str, Callable[[Sequence[float], pd.DataFrame], Iterator[Case]]] = {
    "marginal-negatives": _marginal,
    "harder-task": _harder,
    "followir-counts": _counts,
    **{claim: partial(_of_ours, claim=claim) for claim in OURS},
    **{f"robust04-{model}": _score for model in ("base", "large", "modernbert")},
}
