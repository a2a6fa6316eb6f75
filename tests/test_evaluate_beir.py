"""BEIR's layouts and rules, against pytrec_eval asked directly and an exclusion of its own."""

import hashlib
import math
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import pytrec_eval
from tiny import WORDS, bag, tiny, tiny_collection

from drscale.evaluate import entropy as e
from drscale.evaluate.entropy import score, score_benchmark
from drscale.evaluate.ranking import METRICS, depth_of, measures_of, ranking_metrics
from drscale.evaluate.retrievers import Retriever, metrics_of, rank_scores, retriever
from drscale.runs import divisors
from drscale.stability.measure import measure_stability
from drscale.stats.bootstrap import _by_query
from drscale.texts import Benchmark, Collection
from drscale.texts.tables import QRELS

THEIRS = {"ndcg10": "ndcg_cut_10", "recall10": "recall_10", "recall100": "recall_100"}
MORE = {"R@1000": "recall_1000", "Success@5": "success_5", "P@10": "P_10", "MAP": "map_cut_1000"}


def arguana(pairs: int = 300, seed: int = 0) -> Collection:
    """Arguments that are queries and passages under one id; the answer to each is another passage."""
    rng = np.random.default_rng(seed)
    arguments = [" ".join(rng.choice(WORDS, 8, replace=False)) for _ in range(pairs)]
    answers = [" ".join([*text.split()[:6], *rng.choice(WORDS, 6)]) for text in arguments]
    ids = [f"test-{i}a" for i in range(pairs)]
    return Collection(
        "arguana",
        pa.table({"id": ids, "text": arguments}),
        pa.table({"id": [*ids, *(f"test-{i}b" for i in range(pairs))], "text": [*arguments, *answers]}),
        pa.table(
            {
                "query": ids,
                "passage": [f"test-{i}b" for i in range(pairs)],
                "relevance": pa.array([1] * pairs, pa.int32()),
            }
        ),
    )


def by_hand(c: Collection, scores: np.ndarray, names: list[str]) -> pd.DataFrame:
    """BEIR's way: every passage but the one of the query's id, 1,000 at most, then pytrec_eval; MRR@10 by its order."""
    queries, passages = c.queries["id"].to_pylist(), c.passages["id"].to_pylist()
    qrels: dict[str, dict[str, int]] = {}
    for row in c.qrels.to_pylist():
        qrels.setdefault(row["query"], {})[row["passage"]] = row["relevance"]
    run = {q: {p: float(s) for p, s in zip(passages, scores[i], strict=True) if p != q} for i, q in enumerate(queries)}
    found = pytrec_eval.RelevanceEvaluator(qrels, set(names)).evaluate(run)
    out = pd.DataFrame([found[q] for q in queries])
    first = []
    for q in queries:
        order = sorted(run[q], key=lambda p: (run[q][p], p), reverse=True)[:10]
        hits = [place for place, p in enumerate(order, start=1) if qrels[q].get(p, 0) > 0]
        first.append(1 / hits[0] if hits else 0)
    return out.assign(mrr10=first)


def test_arguana_is_measured_as_beir_measures_it():
    c = arguana()
    assert c.own_rows.tolist() == list(range(300))
    theirs = {**THEIRS, **MORE}
    scores = bag(c.queries["text"].to_pylist()) @ bag(c.passages["text"].to_pylist()).T
    scores = (scores + np.random.default_rng(0).normal(0, 2, scores.shape)).astype(np.float32)
    expected = by_hand(c, scores, list(theirs.values()))
    order = np.argsort(-scores, axis=1)

    def rank(texts, collection, depth):
        return np.take_along_axis(scores, order, 1)[:, :depth], order[:, :depth]

    got = rank_scores(Retriever("noisy", rank), c, metrics=list(MORE))
    assert 0.2 < got["ndcg10"].mean() < 0.95
    for ours, name in (*theirs.items(), ("mrr10", "mrr10")):
        np.testing.assert_allclose(got[ours], expected[name], err_msg=ours)
    for made in (retriever("bm25"), retriever(bag)):  # the query itself shares every word, and comes first
        assert rank_scores(made, c)[["ndcg10", "mrr10"]].mean().tolist() == [1.0, 1.0]
    assert score(bag, c)[["ndcg10", "mrr10"]].mean().tolist() == [1.0, 1.0]
    rows = measure_stability(bag, c, {"same": lambda texts, seed: list(texts)}, seeds=1, limit=20)
    assert rows["ndcg10"].mean() == 1.0


def test_no_pool_holds_the_query_itself():
    c = arguana()
    for negatives in (20, 256):  # one draw by rejection, one by keys
        table = e.negative_table(c, negatives=negatives, repeats=5)
        assert not (table == np.arange(300)[:, None, None]).any()
        assert (table == np.arange(300)[::-1, None, None]).any()  # those of others are drawn
    assert e.most_negatives(c) == 598
    own = Collection("with", c.queries, c.passages, pa.table({"query": ["test-0a"], "passage": ["test-0a"], "relevance": pa.array([1], pa.int32())}))  # fmt: skip # noqa: E501
    assert own.own_rows[0] == -1  # judged relevant: it stays
    judged = pa.concat_tables([c.qrels, pa.table({"query": ["test-0a"], "passage": ["test-0a"], "relevance": pa.array([0], pa.int32())}, QRELS)])  # fmt: skip # noqa: E501
    assert Collection("zero", c.queries, c.passages, judged).own_rows[0] == 0  # judged, not relevant: it goes


def test_one_more_is_searched_where_one_is_left_out():
    c = arguana()
    asked = []

    def rank(texts, collection, depth):
        asked.append(depth)
        rows = np.tile(np.arange(depth), (len(texts), 1))
        return -rows.astype(float), rows

    metrics_of(Retriever("mine", rank), c, np.arange(3), ["a"] * 3)
    metrics_of(Retriever("mine", rank), c, np.arange(3), ["a"] * 3, ["P@200"])
    metrics_of(Retriever("mine", rank), tiny().test, np.arange(3), ["a"] * 3)
    assert asked == [101, 201, 100]
    rows = np.r_[np.arange(99), 300, 301][None]  # the answer to query 0 at place 100, behind the query itself
    got = ranking_metrics(c, np.array([0]), -np.arange(101.0)[None], rows)
    assert got["recall100"].tolist() == [1.0]


def test_pairs_whose_two_sides_share_their_ids_are_measured_as_before():
    """Digests of what the version before this rule drew and measured."""
    for pairs, passages, repeats, digest in ((40, 300, 3, "5afd24b9e838a4ac"), (40, 5000, 3, "eee64f9a9b464665")):
        ids = [f"p{i}" for i in range(passages)]
        c = Collection(
            "many",
            pa.table({"id": ids[:pairs], "text": ["q"] * pairs}),
            pa.table({"id": ids, "text": ["p"] * passages}),
            pa.table({"query": ids[:pairs], "passage": ids[:pairs], "relevance": pa.array([1] * pairs, pa.int32())}),
        )
        assert (c.own_rows == -1).all()
        table = e.negative_table(c, negatives=256, repeats=repeats)
        assert hashlib.sha256(table.astype("<i4").tobytes()).hexdigest()[:16] == digest
    got = score_benchmark(bag, tiny(), limit=100).measures
    assert got["in_domain"]["entropy"].mean == pytest.approx(1.1759871668009847, abs=1e-7)
    assert got["ood"]["calibrated"].mean == pytest.approx(0.05172685863795777, abs=1e-7)
    assert got["ood"]["ndcg10"].mean == pytest.approx(0.9956546487678573, abs=1e-12)


def test_equal_scores_are_ordered_by_one_rule_in_all_metrics():
    c = tiny_collection("tied", 40, 3)
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, (40, 40)).astype(np.float32)  # four values for forty passages
    order = np.argsort(-scores, axis=1, kind="stable")
    got = ranking_metrics(c, np.arange(40), np.take_along_axis(scores, order, 1), order, ["RR@3", "RR", "nDCG@3"])
    ids = c.passages["id"].to_pylist()
    for i in range(40):
        ranked = sorted(range(40), key=lambda p, i=i: (scores[i, p], ids[p]), reverse=True)
        rank = ranked.index(i) + 1
        assert got["mrr10"][i] == (1 / rank if rank <= 10 else 0)
        assert got["RR@3"][i] == (1 / rank if rank <= 3 else 0)
        assert got["RR"][i] == 1 / rank
        assert got["ndcg10"][i] == pytest.approx(1 / math.log2(rank + 1) if rank <= 10 else 0)
        assert got["nDCG@3"][i] == pytest.approx(1 / math.log2(rank + 1) if rank <= 3 else 0)
    both = ranking_metrics(c, np.zeros(1, int), np.ones((1, 2), np.float32), np.array([[1, 0]]))
    assert (both["ndcg10"][0] == 1) == (both["mrr10"][0] == 1)


def test_further_metrics_are_called_as_they_are_asked_for():
    frame = score(bag, tiny().test, limit=20, metrics=["R@1000", "Success@5", "P@10", "AP", "ndcg10"])
    assert list(frame)[4:] == [*METRICS, "R@1000", "Success@5", "P@10", "AP"]
    assert (frame["R@1000"] == 1).all()  # of 270 passages
    np.testing.assert_allclose(frame["P@10"], frame["recall10"] / 10)
    assert depth_of(measures_of(["R@1000"])) == depth_of(measures_of(["AP"])) == 1000
    assert depth_of(measures_of()) == 100
    got = score_benchmark(bag, tiny(), limit=20, metrics=["Success@5"])
    assert list(got.measures["ood"]) == ["entropy", "calibrated", *METRICS, "Success@5"]
    assert got.queries["Success@5"].dtype == np.float32


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nDCG@0", "'nDCG@0' has cutoff=0, allowed are whole numbers from 1"),  # it would end the interpreter
        ("P@1.5", "cutoff=1.5"),
        ("R@99999999999999999999", "cutoff=9+, allowed"),
        ("P(rel=0)@5", "rel=0"),
        ("ERR@10", "'ERR@10' is not measured by trec_eval, allowed are AP, "),
        ("hits@10", "'hits@10' is none of ir-measures' names"),
        ("R@", "'R@' is none of ir-measures' names"),
    ],
)
def test_metrics_that_are_none_are_refused(name, said):
    with pytest.raises(ValueError, match=said):
        measures_of([name])
    with pytest.raises(ValueError, match="a list of ir-measures' names"):
        measures_of("R@10")


def test_parts_of_a_data_set_count_once():
    forums = {f"cqadupstack/{n}": tiny_collection(n, 260, i) for i, n in enumerate(("android", "english", "gaming"), 7)}
    parts = {name: getattr(tiny(), name) for name in ("train", "validation", "test")}
    got = score_benchmark(bag, Benchmark("b", **parts, ood={"a": tiny().ood["a"], **forums}), limit=30)
    mean = {s: m["entropy"].mean for s, m in got.measures.items()}
    forum = np.mean([mean[f"ood:{name}"] for name in forums])
    assert mean["ood:cqadupstack"] == pytest.approx(forum)
    assert mean["ood"] == pytest.approx((mean["ood:a"] + forum) / 2)
    assert got.measures["ood:cqadupstack"]["entropy"].n == 90
    assert divisors(["ood:a", "ood:c/x", "ood:c/y"]) == {"ood:a": 2, "ood:c/x": 4, "ood:c/y": 4}
    table = pd.DataFrame({"key": ["k"], "ood_entropy": [mean["ood"]]})
    draws = _by_query(table, ["ood_entropy"], got.queries.assign(key="k"), 400, np.random.default_rng(0))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert low < mean["ood"] < high
    assert draws.mean() == pytest.approx(mean["ood"], abs=0.02)
    wide = got.measures["ood"]["entropy"]
    assert high - low == pytest.approx(wide.high - wide.low, rel=0.2)


# ------------------------------------------------------------------------------------------------ large collections


def large(pairs: int, passages: int) -> Collection:
    return Collection(
        "large",
        pa.table({"id": [f"q{i}" for i in range(pairs)], "text": [WORDS[i % len(WORDS)] for i in range(pairs)]}),
        pa.table({"id": [f"p{i}" for i in range(passages)], "text": [WORDS[i % len(WORDS)] for i in range(passages)]}),
        pa.table(
            {
                "query": [f"q{i}" for i in range(pairs)],
                "passage": [f"p{i % passages}" for i in range(pairs)],
                "relevance": pa.array([1] * pairs, pa.int32()),
            }
        ),
    )


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs' negatives are drawn."""
    rows: list[int] = []
    for name in ("_draw_sparse", "_draw_dense"):

        def draw(real, rng, out, *rest):
            rows.append(len(out))
            return real(rng, out, *rest)

        monkeypatch.setattr(e, name, partial(draw, getattr(e, name)))
    return rows


def test_only_the_pairs_asked_for_are_drawn_of_a_large_collection(monkeypatch):
    c, asked = large(e.ORDERED + 1, 3000), np.array([3, 70_000, e.ORDERED])
    rows = counted(monkeypatch)
    table = e.negative_table(c, asked, repeats=2)
    assert sum(rows) == 3
    assert table.shape == (3, 2, 256)
    assert np.array_equal(table[1:2], e.negative_table(c, asked[1:2], repeats=2))
    assert not (table == (asked % 3000)[:, None, None]).any()
    assert not np.array_equal(table[0], table[1])
    rows.clear()
    assert len(score(bag, c.renamed("again"), limit=5, negatives=20)) == 5
    assert sum(rows) == 5


def test_a_pair_s_negatives_do_not_depend_on_which_are_asked_for(monkeypatch):
    monkeypatch.setattr(e, "AT_ONCE", 100 * 40 * 2)
    for passages in (3000, 300):  # one draw by rejection, one by keys
        c = large(240, passages)
        whole = e.negative_table(c, negatives=40, repeats=2)
        asked = np.array([5, 130, 239])
        assert np.array_equal(e.negative_table(c, asked, negatives=40, repeats=2), whole[asked])
    rows = counted(monkeypatch)
    pieces = list(e.negative_blocks(large(240, 3000), np.array([5, 130]), negatives=40, repeats=2))
    assert [len(table) for _, table in pieces] == [1, 1]
    assert rows == [100, 100]  # never all at once, and no further than is needed
    with pytest.raises(ValueError, match="ascending order"):
        e.negative_table(c, np.array([2, 1]))


def test_a_pool_caps_where_negatives_come_from():
    c = large(500, 3000)
    table = e.negative_table(c, pool=400, negatives=100)
    inside = e.pool_rows(3000, 400)
    assert set(np.unique(table)) == set(inside.tolist())
    assert set(e.pool_rows(3000, 100)) < set(inside)
    assert not (table == np.arange(500)[:, None, None]).any()
    assert (np.diff(np.sort(table, axis=-1), axis=-1) > 0).all()
    assert e.pool_rows(3000, 3000) is None
    assert np.array_equal(e.negative_table(c, pool=None), e.negative_table(c))
    assert e.most_negatives(c, 400) == 399
    with pytest.raises(ValueError, match="its 400 passages are too few for negatives=400; give at most 399"):
        e.negative_table(c, pool=400, negatives=400)
    with pytest.raises(ValueError, match="pool=0: at least 1"):
        score(bag, c, pool=0)


def test_a_ranking_in_the_pool_encodes_nothing_else():
    lengths = []

    def encode_passages(texts):
        lengths.append(len(texts))
        return bag(texts)

    test = tiny().test
    every = test.pairs[0][:40]
    few = Collection("few", test.queries.take(every), test.passages, test.qrels.slice(0, 40))
    options = {"pool": 100, "negatives": 50, "encode_passages": encode_passages}
    inside = score(bag, few, rank_all=False, **options)
    whole = score(bag, few, **options)
    assert lengths == [len(np.union1d(e.pool_rows(270, 100), few.pairs[1])), 270]
    np.testing.assert_allclose(inside["entropy"], whole["entropy"], rtol=1e-5)  # the same negatives
    assert (inside["mrr10"] >= whole["mrr10"]).all()
    options = {"limit": 10, "pool": 262}
    got = score_benchmark(bag, tiny(), **options)
    assert got.notes == {
        "pool:in_domain": "negatives from 262 of 270 passages, seed 1; all are ranked",
        "pool:ood:a": "negatives from 262 of 265 passages, seed 1; all are ranked",
    }
    again = score_benchmark(bag, tiny(), rank_all=False, **options)
    assert again.notes["pool:ood:a"].endswith("these and the relevant ones are ranked")
    assert score_benchmark(bag, tiny(), limit=10).notes == {}
