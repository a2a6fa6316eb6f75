"""Sources: a spelling prints as it parses, files are read whole or refused in one sentence, the cache mends itself."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from drscale.encoder import learn_vocabulary
from drscale.texts import (
    CacheWarning,
    Source,
    TextsWarning,
    World,
    benchmark,
    cache,
    cache_folder,
    collection,
    collections,
    oracle,
    tables,
)
from drscale.texts.cache import cached_table
from drscale.texts.readers import blank
from drscale.texts.sources import KINDS


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Spellings


@given(st.sampled_from(sorted(KINDS)), st.text(min_size=1), st.data())
def test_a_source_prints_as_it_parses(key: tuple[str, bool], argument: str, data: st.DataObject) -> None:
    kind = KINDS[key]
    names = data.draw(st.lists(st.sampled_from(kind.options), unique=True)) if kind.options else []
    names += [name for name in kind.repeated if data.draw(st.booleans())]
    options = tuple((name, data.draw(st.text(min_size=1))) for name in names)
    source = Source(key[0], argument if key[1] else "", options)
    assert Source.parse(str(source)) == source


@given(st.text())
def test_any_text_parses_or_is_refused_as_a_spelling(text: str) -> None:
    try:
        source = Source.parse(text)
    except ValueError as e:
        assert str(e).startswith("texts ")  # noqa: PT017
        return
    assert Source.parse(str(source)) == source


@pytest.mark.parametrize(
    "spec",
    [
        "docs:numpy",
        "docs:numpy?body=prose",
        "docs",
        "api-docs",
        "api-docs?body=prose",
        "chinese-docs",
        "folder:/data/nfcorpus?split=dev",
        "pairs:my faq.csv?passage=answer&query=question",
        "hub:BeIR/scifact?split=test",
        "planted?overlap=0.5&seed=1",
        "instructed?told=0",
        "compose?ood=docs:numpy&ood=folder:a?split=dev&train=pairs:x.csv",
    ],
)
def test_usual_spellings_stay_as_they_are(spec: str) -> None:
    assert str(Source.parse(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dcos:numpy", "allowed are docs:PACKAGE, docs, api-docs, chinese-docs, folder:PATH, pairs:FILE, hub:ID"),
        ("", "allowed are docs:PACKAGE"),
        ("folder", r"texts 'folder': nothing stands behind it; allowed is folder:PATH, its options behind a '\?'$"),
        ("hub:", r"texts 'hub': nothing stands behind it; allowed is hub:ID, its"),
        ("hub:?split=test", r"texts 'hub\?split=test': nothing stands behind it; allowed is hub:ID, its"),
        ("planted:3", r"texts 'planted:3': '3' stands behind it; allowed is planted, its options behind a '\?'$"),
        ("docs:numpy?boddy=prose", "option 'boddy', allowed for docs are body"),
        ("docs:numpy?body", "'body' is no option=value"),
        ("docs:numpy?body=", "option body has no value"),
        ("planted?seed=1&seed=2", "option seed is given twice"),
        ("planted?seed=one", "seed='one' is no whole number"),
        ("planted?overlap=much", "overlap='much' is no number"),
        ("planted?overlap=2", r"overlap=2.0 must lie in \[0, 1\]"),
        ("planted?domain=4", "domain=4 in 0..3"),
        ("docs:numpy?body=some", "body='some', allowed are full, prose"),
        ("docs:no_such_package_at_all", "no installed package of that name"),
        ("docs:../etc", "no installed package of that name"),
        ("docs:sys", "no installed package of that name"),
        ("docs", "are a benchmark, not a collection"),
        ("pairs:/no/such.csv", "pairs:/no/such.csv: no such file"),
        ("folder:/no/such", "folder:/no/such: no such folder"),
    ],
)
def test_a_wrong_spelling_is_one_sentence(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        collection(spec)
    assert "\n" not in str(caught.value)


def test_benchmarks_of_a_wrong_spelling() -> None:
    with pytest.raises(ValueError, match="the option train is missing"):
        benchmark("compose?ood=planted")
    with pytest.raises(ValueError, match="domain is for a collection"):
        benchmark("planted?domain=1")


# folder:


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


CORPUS = lines({"_id": "d1", "title": "Owls", "text": "fly at night"}, {"_id": "d2", "text": "cats é"}, {"_id": "d3", "text": ""})  # fmt: skip # noqa: E501
QUERIES = lines({"_id": "q1", "text": "what flies"}, {"_id": "q2", "text": "what sleeps"}, {"_id": "q3", "text": "x"})
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\nq2\td3\t0\n"


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "mini"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(CORPUS, encoding="utf-8")
    (folder / "queries.jsonl").write_text(QUERIES, encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(QRELS)
    return folder


def test_a_folder_in_beir_layout(beir: Path) -> None:
    c = collection(f"folder:{beir}", progress=False)
    assert c.passages.to_pydict() == {"id": ["d1", "d2", "d3"], "text": ["Owls fly at night", "cats é", ""]}
    assert c.queries["id"].to_pylist() == ["q1", "q2"]  # q3 has no judgement in this split
    assert c.qrels["relevance"].to_pylist() == [2, 1, 0]
    assert [rows.tolist() for rows in c.pairs] == [[0, 1], [0, 1]]
    assert (c.name, c.domain, c.language) == (f"folder:{beir}", "mini", "en")


def test_a_folder_zipped_without_header_and_another_split(beir: Path) -> None:
    (beir / "corpus.jsonl.gz").write_bytes(gzip.compress((beir / "corpus.jsonl").read_bytes()))
    (beir / "corpus.jsonl").unlink()
    (beir / "qrels" / "dev.tsv").write_text("q3\td1\t1\n")
    c = collection(f"folder:{beir}?language=de&split=dev", progress=False)
    assert c.queries["text"].to_pylist() == ["x"]
    assert c.language == "de"


def test_a_changed_file_is_read_again(beir: Path) -> None:
    before = collection(f"folder:{beir}", progress=False)
    (beir / "qrels" / "test.tsv").write_text("q3\td1\t1\n")
    assert collection(f"folder:{beir}", progress=False).fingerprint != before.fingerprint


FOLDER_ERRORS: list[tuple[str, str | bytes, str]] = [
    ("corpus.jsonl", CORPUS + "{\n", r"corpus.jsonl:4: no JSON"),
    ("corpus.jsonl", CORPUS + '"a"\n', r"corpus.jsonl:4: a JSON str, expected an object"),
    ("corpus.jsonl", CORPUS + '{"_id": "d4"}\n', r"corpus.jsonl:4: _id and text are expected, there is _id"),
    ("corpus.jsonl", CORPUS + '{"_id": null, "text": "a"}\n', r"corpus.jsonl:4: _id is None, expected a string"),
    ("corpus.jsonl", CORPUS + '{"_id": "d4", "text": 3}\n', r"corpus.jsonl:4: text and title must be strings"),
    ("corpus.jsonl", CORPUS + '{"_id": "d4", "text": "\\ud800"}\n', r"corpus.jsonl:4: .* half a surrogate pair"),
    ("corpus.jsonl", CORPUS + '\n{"_id": "d2", "text": "again"}\n', r"corpus.jsonl:5: the id 'd2' has .*jsonl:2"),
    ("corpus.jsonl", CORPUS.encode("latin-1"), r"corpus.jsonl:2: byte \d+ of the line is no UTF-8"),
    ("corpus.jsonl", CORPUS.encode("utf-16"), r"corpus.jsonl:1: byte 0 of the line is no UTF-8"),
    ("corpus.jsonl", "", r"corpus.jsonl: the file has no row"),
    ("queries.jsonl", "\n", r"queries.jsonl: the file has no row"),
    ("queries.jsonl", QUERIES + '{"_id": "q4", "text": " "}\n', r"queries.jsonl:4: the text of the query is empty"),
    ("queries.jsonl", QUERIES + '{"_id": "q1", "text": "b"}\n', r"queries.jsonl:4: the id 'q1' has occurred before"),
    ("qrels/test.tsv", QRELS + "q1\td9\t1\n", r"test.tsv:5: the passage 'd9' is not in corpus.jsonl"),
    ("qrels/test.tsv", QRELS + "\nq9\td1\t1\n", r"test.tsv:6: the query 'q9' is not in queries.jsonl"),
    ("qrels/test.tsv", QRELS + "q1 d2 1\n", r"test.tsv:5: 1 fields, expected query-id, corpus-id, score"),
    ("qrels/test.tsv", QRELS + "q1\td2\tyes\n", r"test.tsv:5: the score 'yes' is no whole number"),
    ("qrels/test.tsv", QRELS + f"q1\td2\t{2**70}\n", r"test.tsv:5: the score \d+ is beyond 2,147,483,647"),
    ("qrels/test.tsv", QRELS + "q1\td1\t1\n", r"test.tsv:5: the query and passage \('q1', 'd1'\)"),
    ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", r"test.tsv: the file has no row"),
    ("qrels/test.tsv", "q1\td1\t0\n", r"test.tsv: no score is above 0"),
]


@pytest.mark.parametrize(("file", "content", "message"), FOLDER_ERRORS)
def test_a_bad_folder_is_refused_with_path_and_line(
    beir: Path, own_cache: Path, file: str, content: str | bytes, message: str
) -> None:
    (beir / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        collection(f"folder:{beir}?strict=1", progress=False)
    assert str(caught.value).startswith(str(beir / file))
    assert "\n" not in str(caught.value)
    assert list(own_cache.iterdir()) == []  # nothing half-read is kept


def test_a_folder_without_its_files(beir: Path) -> None:
    (beir / "qrels" / "train.tsv").write_text(QRELS)
    with pytest.raises(ValueError, match=r"qrels: no split 'dev', there are test, train"):
        collection(f"folder:{beir}?split=dev")
    for file in (beir / "qrels").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match=r"qrels: no split 'test', there is no .tsv file"):
        collection(f"folder:{beir}")
    (beir / "queries.jsonl").unlink()
    with pytest.raises(ValueError, match=r"queries.jsonl: no such file; BEIR's layout is"):
        collection(f"folder:{beir}")


def test_a_dangling_judgement_is_dropped_and_counted(beir: Path, own_cache: Path) -> None:
    whole = collection(f"folder:{beir}", progress=False)
    (beir / "qrels" / "test.tsv").write_text(QRELS + "q1\td9\t1\nq3\td8\t1\nq9\td1\t0\n")
    for _ in range(2):  # read, and read from the cache
        with pytest.warns(
            TextsWarning, match=r"3 of 6 judgements dropped, the first .*test.tsv:5: the passage 'd9' is"
        ):
            c = collection(f"folder:{beir}", progress=False)
    assert c.fingerprint == whole.fingerprint
    assert c.queries["id"].to_pylist() == ["q1", "q2"]  # q3 has no judgement that is left
    assert whole.versions == {}
    assert list(c.versions) == ["dropped:mini"]
    with pytest.raises(ValueError, match=r"^.*test.tsv:5: the passage 'd9' is not in corpus.jsonl$"):
        collection(f"folder:{beir}?strict=1", progress=False)
    (beir / "qrels" / "test.tsv").write_text("q1\td9\t1\n")
    with pytest.raises(ValueError, match=r"test.tsv:1: the passage 'd9' is not in"):
        collection(f"folder:{beir}", progress=False)
    with pytest.raises(ValueError, match="strict='yes' is no whole number"):
        collection(f"folder:{beir}?strict=yes", progress=False)


def test_a_data_set_of_several_folders_counts_once(beir: Path) -> None:
    whole = beir.rename(beir.parent / "gaming").parent / "cqadupstack"
    whole.mkdir()
    shutil.copytree(beir.parent / "gaming", whole / "android")
    (beir.parent / "gaming").rename(whole / "gaming")
    (whole / "notes").mkdir()
    found = collections(f"folder:{whole}", progress=False)
    assert list(found) == [c.domain for c in found.values()] == ["cqadupstack/android", "cqadupstack/gaming"]
    assert list(collections(f"folder:{whole}/android", progress=False)) == ["android"]
    with pytest.raises(ValueError, match=r"a data set of 2 folders \(android ...\).* or all of them as ood of compose"):
        collection(f"folder:{whole}", progress=False)
    spec = f"compose?ood=folder:{whole}&test_pairs=20&train=planted?pairs=50&validation_pairs=10"
    assert list(benchmark(spec, progress=False).ood) == list(found)


# pairs:


ROWS = [("why, owl?", "night"), ("why, owl?", "mice\nand more"), ("cat", "night"), ("cat", "night")]


def write_csv(path: Path, delimiter: str = ",") -> None:
    quoted = [delimiter.join(f'"{field}"' for field in row) for row in [("question", "answer"), *ROWS]]
    path.write_bytes(("\ufeff" + "\r\n".join(quoted) + "\r\n").encode())


def write_jsonl(path: Path) -> None:
    path.write_text(lines(*({"answer": a, "question": q, "more": 1} for q, a in ROWS)))


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"question": [q for q, _ in ROWS], "answer": [a for _, a in ROWS]}), path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "f.csv": write_csv,
    "f.tsv": lambda path: write_csv(path, "\t"),
    "f.jsonl": write_jsonl,
    "f.parquet": write_parquet,
}


@pytest.mark.parametrize("file", WRITERS)
def test_pairs_come_out_the_same_from_every_format(tmp_path: Path, file: str) -> None:
    WRITERS[file](tmp_path / file)
    c = collection(f"pairs:{tmp_path / file}?passage=answer&query=question", progress=False)
    assert c.queries["text"].to_pylist() == ["why, owl?", "cat"]
    assert c.passages["text"].to_pylist() == ["night", "mice\nand more"]
    assert [rows.tolist() for rows in c.pairs] == [[0, 0, 1], [0, 1, 0]]


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=30))
def test_pairs_of_jsonl_keep_every_pair(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    assume(not any(blank(q) or blank(p) for q, p in rows))
    file = tmp_path_factory.mktemp("pairs") / "f.jsonl"
    file.write_text(lines(*({"query": q, "passage": p} for q, p in rows)), encoding="utf-8", newline="")
    c = collection(f"pairs:{file}", progress=False)
    texts = [(c.queries["text"][q].as_py(), c.passages["text"][p].as_py()) for q, p in zip(*c.pairs, strict=True)]
    assert texts == list(dict.fromkeys(rows))


def test_a_nul_character_stays_in_queries_as_in_passages_and_tokenisers_pass_over_it(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("query,passage\nhow to\0 open,use\0 open\n")
    c = collection(f"pairs:{tmp_path / 'f.csv'}", progress=False)
    assert (c.queries["text"][0].as_py(), c.passages["text"][0].as_py()) == ("how to\0 open", "use\0 open")
    words = learn_vocabulary(["how to open", "use open"] * 2, 60)
    for table, plain in ((c.queries, "how to open"), (c.passages, "use open")):
        assert words(table["text"][0].as_py())["input_ids"] == words(plain)["input_ids"]


def test_usual_names_of_columns_are_found_in_capitals_too(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("Question, Passage\nhow to open,use open\n")
    c = collection(f"pairs:{tmp_path / 'f.csv'}", progress=False)
    assert (c.queries["text"][0].as_py(), c.passages["text"][0].as_py()) == ("how to open", "use open")


PAIR_ERRORS = [
    ("f.csv", "query;passage\na;b\n", r"f.csv:1: no comma, but ';', stands between the columns: write it with commas"),
    ("f.csv", "ask,answer\na,b\n", r"f.csv:2: no column of the query \(.*\); there is ask, answer; name it: \?query="),
    ("f.csv", "query,passage\na,b\nc\n", r"f.csv:3: 1 fields, expected 2 \(query, passage\)"),
    ("f.csv", 'query,passage\na,b\n"c,d\n', r"f.csv:3: unexpected end of data"),
    ("f.csv", "query,query\na,b\n", r"f.csv:1: a column is named twice"),
    ("f.csv", "query,passage\na, \n", r"f.csv:2: passage is ' ', expected text"),
    ("f.csv", "query,passage\n", r"f.csv: the file has no row"),
    ("f.csv", "", r"f.csv: the file has no row"),
    ("f.csv", b"query,passage\na,b\nc,\xff\n", r"f.csv:3: byte 2 of the line is no UTF-8"),
    ("f.jsonl", '{"query": "a"}\n', r"f.jsonl:1: no column of the passage \(.*\); there is query; name"),
    ("f.jsonl", '{"query": "a", "passage": null}\n', r"f.jsonl:1: passage is None, expected text"),
    (
        "f.jsonl",
        '{"query": "a", "query_id": "\\ud800", "passage": {"docid": "1", "text": "b"}}\n',
        r"f.jsonl:1: character 0 of the query_id is half a surrogate pair",
    ),
    ("f.parquet", "no parquet", r"f.parquet: no Parquet file that can be read"),
    ("f.jsonl.gz", "no gzip", r"f.jsonl.gz:1: cannot be read"),
    ("f.xlsx", "x", r"f.xlsx: no reader for this ending, allowed are .jsonl, .csv, .tsv, .parquet"),
]


@pytest.mark.parametrize(("file", "content", "message"), PAIR_ERRORS)
def test_a_bad_pairs_file_is_refused_with_path_and_line(
    tmp_path: Path, file: str, content: str | bytes, message: str
) -> None:
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        collection(f"pairs:{tmp_path / file}", progress=False)
    assert str(caught.value).startswith(str(tmp_path / file))
    assert "\n" not in str(caught.value)


# hub:


@pytest.fixture
def hub(beir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in MTEB's layout on disk, which ``datasets`` reads as it would read one of the hub."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", beir.parent / "datasets")
    parts = {name: (name, f"{name}.jsonl") for name in ("corpus", "queries")} | {"default": ("test", "q.jsonl")}
    (beir / "q.jsonl").write_text(lines({"query-id": "q2", "corpus-id": "d2", "score": 1.0}))
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {file}\n"
        for name, (split, file) in parts.items()
    )
    (beir / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    return beir


def test_a_hub_data_set(hub: Path) -> None:
    c = collection(f"hub:{hub}", progress=False)
    assert c.passages["text"].to_pylist() == ["Owls fly at night", "cats é", ""]
    assert c.queries.to_pylist() == [{"id": "q2", "text": "what sleeps"}]
    assert c.qrels.to_pylist() == [{"query": "q2", "passage": "d2", "relevance": 1}]


def test_a_dangling_judgement_of_a_hub_data_set(hub: Path) -> None:
    rows = [{"query-id": q, "corpus-id": d, "score": 1} for q, d in (("q2", "d2"), ("q2", "d9"))]
    (hub / "q.jsonl").write_text(lines(*rows))
    with pytest.warns(
        TextsWarning, match=r"1 of 2 judgements dropped, the first .*qrels:row 1: the passage 'd9' is not"
    ):
        c = collection(f"hub:{hub}")
    assert (len(c), list(c.versions)) == (1, ["dropped:mini"])
    with pytest.raises(ValueError, match=r"qrels:row 1: the passage 'd9' is not in corpus"):
        collection(f"hub:{hub}?strict=1")


def test_a_hub_data_set_of_pairs(tmp_path: Path) -> None:
    (tmp_path / "faq").mkdir()
    write_jsonl(tmp_path / "faq" / "train.jsonl")
    c = collection(f"hub:{tmp_path / 'faq'}?passage=answer&query=question&split=train")
    assert [rows.tolist() for rows in c.pairs] == [[0, 0, 1], [0, 1, 0]]
    assert collection(f"hub:{tmp_path / 'faq'}?query=question").fingerprint == c.fingerprint  # the other one is known
    assert collection(f"hub:{tmp_path / 'faq'}").fingerprint == c.fingerprint
    with pytest.raises(ValueError, match=r"train: no column 'ask'; there is answer, question, more"):
        collection(f"hub:{tmp_path / 'faq'}?query=ask&split=train")


def test_a_bad_hub_data_set(hub: Path) -> None:
    with pytest.raises(ValueError, match=r"no split 'dev' of qrels, there are test; split= names one"):
        collection(f"hub:{hub}?split=dev")
    with pytest.raises(ValueError, match=r"hub:nobody/nothing: cannot be loaded"):
        collection("hub:nobody/nothing")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query-id": "q2", "corpus-id": "d9", "score": 1}, "row 0: the passage 'd9' is not in corpus"),
        ({"query": "q2", "corpus-id": "d2", "score": 1}, "qrels: the columns are query, corpus-id, score, expected"),
        ({"query-id": "q2", "corpus-id": "d2", "score": 0.5}, "qrels: Float value 0.5.* was truncated"),
    ],
)
def test_bad_qrels_of_a_hub_data_set(hub: Path, row: dict[str, Any], message: str) -> None:
    (hub / "q.jsonl").write_text(lines(row))
    with pytest.raises(ValueError, match=message):
        collection(f"hub:{hub}")


# compose and the cache


def test_any_sources_make_a_benchmark(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "f.jsonl").write_text(lines(*({"query": f"q{i}", "passage": f"p{i} " * 5} for i in range(9))))
    spec = f"compose?ood=pairs:{tmp_path / 'f.jsonl'}&ood=planted?domain=1&pairs=50&test_pairs=20&train=planted"
    spec = spec.replace("&pairs=50", "%26pairs=50") + "&validation_pairs=10"
    b = benchmark(spec, progress=False)
    assert {name: len(c) for name, c in b.ood.items()} == {"f": 9, "shift1": 50}
    assert (len(b.test), len(b.validation), b.synthetic) == (20, 10, True)
    assert benchmark(spec, progress=False).fingerprint == b.fingerprint
    assert sum(folder.name.startswith("benchmark-") for folder in own_cache.iterdir()) == 1
    assert len(benchmark("planted?seed=3&pairs=60").train) == 60
    with pytest.raises(ValueError, match="two domains outside are called shift1"):
        benchmark("compose?ood=planted?domain=1&ood=planted?domain=1%26pairs=5&train=planted")


def test_a_damaged_cache_is_built_again(beir: Path) -> None:
    before = collection(f"folder:{beir}", progress=False).fingerprint
    (kept,) = (folder for folder in cache_folder().iterdir() if folder.is_dir())
    (kept / "passages.arrow").write_bytes(b"rubbish")
    with pytest.warns(CacheWarning, match=r"passages.arrow: .* the cached folder is built again"):
        assert collection(f"folder:{beir}", progress=False).fingerprint == before
    assert collection(f"folder:{beir}", progress=False).fingerprint == before


@pytest.mark.parametrize("odd", ["[" * 100_000, "files", "versions"])
def test_an_odd_head_in_the_cache_is_built_again(beir: Path, odd: str) -> None:
    before = collection(f"folder:{beir}", progress=False).fingerprint
    (file,) = cache_folder().glob("*/meta.json")
    file.write_text(odd if odd.startswith("[") else json.dumps(json.loads(file.read_text()) | {odd: 5}))
    with pytest.warns(CacheWarning, match=r"meta.json: .*(nested too deeply|is 5, expected an object of texts); the"):
        assert collection(f"folder:{beir}", progress=False).fingerprint == before
    assert collection(f"folder:{beir}", progress=False).fingerprint == before


def test_processes_that_build_the_same_at_once_agree(beir: Path, own_cache: Path) -> None:
    code = f"from drscale.texts import collection; print(collection('folder:{beir}', progress=False).fingerprint)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in running}) == 1
    assert [process.returncode for process in running] == [0] * 4
    assert len(list(own_cache.iterdir())) == 1  # and nobody's scratch is left


def test_a_table_made_anew_stays_until_the_new_one_is_whole(own_cache: Path) -> None:
    def table(value: int, fails: bool = False) -> pd.DataFrame:
        assert fails is False, "no teacher today"
        return pd.DataFrame({"a": [value]})

    def kept() -> list[int]:
        return list(cached_table("t", "k", lambda: table(9))["a"])

    cached_table("t", "k", lambda: table(1))
    with pytest.raises(AssertionError, match="no teacher today"):
        cached_table("t", "k", lambda: table(2, fails=True), refresh=True)
    assert kept() == [1]
    assert list(cached_table("t", "k", lambda: table(3), refresh=True)["a"]) == [3]
    assert kept() == [3]
    assert len(list(own_cache.iterdir())) == 1  # and nobody's scratch is left


def test_a_table_is_there_while_another_one_takes_its_place(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def table(value: int) -> Callable[[], pd.DataFrame]:
        return lambda: pd.DataFrame({"a": [value]})

    cached_table("t", "k", table(1))
    rename, seen = Path.rename, []
    reader = Thread(target=lambda: seen.append(list(cached_table("t", "k", table(9))["a"])))

    def put_away(path: Path, target: Path) -> Path:
        if path.name == "ready":  # the old one is away by now
            if not reader.ident:
                reader.start()
                reader.join(0.2)
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", put_away)
    with pytest.raises(OSError, match="No space left"):
        cached_table("t", "k", table(2), refresh=True)
    reader.join()
    assert seen == [[1]]
    assert len(list(own_cache.iterdir())) == 1


def test_processes_that_sweep_and_mend_the_same_at_once_agree(tmp_path: Path) -> None:
    code = (
        "import os, sys, pandas as pd\nfrom drscale.texts.cache import cached_table\n"
        "for line in sys.stdin:\n    os.environ['DRSCALE_CACHE'] = line.strip()\n"
        "    print(cached_table('t', 'k', lambda: pd.DataFrame({'a': [1, 2]}))['a'].tolist(), flush=True)\n"
    )
    start = [sys.executable, "-W", "ignore", "-c", code]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = [subprocess.Popen(start, text=True, **pipes) for _ in range(6)]
    said = set()
    for i in range(5):
        place = tmp_path / str(i)
        for left in range(100):
            (place / f".building-{left}" / "work").mkdir(parents=True)
            os.utime(place / f".building-{left}", (time.time() - 100_000,) * 2)
        (place / "t-k").mkdir()
        (place / "t-k" / "table.parquet").write_bytes(b"rubbish")
        for process in running:
            print(place, file=process.stdin, flush=True)
        said |= {process.stdout.readline() for process in running}  # type: ignore[union-attr]
        assert said == {"[1, 2]\n"}, [process.communicate()[1][-300:] for process in running]
        assert [path.name for path in place.iterdir()] == ["t-k"]  # nothing stale and nobody's scratch is left
    assert {process.communicate()[1] for process in running} == {""}


def test_what_a_killed_build_left_is_swept_away(beir: Path, own_cache: Path) -> None:
    for name, age in (("old", 100_000), ("new", 10)):
        (own_cache / f".building-{name}").mkdir(parents=True)
        os.utime(own_cache / f".building-{name}", (time.time() - age,) * 2)
    collection(f"folder:{beir}", progress=False)
    assert [folder.name for folder in own_cache.glob(".building-*")] == [".building-new"]


def test_a_folder_is_a_benchmark_by_itself(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text(lines(*({"query": f"ask {i}", "passage": f"tell {i} " * 3} for i in range(1600))))
    b = benchmark(f"pairs:{tmp_path / 'f.jsonl'}", progress=False)
    assert b.name == f"pairs:{tmp_path / 'f.jsonl'}"
    assert {name: len(c) for name, c in b.parts().items()} == {"train": 1120, "validation": 160, "test": 320}


# planted


def test_the_planted_world_stays_as_it_is() -> None:
    b = benchmark("planted")
    assert {name: len(c) for name, c in b.parts().items()} == {
        "train": 2000, "validation": 300, "test": 300, "ood:shift1": 300, "ood:shift2": 300, "ood:shift3": 300
    }  # fmt: skip
    assert b.synthetic
    assert b.fingerprint == "b9742acdba95" + b.fingerprint[12:]
    assert benchmark("planted?seed=1").fingerprint != b.fingerprint


@pytest.mark.parametrize("dials", ["", "?seed=5", "?noise=0&overlap=1", "?overlap=0.0&shift=0.3"])
def test_the_oracle_ranks_every_own_passage_first(dials: str) -> None:
    encode = oracle(World(seed=5) if "seed" in dials else World())
    b = benchmark(f"planted{dials}")
    for c in (b.test, *b.ood.values()):
        scores = encode(c.queries["text"].to_pylist()) @ encode(c.passages["text"].to_pylist()).T
        queries, passages = c.pairs
        own = scores[queries, passages]
        scores[queries, passages] = -1
        assert (own > scores[queries].max(axis=1)).all()


def words_of(c: Any, table: str) -> set[str]:
    return {word for text in getattr(c, table)["text"].to_pylist() for word in text.split()}


def test_what_the_planted_world_says_of_itself_is_so() -> None:
    b = benchmark("planted?overlap=0.25")
    seen = words_of(b.train, "queries")
    for k, name in enumerate(("shift1", "shift2", "shift3"), start=1):
        asked = words_of(b.ood[name], "queries")
        assert len(asked - seen) / len(asked) == pytest.approx(0.15 * k, abs=0.02)
    assert words_of(b.test, "queries") <= seen
    queries, passages = (c["text"].to_pylist() for c in (b.train.queries, b.train.passages))
    kept = [len(set(q.split()) & set(p.split())) / 6 for q, p in zip(queries, passages, strict=True)]
    assert np.mean(kept) == pytest.approx(0.25, abs=0.02)
    assert {len(p.split()) for p in passages} == {16}


def test_a_smaller_planted_draw_begins_a_larger_one() -> None:
    small, large = (collection(f"planted?pairs={n}").queries["text"].to_pylist() for n in (30, 1500))
    assert large[:30] == small


def test_a_full_disk_names_what_the_cache_was_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def save(self, folder: str | Path) -> Path:
            raise OSError(28, "Error writing bytes to file. Detail: no file is named")

    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    with pytest.raises(OSError, match=r"\[Errno 28\] No space left on device: '.*/some-0123'"):
        cache.cached("some", "0123", lambda folder: Full(), lambda folder: Full())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    def batches() -> Iterator[pa.RecordBatch]:
        raise OSError(28, "Error writing bytes to file")
        yield

    with pytest.raises(OSError, match=r"No space left on device: '.*/queries\.arrow'"):
        tables.write_batches(tmp_path / "queries.arrow", tables.TEXTS, batches())
    assert not list(tmp_path.glob("*queries*"))
