"""Laws side by side: the criterion by hand, folds that leave out what they say, cuts that only look ahead."""

import numpy as np
import pandas as pd
import pytest

from drscale.analysis import laws
from drscale.analysis.compare import compare, leave_one_out, rolling

SIZES = np.repeat(np.geomspace(1e4, 1e7, 8), 2)


def planted(noise: float = 0.01, seed: int = 0) -> pd.DataFrame:
    luck = 1 + noise * np.random.default_rng(seed).standard_normal(len(SIZES))
    loss = laws.size_law(SIZES, 2e4, 0.4, 1.5) * luck
    return pd.DataFrame({"params_layers": SIZES, "in_domain_entropy": loss, "status": "done"})


def line(N, level, slope):
    """A straight line in log N, which a size law is not."""
    return level - slope * np.log10(N)


STARTS = {line: {"level": 4.0, "slope": 0.4}}


def test_the_law_that_was_planted_wins_and_aicc_is_the_formula():
    table = planted()
    found = compare(table, [laws.size_law, line], {"N": "params_layers"}, starts=STARTS).set_index("law")
    assert found["delta_aicc"].idxmin() == "size_law"
    assert found.loc["size_law", "delta_aicc"] == 0
    assert found["weight"].sum() == pytest.approx(1)
    assert found.loc["size_law", ["leave_one_out", "rolling"]].lt(found.loc["line", ["leave_one_out", "rolling"]]).all()
    for law, name in ((laws.size_law, "size_law"), (line, "line")):
        result = laws.fit(
            table, law, {"N": "params_layers"}, warn=False, **({"start": STARTS[law]} if law in STARTS else {})
        )
        predicted = result.eval(N=SIZES)
        r = predicted / table["in_domain_entropy"] - 1  # the residual of a relative fit
        n, k = len(r), (3 if law is laws.size_law else 2) + 1
        assert found.loc[name, "aicc"] == pytest.approx(n * np.log((r**2).mean()) + 2 * k * n / (n - k - 1), abs=1e-6)


def test_a_fold_never_sees_what_it_predicts():
    table = planted()
    clean = leave_one_out(table, laws.size_law)
    assert len(clean) == 8
    assert clean["runs"].eq(2).all()
    broken = table.copy()
    broken.loc[broken["params_layers"] == SIZES[6], "in_domain_entropy"] *= 3
    again = leave_one_out(broken, laws.size_law)
    hit = np.isclose(again["params_layers"], SIZES[6])
    assert again.loc[hit, "predicted"].to_numpy() == pytest.approx(clean.loc[hit, "predicted"].to_numpy(), rel=1e-9)
    assert again.loc[hit, "error"].to_numpy() == pytest.approx((1 + clean.loc[hit, "error"]) / 3 - 1, rel=1e-6)
    assert not np.allclose(again.loc[~hit, "predicted"], clean.loc[~hit, "predicted"], rtol=1e-3)


def test_rolling_only_looks_ahead():
    table = planted()
    clean, broken = rolling(table, laws.size_law), table.copy()
    largest = broken["params_layers"] == SIZES[-1]
    broken.loc[largest, "in_domain_entropy"] *= 2
    assert (clean["params_layers"].dropna() > clean["cut"][clean["params_layers"].notna()]).all()
    again = rolling(broken, laws.size_law)
    assert again["predicted"].to_numpy() == pytest.approx(clean["predicted"].to_numpy(), rel=1e-9, nan_ok=True)
    assert clean["note"].ne("").any()  # too few levels below the first cuts
    assert clean.loc[clean["note"].ne(""), "error"].isna().all()


def test_a_cut_holds_out_and_laws_that_cannot_be_fitted_say_why():
    table = planted().assign(train_pairs=1000)
    found = compare(table, [laws.size_law, laws.joint_law], above={"N": SIZES[-3]}).set_index("law")
    assert 0 < found.loc["size_law", "holdout"] < 0.1
    assert "not fitted" in found.loc["joint_law", "note"]
    assert np.isnan(found.loc["joint_law", "aicc"])
    assert found.loc["size_law", "weight"] == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((planted(), ["size_law"]), r"law='size_law': a function is needed, one of laws\.size_law"),
        (("runs.csv", [laws.size_law]), "table='runs.csv': a DataFrame is needed"),
        ((planted(), []), "at least one law"),
    ],
)
def test_names_and_paths_in_the_place_of_laws_and_tables_are_named(given, said):
    with pytest.raises(ValueError, match=said):
        compare(*given)
