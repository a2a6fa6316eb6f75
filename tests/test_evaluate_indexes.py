"""Indexes for large collections lose nothing where they should not, and say what they lose where they may."""

import warnings

import numpy as np
import pytest

import drscale as ds
from drscale.evaluate import indexes, ranking
from drscale.evaluate.indexes import approximate, bm25_of, found_share
from drscale.evaluate.ranking import bm25_index, bm25_rank, bm25_tokens, search
from drscale.texts.cache import CacheWarning, cache_folder


@pytest.fixture
def texts():
    return ds.collection("planted?pairs=80")


def test_words_in_blocks_rank_as_all_at_once(texts, monkeypatch):
    import bm25s

    passages = texts.passages["text"].to_pylist()
    whole = bm25s.BM25(backend="numpy")
    whole.index(bm25_tokens(passages), show_progress=False)
    monkeypatch.setattr(ranking, "BLOCK", 7)
    queries = texts.queries["text"].to_pylist()
    for index in (bm25_index(passages), bm25_index(texts.passages["text"])):
        for mine, theirs in zip(bm25_rank(index, queries, 20), bm25_rank(whole, queries, 20), strict=True):
            assert np.array_equal(mine, theirs)


def test_texts_without_a_word_are_refused():
    with pytest.raises(ValueError, match="BM25: none of 2 texts has a word"):
        bm25_index(["", "a"])


def test_a_large_index_is_built_once_and_mapped(texts, monkeypatch, tmp_path):
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path))
    queries = texts.queries["text"].to_pylist()
    scores, rows = bm25_rank(bm25_of(texts), queries, 10)
    assert not list(cache_folder().glob("bm25-index*"))
    monkeypatch.setattr(indexes, "MAPPED", 50)
    kept = bm25_of(texts)
    assert isinstance(kept.scores["data"], np.memmap)
    assert isinstance(kept.scores["indices"], np.memmap)
    assert all(np.array_equal(a, b) for a, b in zip(bm25_rank(kept, queries, 10), (scores, rows), strict=True))

    def never(_):
        raise AssertionError("built again")

    monkeypatch.setattr(indexes, "bm25_index", never)
    assert np.array_equal(bm25_rank(bm25_of(texts), queries, 10)[1], rows)


def test_a_damaged_index_is_built_again(texts, monkeypatch, tmp_path):
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path))
    monkeypatch.setattr(indexes, "MAPPED", 50)
    rows = bm25_rank(bm25_of(texts), ["open a file"], 10)[1]
    (folder,) = cache_folder().glob("bm25-index*")
    (folder / "params.index.json").write_text("{")
    with pytest.warns(CacheWarning, match="no index of bm25s"):
        again = bm25_of(texts)
    assert np.array_equal(bm25_rank(again, ["open a file"], 10)[1], rows)


def test_all_cells_and_a_wide_graph_find_what_exact_search_finds():
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(12, 24))
    passages = (centres[rng.integers(0, 12, 3000)] + rng.normal(size=(3000, 24)) / 2).astype(np.float32)
    queries = passages[rng.choice(3000, 50, replace=False)] + rng.normal(size=(50, 24)).astype(np.float32) / 4
    _, exact = search(queries, passages, 10)
    shares = {}
    for probes in (1, 4, 40):
        scores, rows = approximate(passages, "ivf", cells=40, probes=probes).search(queries, 10)
        shares[probes] = found_share(rows, exact).mean()
        assert (np.diff(scores[:, :5]) <= 0).all()
    assert shares[1] < shares[4] < shares[40]
    assert shares[40] > 0.99
    _, rows = approximate(passages, "hnsw", breadth=200).search(queries, 10)
    assert found_share(rows, exact).mean() > 0.9


def test_how_much_is_found_is_counted_by_query():
    exact = np.array([[0, 1, 2], [3, 4, 5]])
    rows = np.array([[2, 1, 9], [-1, -1, -1]])
    assert found_share(rows, exact, 3).tolist() == [2 / 3, 0.0]
    with pytest.raises(ValueError, match="k=4: from 1 to 3"):
        found_share(rows, exact, 4)


def test_bad_options_are_refused():
    vectors = np.eye(8, dtype=np.float32)
    bad = ({"kind": "lsh"}, "'ivf', 'hnsw'"), ({"probes": 0}, "probes=0"), ({"cells": -5}, "cells=-5: at least 0")
    for options, said in (*bad, ({"kind": "hnsw", "links": 1}, "links=1: at least 2")):
        with pytest.raises(ValueError, match=said):
            approximate(vectors, **options)
    for passages in (vectors[0], vectors[:0]):
        with pytest.raises(ValueError, match="vectors are needed"):
            approximate(passages)


def test_few_vectors_make_one_cell_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, rows = approximate(np.eye(8, dtype=np.float32)).search(np.eye(8, dtype=np.float32), 1)
    assert rows[:, 0].tolist() == list(range(8))
