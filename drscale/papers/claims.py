"""The main paper's sentences held against its own tables, and checks of ours whether these agree. No torch.

A claim is a sentence of the paper; a check is a question that we put to its numbers and that no sentence of it answers.
Both are tested case by case, and are reported and counted apart.

A number is carried with draws of what it may have been before rounding and, where R2 was printed, before the noise of
its fit (:func:`drscale.papers.published.uncertain`), and a damaged row with all its readings. A case is decided only
where the whole central 95% range falls on one side, under every reading. What a word allows is one rule a word, in
:mod:`drscale.papers._rounded`: ``near`` for about, approximately and nearly identical, ``several`` for several times.
A term that the paper does not define leaves its claim undecided, with the numbers of the readings we could think of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from drscale.budget import plan as budget
from drscale.budget.plan import cheapest, form_of
from drscale.budget.prices import paper_prices
from drscale.ladder import counts, ladder
from drscale.laws import fit as laws
from drscale.laws.curve import Curve
from drscale.papers import note, published
from drscale.papers._rounded import (
    FAILS,
    FIFTH,
    HOLDS,
    OPEN,
    TENTH,
    Known,
    agree,
    known,
    more,
    near,
    say,
    several,
    span,
)
from drscale.stats.tables import Array, count_text

FREE = paper_prices(documents=0)  # Eq. 13 without encoding, the only way in which Figure 6 can have been drawn
PART = "holds in part"
CLAIM, CHECK = "claim", "check"
VERBS = {HOLDS: ("holds", "hold"), PART: ("holds in part", "hold in part"), FAILS: ("does not hold", "do not hold")}
VERBS |= {OPEN: ("cannot be decided", "cannot be decided")}
COLLECTIONS = {"msmarco": "MS MARCO", "t2ranking": "T2Ranking"}
TRAININGS = ("standard", "Pareto")
MEAN = "mean of both"
ASPECTS = {side: (side,) for side in budget.SIDES} | {MEAN: budget.SIDES}
TIMES = np.geomspace(1e-4, 1e9, 651)  # by which a model or its data may grow: steps of five percent
PAIRS = {
    "MS MARCO, ood": "msmarco/ood",
    "MS MARCO, effectiveness": "msmarco/effectiveness",
    "T2Ranking, ood": "t2ranking/ood",
    "T2Ranking, effectiveness": "t2ranking/effectiveness",
}
ADVERSARIAL = {
    "adversarial training, robustness": "adversarial/robustness",
    "adversarial training, effectiveness": "adversarial/effectiveness",
}
Case = tuple[str, str, str]  # the case, the verdict, the numbers it rests on
Laws = tuple[Curve, ...]  # of one training: that of an aspect, or of both, whose mean counts
Compare = Callable[[Laws, Laws], Known]


@dataclass(frozen=True)
class Tables:
    """All laws with their draws, by name and reading; and a claim's own printed numbers."""

    laws: Mapping[str, Mapping[str, Curve]]
    folder: str | Path | None
    printed: tuple[str, ...] = ()
    measured: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def values(self) -> list[float]:
        """The claim's numbers."""
        return [float(v) for v in self.printed]

    def law(self, name: str) -> Curve:
        """A law that has one reading."""
        (curve,) = self.laws[name].values()
        return curve

    def joint(self, training: str, aspect: str) -> dict[str, Laws]:
        """The joint law of an aspect under each reading, or for ``MEAN`` those of both."""
        found: dict[str, Laws] = {"": ()}
        for side in ASPECTS[aspect]:
            law = self.laws[f"joint/{training.lower()}/{side}"]
            found = {f"{a}{b}": (*x, y) for a, x in found.items() for b, y in law.items()}
        return found


def verdicts(
    folder: str | Path | None = None,
    r2: float | None = None,
    *,
    paper: str = "scaling",
    measured: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Test each claim and each check, a row a case: claim, kind, where, says, case, verdict, numbers.

    ``says`` is the sentence in our words and ``where`` its place in the paper, both from a CSV beside the tables;
    ``kind`` is "claim" or "check"; ``numbers`` are what the verdict rests on, in brackets their central 95% range.
    ``r2`` is assumed of the joint laws, for which none was printed; without it their range is that of rounding alone.
    ``paper`` is "scaling", the main one, or "instructions", the note on instruction following: its cases begin with
    what they rest on, "arithmetic", "measured here" or "neither", and ``measured`` are the rows of the second kind
    (claim, measure, mean, low, high), which notebook 17 makes.

    >>> import drscale as ds
    >>> table = ds.verdicts()
    >>> sorted(table["verdict"].unique())
    ['cannot be decided', 'does not hold', 'holds']
    >>> ds.verdicts(paper="instructions")["claim"].nunique()
    8
    """
    if paper not in PAPERS:
        raise ValueError(f"paper={paper!r}: allowed are {', '.join(map(repr, PAPERS))}")
    file, tests = PAPERS[paper]
    if measured is not None and tests is TESTS:
        raise ValueError("measured: for paper='instructions' alone; the main paper is held against its own tables")
    prose = pd.read_csv(published.path(file, folder), dtype=str, keep_default_na=False)
    unmatched = set(prose["claim"]) ^ set(tests)
    if unmatched:
        raise ValueError(f"{file}.csv: {', '.join(sorted(unmatched))} must stand both there and among the tests here")
    laws_ = published.all_uncertain(folder, r2) if tests is TESTS else {}
    tables, rows = Tables(laws_, folder, measured=note.checked(measured)), []
    for claim, kind, where, says, values in prose[["claim", "kind", "where", "says", "values"]].to_numpy(dtype=str):
        its = replace(tables, printed=tuple(v for v in values.split(";") if v))
        rows += [(claim, kind, where, says, *case) for case in tests[claim](its)]
    return pd.DataFrame(rows, columns=["claim", "kind", "where", "says", "case", "verdict", "numbers"])


def by_claim(found: pd.DataFrame) -> pd.DataFrame:
    """A row a claim or check: says, where, kind, the number of its cases with each verdict, and the overall verdict.

    Cases that all agree give it; some that hold beside some that do not make it "holds in part"; and where some are
    open and the others agree, it cannot be decided.
    """
    cases = pd.crosstab(found["claim"], found["verdict"]).reindex(columns=[HOLDS, FAILS, OPEN], fill_value=0)
    table = found.groupby("claim", sort=False)[["kind", "says", "where"]].first().join(cases)
    alone = [(table[[v for v in cases if v != one]] == 0).all(axis=1) for one in (HOLDS, FAILS)]
    parted = (table[HOLDS] > 0) & (table[FAILS] > 0)
    return table.assign(verdict=np.select([*alone, parted], [HOLDS, FAILS, PART], OPEN))


def count(found: pd.DataFrame) -> str:
    """The verdicts in a sentence of the claims and one of the checks, where there are any."""
    table, said = by_claim(found), []
    for kind, name in ((CLAIM, "sentences of the paper"), (CHECK, "checks of ours")):
        if not (table["kind"] == kind).any():
            continue
        whole, cases = table.loc[table["kind"] == kind, "verdict"], found.loc[found["kind"] == kind, "verdict"]
        by_verdict, by_case = (_counted(v.value_counts()) for v in (whole, cases))
        said.append(f"Of {len(whole)} {name} {by_verdict}; of their {len(cases)} cases {by_case}.")
    return " ".join(said)


def _counted(counted: pd.Series) -> str:
    words = [f"{counted[v]} {one if counted[v] == 1 else many}" for v, (one, many) in VERBS.items() if v in counted]
    return ", ".join(words[:-1]) + (" and " if words[1:] else "") + words[-1]


def report(found: pd.DataFrame, *claims: str) -> str:
    """Some of the verdicts in Markdown: each sentence with its place, and below it a table with a row a case."""
    wrong = [c for c in claims if c not in set(found["claim"])]
    if wrong:
        raise ValueError(f"claims: no claim {wrong[0]!r}; there are {', '.join(dict.fromkeys(found['claim']))}")
    whole, said = by_claim(found), []
    for claim in claims or whole.index:
        row = whole.loc[claim]
        about = row["where"] + (", a check of ours" if row["kind"] == CHECK else "")
        head = f"**{row['says']}** ({about}): *{row['verdict']}*"
        lines = [head, "", "| case | verdict | numbers |", "| --- | --- | --- |"]
        cases = found.loc[found["claim"] == claim, ["case", "verdict", "numbers"]].to_numpy(dtype=str)
        said.append("\n".join([*lines, *(f"| {' | '.join(case)} |" for case in cases)]))
    return "\n\n".join(said).replace("$", r"\$")  # else what stands between two prices is read as a formula


# ------------------------------------------------------------------------------------- Tables 1 to 3: one law at a time


def _drawn(curve: Curve, name: str) -> Array:
    if curve.draws is None:
        raise ValueError(f"{curve.name}: no draws")
    return curve.draws[name].to_numpy(dtype=float)


def _parameter(curve: Curve, name: str) -> Known:
    return known(curve.values[name], _drawn(curve, name))


def _at(curve: Curve, **at: float) -> Known:
    return known(curve(**at), curve.sample(**at))


def _base(name: str) -> float:
    """The base size of a ladder, as the original code counts it."""
    return float(counts(ladder(name)["L12H768" if name == "bert" else "base"])["drscale"])


def _sensitivity(t: Tables, law: str, steep: str, flat: str) -> Iterator[Case]:
    """Three ways to say that the loss of one aspect changes more than that of the other over the fitted range."""
    for collection, label in COLLECTIONS.items():
        measures: dict[str, dict[str, Known]] = {}
        for aspect in (steep, flat):
            curve = t.law(f"{law}/{collection}/{aspect}")
            (argument,) = curve.arguments
            # Which ERNIEs were trained is not said, only that the base was the largest; nano is the smallest there is.
            nano = float(counts(ladder("ernie")["nano"])["drscale"])
            low, high = curve.box.get(argument, (nano, _base("ernie")))
            first, last = (_at(curve, **{argument: x}) for x in (low, high))
            reach = f"{count_text(low)} to {count_text(high)}"
            measures.setdefault(f"fall in nats, {reach}", {})[aspect] = first - last
            measures.setdefault(f"ratio of the ends, {reach}", {})[aspect] = first / last
            measures.setdefault("exponent", {})[aspect] = _parameter(curve, "mu" if argument == "N" else "eta")
        for measure, both in measures.items():
            yield f"{label}, {measure}", more([both[steep] - both[flat]]), say(both)


def _higher_floor(t: Tables) -> Iterator[Case]:
    for collection, label in COLLECTIONS.items():
        both = {a: _parameter(t.law(f"size/{collection}/{a}"), "delta") for a in ("ood", "effectiveness")}
        yield label, more([both["ood"] - both["effectiveness"]]), say(both)


def _equal_floors(t: Tables, pairs: Mapping[str, str]) -> Iterator[Case]:
    """Nearly identical: the smaller floor is nearly as high as the greater one."""
    for label, name in pairs.items():
        both = {law: _parameter(t.law(f"{law}/{name}"), "delta") for law in ("size", "data")}
        (v, w), (x, y) = ([getattr(k, what) for k in both.values()] for what in ("value", "draws"))
        ratio = known(min(v, w) / max(v, w), np.minimum(x, y) / np.maximum(np.maximum(x, y), 1e-12))
        yield label, near([ratio], 1.0), f"{say(both)}; smaller over greater: {ratio}"


def _shared_corner(t: Tables) -> Iterator[Case]:
    """The size law was fitted on complete training sets, somewhat larger than the largest data size of the data law."""
    queries = published.dragon(10, t.folder).set_index("what")["number"]
    marco = float(queries.loc[["training queries"]].to_numpy()[0])
    for label, name in (PAIRS | ADVERSARIAL).items():
        size, data, chinese = t.law(f"size/{name}"), t.law(f"data/{name}"), label.startswith("T2")
        N, D = _base("ernie" if chinese else "bert"), (data.box["D"][1], t.values[0] if chinese else marco)
        case = f"{label}, {count_text(N)} parameters, {count_text(D[0])} to {count_text(D[1])} pairs"
        versions = {case: size}
        if size.values["delta"] == 0.96 and size.draws is not None:  # perhaps a slip for 0.096; both are tried
            lower = size.draws.assign(delta=size.draws["delta"] - 0.864)
            slip = replace(size, values={**size.values, "delta": 0.096}, draws=lower)
            versions = {f"{case}, floor as printed": size, f"{case}, floor read as 0.096": slip}
        for version, curve in versions.items():
            one, others = _at(curve, N=N), [_at(data, D=d) for d in D]
            numbers = {"size": one} | {f"data at {count_text(d)}": k for d, k in zip(D, others, strict=True)}
            yield version, agree([one - other for other in others]), say(numbers)


def _checkpoints(t: Tables) -> Iterator[Case]:
    setting, law = t.values
    yield "BERT", HOLDS if setting == law else FAILS, f"setting: {setting:g}; size law: {law:g}"


def _largest_size(t: Tables) -> Iterator[Case]:
    base = counts(ladder("bert")["L12H768"])
    mebi, mega = base["drscale"] / 2**20, base["fang"] / 1e6
    numbers = f"without tables: {base['drscale']:,} / 2^20 = {mebi:.2f}; without the word table: {mega:.2f} million"
    yield "BERT-base", HOLDS if [round(mebi), round(mega)] == t.values else FAILS, numbers


def _ten_percent(t: Tables) -> Iterator[Case]:
    """What the laws of section 3 promise, on which the sentence says that it rests; the gains of the two multiply."""
    percent, small, large, times = t.values
    for aspect, label in (("ood", "OOD robustness"), ("effectiveness", "effectiveness")):
        size, data = (t.law(f"{law}/msmarco/{aspect}") for law in ("size", "data"))
        D = data.box["D"][1]
        left = {"size": _at(size, N=large) / _at(size, N=small), "data": _at(data, D=times * D) / _at(data, D=D)}
        rest = known(left["size"].value * left["data"].value, left["size"].draws * left["data"].draws)
        gained = {name: _percent(k) for name, k in {"both": rest, **left}.items()}
        case = f"MS MARCO, {label}: percent gained from {count_text(D)} pairs on"
        yield case, near([gained["both"]], percent), say(gained)


def _percent(left: Known) -> Known:
    return known(100 * (1 - left.value), 100 * (1 - left.draws))


# ------------------------------------------------------------------------------------------ Table 4: both laws in one


def _joint_ten_percent(t: Tables) -> Iterator[Case]:
    percent, small, large, times = t.values
    for training in TRAININGS:
        for side in budget.SIDES:
            laws_ = {reading: c for reading, (c,) in t.joint(training, side).items()}
            D = next(iter(laws_.values())).box["D"][1]
            gains = {r: _percent(_at(c, N=large, D=times * D) / _at(c, N=small, D=D)) for r, c in laws_.items()}
            case = f"{training}, {side}: percent gained from {count_text(D)} pairs on"
            yield case, near(gains.values(), percent), span(gains)


def _joint_exponent(t: Tables) -> Iterator[Case]:
    """What the average leaves for its adversarial half: it would have to be above zero and to fall with size."""
    joint, ood = t.law("joint/standard/robustness"), t.law("size/msmarco/ood")
    numbers = {"mu of both": _parameter(joint, "mu"), "mu of OOD": _parameter(ood, "mu")}
    D, left = joint.box["D"][1], []
    for N in joint.box["N"]:
        both = _at(joint, N=N, D=D)
        left.append(both + both - _at(ood, N=N))
        numbers[f"left for the adversarial half at {count_text(N)}"] = left[-1]
    possible = [more(left), more([left[0] - left[1]])]
    verdict = FAILS if FAILS in possible else OPEN if OPEN in possible else HOLDS
    yield "standard training", verdict, say(numbers)


def _grid(curve: Curve) -> dict[str, Array]:
    return {"N": np.geomspace(*curve.box["N"], 25), "D": np.geomspace(*curve.box["D"], 25)[:, None]}


def _sum_of_laws(t: Tables) -> Iterator[Case]:
    """Both forms of Eq. 12 with the same coefficients: how far they are apart at the worst place in the fitted box."""
    for training in TRAININGS:
        for side in budget.SIDES:
            gaps = {}
            for reading, (c,) in t.joint(training, side).items():
                at, drawn = _grid(c), {n: _drawn(c, n)[:, None, None] for n in c.values}
                value = np.abs(laws.additive_law(**at, **c.values) / c(**at) - 1).max()
                gaps[reading] = known(value, np.abs(laws.additive_law(**at, **drawn) / c.sample(**at) - 1).max((1, 2)))
            yield f"{training}, {side}", *_within(gaps)


def _sum_of_tables(t: Tables) -> Iterator[Case]:
    size, data, gaps = t.law("size/msmarco/effectiveness"), t.law("data/msmarco/effectiveness"), {}
    for reading, (c,) in t.joint("standard", "effectiveness").items():
        at = _grid(c)
        drawn = size.sample(N=at["N"])[:, None] + data.sample(D=at["D"])
        value = np.abs((size(N=at["N"]) + data(D=at["D"])) / c(**at) - 1).max()
        gaps[reading] = known(value, np.abs(drawn / c.sample(**at) - 1).max((1, 2)))
    yield "standard, effectiveness", *_within(gaps)


def _within(gaps: Mapping[str, Known]) -> tuple[str, str]:
    """Approximately: within a tenth everywhere it is, by more than a fifth somewhere it is not."""
    parts = [HOLDS if g.high <= TENTH else FAILS if g.low > FIFTH else OPEN for g in gaps.values()]
    percent = {r: known(100 * g.value, 100 * g.draws) for r, g in gaps.items()}
    return (parts[0] if len(set(parts)) == 1 else OPEN), f"percent apart at most, in the fitted box: {span(percent)}"


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
    prices = paper_prices()
    names = ("an annotated pair", "training, a parameter", "encoding, a parameter")
    for name, value, printed in zip(names, (prices.pair, prices.training, prices.encoding), t.printed, strict=True):
        close = abs(value - float(printed)) <= published.half_unit(printed)
        pages = f", for {count_text(prices.documents)} pages" if name.startswith("enc") else ""
        yield name, HOLDS if close else FAILS, f"computed: {value:.4g}; printed: {printed}{pages}"


def _affordable(t: Tables) -> Iterator[Case]:
    prices, (least, _) = paper_prices(), t.law("joint/standard/robustness").box["N"]
    for money in t.values:
        largest = money / prices.per_parameter
        numbers = f"largest model without any pair: {largest:,.0f} parameters; smallest fitted: {count_text(least)}"
        yield prices.money(money), HOLDS if largest > least else FAILS, numbers


def _in_range(t: Tables) -> Iterator[Case]:
    for money in t.values:
        for training in TRAININGS:
            for side in budget.SIDES:
                laws_ = [replace(c, draws=None) for (c,) in t.joint(training, side).values()]
                plans = [budget.allocate(c, money, FREE) for c in laws_]
                parts = {FAILS if p.flags else HOLDS for p in plans}
                N, D = ([getattr(p, x) for p in plans] for x in "ND")
                numbers = f"N = {_reach(N)}, D = {_reach(D)}"
                yield f"{FREE.money(money)}, {training}, {side}", parts.pop() if len(parts) == 1 else OPEN, numbers
        least = FREE.cost(*(ends[0] for ends in t.law("joint/standard/robustness").box.values()))
        verdict = HOLDS if money >= least else FAILS
        yield f"{FREE.money(money)}, cheapest fitted plan", verdict, f"the box begins at {FREE.money(least)}"


def _reach(values: Iterable[float]) -> str:
    return " to ".join(dict.fromkeys(count_text(f(values)) for f in (min, max)))


@lru_cache(maxsize=128)
def _best(of: Laws, money: float) -> tuple[Known, Known]:
    """The best size on a budget by the mean loss of the laws, and that loss: by value and by draw.

    A parabola through the best of the sizes tried and its neighbours finds the place between them.
    """
    N = np.geomspace(1e7, 0.9 * money / FREE.per_parameter, 200)
    D = budget.isocost(money, FREE, N)
    losses = np.mean([np.vstack([c(N=N, D=D)[None], c.sample(N=N, D=D)]) for c in of], axis=0)
    i, rows = np.clip(losses.argmin(axis=1), 1, len(N) - 2), np.arange(len(losses))
    before, least, after = (losses[rows, i + k] for k in (-1, 0, 1))
    shift = (before - after) / (2 * (before - 2 * least + after))
    sizes = N[i] * (N[1] / N[0]) ** shift
    return known(sizes[0], sizes[1:]), known(least[0], least[1:])


def _compared(t: Tables, aspect: str, of: Compare) -> dict[str, Known]:
    """Standard and Pareto training compared by an aspect, under each reading."""
    first, second = (t.joint(training, aspect) for training in TRAININGS)
    return {f"{a}{b}": of(x, y) for a, x in first.items() for b, y in second.items()}


def _size_ratio(money: float) -> Compare:
    """The best size of the second training over that of the first."""
    return lambda one, two: _best(two, money)[0] / _best(one, money)[0]


def _entropy_ratio(money: float) -> Compare:
    """The entropy of the first training over that of the second, each at its best on a budget."""
    return lambda one, two: _best(one, money)[1] / _best(two, money)[1]


def _too_large(t: Tables) -> Iterator[Case]:
    for money in t.values:
        for training in TRAININGS:
            for side in budget.SIDES:
                sizes = {r: _best(of, money)[0] for r, of in t.joint(training, side).items()}
                (least, _), most = t.law("joint/standard/robustness").box["N"], money / FREE.per_parameter
                inner = [more(sizes.values(), least), more([known(most, [most]) - k for k in sizes.values()])]
                verdict = HOLDS if inner == [HOLDS, HOLDS] else FAILS if FAILS in inner else OPEN
                numbers = (
                    f"best size: {span(sizes)}, between {count_text(least)} and {count_text(most)} without any pair"
                )
                yield f"{FREE.money(money)}, {training}, {side}", verdict, numbers


def _earlier(t: Tables) -> Iterator[Case]:
    for money in t.values:
        for training in TRAININGS:
            robust, effective = (t.joint(training, side) for side in budget.SIDES)
            (first,) = robust.values()
            ratios = {r: _best(of, money)[0] / _best(first, money)[0] for r, of in effective.items()}
            case = f"{FREE.money(money)}, {training}: best size for effectiveness / for robustness"
            yield case, more(ratios.values(), 1.0), span(ratios)


def _on_budget(t: Tables, what: str, of: Callable[[float], Compare]) -> Iterator[Case]:
    """What must be above one, for each budget and aspect."""
    for money in t.values:
        for aspect in ASPECTS:
            ratios = _compared(t, aspect, of(money))
            yield f"{FREE.money(money)}, {aspect}: {what}", more(ratios.values(), 1.0), span(ratios)


def _efficiency(t: Tables) -> Iterator[Case]:
    """The paper does not say what efficiency is, so no number can refute it; what three definitions give is shown."""
    times, money = t.values

    def dearer(standard: Laws, pareto: Laws) -> Known:
        (one,), (_, loss) = standard, _best(pareto, money)
        value, drawn = cheapest(form_of(one), loss.value, FREE), cheapest(form_of(one, drawn=True), loss.draws, FREE)
        return known(FREE.cost(*value) / money, FREE.cost(*drawn) / money)

    definitions: dict[str, Compare] = {
        "best size of Pareto / of standard": _size_ratio(money),
        "entropy of standard / of Pareto": _entropy_ratio(money),
        "money that standard needs for Pareto's entropy / the budget": dearer,
    }
    words = {HOLDS: "about", FAILS: "not about", OPEN: "perhaps"}
    for what, of in definitions.items():
        for aspect in budget.SIDES if of is dearer else ASPECTS:
            ratios = _compared(t, aspect, of)
            yield f"{aspect}: {what}", OPEN, f"{span(ratios)}: {words[near(ratios.values(), times)]} {times:g}"


def _better_unscaled(t: Tables) -> Iterator[Case]:
    def least_ratio(standard: Laws, pareto: Laws) -> Known:
        (one,), (other,), at = standard, pareto, _grid(pareto[0])
        return known((one(**at) / other(**at)).min(), (one.sample(**at) / other.sample(**at)).min((1, 2)))

    for side in budget.SIDES:
        ratios = _compared(t, side, least_ratio)
        yield (
            f"{side}: entropy of standard / of Pareto, least in the fitted box",
            more(ratios.values(), 1.0),
            span(ratios),
        )


def _worth_scaling(t: Tables) -> Iterator[Case]:
    def times(of: str, standard: Laws, pareto: Laws) -> Known:
        N, D = (ends[1] for ends in (pareto[0].box["N"], pareto[0].box["D"]))
        target = [np.mean([c(N=N, D=D) for c in pareto]), np.mean([c.sample(N=N, D=D) for c in pareto], axis=0)]
        grown = {"N": N * (TIMES if of == "N" else np.ones_like(TIMES)), "D": D * (TIMES if of == "D" else 1.0)}
        value, drawn = (np.mean([f(c)(**grown) for c in standard], axis=0) for f in (lambda c: c, lambda c: c.sample))
        ends = np.append(TIMES, np.inf)  # the loss falls along them: the first that reaches the target
        return known(ends[(value > target[0]).sum()], ends[(drawn > target[1][:, None]).sum(axis=1)])

    for aspect in ASPECTS:
        for of, what in (("N", "model"), ("D", "training set")):
            grown = _compared(t, aspect, partial(times, of))
            case = f"{aspect}: times that the standard {what} must grow, at the largest size and data fitted"
            yield case, several(grown.values()), span(grown)


TESTS: dict[str, Callable[[Tables], Iterator[Case]]] = {
    "size-sensitivity": partial(_sensitivity, law="size", steep="effectiveness", flat="ood"),
    "higher-floor": _higher_floor,
    "data-sensitivity": partial(_sensitivity, law="data", steep="ood", flat="effectiveness"),
    "equal-floors": partial(_equal_floors, pairs=PAIRS),
    "ten-percent": _ten_percent,
    "shared-towers": _shared_towers,
    "sum-of-laws": _sum_of_laws,
    "price-constants": _price_constants,
    "too-large": _too_large,
    "earlier": _earlier,
    "larger-models": partial(_on_budget, what="best size of Pareto / of standard", of=_size_ratio),
    "better-on-budget": partial(_on_budget, what="entropy of standard / of Pareto", of=_entropy_ratio),
    "efficiency": _efficiency,
    "better-unscaled": _better_unscaled,
    "worth-scaling": _worth_scaling,
    "shared-corner": _shared_corner,
    "adversarial-floors": partial(_equal_floors, pairs=ADVERSARIAL),
    "checkpoints": _checkpoints,
    "largest-size": _largest_size,
    "joint-exponent": _joint_exponent,
    "joint-ten-percent": _joint_ten_percent,
    "sum-of-tables": _sum_of_tables,
    "affordable": _affordable,
    "in-range": _in_range,
}


def _of_note(claim: str) -> Callable[[Tables], Iterator[Case]]:
    return lambda t: note.TESTS[claim](t.values, t.measured)


PAPERS = {"scaling": ("prose", TESTS), "instructions": ("note", {claim: _of_note(claim) for claim in note.TESTS})}
