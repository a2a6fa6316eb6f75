"""Collections and benchmarks: valid or not at all, the same on every machine, mapped and not loaded, nothing shared."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from drscale.texts import (
    Benchmark,
    Collection,
    collection,
    compose,
    describe,
    near_duplicates,
    normalised,
    pair_table,
    related,
    rows_at,
)
from drscale.texts.collection import from_pairs, joined, shuffled
from drscale.texts.split import split_sentence
from drscale.texts.tables import grouped


def make(n: int = 20, name: str = "toy", **about: Any) -> Collection:
    return from_pairs(
        name, [(f"i{i}", f"what is number {i} {name}", f"it is {i} in {name}") for i in range(n)], **about
    )


def tables(**changes: Any) -> dict[str, Any]:
    """The arguments of a small good collection, some changed."""
    good: dict[str, Any] = {
        "name": "toy",
        "queries": pa.table({"id": ["q1", "q2"], "text": ["one?", "two?"]}),
        "passages": pa.table({"id": ["p1", "p2", "p3"], "text": ["one", "two", "three"]}),
        "qrels": pa.table({"query": ["q1", "q2", "q2"], "passage": ["p1", "p3", "p2"], "relevance": [1, 0, 2]}),
    }
    return good | changes


def test_pairs_are_rows_of_relevant_qrels_in_their_order() -> None:
    c = Collection(**tables())
    queries, passages = c.pairs
    assert (queries.tolist(), passages.tolist()) == ([0, 1], [0, 1])
    assert queries.dtype == passages.dtype == np.int64
    assert len(c) == 2
    assert c.qrels["relevance"].type == pa.int32()


QRELS = {"query": ["q1"], "passage": ["p1"], "relevance": [1]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"queries": pa.table({"id": ["q1", "q1"], "text": ["a", "b"]})}, "more than once, the first is q1"),
        ({"passages": pa.table({"id": ["p1", "p1"], "text": ["a", "b"]})}, "more than once, the first is p1"),
        ({"queries": pa.table({"id": ["q1"], "txt": ["a"]})}, r"columns \['id', 'txt'\], expected \['id', 'text'\]"),
        ({"queries": pa.table({"id": ["q1", "q2"], "text": ["a", None]})}, "column text has 1 missing"),
        ({"queries": pa.table({"id": ["q1", "q2"], "text": ["a", " "]})}, r"text of row 1 \(id q2\) is empty"),
        ({"queries": [("q1", "a")]}, "a list, expected a pyarrow.Table"),
        ({"passages": pa.table({"id": pa.array([], pa.string()), "text": pa.array([], pa.string())})}, "is empty"),
        ({"qrels": pa.table({**QRELS, "passage": ["p9"]})}, "row 0 names the passage 'p9', not in passages"),
        ({"qrels": pa.table({**QRELS, "query": ["q9"]})}, "row 0 names the query 'q9', not in queries"),
        ({"qrels": pa.table({**QRELS, "relevance": [0]})}, "no row has a relevance above 0"),
        ({"qrels": pa.table({**QRELS, "relevance": ["high"]})}, "high"),
        ({"qrels": pa.table({k: v * 2 for k, v in QRELS.items()})}, "occur together more than once"),
    ],
)
def test_a_bad_collection_is_refused_in_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Collection(**tables(**changes))
    assert "\n" not in str(caught.value)


def test_fingerprint_is_of_the_content_only(tmp_path: Path) -> None:
    c = make(50)
    texts = {t: pa.concat_tables([getattr(c, t)[:7], getattr(c, t)[7:]]) for t in ("queries", "passages", "qrels")}
    again = Collection("other name", **texts, domain="x", versions={"a": "1"})
    assert again.fingerprint == c.fingerprint == c.renamed("third").fingerprint
    assert Collection.load(c.save(tmp_path)).fingerprint == c.fingerprint


@given(st.integers(0, 2), st.data())
def test_any_changed_text_changes_the_fingerprint(table: int, data: st.DataObject) -> None:
    name = ("queries", "passages", "qrels")[table]
    good = tables()
    columns = {k: list(v) for k, v in good[name].to_pydict().items()}
    column = data.draw(st.sampled_from(["relevance"] if name == "qrels" else ["text"]))
    row = data.draw(st.integers(0, len(columns[column]) - 1))
    columns[column][row] = (
        7 if column == "relevance" else columns[column][row] + data.draw(st.characters(codec="utf-8"))
    )
    assert Collection(**tables(**{name: pa.table(columns)})).fingerprint != Collection(**good).fingerprint


def test_moving_a_letter_from_one_text_to_the_next_changes_the_fingerprint() -> None:
    one = from_pairs("a", [("1", "ab", "p"), ("2", "c", "q")])
    two = from_pairs("a", [("1", "a", "p"), ("2", "bc", "q")])
    assert one.fingerprint != two.fingerprint


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**40))
def test_takes_are_nested(a: int, b: int, seed: int) -> None:
    c = make(60)
    small, large = (set(c.take(n, seed).queries["id"].to_pylist()) for n in sorted((a, b)))
    assert small <= large
    assert len(small) == min(a, b)


def test_take_brings_its_texts_and_keeps_their_order() -> None:
    c = make(30)
    part = c.take(10, seed=3)
    assert part.queries["id"].to_pylist() == part.passages["id"].to_pylist() == part.qrels["query"].to_pylist()
    assert part.queries["id"].to_pylist() == sorted(part.queries["id"].to_pylist(), key=lambda i: int(i[1:]))
    assert c.take(10, seed=4).fingerprint != part.fingerprint
    assert c.take(10, seed=3).fingerprint == part.fingerprint
    Collection(part.name, part.queries, part.passages, part.qrels)  # a subset is valid too


@pytest.mark.parametrize("n", [0, 31, -1])
def test_take_names_its_range(n: int) -> None:
    with pytest.raises(ValueError, match=rf"take\(n={n}\) from toy: n must lie between 1 and its 30 pairs"):
        make(30).take(n)


def test_the_shuffle_never_changes() -> None:
    # Written down once: whoever changes this changes every split and every subset of every study.
    assert shuffled(8, 0).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert sorted(shuffled(1000, 5)) == list(range(1000))


def test_a_collection_is_saved_whole_and_mapped(tmp_path: Path) -> None:
    c = make(40, domain="d", language="zh", synthetic=True, versions={"numpy": "2"})
    again = Collection.load(c.save(tmp_path))
    for table in ("queries", "passages", "qrels"):
        assert getattr(again, table).equals(getattr(c, table))
    for field in ("name", "domain", "language", "synthetic", "versions"):
        assert getattr(again, field) == getattr(c, field)
    assert repr(again) == repr(c)
    assert "SYNTHETIC" in repr(c)


def test_a_beir_folder_and_the_data_sets_hold_the_same(tmp_path: Path) -> None:
    """Out and in again, with graded judgements, quotes, line ends and ids that are not ASCII."""
    queries = [{"id": "q1", "text": 'what is "this"?'}, {"id": "q\u00e9", "text": "line\nend"}]
    passages = [
        {"id": "d1", "text": "\u4f60\u597d\ttab"},
        {"id": "d 2", "text": "b"},
        {"id": "d\t3", "text": "un\0judged"},
    ]
    qrels = [("q1", "d1", 2), ("q1", "d 2", -1), ("q\u00e9", "d 2", 1)]
    judged = {n: [row[i] for row in qrels] for i, n in enumerate(("query", "passage", "relevance"))}
    made = Collection("mine", *(pa.Table.from_pylist(t) for t in (queries, passages)), pa.table(judged))
    folder = made.to_beir(tmp_path / "out", split="dev")
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*.*")) == [
        "corpus.jsonl",
        "qrels/dev.tsv",
        "queries.jsonl",
    ]
    assert json.loads((folder / "corpus.jsonl").read_text().splitlines()[1]) == {"_id": "d 2", "title": "", "text": "b"}
    assert collection(f"folder:{folder}").fingerprint == made.fingerprint
    sets = made.to_datasets()
    assert sets["corpus"][0] == {"_id": "d1", "text": "\u4f60\u597d\ttab", "title": ""}
    assert sets["queries"]["text"][1] == "line\nend"
    assert [tuple(row.values()) for row in sets["qrels"]] == qrels
    with pytest.raises(ValueError, match="split='a/b': the name of a file"):
        made.to_beir(tmp_path, split="a/b")
    tabbed = from_pairs("odd", [("a\tb", "query", "passage")])
    with pytest.raises(ValueError, match=r"odd: the id 'a\\tb' has blanks"):
        tabbed.to_beir(tmp_path / "odd")
    loud = from_pairs("loud", [("a\x07b", "query", "passage")])
    with pytest.raises(ValueError, match=r"loud: the id 'a\\x07b' holds a control character, U\+0007"):
        loud.to_beir(tmp_path / "loud")


def test_a_beir_folder_that_has_files_is_left_as_it_is_unless_told_otherwise(tmp_path: Path) -> None:
    first, second = make(30), from_pairs("other", [("a", "query", "passage")])
    (tmp_path / "out").mkdir()  # an empty one will do
    corpus = first.to_beir(tmp_path / "out") / "corpus.jsonl"
    before = corpus.read_bytes()
    with pytest.raises(ValueError, match=r"out: has corpus\.jsonl in it; give an empty folder, or overwrite=True"):
        second.to_beir(tmp_path / "out")
    assert corpus.read_bytes() == before
    assert collection(f"folder:{second.to_beir(tmp_path / 'out', overwrite=True)}").fingerprint == second.fingerprint
    with pytest.raises(ValueError, match=r"corpus\.jsonl: is a file; give a folder"):
        second.to_beir(corpus, overwrite=True)


def test_a_large_collection_is_not_loaded(tmp_path: Path) -> None:
    from_pairs("large", [(str(i), f"query {i}", f"passage {i} " * 40) for i in range(50_000)]).save(tmp_path)
    before = pa.total_allocated_bytes()
    c = Collection.load(tmp_path)
    assert len(c.passages) == 50_000
    assert pa.total_allocated_bytes() - before < 1_000_000  # the file has 30 MB
    assert len(c.pairs[0]) == 50_000


@given(st.lists(st.integers(0, 29)), st.lists(st.integers(0, 30), max_size=4))
def test_rows_come_in_the_order_asked_for_whatever_the_chunks(rows: list[int], cuts: list[int]) -> None:
    table = make(30).queries
    edges = [0, *sorted(cuts), 30]
    chunked = pa.concat_tables([table[a:b] for a, b in itertools.pairwise(edges)])
    assert rows_at(chunked, rows).to_pylist() == table.take(pa.array(rows, pa.int64())).to_pylist()
    with pytest.raises(ValueError, match="rows 0 to 30, the table has 0 to 29"):
        rows_at(chunked, [0, 30])


def test_nearly_all_rows_of_a_large_table_are_not_copied() -> None:
    table = pa.table({"id": pa.array(map(str, range(150_000))), "text": pa.array(["a text"] * 150_000)})
    table = pa.concat_tables([table[:100_000], table[100_000:]])
    rows = np.delete(np.arange(150_000), [0, 7, 99_999, 120_000])
    part = rows_at(table, rows)
    assert part["id"].to_pylist() == [str(i) for i in rows]
    whole, kept = (t["text"].chunk(0).buffers()[2].address for t in (table, part))
    assert whole == kept
    turned = np.concatenate([np.arange(75_000, 150_000), np.arange(75_000)])
    assert rows_at(table, turned)["id"].to_pylist() == [str(i) for i in turned]


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    make(30).save(tmp_path)
    file = tmp_path / "passages.arrow"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"passages.arrow: the file is not the one"):
        Collection.load(tmp_path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(ValueError, match=r"passages.arrow: the file is not the one"):
        Collection.load(tmp_path)
    file.unlink()
    with pytest.raises(ValueError, match=r"passages.arrow: No such file"):
        Collection.load(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(ValueError, match=r"meta.json: no JSON"):
        Collection.load(tmp_path)
    (tmp_path / "meta.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match=r"meta.json: not of the format"):
        Collection.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("files", 5, "files is 5, expected an object of texts"),
        ("files", None, "files is None, expected an object of texts"),
        ("files", ["queries.arrow"], r"files is \['queries.arrow'\], expected an object of texts"),
        ("files", {"queries.arrow": 5}, "files is {'queries.arrow': 5}, expected an object of texts"),
        ("versions", "numpy", "versions is 'numpy', expected an object of texts"),
        ("versions", [], r"versions is \[\], expected an object of texts"),
        ("fingerprint", "abc", "fingerprint is 'abc', expected 64 hexadecimal digits"),
        ("synthetic", "no", "synthetic is 'no', expected true or false"),
        ("name", "", "name is '', expected a text that is not empty"),
    ],
)
def test_an_odd_field_of_a_saved_collection_is_refused(tmp_path: Path, field: str, value: object, said: str) -> None:
    file = make(30).save(tmp_path) / "meta.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(ValueError, match=rf"meta.json: {said}$"):
        Collection.load(tmp_path)


@pytest.mark.parametrize("levels", [*range(900, 1000, 7), 5_000, 100_000])
def test_a_head_that_is_nested_deeply_is_refused(tmp_path: Path, levels: int) -> None:
    """Near the limit the JSON can be read and yet not be printed."""
    head = {"format": "drscale-collection/1", "name": "x", "fingerprint": "", "files": {}}
    (tmp_path / "meta.json").write_text(json.dumps(head).replace('""', "[" * levels + "]" * levels))
    with pytest.raises(ValueError, match=r"meta.json: (the JSON is nested too deeply|fingerprint is \[\[)"):
        Collection.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("parts", 5, "parts is 5, expected an object of texts"),
        ("parts", {"train": None}, "parts is {'train': None}, expected an object of texts"),
        ("parts", {"train": "part-00"}, "train, validation or test is missing"),
        ("left_out", [], r"left_out is \[\], expected an object of counts"),
        ("left_out", {"train": -1}, "left_out is {'train': -1}, expected an object of counts"),
        ("left_out", {"train": 1.5}, "left_out is {'train': 1.5}, expected an object of counts"),
    ],
)
def test_an_odd_field_of_a_saved_benchmark_is_refused(tmp_path: Path, field: str, value: object, said: str) -> None:
    b = compose([spread(60, "a")], test_pairs=10, validation_pairs=5)
    file = b.save(tmp_path) / "benchmark.json"
    head = json.loads(file.read_text())
    file.write_text(json.dumps(head | {field: value}))
    with pytest.raises(ValueError, match=rf"benchmark.json: {said}$"):
        Benchmark.load(tmp_path)
    file.write_text(json.dumps(head | {"parts": head["parts"] | {"tests": "part-00"}}))
    with pytest.raises(ValueError, match=r"benchmark.json: a part is called 'tests', allowed are train, validation"):
        Benchmark.load(tmp_path)


def test_joined_ids_are_told_apart() -> None:
    both = joined("both", [make(3, "a", domain="a"), make(2, "b", domain="b")])
    assert both.queries["id"].to_pylist() == ["a/i0", "a/i1", "a/i2", "b/i0", "b/i1"]
    assert both.pairs[1].tolist() == [0, 1, 2, 3, 4]
    assert both.domain == "a+b"


def test_texts_leave_the_heavy_libraries_alone() -> None:
    code = "import sys, drscale.texts; print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_pairs_are_described() -> None:
    c = from_pairs(
        "d", [("a", "red red owl", "an owl of red"), ("b", "blue", "green one"), ("c", "one cat", "red cat")]
    )
    frame = pair_table(c)
    assert frame.columns.tolist() == [
        "id",
        "query",
        "passage",
        "query_words",
        "passage_words",
        "overlap",
        "overlap_other",
    ]
    assert frame.query_words.tolist() == [3, 1, 2]
    assert frame.overlap.tolist() == [1, 0, 0.5]
    assert frame.overlap_other.tolist() == [0, 0, 0]  # with the passages of b, c and a
    b = Benchmark("b", c, c, c, {"far": c})
    assert describe(b).loc["far"].to_dict() == {
        "scope": "ood", "pairs": 3, "query_words": 2, "passage_words": 2, "overlap": 0.5, "overlap_other": 0
    }  # fmt: skip
    assert describe(b).index.tolist() == ["train", "validation", "test", "far"]


# Near-duplicates


def shingles(text: str) -> set[tuple[str, ...]]:
    words = normalised(text).split()
    return {tuple(words[i : i + 4]) for i in range(max(len(words) - 3, 1))}


def jaccard(a: str, b: str) -> float:
    left, right = shingles(a), shingles(b)
    return len(left & right) / len(left | right)


TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=12).map(" ".join), max_size=12)


@given(TEXTS, TEXTS, st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 1.0]))
def test_near_duplicates_are_all_found_and_no_others(texts: list[str], others: list[str], threshold: float) -> None:
    within = {(i, j) for i in range(len(texts)) for j in range(i) if jaccard(texts[i], texts[j]) >= threshold}
    assert set(map(tuple, near_duplicates(texts, threshold=threshold).tolist())) == {(j, i) for i, j in within}
    across = {(i, j) for i, a in enumerate(texts) for j, b in enumerate(others) if jaccard(a, b) >= threshold}
    assert set(map(tuple, near_duplicates(texts, others, threshold).tolist())) == across


def test_near_duplicates_wants_a_share() -> None:
    with pytest.raises(ValueError, match=r"threshold=0"):
        near_duplicates(["a"], threshold=0)


# Benchmarks


WORDS = st.sampled_from("abcdefghijkl")
PAIR = st.tuples(st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, min_size=4, max_size=9))
PAIRS, MANY = st.lists(PAIR, min_size=1, max_size=25), st.lists(PAIR, min_size=12, max_size=25, unique_by=str)


def drawn(pairs: list[tuple[list[str], list[str]]], name: str) -> Collection:
    return from_pairs(name, [(f"{name}{i}", " ".join(q), " ".join(p)) for i, (q, p) in enumerate(pairs)], domain=name)


def texts_of(c: Collection) -> list[tuple[str, str]]:
    return [(c.queries["text"][q].as_py(), c.passages["text"][p].as_py()) for q, p in zip(*c.pairs, strict=True)]


def share(a: tuple[str, str], b: tuple[str, str]) -> bool:
    return (
        normalised(a[0]) == normalised(b[0])
        or jaccard(a[1], b[1]) >= 0.5
        or jaccard(f"{a[0]} {a[1]}", f"{b[0]} {b[1]}") >= 0.5
    )


@given(PAIRS, PAIRS)
def test_related_is_what_brute_force_says(first: list[Any], second: list[Any]) -> None:
    a, b = drawn(first, "a"), drawn(second, "b")
    assert related(a, b).tolist() == [any(share(x, y) for y in texts_of(b)) for x in texts_of(a)]


def test_what_counts_as_shared() -> None:
    one = from_pairs("a", [("1", "how to ask an owl of the night", "o p q r s t u v")])
    for query, passage, is_shared in (
        ("How to ask an owl, of the night?", "1 2 3 4 5 6", True),  # the query
        ("another one", "o p q r s t u 1", True),  # the passage
        ("so how to ask an owl of the night", "o p q r s 1 2 3", True),  # the two together: 9 of 15, each less
        ("another one", "o p q r s 1 2 3", False),  # 2 of 8
    ):
        assert related(one, from_pairs("b", [("1", query, passage)])).tolist() == [is_shared], query


def test_a_given_validation_split_gives_way_to_the_test() -> None:
    far = spread(5, "o")
    b = compose(spread(30, "a"), {"o": far}, test=spread(3, "t"), validation=joined("v", [spread(9, "t"), far]))
    assert b.validation.queries["text"].to_pylist() == [f"ask t{i}" for i in range(3, 9)]
    with pytest.raises(ValueError, match="every validation pair is related"):
        compose(spread(30, "a"), test=spread(9, "t"), validation=spread(3, "t"))


@given(MANY, PAIRS, PAIRS, st.booleans(), st.booleans())
def test_composed_parts_share_nothing(
    one: list[Any], two: list[Any], far: list[Any], test: bool, validation: bool
) -> None:
    given_parts = {"test": drawn(two, "t") if test else None, "validation": drawn(far, "v") if validation else None}
    sources, outside = [drawn(one, "a"), drawn(two, "b")], {"c": drawn(far, "c")}
    try:
        b = compose(sources, outside, **given_parts, test_pairs=2, validation_pairs=2)
    except ValueError as e:  # so few texts may well leave nothing over
        assert any(what in str(e) for what in ("free pairs", "no pair is left", "every validation pair"))  # noqa: PT017
        event("nothing left")
        return
    event("composed")
    parts = [texts_of(c) for c in (b.train, b.validation, b.test)] + [texts_of(c) for c in b.ood.values()]
    for i, part in enumerate(parts):
        for j, other in enumerate(parts):
            if i < j and not (test and (i, j) == (2, 3)):  # given parts are taken as they are
                assert not any(share(x, y) for x in part for y in other), (i, j)


def spread(n: int, name: str) -> Collection:
    """Pairs with nothing in common."""
    rows = [(f"{name}{i}", f"ask {name}{i}", " ".join(f"{name}{i}w{k}" for k in range(6))) for i in range(n)]
    return from_pairs(name, rows, domain=name)


def test_held_out_pairs_are_stratified_and_bring_their_own_passages() -> None:
    b = compose([spread(300, "a"), spread(100, "b")], {"o": spread(20, "o")}, test_pairs=40, validation_pairs=20)
    assert [len(c) for c in b.parts().values()] == [340, 20, 40, 20]
    assert sum(i.startswith("a") for i in b.test.queries["id"].to_pylist()) == 30
    assert sum(i.startswith("b") for i in b.validation.queries["id"].to_pylist()) == 5
    for c in (b.train, b.validation, b.test):
        assert sorted(c.passages["id"].to_pylist()) == sorted(c.queries["id"].to_pylist())
    assert b.parts().keys() == {"train", "validation", "test", "ood:o"}
    other = compose([spread(300, "a"), spread(100, "b")], test_pairs=40, validation_pairs=20, seed=1)
    assert other.test.fingerprint != b.test.fingerprint


def test_passages_that_are_relevant_to_no_query_stand_in_every_part_that_was_drawn() -> None:
    pairs = spread(300, "corpus")
    ids = [f"more-{i}" for i in range(50)]
    more = pa.table({"id": ids, "text": [f"nobody asks for {i}" for i in ids]}, pairs.passages.schema)
    corpus = Collection("corpus", pairs.queries, pa.concat_tables([pairs.passages, more]), pairs.qrels)
    made = compose(corpus, test_pairs=40, validation_pairs=20)
    for part in (made.train, made.validation, made.test):
        assert len(part.passages) == len(part) + 50
        assert set(ids) <= set(part.passages["id"].to_pylist())
    assert not set(made.train.queries["id"].to_pylist()) & set(made.test.queries["id"].to_pylist())
    assert list(corpus.unjudged) == list(range(300, 350))


def test_compose_says_what_is_too_much() -> None:
    with pytest.raises(ValueError, match=r"composed: test_pairs=1000 must lie between 1 and 9"):
        compose(spread(10, "a"))
    with pytest.raises(ValueError, match="no pair is left to train on"):
        compose(spread(10, "a"), test=spread(10, "a"), validation=spread(3, "b"))


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    pairs = spread(60, "a")
    twice = joined("both", [pairs, spread(60, "b")])
    assert compose(twice, test_pairs=10, validation_pairs=5).left_out == {"train": 0, "validation": 0}
    abroad = pairs.select(np.arange(7))
    b = compose(
        twice, {"abroad": abroad}, test=pairs.select(np.arange(7, 10)), validation=pairs.select(np.arange(5, 20))
    )
    assert b.left_out == {"train": 7 + 3 + 10, "validation": 5}
    assert split_sentence(b) == (
        "composed: 100 pairs to train, 10 to validation, 3 to test, 25 left out as near-duplicates of what is measured "
        "(20 of train, 5 of validation); outside: abroad 7"
    )
    assert Benchmark.load(b.save(tmp_path)).left_out == b.left_out


def test_a_benchmark_is_saved_whole(tmp_path: Path) -> None:
    b = compose([spread(60, "a")], {"o/x": spread(9, "o")}, test_pairs=10, validation_pairs=5, name="mine")
    again = Benchmark.load(b.save(tmp_path))
    assert (again.name, again.fingerprint, list(again.ood)) == ("mine", b.fingerprint, ["o/x"])
    assert again.parts().keys() == b.parts().keys()
    (tmp_path / "part-03" / "meta.json").unlink()
    with pytest.raises(ValueError, match=r"part-03/meta.json: No such file"):
        Benchmark.load(tmp_path)
    spread(9, "p").save(tmp_path / "part-03")
    with pytest.raises(ValueError, match="the fingerprint is not that of the parts"):
        Benchmark.load(tmp_path)


def test_groups_come_in_the_order_of_their_first_row() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):  # Arrow's own order is another one in some of these
        count = int(rng.integers(1, 31))
        sides = [rng.integers(0, 4, count) for _ in range(2)]
        table = pa.table([*sides, rng.integers(0, 9, count)], names=["query", "passage", "grade"])
        best: dict[tuple[int, int], int] = {}
        for q, p, grade in zip(*(table[c].to_pylist() for c in table.column_names), strict=True):
            best[q, p] = max(grade, best.get((q, p), 0))
        found = grouped(table, ["query", "passage"], ["grade"])
        assert found.column_names == table.column_names
        assert [tuple(row.values()) for row in found.to_pylist()] == [(*k, v) for k, v in best.items()]
