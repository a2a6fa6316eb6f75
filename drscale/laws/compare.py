"""Compare several laws on the same runs, or one law under several counts of the parameters. Never imports torch."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

import lmfit
import numpy as np
import pandas as pd

from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.laws.diagnostics import MISFIT, empty_corners
from drscale.laws.fit import Columns
from drscale.laws.intervals import Unit, check_unit
from drscale.laws.levels import by_level
from drscale.laws.result import fitted, name_of
from drscale.results import Result, paragraph
from drscale.stats.tables import done, require

LawFunction = Callable[..., Any]
COLUMNS = ["law", "parameters", "runs", "levels", "sigma", "r2", "lack_p", "aicc", "note"]
CLEAR, SLIGHT = 10.0, 2.0  # AICc: a difference of 10 decides, below 2 nothing does (Burnham and Anderson, 2002)


def compare_laws(
    table: pd.DataFrame,
    candidates: Iterable[LawFunction] | Mapping[str, LawFunction],
    x: Columns | None = None,
    y: str = "in_domain_entropy",
    *,
    above: trust.Above = None,
    starts: Mapping[LawFunction, Mapping[str, float]] | None = None,
    unit: Unit = "level",
    leave_out: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Fit several laws to the same runs and compare how well they fit, one row for each law.

    ``x`` names the columns as for :func:`fit_law`; each law uses those of its own arguments, so ``{"N": ..., "D":
    ...}`` is right for laws of one and of two arguments. ``starts`` has start values for laws of your own; ``options``
    go to every fit. Columns are taken as they stand, so ``bounds`` count as the column does, where those of
    :func:`fit_law` count single things.

    Columns: law, parameters, runs, levels, sigma (spread of one run about the curve, a share of y), r2, lack_p (how
    likely the misfit of the level means is if only seeds scatter); aicc of the level means, or with ``unit="run"`` of
    the runs as if they were independent, delta_aicc to the best law, and the Akaike weight; leave_one_out, the root
    mean square of the relative error at each level when its runs are left out, and the number of ``folds``; rolling,
    the same beyond a cut when only the runs up to it are fitted, over all ``cuts``; with ``above``, holdout, the same
    beyond that one cut. Only folds and cuts that all laws can be fitted to are used, so that the errors are comparable;
    a law that cannot be fitted to any fold or cut has no value here and does not restrict the others. ``note`` says why
    a law, or part of its row, is missing. Leaving out takes one fit for each level; ``leave_out=False`` is quick.

    >>> import drscale as ds
    >>> table = ds.compare_laws(ds.example_runs(), [ds.joint_law, ds.additive_law], leave_out=False)
    >>> table[["law", "parameters", "levels"]]
                law  parameters  levels
    0     joint_law           5      20
    1  additive_law           5      20
    """
    done(table)  # raises an error if it is not a table
    check_unit(unit)
    if isinstance(candidates, str) or not isinstance(candidates, Iterable):
        raise ValueError(f"candidates={candidates!r}: a list of laws is needed, as [laws.size_law, laws.broken_law]")
    offered = candidates if isinstance(candidates, Mapping) else dict(enumerate(candidates))
    for law in offered.values():
        laws.check_law(law)
    named = dict(candidates) if isinstance(candidates, Mapping) else {name_of(law): law for law in offered.values()}
    if not named:
        raise ValueError("candidates=[]: at least one law")
    shared = _shared(named.values(), x)
    cut = None if above is None else trust.parted(table, _arguments(named.values(), x), y, above)
    rows: list[dict[str, Any]] = []
    tried: dict[str, list[pd.DataFrame | None]] = {"leave_one_out": [], "rolling": [], "holdout": []}
    for name, law in named.items():
        given = options | ({"start": starts[law]} if starts is not None and law in starts else {})
        parts: dict[str, pd.DataFrame] = {}
        try:
            columns = _columns_for(law, x, list(named.values()))
            told = _told(laws.fit_law(table, law, columns, y, warn=False, single=False, **given), unit) | {"note": ""}
        except ValueError as e:
            told = {"note": f"not fitted: {e}"}
        else:
            if leave_out:
                parts["leave_one_out"] = leave_one_out(table, law, columns, y, levels=shared, **given)
            parts["rolling"] = rolling(table, law, columns, y, levels=shared, **given)
            if cut is not None:
                parts["holdout"] = _missed(*cut, law, columns, y, shared, given).assign(fold=0)
        rows.append({"law": name, **told})
        for kind, frames in tried.items():
            frames.append(parts.get(kind))
    frame = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("parameters", "runs", "levels"), "Int64"))
    frame["delta_aicc"] = frame["aicc"] - frame["aicc"].min()
    weight = np.exp(-0.5 * frame["delta_aicc"])
    frame["weight"] = weight / weight.sum()
    for kind, count, said in (
        ("leave_one_out", "folds", "left out"),
        ("rolling", "cuts", "above a cut"),
        ("holdout", "", "held out"),
    ):
        if kind == "leave_one_out" and not leave_out:
            continue
        errors, counts, notes = _errors(tried[kind], said)
        if kind != "holdout" or above is not None:
            frame[kind] = errors
            frame["note"] = ["; ".join(n for n in pair if n) for pair in zip(frame["note"], notes, strict=True)]
        if count:
            frame[count] = counts
    return frame[[c for c in frame if c != "note"] + ["note"]]


@dataclass(frozen=True, repr=False)
class Choice(Result):
    """The law that a table supports best: the better ``law``, whether this is ``decided``, and why, in words.

    ``compared`` is the table from :func:`compare_laws`. An undecided choice still names the law with the lower AICc.
    """

    law: LawFunction
    decided: bool
    reasons: tuple[str, ...]
    compared: pd.DataFrame

    def __str__(self) -> str:
        name = name_of(self.law)
        if len(self.compared) == 1:
            return " ".join([f"{name}: the only law that suits the columns.", *map(_sentence, self.reasons)])
        said = f"{name}, decided" if self.decided else f"undecided, {name} has the lower AICc"
        return " ".join([f"{said}.", *map(_sentence, self.reasons)])

    def __repr__(self) -> str:
        return f"{self}\n{self.compared}"

    def table(self) -> pd.DataFrame:
        """The laws that were compared, one row each."""
        return self.compared

    def _repr_html_(self) -> str:
        shown = self.compared.drop(columns=[c for c in self.compared if self.compared[c].isna().all()])
        return paragraph(self) + str(shown.to_html(index=False, float_format="{:.4g}".format))


def _sentence(reason: str) -> str:
    return f"{reason[0].upper()}{reason[1:]}."


P = ParamSpec("P")


def _laws_by_name(choose: Callable[P, Choice]) -> Callable[P, Choice]:
    """Say it in a sentence where laws are given in the second place, as compare_laws takes them."""

    @functools.wraps(choose)
    def wrapped(*args: P.args, **options: P.kwargs) -> Choice:
        if len(args) > 1 and not isinstance(args[1], str):
            raise ValueError(f"y={args[1]!r:.60}: the name of a column is needed; laws are named as candidates=[...]")
        return choose(*args, **options)

    return wrapped


@_laws_by_name
def choose_law(
    table: pd.DataFrame,
    y: str = "in_domain_entropy",
    *,
    candidates: Iterable[LawFunction] | None = None,
    x: Columns | None = None,
    **options: Any,
) -> Choice:
    """Fit the laws that suit the columns, compare them, and take the better one.

    By default the candidates are :func:`laws_for`, with the columns that ``x`` names (a size, a pair of size and pairs,
    or ``{"N": ..., "D": ...}``), and beside them the laws that you registered (:func:`drscale.register_law`) if the
    table has their columns and they have as many x; AICc of laws with more or fewer x would count other levels. A
    difference of AICc on level means of at least ten decides; a difference of less than two decides nothing. Between
    these, and if every law lacks fit, the laws' errors beyond rolling cuts must agree. Nothing is decided if the corner
    of small size and few pairs is empty, because there the laws of two arguments differ. ``options`` go to
    :func:`compare_laws`, which leaves no level out here.

    >>> import drscale as ds
    >>> choice = ds.choose_law(ds.example_runs())
    >>> print(choice)
    additive_law, decided. Lack of fit rejects additive_law (p=...), joint_law (p=...). ...
    """
    if candidates is None:
        offered, x = _offered(table, x)
    else:
        offered = list(candidates)
    found = compare_laws(table, offered, x, y, leave_out=False, **options)
    able = found.dropna(subset=["aicc"])
    if able.empty:  # too few levels for AICc, or for any law
        able = found.dropna(subset=["r2"]).sort_values("r2", ascending=False)
        if able.empty:
            raise ValueError(f"no law can be fitted to {y}: {found['note'].iloc[0]}")
    order = able.sort_values("aicc", kind="stable") if able["aicc"].notna().all() else able
    best = offered[int(order.index[0])]
    reasons, against = [], []
    misfits = order[order["lack_p"] < MISFIT]
    if len(misfits):
        names = ", ".join(f"{law} (p={p:.1g})" for law, p in misfits[["law", "lack_p"]].to_numpy())
        reasons.append(f"lack of fit rejects {names}")
    if len(order) > 1:
        first, second = order.iloc[0], order.iloc[1]
        gap = float(second["aicc"] - first["aicc"])
        reasons.append(f"AICc on level means differs by {gap:.1f}")
        against += [] if gap >= SLIGHT else ["less than two decides nothing"]
        ahead = order["rolling"]
        if ahead.notna().all():
            agree = int(ahead.argmin()) == 0
            errors = ", ".join(f"{100 * e:.1f}% for {n}" for n, e in order[["law", "rolling"]].to_numpy())
            reasons.append(f"extrapolation {'agrees' if agree else 'disagrees'}: {errors}")
            against += [] if agree or (gap >= CLEAR and not len(misfits)) else ["AICc and extrapolation do not agree"]
        elif gap < CLEAR or len(misfits) == len(order):
            against.append("no cut leaves enough levels to compare how the laws extrapolate")
        if laws.joint_law in offered and laws.additive_law in offered:
            columns = _columns_for(laws.joint_law, x, offered)
            points = dict(zip(columns, laws.values(table, *columns.values()), strict=True))
            empty = empty_corners(points, list(columns.values()))
            if any(corner.startswith("small ") and " and small " in corner for corner in empty):
                against.append(
                    "no run is near the corner where both are small, so their interaction is poorly determined"
                )
    return Choice(best, not against, (*reasons, *against), found)


def _offered(table: pd.DataFrame, x: Columns | None) -> tuple[list[LawFunction], Columns | None]:
    """The laws that suit a table and its columns of size and pairs, and the columns that they take."""
    if x is None:
        built_in, rows = laws.laws_for(table), done(table)
    else:
        given = _lettered(x)
        usual = {"N": laws.default_x(laws.size_law), "D": laws.default_x(laws.data_law)}
        rows = require(done(table), *given.values())
        built_in = laws.laws_for(pd.DataFrame({usual[letter]: rows[c] for letter, c in given.items()}))
        x = given if len(built_in) > 1 else given["N" if built_in[0] is laws.size_law else "D"]
    count = len(laws.LAWS[built_in[0]].columns)
    own = laws.own_laws(rows) if x is None else []
    return [*built_in, *(law for law in own if len(laws.LAWS[law].columns) == count)], x


def _lettered(x: Columns) -> dict[str, str]:
    """Columns of size (N) and pairs (D): by letter, a pair in this order, or one, which is a size unless it is D's."""
    if isinstance(x, Mapping):
        given = {str(k): c for k, c in x.items()}
    elif isinstance(x, str):
        given = {"D" if x == laws.default_x(laws.data_law) else "N": x}
    else:
        given = dict(zip("ND", x, strict=False)) if len(x) == 2 else {}
    if not given or not set(given) <= {"N", "D"}:
        raise ValueError(
            f"x={x!r}: a column, a pair of size and pairs, or {{'N': ..., 'D': ...}}; else name candidates="
        )
    return given


def leave_one_out(
    table: pd.DataFrame,
    law: LawFunction,
    x: Columns | None = None,
    y: str = "in_domain_entropy",
    *,
    levels: Iterable[str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Leave the runs of one level out, fit the others, and predict the level; one row for each level.

    A level is a point of the columns ``levels``, by default the law's own. ``error`` is (predicted - measured) /
    measured, missing if the rest could not be fitted, and then ``note`` says why; levels with the same ``fold`` were
    left out together.
    """
    columns = laws.columns_of(law, x)
    names, rows = _levels(table, columns, y, levels), laws.done(table)
    place = rows.groupby(names).ngroup().to_numpy()
    found = []
    for i in range(place.max() + 1):
        within, rest = rows[place != i], rows[place == i]
        found.append(_missed(within, rest, law, columns, y, names, options).assign(fold=i))
    return pd.concat(found, ignore_index=True)


def rolling(
    table: pd.DataFrame,
    law: LawFunction,
    x: Columns | None = None,
    y: str = "in_domain_entropy",
    *,
    levels: Iterable[str] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Fit everything up to a cut and predict the levels above it, one row each, for every cut through every column.

    Columns: along (the column that is cut), cut (its largest fitted value), the level, runs, measured, predicted,
    error, note and fold as for :func:`leave_one_out`; a cut below which the law cannot be fitted has one row.
    """
    columns = laws.columns_of(law, x)
    names, rows = _levels(table, columns, y, levels), laws.done(table)
    found = []
    for along in names:
        values = rows[along].to_numpy(dtype=float)
        for cut in np.unique(values)[:-1]:
            rest = rows[values > cut]
            part = _missed(rows[values <= cut], rest, law, columns, y, names, options).assign(fold=f"{along}<={cut:g}")
            if part["note"].any():  # one row is enough to say so
                part = part.head(1).assign(runs=len(rest), measured=np.nan, **dict.fromkeys(names, np.nan))
            part.insert(0, "along", along)
            part.insert(1, "cut", cut)
            found.append(part)
    return pd.concat(found, ignore_index=True)


def _levels(table: pd.DataFrame, columns: Mapping[str, str], y: str, levels: Iterable[str] | None) -> list[str]:
    names = list(columns.values()) if levels is None else list(levels)
    laws.values(table, *names, *columns.values(), y)  # raises an error if it cannot be fitted
    return names


def _missed(
    within: pd.DataFrame,
    rest: pd.DataFrame,
    law: LawFunction,
    columns: Mapping[str, str],
    y: str,
    names: list[str],
    options: Mapping[str, Any],
) -> pd.DataFrame:
    """The prediction of a law fitted to some runs for the mean of other runs, level by level."""
    by = list(dict.fromkeys([*names, *columns.values()]))
    frame = rest.groupby(by)[y].agg(runs="size", measured="mean").reset_index()
    frame = frame.assign(predicted=np.nan, error=np.nan, note="")
    try:
        result = laws.fit_law(within, law, columns, y, warn=False, single=False, **options)
    except ValueError as e:
        return frame.assign(note=str(e))
    at = {a: frame[c].to_numpy(dtype=float) for a, c in columns.items()}
    predicted = np.asarray(result.eval(**at), dtype=float)
    return frame.assign(predicted=predicted, error=predicted / frame["measured"] - 1)


def _told(result: lmfit.model.ModelResult, unit: Unit) -> dict[str, Any]:
    """The columns that come from the fit to all runs."""
    f, good, lack = fitted(result), laws.goodness(result), laws.lack_of_fit(result)
    judged = by_level(result).result if unit == "level" else result
    r = np.asarray(judged.residual, dtype=float)
    n, k = len(r), f.parameters + 1  # sigma is estimated, too
    aicc = np.nan
    if n > k + 1 and not f.robust:
        aicc = n * float(np.log(max(r @ r / n, 1e-300))) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    row: dict[str, Any] = {"parameters": f.parameters, "runs": len(f.y), "levels": int(good["levels"])}
    row |= {"lack_p": np.nan if lack is None else lack[1]}
    return row | {"sigma": good["relative_error"], "r2": good["R2"], "aicc": aicc}


def _errors(parts: Sequence[pd.DataFrame | None], said: str) -> tuple[list[float], list[int], list[str]]:
    """For each law the root mean square error over the folds that all laws have, how many, and why there are none."""
    possible = [None if p is None else _folds(p.dropna(subset=["error"])) for p in parts]
    known = [mine for mine in possible if mine]
    common = set.intersection(*known) if known else set()
    values, counts, notes = [], [], []
    for part, mine in zip(parts, possible, strict=True):
        if part is None or not mine:
            values.append(np.nan)
            counts.append(0)
            notes.append("" if part is None else f"no level {said} can be predicted: in the other runs {_last(part)}")
            continue
        kept = part[part["fold"].isin(common)]
        values.append(float(np.sqrt((kept["error"] ** 2).mean())) if len(kept) else np.nan)
        counts.append(len(common))
        notes.append("" if common else f"no level {said} can be predicted by all laws: add levels to compare them so")
    return values, counts, notes


def _last(part: pd.DataFrame) -> str:
    """Why the most runs that could be left to fit are too few, and what helps."""
    note = str(part["note"].iloc[-1])
    return f"{note}; runs at more levels allow it" if "needs at least" in note else note


def _folds(part: pd.DataFrame) -> set[Any]:
    return set(part["fold"])


def _arguments(candidates: Iterable[LawFunction], x: Columns | None) -> dict[str, str]:
    """Every column that a law takes, by the argument it is."""
    if isinstance(x, Mapping):
        return dict(x)
    found: dict[str, str] = {}
    for law in candidates:
        try:
            columns = _columns_for(law, x, list(candidates))
        except ValueError:  # said in the law's own row
            continue
        found |= {a: c for a, c in columns.items() if c not in found.values()}
    return found


def _shared(candidates: Iterable[LawFunction], x: Columns | None) -> list[str]:
    """The columns whose points are the levels for all laws."""
    if isinstance(x, str):
        return [x]
    if x is not None:
        return list(x.values() if isinstance(x, Mapping) else x)
    names = [c for law in candidates if law in laws.LAWS for c in laws.LAWS[law].columns.values() if c]
    return list(dict.fromkeys(names))


def _columns_for(law: LawFunction, x: Columns | None, candidates: Sequence[LawFunction]) -> dict[str, str]:
    """The given columns that a law uses."""
    entry = laws.LAWS.get(law)
    wanted = list(inspect.signature(law).parameters) if entry is None else list(entry.columns)
    if isinstance(x, Mapping):
        return laws.columns_of(law, {a: c for a, c in x.items() if a in wanted})
    if isinstance(x, tuple) and len(x) == 2 and set(wanted) <= {"N", "D"}:
        return laws.columns_of(law, {a: c for a, c in zip(("N", "D"), x, strict=True) if a in wanted})
    if x is None and wanted == ["x"]:  # what the other laws of one argument take
        others = {_only(other) for other in candidates} - {""}
        if len(others) == 1:
            return {"x": others.pop()}
    return laws.columns_of(law, x)


def _only(law: LawFunction) -> str:
    """The default column of a law of one argument."""
    columns = list(laws.LAWS[law].columns.values()) if law in laws.LAWS else []
    return columns[0] if len(columns) == 1 else ""


def suited_law(table: pd.DataFrame, y: str = "in_domain_entropy") -> Callable[..., Any]:
    """The law that fits a table best, of those that suit its columns; :func:`choose_law` also says how clearly."""
    return choose_law(table, y).law


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
    """Fit a law of size under each count of the parameters; one row for each count, named in words.

    Columns: ``least`` and ``most`` N, those of :func:`drscale.laws.intervals.law_table`, and those of
    :func:`drscale.laws.intervals.hold_out` for the largest size. ``counts`` names columns in words; ``options`` go to
    :func:`drscale.laws.fit.fit_law`.
    """
    rows = laws.done(table)
    fits = {words: laws.fit_law(table, law, c, y, warn=False, single=False, **options) for c, words in counts.items()}
    held = [trust.hold_out(table, law, c, y, warn=False, **options).drop(columns=c) for c in counts]
    found = trust.law_table(fits).rename(columns={"name": "counted"})
    found[["least", "most"]] = [(rows[c].min(), rows[c].max()) for c in counts]
    return pd.concat([found, pd.concat(held, ignore_index=True)], axis=1).set_index("counted")


def stacked(table: pd.DataFrame, counts: Mapping[str, str] = COUNTS) -> pd.DataFrame:
    """The table once for each count, one below the other: the number in ``N``, the words in ``counted``."""
    return pd.concat([table.assign(N=table[c], counted=words) for c, words in counts.items()], ignore_index=True)
