"""Teachers and their lists: what ranks, what is kept, what the files say, and what is wrong with them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny import bag, tiny_collection

from drscale.evaluate import rankers
from drscale.evaluate.lists import lists_from
from drscale.labels import cross, teachers
from drscale.labels.formats import (
    LabelWarning,
    Lists,
    corpus_path,
    read_dpr,
    read_hard_negatives,
    read_trec,
    write_dpr,
    write_trec,
)
from drscale.labels.supervision import check_teachers, teacher_names
from drscale.labels.teachers import TEACHERS, TeacherRow, latency, ranked_lists, register_teacher
from drscale.recipe import Recipe
from drscale.texts import CacheWarning, Collection
from drscale.texts.cache import cache_folder
from drscale.texts.collection import from_pairs


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    before = dict(TEACHERS)
    teachers._prepared.cache_clear()
    yield
    teachers._prepared.cache_clear()
    TEACHERS.clear()
    TEACHERS.update(before)


@pytest.fixture
def texts() -> Collection:
    return tiny_collection("tiny", 30, 0)


def by_bag(queries: list[str], passages: list[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
    scores = bag(queries) @ bag(passages).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    return rows, np.take_along_axis(scores, rows, 1)


def own_first(lists: Lists) -> float:
    """How often a query's own passage, which has its row, comes first."""
    return float((lists.rows[:, 0] == np.arange(len(lists))).mean())


# ------------------------------------------------------------------------------------------------- one interface


@pytest.mark.parametrize("teacher", ["bm25", "minilm", "maxsim"])
def test_the_built_in_teachers_rank(teacher: str, texts: Collection) -> None:
    lists = ranked_lists(teacher, texts, 8)
    assert lists.rows.shape == lists.scores.shape == (30, 8)
    assert (lists.rows.dtype, lists.scores.dtype) == (np.int32, np.float32)
    assert ((lists.rows >= 0) == np.isfinite(lists.scores)).all()
    assert own_first(lists) >= 0.6
    assert lists.seconds > 0


def test_a_list_ends_where_nothing_more_is_found(texts: Collection) -> None:
    register_teacher("mine", by_bag)
    lists = ranked_lists("mine", texts, 40)
    assert (lists.rows[:, :30] >= 0).all()
    assert (lists.rows[:, 30:] == -1).all()
    assert np.isneginf(lists.scores[:, 30:]).all()


def test_a_teacher_from_outside(texts: Collection) -> None:
    register_teacher("mine", by_bag)
    first = ranked_lists("mine", texts, 5)
    assert (first.rows == by_bag(texts.queries["text"].to_pylist(), texts.passages["text"].to_pylist(), 5)[0]).all()
    register_teacher("mine", lambda q, p, d: (np.zeros((len(q), 1), int), np.ones((len(q), 1))))
    assert (ranked_lists("mine", texts, 5).rows[:, :2] == [0, -1]).all()  # not those of the function before
    assert not list(cache_folder().glob("teacher-*"))


@pytest.mark.parametrize("name", ["bm25", "cross", "a b", "", 3])
def test_a_teacher_needs_a_name_of_its_own(name: Any) -> None:
    with pytest.raises(ValueError, match="a name of your own"):
        register_teacher(name, by_bag)
    with pytest.raises(ValueError, match="rank='x': a function"):
        register_teacher("mine", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("spelling", ["bm26", "hub:", "trec:", "planted:x", None])
def test_what_is_no_teacher_is_named(spelling: Any, texts: Collection) -> None:
    with pytest.raises(ValueError, match="allowed are bm25, minilm"):
        ranked_lists(spelling, texts)
    with pytest.raises(ValueError, match="depth=0"):
        ranked_lists("bm25", texts, 0)


# ----------------------------------------------------------------------------------------------------- kept once


def test_an_interrupted_teacher_goes_on(texts: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "PIECE", 10)
    asked: list[int] = []

    def rank(queries: list[str], passages: list[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(queries))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return by_bag(queries, passages, depth)

    register_teacher("mine", rank, version="1")
    with pytest.raises(KeyboardInterrupt):
        ranked_lists("mine", texts, 5)
    lists = ranked_lists("mine", texts, 5)
    assert len(asked) == 4  # the first piece was not asked again
    assert (ranked_lists("mine", texts, 5).rows == lists.rows).all()
    assert len(asked) == 4
    ranked_lists("mine", texts, 5, refresh=True)
    assert len(asked) == 7
    register_teacher("mine", rank, version="2")
    ranked_lists("mine", texts, 5)
    assert len(asked) == 10


def test_a_damaged_piece_is_made_again(texts: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teachers, "PIECE", 10)
    lists = ranked_lists("bm25", texts, 5)
    pieces = sorted(cache_folder().glob("teacher-bm25-*/table.parquet"))
    assert len(pieces) == 3
    pieces[1].write_bytes(pieces[1].read_bytes()[:200])
    before = pieces[0].stat().st_mtime_ns
    with pytest.warns(CacheWarning, match="built again"):
        again = ranked_lists("bm25", texts, 5)
    assert (again.rows == lists.rows).all()
    assert pieces[0].stat().st_mtime_ns == before


def test_scores_that_are_not_finite_leave_the_rest(texts: Collection) -> None:
    def rank(queries: list[str], passages: list[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
        rows, scores = by_bag(queries, passages, depth)
        scores[3, 1] = np.nan
        scores[4] = np.nan
        return rows, scores

    register_teacher("mine", rank, version="1")
    for _ in range(2):  # it is said again when the lists come from the cache
        with pytest.warns(LabelWarning, match=r"'mine': 6 scores of 2 queries are not finite"):
            lists = ranked_lists("mine", texts, 5)
    rows, _ = by_bag(texts.queries["text"].to_pylist(), texts.passages["text"].to_pylist(), 5)
    assert lists.rows[3].tolist() == [*rows[3][[0, 2, 3, 4]], -1]
    assert (lists.rows[4] == -1).all()
    assert (np.delete(lists.rows, [3, 4], 0) == np.delete(rows, [3, 4], 0)).all()


@pytest.mark.parametrize(
    ("rows", "scores", "said"),
    [
        ([[0, 1]], [[1.0, 0.0]], "shape"),
        ([[0, 30]] * 30, [[1.0, 0.0]] * 30, "beyond the 30 passages"),
        ([[0.0, 1.0]] * 30, [[1.0, 0.0]] * 30, "whole numbers"),
        ([[2, 2]] * 30, [[1.0, 0.0]] * 30, "a passage twice"),
        ([[2, 1]] * 30, [[0.0, 1.0]] * 30, "scores that rise"),
    ],
)
def test_wrong_lists_are_refused(rows: Any, scores: Any, said: str, texts: Collection) -> None:
    register_teacher("mine", lambda q, p, d: (np.array(rows), np.array(scores)))
    with pytest.raises(ValueError, match=said):
        ranked_lists("mine", texts, 2)


# ----------------------------------------------------------------------------------------------- late interaction


def test_maxsim_is_the_sum_of_largest_products() -> None:
    rng = np.random.default_rng(0)
    queries = [rng.standard_normal((n, 4)).astype(np.float32) for n in (3, 1, 5)]
    passages = [rng.standard_normal((n, 4)).astype(np.float32) for n in (2, 6, 1, 3)]
    starts = np.cumsum([0, 2, 6, 1])
    expected = [[(q @ p.T).max(1).sum() for p in passages] for q in queries]
    assert rankers.maxsim_scores(queries, np.concatenate(passages), starts) == pytest.approx(np.array(expected))


def test_among_the_first_hundred_is_exact_where_there_are_no_more(
    texts: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = ranked_lists("maxsim", texts, 6)
    monkeypatch.setattr(rankers, "EXACT", 0)
    teachers._prepared.cache_clear()
    near = ranked_lists("maxsim", texts, 6, refresh=True)
    assert near.scores == pytest.approx(exact.scores, abs=1e-4)
    monkeypatch.setattr(rankers, "EACH", 2)  # and is not where it leaves some out
    few = ranked_lists("maxsim", texts, 2, refresh=True)
    assert (few.scores <= exact.scores[:, :2] + 1e-4).all()


# ---------------------------------------------------------------------------------------------- models by their name


def test_a_cross_encoder_by_name(tiny_bert: dict[str, str], texts: Collection) -> None:
    from sentence_transformers import CrossEncoder

    lists = ranked_lists(f"crossencoder:{tiny_bert['cross']}", texts, 4)
    asked, told = texts.queries["text"][7].as_py(), texts.passages["text"][int(lists.rows[7, 0])].as_py()
    score = CrossEncoder(tiny_bert["cross"]).predict([(asked, told)], show_progress_bar=False)
    assert lists.scores[7, 0] == pytest.approx(float(score[0]), abs=1e-4)
    found = ranked_lists("bm25", texts, 50).rows
    assert all(set(own) <= {*first, -1} for own, first in zip(lists.rows, found, strict=True))


def test_learned_sparse_by_name(tiny_bert: dict[str, str], texts: Collection) -> None:
    from sentence_transformers import SparseEncoder

    lists = ranked_lists(f"splade:{tiny_bert['sparse']}", texts, 30)
    model = SparseEncoder(tiny_bert["sparse"])
    sides = (
        encode(table["text"].to_pylist(), convert_to_sparse_tensor=False, show_progress_bar=False).numpy()
        for encode, table in ((model.encode_query, texts.queries), (model.encode_document, texts.passages))
    )
    queries, passages = sides
    expected = -np.sort(-(queries @ passages.T), axis=1)
    assert lists.scores == pytest.approx(np.where(expected > 0, expected, -np.inf), rel=1e-4)


def test_token_vectors_by_name(texts: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(names: list[str], **options: Any) -> list[np.ndarray]:
        return [bag(name.split()) for name in names]

    model = SimpleNamespace(encode_query=encode, encode_document=encode)
    monkeypatch.setattr(rankers, "loaded", lambda *names: model)
    lists = ranked_lists("colbert:stand-in", texts, 5)
    assert own_first(lists) == 1
    assert lists.scores[:, 0] == pytest.approx(np.full(30, 5.0))  # each of five words is in it

    def old(*names: str) -> Any:
        raise AttributeError

    monkeypatch.setattr(rankers, "loaded", old)
    with pytest.raises(ValueError, match=r"sentence-transformers>=6'?, or pylate"):
        rankers.colbert("other", True)


def test_wordllama_is_read_from_its_wheel(tmp_path: Path, texts: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    monkeypatch.setattr(rankers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install wordllama"):
        rankers.wordllama()
    words = sorted({w for t in texts.passages["text"].to_pylist() for w in t.split()})
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    for folder in ("weights", "tokenizers"):
        (tmp_path / folder).mkdir()
    tokenizer.save(str(tmp_path / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    table = np.random.default_rng(0).standard_normal((len(words), 16)).astype(np.float16)
    save_file({"embedding.weight": table}, tmp_path / "weights" / "l2_supercat_256.safetensors")
    monkeypatch.setattr(rankers, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=[str(tmp_path)]))
    steps = rankers.wordllama()
    got = steps.encode([f"{words[1]} {words[3]}", "", words[2]])
    mean = table[[1, 3]].astype(np.float32).mean(0)
    assert got[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert (got[1] == 0).all()
    assert np.linalg.norm(got[2]) == pytest.approx(1)


# ------------------------------------------------------------------------------------------------ the cross-encoder


def test_the_cross_encoder_keeps_its_halves_apart(texts: Collection) -> None:
    halves, passages = cross.query_halves(texts), cross.passage_halves(texts)
    assert 10 < halves.sum() < 20
    reading = cross._Reading.of(texts, 1, cross.started())
    for step in range(20):
        batch = reading.draw(step)
        assert (halves[batch.queries] == 1).all()
        assert (passages[np.concatenate([batch.positives, batch.negatives])] == 1).all()
        pool = batch.negatives.reshape(-1, cross.OTHERS)
        assert not (pool == batch.positives[:, None]).any()
        assert [len(set(row)) for row in pool.tolist()] == [cross.OTHERS] * len(pool)


def test_a_cross_encoder_is_trained_once_and_scores_the_other_half(
    texts: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross, "TRAINING", cross.TRAINING.but(steps=2, batch=2, warmup=1))
    monkeypatch.setattr(cross, "LAYERS", 1)
    read: list[tuple[int, np.ndarray]] = []
    told = cross.pair_scores

    def watched(model: Any, queries: Any, passages: Any, asked: np.ndarray, rows: np.ndarray) -> np.ndarray:
        read.append((id(model), np.unique(asked)))
        return told(model, queries, passages, asked, rows)

    monkeypatch.setattr(cross, "pair_scores", watched)
    lists = ranked_lists("cross", texts, 5)
    halves = cross.query_halves(texts)
    assert [set(halves[rows]) for _, rows in read] == [{1}, {0}]  # the model of half 0 scores half 1
    assert len(list(cache_folder().glob("cross-*/model.safetensors"))) == 2
    assert not list(cache_folder().glob("cross-*.checkpoint"))
    monkeypatch.setattr(cross, "train", None)  # would fail if it were called
    teachers._prepared.cache_clear()
    assert (ranked_lists("cross", texts, 5, refresh=True).scores == lists.scores).all()
    both = cross.cross(texts)
    index = both.index(texts.passages["text"].to_pylist())
    new = texts.passages["text"].to_pylist()[0]
    _, scores = both.search(both.encode([new]), index, 5)
    assert np.isfinite(scores[0, 0])


def test_too_few_pairs_for_a_cross_encoder() -> None:
    few = from_pairs("few", [(f"{i}", f"ask {i}", f"tell {i}") for i in range(4)])
    with pytest.raises(ValueError, match=r"a half of few has 2 pairs and 2 passages, too few"):
        ranked_lists("cross", few)


# ------------------------------------------------------------------------------------------------------ the files


def test_a_run_comes_back(texts: Collection, tmp_path: Path) -> None:
    lists = ranked_lists("bm25", texts, 7)
    path = write_trec(lists, texts, tmp_path / "bm25.run", "bm25")
    again = ranked_lists(f"trec:{path}", texts, 7)
    assert (again.rows == lists.rows).all()
    assert (again.scores == lists.scores).all()
    assert path.read_text().splitlines()[0].split()[3:] == ["1", f"{lists.scores[0, 0]:.9g}", "bm25"]
    for depth in (3, 9):  # cut, or filled up
        assert ranked_lists(f"trec:{path}", texts, depth).rows.shape == (30, depth)
    assert (ranked_lists(f"trec:{path}", texts, 9).rows[:, 7:] == -1).all()
    with pytest.raises(ValueError, match=r"29 for the 30 queries"):
        write_trec(Lists(lists.rows[:29], lists.scores[:29]), texts, path)
    blank = from_pairs("blank", [("a b", "ask", "tell")])
    with pytest.raises(ValueError, match="'a b' has blanks"):
        write_trec(Lists(np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32)), blank, path)
    loud = from_pairs("loud", [("a\0b", "ask", "tell")])
    with pytest.raises(ValueError, match=r"'a\\x00b' holds a control character, U\+0000"):
        write_trec(Lists(np.zeros((1, 1), np.int32), np.ones((1, 1), np.float32)), loud, path)


def test_a_run_with_unknown_ids_is_used_as_far_as_it_goes(texts: Collection, tmp_path: Path) -> None:
    path = tmp_path / "other.run"
    path.write_text(
        "tiny-0 Q0 tiny-3 1 9 x\ntiny-0 Q0 nobody 2 8 x\nstranger Q0 tiny-1 1 5 x\n"
        "tiny-2 Q0 tiny-1 1 nan x\ntiny-1 Q0 tiny-4 1 1 x\ntiny-1 Q0 tiny-5 2 2 x\n"
    )
    with pytest.raises(ValueError, match=r"other.run:4: score 'nan' is no number"):
        read_trec(path, texts)
    path.write_text(path.read_text().replace("nan", "inf"))
    with pytest.warns(LabelWarning) as said:
        lists = read_trec(path, texts)
    assert lists.rows[:2].tolist() == [[3, -1], [5, 4]]  # by score, not by rank
    assert (lists.rows[2:] == -1).all()
    message = str(said[0].message)
    for part in (
        "1 lines name a query that tiny lacks, the first 'stranger'",
        "1 lines name a passage that tiny lacks, the first 'nobody'",
        "1 scores are not finite",
        "28 of 30 queries have no list",
    ):
        assert part in message
    path.write_text("stranger Q0 tiny-1 1 5 x\n")
    with pytest.raises(ValueError, match="no line can be used"):
        read_trec(path, texts)
    path.write_text("tiny-1 Q0 tiny-1 1 5 x\ntiny-1 Q0 tiny-1 2 4 x\n")
    with pytest.raises(ValueError, match=r"other.run:2: query 'tiny-1' has 'tiny-1' twice"):
        read_trec(path, texts)


@pytest.mark.parametrize("light", [False, True])
def test_training_rows_of_dpr_scale_come_back(light: bool, texts: Collection, tmp_path: Path) -> None:
    register_teacher("mine", by_bag)
    lists = ranked_lists("mine", texts, 12)
    path = write_dpr(texts, lists, tmp_path / "train.jsonl", light, positives=3, negatives=slice(8, 10))
    row = json.loads(path.read_text().splitlines()[4])
    assert row["question"] == texts.queries["text"][4].as_py()
    assert [len(row["positive_ctxs"]), len(row["hard_negative_ctxs"])] == [3, 2]
    first, ninth = row["positive_ctxs"][0], row["hard_negative_ctxs"][0]
    assert ninth["relevance"] == pytest.approx(float(lists.scores[4, 8]))
    if light:
        assert first == {"docidx": int(lists.rows[4, 0]), "relevance": float(lists.scores[4, 0])}
        assert corpus_path(path).read_text().splitlines()[0] == "id\ttext\ttitle"
    else:
        assert first["text"] == texts.passages["text"][int(lists.rows[4, 0])].as_py()
    collection, again = read_dpr(path)
    assert collection.queries["id"].to_pylist() == texts.queries["id"].to_pylist()
    assert len(collection) == 90
    names, known = (np.array(c.passages["id"].to_pylist()) for c in (collection, texts))
    assert (names[again.rows] == known[lists.rows[:, [0, 1, 2, 8, 9]]]).all()
    assert again.scores == pytest.approx(lists.scores[:, [0, 1, 2, 8, 9]])
    copy = write_dpr(collection, again, tmp_path / "copy.jsonl", light, positives=3, negatives=slice(3, 5))
    assert copy.read_text() == path.read_text()


def test_lists_shorter_than_the_negatives_ranks_are_counted(texts: Collection, tmp_path: Path) -> None:
    register_teacher("mine", by_bag)
    lists = ranked_lists("mine", texts, 30)
    rows = lists.rows.copy()
    rows[1, 5:], rows[2] = -1, -1
    path = tmp_path / "train.jsonl"
    with pytest.warns(LabelWarning, match="1 queries have an empty list and no row; 1 lists are shorter"):
        write_dpr(texts, Lists(rows, lists.scores), path, negatives=slice(20, 25))
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(found) == 29
    assert [len(found[1]["positive_ctxs"]), len(found[1]["hard_negative_ctxs"])] == [5, 0]
    with pytest.raises(ValueError, match="all 30 lists are empty"):
        write_dpr(texts, Lists(np.full((30, 1), -1), np.zeros((30, 1))), path)


def test_rows_as_others_write_them(tmp_path: Path) -> None:
    path = tmp_path / "nq.jsonl"
    rows: list[dict[str, Any]] = [
        {
            "question": "who",
            "ctxs": [
                {"title": "T", "text": "a", "has_answer": False},
                {"title": "", "text": "b", "has_answer": True},
            ],
        },
        {"question": "what", "positive_ctxs": [{"text": "a", "title": "T"}], "hard_negative_ctxs": []},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    collection, lists = read_dpr(path)
    assert collection.passages["text"].to_pylist() == ["b", "T a"]
    assert lists.rows.tolist() == [[0, 1], [1, -1]]
    assert lists.scores.tolist() == [[0, -1], [0, -np.inf]]
    for wrong, said in (
        ({"question": ""}, "positive_ctxs and hard_negative_ctxs are expected"),
        ({"question": "", "positive_ctxs": []}, "question is ''"),
        ({"question": "q", "positive_ctxs": [{"docidx": 3}]}, "docidx is 3"),
        ({"question": "q", "positive_ctxs": [{"title": "x"}]}, "a context's text is None"),
        ({"question": "q", "ctxs": [{"text": "x"}]}, "has_answer"),
    ):
        path.write_text(json.dumps(rows[1]) + "\n" + json.dumps(wrong) + "\n")
        with pytest.raises(ValueError, match=f"nq.jsonl:2: .*{said}"):
            read_dpr(path)


def test_a_plus_in_the_path_of_a_run_stays_in_it() -> None:
    names = ["bm25", "trec:lists/a+b+c.run", "minilm", "trec:d+e.run"]
    assert teacher_names("+".join(names)) == names
    assert teacher_names("") == []
    assert teacher_names("bm25+nosuch") == ["bm25", "nosuch"]


def test_a_teacher_whose_wheel_is_missing_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEACHERS, "odd", TeacherRow("static", lambda _: rankers.bm25(), str, wheel="no_such_wheel"))
    recipe = Recipe(texts="planted", strategy="supervised", variant="uniform", teachers="bm25+odd")
    with pytest.raises(ValueError, match="odd needs a wheel: pip install no_such_wheel"):
        check_teachers(recipe)


def test_rows_get_ids_that_no_other_row_has(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    context = {"positive_ctxs": [{"text": "a"}], "hard_negative_ctxs": []}
    rows = [{"question": "one", "id": "q1", **context}, {"question": "two", "id": None, **context}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    collection, _ = read_dpr(path)
    assert collection.queries["id"].to_pylist() == ["q1", "q1-"]
    assert len(collection.pairs[0]) == 2
    path.write_text("".join(json.dumps(row | {"id": 7}) + "\n" for row in rows))
    with pytest.raises(ValueError, match="jsonl:2: id '7' stands in an earlier row"):
        read_dpr(path)


def test_hard_negatives_become_lists(texts: Collection, tmp_path: Path) -> None:
    path = tmp_path / "hard.jsonl"
    row = {"qid": "tiny-2", "pos": ["tiny-2"], "neg": {"bm25": ["tiny-7", "tiny-4"], "dense": ["tiny-9"]}}
    path.write_text(json.dumps(row) + "\n")
    found = read_hard_negatives(path)
    assert found["system"].tolist() == ["pos", "bm25", "bm25", "dense"]
    with pytest.warns(LabelWarning, match="29 of 30 queries have no list"):
        lists = lists_from(read_hard_negatives(path, systems=("bm25",)), texts)
    assert lists.rows[2].tolist() == [7, 4]
    with pytest.raises(ValueError, match="no row of the systems splade"):
        read_hard_negatives(path, systems=("splade",))
    path.write_text(json.dumps(row) + "\n" + '{"qid": 1, "pos": []}\n')
    with pytest.raises(ValueError, match=r"hard.jsonl:2: qid, pos"):
        read_hard_negatives(path)


# ---------------------------------------------------------------------------------------------------- what it costs


def test_latency_goes_on_after_a_teacher_that_fails(texts: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def rank(queries: list[str], passages: list[str], depth: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(queries))
        return by_bag(queries, passages, depth)

    register_teacher("mine", rank)
    monkeypatch.setitem(TEACHERS, "one", row_of(rank, (10, 1)))
    table = latency(["trec:x", "mine", "one", "bm25"], texts, n_queries=20, depth=5).set_index("teacher")
    assert "a run is read" in table.loc["trec:x", "error"]
    assert asked[:2] == [20, 20]  # a batch to warm up, a batch that counts
    assert asked[2:] == [1] * 21
    assert (table.loc[["mine", "one", "bm25"], "error"] == "").all()
    assert table.loc["bm25", ["encode_batch", "search_batch", "queries", "candidates"]].tolist() == [100, 100, 20, 30]
    measured = table.loc[["mine", "one", "bm25"]]
    assert (measured["total_ms"] == measured["encode_ms"] + measured["search_ms"]).all()
    assert (measured["search_ms"] > 0).all()


def row_of(rank: Any, batches: tuple[int, int]) -> teachers.TeacherRow:
    return teachers.TeacherRow("own", lambda _: rankers.Steps(list, list, rank), lambda: "", batches)


def test_nothing_is_said_where_nothing_is_wrong(texts: Collection) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranked_lists("bm25", texts, 3)
