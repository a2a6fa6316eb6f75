"""The geometry of embeddings: laws that hold for all clouds, values worked by hand, and the published package."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import bag, tiny
from torch import nn

from drscale.encoder import BiEncoder, Tower
from drscale.evaluate.retrievers import Retriever, retriever
from drscale.geometry import measure as g
from drscale.runs import Found

CLOUDS = st.tuples(st.integers(0, 10_000), st.integers(5, 40), st.integers(2, 12))
MEASURES = ["isoscore", "effective_rank", "mean_cosine", "uniformity"]


def cloud(seed: int, points: int, dimension: int) -> np.ndarray:
    """A lopsided cloud away from the origin."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(points, dimension)) * rng.uniform(0.2, 3, dimension) + rng.normal(size=dimension)


# ------------------------------------------------------------------------------------------------------------- laws


@settings(max_examples=40)
@given(CLOUDS, st.floats(0.01, 100))
def test_neither_rotation_nor_scale_matters(made, scale):
    points = cloud(*made)
    turn = np.linalg.qr(np.random.default_rng(made[0] + 1).normal(size=(made[2], made[2])))[0]
    before = g.cloud_measures(points)
    assert list(before) == MEASURES
    for other in (points @ turn, points * scale):
        assert g.cloud_measures(other) == pytest.approx(before, rel=1e-6, abs=1e-9)


@settings(max_examples=40)
@given(CLOUDS)
def test_bounds_and_the_identity_with_the_participation_ratio(made):
    points = cloud(*made)
    directions = min(made[1] - 1, made[2])
    ratio, score, rank = g.participation_ratio(points), g.isoscore(points), g.effective_rank(points)
    assert 1 - 1e-9 <= ratio <= rank + 1e-6 <= directions + 1e-5  # squares of shares single out more than shares do
    assert score == pytest.approx((ratio - 1) / (made[2] - 1))
    assert -1e-9 <= score <= (directions - 1) / (made[2] - 1) + 1e-9
    assert -1 <= g.mean_cosine(points) <= 1
    assert -8 - 1e-9 <= g.uniformity(points) <= 0


@settings(max_examples=20)
@given(CLOUDS, st.integers(2, 4))
def test_every_point_twice_leaves_the_covariance_s_measures(made, times):
    points = cloud(*made)
    assert g.isoscore(np.repeat(points, times, axis=0)) == pytest.approx(g.isoscore(points))
    assert g.effective_rank(np.tile(points, (times, 1))) == pytest.approx(g.effective_rank(points), rel=1e-5)
    assert g.mean_cosine(np.repeat(points, times, axis=0)) >= g.mean_cosine(points) - 1e-12  # a point beside its copy


def published(points: np.ndarray) -> float:
    """IsoScore step by step, as its authors write it."""
    n = points.shape[1]
    variances = np.linalg.eigvalsh(np.cov(points.T))
    defect = np.linalg.norm(variances * math.sqrt(n) / np.linalg.norm(variances) - 1) / math.sqrt(
        2 * (n - math.sqrt(n))
    )
    return ((n - defect**2 * (n - math.sqrt(n))) ** 2 - n) / (n * (n - 1))


@settings(max_examples=40)
@given(CLOUDS)
def test_isoscore_is_the_published_formula(made):
    assert g.isoscore(cloud(*made)) == pytest.approx(published(cloud(*made)), rel=1e-6, abs=1e-9)


# What IsoScore 2.0.1 of PyPI gives (in single precision inside) for these clouds.
PACKAGE = [
    ((0, 200, 5, "even"), 0.9537577646340836),
    ((1, 500, 20, "ramp"), 0.5295399764027497),
    ((2, 40, 60, "even"), 0.36548833095865657),
    ((3, 300, 8, "line"), 0.00237578139906439),
]


@pytest.mark.parametrize(("made", "expected"), PACKAGE)
def test_isoscore_agrees_with_its_package(made, expected):
    seed, points, dimension, kind = made
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(points, dimension))
    x = x * np.arange(1, dimension + 1) if kind == "ramp" else x
    x = x * 0.1 + rng.normal(size=(points, 1)) * np.ones(dimension) if kind == "line" else x
    assert g.isoscore(x) == pytest.approx(expected, abs=1e-6)


def test_isotropic_is_near_one_and_a_line_near_zero():
    rng = np.random.default_rng(0)
    even, line = rng.normal(size=(20_000, 16)), rng.normal(size=(500, 1)) * rng.normal(size=16)
    assert g.isoscore(even) > 0.99
    assert g.effective_rank(even) > 15.9
    assert abs(g.mean_cosine(even)) < 0.01
    assert g.isoscore(line) == pytest.approx(0, abs=1e-9)
    assert g.effective_rank(line) == pytest.approx(1, abs=1e-4)


def test_few_points_cannot_fill_many_dimensions():
    rng = np.random.default_rng(0)
    few = rng.normal(size=(10, 300))
    assert g.isoscore(few) <= 8 / 299
    assert g.effective_rank(few) <= 9
    ratios = [g.participation_ratio(rng.normal(size=(400, 100))) for _ in range(5)]
    assert np.mean(ratios) == pytest.approx(100 / (1 + 100 / 400), rel=0.02)  # the bias that the docstring states
    thin = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 64)) + 3
    assert g.isoscore(thin) < 11 / 63
    assert g.isoscore(thin, dimension=12) == pytest.approx(g.isoscore(thin) * 63 / 11)


# --------------------------------------------------------------------------------------------------- worked by hand


def test_a_square_and_a_cross_by_hand():
    square = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert g.isoscore(square) == pytest.approx(1)
    assert g.mean_cosine(square) == pytest.approx(-1 / 3)  # four pairs at 0, two at -1
    assert g.uniformity(square) == pytest.approx(math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6))
    assert g.effective_rank(square) == pytest.approx(2)
    cross = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]])  # variances as 9 to 1, singular values as 3 to 1
    assert g.participation_ratio(cross) == pytest.approx(100 / 82)
    assert g.isoscore(cross) == pytest.approx(100 / 82 - 1)
    assert g.effective_rank(cross) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    moved = cross + np.array([100.0, 0])
    assert g.effective_rank(moved) == pytest.approx(g.effective_rank(cross))
    assert g.effective_rank(moved, centred=False) < 1.2 < g.effective_rank(cross)


def test_drawn_pairs_estimate_the_mean_over_all_of_them():
    points = cloud(3, 60, 5)
    drawn = [g.mean_cosine(points, pairs=20_000, seed=s) for s in range(5)]
    assert len(set(drawn)) == 5
    assert np.mean(drawn) == pytest.approx(g.mean_cosine(points), abs=4 * np.std(drawn, ddof=1) / math.sqrt(5) + 1e-3)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    each = [unit[i] @ unit[j] for i in range(60) for j in range(60) if i != j]
    assert g.mean_cosine(points) == pytest.approx(np.mean(each))


def test_alignment_by_hand():
    right, up = np.array([[2.0, 0]]), np.array([[0, 5.0]])
    assert g.alignment(right, right * 3) == pytest.approx(0)
    assert g.alignment(right, up) == pytest.approx(2)
    assert g.alignment(right, -right, alpha=1) == pytest.approx(2)


def test_hubness_by_hand():
    skewness, never = g.hubness(np.array([[0, 1], [0, 2], [0, -1]]), 5)  # k-occurrences 3, 1, 1, 0, 0
    x = np.array([3, 1, 1, 0, 0]) - 1.0
    assert never == pytest.approx(2 / 5)
    assert skewness == pytest.approx(np.mean(x**3) / np.mean(x**2) ** 1.5)
    assert g.hubness(np.arange(4).reshape(4, 1), 4) == (0.0, 0.0)


def test_gini_by_hand():
    times = g.occurrences(np.array([[0, 1], [0, 2], [0, -1]]), 5)
    assert times.tolist() == [3, 1, 1, 0, 0]
    # By its definition: the mean absolute difference of all pairs over twice the mean.
    assert g.gini(times) == pytest.approx(np.abs(times[:, None] - times).mean() / (2 * times.mean()))
    assert g.gini([2, 2, 2]) == 0.0
    assert g.gini(np.eye(100)[0]) == pytest.approx(0.99)  # one passage takes all
    assert g.gini(times) >= (times == 0).mean()  # the share never found is a lower bound


def test_hubness_by_chance_is_the_mean_of_random_searches():
    rng = np.random.default_rng(0)
    found = [g.hubness(np.array([rng.permutation(60)[:6] for _ in range(40)]), 60) for _ in range(60)]
    skewness, never = g.hubness_by_chance(40, 60, 6)
    assert np.mean([f[1] for f in found]) == pytest.approx(never, abs=0.005)
    assert np.mean([f[0] for f in found]) == pytest.approx(skewness, abs=0.1)


# ------------------------------------------------------------------------------------------------- a model's weights


class Body(nn.Module):
    def __init__(self, first: float) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({"map": nn.Linear(4, 2, bias=False)})
        self.dense, self.more, self.pooler = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        for layer, size in ((self.dense, first), (self.more, 1.0), (self.pooler, 50.0)):
            layer.weight.data = torch.diag(torch.tensor([size, 0.5]))


def test_spectral_norms_of_what_counts():
    tokenizer = SimpleNamespace(pad_token_id=0)
    one, other = Tower(Body(3.0), 2, "mean", 8), Tower(Body(5.0), 2, "mean", 8)
    shared, two = BiEncoder(one, tokenizer, (4, 4)), BiEncoder(one, tokenizer, (4, 4), other)
    assert sorted(g.spectral_norms(shared).values()) == pytest.approx([1, 3])
    assert sorted(g.spectral_norms(two).values()) == pytest.approx([1, 1, 3, 5])
    assert len(g.spectral_norms(shared, maps=True)) == 5
    assert sorted(g.spectral_norms(Body(3.0)).values()) == pytest.approx([1, 3])
    turn = torch.linalg.qr(torch.randn(2, 2))[0]
    one.body.dense.weight.data = turn @ one.body.dense.weight.data
    assert sorted(g.spectral_norms(shared).values()) == pytest.approx([1, 3])
    with pytest.raises(ValueError, match="no Linear layer"):
        g.spectral_norms(nn.ReLU())


# --------------------------------------------------------------------------------------------------------- the table


def test_a_table_of_any_retriever():
    test = tiny().test
    frame = g.measure_geometry(bag, test, points=60)
    assert list(frame.columns) == g.COLUMNS
    assert list(frame["metric"]) == [*MEASURES, "alignment", "hubs", "never_found", "gini"]
    assert ((frame["low"] < frame["mean"]) & (frame["mean"] < frame["high"])).all()
    assert set(frame["n"]) == {60}
    assert frame.equals(g.measure_geometry(retriever(bag), test, points=60))
    lexical = g.measure_geometry("bm25", test, seeds=3)
    assert list(lexical["metric"]) == ["hubs", "never_found", "gini"]
    assert list(lexical["n"]) == [135, 135, 135]  # half of the queries
    blind = Retriever("no vectors", retriever(bag).rank)
    assert g.measure_geometry(blind, test).equals(
        g.measure_geometry(bag, test).tail(3).reset_index(drop=True)
    )  # on the same texts


def test_the_interval_holds_further_draws():
    test = tiny().test
    vectors = bag(test.passages["text"].to_pylist())
    hits = total = 0
    frame = g.measure_geometry(bag, test, points=60).set_index("metric")
    for seed in range(100, 160):
        rows = np.random.default_rng(seed).choice(len(vectors), 60, replace=False)
        for metric, value in g.cloud_measures(vectors[rows]).items():
            hits += frame.loc[metric, "low"] <= value <= frame.loc[metric, "high"]
            total += 1
    assert hits / total > 0.85


def test_the_vectors_enter_as_they_should():
    test = tiny().test

    def one_passage_wins(texts):
        out = bag(texts) * 1e-3
        out[:, 0] = 1.0
        return out

    def passages(texts):
        out = one_passage_wins(texts)
        out[:10, 0] = 100.0
        return out

    frame = g.measure_geometry(retriever(one_passage_wins, encode_passages=passages), test, points=60).set_index(
        "metric"
    )
    assert frame.loc["never_found", "mean"] == pytest.approx(260 / 270)
    assert frame.loc["hubs", "mean"] > 3
    assert frame.loc["mean_cosine", "mean"] > 0.9
    same = g.measure_geometry(one_passage_wins, test, points=60).set_index("metric")
    assert same.loc["alignment", "mean"] < 1e-3


class Bag(nn.Module):
    """A model without any Linear layer, as GPT-2 and static embeddings are."""

    def encode(self, texts):
        return bag(texts)


def test_a_model_without_linear_layers_has_no_spectral_norm():
    test = tiny().test
    frame = g.measure_geometry(Bag(), test, points=60)
    assert frame.equals(g.measure_geometry(bag, test, points=60))


def test_a_named_retriever_shows_its_weights(tiny_encoder):
    named = g.measure_geometry(retriever(tiny_encoder, "mine"), tiny().test).set_index("metric")
    assert named.loc["spectral_norm", "mean"] == pytest.approx(np.mean(list(g.spectral_norms(tiny_encoder).values())))


def test_found_of_any_retriever():
    measures = g.geometry_of_records(bag, tiny()).measures["geometry"]
    assert measures["isoscore_width"] == measures["isoscore"]
    found = g.geometry_of_records("bm25", tiny())
    assert set(found.measures["geometry"]) == {"hubs", "never_found", "gini"}
    assert "draws of 135 queries" in found.note


def test_found_of_an_encoder(tiny_encoder):
    found = g.geometry_of_records(tiny_encoder, tiny())
    assert isinstance(found, Found)
    measures = found.measures["geometry"]
    assert set(measures) == {*MEASURES, "alignment", "hubs", "never_found", "gini", "spectral_norm", "isoscore_width"}
    assert measures["isoscore_width"].mean == pytest.approx(measures["isoscore"].mean * 31 / 15)
    assert measures["isoscore_width"].high == pytest.approx(measures["isoscore"].high * 31 / 15)
    assert measures["effective_rank"].mean <= 16
    assert measures["spectral_norm"].low == measures["spectral_norm"].high
    assert {type(v) for m in measures.values() for v in vars(m).values()} == {float, int}  # what a record can keep
    assert found.queries.empty
    assert "test" in found.note


@pytest.fixture(scope="module")
def tiny_encoder() -> BiEncoder:
    """Random weights: a body of width 16 behind a projection to 32."""
    from drscale.encoder import build
    from drscale.recipe import Recipe
    from drscale.training.prepare import all_texts

    recipe = Recipe(texts="planted", rung="L1H16", start="scratch", projection=32)
    return build(recipe, all_texts(tiny().train)).eval()


# ------------------------------------------------------------------------------------------------------------ errors


def zeros(texts):
    return np.zeros((len(texts), 3), np.float32)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: g.isoscore([1.0, 2.0]), "shape"),
        (lambda: g.isoscore([[1.0, 2.0]]), "at least 2"),
        (lambda: g.effective_rank(np.empty((3, 0))), r"vectors of shape \(3, 0\): \(points, dimension\)"),
        (lambda: g.isoscore([[1.0], [2.0]]), "dimension=1"),
        (lambda: g.isoscore(np.eye(3), dimension=4), "dimension=4"),
        (lambda: g.isoscore([[1.0, np.nan], [0, 1]]), "1 of 2 are not finite"),
        (lambda: g.isoscore(np.ones((4, 3))), "the same point"),
        (lambda: g.effective_rank(np.zeros((4, 3)), centred=False), "all vectors are zero"),
        (lambda: g.mean_cosine([[0.0, 0], [1, 0]]), "1 of 2 are zero"),
        (lambda: g.mean_cosine(np.eye(3), pairs=0), "pairs=0"),
        (lambda: g.alignment(np.eye(3), np.eye(3)[:2]), "a row of one for each"),
        (lambda: g.hubness([[0.5]], 3), "whole numbers"),
        (lambda: g.hubness([[3]], 3), "allowed are -1 to 2"),
        (lambda: g.hubness_by_chance(5, 10, 10), "k=10"),
        (lambda: g.gini([0, 0]), "one of them above 0"),
        (lambda: g.measure_geometry(bag, tiny().test, seeds=1), "seeds=1"),
        (lambda: g.measure_geometry(bag, tiny().test, points=2), "points=2"),
        (lambda: g.measure_geometry(bag, tiny().test.take(3)), "too few"),
        (lambda: g.measure_geometry(zeros, tiny().test), "the same point"),
    ],
)
def test_errors_say_what_is_wrong(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_the_interval_of_a_further_draw_by_hand():
    _, mean, low, high, n, what = g._row("isoscore", [1.0, 2.0, 3.0, 2.0, 2.0], 7, "passages")
    reach = 2.7764451052 * math.sqrt(0.5) * math.sqrt(1.2)  # t of 4 degrees, the draws' sd, a further one
    assert (mean, n, what) == (2.0, 7, "draws of passages")
    assert [low, high] == pytest.approx([2 - reach, 2 + reach])
