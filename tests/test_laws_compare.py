"""Laws side by side: the criterion by hand, folds that leave out what they say, cuts that only look ahead."""

import numpy as np
import pandas as pd
import pytest

from drscale.laws import fit as laws
from drscale.laws.compare import choose_law, compare_laws, leave_one_out, rolling, suited_law

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
    found = compare_laws(table, [laws.size_law, line], {"N": "params_layers"}, starts=STARTS, unit="run").set_index(
        "law"
    )
    assert found["delta_aicc"].idxmin() == "size_law"
    assert found.loc["size_law", "delta_aicc"] == 0
    assert found["weight"].sum() == pytest.approx(1)
    assert found.loc["size_law", ["leave_one_out", "rolling"]].lt(found.loc["line", ["leave_one_out", "rolling"]]).all()
    for law, name in ((laws.size_law, "size_law"), (line, "line")):
        result = laws.fit_law(
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
    found = compare_laws(table, [laws.size_law, laws.joint_law], above={"N": SIZES[-3]}).set_index("law")
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
        compare_laws(*given)


def two_counts(law, noise: float = 0.01, cross: bool = False, seeds: int = 2, seed: int = 1) -> pd.DataFrame:
    """Runs of a planted law of both counts, in all combinations or only those with the largest of either."""
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e4, 1e6, 6), np.geomspace(1e3, 3e4, 5)))
    keep = (n == n.max()) | (d == d.max()) if cross else np.ones(len(n), dtype=bool)
    n, d = np.repeat(n[keep], seeds), np.repeat(d[keep], seeds)
    y = law(n, d, 3e4, 0.5, 2e3, 0.35, 0.8) * (1 + noise * np.random.default_rng(seed).standard_normal(len(n)))
    return pd.DataFrame({"params_layers": n, "train_pairs": d, "in_domain_entropy": y})


@pytest.mark.parametrize("law", [laws.joint_law, laws.additive_law])
def test_the_law_that_made_a_table_is_chosen(law):
    chosen = choose_law(two_counts(law))
    assert chosen.decided, str(chosen)
    assert chosen.law is law is suited_law(two_counts(law))
    other = laws.rivals(law)[0].__name__
    assert str(chosen).startswith(f"{law.__name__}, decided. Lack of fit rejects {other} (p=")
    assert "Extrapolation agrees: " in str(chosen)
    assert chosen._repr_html_().count("<tr") == 3
    assert repr(chosen).startswith(str(chosen))
    assert " at 0x" not in repr(chosen), "an address in memory tells nobody anything"


@pytest.mark.parametrize("x", [("# Params", "Train pairs"), {"D": "Train pairs", "N": "# Params"}])
def test_columns_of_other_names_have_the_same_candidates(x):
    table = two_counts(laws.additive_law)
    ours = choose_law(table)
    found = choose_law(table.set_axis(["# Params", "Train pairs", "loss"], axis=1), x=x, y="loss")
    assert (found.law, found.decided, found.reasons) == (ours.law, ours.decided, ours.reasons)


def test_one_column_has_the_law_of_one_and_a_wrong_call_is_one_sentence():
    table = planted().rename(columns={"params_layers": "width"})
    assert choose_law(table, x="width").law is laws.size_law
    assert choose_law(table, x={"D": "width"}).law is laws.data_law
    with pytest.raises(ValueError, match="the table has no column 'Width'"):
        choose_law(table, x="Width")
    with pytest.raises(ValueError, match="a column, a pair of size and pairs"):
        choose_law(table, x=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"the name of a column is needed; laws are named as candidates="):
        choose_law(table, [laws.size_law], y="loss")


def test_language_models_by_the_additive_form_are_not_given_the_joint_law():
    """A newcomer's table: 25 runs of the additive form at 0.4% noise, where the joint law has an R2 of .95."""
    n, d = (v.ravel() for v in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e8, 1e10, 5)))
    y = laws.additive_law(n, d, 5e6, 0.34, 2e9, 0.28, 1.69) * (1 + 0.004 * np.random.default_rng(0).standard_normal(25))
    chosen = choose_law(pd.DataFrame({"params_layers": n, "train_pairs": d, "loss": y}), "loss")
    assert chosen.law is laws.additive_law
    assert chosen.decided
    assert chosen.compared.set_index("law").loc["additive_law", "r2"] > 0.999


@pytest.mark.parametrize("law", [laws.joint_law, laws.additive_law])
def test_a_design_without_small_models_on_few_pairs_decides_nothing(law):
    chosen = choose_law(two_counts(law, noise=0.003, cross=True))
    assert not chosen.decided
    assert str(chosen).startswith("undecided, ")
    assert "no run is near the corner where both are small" in str(chosen).lower()


def test_noise_that_hides_the_form_decides_nothing_and_a_single_law_needs_no_contest():
    noisy = choose_law(two_counts(laws.joint_law, noise=0.2))
    assert not noisy.decided
    alone = choose_law(planted())
    assert str(alone) == "size_law: the only law that suits the columns."
    with pytest.raises(
        ValueError, match="no law can be fitted to in_domain_entropy: not fitted: column 'params_layers' has"
    ):
        choose_law(planted().query("params_layers < 1e5"))


def test_level_means_are_not_fooled_by_what_the_runs_of_a_level_share():
    table = planted(noise=0.003)
    luck = 1 + 0.02 * np.random.default_rng(3).standard_normal(8)
    table["in_domain_entropy"] *= np.repeat(luck, 2)
    many = pd.concat([table] * 4, ignore_index=True)  # the same means four times over tell nothing new
    rivals = [laws.size_law, laws.broken_law]
    once, more = (compare_laws(t, rivals).set_index("law") for t in (table, many))
    assert more["aicc"].to_list() == pytest.approx(once["aicc"].to_list(), abs=1e-3, nan_ok=True)
    assert np.isfinite(once.loc["size_law", "aicc"])  # eight means are too few for the broken law's
    by_run = compare_laws(many, rivals, unit="run").set_index("law")
    assert by_run["delta_aicc"].max() > once["delta_aicc"].max() or by_run["delta_aicc"].idxmin() == "broken_law"
    assert (many.pipe(compare_laws, rivals)["lack_p"] < 1e-6).all()
