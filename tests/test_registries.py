"""A law, a variation, an attack, a strategy and a source registered from outside, each followed to its ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from tiny import bag, tiny, tiny_collection

import drscale as ds
from drscale import sweep
from drscale.attacks import entropy
from drscale.attacks.protocol import summary, within_budget
from drscale.attacks.registry import ATTACKS
from drscale.attacks.substitutes import Given
from drscale.budget import plan as planning
from drscale.ladder import predicted_flops
from drscale.laws import diagnostics
from drscale.laws._families import Family
from drscale.laws._families import broken_shape as five
from drscale.laws.equivalents import worth
from drscale.laws.fit import LAWS, additive_law
from drscale.laws.intervals import law_intervals, law_table
from drscale.laws.result import Law
from drscale.recipe import STRATEGIES, Recipe, check
from drscale.runs import Run, RunStore
from drscale.stability.measure import seed_drops, stability_of_records
from drscale.stability.vary import FAMILIES, families
from drscale.texts.sources import KINDS, Source
from drscale.training.strategies import Strategy

BASE = Recipe(texts="planted", rung="L2H12", steps=3, batch=16, projection=24, rate=3e-3)

# --------------------------------------------------------------------------------------------------------------- a law


def sizes_law(N, a, b, c):
    return a * (N / 1e5) ** -b + c


def both_law(N, D, M, mu, B, eta, delta):
    """The additive law once more, as a plain function."""
    return additive_law(N, D, M, mu, B, eta, delta)


FREE = (0.0, np.inf)
BOTH = {"M": 1e4, "mu": 0.5, "B": 1e4, "eta": 0.4, "delta": 1.0}


@pytest.fixture(autouse=True)
def no_law_stays() -> Iterator[None]:
    before = dict(LAWS)
    yield
    LAWS.clear()
    LAWS.update(before)


def register_both():
    return ds.register_law(
        both_law,
        {"N": "params_layers", "D": "train_pairs"},
        start=BOTH,
        units={"M": "N", "B": "D", "delta": "y"},
        bounds=dict.fromkeys(BOTH, FREE) | {"mu": (0.01, 10.0), "eta": (0.01, 10.0)},
        equation="({M} / N)^{mu} + ({B} / D)^{eta} + {delta}",
    )


def test_an_own_law_is_fitted_doubted_drawn_and_compared():
    runs = ds.example_runs()
    whole = runs[runs["pairs"] == 0]
    columns = {"N": "params_layers"}
    words = "{a} (N / 100K)^-{b} + {c}"
    ds.register_law(sizes_law, columns, start={"a": 1.0, "b": 1.0, "c": 1.0}, units={"c": "y"}, equation=words)
    fit, same = ds.fit_law(whole, sizes_law, warn=False), ds.fit_law(whole, ds.size_law, warn=False)
    assert fit.best_values["c"] == pytest.approx(same.best_values["delta"], rel=1e-4)
    assert fit.equation.startswith("0.41")
    for unit, close in (("run", 1e-3), ("level", 0.02)):
        mine, theirs = (law_intervals(f, unit=unit).set_index("name") for f in (fit, same))
        assert mine.loc["c", ["low", "high"]].to_list() == pytest.approx(
            theirs.loc["delta", ["low", "high"]].to_list(), rel=close
        )
    drawn, theirs = fit.bootstrap(200), same.bootstrap(200)
    assert drawn["b"].to_numpy() == pytest.approx(theirs["mu"].to_numpy(), rel=1e-3)
    assert fit.predict([1e5], warn=False)["fit"].item() == pytest.approx(float(same.eval(N=1e5)), rel=1e-4)
    assert list(fit.table()["unit"]) == ["", "", "nats", ""]
    assert isinstance(fit.plot(), go.Figure)
    assert isinstance(ds.plot.laws(whole, sizes_law, warn=False), go.Figure)
    assert "sizes_law" in repr(fit)
    assert isinstance(diagnostics.diagnose(fit), list)
    assert list(law_table({"mine": fit})["name"]) == ["mine"]
    found = ds.compare_laws(whole, [ds.size_law, sizes_law], leave_out=False).set_index("law")
    assert found.loc["sizes_law", "aicc"] == pytest.approx(found.loc["size_law", "aicc"], abs=1e-3)
    assert "sizes law" in dict(ds.explore.law(whole).controls["law"].options)
    with pytest.raises(ValueError, match="allowed are size_law"):
        worth(runs, sizes_law)
    # Again, with a start that is read off the runs: the entry is replaced.
    ds.register_law(sizes_law, columns, start=lambda N, y: {"a": float(np.ptp(y)), "b": 0.5, "c": float(y.min())})
    again = ds.fit_law(whole, sizes_law, warn=False, robust=True, space="log")
    assert again.equation.startswith("a = 0.4")


def straight(N, a, b):
    return a - b * np.log10(N)


def test_an_own_law_is_offered_to_choose_from_where_its_columns_are():
    n = np.repeat(np.geomspace(1e4, 1e8, 10), 2)
    noise = 0.005 * np.random.default_rng(0).standard_normal(len(n))
    runs = pd.DataFrame({"params_layers": n, "in_domain_entropy": (5 - 0.5 * np.log10(n)) * (1 + noise)})
    assert ds.choose_law(runs).table()["law"].tolist() == ["size_law"]
    register_both()  # of two x, so its AICc would count other levels
    ds.register_law(sizes_law, {"N": "params_other"}, start={"a": 1.0, "b": 1.0, "c": 1.0})
    ds.register_law(straight, {"N": "params_layers"}, start={"a": 1.0, "b": 1.0})
    chosen = ds.choose_law(runs)
    assert chosen.table()["law"].tolist() == ["size_law", "straight"]
    assert chosen.law is straight
    assert ds.choose_law(runs, candidates=[ds.size_law]).law is ds.size_law


def test_a_plan_is_made_with_an_own_law_of_both():
    runs = ds.example_runs()
    register_both()
    fit = ds.fit_law(runs, both_law, warn=False)
    assert fit.equation.startswith("(10.9K / N)^0.507")
    mine, theirs = (ds.fit_law(runs, law, warn=False).curve(20) for law in (both_law, ds.additive_law))
    assert list(fit.table()["unit"])[:5] == ["parameters", "", "pairs", "", "nats"]
    prices = ds.paper_prices()
    for make in (
        lambda c: ds.allocate(c, 5000, prices),
        lambda c: ds.allocate(c, 5000, prices, within="box"),
        lambda c: ds.cost_of(c, prices, 2.3),
        lambda c: ds.allocate_both(c, c, 5000, prices),
    ):
        own, known = make(mine), make(theirs)
        assert [own.N, own.D, own.loss] == pytest.approx([known.N, known.D, known.loss], rel=1e-3)
        assert own.intervals["N"] == pytest.approx(known.intervals["N"], rel=1e-2)
    assert not ds.cost_of(mine, prices, 1e-9).feasible
    for given in ({"N": [1e4, 1e6]}, {"D": [1e3, 1e4]}):
        own, known = (planning.contour(c, 2.4, **given) for c in (mine, theirs))
        assert own == pytest.approx(known, rel=1e-3, nan_ok=True)
    assert planning.path(mine, [1e3, 1e4], prices)["inside"].tolist() == [False, True]
    rising = ds.Curve(both_law, {**dict(mine.values), "eta": -0.5}, mine.box)
    with pytest.raises(ValueError, match="does not fall with D"):
        ds.allocate(rising, 5000, prices)


def test_what_is_no_law_is_said_in_a_sentence():
    columns, start = {"N": "params_layers"}, {"a": 1.0, "b": 1.0, "c": 1.0}
    for law, given, options, said in (
        ("sizes_law", columns, {}, "a function is needed"),
        (ds.size_law, columns, {}, "it is built in"),
        (lambda *x: x, columns, {}, "every argument needs a name"),
        (sizes_law, {"D": "train_pairs"}, {}, "a column for each x of sizes_law, its first arguments: N, a, b, c"),
        (lambda N: N, columns, {}, "no parameter is left"),
        (sizes_law, columns, {"start": {"a": 1.0}}, "needs a value for each of a, b, c"),
        (sizes_law, columns, {"start": {**start, "a": np.nan}}, "finite numbers are needed"),
        (sizes_law, columns, {"bounds": {"a": (2, 1)}}, "the lower one first"),
        (sizes_law, columns, {"bounds": {"d": (1, 2)}}, "bounds: no parameter 'd', allowed are a, b, c"),
        (sizes_law, columns, {"units": {"d": "y"}}, "units: no parameter 'd'"),
        (sizes_law, columns, {"equation": "{d}"}, "in braces are allowed a, b, c"),
    ):
        with pytest.raises(ValueError, match=said):
            ds.register_law(law, given, **{"start": start, **options})
    runs = ds.example_runs()
    ds.register_law(lambda N, a: np.log(-abs(a) - N), columns, start={"a": 1.0})
    with pytest.raises(ValueError, match="is not finite at it"):
        ds.fit_law(runs, list(LAWS)[-1], warn=False)
    with pytest.raises(ValueError, match="needs joint_law or additive_law"):
        ds.allocate(ds.Curve(sizes_law, start), 100, ds.paper_prices())


def test_a_law_that_takes_no_arrays_of_parameters_is_fitted_row_by_row():
    def careful(N, a, b):
        return a / N**b if a > 0 else np.full(np.shape(N), np.nan)

    runs = ds.example_runs()
    ds.register_law(careful, {"N": "params_layers"}, start={"a": 10.0, "b": 0.1})
    assert len(ds.fit_law(runs, careful, warn=False).bootstrap(20)) == 20


def test_a_family_of_any_number_of_shape_parameters_has_a_starting_grid():
    def wide_law(x, M, mu, K, nu, width, extra, delta):
        return ds.broken_law(x, M, mu, K, nu, width, delta) * (1 + 0 * extra)

    def shape(t, x):
        g, slopes = five(t[:, :4], x)
        return g, np.concatenate([slopes, np.zeros_like(slopes[:, :1])], axis=1)

    def to_natural(t, log_b):
        return np.column_stack([log_b / np.exp(t[:, 0]), t])

    unit = (0, None, 0, None, None, None)
    bounds = dict.fromkeys(["mu", "nu"], (0.01, 10.0)) | {"width": (0.1, 2.0), "extra": (0.5, 2.0)}
    bounds |= {"K": (1.0, 1e9), "delta": FREE}
    units = {"M": "x", "mu": "", "K": "x", "nu": "", "width": "", "extra": "", "delta": "y"}
    LAWS[wide_law] = Law({"x": "params_layers"}, units, bounds, Family(shape, shape, to_natural, unit, (1, 2, 3, 4, 5)))
    runs = ds.example_runs()
    fit = ds.fit_law(runs[runs["pairs"] == 0], wide_law, warn=False)
    assert fit.chisqr <= ds.fit_law(runs[runs["pairs"] == 0], ds.size_law, warn=False).chisqr * 1.001


# --------------------------------------------------------------------------------------------------------- a variation


@pytest.fixture
def shouting() -> Iterator[str]:
    ds.register_variation("shouting", lambda text, rng, strength: text.upper() if rng.random() < strength else text)
    yield "shouting"
    del FAMILIES["shouting"]


def test_an_own_variation_is_measured_and_drawn(shouting):
    frame = ds.variations(["sort a list", "排序 列表 x"], shouting)
    assert frame["varied"].tolist() == ["SORT A LIST", "排序 列表 X"]
    assert set(frame["method"]) == {"shouting"}
    assert not ds.variations(["sort a list"], shouting, strength=0)["changed"].any()
    with pytest.raises(ValueError, match="of shouting, allowed are none to choose"):
        ds.variations(["sort a list"], shouting, method="loud")
    assert shouting in families(synonyms=Given({}))
    rows = ds.measure_stability(ds.retriever(bag, "bag"), tiny().test, families(["ordering", shouting]), 2, limit=40)
    rates = ds.drop_rates(rows, n_boot=50)
    assert rates.set_index("family").loc[shouting, "drop"] > 0.9  # the bag knows no capital letters
    assert shouting in set(seed_drops(rows)["family"])
    assert isinstance(ds.plot.stability(rates), go.Figure)
    found = stability_of_records(ds.retriever(bag, "bag"), tiny().test, families([shouting]), 1, limit=40)
    assert f"stability:{shouting}" in found.measures


def test_what_is_no_variation_is_said_in_a_sentence():
    def same(text, rng, strength):
        return text

    for arguments, said in (
        (("Loud talk", same), "a name of small letters"),
        (("synonym", same), "it is taken"),
        (("loud", "x"), "a function (text, rng, strength) -> text is needed"),
        (("loud", same, 0), "share=0: above 0 and at most 1"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            ds.register_variation(*arguments)
    ds.register_variation("numbers", lambda text, rng, strength: 1)
    with pytest.raises(ValueError, match="family='numbers': its function gave 1, a text for each query is needed"):
        ds.variations(["a"], "numbers")
    del FAMILIES["numbers"]


# ----------------------------------------------------------------------------------------------------------- an attack


def query_in_front(model, queries, passages, substitutes):
    return [f"{query} {passage}" for query, passage in zip(queries, passages, strict=True)]


@pytest.fixture
def in_front() -> Iterator[str]:
    ds.register_attack("query_in_front", query_in_front)
    yield "query_in_front"
    del ATTACKS["query_in_front"]


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sweep, "texts_of", lambda spec: tiny())


def test_an_own_attack_is_scored_and_recorded(in_front, own_cache, tmp_path, monkeypatch):
    monkeypatch.setattr(entropy, "synonyms", lambda spec: Given({"badoba": ["dodoki"]}))
    rows = ds.attack_collection(bag, tiny().test, Given({}), in_front, n_queries=20, similarity=bag)
    assert set(rows["method"]) == {in_front}
    assert rows["changed"].all()
    assert (rows["words_changed"] == 5).all()
    assert (rows["rank_after"] < rows["rank_before"]).mean() > 0.9
    assert 0 < rows["similarity"].max() < 1
    assert rows["encodings"].isna().all()  # what the attack asks of the model is not known
    told = summary(rows).set_index("measure")["mean"]
    assert not {"encodings", "cost100"} & set(told.index)
    assert told["success"] > 0.9
    with pytest.raises(ValueError, match="is not an attack by words"):
        within_budget(rows, 1)
    store, base = RunStore(tmp_path / "runs"), BASE.but(attacked=10)
    plan = ds.plan_study([base.but(attack=in_front)], store)
    (run,) = ds.run_study(plan, progress=False)
    assert run.status == "done"
    assert str(run.recipe).endswith(f"attacked=10,attack={in_front}")
    assert Run.from_json(run.to_json()) == run
    assert run.versions["attack"].startswith(f"{in_front}; substitutes")
    assert store.table()["adversarial_success"].item() > 0.3
    assert not {"encodings", "cost100"} & set(run.measures["adversarial"])
    assert '"attack": "words"' not in replace(run, recipe=base).to_json()
    assert str(base).endswith("attacked=10")


def test_what_is_no_attack_is_said_in_a_sentence():
    for arguments, said in (
        (("a b", query_in_front), "a name of your own is needed"),
        (("words", query_in_front), "'words' is built in"),
        (("loud", "x"), "a function (model, queries, passages, substitutes) -> texts is needed"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            ds.register_attack(*arguments)
    with pytest.raises(ValueError, match="attack='loud': allowed are 'words'"):
        ds.attack_texts(bag, ["a"], ["b"], Given({}), "loud")
    with pytest.raises(ValueError, match="attack='loud': allowed are 'words'"):
        ds.plan_study([BASE.but(attacked=5, attack="loud")], RunStore("nowhere"))
    with pytest.raises(ValueError, match="attack=loud: strategy='standard' makes no use of it"):
        ds.plan_study([BASE.but(attack="loud")], RunStore("nowhere"))
    ATTACKS["short"] = lambda model, queries, passages, substitutes: []
    try:
        with pytest.raises(ValueError, match="attack='short': gave 0 texts for 1 passages"):
            ds.attack_texts(bag, ["a"], ["b"], Given({}), "short")
    finally:
        del ATTACKS["short"]


# ---------------------------------------------------------------------------------------------------------- a strategy


def far_ones(recipe, collection, pairs, encoder):
    """Each touched query stays away from another query's passage; in the variant ``soft`` by a loss of its own."""

    def touch(batch, step):
        rng = np.random.default_rng([recipe.seed, step])
        touched = np.flatnonzero(rng.random(len(batch.queries)) < recipe.share)
        return replace(batch, touched=touched, others=batch.positives[(touched + 1) % len(batch.positives)])

    def away(views):
        return (views.queries[views.touched] * views.others).sum(-1).square()

    return Strategy(recipe, pairs, touch, robust=away) if recipe.variant == "soft" else touch


@pytest.fixture
def far() -> Iterator[str]:
    ds.register_strategy("far", far_ones, variants=["soft", "plain"], losses=["soft"], extra_texts=1)
    yield "far"
    STRATEGIES.pop("far", None)


def test_an_own_strategy_is_planned_trained_recorded_and_drawn(far, own_cache, tmp_path):
    base, store = BASE.but(share=0.5, strategy=far), RunStore(tmp_path / "runs")
    recipes = [base, base.but(variant="plain"), base.but(balance="pareto"), BASE]
    assert str(base).endswith("strategy=far,variant=soft,share=0.5")
    plan = ds.plan_study(recipes, store)
    assert plan.rows["flops"].iloc[0] > plan.rows["flops"].iloc[3]
    soft, plain, pareto, standard = ds.run_study(plan, progress=False)
    assert [r.status for r in (soft, plain, pareto, standard)] == ["done"] * 4
    assert soft.cost["flops"] > standard.cost["flops"]
    assert "robustness" in soft.curve[-1]
    assert "robustness" not in plain.curve[-1]
    assert len(pareto.omega) == BASE.steps
    assert store.load(base) == soft
    table = store.table()
    assert set(table["strategy"]) == {"far", "standard"}
    fig = ds.plot.front(table, x="ood_entropy", y="in_domain_entropy")
    assert isinstance(fig, go.Figure)
    del STRATEGIES[far]  # another process reads the records, and only cannot train by them
    assert store.load(base) == soft
    assert np.isnan(predicted_flops(base))
    with pytest.raises(ValueError, match="strategy='far': allowed are 'standard', 'adversarial'"):
        ds.plan_study(recipes, store)


def test_a_loss_that_encodes_no_other_text_is_planned_at_what_it_costs(tmp_path):
    ds.register_strategy("hinge", far_ones)
    try:
        plan = ds.plan_study([BASE, BASE.but(strategy="hinge")], RunStore(tmp_path))
        standard, hinge = plan.rows["flops"]
        assert hinge == standard
    finally:
        del STRATEGIES["hinge"]


def test_what_is_no_strategy_is_said_in_a_sentence(far, own_cache):
    for arguments, options, said in (
        (("standard", far_ones), {}, "are built in"),
        (("a b", far_ones), {}, "a name of your own is needed"),
        (("mine", "far_ones"), {}, "a function (recipe, collection, pairs, encoder) -> touch is needed"),
        (("mine", far_ones), {"variants": "soft"}, "variants='soft': a list of names"),
        (("mine", far_ones), {"losses": ["soft"]}, "losses=['soft']: some of the variants ''"),
        (("mine", far_ones), {"options": ["rate"]}, "options=['rate']: allowed are 'share', 'synonyms'"),
        (
            ("mine", far_ones),
            {"extra_texts": {"soft": 1}},
            "extra_texts={'soft': 1}: a number from 0, or one for each of ''",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            ds.register_strategy(*arguments, **options)
    with pytest.raises(ValueError, match=re.escape("variant='pool' of strategy='far': allowed are 'soft', 'plain'")):
        check(BASE.but(strategy=far).but(variant="pool"))


# ------------------------------------------------------------------------------------------------------------ a source


@pytest.fixture
def faq() -> Iterator[str]:
    def read(source, progress):
        return tiny_collection(source.argument, source.number("pairs", 900), 7)

    ds.register_source("faq", read, argument="PRODUCT", options=["pairs"])
    yield "faq"
    del KINDS["faq", True]


def test_an_own_source_is_spelled_split_and_planned(faq, own_cache, tmp_path, monkeypatch):
    assert len(ds.collection("faq:lamp?pairs=30")) == 30
    texts = ds.benchmark("faq:lamp", progress=False)
    assert len(texts.test) == 300
    assert str(Source.parse("faq:lamp?pairs=30")) == "faq:lamp?pairs=30"
    monkeypatch.setattr(sweep, "texts_of", ds.benchmark)
    store, recipe = RunStore(tmp_path / "runs"), BASE.but(texts="faq:lamp", steps=2)
    (run,) = ds.run_study(ds.plan_study([recipe], store), progress=False)
    assert run.status == "done"
    assert store.table()["texts"].item() == "faq:lamp"
    with pytest.raises(ValueError, match="option 'size', allowed for faq are pairs"):
        ds.plan_study([BASE.but(texts="faq:lamp?size=3")], store)


def test_what_is_no_source_is_said_in_a_sentence():
    def read(source, progress):
        return tiny_collection("a", 3, 0)

    for arguments, options, said in (
        (("docs", read), {}, "docs, api-docs, chinese-docs, folder, pairs, hub, planted, instructed, "),
        (("A b", read), {}, "a name of small letters"),
        (("mine",), {}, "'mine' needs a function that reads one of them"),
        (("mine", "file"), {}, "collection='file': a function (source, progress) is needed"),
        (("mine", read), {"options": "size"}, "options='size': a list of names is needed"),
        (("mine", read), {"repeated": ["size"]}, "repeated=['size']: some of the options (none)"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            ds.register_source(*arguments, **options)
