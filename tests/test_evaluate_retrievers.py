import gc
import weakref

import bm25s
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tiny import WORDS, bag, tiny, tiny_collection

from drscale.encoder import build, why_not_loaded
from drscale.evaluate import rankers
from drscale.evaluate.entropy import score
from drscale.evaluate.lists import Lists, write_trec
from drscale.evaluate.ranking import METRICS, bm25_index, bm25_rank, bm25_tokens, ranking_metrics, search
from drscale.evaluate.retrievers import Retriever, measured_queries, metrics_of, rank_scores, retriever
from drscale.recipe import Recipe
from drscale.texts.collection import Collection, from_pairs


class Model:
    """Encodes as sentence-transformers' models do, the two sides apart."""

    similarity_fn_name = "cosine"

    def encode(self, texts):
        raise AssertionError("the two sides have functions of their own")

    def encode_query(self, texts):
        return bag(texts)

    def encode_document(self, texts):
        return 3 * bag(texts)


@pytest.mark.parametrize(
    ("scores", "rows", "said"),
    [
        ([[2.0, np.nan]], [[0, 1]], "scores that are not finite"),
        ([[2.0, 1.0]], [[0, 9999]], "rows beyond the [0-9]+ passages"),
        ([[2.0, 1.0]], [[0, -2]], "rows beyond"),
        ([[2.0, 1.0]], [[0.0, 1.0]], "rows beyond"),
        ([[2.0, 1.0]], [[3, 3]], "a passage twice"),
        ([2.0], [0], "shapes"),
    ],
)
def test_an_answer_that_is_none_is_refused(scores, rows, said):
    mine = Retriever("mine", lambda texts, collection, depth: (scores * len(texts), rows * len(texts)))
    with pytest.raises(ValueError, match=f"mine: rank gave .*{said}"):
        rank_scores(mine, tiny().test, limit=3)


def test_padding_is_no_passage():
    test = tiny().test

    def rank(texts, collection, depth):  # the right passage, another one, then nothing more at the best score of all
        right = collection.pairs[1][: len(texts)]
        rows = np.stack([right, (right + 1) % len(collection.passages), np.full(len(texts), -1)], axis=1)
        return np.tile([-1.0, -2.0, 0.0], (len(texts), 1)), rows

    found = metrics_of(Retriever("mine", rank), test, test.pairs[0][:5], ["a"] * 5)
    assert found["ndcg10"].tolist() == [1.0] * 5
    assert found["mrr10"].tolist() == [1.0] * 5


def test_sides_of_other_widths_are_refused():
    with pytest.raises(ValueError, match="queries of 3 dimensions, passages of 4"):
        search(np.ones((2, 3), np.float32), np.ones((5, 4), np.float32))


def test_every_kind_of_model_ranks():
    test = tiny().test
    tiny_encoder = build(Recipe(rung="L2H16", projection=32, seed=3)).eval()
    for model, name in ((bag, "bag"), (Model(), "Model"), (tiny_encoder, "L2H16"), ("bm25", "bm25")):
        made = retriever(model)
        rows = rank_scores(made, test, limit=40)
        assert made.name == name
        assert set(rows["model"]) == {name}
        assert set(rows["dataset"]) == {"test"}
        assert list(rows) == ["model", "dataset", "query", *METRICS]
        assert len(rows) == 40
        assert rows[list(METRICS)].notna().all(axis=None)
        scores, found = made.rank(test.queries["text"].to_pylist()[:3], test, 5)
        assert scores.shape == found.shape == (3, 5)
        assert (np.diff(scores, axis=1) <= 0).all()
    assert rank_scores(retriever("bm25"), test)["ndcg10"].mean() > 0.8
    assert rank_scores(retriever(bag, name="mine"), test)["model"].iloc[0] == "mine"


def test_a_retriever_measures_what_score_measures():
    test = tiny().test
    ours, usual = rank_scores(retriever(bag), test, limit=50), score(bag, test, limit=50)
    assert list(ours["query"]) == list(usual["query"])
    for metric in METRICS:
        np.testing.assert_allclose(ours[metric], usual[metric])


def test_what_a_retriever_is_made_of_can_be_scored():
    c = tiny_collection("c", 300, 1)
    model = build(Recipe(texts="planted", rung="L2H12"))
    with_function = score(model.encode, c, encode_passages=model.encode_passages)
    for same in (model, retriever(model)):
        pd.testing.assert_frame_equal(score(same, c), with_function)
    cosine = score(Model(), c)  # its two sides, by cosine as it says
    sides = retriever(Model())
    assert np.allclose(np.linalg.norm(sides.encode_passages(c.passages["text"].to_pylist()), axis=1), 1)
    by_hand = score(sides.encode, c, encode_passages=sides.encode_passages)
    pd.testing.assert_frame_equal(cosine, by_hand)
    with pytest.raises(ValueError, match=r"model=bm25: it has no vectors, .* ds.measure_stability"):
        score("bm25", c)
    with pytest.raises(ValueError, match="model=int: allowed are a BiEncoder, a function"):
        score(3, c)


def test_cosine_where_the_model_says_so_and_prompts_of_its_own():
    made = retriever(Model())
    assert np.allclose(np.linalg.norm(made.encode_passages(["bababa dobaba"]), axis=1), 1)
    own = retriever(lambda texts: bag(texts), encode_passages=lambda texts: 2 * bag(texts))
    assert np.allclose(own.encode_passages([WORDS[0]]), 2 * own.encode([WORDS[0]]))


def test_passages_are_encoded_once_for_each_collection_and_forgotten_with_it():
    calls = []

    def passages(texts):
        calls.append(len(texts))
        return bag(texts)

    made = retriever(bag, encode_passages=passages)
    one, other = tiny_collection("one", 12, 1), tiny_collection("other", 10, 2)
    for c in (one, other, one, one):
        rank_scores(made, c)
    assert calls == [12, 10]
    kept = weakref.ref(other)
    del other, c
    gc.collect()
    assert kept() is None


def test_queries_in_other_words_and_twice():
    test = tiny().test
    rows = measured_queries(test, 5)
    texts = test.queries["text"].take(rows).to_pylist()
    once = metrics_of(retriever(bag), test, rows, texts)
    twice = metrics_of(retriever(bag), test, np.r_[rows, rows], texts + ["nothing known"] * 5)
    assert np.array_equal(once, twice[:5])
    assert twice[5:]["mrr10"].mean() < once["mrr10"].mean()
    assert (
        rank_scores(retriever(bag), test, queries=[" ".join(t.split()[:1]) for t in texts], limit=5)["ndcg10"].mean()
        < once["ndcg10"].mean()
    )


def test_bm25_finds_nothing_where_no_word_is_shared():
    index = bm25_index(["alpha beta", "beta gamma", "delta"])
    scores, rows = bm25_rank(index, ["beta", "unheard", "the of", "", "delta"], 3)
    assert set(rows[0, :2]) == {0, 1}
    assert rows[0, 2] == -1
    assert rows[4, 0] == 2
    assert (rows[1:4] == -1).all()
    assert (scores[1:4] == 0).all()
    c = from_pairs("c", [("a", "alpha", "alpha beta"), ("b", "unheard", "beta gamma"), ("c", "delta", "delta")])
    assert list(rank_scores(retriever("bm25"), c)["ndcg10"]) == [1, 0, 1]


UNSPACED = {
    "Chinese": [
        ("如何打开文件？", "打开文件的方法"),
        ("删除目录", "用于删除一个目录的函数"),
        ("排序 list", "对 list 排序"),
    ],
    "rare": [("𠀀𠀁", "𠀂𠀀𠀁"), ("𡀀𡀁", "𡀂𡀀𡀁"), ("龥㐀", "㐂龥㐀")],
    "Japanese": [
        ("ファイルを開く", "このファイルを開く関数"),
        ("並べ替え", "配列の並べ替え"),
        ("削除", "行を削除する"),
    ],
    "Thai": [("เปิดไฟล์", "วิธีเปิดไฟล์ใหม่"), ("ลบแถว", "ฟังก์ชันลบแถว"), ("จัดเรียงข้อมูล", "การจัดเรียงข้อมูลทั้งหมด")],
}


@pytest.mark.parametrize("language", UNSPACED)
def test_bm25_finds_what_has_no_spaces_between_words(language):
    made = from_pairs(language, [(str(i), q, p) for i, (q, p) in enumerate(UNSPACED[language])])
    assert list(rank_scores(retriever("bm25"), made)["mrr10"]) == [1, 1, 1]


def test_pairs_of_characters_stand_only_where_there_are_no_spaces():
    assert bm25_tokens(["用pandas读取文件 a b1", "猫", ""]) == [
        ["用", "pandas", "读取", "取文", "文件", "b1"],
        ["猫"],
        [],
    ]


def test_spaced_texts_have_bm25s_s_own_tokens_and_scores():
    texts = [
        *tiny().test.passages["text"].to_pylist(),
        "Don't __init__ naïve café x_1 3.14 a Ünï 한국어 질문 где",
        "the",
    ]
    theirs = bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
    assert bm25_tokens(texts) == theirs
    index = bm25s.BM25(backend="numpy")
    index.index(theirs, show_progress=False)
    found = index.retrieve(theirs[:40], k=10, show_progress=False)
    assert np.array_equal(bm25_rank(bm25_index(texts), texts[:40], 10)[0], found.scores)  # bit by bit


def test_a_query_without_any_hit_counts_as_nought():
    c = tiny_collection("c", 6, 3)
    got = ranking_metrics(c, np.arange(6), np.zeros((6, 4), np.float32), np.full((6, 4), -1))
    assert (got == 0).all(axis=None)


def test_minilm_ranks_by_meaning():
    pairs = [
        ("a", "compute the average", "Return the arithmetic mean of the values."),
        ("b", "remove a folder", "Delete a directory and all its files."),
        ("c", "sort a list", "Put the items into ascending order."),
    ]
    made = retriever("minilm")
    assert list(rank_scores(made, from_pairs("meaning", pairs))["mrr10"]) == [1, 1, 1]
    assert np.allclose(np.linalg.norm(made.encode(["one", "two"]), axis=1), 1)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: retriever("bm26"), "bm26.*bm25, minilm, .*hub:ID"),
        (lambda: retriever("hub:"), "hub:.*allowed"),
        (lambda: retriever(3), "int.*BiEncoder"),
        (lambda: retriever("bm25", encode_passages=bag), "encode_passages"),
        (lambda: rank_scores(retriever(bag), tiny().test, queries=["one"]), "1 texts for the 270"),
        (lambda: rank_scores(retriever(bag), tiny().test, limit=0), "limit=0"),
        (lambda: rank_scores(Retriever("odd", lambda q, c, d: (np.zeros((1, 2)),) * 2), tiny().test), "odd: rank gave"),
    ],
)
def test_mistakes_are_said(act, said):
    with pytest.raises(ValueError, match=said):
        act()


def test_a_hub_model_that_is_not_there_is_one_sentence():
    with pytest.raises(ValueError, match="hub:nobody/nothing"):
        retriever("hub:nobody/nothing")


def test_what_is_behind_a_retriever_can_be_looked_into():
    tiny_encoder = build(Recipe(rung="L2H16", projection=32, seed=3)).eval()
    made = retriever(retriever(tiny_encoder), "mine")
    assert made.name == "mine"
    assert made.module is tiny_encoder
    assert retriever(bag).module is None
    assert retriever("bm25").module is None


def test_a_sparse_and_a_cross_encoder_rank_by_name_and_as_objects(tiny_bert):
    from sentence_transformers import CrossEncoder, SparseEncoder

    test = tiny().test
    for kind, name, made in (("splade", "sparse", SparseEncoder), ("crossencoder", "cross", CrossEncoder)):
        named, given = retriever(f"{kind}:{tiny_bert[name]}"), retriever(made(tiny_bert[name]))
        assert given.name == made.__name__
        first, second = (rank_scores(r, test, limit=10).drop(columns="model") for r in (named, given))
        assert first.equals(second)
        scores, rows = given.rank(test.queries["text"].to_pylist()[:2], test, 4)
        assert scores.shape == rows.shape == (2, 4)
        assert (np.diff(scores, axis=1) <= 0).all()


def test_a_multi_vector_encoder_ranks_as_sentence_transformers_scores(tmp_path):
    """A real MultiVectorEncoder, small and random: by name, as an object and as a teacher."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from transformers import AutoTokenizer, BertConfig, BertModel

    from drscale.encoder import minilm_folder
    from drscale.labels import ranked_lists

    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(**shape, max_position_embeddings=64)).save_pretrained(tmp_path / "body")
    AutoTokenizer.from_pretrained(str(minilm_folder())).save_pretrained(tmp_path / "body")
    MultiVectorEncoder(str(tmp_path / "body")).save_pretrained(str(tmp_path / "late"))
    model, test = MultiVectorEncoder(str(tmp_path / "late")), tiny().test
    asked = test.queries["text"].to_pylist()[:6]
    told = model.similarity(model.encode_query(asked), model.encode_document(test.passages["text"].to_pylist()))
    best = -np.sort(-np.asarray(told), axis=1)[:, :4]
    for one in (f"colbert:{tmp_path / 'late'}", model):
        scores, rows = retriever(one).rank(asked, test, 4)
        assert scores == pytest.approx(best, abs=1e-4)
        assert np.take_along_axis(np.asarray(told), rows, 1) == pytest.approx(scores, abs=1e-4)
    lists = ranked_lists(f"colbert:{tmp_path / 'late'}", test, 4)
    assert lists.scores[:6] == pytest.approx(best, abs=1e-4)


def test_token_vectors_rank_as_an_object():
    class ColBERT:  # PyLate's has one function for both sides
        def encode(self, texts, is_query, **options):
            return [bag(t.split()) for t in texts]

    test = tiny().test
    asked = test.passages["text"].to_pylist()[:3]
    scores, rows = retriever(ColBERT()).rank(asked, test, 2)
    assert rows[:, 0].tolist() == [0, 1, 2]
    assert scores[0, 0] == pytest.approx(len(asked[0].split()))


def test_wordllama_and_maxsim_are_retrievers_too(monkeypatch):
    test = tiny().test
    monkeypatch.setattr(rankers, "wordllama", lambda: rankers.Steps(bag, bag, rankers.by_vector))
    texts = test.queries["text"].to_pylist()[:5]
    assert (retriever("wordllama").rank(texts, test, 5)[1] == retriever(bag).rank(texts, test, 5)[1]).all()
    assert retriever("maxsim", "late").name == "late"


def test_a_run_answers_a_collections_own_queries(tmp_path):
    test = tiny().test
    scores, rows = retriever("bm25").rank(test.queries["text"].to_pylist(), test, 100)
    path = write_trec(Lists(rows, scores), test, tmp_path / "bm25.run")
    read = rank_scores(retriever(f"trec:{path}", "bm25"), test)
    assert read[list(METRICS)].equals(rank_scores(retriever("bm25"), test)[list(METRICS)])
    with pytest.raises(ValueError, match="no answer to 'nobody asked this', which is no query of"):
        retriever(f"trec:{path}").rank(["nobody asked this"], test, 5)
    with pytest.raises(ValueError, match=r"model='trec:gone\.run': no such file gone\.run"):
        retriever("trec:gone.run")
    twins = from_pairs("twins", [("a", "the same words", "one"), ("b", "the same words", "two")])
    told = write_trec(Lists(np.array([[0], [1]]), np.ones((2, 1))), twins, tmp_path / "twins.run")
    with pytest.raises(ValueError, match="'a' and 'b' are one text with two answers"):
        rank_scores(retriever(f"trec:{told}"), twins)


def test_an_error_of_a_model_is_one_sentence():
    class SparseEncoder:
        def encode_query(self, texts, **options):
            raise RuntimeError("size of tensor a\nmust match")

        encode_document = encode_query

    with pytest.raises(ValueError, match=r"^SparseEncoder: size of tensor a"):
        rank_scores(retriever(SparseEncoder()), tiny().test)


def test_only_a_librarys_error_is_put_into_one_sentence():
    """sentence-transformers' own object says one line, and a user's function and object raise what they raise."""
    from sentence_transformers import SentenceTransformer

    class Broken(SentenceTransformer):
        def __init__(self):
            pass

        def encode_query(self, texts):
            raise RuntimeError("size of tensor a\nmust match")

        encode_document = encode_query
        similarity_fn_name = "cosine"

    with pytest.raises(ValueError, match=r"^mine: encode: size of tensor a$") as told:
        rank_scores(retriever(Broken(), "mine"), tiny().test, limit=3)
    assert isinstance(told.value.__cause__, RuntimeError)

    class Own:
        encode_query = encode_document = encode = Broken.encode_query

    for model in (Own(), Own().encode):
        with pytest.raises(RuntimeError, match="must match"):
            rank_scores(retriever(model, "mine"), tiny().test, limit=3)


def test_a_memory_error_stays_one_and_our_own_sentences_are_not_doubled():
    for error, kept in ((MemoryError("full"), True), (ValueError("mine: no"), True), (KeyError("x"), False)):
        with pytest.raises(type(error) if kept else ValueError) as told, rankers.one_sentence("mine"):
            raise error
        assert (told.value is error) == kept


@pytest.mark.parametrize("kind", ["hub", "splade", "colbert", "crossencoder"])
def test_a_model_that_is_not_at_hand_has_a_way_out(kind, monkeypatch):
    from huggingface_hub import constants

    spec = f"{kind}:nobody/none"
    said = (
        rf"{spec}'?: cannot be loaded \(.*cached files\); HF_HUB_OFFLINE is set, .* HF_HOME, or give .* a local folder$"
    )
    with pytest.raises(ValueError, match=said) as told:
        retriever(spec).rank(["a"], tiny().test, 2)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    way = "; without a network, load it once elsewhere and set HF_HUB_OFFLINE=1 and the same HF_HOME here, or give"
    assert way in why_not_loaded(told.value)
    assert why_not_loaded(ValueError("another\nerror")) == "another"


@pytest.mark.parametrize("spec", ["splade:", "wordllama:x", "trec:", "elastic:x"])
def test_a_spelling_that_names_nothing_is_refused(spec):
    with pytest.raises(ValueError, match=f"model='{spec}': allowed are bm25, .*trec:PATH"):
        retriever(spec)


def test_rank_eleven_is_too_deep_for_ten_and_grade_zero_is_not_relevant():
    """By hand: one right passage at rank 11 of 20; then grades 2 and 1 at ranks 1 and 3, and 0 at rank 2."""
    texts = [{"id": f"d{i}", "text": f"passage {i}"} for i in range(20)]
    judged = {"query": ["q1", "q2", "q2", "q2"], "passage": ["d10", "d0", "d1", "d2"], "relevance": [1, 2, 0, 1]}
    asked = pa.Table.from_pylist([{"id": "q1", "text": "one"}, {"id": "q2", "text": "two"}])
    made = Collection("hand", asked, pa.Table.from_pylist(texts), pa.table(judged))
    scores, rows = np.tile(np.arange(20.0, 0, -1), (2, 1)), np.tile(np.arange(20), (2, 1))
    found = ranking_metrics(made, np.array([0, 1]), scores, rows, ["R@20"])
    assert found.loc[0, ["ndcg10", "mrr10", "recall10", "recall100"]].tolist() == [0, 0, 0, 1]
    gained, ideal = 2 + 1 / np.log2(4), 2 + 1 / np.log2(3)
    assert found.loc[1, "ndcg10"] == pytest.approx(gained / ideal)
    assert found.loc[1, ["mrr10", "recall10"]].tolist() == [1, 1]  # two relevant ones, both found
