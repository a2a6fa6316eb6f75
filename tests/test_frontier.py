"""Fronts against pymoo's and brute force, probabilities against arithmetic, contours against planted ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from drscale.evaluate.entropy import interval
from drscale.frontier import contour_lines as contours
from drscale.frontier import dominance as frontier
from drscale.recipe import Recipe
from drscale.runs import StoreWarning
from drscale.stats import bootstrap as resample
from drscale.stats.tables import non_dominated

SETS = json.loads((ROOT / "tests" / "reference" / "pymoo.json").read_text())["sets"]
# Whole numbers, so that ties and twins abound.
POINTS = hnp.arrays(float, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 6).map(float))


def runs_at(points: Any, **columns: Any) -> pd.DataFrame:
    """A table of runs with the given values of x and y."""
    p = np.asarray(points, dtype=float)
    return pd.DataFrame({"x": p[:, 0], "y": p[:, 1], **columns})


def by_force(p: np.ndarray) -> np.ndarray:
    """Non-dominated by the definition."""
    return np.array([not any((q <= r).all() and (q < r).any() for q in p) for r in p])


def on_front(points: Any, **options: Any) -> list[bool]:
    return frontier.front(runs_at(points), "x", "y", **options)["on_front"].tolist()


# Fronts


@pytest.mark.parametrize("case", SETS, ids=lambda c: f"{len(c['points'])}x{len(c['reference'])}-{c['volume']:.3g}")
def test_layers_and_volumes_are_pymoos(case):
    points, layers = np.array(case["points"]), np.array(case["layers"])
    assert (non_dominated(points) == (layers == 1)).all()
    assert frontier.hypervolume(points, case["reference"]) == pytest.approx(case["volume"], rel=1e-12)
    if points.shape[1] == 2:
        assert frontier.front(runs_at(points), "x", "y")["layer"].tolist() == layers.tolist()


@given(POINTS)
def test_the_front_is_what_the_definition_says(points):
    assert (non_dominated(points) == by_force(points)).all()
    with_a_third_axis = np.column_stack([points, points[:, 0]])
    assert (non_dominated(with_a_third_axis) == by_force(points)).all()


@given(hnp.arrays(float, (3, 4, 2), elements=st.integers(0, 4).map(float)))
def test_many_draws_at_once_are_each_on_its_own(draws):
    found = non_dominated(draws)
    assert (found == np.array([by_force(d) for d in draws])).all()


@given(POINTS, st.floats(0.1, 5), st.floats(-3, 3))
def test_a_rising_change_of_an_axis_leaves_the_front(points, stretch, shift):
    changed = np.column_stack([np.exp(stretch * points[:, 0]) + shift, points[:, 1] ** 3])
    assert on_front(points) == on_front(changed)


@given(POINTS)
def test_higher_is_better_turns_an_axis(points):
    assert on_front(points, better="higher") == on_front(-points)
    assert on_front(points, better=("lower", "higher")) == on_front(points * [1, -1])


def test_only_runs_that_are_done_count_and_order_and_index_stay():
    table = runs_at([(3, 3), (1, 1), (2, 2)], status=["done", "failed", "done"]).set_index(pd.Index([7, 8, 9]))
    found = frontier.front(table, "x", "y")
    assert found.index.tolist() == [7, 9]
    assert found["layer"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ({"y": [1.0, np.nan]}, {}, "no number in row 1"),
        ({"y": ["a", "b"]}, {}, "not numbers"),
        ({"status": ["failed", "failed"]}, {}, "none is done"),
        ({}, {"better": "least"}, "better='least'"),
        ({}, {"better": ("lower",)}, "each of 2 axes"),
        ({}, {"pool": "seed"}, "no column 'key'"),
        ({}, {"pool": ["size"]}, "no column 'size'"),
    ],
)
def test_what_has_no_front_is_refused(change, options, said):
    table = runs_at([(1, 2), (2, 1)]).assign(**change)
    with pytest.raises(ValueError, match=said):
        frontier.front(table, "x", "y", **options)


def test_a_missing_column_names_those_that_are_there():
    with pytest.raises(ValueError, match="no column 'ood_entropy'; it has x, y"):
        frontier.front(runs_at([(1, 2)]), "x")


def test_runs_of_different_texts_warn():
    table = runs_at([(1, 2), (2, 1)], fingerprint=["a", "b"])
    with pytest.warns(StoreWarning, match="2 different text fingerprints"):
        frontier.front(table, "x", "y")
    assert len(frontier.front(table, "x", "y", warn=False)) == 2


# Hypervolume


@given(POINTS, st.integers(0, 11), st.floats(0, 3), st.floats(0, 3))
def test_a_dominated_point_adds_no_volume(points, which, right, up):
    worse = points[which % len(points)] + [right, up]
    before, after = (frontier.hypervolume(p, [7, 8]) for p in (points, np.vstack([points, worse])))
    assert after == pytest.approx(before, abs=1e-9)


@given(POINTS)
def test_volume_in_two_axes_counts_the_squares_behind(points):
    grid = np.stack(np.meshgrid(np.arange(9) + 0.5, np.arange(9) + 0.5), -1).reshape(-1, 2)
    inside = (grid[grid < [8, 9]].size > 0) & (grid < [8, 9]).all(1)
    behind = (points[None] <= grid[:, None]).all(2).any(1) & inside
    assert frontier.hypervolume(points, [8, 9]) == pytest.approx(behind.sum())


@given(POINTS, st.integers(0, 5))
def test_volume_in_three_axes_is_area_times_height(points, height):
    solid = np.column_stack([points, np.full(len(points), float(height))])
    expected = frontier.hypervolume(points, [7, 7]) * (7 - height)
    assert frontier.hypervolume(solid, [7, 7, 7]) == pytest.approx(expected)


def test_volumes_of_many_draws_at_once():
    draws = np.random.default_rng(0).uniform(size=(5, 7, 3))
    found = frontier.hypervolume(draws, [0.9, 0.9, 0.9])
    assert found == pytest.approx([float(frontier.hypervolume(d, [0.9, 0.9, 0.9])) for d in draws])
    turned = frontier.hypervolume(1 - draws, [0.1, 0.1, 0.1], better="higher")
    assert turned == pytest.approx(found)
    with pytest.raises(ValueError, match="2 or 3 axes"):
        frontier.hypervolume(draws, [1, 1])
    for points, reference in (([[0, np.nan]], [1, 1]), ([[0, -np.inf]], [1, 1]), ([[0, 0]], [1, np.inf])):
        with pytest.raises(ValueError, match="every number must be finite"):
            frontier.hypervolume(points, reference)


# Probability


def with_intervals(points: Any, half: float, **columns: Any) -> pd.DataFrame:
    table = runs_at(points, **columns)
    return table.assign(**{f"{c}_{e}": table[c] + s * half for c in "xy" for e, s in (("low", -1), ("high", 1))})


@given(POINTS)
@settings(max_examples=30)
def test_without_spread_the_probability_is_the_front(points):
    found = frontier.probability_on_front(with_intervals(points, 0.0), "x", "y", n_boot=10)
    assert (found["probability"] == found["on_front"]).all()


@given(POINTS, st.floats(0.01, 5))
@settings(max_examples=30)
def test_some_run_is_always_on_the_front(points, half):
    total = frontier.probability_on_front(with_intervals(points, half), "x", "y", n_boot=50)["probability"].sum()
    assert 1 - 1e-9 <= total <= len(points) + 1e-9


def test_two_runs_by_hand():
    # Each axis: the difference has a spread of sqrt(2) half / 1.96, and the second run is worse by just that.
    half = 1.0
    spread = np.sqrt(2) * half / resample.HALF_WIDTH
    table = with_intervals([(0, 0), (spread, spread)], half)
    found = frontier.probability_on_front(table, "x", "y", n_boot=40_000)["probability"]
    better = 0.8413447  # a normal variable below one spread
    assert found.tolist() == pytest.approx([1 - (1 - better) ** 2, 1 - better**2], abs=4 * 0.5 / 200)


def asked(runs: dict[str, float], n: int = 300, domains: tuple[str, ...] = ("numpy", "scipy")) -> pd.DataFrame:
    """Per-query rows: what a query costs is common to all runs, what a run adds is its own constant."""
    rng, frames = np.random.default_rng(1), []
    for scope in ("in_domain", *(f"ood:{d}" for d in domains)):
        hard, positives = rng.gamma(2.0, 1.0, n), rng.integers(1, 4, n)
        for key, more in runs.items():
            frames.append(
                pd.DataFrame({"query": [f"q{i}" for i in range(n)], "positives": positives, "entropy": hard + more})
                .assign(scope=scope, key=key, condition="clean", ndcg10=1 / (1 + hard + more))
                .sample(frac=1, random_state=len(frames))
            )
    return pd.concat(frames, ignore_index=True)


def of_queries(queries: pd.DataFrame) -> pd.DataFrame:
    """The table of the runs behind per-query rows, as the records have it."""
    rows = []
    for key, mine in queries.groupby("key"):
        row: dict[str, Any] = {"key": key}
        for scope, part in (("in_domain", "in_domain"), ("ood", "ood:")):
            for metric in ("entropy", "ndcg10"):
                groups = list(mine[mine["scope"].str.startswith(part)].groupby("scope"))
                weights = {s: g["positives"].to_numpy() for s, g in groups} if metric == "entropy" else None
                m = interval({str(s): g[metric].to_numpy() for s, g in groups}, weights)
                names = ("", "_low", "_high")
                row |= {f"{scope}_{metric}{e}": v for e, v in zip(names, (m.mean, m.low, m.high), strict=True)}
        rows.append(row)
    return pd.DataFrame(rows)


def test_drawing_queries_gives_the_records_means_and_intervals():
    queries = asked({"a": 0.0, "b": 0.5})
    table, columns = of_queries(queries), ["in_domain_entropy", "ood_entropy", "ood_ndcg10"]
    values = resample.resampled(table, columns, queries)
    assert values.shape == (2000, 2, 3)
    spread = (table[[f"{c}_high" for c in columns]].to_numpy() - table[[f"{c}_low" for c in columns]].to_numpy()) / 3.92
    assert (np.abs(values.mean(axis=0) - table[columns].to_numpy()) < 0.15 * spread).all()
    assert values.std(axis=0) == pytest.approx(spread, rel=0.1)


def test_runs_answer_the_same_queries():
    queries = asked({"a": 0.0, "b": 0.01})
    table = of_queries(queries)
    paired = frontier.probability_on_front(table, rows=queries)
    assert paired["probability"].tolist() == [1, 0]  # worse by a little, but on every query
    apart = frontier.probability_on_front(table)["probability"]
    assert apart[1] > 0.5
    values = resample.resampled(table, ("in_domain_entropy", "ood_entropy"), queries)
    assert values[:, 1] - values[:, 0] == pytest.approx(np.full((2000, 2), 0.01))


def test_two_metrics_of_one_scope_share_their_draw():
    queries = asked({"a": 0.0})
    queries["twice"] = queries["ndcg10"] * 2
    values = resample.resampled(of_queries(queries), ("in_domain_ndcg10", "in_domain_twice"), queries)
    assert values[..., 1] == pytest.approx(2 * values[..., 0])


def attacked_too(queries: pd.DataFrame, every: int) -> pd.DataFrame:
    """The same with every so many queries at home attacked, which costs each of them 0.25."""
    number = queries["query"].str[1:].astype(int)
    chosen = queries[(queries["scope"] == "in_domain") & (number % every == 0)]
    after = chosen.assign(scope="adversarial", condition="attacked", entropy=chosen["entropy"] + 0.25)
    return pd.concat([queries, chosen.assign(scope="adversarial:clean"), after], ignore_index=True)


def test_a_query_counts_alike_in_all_scopes_of_its_collection():
    """What is the same on every query does not vary between scopes; a part of the queries varies with the whole."""
    queries, n = asked({"a": 0.0, "b": 0.1}).assign(positives=1), 300
    columns = ("in_domain_entropy", "adversarial_entropy", "adversarial:clean_entropy", "ood_entropy")
    all_of_them = attacked_too(queries, 1)
    values = resample.resampled(of_queries(queries), columns, all_of_them)
    assert np.ptp(values[..., 1] - values[..., 0]) < 1e-12
    some = attacked_too(queries, 5)
    values = resample.resampled(of_queries(queries), columns, some)
    assert np.ptp(values[..., 1] - values[..., 2]) < 1e-12
    # The mean of a fifth of the queries shares the variance of that fifth: r = sqrt(1 / 5), the fifth alike.
    home, part, _, abroad = values[:, 0].T
    own = some.loc[(some["scope"] == "adversarial") & (some["key"] == "a"), "entropy"].std()
    whole = some.loc[(some["scope"] == "in_domain") & (some["key"] == "a"), "entropy"].std()
    expected = own / whole / np.sqrt(5)
    assert np.corrcoef(home, part)[0, 1] == pytest.approx(expected, abs=0.1)
    assert part.std() == pytest.approx(own / np.sqrt(n / 5), rel=0.1)
    assert abs(np.corrcoef(home, abroad)[0, 1]) < 0.08


def test_a_scope_of_a_single_query_is_drawn_whenever_its_collection_is():
    some = attacked_too(asked({"a": 0.0}, n=20), 20)
    values = resample.resampled(of_queries(some), ("in_domain_entropy", "adversarial_entropy"), some)
    assert np.isfinite(values).all()
    assert np.ptp(values[..., 1]) == 0


def test_what_cannot_be_paired_or_is_not_there_is_refused():
    rows = [("in_domain", 6, "clean"), ("adversarial", 4, "attacked"), ("adversarial:clean", 4, "clean")]
    parts = [
        pd.DataFrame({"key": "a", "query": range(n), "scope": s, "entropy": 1.0, "condition": c}) for s, n, c in rows
    ]
    table = pd.DataFrame({"key": ["a"], **{f"{s}_entropy": [1.0] for s, *_ in rows}})
    with pytest.raises(ValueError, match="'in_domain_entropy' and 'adversarial_entropy' are not measured on the same"):
        resample.paired_change(table, pd.concat(parts), "in_domain_entropy", "adversarial_entropy")
    with pytest.raises(ValueError, match="no column 'adversarial:alone_entropy'"):
        resample.paired_change(table, pd.concat(parts), "adversarial_entropy", "adversarial:alone_entropy")
    with pytest.raises(ValueError, match="no column 'rung'"):
        resample.compare_with(table, pd.concat(parts), ["in_domain_entropy"])


def test_runs_without_a_base_may_lack_what_is_compared():
    queries = asked({"a": 0.0, "b": 0.5})
    table = of_queries(queries).assign(rung="S", strategy=["standard", "hard"], status="done")
    lost = table.iloc[[1, 1]].assign(key=["x", "y"], rung=["XL", "S"], status=["done", "failed"])
    found = resample.compare_with(pd.concat([table, lost]), queries, ["ood_entropy"], on=["rung"])
    assert found["key"].tolist() == ["b"]


def test_strategies_are_held_against_the_standard_run_of_their_size():
    queries = asked({"a": 0.0, "b": 0.5, "c": -0.2, "d": 0.1})
    where = {"a": ("S", "standard"), "b": ("L", "standard"), "c": ("S", "hard"), "d": ("XL", "hard")}
    table = of_queries(queries)
    table = table.assign(rung=[where[k][0] for k in table["key"]], strategy=[where[k][1] for k in table["key"]])
    found = resample.compare_with(table, queries, ["in_domain_entropy", "ood_entropy"], on=["rung"])
    assert found["key"].tolist() == ["c", "c"]  # XL has no standard run, standard runs are not held against others
    assert found["column"].tolist() == ["in_domain_entropy", "ood_entropy"]
    mine, base = (table.set_index("key").loc[k, "in_domain_entropy"] for k in "ca")
    assert found.loc[0, "change"] == pytest.approx(mine - base)
    assert found.loc[0, "low"] <= found.loc[0, "change"] <= found.loc[0, "high"]
    row = found.iloc[1]
    shown = resample.side_by_side(found, "rung").loc["S", "ood_entropy"]
    assert shown == f"{row['change']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    with pytest.raises(ValueError, match="index='strategy': several runs have the same"):
        resample.side_by_side(pd.concat([found, found]), "strategy")
    with pytest.raises(ValueError, match="several runs of it agree in strategy"):
        resample.compare_with(table, queries, ["ood_entropy"], on=["strategy"])
    with pytest.raises(ValueError, match="no other run agrees"):
        resample.compare_with(table.iloc[:2], queries, ["ood_entropy"], on=["rung"])


def test_the_change_by_an_attack_is_paired_query_by_query():
    rng = np.random.default_rng(3)
    hard = rng.normal(3, 1, 400)  # queries differ far more than the attack does
    parts = {"adversarial:clean": hard, "adversarial": hard + 0.05 + 0.01 * rng.standard_normal(400)}
    parts["adversarial:alone:clean"], parts["adversarial:alone"] = hard / 3, hard / 3 + 0.2
    rows = [
        pd.DataFrame({"key": "a", "query": [f"q{i}" for i in range(400)], "scope": scope, "entropy": values}).assign(
            condition="clean" if scope.endswith("clean") else "attacked"
        )
        for scope, values in parts.items()
    ]
    table = pd.DataFrame({"key": ["a"], **{f"{s}_entropy": [v.mean()] for s, v in parts.items()}}, index=[7])
    queries = pd.concat(rows)
    found = resample.paired_change(table, queries, "adversarial:clean_entropy", "adversarial_entropy").loc[7]
    assert found["change"] == pytest.approx(found["after"] - found["before"])
    assert found["low"] < found["change"] < found["high"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 0.01 / 20, rel=0.25)
    alone = resample.paired_change(table, queries, "adversarial:alone:clean_entropy", "adversarial:alone_entropy")
    assert alone.loc[7, ["low", "change", "high"]].tolist() == pytest.approx([0.2, 0.2, 0.2])


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda q: q.drop(index=q.index[0]), r"stands 0 times for run"),
        (lambda q: pd.concat([q, q.iloc[:1]]), r"stands 2 times for run"),
        (lambda q: q[q["key"] == "a"], r"stands 0 times for run 'b'"),
        (lambda q: q[q["scope"] == "in_domain"], "no query of scope 'ood'"),
        (lambda q: q.drop(columns="entropy"), "no column 'entropy'"),
        (lambda q: q.drop(columns="scope"), "no column scope"),
        (lambda q: q.assign(condition="attacked"), "no query of scope"),
        (
            lambda q: q.assign(entropy=q["entropy"].where(q.index != 2)),
            "entropy=nan for query .* of run 'a': every query",
        ),
        (lambda q: q.assign(entropy=np.inf), "entropy=inf for query"),
    ],
)
def test_queries_that_do_not_fit_are_refused(break_it, said):
    queries = asked({"a": 0.0, "b": 0.5}, n=5)
    table = of_queries(queries)
    with pytest.raises(ValueError, match=said):
        frontier.probability_on_front(table, rows=break_it(queries))


def test_a_column_without_a_scope_has_no_queries():
    queries = asked({"a": 0.0}, n=5)
    with pytest.raises(ValueError, match="column 'loss': no scope"):
        frontier.probability_on_front(of_queries(queries).assign(loss=1.0), "loss", rows=queries)


def test_without_anything_to_draw_from_there_is_no_probability():
    with pytest.raises(ValueError, match="give queries, intervals, or seeds to pool"):
        frontier.probability_on_front(runs_at([(1, 2), (2, 1)]), "x", "y")
    with pytest.raises(ValueError, match="n_boot=5: at least 10"):
        frontier.probability_on_front(with_intervals([(1, 2)], 1), "x", "y", n_boot=5)
    with pytest.raises(ValueError, match="the wrong way round"):
        frontier.probability_on_front(with_intervals([(1, 2)], -1), "x", "y")


def test_the_adversarial_scope_is_what_the_attack_left():
    queries = asked({"a": 0.0, "b": 0.5})
    clean = queries[queries["scope"] == "in_domain"].assign(scope="adversarial")
    attacked = clean.assign(condition="attacked", entropy=clean["entropy"] + 2)
    table = of_queries(queries).assign(adversarial_entropy=0.0)
    values = resample.resampled(
        table,
        ("in_domain_entropy", "adversarial_entropy"),
        pd.concat([queries, clean, attacked, queries.assign(condition="attacked", entropy=9.0)]),
    )
    assert (values[..., 1] - values[..., 0]).mean() == pytest.approx(2, abs=0.02)
    assert values[..., 0].mean() < 4


def test_columns_can_be_taken_together():
    queries = asked({"a": 0.0, "b": 0.5})
    table = of_queries(queries)
    both = resample.mean_of_columns(table, ("in_domain_entropy", "ood_entropy"))
    name = "in_domain_entropy+ood_entropy"
    assert both[name].tolist() == pytest.approx((0.5 * (table["in_domain_entropy"] + table["ood_entropy"])).tolist())
    half = [0.5 * (table[f"{c}_high"] - table[f"{c}_low"]) for c in ("in_domain_entropy", "ood_entropy")]
    width = 0.5 * (both[f"{name}_high"] - both[f"{name}_low"])
    assert width.tolist() == pytest.approx((0.5 * np.hypot(*half)).tolist(), rel=0.05)
    parts = resample.resampled(table, ("in_domain_entropy", "ood_entropy"), queries)
    values = resample.resampled(both, (name, "ood_entropy"), queries)
    assert values[..., 0] == pytest.approx(parts.mean(axis=-1))
    assert values[..., 1] == pytest.approx(parts[..., 1])
    assert frontier.probability_on_front(both, y=name, rows=queries)["probability"].tolist() == [1, 0]
    with pytest.raises(ValueError, match="no column 'loss'"):
        resample.mean_of_columns(table, ("ood_entropy", "loss"))


# Seeds


def seeds(values: dict[str, list[tuple[float, float]]]) -> pd.DataFrame:
    keys = [str(Recipe(rung=r, seed=i)) for r, points in values.items() for i in range(len(points))]
    return runs_at([p for points in values.values() for p in points], key=keys)


def test_the_seeds_of_a_recipe_become_its_mean():
    table = seeds({"L2H128": [(1, 5), (3, 7)], "L2H64": [(2, 2)]}).sample(frac=1, random_state=1)
    found = frontier.front(table, "x", "y", pool="seed").set_index("key")
    assert sorted(found.index) == [str(Recipe(rung="L2H128")), str(Recipe(rung="L2H64"))]
    assert found.loc[str(Recipe(rung="L2H128")), ["x", "y", "runs"]].tolist() == [2, 6, 2]
    assert found["on_front"].tolist() == (found["runs"] == 1).tolist()
    by_column = frontier.front(table.assign(size=table["key"].str.contains("128")), "x", "y", pool="size")
    assert sorted(by_column["x"]) == [2, 2]


def test_the_mean_of_drawn_seeds_scatters_as_a_mean_of_seeds_does():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4, 2))
    table = seeds({"L2H128": points.tolist()})
    values = resample.resampled(table, ("x", "y"), pool="seed", n_boot=20_000)
    assert values.shape == (20_000, 1, 2)
    assert values.mean(axis=0)[0] == pytest.approx(points.mean(axis=0), abs=0.02)
    assert values.std(axis=0)[0] == pytest.approx(points.std(axis=0, ddof=1) / 2, rel=0.03)
    # A seed is drawn with both its axes.
    covariance = np.cov(points.T)[0, 1] / 4
    assert np.cov(values[:, 0].T)[0, 1] == pytest.approx(covariance, abs=0.02)


def test_seeds_alone_can_say_how_sure_a_front_is():
    table = seeds({"L2H128": [(1, 1), (3, 3)], "L2H64": [(2.5, 2.5), (2.5, 2.5)]})
    found = frontier.probability_on_front(table, "x", "y", pool="seed").set_index("key")["probability"]
    assert found.tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    assert found.sum() == pytest.approx(1)


# Distance


def test_distances_by_hand():
    front = runs_at([(1, 3), (2, 1)])
    table = runs_at([(1, 3), (2, 1), (1.5, 4), (3, 2), (2.2, 3.1), (1.5, 2), (0, 0), (0, 9)])
    found = frontier.distance(table, front, "x", "y", unit="raw")
    expected = [0, 0, 0.5, 1, np.hypot(0.2, 0.1), -0.5, -np.hypot(2, 1), -1]
    assert found.tolist() == pytest.approx(expected)


@given(POINTS, POINTS)
def test_the_distance_is_the_way_to_the_edge(points, others):
    table, front = runs_at(points), runs_at(others)
    found = frontier.distance(table, front, "x", "y", unit="raw").to_numpy()
    behind = (others[None] <= points[:, None]).all(2).any(1)
    assert ((found >= 0) == behind).all()
    # Every point of a fine grid that lies on the other side is at least that far away.
    grid = np.stack(np.meshgrid(np.arange(-2, 9, 0.5), np.arange(-2, 9, 0.5)), -1).reshape(-1, 2)
    dominated = (others[None] <= grid[:, None]).all(2).any(1)
    for p, d, side in zip(points, found, behind, strict=True):
        across = grid[dominated != side]
        nearest = np.linalg.norm(across - p, axis=1).min()
        assert abs(d) <= nearest + 1e-9
        assert nearest <= abs(d) + 0.5 * np.sqrt(2) + 1e-9


@given(POINTS, st.floats(0.1, 10), st.floats(0.1, 10))
def test_units_do_not_matter_in_logarithms_or_shares_of_the_range(points, a, b):
    points = points + 1
    table, changed = runs_at(points), runs_at(points * [a, b])
    same = frontier.distance(table, None, "x", "y").to_numpy()
    assert frontier.distance(changed, None, "x", "y").to_numpy() == pytest.approx(same, abs=1e-9)
    assert frontier.distance(runs_at(1 / points), None, "x", "y", better="higher").to_numpy() == pytest.approx(same)
    if np.ptp(points, axis=0).all():
        same = frontier.distance(table, None, "x", "y", unit="range").to_numpy()
        assert frontier.distance(changed, None, "x", "y", unit="range").to_numpy() == pytest.approx(same, abs=1e-9)


def test_a_run_of_the_front_is_no_way_from_it():
    table = runs_at(np.random.default_rng(0).uniform(1, 2, (20, 2)))
    found = frontier.front(table, "x", "y")
    assert ((frontier.distance(table, None, "x", "y") == 0) == found["on_front"]).all()


@pytest.mark.parametrize(
    ("points", "unit", "said"),
    [([(0, 1)], "log", "above zero"), ([(1, 1)], "range", "do not differ"), ([(1, 1)], "inch", "unit='inch'")],
)
def test_a_unit_that_does_not_apply_is_refused(points, unit, said):
    with pytest.raises(ValueError, match=said):
        frontier.distance(runs_at(points), None, "x", "y", unit=unit)


# The ratio at the front


def test_both_readings_of_the_ratio():
    table = with_intervals([(1, 3), (1.4, 2), (4, 1.5)], 1e-9)
    found = frontier.ratio_at_front(table, "x", "y").set_index("reading")
    assert found["run"].tolist() == [1, 1]  # 1.4 * 2 is the least product
    rho = 2 / 1.4
    assert found["omega_0"].tolist() == pytest.approx([rho, rho / (1 + rho)])
    assert found["target"].tolist() == pytest.approx([1 / rho, 1 + 1 / rho])
    assert found["start"].tolist() == pytest.approx([1, rho / (1 + rho)])
    leaning = frontier.ratio_at_front(table, "x", "y", weight=0.9).set_index("reading")
    assert leaning.loc["ratio", "omega_0"] == pytest.approx(1.5 / 4)
    for weight, best in ((0, 3), (1, 1.5 / 4)):  # one axis alone
        alone = frontier.ratio_at_front(table, "x", "y", weight=weight).set_index("reading")
        assert alone.loc["ratio", "omega_0"] == pytest.approx(best)


def test_the_ratio_has_an_interval_and_is_of_a_run_on_the_front():
    table = with_intervals(np.random.default_rng(0).uniform(1, 3, (30, 2)), 0.2)
    found = frontier.ratio_at_front(table, "x", "y").iloc[0]
    assert found["low"] < found["omega_0"] < found["high"]
    assert frontier.front(table, "x", "y").loc[found["run"], "on_front"]


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (with_intervals([(-1, 1)], 0.1), {}, "above zero"),
        (with_intervals([(0, 1)], 0.1), {}, "losses above zero are needed for their ratio"),
        (with_intervals([(1, 1)], 40), {}, "reach below zero"),
        (with_intervals([(1, 1)], 0.1), {"weight": 2}, "weight=2"),
        (with_intervals([(1, 1)], 0.1), {"level": 1}, "level=1"),
    ],
)
def test_no_ratio_without_losses(table, options, said):
    with pytest.raises(ValueError, match=said):
        frontier.ratio_at_front(table, "x", "y", **options)


# Contours


def planted(
    noise: float = 0.0, k: float = 0.8, t0: float = 0.5, leans: Any = (-0.2, 0.1, 0.4, 0.8, 1.1), seed: int = 0
) -> pd.DataFrame:
    """Synthetic: strategies at three sizes, each size on its own contour, a little better than the last."""
    rng, frames = np.random.default_rng(seed), []
    for i, size in enumerate((1e6, 4e6, 1.6e7)):
        t = np.array(leans, dtype=float)
        s = -0.8 + 0.3 * i - k * (t - t0) ** 2 + noise * rng.standard_normal(len(t))
        names = [f"strategy {j}" for j in range(len(t))]
        frames.append(runs_at(np.exp(-np.column_stack([s + t / 2, s - t / 2])), params_layers=size, strategy=names))
    return pd.concat(frames, ignore_index=True)


def test_a_planted_contour_comes_back():
    found = contours.contours(planted(), "params_layers", "x", "y")
    assert found["s0"].tolist() == pytest.approx([-0.8, -0.5, -0.2])
    assert found["t0"].tolist() == pytest.approx([0.5] * 3)
    assert found["curvature"].tolist() == pytest.approx([0.8] * 3)
    assert found["ratio"].tolist() == pytest.approx([np.exp(0.5)] * 3)
    assert (found["y"] / found["x"]).tolist() == pytest.approx([np.exp(0.5)] * 3)
    assert np.sqrt(found["x"] * found["y"]).tolist() == pytest.approx(np.exp([0.8, 0.5, 0.2]).tolist())
    assert found["rms"].max() < 1e-12
    assert (found["r2"] > 1 - 1e-9).all()
    assert (found["note"] == "").all()


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_contour_needs_no_reference_point(a, b):
    table = planted(0.05)
    one = contours.contours(table, "params_layers", "x", "y")
    two = contours.contours(table.assign(x=a * table["x"], y=b * table["y"]), "params_layers", "x", "y")
    for name in ("curvature", "rms", "r2"):
        assert two[name].tolist() == pytest.approx(one[name].tolist())
    for name, factor in (("x", a), ("y", b), ("ratio", b / a), ("ratio_low", b / a), ("ratio_high", b / a)):
        assert two[name].tolist() == pytest.approx((factor * one[name]).tolist())


def test_scores_are_losses_turned_round():
    table = planted(0.02)
    one = contours.contours(table, "params_layers", "x", "y")
    two = contours.contours(1 / table[["x", "y"]].assign(p=1 / table["params_layers"]), "p", "x", "y", better="higher")
    assert two["t0"].tolist() == pytest.approx(one["t0"].tolist())
    assert two["x"].tolist() == pytest.approx((1 / one["x"]).tolist())


def test_the_interval_of_the_ratio_holds_the_truth_as_often_as_it_says():
    tables = [planted(0.03, seed=i).assign(study=i) for i in range(200)]
    found = contours.contours(pd.concat(tables), ("study", "params_layers"), "x", "y", level=0.9)
    held = (found["ratio_low"] <= np.exp(0.5)) & (np.exp(0.5) <= found["ratio_high"])
    assert len(found) == 600
    assert 0.86 < held.mean() < 0.94


def test_seeds_of_a_strategy_are_one_point():
    table = planted()
    twice = pd.concat([table.assign(x=table["x"] * f) for f in (0.9, 1.1)])
    found = contours.contours(twice, "params_layers", "x", "y", strategy="strategy")
    assert found["points"].tolist() == [5, 5, 5]
    assert found["ratio"].tolist() == pytest.approx([np.exp(0.5)] * 3)


def test_what_cannot_be_a_contour_says_why():
    few = contours.contours(planted(leans=(0, 0.5, 1)), "params_layers", "x", "y")
    assert few["note"].str.startswith("3 of 4 different leans").all()
    assert few[["s0", "ratio", "rms"]].isna().all(axis=None)
    wrong = contours.contours(planted(k=-0.5), "params_layers", "x", "y")
    assert wrong["note"].str.contains("bend away").all()
    assert wrong["ratio"].isna().all()
    beyond = contours.contours(planted(t0=2.0), "params_layers", "x", "y")
    assert beyond["note"].str.contains("extrapolated").all()
    vague = contours.contours(planted(0.05, k=0.1), "params_layers", "x", "y").query("curvature > 0")
    assert len(vague)
    assert vague["note"].str.contains("not certain").all()
    assert np.isinf(vague["ratio_high"]).all()
    assert contours.trace(few).empty


def test_the_drawn_curve_is_the_contour_and_its_front_is_convex():
    found = contours.contours(planted(), "params_layers", "x", "y")
    curve = contours.trace(found, 400, widen=0.5)
    assert curve["params_layers"].nunique() == 3
    for _, part in curve.groupby("params_layers"):
        front = part[part["front"]]
        order = np.argsort(front["x"].to_numpy())
        x, y = front["x"].to_numpy()[order], front["y"].to_numpy()[order]
        slopes = np.diff(y) / np.diff(x)
        assert (slopes < 0).all()
        assert (np.diff(slopes) > 0).all()
        # Nothing outside the marked part is on the front.
        assert (non_dominated(part[["x", "y"]].to_numpy()) == part["front"].to_numpy()).mean() > 0.98
        assert part["extrapolated"].mean() == pytest.approx(0.5, abs=0.02)
    assert (curve["t"].min(), curve["t"].max()) == pytest.approx((-0.2 - 0.65, 1.1 + 0.65))


def test_how_much_a_run_falls_short():
    table = planted()
    found = contours.contours(table, "params_layers", "x", "y")
    behind = contours.shortfall(table, found, "x", "y")
    lean = np.tile([-0.2, 0.1, 0.4, 0.8, 1.1], 3)
    assert behind.tolist() == pytest.approx((0.8 * (lean - 0.5) ** 2).tolist())
    assert (behind.index == table.index).all()
    missing = contours.shortfall(table.assign(params_layers=5.0), found, "x", "y")
    assert missing.isna().all()


# Direction


def moving(noise: float, gains: dict[str, tuple[float, float]], seed: int = 0, n: int = 8) -> pd.DataFrame:
    """Synthetic: strategies whose two losses fall as powers of the size."""
    rng, frames = np.random.default_rng(seed), []
    size = np.repeat(np.geomspace(1e6, 1e8, n // 2), 2)
    for name, (a, b) in gains.items():
        points = np.column_stack([3 * size**-a, 5 * size**-b]) * np.exp(noise * rng.standard_normal((n, 2)))
        frames.append(runs_at(points, params_layers=size, strategy=name))
    return pd.concat(frames, ignore_index=True)


def test_directions_come_back():
    gains = {"both": (0.2, 0.2), "effect": (0.3, 0.0), "robust": (0.1, 0.3), "worse": (-0.1, 0.1)}
    found = contours.scaling_direction(moving(0.0, gains), x="x", y="y").set_index("strategy")
    assert found["angle"].to_dict() == pytest.approx(
        {n: np.degrees(np.arctan2(b, a)) for n, (a, b) in gains.items()}, abs=1e-6
    )
    assert found["gain_x"].to_dict() == pytest.approx({n: a for n, (a, _) in gains.items()})
    assert (found["high"] - found["low"]).max() < 1e-6
    assert found["off"].to_dict() == pytest.approx({n: found.loc[n, "angle"] - 45 for n in gains})


def test_the_interval_of_the_angle_holds_the_truth_as_often_as_it_says():
    tables = [moving(0.2, {f"{i}": (0.1, 0.2)}, seed=i) for i in range(500)]
    found = contours.scaling_direction(pd.concat(tables), x="x", y="y", level=0.9)
    truth = np.degrees(np.arctan2(0.2, 0.1))
    assert found["low"].notna().mean() > 0.95
    known = found.dropna(subset=["low"])
    assert 0.86 < ((known["low"] <= truth) & (truth <= known["high"])).mean() < 0.94


def test_where_nothing_moves_the_direction_is_open():
    gains = {f"still {i}": (0.0, 0.0) for i in range(50)}
    found = contours.scaling_direction(moving(0.2, gains), x="x", y="y")
    is_open = found["low"].isna()
    assert is_open.mean() > 0.7
    assert (found["note"].str.contains("open") == is_open).all()
    few = contours.scaling_direction(moving(0.2, {"few": (0.1, 0.1)}, n=2), x="x", y="y").iloc[0]
    assert "2 runs at 1 levels" in few["note"]


def test_the_normal_is_that_of_the_contours_where_a_strategy_stands():
    table = planted()
    fitted = contours.contours(table, "params_layers", "x", "y")
    found = contours.scaling_direction(table, x="x", y="y", fitted=fitted, warn=False).set_index("strategy")
    assert found["angle"].tolist() == pytest.approx([45] * 5)  # planted: all strategies gain alike
    curve = contours.trace(fitted, 2000).query("params_layers == 1e6")
    g = -np.log(curve[["x", "y"]].to_numpy())
    for name, lean in (("strategy 0", -0.2), ("strategy 2", 0.4), ("strategy 4", 1.1)):
        i = int(np.clip(np.argmin(np.abs(curve["t"].to_numpy() - lean)), 1, len(g) - 2))
        tangent = g[i + 1] - g[i - 1]
        normal = np.radians(found.loc[name, "normal"])
        assert tangent @ [np.cos(normal), np.sin(normal)] == pytest.approx(0, abs=2e-3 * np.linalg.norm(tangent))
    # Towards the robust end of a front the way square to it points more to robustness.
    assert found["normal"].is_monotonic_decreasing


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t: contours.contours(t, "rung", "x", "y"), "no column 'rung'"),
        (lambda t: contours.contours(t, "strategy", "x", "y", level=2), "level=2"),
        (lambda t: contours.contours(t.assign(x=-1.0), "strategy", "x", "y"), "values above zero"),
        (lambda t: contours.scaling_direction(t.assign(params_layers=0), x="x", y="y"), "along='params_layers'"),
        (lambda t: contours.scaling_direction(t, x="x", y="y", level=0), "level=0"),
    ],
)
def test_contours_refuse_what_they_cannot_use(call, said):
    with pytest.raises(ValueError, match=said):
        call(planted())


def test_directions_warn_where_something_else_changes_too():
    table = moving(0.1, {"both": (0.2, 0.2)}).assign(pairs=[1, 2, 1, 2, 1, 2, 1, 2])
    with pytest.warns(StoreWarning, match="2 different .*'pairs'"):
        contours.scaling_direction(table, x="x", y="y")


def test_a_volume_of_unequal_sides():
    assert frontier.hypervolume([[0, 0, 0]], [1, 2, 3]) == pytest.approx(6)


def test_the_ratios_interval_leaves_out_as_much_on_either_side():
    table = with_intervals([(1.0, 2.0)], 0.2)
    wide, narrow = (frontier.ratio_at_front(table, "x", "y", level=v, n_boot=20_000).iloc[0] for v in (0.9, 0.5))
    draws = np.random.default_rng(1).normal([1, 2], 0.2 / 1.96, (200_000, 2))  # their intervals are of 95%
    for found, level in ((wide, 0.9), (narrow, 0.5)):
        share = [(draws[:, 1] / draws[:, 0] < found[end]).mean() for end in ("low", "high")]
        assert share == pytest.approx([0.5 - level / 2, 0.5 + level / 2], abs=0.015)
