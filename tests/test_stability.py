import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import bag, tiny, tiny_collection

from drscale.evaluate.ranking import METRICS
from drscale.evaluate.retrievers import Retriever, rank_scores, retriever
from drscale.plotting.files import drawn
from drscale.recipe import Recipe
from drscale.runs import Found, Run, RunStore
from drscale.stability import plot as view
from drscale.stability.measure import drop_rates, measure_stability, seed_drops, stability_of_records


def first_words(texts, seed):
    return [" ".join(t.split()[: 1 + seed]) for t in texts]


VARY = {
    "same": lambda texts, seed: texts,
    "half": lambda texts, seed: [t.split()[0] if i % 2 else t for i, t in enumerate(texts)],
    "first": first_words,
    "lost": lambda texts, seed: ["nowhere"] * len(texts),
}


@pytest.fixture(scope="module")
def rows():
    return measure_stability(retriever(bag), tiny().test, VARY, seeds=3, limit=60)


def test_clean_beside_varied_a_row_a_query_family_and_seed(rows):
    assert len(rows) == 60 * 4 * 3
    assert list(rows)[:6] == ["model", "dataset", "query", "family", "seed", "changed"]
    clean = rank_scores(retriever(bag), tiny().test, limit=60)
    for _, part in rows.groupby(["family", "seed"]):
        assert list(part["query"]) == list(clean["query"])
        for metric in METRICS:
            assert np.array_equal(part[f"{metric}_clean"], clean[metric])


def test_what_a_family_left_alone_is_said_and_loses_nothing(rows):
    same, half = (rows[rows["family"] == f] for f in ("same", "half"))
    assert not same["changed"].any()
    assert half["changed"].mean() == 0.5
    for metric in METRICS:
        left = rows[~rows["changed"]]
        assert np.array_equal(left[metric], left[f"{metric}_clean"])


def test_it_measures_the_words_that_were_asked(rows):
    texts = rank_scores(retriever(bag), tiny().test, limit=60)["query"].tolist()
    known = dict(zip(tiny().test.queries["id"].to_pylist(), tiny().test.queries["text"].to_pylist(), strict=True))
    asked = first_words([known[q] for q in texts], 1)
    direct = rank_scores(retriever(bag), tiny().test, queries=asked, limit=60)
    mine = rows[(rows["family"] == "first") & (rows["seed"] == 1)]
    assert np.array_equal(mine["ndcg10"], direct["ndcg10"])


def test_everything_is_ranked_in_one_call_and_no_wording_twice():
    calls = []
    inner = retriever(bag)

    def rank(queries, collection, depth):
        calls.append(queries)
        return inner.rank(queries, collection, depth)

    measure_stability(Retriever("counting", rank), tiny().test, VARY, seeds=3, limit=20)
    assert len(calls) == 1
    assert len(calls[0]) <= 20 * (1 + 1 + 3 + 1)  # as it is, the first word, one to three words, nowhere


def test_bm25_and_seeds_of_ones_own():
    got = measure_stability(retriever("bm25"), tiny().test, {"first": first_words}, seeds=(1999, 5), limit=10)
    assert list(got["seed"].unique()) == [1999, 5]


# --------------------------------------------------------------------------------------------------------- drop rates


def test_drop_rates_are_ratios_of_means(rows):
    rates = drop_rates(rows).set_index("family")
    assert list(rates.index) == list(VARY)
    for family, part in rows.groupby("family"):
        clean, varied = part["ndcg10_clean"].mean(), part["ndcg10"].mean()
        assert rates.loc[family, "drop"] == pytest.approx((clean - varied) / clean)
        each = [1 - p["ndcg10"].mean() / p["ndcg10_clean"].mean() for _, p in part.groupby("seed")]
        assert rates.loc[family, "seed_mean"] == pytest.approx(np.mean(each))
        assert rates.loc[family, "seed_sd"] == pytest.approx(np.std(each, ddof=1))
    same, lost = rates.loc["same"], rates.loc["lost"]
    assert (same["drop"], same["low"], same["high"], same["seed_sd"], same["changed"]) == (0, 0, 0, 0, 0)
    assert lost["drop"] > 0.9
    assert (rates["low"] <= rates["drop"]).all()
    assert (rates["drop"] <= rates["high"]).all()


SHARES = st.integers(0, 100).map(lambda n: n / 100)


@settings(max_examples=25)
@given(st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=12), st.integers(1, 3))
def test_a_drop_lies_in_its_interval_and_below_one(values, seeds):
    frame = pd.DataFrame(
        [
            {"model": "m", "dataset": "d", "query": i, "family": "f", "seed": s, "changed": True}
            | {"ndcg10_clean": c, "ndcg10": a}
            for s in range(seeds)
            for i, (c, a) in enumerate(values)
        ]
    )
    (rate,) = drop_rates(frame, n_boot=50).to_dict("records")
    if sum(c for c, _ in values) == 0:
        assert np.isnan(rate["drop"])
    else:
        assert rate["drop"] <= 1
        assert rate["low"] <= rate["high"] <= 1
        assert (rate["queries"], rate["seeds"]) == (len(values), seeds)


def made(drop, queries, seed, seeds=3):
    """Synthetic rows with a planted drop rate: what a query gets is noise about its clean value."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(0.2, 1, queries)
    parts = [
        {"query": np.arange(queries), "seed": s, "ndcg10_clean": clean}
        | {"ndcg10": clean * (1 - drop) + rng.normal(0, 0.1, queries)}
        for s in range(seeds)
    ]
    return pd.concat([pd.DataFrame(p) for p in parts]).assign(model="m", dataset="d", family="f", changed=True)


def test_the_interval_holds_a_planted_drop_as_often_as_it_says():
    many = pd.concat([made(0.15, 100, i, seeds=2).assign(model=i) for i in range(60)])
    rates = drop_rates(many, n_boot=300)
    inside = ((rates["low"] <= 0.15) & (rates["high"] >= 0.15)).sum()
    assert 51 <= inside <= 60  # 57 expected; fewer than 51 has a chance of 1 in 1,300


def test_a_pair_is_kept_together():
    (rate,) = drop_rates(made(0.0, 200, 1).assign(ndcg10=lambda f: 0.8 * f["ndcg10_clean"])).to_dict("records")
    assert rate["drop"] == pytest.approx(0.2)
    assert rate["high"] - rate["low"] < 1e-9  # the same share of every query: resampling changes nothing


def test_models_and_data_sets_apart_or_together(rows):
    both = pd.concat([rows, rows.assign(dataset="other"), rows.assign(model="second")])
    assert len(drop_rates(both)) == 3 * 4
    pooled = drop_rates(both[both["model"] == "bag"], by=("model", "family")).set_index("family")
    assert (pooled["queries"] == 120).all()
    assert pooled["drop"].to_dict() == pytest.approx(drop_rates(rows).set_index("family")["drop"].to_dict())
    single = seed_drops(rows)
    assert list(single) == ["model", "dataset", "family", "seed", "clean", "varied", "drop"]
    assert len(single) == 12


# ------------------------------------------------------------------------------------------------------- for a record


def test_found_is_what_a_record_keeps(rows):
    found = stability_of_records(retriever(bag), tiny().test, VARY, seeds=3, limit=60, note="planted")
    assert isinstance(found, Found)
    assert list(found.measures) == ["stability:clean", *(f"stability:{f}" for f in VARY)]
    rates = drop_rates(rows).set_index("family")
    for family in VARY:
        scope = found.measures[f"stability:{family}"]
        assert scope["drop"].mean == pytest.approx(rates.loc[family, "drop"])
        assert (scope["drop"].low, scope["drop"].n) == (pytest.approx(rates.loc[family, "low"]), 60)
        assert scope["ndcg10"].mean == pytest.approx(rates.loc[family, "varied"])
        assert scope["changed"].mean == pytest.approx(rates.loc[family, "changed"])
        mine = found.queries[found.queries["scope"] == f"stability:{family}"]
        assert len(mine) == 60
        assert set(mine["condition"]) == {"attacked"}
        assert mine["ndcg10"].mean() == pytest.approx(scope["ndcg10"].mean, abs=1e-6)
    assert set(found.queries.loc[found.queries["scope"] == "stability:clean", "condition"]) == {"clean"}
    assert found.note == "test, 3 seeds, 60 queries; planted"


def test_where_nothing_is_found_clean_no_drop_is_known():
    blind = retriever(lambda texts: np.zeros((len(texts), 2)), encode_passages=lambda t: -np.eye(len(t))[:, :2])
    few = tiny_collection("few", 30, 4)
    rows = measure_stability(blind, few, {"same": VARY["same"]}, seeds=1).assign(ndcg10=0.0, ndcg10_clean=0.0)
    (rate,) = drop_rates(rows).to_dict("records")
    assert np.isnan([rate["drop"], rate["low"], rate["high"]]).all()


# ---------------------------------------------------------------------------------------------------------- the card


def test_the_card_draws_the_drops_with_their_intervals(rows):
    rates = drop_rates(rows)
    card = view.stability_card(rates, seed_drops(rows))
    points = dict(tuple(drawn(card).groupby("trace")))
    drop = points["drop, 95% interval over queries"]
    for drew, wanted in (("x", "drop"), ("x_low", "low"), ("x_high", "high")):
        np.testing.assert_allclose(drop[drew], 100 * rates[wanted])
    np.testing.assert_allclose(points["clean"]["x"], rates["clean"])
    np.testing.assert_allclose(points["in other words"]["x"], rates["varied"])
    assert len(points["a seed"]) == 4 * 3
    table = view.stability_table(rates)
    assert list(table.index.get_level_values("family")) == list(VARY)
    assert table["drop, %"].iloc[0] == "0.0 [0.0, 0.0]"


def test_the_leaderboard_puts_the_most_stable_model_first(rows):
    worse = rows.assign(model="worse", ndcg10=0.5 * rows["ndcg10"])
    rates = drop_rates(pd.concat([worse, rows]), total=True)
    assert list(rates["family"]) == [*VARY, "all"] * 2
    board = view.leaderboard(rates)
    assert list(board.index.get_level_values("model")) == ["bag", "worse"]
    assert list(board.columns) == ["clean ndcg10", *VARY, "all"]
    assert [t.name for t in view.leaderboard_figure(rates).data] == ["bag", "worse"]
    everything = rows["ndcg10"].mean() / rows["ndcg10_clean"].mean()
    mine = rates[(rates["model"] == "bag") & (rates["family"] == "all")]
    assert mine["drop"].iloc[0] == pytest.approx(1 - everything)


def test_records_give_the_same_drops(rows, tmp_path):
    found = stability_of_records(retriever(bag), tiny().test, VARY, seeds=3, limit=60)
    store = RunStore(tmp_path)
    run = Run(Recipe(), "done")
    store.save(run, pd.DataFrame({"query": ["a"], "scope": ["in_domain"], "condition": ["clean"]}))
    store.add(run, "stability", found)
    rates = view.rates_from_records(store.domains(), {run.key: "ours"})
    wanted = drop_rates(rows)
    assert set(rates["model"]) == {"ours"}
    for column in ("clean", "varied", "drop", "low", "high", "changed"):
        np.testing.assert_allclose(rates[column], wanted[column])
    assert view.stability_card(rates)
    figure = view.drops_by_size(
        store.table([f"stability:{f}" for f in VARY]).assign(params_layers=1e4), ["lost", "same"]
    )
    assert [t.name for t in figure.data if t.name] == ["lost", "same"]
    np.testing.assert_allclose(figure.data[1].y, 100 * wanted["drop"].iloc[[3]])
    assert store.queries()["scope"].nunique() == 1 + 1 + len(VARY)


def test_two_retrievers_of_one_name_are_not_thrown_together(rows):
    with pytest.raises(ValueError, match=r"model 'bag' has a query twice.*retriever\(model, 'mine'\)"):
        drop_rates(pd.concat([rows, rows]))
    two = pd.concat([rows, rows.assign(model="other", ndcg10=rows["ndcg10_clean"])])
    assert drop_rates(two).query("model == 'other'")["drop"].tolist() == pytest.approx([0] * 4)
    together = drop_rates(two, by="family")  # over both models, each against its own clean value
    mean = two.groupby("family", sort=False)[["ndcg10_clean", "ndcg10"]].mean()
    wanted = 1 - mean["ndcg10"] / mean["ndcg10_clean"]
    np.testing.assert_allclose(together["drop"], wanted)
    lost = rows.copy()
    lost.loc[3, "ndcg10"] = np.nan
    with pytest.raises(ValueError, match="1 of 720 lack ndcg10"):
        drop_rates(lost)
    with pytest.raises(ValueError, match="has no family to add up"):
        drop_rates(rows, by=("model",), total=True)


def test_records_stand_beside_other_rates_only_with_their_dataset(rows):
    mine = drop_rates(rows)
    theirs = mine.drop(columns="dataset").assign(model="stored")
    with pytest.raises(ValueError, match="some rows have no dataset"):
        view.leaderboard(pd.concat([mine, theirs]))
    board = view.leaderboard(pd.concat([mine, theirs.assign(dataset="test")]))
    assert board.index.get_level_values("model").tolist() == ["bag", "stored"]
    with pytest.raises(ValueError, match="'bag' comes twice"):
        view.leaderboard(pd.concat([mine, mine]))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: measure_stability(bag, tiny(), VARY), "collection=Benchmark: a Collection is needed"),
        (lambda: measure_stability(retriever(bag), tiny().test, {}), "at least one family"),
        (lambda: measure_stability(retriever(bag), tiny().test, VARY, seeds=0), "seeds=0"),
        (lambda: measure_stability(retriever(bag), tiny().test, VARY, seeds=(1, 1)), "each only once"),
        (lambda: measure_stability(retriever(bag), tiny().test, {"x": lambda t, s: ["a"]}), "'x'.*1 texts for 270"),
        (lambda: view.stability_card(pd.DataFrame({"model": []})), "rates has no column .family."),
        (lambda: view.drops_by_size(pd.DataFrame({"params_layers": [1]}), ["x"]), "no column 'stability:x_drop'"),
        (lambda: view.rates_from_records(pd.DataFrame({"scope": ["ood"]})), "no record"),
        (lambda: drop_rates(pd.DataFrame({"model": []})), "rows has no column 'dataset'"),
    ],
)
def test_mistakes_are_said(act, said):
    with pytest.raises(ValueError, match=said):
        act()
