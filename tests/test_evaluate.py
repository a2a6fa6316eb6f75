import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import bag, tiny

from drscale.evaluate import entropy as e
from drscale.evaluate.entropy import compare, most_negatives, score, score_benchmark, temperature_of
from drscale.evaluate.ranking import without_own
from drscale.runs import CHANCE, Measure
from drscale.texts import Collection


def many(pairs: int, passages: int):
    """Something with pairs and passages, of any size, without text."""
    rows = np.arange(pairs)
    own = np.full(pairs, -1)
    return SimpleNamespace(name="many", pairs=(rows, rows % passages), passages=range(passages), own_rows=own)


@pytest.mark.parametrize("passages", [300, 5000])
def test_the_table_is_fixed_without_repeats_and_without_the_relevant(passages):
    table = e.negative_table(many(40, passages), negatives=256, repeats=3)
    assert table.shape == (40, 3, 256)
    assert np.array_equal(table, e.negative_table(many(40, passages), negatives=256, repeats=3))
    assert not np.array_equal(table, e.negative_table(many(40, passages), negatives=256, repeats=3, seed=2))
    ordered = np.sort(table, axis=-1)
    assert (np.diff(ordered, axis=-1) > 0).all()
    assert not (table == np.arange(40)[:, None, None]).any()
    assert (table >= 0).all()
    assert (table < passages).all()


def test_negatives_are_drawn_evenly():
    for passages in (60, 400):  # one draw by keys, one by rejection
        table = e.negative_table(many(1, passages), negatives=20, repeats=20_000)
        share = np.bincount(table.ravel(), minlength=passages)[1:] / 20_000
        assert abs(share - 20 / (passages - 1)).max() < 0.02


def test_too_few_passages_is_one_sentence():
    with pytest.raises(ValueError, match="at most 199"):
        e.negative_table(many(5, 200))


def test_entropy_agrees_with_a_plain_loop():
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=(5, 7)).astype("f4"), rng.normal(size=(30, 7)).astype("f4")
    own, table = np.array([3, 1, 4, 1, 5]), rng.integers(0, 30, (5, 2, 6))
    got = e.entropies(e.negative_scores(q, p, own, table), temperature=0.7)
    for i in range(5):
        each = []
        for r in range(2):
            s = np.array([q[i] @ p[own[i]], *(q[i] @ p[j] for j in table[i, r])]) / 0.7
            each.append(-math.log(math.exp(s[0]) / np.exp(s).sum()))
        assert got[i] == pytest.approx(np.mean(each), rel=1e-5)


def test_many_passages_are_scored_as_few_are(monkeypatch):
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=(40, 7)).astype("f4"), rng.normal(size=(90, 7)).astype("f4")
    own, table = rng.integers(0, 90, 40), rng.integers(0, 90, (40, 3, 6))
    few = e.negative_scores(q, p, own, table)
    monkeypatch.setattr(e, "DENSE", 90)
    assert torch.equal(e.negative_scores(q, p, own, table), few)
    asked = []
    monkeypatch.setattr(torch, "einsum", lambda *a, real=torch.einsum: asked.append(a) or real(*a))
    monkeypatch.setattr(e, "DENSE", 89)
    torch.testing.assert_close(e.negative_scores(q, p, own, table), few)
    assert len(asked) == 1


@settings(max_examples=20, deadline=None)
@given(st.floats(0.02, 50), st.integers(0, 1000))
def test_calibration_undoes_any_scaling_of_the_scores(scale, seed):
    gen = torch.Generator().manual_seed(seed)
    scores = torch.randn(60, 2, 20, generator=gen)
    scores[..., 0] += 1.0
    warm, scaled = e.fit_temperature(scores), e.fit_temperature(scores * scale)
    assert scaled == pytest.approx(warm * scale, rel=1e-2)
    best = e.entropies(scores, warm).mean()
    assert best <= e.entropies(scores, 1.0).mean() + 1e-6
    assert best <= math.log(20) + 1e-6  # never worse than chance on what it was fitted on
    assert e.entropies(scores * scale, scaled).mean() == pytest.approx(best, rel=1e-3)


def test_the_interval_covers_and_weighs_domains_equally():
    rng = np.random.default_rng(1)
    hits = 0
    for i in range(200):
        m = e.interval({"a": rng.normal(1, 1, 50), "b": rng.normal(3, 1, 400)}, n_boot=400, seed=i)
        hits += m.low <= 2 <= m.high
    assert 0.90 <= hits / 200 <= 0.99
    one = e.interval({"a": np.array([1.0]), "b": np.array([3.0, 5.0])})
    assert one.mean == 2.5
    assert one.n == 3
    weighed = e.interval({"a": np.array([1.0, 4.0])}, {"a": np.array([2, 1])})
    assert weighed.mean == pytest.approx(2.0)
    for values in ({}, {"a": np.array([1.0]), "b": np.array([])}):
        with pytest.raises(ValueError, match="every domain needs at least one query"):
            e.interval(values)


def test_any_encoder_is_scored_in_one_line():
    frame = score(bag, tiny().test)
    assert list(frame.columns) == [
        "query",
        "positives",
        "entropy",
        "calibrated",
        "ndcg10",
        "mrr10",
        "recall10",
        "recall100",
    ]
    assert len(frame) == 270
    assert frame["mrr10"].mean() > 0.9  # the words are shared, so a bag of words finds them
    assert frame["entropy"].mean() < 2
    blind = score(lambda texts: np.zeros((len(texts), 3)), tiny().test)
    assert blind["entropy"].to_numpy() == pytest.approx(np.full(270, CHANCE), rel=1e-5)
    as_tensor = score(lambda texts: torch.from_numpy(bag(texts)), tiny().test, limit=20)
    assert as_tensor.equals(score(bag, tiny().test, limit=20))


def test_ranking_agrees_with_a_plain_ranking():
    frame = score(bag, tiny().test, limit=30)
    place = tiny().test.queries["id"].to_pylist()
    rows = [place.index(q) for q in frame["query"]]  # each query's passage stands in the same row
    texts = tiny().test.queries["text"].to_pylist()
    q, p = bag([texts[r] for r in rows]), bag(tiny().test.passages["text"].to_pylist())
    for i, (own, s) in enumerate(zip(rows, q @ p.T, strict=True)):
        best = (s > s[own]).sum() + 1
        worst = (s >= s[own]).sum()
        if best == worst:  # no tie
            assert frame["mrr10"][i] == pytest.approx(1 / best if best <= 10 else 0)
            assert frame["ndcg10"][i] == pytest.approx(1 / math.log2(best + 1) if best <= 10 else 0, abs=1e-6)
            assert frame["recall10"][i] == float(best <= 10)


def test_a_limit_draws_queries_from_the_whole_collection_and_always_the_same():
    whole, few, more = (score(bag, tiny().test, limit=n) for n in (None, 30, 60))
    assert len(few) == 30
    assert set(few["query"]) < set(more["query"]) < set(whole["query"])
    order = whole["query"].tolist()
    places = [order.index(q) for q in more["query"]]
    assert places == sorted(places)
    assert min(np.histogram(places, bins=3, range=(0, len(order)))[0]) > 10  # from the first, second and last third
    same = whole.set_index("query").loc[few["query"]].reset_index()
    assert few["entropy"].to_numpy() == pytest.approx(same["entropy"].to_numpy(), rel=1e-5)  # the same negatives
    with pytest.raises(ValueError, match="limit=0: at least 1"):
        score(bag, tiny().test, limit=0)


def test_a_benchmark_gives_scopes_intervals_and_a_temperature():
    got = score_benchmark(bag, tiny(), limit=100)
    assert set(got.measures) == {"in_domain", "ood", "ood:a", "ood:b"}
    ood = [got.measures[f"ood:{d}"]["entropy"].mean for d in "ab"]
    assert got.measures["ood"]["entropy"].mean == pytest.approx(np.mean(ood))
    for m in got.measures["ood"].values():
        assert m.low <= m.mean <= m.high
    assert len(got.queries) == 270 + 200
    assert set(got.queries["condition"]) == {"clean"}
    assert got.temperature == pytest.approx(temperature_of(bag, tiny().validation))


def test_models_are_compared_on_the_same_negatives():
    frame = compare({"one": bag, "again": bag}, tiny(), limit=50)
    one, again = (frame[frame["model"] == m].drop(columns="model").reset_index(drop=True) for m in ("one", "again"))
    assert one.equals(again)


def test_bad_encoders_are_told():
    with pytest.raises(ValueError, match=r"shape \(270,\)"):
        score(lambda texts: np.zeros(len(texts)), tiny().test)
    with pytest.raises(ValueError, match="not finite"):
        score(lambda texts: np.full((len(texts), 2), np.nan), tiny().test)


def test_minilm_from_its_wheel_is_scored_through_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    from drscale.encoder import minilm_folder

    model = SentenceTransformer(str(minilm_folder()), device="cpu")
    frame = score(lambda t: model.encode(t, show_progress_bar=False), tiny().test, limit=20)
    assert frame["mrr10"].mean() > 0.1


def test_the_query_with_most_relevant_passages_says_how_many_negatives_there_are():
    texts = [{"id": f"d{i}", "text": f"passage {i}"} for i in range(10)]
    judged = {"query": ["q0"] * 3 + ["q1"], "passage": ["d0", "d1", "d2", "d3"], "relevance": [1] * 4}
    asked = pa.Table.from_pylist([{"id": "q0", "text": "a"}, {"id": "q1", "text": "b"}])
    made = Collection("hand", asked, pa.Table.from_pylist(texts), pa.table(judged))
    assert most_negatives(made) == 7
    assert most_negatives(made, pool=5) == 2


def test_a_result_says_why_a_cosine_models_raw_entropy_is_near_chance():
    def of(entropy, calibrated):
        values = {"entropy": entropy, "calibrated": calibrated}
        measures = {"in_domain": {name: Measure(v, v, v, 9) for name, v in values.items()}}
        return str(e.Scored(measures, pd.DataFrame(), 0.05))

    assert "near chance, 5.55, as these scores lie close together" in of(5.1, 1.2)
    assert "compare `calibrated`: in domain 1.200" in of(5.1, 1.2)
    assert "chance" not in of(5.5, 5.4)  # a model that knows nothing
    assert "chance" not in of(2.0, 1.2)
    loud = of(136.3, 4.9)
    assert "raw entropy is above a guess's 5.55, as these scores lie far apart" in loud
    assert loud.endswith("compare `calibrated`: in domain 4.900")


def test_the_querys_own_passage_leaves_its_list_and_no_other():
    rows, scores = np.array([[4, 2, 7], [4, 2, 7], [4, 2, 7]]), np.array([[3.0, 2.0, 1.0]] * 3)
    left, found = without_own(np.array([2, -1, 9]), scores, rows)
    assert found.tolist() == [[4, 7, -1], [4, 2, 7], [4, 2, 7]]
    assert left.tolist() == [[3, 1, 2], [3, 2, 1], [3, 2, 1]]
