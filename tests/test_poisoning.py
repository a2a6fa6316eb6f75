from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from tiny import tiny

from drscale.attacks.target import gradients
from drscale.encoder import build
from drscale.evaluate.entropy import interval
from drscale.evaluate.retrievers import Retriever, retriever
from drscale.poisoning import exposure as made_known
from drscale.poisoning import make as made_by
from drscale.poisoning.exposure import attack_success, attack_success_change, poison_ranks, rate_interval
from drscale.poisoning.guards import defended, guard, guarded
from drscale.poisoning.make import (
    Cluster,
    Poison,
    candidates,
    clusters_of,
    encode_ids,
    kmeans,
    pairs_of,
    poison,
    real_pieces,
    text_of,
)
from drscale.poisoning.plot import guard_figure, rate_figure, score_figure, transfer_figure
from drscale.recipe import Recipe
from drscale.texts import Collection
from drscale.texts.collection import from_pairs

SMALL = Poison(passages=3, tokens=6, steps=12, candidates=5, batch=8)
QUERIES = tiny().train.queries["text"].to_pylist()[:120]
GOLD = tiny().train.passages["text"].to_pylist()[:120]
NUMBERS = st.floats(-5, 5, width=32)


@lru_cache(maxsize=1)
def encoder():
    return build(Recipe(rung="L2H16", projection=32, seed=3)).eval()


@lru_cache(maxsize=8)
def poisoned(attack=SMALL):
    return poison(encoder(), QUERIES, attack, gold=GOLD)


def texts_of(frame):
    return frame["text"].tolist()


# ------------------------------------------------------------------------------------------------------- the search


@pytest.mark.parametrize("form", ["centroid", "queries"])
@pytest.mark.parametrize("start", ["mask", "gold"])
def test_a_passage_never_ends_below_its_start(form, start):
    frame = poisoned(replace(SMALL, form=form, start=start))
    assert len(frame) == 3
    assert frame["queries"].sum() == len(QUERIES)
    if form == "centroid":
        assert (frame["score_after"] >= frame["score_before"]).all()
        assert (frame["score_after"] > frame["score_before"]).any()
    before = poison(encoder(), QUERIES, replace(SMALL, form=form, start=start, steps=0), gold=GOLD)
    if form == "queries":
        assert (frame["accuracy"] <= before["accuracy"]).all()
    assert (before["score_after"] == before["score_before"]).all()


def test_the_same_seed_makes_the_same_passages_and_a_longer_run_begins_like_a_shorter_one():
    for form in ("centroid", "queries"):
        attack = replace(SMALL, form=form)
        again = poison(encoder(), QUERIES, attack, gold=GOLD)
        pd.testing.assert_frame_equal(again.drop(columns="seconds"), poisoned(attack).drop(columns="seconds"))
        assert texts_of(poison(encoder(), QUERIES, replace(attack, seed=1), gold=GOLD)) != texts_of(again)
    trail = []
    poison(encoder(), QUERIES, replace(SMALL, steps=20), note=lambda step, values: trail.append(values["score"]))
    assert trail[11] == pytest.approx(poisoned()["score_after"].mean(), rel=1e-6)
    assert (np.diff(trail) >= 0).all()


def test_a_stop_hands_back_what_was_reached():
    seen = []
    frame = poison(
        encoder(), QUERIES, SMALL, note=lambda step, values: seen.append(step), stopped=lambda: len(seen) >= 4
    )
    assert seen == [1, 2, 3, 4]
    assert texts_of(frame) == texts_of(poison(encoder(), QUERIES, replace(SMALL, steps=4)))


def test_a_passage_that_nothing_betters_is_done():
    attack = Poison(passages=1, tokens=3, steps=400, candidates=4)
    frame = poison(encoder(), QUERIES, attack)
    steps = int(frame["steps"][0])
    assert steps < 400
    assert texts_of(poison(encoder(), QUERIES, replace(attack, steps=steps))) == texts_of(frame)
    assert (poison(encoder(), QUERIES, replace(attack, form="queries"))["steps"] == 400).all()


def test_candidates_are_the_best_of_all_by_brute_force():
    rng = np.random.default_rng(0)
    table, slopes = rng.normal(size=(50, 7)), rng.normal(size=(3, 7))
    for row, slope in zip(candidates(table, slopes, 5), slopes, strict=True):
        assert row.tolist() == np.argsort([-float(piece @ slope) for piece in table])[:5].tolist()
    assert candidates(table, slopes, 80).shape == (3, 50)


def test_the_gradient_is_that_of_the_score_in_the_space_of_the_mapped_table():
    ids = np.array([[101, 2000, 3000, 4000, 102]])
    aim = encoder().encode(["some query"])
    ((values, slopes),) = gradients(encoder(), aim, list(ids))
    words = encoder().passage_tower.body.get_input_embeddings()
    assert np.allclose(values, words(torch.from_numpy(ids))[0].detach(), atol=1e-6)
    nudge = np.random.default_rng(0).normal(size=values.shape[1]).astype(np.float32)

    def score(size):
        moved = torch.from_numpy(values.copy())[None]
        moved[0, 2] += size * torch.from_numpy(nudge)
        handle = words.register_forward_hook(lambda module, given, out: moved)
        try:
            with torch.no_grad():
                vector = encoder().passage_tower(torch.from_numpy(ids), torch.ones(1, 5, dtype=torch.long))
        finally:
            handle.remove()
        return float(vector[0] @ torch.from_numpy(aim[0]))

    assert (score(0.002) - score(-0.002)) / 0.004 == pytest.approx(float(slopes[2] @ nudge), rel=2e-2)


def test_one_step_picks_what_scoring_every_candidate_one_by_one_picks():
    (cluster,) = clusters_of(encoder(), QUERIES, None, 1, 0, False)
    attack = replace(SMALL, passages=1, steps=1)
    frame = poison(encoder(), QUERIES, attack)
    allowed, masks = real_pieces(encoder()), np.full(6, encoder().tokenizer.mask_token_id)
    at = int(np.random.default_rng([0, 0, 3]).permutation(6)[0])
    ends = encoder().tokenizer("", truncation=True, max_length=8, padding=False)["input_ids"]
    ((_, slopes),) = gradients(encoder(), cluster.centroid[None], [np.array([ends[0], *masks, ends[-1]])])
    words = encoder().passage_tower.body.get_input_embeddings()
    promise = words(torch.from_numpy(allowed)).detach().numpy() @ slopes[at + 1]
    best, kept = float(frame["score_before"][0]), masks.tolist()
    for piece in allowed[np.argsort(-promise)[:5]]:
        tried = masks.copy()
        tried[at] = piece
        score = np.mean(encoder().encode(QUERIES) @ encode_ids(encoder(), tried[None])[0])
        if score > best:
            best, kept = score, tried.tolist()
    assert frame["ids"][0] == kept
    assert frame["score_after"][0] == pytest.approx(best, rel=1e-5)


@given(queries=arrays(np.float32, (7, 4), elements=NUMBERS), vector=arrays(np.float32, 4, elements=NUMBERS))
def test_the_score_against_the_centroid_is_the_mean_score_over_the_queries(queries, vector):
    assert np.isclose(queries.mean(0) @ vector, (queries @ vector).mean(), atol=1e-3)


def test_every_cluster_s_aim_is_the_mean_of_its_queries():
    for held in (False, True):
        for cluster in clusters_of(encoder(), QUERIES, GOLD, 3, 0, held):
            every = np.concatenate([cluster.queries, cluster.held])
            vector = encoder().encode_passages(["anything at all"])[0]
            assert cluster.centroid @ vector == pytest.approx((every @ vector).mean(), rel=1e-4)
            assert len(cluster.held) == (int(0.3 * len(every)) if held else 0)


def test_by_batches_a_passage_moves_when_any_candidate_beats_gold_more_often_and_then_to_the_highest_score():
    asked = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    nothing = np.empty((0, 2), dtype=np.float32)
    cluster = Cluster(asked.mean(0), asked, nothing, np.array([5.0, 1.0]), np.empty(0), "")
    start, rng = np.array([4.0, 0.0], dtype=np.float32), np.random.default_rng(0)
    p = made_by._Passage(cluster, np.array([0]), start, rng, np.array([0]))
    worse = np.array([[0.0, 2.0], [3.0, 0.0]], dtype=np.float32)  # the first wins the second query, the second none
    made_by._judge_by_batch(p, np.array([[1], [2]]), worse, 2)
    assert p.ids.tolist() == [2]  # moved, and to the higher score
    assert p.best.tolist() == [0]  # which is no better than the start
    made_by._judge_by_batch(p, np.array([[1], [2]]), worse[1:] * 0.5, 2)
    assert p.accepted == 1


@settings(max_examples=25)
@given(points=arrays(np.float32, (9, 2), elements=st.integers(0, 2)), clusters=st.integers(1, 9))
def test_no_cluster_is_empty(points, clusters):
    labels = kmeans(points, clusters)
    assert set(labels) == set(range(clusters))


def test_a_collection_brings_its_gold_passages():
    queries, gold = pairs_of(tiny().train, None)
    assert len(queries) == len(gold) == 400
    assert set(queries[7].split()) <= set(gold[7].split())


# ------------------------------------------------------------------------------------------------- tokens and texts


@settings(max_examples=30)
@given(st.data())
def test_whole_words_are_read_back_as_they_were_written(data):
    allowed = pieces("words")
    ids = np.array(data.draw(st.lists(st.sampled_from(allowed), min_size=1, max_size=50)))
    read = encoder().tokens([text_of(encoder(), ids)], "passage")
    assert read.ids[1:-1].tolist() == ids.tolist()


@lru_cache(maxsize=2)
def pieces(kind):
    return real_pieces(encoder(), kind).tolist()


def test_no_special_token_is_a_candidate_and_words_are_part_of_all_pieces():
    tokenizer = encoder().tokenizer
    names = tokenizer.convert_ids_to_tokens(pieces("all"))
    assert not set(pieces("all")) & set(tokenizer.all_special_ids)
    assert not [n for n in names if n.startswith("[") and len(n) > 1]
    assert any(n.startswith("##") for n in names)
    assert set(pieces("words")) < set(pieces("all"))


def test_a_text_says_whether_it_is_read_back_as_its_tokens():
    vocabulary = encoder().tokenizer.get_vocab()
    glued = text_of(encoder(), np.array([vocabulary["##ing"], vocabulary["play"], vocabulary["##ing"]]))
    assert glued == "##ing playing"
    frame = poisoned()
    assert frame["exact"].all()
    assert np.allclose(frame["score_text"], frame["score_after"], rtol=1e-5)
    with_all = poisoned(replace(SMALL, pieces="all"))
    same = np.isclose(with_all["score_text"], with_all["score_after"], rtol=1e-5)
    assert (same | ~with_all["exact"]).all()


# ------------------------------------------------------------------------------------------------------ the success


def test_success_grows_with_k_and_with_nested_passages():
    frame = poisoned()
    before = np.zeros(6)
    for count in (1, 2, 3):
        rows = poison_ranks(encoder(), tiny().test, texts_of(frame)[:count])
        asr = attack_success(rows, k=(1, 2, 5, 10, 20, 50))["asr"].to_numpy()
        assert (np.diff(asr) >= 0).all()
        assert (asr >= before).all()
        before = asr
    assert before[-1] > 0


def test_ranks_are_those_of_a_corpus_that_has_the_passages():
    test, texts = tiny().test, texts_of(poisoned())
    rows = poison_ranks(encoder(), test, texts, depth=20)
    every = encoder().encode(test.queries["text"].to_pylist())
    real, ours = (encoder().encode_passages(t) for t in (test.passages["text"].to_pylist(), texts))
    for i, query in enumerate(every[:60]):
        ranks = 1 + (real @ query >= (ours @ query).max()).sum()
        assert rows["rank"][i] == ranks if ranks <= 20 else np.isnan(rows["rank"][i])
        assert rows["passage"][i] == (ours @ query).argmax()
    assert np.allclose(rows["margin"], (every @ ours.T).max(1) - (every @ real.T).max(1), atol=1e-3)
    assert list(rows.columns[:3]) == ["model", "dataset", "query"]


def test_a_retriever_without_vectors_indexes_the_passages():
    queries = tiny().test.queries["text"].to_pylist()
    copied = f"{queries[0]} {queries[0]}"
    rows = poison_ranks("bm25", tiny().test, ["nothing that anyone asks", copied], depth=10)
    assert (rows["model"] == "bm25").all()
    assert rows["rank"][0] == 1
    assert rows["passage"][0] == 1
    assert rows["rank"].isna().any()
    passages = pa.table({"id": ["poisoned-0"], "text": ["x"]})
    clash = Collection(
        "clash",
        tiny().test.queries.slice(0, 1),
        passages,
        pa.table({"query": ["test-0"], "passage": ["poisoned-0"], "relevance": [1]}),
    )
    with pytest.raises(ValueError, match="poisoned-0"):
        poison_ranks("bm25", clash, ["y"])


def test_intervals_hold_the_rate_and_know_doubt_at_the_ends():
    rows = poison_ranks(encoder(), tiny().test, texts_of(poisoned()))
    table = attack_success(rows, by=("model",))
    assert ((table["low"] <= table["asr"]) & (table["asr"] <= table["high"])).all()
    never = attack_success(rows.assign(rank=np.nan), k=(10,))
    assert never["asr"][0] == never["low"][0] == 0 < never["high"][0] < 0.02
    assert rate_interval(np.ones(10)) == pytest.approx((1.0, 0.6915, 1.0), abs=1e-3)  # 0.025 ** (1 / 10)
    assert attack_success(rows, k=10).equals(attack_success(rows, k=(10,)))
    twice = pd.concat([rows, rows.assign(rank=np.nan)])  # a second seed that never succeeds
    assert attack_success(twice, k=(50,))["asr"][0] == pytest.approx(attack_success(rows, k=(50,))["asr"][0] / 2)


def lucky(seed: int, sizes: int = 8, queries: int = 150, luck: float = 0.05) -> pd.DataFrame:
    """Ranks 1 or 30 at sizes that list poison ever more often, two seeds each, whose luck is common to all queries."""
    rng, parts = np.random.default_rng(seed), []
    hard = rng.uniform(-0.15, 0.15, queries)
    for size in range(sizes):
        for i in (0, 1):
            rate = 0.3 + 0.4 * size / (sizes - 1) + luck * rng.standard_normal() + hard
            rank = np.where(rng.uniform(size=queries) < rate, 1.0, 30.0)
            parts.append(pd.DataFrame({"source": size, "seed": i, "query": range(queries), "rank": rank}))
    return pd.concat(parts, ignore_index=True).assign(dataset="made up", passages=1, depth=50)


def test_the_luck_of_seeds_widens_intervals_by_hand():
    rows = lucky(0, sizes=3)
    plain, wide = (attack_success(rows, 10, ("source",), seeds=s).set_index("source") for s in (None, "seed"))
    each = attack_success(rows, 10, ("source", "seed")).pivot_table("asr", "source", "seed")
    sd = np.sqrt(np.mean(np.square(each[0] - each[1]) / 2))
    away = stats.t.ppf(0.975, 3) * sd / np.sqrt(2)
    assert wide["asr"].equals(plain["asr"])
    assert wide["low"].to_numpy() == pytest.approx(plain["asr"] - np.hypot(plain["asr"] - plain["low"], away))
    assert wide["high"].to_numpy() == pytest.approx(plain["asr"] + np.hypot(plain["high"] - plain["asr"], away))
    change = attack_success_change(rows, "source", 0, 2, by=()).iloc[0]
    assert change["change"] == pytest.approx(plain.loc[2, "asr"] - plain.loc[0, "asr"])
    assert change["high"] - change["change"] == pytest.approx(
        np.hypot(change["queries_high"] - change["change"], away * np.sqrt(2))
    )
    for call, said in (
        (lambda: attack_success(rows[rows["seed"] == 0], 10, ("source",), seeds="seed"), "no group of source has two"),
        (lambda: attack_success(rows, 10, (), seeds="seed"), "by must name what has seeds"),
        (lambda: attack_success_change(rows, "source", 0, 9), "source=9: allowed are 0, 1, 2"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_intervals_over_seeds_and_queries_hold_the_truth_and_those_over_queries_do_not():
    hits = {"both": 0, "queries": 0}
    for seed in range(60):
        found = attack_success_change(lucky(seed), "source", 0, 7).iloc[0]
        hits["both"] += found["low"] <= 0.4 <= found["high"]
        hits["queries"] += found["queries_low"] <= 0.4 <= found["queries_high"]
    assert hits["both"] >= 54, hits  # 57 expected, fewer than 54 by chance once in 40
    assert hits["queries"] <= 50, hits


def test_a_list_that_ended_has_no_more_passages_to_beat():
    """Row -1 says that nothing more was found; its score, here 0, is nobody's."""

    def rank(queries, collection, depth):
        scores = np.tile(np.array([-1.0, 0.0, 0.0], np.float32)[:depth], (len(queries), 1))
        return scores, np.tile(np.array([3, -1, -1])[:depth], (len(queries), 1))

    def negative(texts):
        return np.full((len(texts), 1), 1.0)

    short = Retriever("short", rank, negative, lambda texts: np.full((len(texts), 1), -0.5))
    rows = poison_ranks(short, tiny().test, ["x"])
    assert (rows["rank"] == 1).all()
    assert np.allclose(rows["margin"], 0.5)
    worse = Retriever("worse", rank, negative, lambda texts: np.full((len(texts), 1), -2.0))
    assert (poison_ranks(worse, tiny().test, ["x"])["rank"] == 2).all()


def test_where_nothing_is_found_there_is_no_margin():
    pairs = [("a", "alpha", "alpha beta"), ("b", "unheard", "beta gamma"), ("c", "delta", "delta")]
    rows = poison_ranks("bm25", from_pairs("c", pairs), ["unheard of", "alpha beta"], depth=3).set_index("query")
    assert rows["rank"].notna().tolist() == [True, True, False]
    assert rows["passage"].tolist() == [1, 0, -1]
    assert np.isfinite(rows["margin"].iloc[0])
    assert rows["margin"].iloc[1:].isna().all()  # only poison was found; only a real passage was


def test_no_rate_is_told_of_ranks_that_nobody_looked_at():
    rows = poison_ranks(encoder(), tiny().test, ["x"], depth=20)
    assert attack_success(rows, k=20)["k"].tolist() == [20]
    with pytest.raises(ValueError, match=r"k=50: lists were looked at down to rank 20 only"):
        attack_success(rows)
    stored = rows.drop(columns="depth")  # as in a file
    with pytest.raises(ValueError, match=r"k=100: .* rank 50"):
        attack_success(stored, k=(10, 100))
    assert len(attack_success(stored, k=100, depth=100)) == 1
    with pytest.raises(ValueError, match="rank 20 only"):
        attack_success(pd.concat([stored, rows]), k=30, depth=100)


def test_values_that_belong_together_are_worth_fewer():
    hits, groups = np.repeat([1.0, 0.0], [60, 20]), np.repeat(np.arange(8), 10)  # six groups all caught, two all missed
    alone, together = rate_interval(hits), rate_interval(hits, groups=groups)
    assert alone[0] == together[0] == 0.75
    few = rate_interval(np.repeat([1.0, 0.0], [6, 2]))  # the groups themselves, of which each tells one thing
    assert together[1] < few[1] + 0.02 < alone[1]
    assert together[2] > few[2] - 0.02 > alone[2]
    by_hand = 0.75 * 0.25 / (8 / 7 * (6 * 2.5**2 + 2 * 7.5**2) / 80**2) * (stats.t.ppf(0.975, 79) / 2.364624) ** 2
    assert made_known._worth(hits, groups, 0.95) == pytest.approx(by_hand, rel=1e-5)
    assert rate_interval(np.ones(80), groups=groups) == pytest.approx((1.0, *rate_interval(np.ones(8))[1:]))
    mixed = np.tile([1.0, 1, 1, 0], 20)  # spread evenly over the groups: no less than independent ones
    assert rate_interval(mixed, groups=np.repeat(np.arange(20), 4)) == pytest.approx(rate_interval(mixed), abs=0.02)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=40))
def test_groups_never_make_surer_than_independence(drawn):
    hits, groups = np.array([h for h, _ in drawn], float), [g for _, g in drawn]
    if len(set(groups)) < 2:
        return
    share, low, high = rate_interval(hits, groups=groups)
    alone = rate_interval(hits)
    assert 0 <= low <= share <= high <= 1
    assert low <= alone[1] + 1e-9
    assert high >= alone[2] - 1e-9


# ------------------------------------------------------------------------------------------------------ the guards


@pytest.mark.parametrize("kind", ["norm", "likelihood", "centroids", "twins"])
def test_a_guard_refuses_its_share_of_real_passages(kind):
    known = tiny().train.passages["text"].to_pylist()
    one = guard(kind, encoder(), known, QUERIES, rate=0.05, clusters=3)
    refused = guard(kind, encoder(), known, QUERIES, rate=0.5, clusters=3).refuses(known)
    assert one.refuses(known).mean() <= refused.mean()
    if kind in ("norm", "centroids"):  # their thresholds come from these very passages
        assert one.refuses(known).mean() == pytest.approx(0.05, abs=0.005)


def test_each_guard_sees_what_it_is_for():
    known = tiny().train.passages["text"].to_pylist()
    alien = "zebra quantum harvest violin treaty glacier mosaic senate pepper anchor"
    assert guard("likelihood", encoder(), known).refuses([alien])[0]
    twins = guard("twins", encoder(), known[:200])
    assert twins.refuses([known[0]])[0]  # a copy of a known passage
    assert twins.refuses([alien, alien]).all()
    near = guard("centroids", encoder(), known, QUERIES, clusters=1)
    aim = encoder().encode(QUERIES).mean(0)
    cosine = encoder().encode_passages([alien])[0] @ aim
    cosine /= np.linalg.norm(aim) * np.linalg.norm(encoder().encode_passages([alien])[0])
    assert near.suspicion([alien])[0] == pytest.approx(cosine, rel=1e-4)
    assert guard("norm", encoder(), known).suspicion([alien])[0] == pytest.approx(
        np.linalg.norm(encoder().encode_passages([alien])[0]), rel=1e-5
    )


def test_the_likelihood_is_a_distribution_over_what_follows():
    known = ["the cat sat", "the cat ran"]
    suspicion = guard("likelihood", encoder(), known * 100, rate=0.4).suspicion
    assert suspicion(["the cat sat"]) < suspicion(["cat the sat"])
    # By hand: after "the" always comes "cat"; half of what was learnt is the first text, which alone is known.
    n, size = 5 * 100.0, len(encoder().tokenizer)
    alone = (100 + 0.5) / (n + 0.5 * size)
    assert suspicion(["the cat sat"])[0] == pytest.approx(-np.log(0.5 + 0.5 * alone), rel=1e-6)


def test_a_defence_is_set_beside_no_defence():
    known = tiny().train.passages["text"].to_pylist()
    loud = guard("norm", encoder(), known, rate=0.01)
    all_out, all_in = replace(loud, threshold=-1.0, kind="all"), replace(loud, threshold=1e9, kind="nobody")
    table = defended(encoder(), [all_out, all_in], tiny().test, texts_of(poisoned()), k=(1, 50))
    by = table.set_index(["guard", "k"])
    assert table["guard"].unique().tolist() == ["none", "all", "nobody"]
    assert (by.loc["all", "asr"] == 0).all()
    assert (by.loc["all", ["caught", "refused", "lost"]] == 1).all(axis=None)
    assert by.loc["nobody", "asr"].equals(by.loc["none", "asr"])
    assert (by.loc["nobody", ["caught", "refused", "lost"]] == 0).all(axis=None)


def test_what_a_guard_lets_through_is_listed_as_if_it_were_all():
    texts = texts_of(poisoned())
    rows = poison_ranks(encoder(), tiny().test, texts, depth=7, limit=50)
    loud = guard("norm", encoder(), tiny().train.passages["text"].to_pylist(), rate=0.01)
    first_out = replace(loud, suspicion=lambda given: np.array([t == texts[0] for t in given], float), threshold=0.5)
    left, out = guarded(encoder(), first_out, tiny().test, texts, rows)
    assert out.tolist() == [True, False, False]
    pd.testing.assert_frame_equal(left, poison_ranks(encoder(), tiny().test, texts[1:], depth=7, limit=50))
    none, out = guarded(encoder(), replace(loud, threshold=-1.0), tiny().test, texts, rows)
    assert out.all()
    assert none["rank"].isna().all()
    assert none["query"].tolist() == rows["query"].tolist()
    assert (none["passage"] == -1).all()
    assert none.dtypes.equals(rows.dtypes)


# ------------------------------------------------------------------------------------------------------- figures


def rates(**columns):
    base = {"asr": [0.2, 0.5, 0.4, 0.9], "low": [0.1, 0.4, 0.3, 0.8], "high": [0.3, 0.6, 0.5, 1.0]}
    return pd.DataFrame(base | columns)


def test_rates_are_drawn_with_their_bands_a_line_a_number_of_passages():
    fig = rate_figure(rates(k=[10, 1, 1, 10], passages=[1, 1, 10, 10]))
    lines = [t for t in fig.data if t.mode == "lines+markers"]
    assert [t.name for t in lines] == ["passages 1", "passages 10"]
    assert list(lines[0].x) == [1, 10]
    assert list(lines[0].y) == [0.5, 0.2]
    assert len(fig.data) == 4
    assert list(fig.data[0].y) == [0.6, 0.3, 0.1, 0.4]  # there along the top, back along the bottom
    with pytest.raises(ValueError, match="several rows"):
        rate_figure(rates(k=[1, 1, 1, 1], passages=[1, 1, 10, 10]))
    with pytest.raises(ValueError, match="no column 'passages'"):
        rate_figure(rates(k=[1, 2, 3, 4]))


def test_a_transfer_has_its_sources_down_and_its_targets_across():
    fig = transfer_figure(rates(source=["a", "a", "b", "b"], target=["a", "c", "a", "b"]))
    heat = fig.data[0]
    assert list(heat.y) == ["a", "b"]
    assert list(heat.x) == ["a", "c", "b"]
    assert np.array_equal(heat.z, [[0.2, 0.5, np.nan], [0.4, np.nan, 0.9]], equal_nan=True)
    with pytest.raises(ValueError, match="keep one k"):
        transfer_figure(rates(source=["a"] * 4, target=["a"] * 4))


def test_the_score_is_drawn_as_it_was_heard():
    trail = []
    poison(encoder(), QUERIES, SMALL, note=lambda step, values: trail.append({"step": step, **values}))
    (line,) = score_figure(trail).data
    assert list(line.x) == list(range(1, 13))
    assert (np.diff(line.y) >= 0).all()
    with pytest.raises(ValueError, match="no column 'step'"):
        score_figure([])


def test_guards_are_drawn_beside_none():
    fig = guard_figure(rates(guard=["none", "norm"] * 2, k=[10, 10, 50, 50]))
    assert dict(zip(fig.layout.yaxis.ticktext, fig.layout.yaxis.tickvals, strict=True)) == {"none": 0, "norm": -1}
    assert list(fig.data[0].y) == [0, -1]
    assert list(fig.data[0].x) == [0.2, 0.5]
    beside = guard_figure(rates(guard=["none", "norm"] * 2, k=10, passages=[1, 1, 10, 10]))
    assert [t.name for t in beside.data] == ["passages 1", "passages 10"]
    assert (np.array(beside.data[0].y) > beside.data[1].y).all()  # where rates are equal neither hides the other
    assert np.round(beside.data[1].y).tolist() == [0, -1]
    with pytest.raises(ValueError, match="k=3"):
        guard_figure(rates(guard=["none", "norm"] * 2, k=[10, 10, 50, 50]), k=3)
    with pytest.raises(ValueError, match="no rows"):
        guard_figure(rates(guard="none", k=1).iloc[:0])


# ------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "both"}, "form='both'"),
        ({"start": "zero"}, "start='zero'"),
        ({"pieces": "bytes"}, "pieces='bytes'"),
        ({"candidates": 0}, "candidates=0"),
        ({"steps": -1}, "steps=-1"),
    ],
)
def test_a_poison_that_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Poison(**options)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="tokens=200"):
        poison(encoder(), QUERIES, Poison(tokens=200))
    with pytest.raises(ValueError, match="start='gold'"):
        poison(encoder(), QUERIES, replace(SMALL, start="gold"))
    with pytest.raises(ValueError, match="gold: 1 passages for 120"):
        poison(encoder(), QUERIES, SMALL, gold=["one"])
    with pytest.raises(ValueError, match="a collection brings its own"):
        poison(encoder(), tiny().train, SMALL, gold=["one"])
    with pytest.raises(ValueError, match="clusters=3"):
        poison(encoder(), QUERIES[:2], SMALL)
    with pytest.raises(ValueError, match="queries"):
        poison(encoder(), [], SMALL)
    with pytest.raises(ValueError, match="passages"):
        poison_ranks(encoder(), tiny().test, [])
    with pytest.raises(ValueError, match="depth=0"):
        poison_ranks(encoder(), tiny().test, ["x"], depth=0)
    with pytest.raises(ValueError, match="rank"):
        attack_success(pd.DataFrame({"query": ["a"]}))
    rows = pd.DataFrame({"model": ["m", None], "dataset": "d", "query": ["a", "b"], "rank": [1.0, np.nan]})
    with pytest.raises(ValueError, match="rows: the table is empty"):
        attack_success(rows.iloc[:0])
    with pytest.raises(ValueError, match="'model' is missing in 1 of 2 rows"):
        attack_success(rows)
    with pytest.raises(ValueError, match="level=95"):
        attack_success(rows, by="dataset", level=95)
    with pytest.raises(ValueError, match="k=0"):
        attack_success(rows, k=0, by="dataset")
    with pytest.raises(ValueError, match="hits: a list of zeros and ones"):
        rate_interval([])
    with pytest.raises(ValueError, match="hits: a list of zeros and ones"):
        rate_interval([0.5])
    with pytest.raises(ValueError, match="hits: a list of zeros and ones"):
        rate_interval(np.ones((2, 2)))
    with pytest.raises(ValueError, match="level=3: must lie between 0 and 1"):
        rate_interval([0, 1], level=3)
    with pytest.raises(ValueError, match="groups: 1 labels of 1 groups; one for each of 2 hits"):
        rate_interval([0, 1], groups=["a"])
    with pytest.raises(ValueError, match="groups: 2 labels of 1 groups"):
        rate_interval([0, 1], groups=["a", "a"])
    for stranger in (retriever(encoder()), "bm25"):
        with pytest.raises(ValueError, match=f"{type(stranger).__name__}: the attack .* BiEncoder.*poison_ranks"):
            poison(stranger, QUERIES, SMALL)
        with pytest.raises(ValueError, match=f"{type(stranger).__name__}: a drscale BiEncoder is needed"):
            guard("norm", stranger, QUERIES)
    with pytest.raises(ValueError, match="kind='smell'"):
        guard("smell", encoder(), QUERIES)
    with pytest.raises(ValueError, match="rate=0"):
        guard("norm", encoder(), QUERIES, rate=0)
    with pytest.raises(ValueError, match="too few"):
        guard("norm", encoder(), QUERIES[:10], rate=0.01)
    with pytest.raises(ValueError, match="needs queries"):
        guard("centroids", encoder(), QUERIES)


def test_shares_at_the_end_and_groups_of_misses():
    assert rate_interval([0] * 12, groups=[i // 2 for i in range(12)]) == rate_interval([0] * 6)
    with pytest.raises(ValueError, match="zeros and ones"):
        rate_interval([0, 0.5, 1])
    queries = [f"q{i}" for i in range(10)]
    rows = pd.DataFrame({"model": "m", "source": "s", "target": "t", "dataset": "d", "query": queries, "rank": 1.0})
    every = attack_success(rows, k=(10,), by=("model",)).iloc[0]
    assert [every["low"], every["high"]] == pytest.approx([0.025 ** (1 / 10), 1.0])  # Clopper and Pearson's
    half = attack_success(rows.assign(rank=[1.0, np.nan] * 5), k=(10,), by=("model",)).iloc[0]
    plain = interval({"": np.array([1.0, 0.0] * 5)})
    assert [half["low"], half["high"]] == pytest.approx([plain.low, plain.high])
