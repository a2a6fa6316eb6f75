"""The exponent of a size law depends on which parameters are counted."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT

from drscale.laws import compare as counts
from drscale.laws import fit as laws
from drscale.laws import intervals as trust
from drscale.runs import RunStore


def study():
    return RunStore(ROOT / "data/runs/docs-standard").table().query("pairs == 0")


def test_a_law_planted_in_one_count_is_found_in_that_count_and_steeper_or_flatter_in_the_others():
    table = study()
    rng = np.random.default_rng(0)
    y = laws.size_law(table[counts.PAPER], M=3e4, mu=0.6, delta=1.5) * (1 + 0.002 * rng.standard_normal(len(table)))
    found = counts.by_count(table.assign(y=y), "y")
    assert found.index.tolist() == list(counts.COUNTS.values())
    here = found.loc[counts.COUNTS[counts.PAPER]]
    assert here["exponent"] == pytest.approx(0.6, rel=0.03)
    assert here[["least", "most"]].tolist() == [table[counts.PAPER].min(), table[counts.PAPER].max()]
    assert found.loc["transformer layers", "exponent_high"] < 0.6 < found.loc["all that is trained", "exponent_low"]
    assert found["exponent"].is_monotonic_increasing, "the more that does not grow with width is counted"


def test_each_row_is_the_fit_and_the_hold_out_of_its_count():
    table = study()
    row = counts.by_count(table, "ood_entropy").loc["all that is trained"]
    fit = laws.fit_law(table, laws.size_law, "params_trainable", "ood_entropy", warn=False)
    assert row["exponent"] == pytest.approx(fit.best_values["mu"])
    missed = trust.hold_out(table, laws.size_law, "params_trainable", "ood_entropy", warn=False)
    assert row["error"] == pytest.approx(missed["error"].item())


def test_stacked_has_the_table_once_for_each_count():
    table = study()
    long = counts.stacked(table)
    assert len(long) == len(counts.COUNTS) * len(table)
    assert sorted(long.loc[long["counted"] == "transformer layers", "N"]) == sorted(table["params_layers"])


def test_the_readme_quotes_the_exponents_with_their_counts():
    found = counts.by_count(study())["exponent"].map("{:.2f}".format).str.removeprefix("0")
    said = " ".join((ROOT / "README.md").read_text().split())
    assert f"in-domain {found['transformer layers']} by layers, {found[counts.COUNTS[counts.PAPER]]} with" in said
    assert f"{found['all that is trained']} by all that is trained" in said
