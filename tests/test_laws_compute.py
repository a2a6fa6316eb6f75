"""The compute law and isoFLOP curves on planted worlds, and the split of per-query variance into queries and seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from drscale.laws import compute
from drscale.laws.plot import compute_figure, isoflop_figure
from drscale.stats.seeds import seed_variance

SIZES = np.geomspace(1e4, 3e6, 9)
LENGTHS = (200, 400, 800, 1600, 3200, 6400)


def world(noise: float = 0.0, seed: int = 0, sizes=SIZES, lengths=LENGTHS) -> pd.DataFrame:
    """Chinchilla's sum, 6 N tokens, exponents alike: optimal size and steps both grow as the root of compute."""
    rng = np.random.default_rng(seed)
    rows = [
        (n, s, 6 * n * s, ((1e4 / n) ** 0.4 + (100 / s) ** 0.4 + 1.5) * np.exp(noise * rng.standard_normal()))
        for n in sizes
        for s in lengths
        for _ in range(2)
    ]
    return pd.DataFrame(rows, columns=["params_drscale", "steps", "flops", "in_domain_entropy"])


def test_the_envelope_of_a_planted_surface_has_its_exponent() -> None:
    law = compute.compute_law(world(noise=0.001), n_boot=60)
    frame = law.intervals.set_index(["name", "drawn"])
    # At the optimum both terms fall as C**-0.2: mu eta / (mu + eta) with mu = eta = 0.4.
    low, high = frame.loc[("alpha", "seeds and sizes"), ["low", "high"]]
    assert low < 0.2 < high
    assert frame.loc[("alpha", "seeds"), "value"] == pytest.approx(0.2, abs=0.06)
    assert (frame["low"] <= frame["value"] * 1.2).all()
    assert set(law.cells["runs"]) == {2}


def test_the_envelope_holds_nothing_that_a_cheaper_run_beats() -> None:
    rows = compute.compute_law(world(), n_boot=20).cells
    for _, row in rows.iterrows():
        cheaper = rows[rows["flops"] < row["flops"]]["in_domain_entropy"]
        beaten = (cheaper <= row["in_domain_entropy"]).any()
        same = rows[(rows["flops"] == row["flops"]) & (rows["in_domain_entropy"] < row["in_domain_entropy"])]
        assert row["on_envelope"] == (not beaten and same.empty)


def test_isoflop_finds_the_planted_optimum_and_how_it_grows() -> None:
    found = compute.isoflop(world(noise=0.001), 13, n_boot=100)
    sure = found.optima[found.optima["determined"]]
    assert len(sure) >= 3
    assert found.exponent is not None
    value, low, high = found.exponent
    assert value == pytest.approx(0.5, abs=0.1)
    assert low < value < high
    planted = np.sqrt(sure["flops"] / 6 * 100)  # N = 100 S where (1e4 / N)**.4 = (100 / S)**.4
    assert np.log(sure["optimal"] / planted).abs().median() < 0.3
    assert "have a determined minimum; the optimal size grows" in found.said


def test_where_sizes_do_not_bracket_a_minimum_nothing_is_determined() -> None:
    small = compute.isoflop(world(noise=0.001, sizes=SIZES[:4], lengths=LENGTHS[3:]), 9, n_boot=50)
    assert small.exponent is None
    assert not small.optima["determined"].any()
    assert "is not determined" in small.said
    few = compute.isoflop(world(sizes=SIZES[:3], noise=0.01), 9, n_boot=50)
    assert few.optima.empty
    assert "0 of 0 isoFLOP curves" in few.said
    wild = compute.isoflop(world(noise=0.2, seed=4), 5, n_boot=100)
    assert not wild.optima["determined"].all()


def test_a_wider_scatter_widens_the_interval_of_the_law() -> None:
    def width(noise: float) -> float:
        frame = compute.compute_law(world(noise=noise), n_boot=60).intervals
        row = frame.query("name == 'alpha' and drawn == 'seeds'").iloc[0]
        return float(row["high"] - row["low"])

    assert width(0.002) < width(0.02)


def test_what_no_compute_law_can_be_made_of_is_refused() -> None:
    with pytest.raises(ValueError, match="no size and length has two runs"):
        compute.compute_law(world().drop_duplicates(["params_drscale", "steps"]), n_boot=20)
    with pytest.raises(ValueError, match="no column 'flops'"):
        compute.cells(world().drop(columns="flops"))
    twice = world().assign(key="a")
    with pytest.raises(ValueError, match="holds run 'a' twice"):
        compute.cells(twice)
    with pytest.raises(ValueError, match="has 1 points: 4 are needed"):
        compute.compute_law(world(sizes=SIZES[:1], lengths=(200,)), n_boot=20)


def scores(seed_sd, query_sd=1.0, seeds: int = 3, queries: int = 400) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A table of runs and their per-query values with planted variances, one of ``seed_sd`` a size."""
    rng, runs, rows = np.random.default_rng(0), [], []
    for n, sd in zip(np.geomspace(1e4, 1e6, len(seed_sd)), seed_sd, strict=True):
        hard = query_sd * rng.standard_normal(queries)
        for s in range(seeds):
            key = f"{n:g},{s}"
            runs.append((key, n, "done"))
            values = 3 + hard + sd * rng.standard_normal(queries)
            rows.append(pd.DataFrame({"key": key, "scope": "in_domain", "query": range(queries), "entropy": values}))
    return pd.DataFrame(runs, columns=["key", "params_layers", "status"]), pd.concat(rows, ignore_index=True)


def test_planted_variances_come_back() -> None:
    table, queries = scores([1.0, 0.7, 0.5, 0.35])
    sizes, trend = seed_variance(table, queries, n_boot=200)
    assert sizes["seeds"].to_numpy() == pytest.approx([1.0, 0.49, 0.25, 0.1225], rel=0.12)
    assert sizes["queries"].to_numpy() == pytest.approx(np.ones(4), rel=0.2)
    held = (sizes["seeds_low"] < [1.0, 0.49, 0.25, 0.1225]) & (sizes["seeds_high"] > [1.0, 0.49, 0.25, 0.1225])
    assert held.sum() >= 3
    assert sizes["share"].to_numpy() == pytest.approx(sizes["seeds"] / (sizes["seeds"] + sizes["queries"]))
    slope = trend.set_index("what").loc["seeds"]
    assert slope["low"] < np.log(0.1225) / np.log(100) < slope["high"]
    assert slope["high"] < 0


def test_seeds_that_scatter_alike_have_no_trend() -> None:
    trend = seed_variance(*scores([0.5] * 6), n_boot=200)[1].set_index("what")
    for what in ("seeds", "of_mean"):
        assert trend.loc[what, "low"] < 0 < trend.loc[what, "high"]


def test_what_cannot_be_split_is_refused() -> None:
    table, queries = scores([0.5, 0.5, 0.5])
    with pytest.raises(ValueError, match="0 sizes have two seeds or more"):
        seed_variance(table.drop_duplicates("params_layers"), queries)
    with pytest.raises(ValueError, match="not asked the same queries once each"):
        seed_variance(table, queries.iloc[1:])
    with pytest.raises(ValueError, match="scope='ood:x'"):
        seed_variance(table, queries, scope="ood:x")
    with pytest.raises(ValueError, match="no column 'rung'"):
        seed_variance(table, queries, by=["rung"])


def test_the_figures_show_every_mean_and_only_what_is_determined() -> None:
    law = compute.compute_law(world(noise=0.001), n_boot=20)
    drawn = compute_figure(law)
    assert sum(len(t.x) for t in drawn.data[:-1]) == len(law.cells)
    full = sum(s == "circle" for t in drawn.data[:-1] for s in t.marker.symbol)
    assert full == law.cells["on_envelope"].sum()
    assert drawn.data[-1].name == "law of the envelope"
    found = compute.isoflop(world(noise=0.001), 13, n_boot=50)
    names = [t.name for t in isoflop_figure(found).data]
    assert sum(n.endswith("optimum") for n in names) == found.optima["determined"].sum()
    assert len(set(names)) - found.optima["determined"].sum() == found.points["flops"].nunique()
