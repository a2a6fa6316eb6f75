import contextlib
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scripts import script
from tiny import WORDS, bag, tiny

from drscale.attacks import target as importance
from drscale.attacks.substitutes import STOP_WORDS, Given, Spot, count, read_vectors, spots, swapped, synonyms, words_of
from drscale.attacks.target import Tokens, mapped, target
from drscale.attacks.words import Attack, attack_texts, best_of, plan
from drscale.encoder import build
from drscale.recipe import Recipe

TABLE = Given({w: [WORDS[(i * 7 + k * 31 + 1) % len(WORDS)] for k in range(4)] for i, w in enumerate(WORDS)})
FREE = Attack(floor=None, words=4, constraints=())


def loop():
    """The plain greedy loop of the benchmark."""
    return script("benchmarks/attacks.py").one_at_a_time


@lru_cache(maxsize=1)
def encoder():
    return build(Recipe(rung="L2H16", projection=32, seed=3)).eval()


def some(n=6):
    test = tiny().test
    return test.queries["text"].to_pylist()[:n], test.passages["text"].to_pylist()[n : 2 * n]


# ------------------------------------------------------------------------------------------------- words and swaps


def test_code_numbers_and_query_words_stay():
    text = "Compute the array np.array of read_csv x1 in C:/tmp/file call(me) don't semi-dark Large arrays."
    table = Given({w: ["new"] for w in ("compute", "array", "large", "arrays", "call", "file", "dark", "read", "csv")})
    (found,) = spots([text], ["what is it"], table)
    assert [s.word for s in found] == ["Compute", "array", "Large", "arrays"]
    assert [s.candidates for s in found] == [("New",), ("new",), ("New",), ("new",)]
    (found,) = spots([text], ["an array"], table)
    assert [s.word for s in found] == ["Compute", "Large"]
    assert spots(["the them"], ["q"], Given({"the": ["a"], "them": ["b"]})) == [[]]
    assert len(spots(["the them"], ["q"], Given({"the": ["a"], "them": ["b"]}), ())[0]) == 2
    assert spots(["big dog"], ["a pup"], Given({"dog": ["pup"]}), ("query_candidates",)) == [[]]
    assert spots(["big dog"], ["a"], Given({"dog": ["pup"], "big": ["large"]}), (), ends=[3])[0] == [
        Spot(0, "big", ("large",))
    ]
    with pytest.raises(ValueError, match="constraints"):
        spots(["a"], ["b"], table, ("stopwords",))
    assert {"the", "of", "with"} <= STOP_WORDS


def test_swaps_keep_everything_else():
    assert swapped("a big, big dog", [(7, "big", "huge"), (2, "big", "large")]) == "a large, huge dog"
    with pytest.raises(ValueError, match="not 'dog'"):
        swapped("a big dog", [(2, "dog", "cat")])


CHINESE = "我的计算机很慢，需要更换内存。Python程序在计算机上运行。"


def letters(texts):
    """How often each text names a brain or a programme: an encoder of Chinese."""
    return np.array([[t.count("脑"), t.count("程序")] for t in texts], dtype=np.float32)


def test_chinese_is_cut_into_the_longest_words_that_a_source_knows():
    table = Given({"计算": ["运算"], "计算机": ["电脑"], "内存": ["存储器"], "python": ["perl"], "运行": []})
    found = words_of(CHINESE, table)
    assert [word for _, word in found] == ["计算机", "内存", "Python", "计算机", "运行"]
    assert all(CHINESE[at : at + len(word)] == word for at, word in found)
    assert words_of(CHINESE, table, end=4) == [(2, "计算")]  # read no further than the end
    (row,) = spots([CHINESE], ["内存多少"], table)
    assert [(s.word, s.candidates) for s in row] == [
        ("计算机", ("电脑",)),
        ("Python", ("Perl",)),
        ("计算机", ("电脑",)),
    ]
    # 我 的 计算机 很 慢 需 要 更 换 内存, Python 程 序 在 计算机 上 运行
    assert count(CHINESE, table, len(CHINESE)) == 17
    assert count("plain English words", table, 19) == 3

    class Bare:
        source, has_parts = "bare", False

        def of(self, words, same_part=True):
            return {w: {"计算机": ["电脑"], "计算": []}.get(w, []) for w in words}

    assert [w for _, w in words_of(CHINESE, Bare())] == ["计算机", "Python", "计算机"]


def test_chinese_passages_are_attacked_word_by_word(tmp_path):
    attack, table = Attack("deletion", floor=None), Given({"计算机": ["电脑", "主机"], "内存": ["存储器"]})
    (row,) = attack_texts(letters, ["电脑"], [CHINESE], table, attack, similarity=None).to_dict("records")
    assert row["attacked"] == CHINESE.replace("计算机", "电脑")
    assert row["swaps"] == ["计算机 -> 电脑"] * 2
    assert row["score_after"] == row["score_before"] + 2
    table = Given({"计算机": ["电脑", "硬件"], "内存": ["缓存"]})
    got = attack_texts(encoder(), ["电脑"] * 2, [CHINESE, CHINESE[:8]], table, FREE, similarity=None)
    want = encoder().encode_passages(got["attacked"].tolist()) @ encoder().encode(["电脑"])[0]
    assert got["score_after"].to_numpy() == pytest.approx(want, abs=1e-4)
    assert got["changed"].any()
    # A file of word vectors keeps its Chinese words.
    (tmp_path / "zh.txt").write_text("计算机 1 0.1\n电脑 1 0\n内存 0 1\nABC 1 1\n", encoding="utf-8")
    assert read_vectors(tmp_path / "zh.txt")[0] == ("计算机", "电脑", "内存")
    near = attack_texts(letters, ["电脑"], [CHINESE], f"vectors:{tmp_path / 'zh.txt'}", attack, similarity=None)
    assert near["attacked"][0] == CHINESE.replace("计算机", "电脑")


def test_a_source_without_a_word_for_any_passage_is_refused():
    attack = Attack("deletion", floor=None)
    with pytest.raises(ValueError, match="synonyms 'encoder': no substitute for any word of the 1 passages"):
        attack_texts(letters, ["电脑"], [CHINESE.replace("Python", "")], synonyms("encoder"), attack, similarity=None)
    with pytest.raises(ValueError, match="no substitute for any word of the 2 passages, as 'dog'; give a source"):
        attack_texts(bag, ["q", "q"], ["dog 1", "dog 2"], Given({"cat": ["lion"]}), attack, similarity=None)
    # Where it is the constraints that leave nothing, the passage stays as it is.
    still = attack_texts(bag, ["a dog"], ["dog"], Given({"dog": ["hound"]}), attack, similarity=None)
    assert not still["changed"].any()


# ------------------------------------------------------------------------------------------------------ importance


def test_gradients_are_those_of_the_score():
    """A small step along one token's embedding moves the score as its gradient says."""
    enc, (queries, passages) = encoder(), some(3)
    toward = enc.encode(queries)
    read = importance.read(enc, passages)
    found = importance.gradients(enc, toward, read.ids)
    table = enc.passage_tower.body.get_input_embeddings()
    for i, (values, slopes) in enumerate(found):
        step = torch.zeros(values.shape)
        step[3] = 1e-3 * torch.from_numpy(slopes[3] / np.linalg.norm(slopes[3]))
        scores = []
        for sign in (1, -1):
            hook = table.register_forward_hook(lambda m, a, out, move=sign * step: out + move)
            scores.append(float(enc.encode_tokens([read.ids[i]], "passage")[0].detach() @ torch.from_numpy(toward[i])))
            hook.remove()
        assert (scores[0] - scores[1]) / 2e-3 == pytest.approx(np.linalg.norm(slopes[3]), rel=0.02)
    assert not any(p.grad is not None for p in enc.parameters())


def test_the_hinge_orders_words_as_the_score_does():
    enc, (queries, passages) = encoder(), some(4)
    vectors = enc.encode(queries)
    scores = (vectors * enc.encode_passages(passages)).sum(1)
    rivals = np.stack([scores + 3, scores - 3], axis=1).astype(np.float32)  # one still ahead, one left behind
    plain, hinge = (
        plan(target(enc), vectors, queries, passages, TABLE, Attack(m, constraints=()), rivals=rivals)
        for m in ("gradient", "hinge")
    )
    assert [p.slots for p in plain] == [p.slots for p in hinge]
    read = importance.read(enc, passages)
    beaten = importance.gradients(enc, vectors, read.ids, rivals - 100)
    assert all((slopes == 0).all() for _, slopes in beaten)


def test_first_order_gains_point_the_right_way():
    """Candidates put first by their gain lift the score more than those put last."""
    enc, (queries, passages) = encoder(), some(12)
    many = Given({w: [WORDS[(i * 5 + k * 17 + 1) % len(WORDS)] for k in range(12)] for i, w in enumerate(WORDS)})
    vectors = enc.encode(queries)
    plans = plan(target(enc), vectors, queries, passages, many, Attack("swap", constraints=()))
    first, last = (
        [swapped(p.head, [(s.at, s.word, s.candidates[k])]) for p in plans for s in p.slots[:1]] for k in (0, -1)
    )
    lift = ((enc.encode_passages(first) - enc.encode_passages(last)) * vectors).sum(1)
    assert (lift > 0).mean() > 0.8


def test_the_nearest_rule_tries_the_candidate_next_to_the_perturbed_embedding():
    """Recomputed token by token: one step along the gradient of all swappable words, then the nearest by cosine."""
    enc, (queries, passages) = encoder(), some(6)
    vectors, aim = enc.encode(queries), target(enc)
    attacks = {rule: Attack(floor=None, constraints=(), rule=rule, eps=0.5) for rule in ("all", "nearest")}
    every, near = (plan(aim, vectors, queries, passages, TABLE, a) for a in attacks.values())
    read = importance.read(enc, passages)
    slopes = importance.gradients(enc, vectors, read.ids)
    for spans, (values, gradient), full, one in zip(read.spans, slopes, every, near, strict=True):
        assert [(s.at, s.word) for s in full.slots] == [(s.at, s.word) for s in one.slots]
        rows = {s.at: importance.tokens_of(s, spans) for s in full.slots}
        norm = np.sqrt(sum((gradient[t] ** 2).sum() for t in {t for own in rows.values() for t in own}))
        for all_of, mine in zip(full.slots, one.slots, strict=True):
            wanted = np.mean([values[t] + 0.5 * gradient[t] / norm for t in rows[all_of.at]], axis=0)
            means = importance.mean_embeddings(enc, all_of.candidates)
            cosine = {c: v @ wanted / np.linalg.norm(v) / np.linalg.norm(wanted) for c, v in means.items()}
            assert mine.candidates == (max(cosine, key=cosine.get),)
    rows = {r: attack_texts(enc, queries, passages, TABLE, a, similarity=None) for r, a in attacks.items()}
    assert (rows["nearest"]["encodings"] < rows["all"]["encodings"]).all()
    assert (rows["nearest"]["score_after"] >= rows["nearest"]["score_before"]).all()
    assert rows["nearest"]["changed"].any()
    assert (rows["all"]["score_after"] - rows["nearest"]["score_after"]).mean() > 0
    far = plan(aim, vectors, queries, passages, TABLE, Attack(floor=None, constraints=(), rule="nearest", eps=1e3))
    assert [p.slots for p in far] != [p.slots for p in near]
    # As PRADA does it: the surrogate's gradient names the candidate, the target keeps or refuses it.
    black = Attack("surrogate", floor=None, rule="nearest", constraints=())
    got = attack_texts(bag, queries, passages, TABLE, black, similarity=None, surrogate=enc)
    assert (got["encodings"] <= 1 + got["words"]).all()


def test_the_usual_rule_leaves_the_name_of_an_attack_as_it_was():
    assert str(Attack(floor=None)) == (
        "Attack(method='gradient', words=10, share=1.0, candidates=20, floor=None, "
        "constraints=('stop_words', 'query_words'), same_part=True, seed=0)"
    )
    assert str(Attack(rule="nearest")).endswith("seed=0, rule='nearest', eps=45.0)")


# ------------------------------------------------------------------------------------------------------ the attack


@pytest.mark.parametrize(
    "attack", [FREE, Attack("swap", floor=None, words=3, candidates=2), Attack("deletion", 2, floor=0.6)]
)
def test_side_by_side_is_one_at_a_time(attack):
    enc, (queries, passages) = encoder(), some(8)
    passages[3] = passages[2]  # the same passage for two queries
    passages[4] = " ".join([passages[4]] * 9)  # longer than what is read

    def similarity(texts):
        return bag(texts) + 0.01

    def unit(texts):
        v = similarity(texts)
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    got = attack_texts(enc, queries, passages, TABLE, attack, similarity=similarity, block=5)
    one = loop()
    for i, row in got.iterrows():
        text, before, after = one(enc, queries[i], passages[i], TABLE, attack, unit)
        assert row["attacked"] == text
        assert [row["score_before"], row["score_after"]] == pytest.approx([before, after], abs=1e-4)
    assert got["changed"].any()
    pd.testing.assert_frame_equal(
        got, attack_texts(enc, queries, passages, TABLE, attack, similarity=similarity, block=100), rtol=1e-4
    )


def test_rows_say_what_was_done():
    queries, passages = some(5)
    queries[0] = passages[0]  # with the query's words kept nothing may be swapped
    got = attack_texts(encoder(), queries, passages, TABLE, Attack(floor=None, words=2), similarity=None)
    still, rest = got.iloc[0], got.iloc[1:]
    assert not still["changed"]
    assert still["attacked"] == still["original"] == passages[0]
    assert still["score_after"] == still["score_before"]
    assert list(got["original"]) == passages
    assert rest["changed"].all()
    assert (rest["score_after"] > rest["score_before"]).all()
    assert got["similarity"].isna().all(), "nobody judged"
    judged = attack_texts(encoder(), queries, passages, TABLE, Attack(floor=None, words=2), similarity=bag)
    assert judged["similarity"][0] == 1.0
    assert (judged["similarity"][1:] < 1.0).all()
    assert rest["words_changed"].between(1, 2).all()
    for _, row in got.iterrows():
        pairs = [s.split(" -> ") for s in row["swaps"]]
        assert len(pairs) == len(row["places"]) == row["words_changed"]
        swaps = [(at, old, new) for at, (old, new) in zip(row["places"], pairs, strict=True)]
        assert swapped(row["original"], swaps) == row["attacked"]
        kept = set(queries[row.name].split())
        assert not kept & {old for _, old, _ in swaps}
    assert got.attrs["attack"]["words"] == 2
    assert got.attrs["source"] == "given"
    assert not got.attrs["part_of_speech"]


def test_the_budget_is_a_count_and_a_share():
    assert [Attack(words=3).budget(n) for n in (0, 2, 50)] == [1, 2, 3]
    assert [Attack(words=30, share=0.1).budget(n) for n in (5, 50, 1000)] == [1, 5, 30]
    assert Attack(words=10).budget(2) == 2


def test_black_boxes_are_attacked_without_a_look_inside():
    queries, passages = some(6)
    for method in ("deletion", "random"):
        got = attack_texts(bag, queries, passages, TABLE, Attack(method, floor=None), similarity=None)
        assert (got["score_after"] >= got["score_before"]).all()
    # A word of the query was swapped in, as a bag of words rewards nothing else.
    put = {s.split(" -> ")[1] for row, q in zip(got["swaps"], queries, strict=True) for s in row}
    assert put <= {w for q in queries for w in q.split()}
    enc = encoder()
    got = attack_texts(bag, queries, passages, TABLE, Attack("surrogate", floor=None), similarity=None, surrogate=enc)
    assert (got["score_after"] >= got["score_before"]).all()


def test_two_towers_are_attacked_where_passages_go():
    enc = build(Recipe(rung="L2H16", projection=32, towers="two", seed=4)).eval()
    queries, passages = some(4)
    got = attack_texts(enc, queries, passages, TABLE, FREE, similarity=None)
    now = (enc.encode(queries) * enc.encode_passages(got["attacked"].tolist())).sum(1)
    assert now == pytest.approx(got["score_after"].to_numpy(), abs=1e-4)
    assert got["changed"].all()


def test_the_floor_holds():
    queries, passages = some(6)
    free = attack_texts(encoder(), queries, passages, TABLE, FREE, similarity=bag)
    held = attack_texts(encoder(), queries, passages, TABLE, Attack(floor=0.9, words=4, constraints=()), similarity=bag)
    assert (held["similarity"] >= 0.9).all()
    assert free["similarity"].min() < 0.9


def test_only_what_is_read_is_encoded_and_never_too_little():
    enc, aim = encoder(), target(encoder())
    _, (text,) = some(1)
    whole = " ".join([text] * 9)
    (end,) = importance.read(enc, [whole]).ends
    (cut,) = aim.cuts([whole], [end])
    assert end < cut < len(whole)
    want = enc.encode_passages([whole])
    assert aim.vectors([whole[:cut]], [whole[cut:]]) == pytest.approx(want, abs=1e-5)
    # Where swaps left too few tokens before the cut, the rest is read after all.
    assert aim.vectors([whole[:20]], [whole[20:]]) == pytest.approx(want, abs=1e-5)


@given(
    st.lists(st.one_of(st.text(max_size=40), st.sampled_from(["[SEP] x", "ΑΣ a", "e\u0301 \x1c b", "深度 learning"])))
)
def test_words_tokenised_alone_are_those_of_the_text(texts):
    enc = encoder()
    want = enc.tokens([*texts, "a"], "passage")
    got = Tokens(enc)([*texts, "a"])
    assert [list(g) for g in got] == [list(w) for w in want.rows(np.arange(len(want)))]


def test_the_mapped_table_changes_nothing_and_goes_away():
    enc, (_, passages) = encoder(), some(3)
    before, table = enc.encode_passages(passages), enc.passage_tower.body.get_input_embeddings()
    with mapped(enc):
        assert enc.passage_tower.body.get_input_embeddings() is not table
        assert enc.encode_passages(passages) == pytest.approx(before, abs=1e-5)
    with contextlib.suppress(KeyError), mapped(enc):
        raise KeyError
    assert enc.passage_tower.body.get_input_embeddings() is table


def test_ties_go_to_the_earlier_candidate():
    assert best_of(np.array([1.0, 2.0, 2.0 + 1e-7]), 1.5, 1e-6) == 1
    assert best_of(np.array([1.0, 1.5]), 1.5, 1e-6) is None
    assert best_of(np.array([-np.inf]), 0.0, 1e-6) is None


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"method": "gradient", "model": bag}, "needs a BiEncoder"),
        ({"method": "surrogate", "model": bag}, "give surrogate"),
        ({"method": "hinge"}, "give rivals"),
        ({"floor": 0.5, "similarity": None}, "needs similarity"),
        ({"model": 3}, "model=int"),
        ({"queries": ["a"]}, "1 queries and 6 passages"),
    ],
)
def test_mistakes_are_one_sentence(bad, said):
    queries, passages = some(6)
    options = {"method": "gradient", "floor": None, "model": encoder(), "similarity": None, "queries": queries} | bad
    with pytest.raises(ValueError, match=said):
        attack_texts(
            options["model"],
            options["queries"],
            passages,
            TABLE,
            Attack(options["method"], floor=options["floor"]),
            similarity=options["similarity"],
        )
    for wrong in (
        {"rule": "best"},
        {"rule": "nearest", "method": "random"},
        {"rule": "nearest", "eps": 0.0},
        {"method": "magic"},
        {"words": 0},
        {"share": 0.0},
        {"floor": 2.0},
    ):
        with pytest.raises(ValueError, match="Attack"):
            Attack(**wrong)
