"""The main paper's prose held against its own tables: what holds, what does not, what cannot be decided. No torch.

Neither points nor intervals were published, so the only uncertainty known is that of the printed digits: a number is
carried with the least and the greatest value that rounding allows, and a damaged row with all its readings. A verdict
falls only where all of them agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from drscale.analysis import budget, laws, published
from drscale.analysis.curve import Array, Curve, count_text
from drscale.analysis.known import FAILS, HOLDS, OPEN, Known, equal, more, say, spread
from drscale.ladder import counts, ladder

FREE = budget.paper(documents=0)  # Eq. 13 without encoding, the only way in which Figure 6 can have been drawn
CLOSE = 0.1  # "about" and "approximately" mean within a tenth
JOINT = {
    "standard, robustness": "joint/standard/robustness",
    "standard, effectiveness": "joint/standard/effectiveness",
    "Pareto, robustness": "joint/pareto/robustness",
    "Pareto, effectiveness": "joint/pareto/effectiveness",
}
PAIRS = {
    "MS MARCO, ood": "msmarco/ood",
    "MS MARCO, effectiveness": "msmarco/effectiveness",
    "T2Ranking, ood": "t2ranking/ood",
    "T2Ranking, effectiveness": "t2ranking/effectiveness",
    "adversarial training, robustness": "adversarial/robustness",
    "adversarial training, effectiveness": "adversarial/effectiveness",
}
Case = tuple[str, str, str]  # the case, the verdict, the numbers it rests on
Compare = Callable[[Curve, Curve], Known]


@dataclass(frozen=True)
class Tables:
    """All laws with the corners of their rounding as draws, by name and reading; and a claim's own printed numbers."""

    laws: Mapping[str, Mapping[str, Curve]]
    folder: str | Path | None
    printed: tuple[str, ...] = ()

    @property
    def values(self) -> list[float]:
        """The claim's numbers."""
        return [float(v) for v in self.printed]

    def law(self, name: str) -> Curve:
        """A law that has one reading."""
        (curve,) = self.laws[name].values()
        return curve


def verdicts(folder: str | Path | None = None) -> pd.DataFrame:
    """Test each claim, a row a case: claim, where, says, case, verdict, numbers.

    ``says`` is the claim in our words, from prose.csv beside the tables; ``numbers`` are what the verdict rests on, in
    brackets the range that rounding allows.
    """
    prose = pd.read_csv(published.path("prose", folder), dtype=str, keep_default_na=False)
    unmatched = set(prose["claim"]) ^ set(TESTS)
    if unmatched:
        raise ValueError(f"prose.csv: {', '.join(sorted(unmatched))} must stand both there and among the tests here")
    tables, rows = Tables(published.all_rounded(folder), folder), []
    for claim, where, says, values in prose[["claim", "where", "says", "values"]].itertuples(index=False):
        its = replace(tables, printed=tuple(v for v in str(values).split(";") if v))
        rows += [(claim, where, says, *case) for case in TESTS[str(claim)](its)]
    return pd.DataFrame(rows, columns=["claim", "where", "says", "case", "verdict", "numbers"])


def report(found: pd.DataFrame, *claims: str) -> str:
    """Some of the verdicts as text: each claim in our words, and below it a line a case."""
    wrong = [c for c in claims if c not in set(found["claim"])]
    if wrong:
        raise ValueError(f"claims: no claim {wrong[0]!r}; there are {', '.join(dict.fromkeys(found['claim']))}")
    said = []
    for claim in claims or dict.fromkeys(found["claim"]):
        rows = found[found["claim"] == claim]
        said.append(f"{claim} ({rows['where'].iloc[0]}): {rows['says'].iloc[0]}")
        for case, verdict, numbers in rows[["case", "verdict", "numbers"]].itertuples(index=False):
            said.append(f"  {verdict:<17}  {f'{case}:  ' if case else ''}{numbers}")
    return "\n".join(said)


# ------------------------------------------------------------------------------------- Tables 1 to 3: one law at a time


def _drawn(curve: Curve, name: str) -> Array:
    if curve.draws is None:
        raise ValueError(f"{curve.name}: no draws")
    return curve.draws[name].to_numpy(dtype=float)


def _parameter(curve: Curve, name: str) -> Known:
    return spread(curve.values[name], _drawn(curve, name))


def _base(name: str) -> float:
    """The base size of a ladder, as the original code counts it."""
    return float(counts(ladder(name)["L12H768" if name == "bert" else "base"])["drscale"])


def _sensitivity(t: Tables, law: str, steep: str, flat: str) -> Iterator[Case]:
    """Three ways to say that the loss of one aspect changes more than that of the other over the fitted range."""
    for collection, label in (("msmarco", "MS MARCO"), ("t2ranking", "T2Ranking")):
        known: dict[str, dict[str, Known]] = {}
        for aspect in (steep, flat):
            curve = t.law(f"{law}/{collection}/{aspect}")
            argument = curve.arguments[0]
            # Which ERNIEs were trained is not said, only that the base was the largest; nano is the smallest there is.
            nano = float(counts(ladder("ernie")["nano"])["drscale"])
            low, high = curve.box.get(argument, (nano, _base("ernie")))
            ends, drawn = (curve(**{argument: [low, high]}), curve.sample(**{argument: [low, high]}))
            reach = f"{count_text(low)} to {count_text(high)}"
            fall = spread(ends[0] - ends[1], drawn[:, 0] - drawn[:, 1])
            known.setdefault(f"fall in nats, {reach}", {})[aspect] = fall
            known.setdefault(f"ratio of the ends, {reach}", {})[aspect] = spread(
                ends[0] / ends[1], drawn[:, 0] / drawn[:, 1]
            )
            known.setdefault("exponent", {})[aspect] = _parameter(curve, "mu" if argument == "N" else "eta")
        for measure, both in known.items():
            yield f"{label}, {measure}", more([both[steep] - both[flat]]), say(both)


def _higher_floor(t: Tables) -> Iterator[Case]:
    for collection, label in (("msmarco", "MS MARCO"), ("t2ranking", "T2Ranking")):
        known = {a: _parameter(t.law(f"size/{collection}/{a}"), "delta") for a in ("ood", "effectiveness")}
        yield label, more([known["ood"] - known["effectiveness"]]), say(known)


def _equal_floors(t: Tables) -> Iterator[Case]:
    for label, name in PAIRS.items():
        known = {law: _parameter(t.law(f"{law}/{name}"), "delta") for law in ("size", "data")}
        yield label, equal([known["size"] - known["data"]], 0.0), say(known)


def _shared_corner(t: Tables) -> Iterator[Case]:
    """The size law was fitted on complete training sets, somewhat larger than the largest data size of the data law."""
    marco = published.dragon(10, t.folder).set_index("what").loc["training queries", "number"]
    for label, name in PAIRS.items():
        size, data, chinese = t.law(f"size/{name}"), t.law(f"data/{name}"), label.startswith("T2")
        N, D = _base("ernie" if chinese else "bert"), np.array([data.box["D"][1], t.values[0] if chinese else marco])
        case = f"{label}, {count_text(N)} parameters, {count_text(D[0])} to {count_text(D[1])} pairs"
        versions = {case: size}
        if size.values["delta"] == 0.96 and size.draws is not None:  # perhaps a slip for 0.096; both are tried
            slip = replace(size, values={**size.values, "delta": 0.096}, draws=size.draws.assign(delta=0.096))
            versions = {f"{case}, floor as printed": size, f"{case}, floor read as 0.096": slip}
        for version, curve in versions.items():
            known = {"size": spread(curve(N=N), curve.sample(N=N)), "data": spread(data(D=D[1]), data.sample(D=D))}
            yield version, equal([known["size"] - known["data"]], 0.0), say(known)


def _checkpoints(t: Tables) -> Iterator[Case]:
    setting, law = t.values
    yield "", HOLDS if setting == law else FAILS, f"setting: {setting:g}; size law: {law:g}"


def _largest_size(t: Tables) -> Iterator[Case]:
    base = counts(ladder("bert")["L12H768"])
    mebi, mega = base["drscale"] / 2**20, base["fang"] / 1e6
    numbers = f"without tables: {base['drscale']:,} / 2^20 = {mebi:.2f}; without the word table: {mega:.2f} million"
    yield "BERT-base", HOLDS if [round(mebi), round(mega)] == t.values else FAILS, numbers


# ------------------------------------------------------------------------------------------ Table 4: both laws in one


def _ten_percent(t: Tables) -> Iterator[Case]:
    percent, small, large, times = t.values
    for label, name in JOINT.items():
        known, (low, high) = {}, (0.0, 0.0)
        for reading, c in t.laws[name].items():
            low, high = c.box["D"]
            start = np.array([low, high])
            value = 1 - c(N=large, D=times * high) / c(N=small, D=high)
            known[reading] = spread(
                100 * value, 100 * (1 - c.sample(N=large, D=times * start) / c.sample(N=small, D=start))
            )
        case = f"{label}: percent gained, starting between {count_text(low)} and {count_text(high)} pairs"
        yield case, equal(known.values(), percent, CLOSE), say(known)


def _joint_exponent(t: Tables) -> Iterator[Case]:
    """What the average leaves for its adversarial half: it would have to be above zero and to fall with size."""
    joint, ood = t.law(JOINT["standard, robustness"]), t.law("size/msmarco/ood")
    known = {"mu of both": _parameter(joint, "mu"), "mu of OOD": _parameter(ood, "mu")}
    D, left = joint.box["D"][1], []
    for N in joint.box["N"]:
        both, one = (spread(c(**at), c.sample(**at)) for c, at in ((joint, {"N": N, "D": D}), (ood, {"N": N})))
        left.append(Known(2 * both.value - one.value, 2 * both.low - one.high, 2 * both.high - one.low))
        known[f"left for the adversarial half at {count_text(N)}"] = left[-1]
    possible = more(left) != FAILS and more([left[0] - left[1]]) != FAILS
    alike = equal([known["mu of both"] - known["mu of OOD"]], 0.0)
    yield "standard training", HOLDS if alike == HOLDS else OPEN if possible else FAILS, say(known)


def _grid(curve: Curve) -> dict[str, Array]:
    return {"N": np.geomspace(*curve.box["N"], 25), "D": np.geomspace(*curve.box["D"], 25)[:, None]}


def _sum_of_laws(t: Tables) -> Iterator[Case]:
    size, data = t.law("size/msmarco/effectiveness"), t.law("data/msmarco/effectiveness")
    apart = {}
    for label, name in JOINT.items():
        gaps = {}
        for reading, c in t.laws[name].items():
            at = _grid(c)
            gaps[reading] = float(np.abs(laws.additive_law(**at, **c.values) / c(**at) - 1).max())
            if label == "standard, effectiveness":
                apart[reading] = float(np.abs((size(N=at["N"]) + data(D=at["D"])) / c(**at) - 1).max())
        yield f"{label}: both forms with the same coefficients", *_within(gaps)
    yield "standard, effectiveness: Table 1 + Table 2 against Table 4", *_within(apart)


def _within(gaps: dict[str, float]) -> tuple[str, str]:
    found = {HOLDS if g <= CLOSE else FAILS for g in gaps.values()}
    return (found.pop() if len(found) == 1 else OPEN), "; ".join(
        f"{f'{r}: ' if r else ''}up to {100 * g:.0f}% apart in the fitted box" for r, g in gaps.items()
    )


def _shared_towers(t: Tables) -> Iterator[Case]:
    systems = published.dragon(4, t.folder)
    told = sum("tower" in c or "encoder" in c for c in systems.columns)
    numbers = f"DRAGON's Table 4 has {systems['model'].nunique()} systems and {told} columns on towers; "
    verdict, rest = OPEN, "neither paper prints a comparison"  # of which prose.csv would hold both scores
    if t.values:
        verdict, rest = HOLDS if t.values[0] >= t.values[1] else FAILS, "one: {}; two: {}".format(*t.printed)
    yield "one tower against two", verdict, numbers + rest


# ---------------------------------------------------------------------------------------------- Figure 6: what it costs


def _price_constants(t: Tables) -> Iterator[Case]:
    prices = budget.paper()
    names = ("an annotated pair", "training, a parameter", "encoding, a parameter")
    for name, value, printed in zip(names, (prices.pair, prices.training, prices.encoding), t.printed, strict=True):
        near = abs(value - float(printed)) <= published.half_unit(printed)
        pages = f", for {count_text(prices.documents)} pages" if name.startswith("enc") else ""
        yield name, HOLDS if near else FAILS, f"computed: {value:.4g}; printed: {printed}{pages}"


def _affordable(t: Tables) -> Iterator[Case]:
    prices, (least, _) = budget.paper(), t.law(JOINT["standard, robustness"]).box["N"]
    for money in t.values:
        largest = money / prices.per_parameter
        numbers = f"largest model without any pair: {largest:,.0f} parameters; smallest fitted: {count_text(least)}"
        yield prices.money(money), HOLDS if largest > least else FAILS, numbers


def _in_range(t: Tables) -> Iterator[Case]:
    for money in t.values:
        for label, name in JOINT.items():
            plans = {r: budget.allocate(replace(c, draws=None), money, FREE) for r, c in t.laws[name].items()}
            found = {FAILS if p.flags else HOLDS for p in plans.values()}
            numbers = "; ".join(
                f"{f'{r}: ' if r else ''}N = {count_text(p.N)}, D = {count_text(p.D)}" for r, p in plans.items()
            )
            yield f"{FREE.money(money)}, {label}", found.pop() if len(found) == 1 else OPEN, numbers
        least = FREE.cost(*(ends[0] for ends in t.law(JOINT["standard, robustness"]).box.values()))
        verdict = HOLDS if money >= least else FAILS
        yield f"{FREE.money(money)}, cheapest fitted plan", verdict, f"the box begins at {FREE.money(least)}"


def _best(curve: Curve, money: float) -> tuple[Known, Known]:
    """The best size on a budget, and the loss there."""
    plan, cloud = budget.allocate(replace(curve, draws=None), money, FREE), budget.optima(curve, money, FREE)
    drawn = {name: _drawn(curve, name) for name in curve.values}
    loss = curve.law(cloud["N"].to_numpy(), cloud["D"].to_numpy(), **drawn)
    return spread(plan.N, cloud["N"]), spread(plan.loss, loss)


def _by_reading(t: Tables, names: tuple[str, str], of: Compare) -> dict[str, Known]:
    """Two joint laws compared, under each reading of either."""
    first, second = (t.laws[JOINT[name]] for name in names)
    return {f"{a}{b}": of(x, y) for a, x in first.items() for b, y in second.items()}


def _size_ratio(money: float) -> Compare:
    """The best size for the second law over that for the first."""
    return lambda one, two: _best(two, money)[0] / _best(one, money)[0]


def _entropy_ratio(money: float) -> Compare:
    """The entropy of the first law over that of the second, each at its best on a budget."""
    return lambda one, two: _best(one, money)[1] / _best(two, money)[1]


def _earlier(t: Tables) -> Iterator[Case]:
    for money in t.values:
        for training in ("standard", "Pareto"):
            names = (f"{training}, robustness", f"{training}, effectiveness")
            known = _by_reading(t, names, _size_ratio(money))
            case = f"{FREE.money(money)}, {training}: best size for effectiveness / for robustness"
            yield case, more(known.values(), 1.0), say(known)


def _against_standard(t: Tables, what: str, bound: float, of: Compare) -> Iterator[Case]:
    """Standard and Pareto training compared, for both aspects."""
    for side in budget.SIDES:
        known = _by_reading(t, (f"standard, {side}", f"Pareto, {side}"), of)
        yield f"{side}: {what}", more(known.values(), bound), say(known)


def _larger_models(t: Tables) -> Iterator[Case]:
    for m in t.values:
        yield from _against_standard(t, f"best size of Pareto / of standard at {FREE.money(m)}", 1.0, _size_ratio(m))


def _better_on_budget(t: Tables) -> Iterator[Case]:
    for m in t.values:
        yield from _against_standard(t, f"entropy of standard / of Pareto at {FREE.money(m)}", 1.0, _entropy_ratio(m))


def _efficiency(t: Tables) -> Iterator[Case]:
    """The term is not defined, so three definitions are tried."""
    times, money = t.values

    def dearer(standard: Curve, pareto: Curve) -> Known:
        loss, bare = _best(pareto, money)[1], replace(standard, draws=None)
        drawn = zip(*(_drawn(standard, name) for name in standard.values), strict=True)
        corners = [replace(bare, values=dict(zip(standard.values, v, strict=True))) for v in drawn]
        plans = [budget.cost_of(c, FREE, v) for c in (bare, *corners) for v in (loss.value, loss.low, loss.high)]
        costs = [p.cost / money if p.feasible else np.inf for p in plans]
        return spread(costs[0], costs)

    definitions: dict[str, Compare] = {
        "best size of Pareto / of standard": _size_ratio(money),
        "money that standard needs for Pareto's entropy / the budget": dearer,
        "entropy of standard / of Pareto": _entropy_ratio(money),
    }
    for what, of in definitions.items():
        for side in budget.SIDES:
            known = _by_reading(t, (f"standard, {side}", f"Pareto, {side}"), of)
            yield f"{side}: {what}", equal(known.values(), times, CLOSE), say(known)


def _better_unscaled(t: Tables) -> Iterator[Case]:
    def least(standard: Curve, pareto: Curve) -> Known:
        at = _grid(standard)
        high = standard.sample(**at).max(axis=0) / pareto.sample(**at).min(axis=0)
        low = standard.sample(**at).min(axis=0) / pareto.sample(**at).max(axis=0)
        return Known(float((standard(**at) / pareto(**at)).min()), float(low.min()), float(high.min()))

    yield from _against_standard(t, "entropy of standard / of Pareto, least in the fitted box", 1.0, least)


def _worth_scaling(t: Tables) -> Iterator[Case]:
    """How many times larger a standard model, on the same pairs, must be to reach what Pareto training reaches."""

    def times(standard: Curve, pareto: Curve) -> Known:
        N, D = (ends[1] for ends in (standard.box["N"], standard.box["D"]))
        target = spread(pareto(N=N, D=D), pareto.sample(N=N, D=D))
        drawn = {name: _drawn(standard, name) for name in standard.values}
        ends = [_size_for(v, D, drawn) / N for v in (target.low, target.high)]
        printed = {name: np.array([v]) for name, v in standard.values.items()}
        return Known(float(_size_for(target.value, D, printed)[0] / N), float(ends[1].min()), float(ends[0].max()))

    what = "times that a standard model must grow, at the largest size and data fitted"
    yield from _against_standard(t, what, t.values[0], times)


def _size_for(loss: float, D: float, v: dict[str, Array]) -> Array:
    """The N that reaches a loss on D pairs under the joint law; infinite where none does."""
    rest = np.maximum(loss - v["delta"], 0.0) ** (1 / v["eta"]) - v["B"] / D
    with np.errstate(divide="ignore"):
        return v["M"] * np.maximum(rest, 0.0) ** (-v["eta"] / v["mu"])


TESTS: dict[str, Callable[[Tables], Iterator[Case]]] = {
    "size-sensitivity": partial(_sensitivity, law="size", steep="effectiveness", flat="ood"),
    "data-sensitivity": partial(_sensitivity, law="data", steep="ood", flat="effectiveness"),
    "higher-floor": _higher_floor,
    "equal-floors": _equal_floors,
    "shared-corner": _shared_corner,
    "checkpoints": _checkpoints,
    "largest-size": _largest_size,
    "ten-percent": _ten_percent,
    "joint-exponent": _joint_exponent,
    "sum-of-laws": _sum_of_laws,
    "shared-towers": _shared_towers,
    "price-constants": _price_constants,
    "affordable": _affordable,
    "in-range": _in_range,
    "earlier": _earlier,
    "larger-models": _larger_models,
    "better-on-budget": _better_on_budget,
    "efficiency": _efficiency,
    "better-unscaled": _better_unscaled,
    "worth-scaling": _worth_scaling,
}
