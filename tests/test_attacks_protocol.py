from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from tiny import WORDS, bag, tiny, tiny_collection

from drscale.attacks import entropy as measure
from drscale.attacks import protocol as study
from drscale.attacks.entropy import TOLD, adversarial_entropy, budget_curve, measures, paired, probe, under_attack
from drscale.attacks.protocol import (
    attack_collection,
    encode_collection,
    pick_documents,
    rank_ranges,
    ranks,
    side_by_side,
    summary,
    train_surrogate,
    within,
    within_budget,
)
from drscale.attacks.substitutes import Given
from drscale.attacks.words import Attack, attack_texts
from drscale.encoder import build, minilm
from drscale.evaluate.entropy import negative_table, score
from drscale.recipe import Recipe
from drscale.runs import Measure, Run, RunStore
from drscale.texts import Collection

TABLE = Given({w: [WORDS[(i * 7 + k * 31 + 1) % len(WORDS)] for k in range(3)] for i, w in enumerate(WORDS)})
FREE = Attack(floor=None, words=3)


@lru_cache(maxsize=1)
def encoder():
    return build(Recipe(rung="L2H16", projection=32, seed=3)).eval()


@lru_cache(maxsize=1)
def attacked():
    held = encode_collection(encoder(), tiny().test, n_queries=20)
    return held, attack_collection(encoder(), tiny().test, TABLE, FREE, n_queries=20, similarity=None, encoded=held)


# --------------------------------------------------------------------------------------------------------- protocol


def test_the_papers_ranges_and_smaller_ones():
    assert rank_ranges(8_800_000) == rank_ranges(1000) == [(100 * i + 1, 100 * i + 100) for i in range(1, 10)]
    assert rank_ranges(300)[0] == (31, 60)
    assert rank_ranges(300)[-1] == (271, 300)
    assert [high - low for low, high in rank_ranges(20)] == [1] * 9
    with pytest.raises(ValueError, match="at least 20"):
        rank_ranges(19)


def test_documents_come_from_their_ranges_and_are_never_relevant():
    test = tiny().test
    held = encode_collection(encoder(), test, n_queries=30)
    chosen = pick_documents(test, held, seed=1)
    assert len(chosen) >= 30 * 9 - 30
    scores = held.queries[held.of(chosen["query_row"].to_numpy())] @ held.passages.T
    place = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    rank = 1 + place[np.arange(len(chosen)), chosen["passage_row"]]
    assert (rank >= chosen["range_low"] - 1).all()  # one off where two scores are alike but for rounding
    assert (rank <= chosen["range_high"] + 1).all()
    assert (chosen["query_row"] != chosen["passage_row"]).all()  # in this collection row i answers row i
    pd.testing.assert_frame_equal(chosen, pick_documents(test, held, seed=1))
    assert not chosen.equals(pick_documents(test, held, seed=2))


def test_fewer_queries_are_part_of_more():
    test = tiny().test
    few, more = (encode_collection(encoder(), test, n_queries=n).query_rows for n in (10, 40))
    assert set(few) < set(more)
    assert len(encode_collection(encoder(), test, n_queries=10_000).query_rows) == len(test.queries)


def test_every_row_says_what_became_of_a_document():
    held, rows = attacked()
    test = tiny().test
    assert rows.attrs["scaled"]
    assert rows.attrs["queries"] == 20
    assert rows.attrs["synthetic"]
    assert rows.attrs["ranges"][0] == [28, 54]
    assert rows["changed"].any()
    lifted = rows["score_after"] > rows["score_before"]
    assert (lifted == rows["changed"]).all()
    same = rows[~rows["changed"]]
    assert (same["rank_before"] == same["rank_after"]).all()
    assert (same["original"] == same["attacked"]).all()
    assert (rows["rank_after"] <= rows["rank_before"]).all()
    # The rank after, counted anew in a list where only this passage is another.
    for _, row in rows[rows["changed"]].head(5).iterrows():
        q = test.queries["id"].to_pylist().index(row["query"])
        p = test.passages["id"].to_pylist().index(row["passage"])
        scores = held.passages @ held.queries[held.of(np.array([q]))[0]]
        new = encoder().encode_passages([row["attacked"]])[0] @ held.queries[held.of(np.array([q]))[0]]
        assert row["rank_after"] == 1 + (np.delete(scores, p) > new).sum()
        assert row["rank_before"] == 1 + (np.delete(scores, p) > scores[p]).sum()


def test_the_same_seed_gives_the_same_rows():
    _, rows = attacked()
    again = attack_collection(encoder(), tiny().test, TABLE, FREE, n_queries=20, similarity=None)
    pd.testing.assert_frame_equal(rows, again)
    assert rows.attrs == again.attrs


def test_the_same_documents_for_another_model():
    held, rows = attacked()
    other = build(Recipe(rung="L2H16", projection=32, seed=9)).eval()
    documents = pick_documents(tiny().test, held)
    theirs = attack_collection(other, tiny().test, TABLE, FREE, n_queries=20, similarity=None, documents=documents)
    assert theirs[["query", "passage"]].equals(rows[["query", "passage"]])
    with pytest.raises(ValueError, match="some of the attacked queries are missing"):
        attack_collection(other, tiny().test, TABLE, FREE, n_queries=5, similarity=None, documents=documents)


def test_rows_survive_parquet(tmp_path):
    _, rows = attacked()
    rows.to_parquet(tmp_path / "rows.parquet")
    back = pd.read_parquet(tmp_path / "rows.parquet")
    assert back.attrs == rows.attrs
    assert [list(s) for s in back["swaps"]] == list(rows["swaps"])


@pytest.mark.parametrize("method", ["swap", "hinge", "deletion", "random"])
def test_every_method_lifts(method):
    rows = attack_collection(
        encoder(), tiny().test, TABLE, Attack(method, floor=None, words=2), n_queries=3, similarity=None
    )
    assert (rows["method"] == method).all()
    assert (rows["rank_after"] < rows["rank_before"]).mean() > 0.3


def test_ranks_are_counted():
    held = study.Encoded(np.array([0]), np.array([[1.0]], np.float32), np.array([[3.0], [2.0], [1.0]], np.float32))
    before, after = ranks(held, np.array([0, 0]), np.array([2, 1]), np.array([2.5, 3.0]))
    assert before.tolist() == [3, 2]
    assert after.tolist() == [2, 1]  # a tie shares the better rank


def test_the_summary_is_of_queries():
    rows = pd.DataFrame(
        {
            "query": ["a", "a", "b", "b"],
            "rank_before": [100, 200, 100, 200],
            "rank_after": [5, 200, 50, 80],
            "range_low": [100, 200, 100, 200],
            "changed": [True, False, True, True],
            "words": [10, 10, 10, 20],
            "words_changed": [1, 0, 2, 3],
            "similarity": [0.9, 1.0, np.nan, 0.8],
            "encodings": [4, 4, 4, 4],
        }
    )
    table = summary(rows).set_index("measure")
    assert table.loc["success", "mean"] == 0.75
    assert table.loc["boosted", "mean"] == (95 + 0 + 50 + 120) / 4
    assert table.loc["top10", "mean"] == 0.25
    assert table.loc["top100", "mean"] == 0.75
    assert table.loc["share_changed", "mean"] == pytest.approx((0.1 + 0 + 0.2 + 0.15) / 4)
    assert table.loc["similarity", "mean"] == pytest.approx(0.9)
    assert (table["queries"] == 2).all()
    assert (table["low"] <= table["mean"]).all()
    # 16 texts were read for 265 ranks; a resample of one query alone has 8 for 95 or 8 for 170.
    cost = table.loc["cost100"]
    assert cost["mean"] == pytest.approx(100 * 16 / 265)
    assert [cost["low"], cost["high"]] == pytest.approx([100 * 8 / 170, 100 * 8 / 95])
    assert "cost100" not in set(summary(rows.assign(rank_after=rows["rank_before"]))["measure"])
    assert table.loc["boosted", "low"] == 47.5  # the resample that holds query a alone
    split = summary(rows, by="range_low").set_index(["range_low", "measure"])
    assert split.loc[(100, "success"), "mean"] == 1.0
    with pytest.raises(ValueError, match="by='rank'"):
        summary(rows, by="rank")
    lone = rows.iloc[:1].assign(rank_before=2000, similarity=np.nan)
    told = side_by_side({"all": rows, "one": lone}, ("boosted", "success", "words_changed", "similarity"))
    assert told.loc["all"].tolist()[:2] == ["66.2 (47.5 to 85.0)", "0.750 (0.500 to 1.000)"]
    assert told.loc["one"].tolist() == ["1,995 (1,995 to 1,995)", "1.00 (1.00 to 1.00)", "1.00 (1.00 to 1.00)", ""]
    costs = side_by_side({"all": rows, "none": rows.assign(rank_after=rows["rank_before"])}, ["cost100"])["cost100"]
    assert costs.tolist() == ["6.04 (4.71 to 8.42)", ""]
    with pytest.raises(ValueError, match="'luck': allowed are success, boosted, top10"):
        side_by_side({"all": rows}, ["luck"])


# ------------------------------------------------------------------------------------------------- a whole collection


def test_others_passages_stand_behind_the_own_ones():
    test, train = tiny().test, tiny().train
    twin = Collection("twin", test.queries, test.passages, test.qrels)
    wide = within(test, train, twin)  # all of the last one's texts are there already
    own, beside = test.passages["text"].to_pylist(), train.passages["text"].to_pylist()
    assert wide.passages["text"].to_pylist() == own + beside
    assert wide.queries == test.queries
    assert [rows.tolist() for rows in wide.pairs] == [rows.tolist() for rows in test.pairs]
    assert len(set(wide.passages["id"].to_pylist())) == len(wide.passages) == 670
    assert wide.synthetic
    # Ids that are taken are told apart; texts that are there are left out; what comes out is valid.
    same = test.passages.set_column(1, "text", [[*beside[:3], *own[3:]]])
    wide = within(test, Collection("other", test.queries, same, test.qrels))
    assert wide.passages["id"].to_pylist()[270:] == [f"other/test-{i}" for i in range(3)]
    Collection(wide.name, wide.queries, wide.passages, wide.qrels)
    third = Collection(
        "other", test.queries, test.passages.set_column(1, "text", [[f"new {i}" for i in range(270)]]), test.qrels
    )
    with pytest.raises(ValueError, match="same name and share passage ids"):
        within(test, Collection("other", test.queries, same, test.qrels), third)


def test_a_query_that_stands_among_the_passages_counts_in_no_list():
    """As in ArguAna: the same collection with each query among its passages, under the query's id."""
    test = tiny().test
    ids, texts = (pa.chunked_array([[f"a{i}" for i in range(270)]]), test.passages["text"])
    plain = Collection(
        "plain",
        test.queries,
        pa.table({"id": ids, "text": texts}),
        pa.table({"query": test.qrels["query"], "passage": ids, "relevance": test.qrels["relevance"]}),
    )
    with_selves = Collection(
        "arguana", plain.queries, pa.concat_tables([plain.passages, plain.queries.slice(0, 30)]), plain.qrels
    )
    held, other = (encode_collection(bag, c, n_queries=None) for c in (plain, with_selves))
    rows = np.arange(30)
    own = np.arange(100, 130)
    # Of each list the first 30 queries are struck, but 29 other queries stand in it as passages.
    before, after = ranks(other, rows, own, np.full(30, 100.0))
    scores = bag(plain.queries["text"].to_pylist()[:30]) @ other.passages.T
    scores[rows, 270 + rows] = -1
    assert before.tolist() == [1 + int((scores[i] > scores[i, p]).sum()) for i, p in zip(rows, own, strict=True)]
    assert (after == 1).all()
    chosen = pick_documents(with_selves, other)
    assert not (chosen["passage_row"] == 270 + chosen["query_row"]).any()
    assert len(chosen) >= len(pick_documents(plain, held)) - 30
    # Ids of others that a query has are told apart, as they do not mean the query.
    beside = Collection(
        "beside",
        tiny().train.queries,
        pa.table({"id": [f"test-{i}" for i in range(400)], "text": tiny().train.passages["text"]}),
        pa.table(
            {
                "query": tiny().train.qrels["query"],
                "passage": [f"test-{i}" for i in range(400)],
                "relevance": tiny().train.qrels["relevance"],
            }
        ),
    )
    assert (within(plain, beside).own_rows == -1).all()


@pytest.fixture
def table_source(monkeypatch):
    monkeypatch.setattr(measure, "synonyms", lambda source: TABLE)


def test_a_probe_attacks_among_all_passages_and_says_so(table_source):
    test, train = tiny().test, tiny().train
    alone, whole = (probe(encoder(), test, 5, "given", beside=beside) for beside in ((), (train,)))
    assert set(alone.measures) == set(whole.measures)
    assert set(whole.measures) == {"adversarial", "adversarial:clean", "adversarial:alone", "adversarial:alone:clean"}
    assert whole.note == f"{alone.note}; among the 670 passages of test+train"
    assert "passages" not in alone.note
    assert set(TOLD) <= set(whole.measures["adversarial"])
    assert {"top100", "encodings", "cost100"} <= set(whole.measures["adversarial"])
    # Ranks 67 to 670 of all passages, so what is climbed over is others' passages, too.
    assert whole.measures["adversarial"]["boosted"].mean > 1.5 * alone.measures["adversarial"]["boosted"].mean
    held = encode_collection(encoder(), within(test, train), n_queries=5)
    rows = attack_collection(encoder(), within(test, train), TABLE, measure.PROBE, encoded=held, similarity=None)
    assert rows["passage"].str.startswith("train").any()
    mine = adversarial_entropy(rows, within(test, train), held)
    weight = mine[mine["condition"] == "attacked"]["positives"]
    mean = np.average(mine[mine["condition"] == "attacked"]["entropy"], weights=weight)
    assert whole.measures["adversarial:alone"]["entropy"].mean == pytest.approx(mean, rel=1e-6)


def test_every_query_may_be_attacked_and_not_one_more(table_source):
    asked = len(np.unique(tiny().test.pairs[0]))
    measure.check_probe(tiny().test, asked, "given")
    with pytest.raises(ValueError, match=f"attacked={asked + 1}: .* has {asked} queries"):
        measure.check_probe(tiny().test, asked + 1, "given")


# ---------------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("method", "floor"), [("gradient", None), ("swap", 0.75), ("deletion", 0.75), ("random", None)]
)
def test_a_smaller_budget_is_a_prefix_of_a_larger_one(method, floor, tmp_path):
    """Every column of the rows is that of an attack of its own with so few words."""
    held = encode_collection(encoder(), tiny().test, n_queries=2)
    documents = pick_documents(tiny().test, held)

    def attacked(words):
        attack = Attack(method, words=words, floor=floor, constraints=())
        similar = None if floor is None else bag
        return attack_collection(
            encoder(), tiny().test, TABLE, attack, similarity=similar, encoded=held, documents=documents
        )

    most = attacked(9)
    most.to_parquet(tmp_path / "rows.parquet")
    assert (most["words_changed"] > 3).any()
    for words in (1, 3, 9):
        want = attacked(words)
        for rows in (most, pd.read_parquet(tmp_path / "rows.parquet")):
            got = study.reranked(within_budget(rows, words), tiny().test, held)
            pd.testing.assert_frame_equal(got, want, rtol=1e-4)
            assert got.attrs == want.attrs
    if floor is not None:
        free = attack_collection(
            encoder(),
            tiny().test,
            TABLE,
            Attack(method, words=9, floor=None, constraints=()),
            similarity=None,
            encoded=held,
            documents=documents,
        )
        assert (free["attacked"] != most["attacked"]).any()  # the floor did refuse swaps
    with pytest.raises(ValueError, match="words=10: allowed are 1 to 9"):
        within_budget(most, 10)


def test_the_budget_curve_is_that_of_separate_attacks():
    held = encode_collection(encoder(), tiny().test, n_queries=5)
    curve = budget_curve(
        encoder(),
        tiny().test,
        TABLE,
        words=(4, 1),
        floors=(None, 0.8),
        methods=("gradient", "random"),
        similarity=bag,
        encoded=held,
    )
    place = ["method", "floor", "words", "measure"]
    assert not curve.duplicated(place).any()
    cells = curve.set_index(place).sort_index()
    assert {tuple(c) for c in curve[place[:3]].to_numpy()} == {
        (m, f, w) for m in ("gradient", "random") for f in ("none", "0.8") for w in (1, 4)
    }
    assert (curve["low"] <= curve["mean"]).all()
    assert (curve["mean"] <= curve["high"]).all()
    assert (curve["queries"] == 5).all()
    one = Attack("random", words=1, floor=0.8)
    scored, rows = under_attack(encoder(), tiny().test, TABLE, one, n_queries=5, similarity=bag)
    told = summary(rows).set_index("measure")
    for name in ("success", "boosted", "top100", "encodings", "cost100", "similarity"):
        assert cells.loc[("random", "0.8", 1, name), ["mean", "low", "high"]].tolist() == pytest.approx(
            told.loc[name, ["mean", "low", "high"]].tolist(), rel=1e-5
        )
    both = paired(scored).set_index("metric").loc["calibrated"]
    damage = cells.loc[("random", "0.8", 1, "damage")]
    assert damage[["mean", "low", "high"]].tolist() == pytest.approx(both[["change", "low", "high"]].tolist(), rel=1e-4)
    assert cells.loc[("random", "0.8", 1, "entropy"), "mean"] == pytest.approx(both["attacked"], rel=1e-5)
    boosted = cells.xs("boosted", level="measure")["mean"]
    assert boosted["gradient", "none", 4] > boosted["gradient", "none", 1]
    assert boosted["gradient", "none", 4] >= boosted["gradient", "0.8", 4]
    few = {"words": (1,), "floors": (None,), "methods": ("random",)}
    alone = budget_curve(encoder(), tiny().test, TABLE, n_queries=5, **few)  # encodes for itself
    pd.testing.assert_frame_equal(alone, budget_curve(encoder(), tiny().test, TABLE, encoded=held, **few))
    with pytest.raises(ValueError, match="words="):
        budget_curve(encoder(), tiny().test, TABLE, words=())


# ---------------------------------------------------------------------------------------------------------- entropy


@pytest.mark.parametrize("twice", ["clean", "attacked"])
def test_a_query_with_two_rows_of_a_condition_cannot_be_paired(twice):
    rows = pd.DataFrame({"query": ["a", "a"], "condition": ["clean", "attacked"], "positives": 1})
    rows = rows.assign(**dict.fromkeys(measure.COLUMNS, 0.5))
    assert len(paired(rows)) == len(measure.COLUMNS)
    with pytest.raises(ValueError, match="one clean and one attacked row"):
        paired(pd.concat([rows, rows[rows["condition"] == twice]]))


def entropy_of(own, others):
    pool = np.concatenate([[own], others]).astype(np.float64)
    return np.log(np.exp(pool - pool.max()).sum()) + pool.max() - own


def test_documents_may_be_fewer_for_some_queries_and_all_are_known():
    held, rows = attacked()
    test, first = tiny().test, rows["query"].iloc[0]
    fewer = rows.drop(rows.index[(rows["query"] == first).to_numpy()][:2])
    got, whole = (
        adversarial_entropy(r, test, held, reading="alone").set_index(["condition", "query"]) for r in (fewer, rows)
    )
    assert np.isfinite(got["entropy"]).all()
    assert got.loc[("attacked", first), "entropy"] < whole.loc[("attacked", first), "entropy"]  # two rivals less
    others = [key for key in got.index if key[1] != first]
    assert got.loc[others, "entropy"].equals(whole.loc[others, "entropy"])
    row = test.queries["id"].to_pylist().index(first)
    scores = held.passages @ held.queries[held.of(np.array([row]))[0]]
    want = entropy_of(scores[row], fewer.loc[fewer["query"] == first, "score_after"].to_list())
    assert got.loc[("attacked", first), "entropy"] == pytest.approx(want, rel=1e-4)
    with pytest.raises(ValueError, match="'nobody' is not among the passages"):
        adversarial_entropy(rows.assign(passage=["nobody", *rows["passage"].iloc[1:]]), test, held)


@pytest.mark.parametrize("reading", ["filled", "alone", "replaced"])
def test_each_reading_is_what_it_says(reading):
    held, rows = attacked()
    test = tiny().test
    got = adversarial_entropy(rows, test, held, reading=reading, negatives=200, repeats=2).set_index(
        ["condition", "query"]
    )
    table = negative_table(test, negatives=200, repeats=2)
    ids = {
        name: {k: i for i, k in enumerate(getattr(test, name)["id"].to_pylist())} for name in ("queries", "passages")
    }
    for query, part in list(rows.groupby("query"))[:6]:
        row = ids["queries"][query]
        scores = held.passages @ held.queries[held.of(np.array([row]))[0]]
        documents = [ids["passages"][p] for p in part["passage"]]
        for condition, column in (("clean", "score_before"), ("attacked", "score_after")):
            theirs = dict(zip(documents, part[column], strict=True))
            if reading == "alone":
                want = entropy_of(scores[row], list(theirs.values()))
            elif reading == "replaced":
                want = np.mean(
                    [entropy_of(scores[row], [theirs.get(p, scores[p]) for p in drawn]) for drawn in table[row]]
                )
            else:
                continue
            assert got.loc[(condition, query), "entropy"] == pytest.approx(want, rel=1e-4)
    change = got.loc["attacked", "entropy"] - got.loc["clean", "entropy"]
    assert (change >= -1e-5).all()
    assert (change > 1e-4).any()


def test_the_filled_pool_holds_each_document_once_and_as_many_negatives_as_ever():
    rng = np.random.default_rng(0)
    table = np.stack([np.stack([rng.choice(40, 12, replace=False) for _ in range(5)]) for _ in range(8)])
    documents = np.stack([rng.choice(40, 4, replace=False) for _ in range(8)])
    documents[3, 2:] = -1
    columns = measure._columns(table, documents, "filled", 1)
    for i in range(8):
        real = documents[i] >= 0
        assert (columns[i][:, ~real] == -1).all()
        for r in range(5):
            at = columns[i, r, real]
            assert len(set(at)) == real.sum()
            pool = table[i, r].copy()
            pool[at] = documents[i][real]
            assert len(set(pool)) == 12  # nothing twice
    pools = torch.zeros(8, 5, 13)
    scores = np.ones(documents.shape, np.float32)
    assert (measure._pools(pools, columns, scores, "filled")[:, :, 1:] == 1).sum(-1)[0].tolist() == [4] * 5
    assert torch.isfinite(measure._pools(pools, columns, scores, "alone")).sum(-1)[3].tolist() == [3] * 5


def test_unattacked_documents_leave_everything_as_it_was():
    held, rows = attacked()
    still = rows.assign(score_after=rows["score_before"])
    got = adversarial_entropy(still, tiny().test, held, reading="filled", negatives=200, repeats=2)
    clean, same = (
        got[got["condition"] == c].drop(columns="condition").reset_index(drop=True) for c in ("clean", "attacked")
    )
    pd.testing.assert_frame_equal(clean, same)
    plain = score(encoder().encode, tiny().test, encode_passages=encoder().encode_passages, negatives=200, repeats=2)
    plain = plain.set_index("query").loc[clean["query"]].reset_index()
    assert clean["ndcg10"].to_numpy() == pytest.approx(plain["ndcg10"].to_numpy(), abs=1e-6)
    replaced = adversarial_entropy(still, tiny().test, held, reading="replaced", negatives=200, repeats=2)
    assert replaced["entropy"].to_numpy()[:20] == pytest.approx(plain["entropy"].to_numpy(), rel=1e-4)


def test_ranking_falls_when_a_document_climbs_over_the_positive():
    held, rows = attacked()
    risen = rows.assign(score_after=1e6)
    got = paired(adversarial_entropy(risen, tiny().test, held, negatives=200, repeats=2)).set_index("metric")
    assert got.loc["mrr10", "attacked"] <= 0.1
    assert got.loc["entropy", "change"] > 1e3
    assert (got["low"] <= got["change"]).all()


def test_rows_fit_a_run_store(tmp_path):
    _, rows = attacked()
    got = adversarial_entropy(rows, tiny().test, attacked()[0], negatives=200, repeats=2)
    store = RunStore(tmp_path)
    recipe = Recipe(texts="planted")
    store.save(Run(recipe, "done", measures=measures(got)), got)
    back = store.queries()
    wanted = {"key", "query", "scope", "positives", "entropy", "calibrated", "ndcg10", "mrr10", "recall10", "recall100"}
    assert wanted | {"condition"} == set(back.columns)
    assert set(back["condition"]) == {"clean", "attacked"}
    assert set(back["scope"]) == {"adversarial"}
    assert {"adversarial", "adversarial:clean"} == set(store.domains()["scope"])
    assert isinstance(measures(got)["adversarial"]["entropy"], Measure)


def test_attack_and_score_in_one_go():
    got, rows = under_attack(encoder(), tiny().test, TABLE, FREE, n_queries=4, similarity=None)
    assert len(got) == 8
    assert got.attrs["reading"] == "alone"
    assert got.attrs["negatives"] == 9
    assert len(rows) >= 32
    bad = rows.assign(passage="nobody")
    held = encode_collection(encoder(), tiny().test, n_queries=4)
    with pytest.raises(ValueError, match="'nobody' is not among the passages"):
        adversarial_entropy(bad, tiny().test, held)
    with pytest.raises(ValueError, match="reading='nine'"):
        adversarial_entropy(rows, tiny().test, held, reading="nine")
    with pytest.raises(ValueError, match="negatives=3"):
        adversarial_entropy(rows, tiny().test, held, negatives=3)


# --------------------------------------------------------------------------------------------- surrogate, similarity


def test_a_surrogate_learns_the_targets_order():

    test: Collection = tiny_collection("world", 150, 0)
    held = encode_collection(bag, test, n_queries=None)
    taught = train_surrogate(test, held, rung="L2H24", steps=40, rate=3e-3, seed=1)
    fresh = train_surrogate(test, held, rung="L2H24", steps=1, rate=0.0, seed=1)
    assert taught.agreement.mean > fresh.agreement.mean
    assert taught.agreement.low < taught.agreement.mean < taught.agreement.high
    with pytest.raises(ValueError, match="depth=1"):
        train_surrogate(test, held, depth=1)


def test_minilm_judges_meaning():
    vectors = minilm().encode(["Compute the mean.", "Calculate the average.", "A dog in the rain."])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors[0] @ vectors[1] > 0.7 > 0.3 > vectors[0] @ vectors[2]
    queries, passages = ["how to add numbers"], ["This function computes the big sum of all numbers in a list quickly."]
    table = Given({"computes": ["calculates", "eats"], "big": ["large"], "quickly": ["rapidly"]})
    got = attack_texts(encoder(), queries, passages, table, Attack(words=2, constraints=(), floor=0.7))
    assert got.attrs["similarity"] == "minilm"
    assert 0.7 <= got["similarity"][0] <= 1.0 + 1e-6
