"""Equivalent sizes and pairs: planted factors come back, intervals hold them, and what cannot be told is left open."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from drscale.laws import fit as laws
from drscale.laws.equivalents import equivalent, worth

SIZES = np.array([4e3, 7e3, 15e3, 26e3, 60e3])
PAIRS = np.array([1e3, 2e3, 4e3, 8e3])
SIZE = {"M": 1.4e4, "mu": 0.45, "delta": 1.5}
BOTH = {"M": 8e3, "mu": 0.45, "B": 150.0, "eta": 0.4, "delta": 1.4}


def world(times: float, noise: float = 0.0, seed: int = 0, seeds: int = 3, sizes: np.ndarray = SIZES) -> pd.DataFrame:
    """Standard runs on a size law, and runs of one strategy that do what ``times`` as large ones would."""
    rng = np.random.default_rng(seed)
    rows = [
        (name, 0.5, n, laws.size_law(n * k, **SIZE) * (1 + noise * rng.standard_normal()))
        for name, k in (("standard", 1.0), ("denoising", times))
        for n in sizes
        for _ in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["strategy", "share", "params_layers", "in_domain_entropy"])


def grid(times_n: float, times_d: float, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """The same on a grid of sizes and amounts; ``hard`` is worth a factor in size, ``more`` one in pairs."""
    rng = np.random.default_rng(seed)
    rows = [
        (name, share, n, d, laws.additive_law(n * a, d * b, **BOTH) * (1 + noise * rng.standard_normal()))
        for name, share, a, b in (("standard", 0.5, 1, 1), ("hard", 0.25, times_n, 1), ("more", 0.5, 1, times_d))
        for n in SIZES[:4]
        for d in PAIRS
        for _ in range(2)
    ]
    return pd.DataFrame(rows, columns=["strategy", "share", "params_layers", "train_pairs", "ood_calibrated"])


def standard(table: pd.DataFrame) -> pd.DataFrame:
    return table.query("strategy == 'standard'")


def test_a_planted_size_comes_back_exactly() -> None:
    table = world(2.5)
    rows = equivalent(table, laws.fit_law(standard(table), laws.size_law, warn=False))
    assert list(rows["strategy"]) == ["denoising"] * 5 + ["standard"] * 5
    assert rows.query("strategy == 'denoising'")["times"].to_numpy() == pytest.approx(2.5, rel=1e-4)
    assert rows.query("strategy == 'standard'")["times"].to_numpy() == pytest.approx(1.0, rel=1e-4)
    assert list(rows["runs"]) == [3] * 10
    assert rows["equivalent"].to_numpy() == pytest.approx(rows["times"] * rows["params_layers"])
    assert list(rows.query("strategy == 'denoising'")["extrapolated"]) == [False, False, False, True, True]


def test_both_arguments_of_a_law_of_two_come_back() -> None:
    table = grid(3.0, 0.5)
    rows = equivalent(table, laws.fit_law(standard(table), laws.additive_law, y="ood_calibrated", warn=False))
    for strategy, along, times in (("hard", "N", 3.0), ("more", "D", 0.5), ("standard", "N", 1.0)):
        mine = rows[(rows["strategy"] == strategy) & (rows["along"] == along)]
        assert len(mine) == 16
        assert mine["times"].to_numpy() == pytest.approx(times, rel=1e-3)
        own = mine["params_layers" if along == "N" else "train_pairs"]
        assert (mine["own"] == own).all()
    for strategy, along, times in (("hard", "N", 3.0), ("more", "D", 0.5)):
        some = table[table["strategy"].isin(["standard", strategy])]
        (row,) = worth(some, laws.additive_law, y="ood_calibrated", along=along).to_dict("records")
        assert row["times"] == pytest.approx(times, rel=1e-2)
        assert (row["strategy"], row["along"], row["cells"], row["better"]) == (strategy, along, 16, times > 1)


def test_under_noise_the_intervals_hold_the_planted_factor() -> None:
    cells, factors = [], []
    for seed in range(20):
        table = world(1.6, noise=0.02, seed=seed)
        rows = equivalent(table, laws.fit_law(standard(table), laws.size_law, warn=False))
        mine = rows.query("strategy == 'denoising'")
        cells += list(mine["times_low"].le(1.6) & mine["times_high"].ge(1.6))
        (k,) = worth(table, laws.size_law).to_dict("records")
        factors.append(k["low"] <= 1.6 <= k["high"])
        assert k["low"] <= k["times"] <= k["high"]
    assert 0.9 <= np.mean(cells) <= 1.0
    assert 0.85 <= np.mean(factors) <= 1.0


def test_more_seeds_narrow_the_interval_and_noise_widens_it() -> None:
    def width(noise: float, seeds: int) -> float:
        table = world(1.6, noise=noise, seed=1, seeds=seeds)
        rows = equivalent(table, laws.fit_law(standard(table), laws.size_law, warn=False))
        middle = rows.query("strategy == 'denoising' and params_layers == 15000")
        return float(np.log(middle["high"] / middle["low"]).iloc[0])

    assert width(0.005, 3) < width(0.02, 3)
    assert width(0.02, 12) < width(0.02, 3)


def test_what_lies_below_the_floor_has_no_end_and_what_is_hopeless_no_beginning() -> None:
    table = world(1.0, noise=0.01)
    own = table["strategy"] == "denoising"
    fit = laws.fit_law(standard(table), laws.size_law, warn=False)
    better = equivalent(table.assign(in_domain_entropy=np.where(own, 0.5, table["in_domain_entropy"])), fit)
    assert np.isinf(better.query("strategy == 'denoising'")[["times", "times_low", "times_high"]]).all(axis=None)
    worse = equivalent(table.assign(in_domain_entropy=np.where(own, 500.0, table["in_domain_entropy"])), fit)
    assert (worse.query("strategy == 'denoising'")[["times", "times_low", "times_high"]] == 0).all(axis=None)
    even = equivalent(world(1e3, noise=0.02), fit).query("strategy == 'denoising'")
    assert np.isinf(even["times_high"]).any()  # near the floor the law cannot say how large


def test_a_size_that_nothing_tells_is_open_and_undecided() -> None:
    table = world(1.0, noise=0.05, seed=3, sizes=SIZES[:4])
    (row,) = worth(table, laws.size_law).to_dict("records")
    assert row["better"] is None or pd.isna(row["better"])
    assert row["low"] < 1 < row["high"]


def test_other_counts_tell_other_sizes() -> None:
    table = world(4.0).assign(params_fang=lambda t: t["params_layers"] ** 0.5)
    (row,) = worth(table, laws.size_law, "params_fang").to_dict("records")
    assert row["times"] == pytest.approx(2.0, rel=1e-2)


def test_what_cannot_be_compared_is_refused() -> None:
    table = grid(2.0, 2.0)
    of_size = laws.fit_law(standard(table).query("train_pairs == 8000"), laws.size_law, y="ood_calibrated", warn=False)
    with pytest.raises(ValueError, match="4 different 'train_pairs', and the law is of 'params_layers' alone"):
        equivalent(table, of_size)
    with pytest.raises(ValueError, match="along='M': allowed are N"):
        equivalent(table.query("train_pairs == 8000"), of_size, "M")
    with pytest.raises(ValueError, match="no column 'strategie'"):
        equivalent(table.query("train_pairs == 8000"), of_size, by=["strategie"])
    with pytest.raises(ValueError, match="no run of the table is one"):
        worth(table, laws.additive_law, y="ood_calibrated", base="strategy == 'none'")
    with pytest.raises(ValueError, match="nothing to compare"):
        worth(standard(table), laws.additive_law, y="ood_calibrated")
    with pytest.raises(ValueError, match="along='M'"):
        worth(table, laws.additive_law, y="ood_calibrated", along="M")
