"""The published numbers, complete and as printed, doubts kept; and the verdicts on the prose, each computed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from drscale.analysis import budget, claims, laws, published
from drscale.analysis.known import FAILS, HOLDS, OPEN, Known, equal, more, say, spread

DATA = ROOT / "data" / "published"
READINGS = ["M=3.47e4", "M=3.47e5", "M=5.47e5"]


@pytest.fixture(scope="module")
def verdicts() -> pd.DataFrame:
    return claims.verdicts()


def verdict(frame: pd.DataFrame, claim: str, case: str) -> str:
    rows = frame[(frame["claim"] == claim) & frame["case"].str.contains(case, regex=False)]
    assert len(rows) == 1, (claim, case, list(rows["case"]))
    return str(rows.iloc[0]["verdict"])


# The laws


def test_all_tables_are_there():
    table = published.laws()
    liu = table[table["source"].str.startswith("Liu")]
    assert liu.groupby("table").size().to_dict() == {"1": 4, "2": 4, "3": 4, "4": 6}
    assert table[table["source"].str.startswith("Fang")].groupby("seen").size().to_dict() == {
        "paper": 5,
        "secondary": 3,
    }
    assert liu["page"].tolist() == ["4"] * 8 + ["6"] * 4 + ["8"] * 6
    sound = table[table["reading"] == ""]
    assert sound["name"].is_unique
    assert set(table["law"]) == {"size_law", "data_law", "joint_law"}
    assert table["note"].str.startswith("SECONDARY").equals(table["seen"] == "secondary")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("size/msmarco/ood", {"M": 3.70e4, "mu": 0.55, "delta": 0.05}),
        ("size/t2ranking/effectiveness", {"M": 1.12e7, "mu": 0.48, "delta": 0.07}),
        ("data/msmarco/effectiveness", {"B": 3.71e3, "eta": 1.11, "delta": 0.05}),
        ("data/t2ranking/ood", {"B": 1.93e5, "eta": 0.51, "delta": 0.12}),
        ("size/adversarial/robustness", {"M": 6.94e5, "mu": 1.14, "delta": 0.22}),
        ("size/adversarial/effectiveness", {"M": 8.34e5, "mu": 0.87, "delta": 0.38}),
        ("data/adversarial/robustness", {"B": 2.81e3, "eta": 0.80, "delta": 0.07}),
        ("data/adversarial/effectiveness", {"B": 3.74e3, "eta": 0.87, "delta": 0.28}),
        ("joint/standard/robustness", {"M": 2.11e3, "mu": 0.10, "B": 2.99e3, "eta": 0.78, "delta": 0.01}),
        ("joint/pareto/robustness", {"M": 1.96e4, "mu": 0.25, "B": 2.57e3, "eta": 0.80, "delta": 0.02}),
        ("joint/pareto/effectiveness", {"M": 8.34e5, "mu": 0.57, "B": 2.17e3, "eta": 1.38, "delta": 0.03}),
        ("fang-v1/size/msmarco", {"M": 4.54e4, "mu": 0.46, "delta": 0.02}),
        ("fang-v1/data/msmarco", {"B": 2.37e-2, "eta": 0.19, "delta": 0.01}),
        ("fang-v1/joint/msmarco", {"M": 8.2e5, "mu": 0.57, "B": 5.2e3, "eta": 1.39, "delta": 0.03}),
        ("fang-v2/joint/msmarco", {"M": 3.6e4, "mu": 0.56, "B": 7.1e3, "eta": 1.31, "delta": 0.03}),
    ],
)
def test_a_published_law_is_a_curve(name, values):
    curve = published.curve(name)
    assert curve.values == values
    assert curve.law is {3: laws.size_law if "M" in values else laws.data_law, 5: laws.joint_law}[len(values)]
    assert curve.draws is None
    assert ("SECONDARY" in curve.source) == name.startswith("fang-v2")


def test_the_boxes_are_those_of_the_setting():
    assert published.curve("joint/pareto/robustness").box == {"N": (5e5, 8.2e7), "D": (3e4, 4.8e5)}
    assert published.curve("size/msmarco/ood").box == {"N": (5e5, 8.2e7)}
    assert published.curve("data/t2ranking/ood").box == {"D": (3e4, 4.8e5)}
    assert published.curve("size/t2ranking/ood").box == {}


def test_laws_agree_with_what_the_papers_figures_need():
    """Values worked out by hand at the ends of the ranges."""
    assert published.curve("data/msmarco/ood")(D=[3e4, 4.8e5]) == pytest.approx([0.281, 0.100], abs=5e-4)
    assert published.curve("data/msmarco/effectiveness")(D=[3e4, 4.8e5]) == pytest.approx([0.148, 0.0545], abs=5e-4)
    assert published.curve("size/msmarco/ood")(N=8.2e7) == pytest.approx(0.064, abs=5e-4)
    assert published.curve("size/t2ranking/ood")(N=8.6e7) == pytest.approx(1.21, abs=5e-3)


def test_the_damaged_row_is_never_chosen_silently():
    name = "joint/standard/effectiveness"
    with pytest.raises(ValueError, match=r"is damaged and can be read as M=3.47e4, M=3.47e5, M=5.47e5; say which"):
        published.curve(name)
    with pytest.raises(ValueError, match=r"reading='3.47e4': the printed row"):
        published.curve(name, "3.47e4")
    assert [published.curve(name, r).values["M"] for r in READINGS] == [3.47e4, 3.47e5, 5.47e5]
    others = [{k: v for k, v in published.curve(name, r).values.items() if k != "M"} for r in READINGS]
    assert others == [{"mu": 0.58, "B": 2.14e3, "eta": 1.10, "delta": 0.04}] * 3
    assert published.curve(name, READINGS[0]).name == "joint/standard/effectiveness (M=3.47e4)"


def test_wrong_names_and_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="name='joint': no such published law; there are size/msmarco/ood"):
        published.curve("joint")
    with pytest.raises(ValueError, match="reading='M=1': size/msmarco/ood has one reading"):
        published.curve("size/msmarco/ood", "M=1")
    with pytest.raises(ValueError, match="its delta is not known to us, see its note: SECONDARY"):
        published.curve("fang-v2/data/msmarco")
    with pytest.raises(ValueError, match=r"no tables_1_2.csv there; the published tables are in data/published"):
        published.laws(tmp_path)
    with pytest.raises(ValueError, match="table=6: allowed are 2, 3, 4, 5, 8, 9, 10, 11"):
        published.dragon(6)


@pytest.mark.parametrize(
    ("printed", "half"),
    [("0.55", 0.005), ("3.70e4", 50), ("0.10", 0.005), ("24", 0.5), ("3.22e-8", 5e-11), ("2e3", 500)],
)
def test_what_rounding_leaves_open(printed, half):
    assert published.half_unit(printed) == pytest.approx(half)


def test_rounded_laws_hold_all_corners():
    curve = published.rounded("joint/pareto/robustness")
    assert len(curve.draws) == 32
    assert sorted(set(curve.draws["M"])) == pytest.approx([1.955e4, 1.965e4])
    assert sorted(set(curve.draws["mu"])) == pytest.approx([0.245, 0.255])
    assert set(published.all_rounded()["joint/standard/effectiveness"]) == set(READINGS)
    assert "fang-v2/data/msmarco" not in published.all_rounded()


# DRAGON


@pytest.mark.parametrize(("table", "rows"), [(2, 24), (3, 8), (4, 432), (5, 8), (8, 6), (9, 24), (10, 7), (11, 72)])
def test_the_dragon_tables_are_whole(table, rows):
    assert len(published.dragon(table)) == rows


def test_dragon_averages_are_those_printed():
    """The single numbers of Table 4 give its printed means, so none was misread by more than rounding hides."""
    t = published.dragon(4).pivot_table(index="set", columns="model", values="value", sort=False)
    sets = list(dict.fromkeys(published.dragon(4).query("group == 'BEIR'")["set"]))
    assert len(sets) == 18
    # PTR reports 11 of the 13, BEIR-18 has all.
    for mean, members in (
        ("BEIR-13", sets[:13]),
        ("BEIR-18", sets),
        ("PTR-11", [s for s in sets[:13] if s not in ("Quora", "NQ")]),
    ):
        own = t.loc[members].mean(skipna=False)
        both = pd.DataFrame({"own": own, "printed": t.loc[mean]}).dropna()
        assert len(both) >= 13
        assert np.abs(both["own"] - both["printed"]).max() < 0.12, both


def test_dragon_tables_agree_where_they_overlap():
    four = published.dragon(4).set_index(["set", "metric", "model"])["value"]
    five = published.dragon(5).query("column == '0'").set_index("set")["value"]
    assert five["BEIR-13"] == four["BEIR-13", "nDCG@10", "DRAGON-S"] == 49.8
    assert five["MARCO Dev"] == four["MARCO Dev", "RR@10", "DRAGON-S"] == 38.1
    pooled = published.dragon(11).query("topic == 'pooled'")
    for row in pooled.itertuples():
        assert four[row.queries.capitalize(), "Success@5", row.model] == row.value
    two = published.dragon(2).query("of == 'student'").set_index(["supervision", "teacher", "set"])["value"]
    nine = published.dragon(9).query("of == 'student' and iteration == 3").set_index(["supervision", "set"])["value"]
    assert nine["progressive", "BEIR-13"] == two["progressive", "all three", "BEIR-13"] == 49.3
    assert (nine["uniform", "BEIR-13"], two["uniform", "all three", "BEIR-13"]) == (47.6, 47.7)  # the paper's own slip
    three = published.dragon(3).query("row == 0").set_index("set")["value"]
    eight = published.dragon(8).query("top_k == 10").set_index("set")["value"]
    assert three["BEIR-13"] == eight["BEIR-13"] == 49.3
    ten = published.dragon(10).set_index("what")
    assert ten.loc["passages in corpus", "number"] == 8_841_823


def test_dragon_marks_what_cannot_be_compared():
    four = published.dragon(4)
    starred = four[four["comparable"] == "no"]
    assert set(starred["model"]) == {"RocketQAv2", "COT-MAE", "coCondenser"}
    assert set(starred["group"]) == {"MS MARCO"}
    assert four.query("model == 'PTR' and set == 'NQ'")["value"].isna().all()
    assert four.query("model == 'DRAGON+'")["family"].unique().tolist() == ["ours"]


# Numbers with rounding


def test_known_numbers_carry_their_range():
    a, b = Known(2.0, 1.9, 2.1), Known(1.0, 0.9, 1.1)
    assert (a - b) == Known(1.0, pytest.approx(0.8), pytest.approx(1.2))
    assert (a / b).low == pytest.approx(1.9 / 1.1)
    assert str(a) == "2 [1.9, 2.1]"
    assert str(Known(12_300.0, 1e4, 2e4)) == "12.3K [10K, 20K]"
    assert spread(2.0, [1.5, 3.0]) == Known(2.0, 1.5, 3.0)
    assert say({"a": a, "": b}) == "a: 2 [1.9, 2.1]; 1 [0.9, 1.1]"


def test_a_verdict_needs_all_readings():
    above, below, across = Known(2, 1.5, 3), Known(0.5, 0.2, 0.9), Known(1, 0.5, 2)
    assert more([above], 1) == HOLDS
    assert more([above, above], 1) == HOLDS
    assert more([below], 1) == FAILS
    assert more([across], 1) == OPEN
    assert more([above, below], 1) == OPEN
    assert equal([across], 1) == HOLDS
    assert equal([above], 1) == FAILS
    assert equal([above, below], 1) == OPEN
    assert equal([above, across], 1) == OPEN
    assert equal([Known(1.05, 1.05, 1.05)], 1, 0.1) == HOLDS
    assert equal([Known(1.2, 1.15, 1.25)], 1, 0.1) == FAILS


# The verdicts


@pytest.mark.parametrize(
    ("claim", "case", "expected"),
    [
        ("size-sensitivity", "MS MARCO, fall in nats", FAILS),
        ("size-sensitivity", "MS MARCO, exponent", OPEN),
        ("size-sensitivity", "T2Ranking, exponent", HOLDS),
        ("data-sensitivity", "MS MARCO, fall in nats", HOLDS),
        ("data-sensitivity", "MS MARCO, exponent", FAILS),
        ("higher-floor", "MS MARCO", OPEN),
        ("higher-floor", "T2Ranking", HOLDS),
        ("equal-floors", "MS MARCO, ood", FAILS),
        ("equal-floors", "MS MARCO, effectiveness", HOLDS),
        ("shared-corner", "MS MARCO, ood", FAILS),
        ("shared-corner", "MS MARCO, effectiveness", HOLDS),
        ("shared-corner", "floor as printed", FAILS),
        ("shared-corner", "floor read as 0.096", FAILS),
        ("shared-corner", "T2Ranking, effectiveness", HOLDS),
        ("shared-corner", "adversarial training, effectiveness", FAILS),
        ("checkpoints", "", FAILS),
        ("largest-size", "BERT-base", HOLDS),
        ("ten-percent", "standard, robustness", FAILS),
        ("ten-percent", "standard, effectiveness", OPEN),
        ("joint-exponent", "standard training", OPEN),
        ("sum-of-laws", "Table 1 + Table 2", FAILS),
        ("shared-towers", "one tower", OPEN),
        ("price-constants", "encoding", HOLDS),
        ("affordable", "$5,000", FAILS),
        ("in-range", "$5,000, cheapest", FAILS),
        ("in-range", "$10,000, standard, effectiveness", FAILS),
        ("earlier", "$5,000, standard", FAILS),
        ("earlier", "$5,000, Pareto", HOLDS),
        ("larger-models", "robustness: best size of Pareto / of standard at $5,000", FAILS),
        ("larger-models", "effectiveness: best size of Pareto / of standard at $5,000", HOLDS),
        ("efficiency", "effectiveness: best size", OPEN),
        ("efficiency", "robustness: money", FAILS),
        ("better-unscaled", "robustness", HOLDS),
        ("better-unscaled", "effectiveness", FAILS),
        ("worth-scaling", "robustness", HOLDS),
    ],
)
def test_verdicts(verdicts, claim, case, expected):
    assert verdict(verdicts, claim, case) == expected


def test_every_claim_is_tested_and_rests_on_numbers(verdicts):
    prose = pd.read_csv(DATA / "prose.csv")
    assert set(verdicts["claim"]) == set(prose["claim"]) == set(claims.TESTS)
    assert set(verdicts["verdict"]) == {HOLDS, FAILS, OPEN}
    assert verdicts["numbers"].str.contains(r"\d").all()


def test_the_numbers_are_the_known_ones(verdicts):
    """The inconsistencies worked out by hand beforehand come out again."""

    def numbers(claim: str, case: str) -> str:
        rows = verdicts[(verdicts["claim"] == claim) & verdicts["case"].str.contains(case, regex=False)]
        return str(rows.iloc[0]["numbers"])

    assert numbers("efficiency", "effectiveness: best size").startswith("M=3.47e4: 4.718 ")
    assert "M=3.47e5: 2.158 " in numbers("efficiency", "effectiveness: best size")
    assert "M=5.47e5: 1.851 " in numbers("efficiency", "effectiveness: best size")
    assert "28.27" in numbers("ten-percent", "standard, robustness")
    assert "11,629 parameters" in numbers("affordable", "$5,000")
    assert "$18,000" in numbers("in-range", "cheapest")
    assert "82.24" in numbers("largest-size", "")


def test_verdicts_are_reported_as_text(verdicts):
    said = claims.report(verdicts, "checkpoints", "larger-models").splitlines()
    assert said[0] == (
        "checkpoints (Sections 2.2 and 3.1): the BERT checkpoints are as many in the setting as in the size law"
    )
    assert said[1] == "  does not hold      setting: 24; size law: 19"
    assert len(said) == 2 + 5
    assert said[3].startswith("  does not hold      robustness: best size of Pareto / of standard at $5,000:  0.4723 [")
    assert len(claims.report(verdicts).splitlines()) == len(verdicts) + verdicts["claim"].nunique()
    with pytest.raises(ValueError, match="claims: no claim 'sizes'; there are size-sensitivity"):
        claims.report(verdicts, "sizes")


def copy(folder: Path) -> Path:
    shutil.copytree(DATA, folder / "published")
    return folder / "published"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, text.count(old)
    path.write_text(text.replace(old, new))


def test_verdicts_follow_the_tables(tmp_path):
    """Were the tables other ones, the verdicts would be: no verdict is written down anywhere."""
    folder = copy(tmp_path)
    edit(folder / "tables_1_2.csv", "in_domain,3.48e4,0.55,0.05,0.998", "in_domain,9.48e4,0.65,0.05,0.998")
    edit(folder / "tables_1_2.csv", "ood,4.34e3,0.83,0.08", "ood,4.34e3,0.83,0.05")
    edit(folder / "table_4.csv", "joint,1.96e4,0.25,2.57e3,0.80", "joint,1.96e4,0.08,2.57e3,0.80")
    edit(folder / "prose.csv", "24;19", "24;24")
    edit(folder / "prose.csv", 'of its first tries",', 'of its first tries",0.31;0.32')
    edit(folder / "prose.csv", '",0.6;3.22e-8;0.43', '",0.6;3.22e-8;0.53')
    found = claims.verdicts(folder)
    assert verdict(found, "size-sensitivity", "MS MARCO, fall in nats") == HOLDS
    assert verdict(found, "equal-floors", "MS MARCO, ood") == HOLDS
    assert verdict(found, "better-unscaled", "robustness") == FAILS
    assert verdict(found, "checkpoints", "") == HOLDS
    assert verdict(found, "shared-towers", "one tower") == FAILS
    assert verdict(found, "price-constants", "encoding") == FAILS


def test_a_claim_without_a_test_is_an_error(tmp_path):
    folder = copy(tmp_path)
    edit(folder / "prose.csv", "checkpoints,", "chequepoints,")
    with pytest.raises(ValueError, match=r"prose.csv: checkpoints, chequepoints must stand both there"):
        claims.verdicts(folder)


def test_the_budgets_optimum_agrees_with_the_verdicts(verdicts):
    plan = budget.allocate(published.curve("joint/pareto/effectiveness"), 5e3, claims.FREE)
    row = verdicts[(verdicts["claim"] == "in-range") & (verdicts["case"] == "$5,000, Pareto, effectiveness")].iloc[0]
    assert row["numbers"] == f"N = {plan.N / 1e9:.2f}G, D = {plan.D / 1e3:.2f}K"
    assert plan.flags
