"""``drscale fit`` and ``drscale allocate``: a law of somebody's runs and what a budget buys. Never imports torch."""

from __future__ import annotations

import argparse
import math
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from drscale.budget.plan import Allocation, allocate, cost_of
from drscale.budget.plot import isocost_figure
from drscale.budget.prices import Prices, paper_prices
from drscale.commands import tables
from drscale.commands.arguments import PRICES, Impossible, UserError
from drscale.commands.cells import counts_of, signs_of
from drscale.commands.series import BY_NAME, Law, Series, series_of
from drscale.laws import fit as laws
from drscale.laws._families import POWER
from drscale.laws.compare import Choice, choose_law
from drscale.laws.diagnostics import without
from drscale.laws.intervals import interval_basis, law_table
from drscale.laws.plot import series_figure
from drscale.laws.result import LawFit, name_of
from drscale.plotting.files import TABLE_FORMATS
from drscale.stats.columns import PAIRS, SIZES, loss_of, pairs_of, size_of
from drscale.stats.tables import check_level, warn_if_mixed

EXPLAINED = 0.3  # of the misfit, by a column that may be the other axis
FEWEST_OF_BOTH = 3  # levels of each column that a law of both needs
COMPARED = {"sigma": "spread", "lack_p": "p of lack of fit", "delta_aicc": "AICc difference", "aicc": "AICc"}
COMPARED |= {"r2": "R2", "rolling": "extrapolation error"}


def _candidates(series: Series, both: bool = False) -> tuple[list[Law], Series]:
    """The laws to compare and the series in their columns: laws of both counts where both vary, else of one."""
    counts = {a: series.rows[c].nunique() for a, c in series.columns.items()}
    if len(counts) == 2 and (both or min(counts.values()) >= FEWEST_OF_BOTH):
        return [laws.joint_law, laws.additive_law], series
    letter = max(counts, key=counts.__getitem__)
    own = replace(series, columns={letter: series.columns[letter]})
    return [laws.size_law if letter == "N" else laws.data_law, laws.broken_law], own


def _choose(series: Series, options: Mapping[str, Any], both: bool = False) -> tuple[Law, Choice, Series]:
    """Compare the laws that suit the columns and take the better one; of one count the plain law unless decided."""
    offered, own = _candidates(series, both)
    try:
        with tables.busy(f"comparing {' and '.join(map(name_of, offered))}, levels left out one by one"):
            choice = choose_law(own.rows, own.y, candidates=offered, x=own.x(offered[0]), **options)
    except ValueError as e:
        raise Impossible(str(e).replace("not fitted: ", "")) from None
    return (choice.law if choice.decided or len(own.columns) == 2 else offered[0]), choice, own


def _fitted(series: Series, law: Law, options: Mapping[str, Any]) -> LawFit:
    try:
        with tables.busy(f"fitting {name_of(law)}"):
            found = laws.fit_law(series.rows, law, series.x(law), series.y, warn=False, **options)
    except ValueError as e:
        raise Impossible(f"{name_of(law)} of {series.y}: {e}") from None
    if without(found, found.fitted) == list(series.columns.values()):
        columns = " or ".join(series.columns.values())
        score = loss_of(series.rows[[series.y]]) is None
        hint = f"; if a larger {series.y} is better, add a column of 1 - {series.y} and fit that" * score
        raise Impossible(f"{series.y} does not fall with {columns}: no law fits{hint}")
    return found


def _doubts(series: Series, fit: LawFit, choice: Choice | None) -> list[str]:
    """Every reason for caution in a sentence: rows left out, runs that do not belong together, the fit's own."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_mixed(series.rows, *series.columns.values())
    mixed = [re.sub(r'with query\("(.*?)"\) first', r'with --where "\1"', str(w.message)) for w in caught]
    both = "keep one with --where, or name both columns in --x"
    mixed = [sentence.replace("keep one, or fit a law of both", both) for sentence in mixed]
    own = set(series.columns.values())
    if len(own) == 1 and not own & {SIZES[0], PAIRS[0]} and not any(both in sentence for sentence in mixed):
        other = (pairs_of if "N" in series.columns else size_of)(series.rows)  # whatever the given column is called
        if other is not None and other not in own and (count := series.rows[other].nunique()) > 1:
            mixed.append(f"one fit of {count} different {other!r}: {both}")
        else:
            mixed += _unused_axis(series, fit)
    return [*series.said, *mixed, *_undecided(choice, name_of(fit.law)), *fit.doubts]


def _unused_axis(series: Series, fit: LawFit) -> list[str]:
    """A sentence on the unused column of numbers that explains most of what the law of one column leaves, if any does.

    It has to be set and not measured (runs share its values, and it varies at one x), and the share of the variance of
    the relative residuals between its values, corrected for their number, has to be above ``EXPLAINED``.
    """
    ((letter, x),) = series.columns.items()
    left = pd.Series(np.asarray(fit.residual, dtype=float), index=series.rows.index)
    found: list[tuple[float, str, int]] = []
    for name in map(str, series.rows.columns):
        values_, _ = counts_of(series.rows[name])
        number = pd.api.types.is_numeric_dtype(values_) and not pd.api.types.is_bool_dtype(values_)
        if name in (x, series.y) or not number or not (values_ > 0).all():
            continue
        levels = int(values_.nunique())
        if not 2 <= levels <= len(values_) / 2 or (values_.groupby(series.rows[x]).nunique() < 2).all():
            continue
        within = float(((left - left.groupby(values_).transform("mean")) ** 2).sum()) / (len(left) - levels)
        explained = 1 - within / max(float(left.var()), 1e-300)
        if explained > EXPLAINED:
            found.append((explained, name, levels))
    if not found:
        return []
    explained, name, levels = max(found)
    both = {letter: x, "D" if letter == "N" else "N": name}
    words = ",".join(f"{a}={both[a]}" for a in "ND")
    return [
        f'column {name!r} has {levels} values and explains {explained:.0%} of the misfit: use it with --x "{words}"'
    ]


def _able(choice: Choice) -> list[str]:
    """The laws that could be fitted."""
    return [str(name) for name in choice.compared.dropna(subset=["r2"])["law"]]


def _undecided(choice: Choice | None, law: str) -> list[str]:
    """A sentence where the runs do not decide between the law and others."""
    others = [] if choice is None or choice.decided else [name for name in _able(choice) if name != law]
    return [f"the runs do not decide between {law} and {', '.join(others)}"] if others else []


def _choice_said(choice: Choice, series: Series) -> str:
    able, columns = _able(choice), list(series.columns.values())
    of = f"{columns[0]!r} alone" if len(columns) == 1 else " and ".join(map(repr, columns))
    return str(choice) if len(able) > 1 else f"{able[0]} is the only law of {of} that these runs allow."


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    check_level(arguments.level)
    return {"space": arguments.space, "robust": arguments.robust}


def _columns_said(series: Series) -> str:
    named = ", ".join(f"{letter} is {name!r}" for letter, name in series.columns.items())
    return f"{named}, taken by its name (--x names another)" if series.by_name and len(series.columns) == 1 else named


def _compared(choice: Choice) -> pd.DataFrame:
    wanted = ["law", "parameters", "sigma", "r2", "lack_p", "aicc", "delta_aicc", "rolling", "note"]
    return choice.compared[[c for c in wanted if c in choice.compared]].rename(columns=COMPARED)


def _one(series: Series, arguments: argparse.Namespace) -> tuple[Series, LawFit, Choice | None]:
    """The law of a series, named or chosen."""
    options, law, choice = _options(arguments), BY_NAME.get(arguments.law or ""), None
    if law is None:
        law, choice, series = _choose(series, options)
    return series, _fitted(series, law, options), choice


def fit(arguments: argparse.Namespace) -> int:
    """Fit a law, print its numbers and doubts, and write them: ``drscale fit``."""
    tables.check_out(arguments.out)
    frame = tables.chosen(tables.read_runs(arguments.runs, signs_of(arguments)), arguments.where)
    series = series_of(frame, arguments)
    if arguments.by is not None:
        return _fit_by(series, tables.column(frame, arguments.by, "--by", arguments.runs), arguments)
    series, found, choice = _one(series, arguments)
    level = arguments.level
    with tables.busy("finding the intervals"):
        table = found.table(level)
    written = tables.write_out(arguments.out, table, lambda: found.plot(level=level), arguments.quiet)
    doubts = _doubts(series, found, choice)
    if arguments.json:
        tables.print_json("fit", runs=arguments.runs, **_as_data(series, found, choice, doubts, level), written=written)
        return 0
    print(_said(series, found, choice, doubts, level))
    return 0


def _as_data(series: Series, found: LawFit, choice: Choice | None, doubts: list[str], level: float) -> dict[str, Any]:
    compared = None
    if choice is not None:
        compared = {"decided": choice.decided, "reasons": choice.reasons, "laws": choice.compared}
    return {
        "law": name_of(found.law),
        "equation": found.equation,
        "x": series.columns,
        "y": series.y,
        "level": level,
        "parameters": found.table(level).iloc[:-1],  # the last row is R2
        "goodness": {k: int(v) if k in ("runs", "levels") else v for k, v in found.goodness().items()},
        "comparison": compared,
        "doubts": doubts,
        "basis": interval_basis(found),
    }


def _said(series: Series, found: LawFit, choice: Choice | None, doubts: list[str], level: float) -> str:
    good = found.goodness()
    table = found.table(level).iloc[:-1].drop(columns="stderr")
    lines = [
        f"{found}",
        f"{_columns_said(series)}; {good['runs']:.0f} runs at {good['levels']:.0f} levels",
        "",
        f"Parameters, with intervals of {level:.0%}:",
        tables.shown(table),
        interval_basis(found),
        "",
        f"Goodness: R2 {good['R2']:.4f}, R2 of logarithms {good['R2_log']:.4f}; "
        f"a run lies {good['relative_error']:.1%} from the curve.",
        "",
    ]
    if choice is not None:
        lines += [f"Laws compared: {_choice_said(choice, series)}", tables.shown(_compared(choice)), ""]
    return "\n".join([*lines, tables.listed("Doubts", doubts)])


def _fit_by(series: Series, by: str, arguments: argparse.Namespace) -> int:
    """Fit one law to the runs of each value of a column."""
    check, groups = _options(arguments), dict(list(series.rows.groupby(by, sort=False)))
    if empty := int(series.rows[by].isna().sum()):
        series = replace(series, said=[*series.said, f"{empty} rows are left out: their {by} is empty"])
    law, failed = BY_NAME.get(arguments.law or ""), {}
    if law is None:
        law, series = _shared_law(series, by, check)
    fits: dict[str, LawFit] = {}
    doubts: dict[str, list[str]] = {}
    for value, rows in groups.items():
        own = replace(series, rows=rows, said=[])
        try:
            fits[str(value)] = found = _fitted(own, law, check)
            doubts[str(value)] = _doubts(own, found, None)
        except Impossible as e:
            failed[str(value)] = str(e)
    if not fits:
        raise Impossible(f"--by {by}: no law for any of {', '.join(failed)}: {next(iter(failed.values()))}")
    table = law_table(fits, arguments.level).rename(columns={"name": by})
    figures = [path for path in arguments.out if path.suffix not in TABLE_FORMATS]
    if figures and len(series.columns) > 1:
        raise UserError(
            f"--out {figures[0]} --by {by}: a figure of several groups shows a law of one column; name it in --x"
        )

    def figure() -> Any:
        x = next(iter(series.columns.values()))
        return series_figure(series.rows, law, series.y, by, x=x, level=arguments.level, warn=False)

    written = tables.write_out(arguments.out, table, figure, arguments.quiet)
    if arguments.json:
        each = {v: _as_data(series, f, None, [*series.said, *doubts[v]], arguments.level) for v, f in fits.items()}
        tables.print_json("fit", runs=arguments.runs, by=by, groups=each, failed=failed, written=written)
    else:
        entry, family = laws.LAWS[law], laws.LAWS[law].family
        words = ["coefficient", "exponent", "delta"] if family is POWER else list(entry.units)
        form = entry.equation.format(**dict(zip(entry.units, words, strict=True)))
        print(f"{name_of(law)} of {series.y} for each {by}: {form}; {_columns_said(series)}\n")
        print(f"Parameters, with intervals of {arguments.level:.0%}:\n{tables.shown(table)}\n")
        print(tables.listed("Doubts", [*series.said, *(f"{v}: {d}" for v, own in doubts.items() for d in own)]))
        if failed:
            print("\n" + tables.listed("Not fitted", [f"{v}: {why}" for v, why in failed.items()]))
    return int(bool(failed))


def _shared_law(series: Series, by: str, options: Mapping[str, Any]) -> tuple[Law, Series]:
    """The law with the least AICc in all groups together, so that their parameters can be compared."""
    offered, own = _candidates(series)
    total: dict[str, float] = {}
    names = {name_of(law) for law in offered}
    for _, rows in series.rows.groupby(by, sort=False):
        try:
            compared = choose_law(rows, own.y, candidates=offered, x=own.x(offered[0]), **options).compared
        except ValueError:
            continue
        known = compared[["law", "aicc"]].dropna()
        if set(known["law"]) != names:  # a group that one law alone fits says nothing about the others
            continue
        for name, aicc in known.itertuples(index=False):
            total[name] = total.get(name, 0.0) + float(aicc)
    return (min(offered, key=lambda law: total[name_of(law)]) if total else offered[0]), own


# ---------------------------------------------------------------------------------------------------------- the plan


def prices_of(arguments: argparse.Namespace) -> Prices:
    """The prices that the options name; a UserError says what is missing."""
    for option in ("pair_price", "parameter_price"):
        value = getattr(arguments, option, None)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"--{option.replace('_', '-')} {value:g}: a number above 0 is needed")
    given = {f: v for o, (f, _) in PRICES.items() if (v := getattr(arguments, o)) is not None}
    if arguments.currency is not None:
        given["currency"] = arguments.currency
    base = paper_prices() if arguments.prices == "paper" else None
    if arguments.parameter_price is not None:
        machine = sorted(set(given) - {"pair", "currency"})
        if machine:
            raise UserError(
                f"--parameter-price: it stands in place of --{machine[0].replace('_', '-')}, name one of them"
            )
        one = {"peak_flops": 1.0, "utilisation": 1.0, "steps": 1.0, "tokens_per_step": 1.0, "train_flops": 1.0}
        given |= {"gpu_hour": 3600 * arguments.parameter_price, **one, "documents": 0.0}
    if base is not None:
        return replace(base, **given)
    needed = [
        option
        for option, (name, _) in PRICES.items()
        if name not in given and not name.startswith(("doc", "tokens_per_doc"))
    ]
    if needed:
        words = ", ".join(f"--{option.replace('_', '-')}" for option in needed)
        raise UserError(
            f"prices are missing: give --prices paper, or --pair-price with --parameter-price, or all of {words}"
        )
    return Prices(**given)


def plan(arguments: argparse.Namespace) -> int:
    """Plan what a budget buys, or what a target costs: ``drscale allocate``."""
    tables.check_out(arguments.out)
    prices, options = prices_of(arguments), _options(arguments)
    if arguments.draws < 0 or 0 < arguments.draws < 20:
        raise UserError(f"--draws {arguments.draws}: 0 for no intervals, or at least 20")
    for name in ("budget", "target"):
        if (value := getattr(arguments, name)) is not None and not 0 < value < float("inf"):
            raise UserError(f"--{name} {value:g}: a finite number above zero is needed")
    if arguments.target is not None and arguments.within:
        raise UserError("--within box: it is for --budget")
    if arguments.law in ("size_law", "data_law", "broken_law"):
        raise UserError(f"--law {arguments.law}: a plan needs a law of size and pairs, joint_law or additive_law")
    frame = tables.chosen(tables.read_runs(arguments.runs, signs_of(arguments)), arguments.where)
    series = series_of(frame, arguments, both=True)
    law, choice = BY_NAME.get(arguments.law or ""), None
    if law is None:
        law, choice, series = _choose(series, options, both=True)
    tried = [law]
    if choice is not None and not choice.decided:
        tried += [BY_NAME[name] for name in _able(choice) if name != name_of(law)]
    plans: dict[str, tuple[LawFit, Allocation]] = {}
    curves = {}
    for one in tried:
        try:
            found = _fitted(series, one, options)
            with tables.busy(f"refitting {name_of(one)} {arguments.draws} times"):
                curves[name_of(one)] = curve = found.curve(arguments.draws)
                plans[name_of(one)] = (found, _planned(curve, arguments, prices))
        except Impossible as e:
            if len(tried) == 1:
                raise
            series.said.append(f"there is no plan by {name_of(one)}: {e}")
    if not plans:
        raise Impossible("; ".join(series.said[-len(tried) :]))
    able_plans = {name: made for name, (_, made) in plans.items() if made.feasible}
    written = []
    if able_plans:
        shown, first = next(iter(able_plans.items()))

        def figure() -> Any:
            budget = arguments.budget if arguments.budget is not None else first.cost
            return isocost_figure(curves[shown], budget, prices, within=arguments.within, level=arguments.level)

        written = tables.write_out(arguments.out, first, figure, arguments.quiet)
    elif arguments.out and not arguments.quiet:
        print("no law has a plan, so nothing is written", file=sys.stderr)
    if arguments.json:
        _print_plans(arguments, series, prices, choice, plans, written)
    else:
        lines = [prices.explain().splitlines()[-1] if arguments.parameter_price is not None else prices.explain(), ""]
        lines += [f"Laws compared: {_choice_said(choice, series)}", ""] if choice is not None else []
        for name, (found, made) in plans.items():
            lines += [
                f"{name}: {found.equation}, where {_columns_said(series)}",
                str(replace(made, flags=()) if made.feasible else made),
            ]
            if made.feasible:
                lines += ["", tables.shown(made.table().drop(columns="note")), ""]
                doubts = _plan_doubts(series, choice, found, made)
                if any(flag.startswith(("N = ", "D = ")) for flag in made.flags) and arguments.target is None:
                    doubts.insert(0, "--within box keeps the plan inside the sizes and pairs of the runs")
                lines += [tables.listed("Doubts", doubts), ""]
        print("\n".join(lines).rstrip())
    return 0 if able_plans else 1


def _plan_doubts(series: Series, choice: Choice | None, found: LawFit, made: Allocation) -> list[str]:
    undecided = _undecided(choice, name_of(found.law))
    return list(dict.fromkeys([*series.said, *undecided, *made.flags, *found.doubts]))


def _planned(curve: Any, arguments: argparse.Namespace, prices: Prices) -> Allocation:
    try:
        if arguments.target is not None:
            return cost_of(curve, prices, arguments.target, level=arguments.level)
        return allocate(curve, arguments.budget, prices, within=arguments.within, level=arguments.level)
    except ValueError as e:
        raise Impossible(str(e)) from None


def _print_plans(
    arguments: argparse.Namespace,
    series: Series,
    prices: Prices,
    choice: Choice | None,
    plans: Mapping[str, tuple[LawFit, Allocation]],
    written: list[str],
) -> None:
    rows = [
        {
            "law": name,
            "equation": found.equation,
            "feasible": made.feasible,
            "N": made.N,
            "D": made.D,
            "loss": made.loss,
            "cost": made.cost,
            "costs": made.costs,
            "intervals": made.intervals,
            "doubts": _plan_doubts(series, choice, found, made),
        }
        for name, (found, made) in plans.items()
    ]
    tables.print_json(
        "allocate",
        runs=arguments.runs,
        x=series.columns,
        y=series.y,
        budget=arguments.budget,
        target=arguments.target,
        level=arguments.level,
        prices=asdict(prices) | {"per_pair": prices.per_pair, "per_parameter": prices.per_parameter},
        decided=None if choice is None else choice.decided,
        reasons=None if choice is None else choice.reasons,
        plans=rows,
        written=written,
    )
