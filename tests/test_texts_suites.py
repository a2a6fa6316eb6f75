"""The papers' benchmarks, put together of stand-ins: which parts come from where, and what is said of a missing one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_texts_layouts import lines, tsv

from drscale.texts import Collection, benchmark
from drscale.texts.collection import from_pairs
from drscale.texts.suites import SUITES

PUBLIC = 14  # data sets of BEIR outside MS MARCO that can be had by everyone (CQADupStack is one)


def stand_in(name: str, pairs: int = 300) -> Collection:
    """Pairs that share nothing with those of another name."""
    rows = [(f"{i}", f"ask {name} {i}", " ".join(f"{name}{i}w{k}" for k in range(6))) for i in range(pairs)]
    return from_pairs(name, rows, domain=name.rpartition("/")[2])


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A hub that has everything: which ids and splits were asked for."""
    names: list[tuple[str, str]] = []

    def hub_collection(name: str, *, language: str, split: str, **options: Any) -> Collection:
        names.append((name, split, language) if language != "en" else (name, split))  # type: ignore[arg-type]
        return stand_in(f"{name}-{split}")

    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("drscale.texts.sources.hub_collection", hub_collection)
    return names


def beir(folder: Path, pairs: int = 30, splits: tuple[str, ...] = ("test",)) -> None:
    """A folder of a BEIR zip."""
    folder.mkdir(parents=True)
    c = stand_in(folder.name, pairs * len(splits))
    for name, table in (("queries", c.queries), ("corpus", c.passages)):
        (folder / f"{name}.jsonl").write_text(lines({"_id": r["id"], "text": r["text"]} for r in table.to_pylist()))
    for k, split in enumerate(splits):
        rows = [(i, i, 1) for i in range(k * pairs, (k + 1) * pairs)]
        tsv(folder / "qrels", f"{split}.tsv", rows, "query-id\tcorpus-id\tscore\n")


def raw(folder: Path, queries: str, corpus: str, split: str, pairs: int = 30) -> None:
    c = stand_in(folder.name + folder.parent.name + split, pairs)
    tsv(folder, corpus, [(f"{split}{r['id']}", r["text"]) for r in c.passages.to_pylist()])
    tsv(folder, queries, [(r["id"], r["text"]) for r in c.queries.to_pylist()])
    tsv(folder, f"qrels.{split}.tsv", [(i, 0, f"{split}{i}", 1) for i in range(pairs)])


def test_english_is_ms_marco_and_the_public_sets_of_beir(asked: list[tuple[str, str]]) -> None:
    b = benchmark("english?validation_pairs=20", progress=False)
    assert asked[0] == ("mteb/msmarco", "train")
    assert ("mteb/msmarco", "dev") in asked
    domains = {name.partition("/")[0] for name in b.ood}
    assert len(domains) == PUBLIC
    assert sum(name.startswith("cqadupstack/") for name in b.ood) == 12
    assert {split for name, split in asked if name != "mteb/msmarco"} == {""}
    assert len(set(asked)) == len(asked) == 2 + 25
    assert (len(b.train), len(b.validation), len(b.test)) == (280, 20, 300)
    assert b.name == "english?validation_pairs=20"


def test_some_domains_only_and_none_by_a_wrong_name(asked: list[tuple[str, str]]) -> None:
    b = benchmark("english?ood=cqadupstack&ood=scifact", progress=False)
    assert list(b.ood)[:2] == ["cqadupstack/android", "cqadupstack/english"]
    assert len(b.ood) == 13
    assert len(asked) == 15
    with pytest.raises(ValueError, match=r"ood='scifakt', allowed are trec-covid, nfcorpus, .*robust04$"):
        benchmark("english?ood=scifakt")
    with pytest.raises(ValueError, match=r"ood='robust04' is not public; it is read from robust04 in a folder"):
        benchmark("english?ood=robust04")
    with pytest.raises(ValueError, match=r"root='/no/such' is no folder"):
        benchmark("english?root=/no/such")


def test_what_lies_below_root_is_read_from_there(tmp_path: Path, asked: list[tuple[str, str]]) -> None:
    root = tmp_path / "beir"
    beir(root / "msmarco", splits=("train", "dev"))
    beir(root / "robust04")
    beir(root / "cqadupstack" / "gis")
    spec = f"english?ood=cqadupstack&ood=robust04&root={root}&validation_pairs=5"
    b = benchmark(spec, progress=False)
    assert [len(c) for c in b.parts().values()][:3] == [25, 5, 30]
    assert (len(b.ood["robust04"]), len(b.ood["cqadupstack/gis"]), len(b.ood["cqadupstack/tex"])) == (30, 30, 300)
    assert ("mteb/msmarco", "train") not in asked
    assert len(asked) == 11
    assert all(c.domain == name for name, c in b.ood.items())


def test_chinese_from_the_hub_holds_its_test_out(asked: list[tuple[str, str]]) -> None:
    b = benchmark("chinese?test_pairs=40&validation_pairs=20", progress=False)
    assert {name for name, *_ in asked} == {f"mteb/{n}Retrieval" for n in ("T2", "Ecom", "Video", "Medical", "Cmedqa")}
    assert all(rest == ["dev", "zh"] for _, *rest in asked)
    assert (len(b.train), len(b.test), list(b.ood)) == (240, 40, ["ecom", "video", "medical", "cmedqa2"])


def test_chinese_from_the_makers_files_is_the_papers(tmp_path: Path, asked: list[tuple[str, str]]) -> None:
    root = tmp_path / "zh"
    for split in ("train", "dev"):
        raw(root / "T2Ranking" / "data", f"queries.{split}.tsv", "collection.tsv", split)
    both = [stand_in(f"dataT2Ranking{split}", 30).passages.to_pylist() for split in ("train", "dev")]
    rows = [(f"{s}{r['id']}", r["text"]) for s, own in zip(("train", "dev"), both, strict=True) for r in own]
    tsv(root / "T2Ranking" / "data", "collection.tsv", rows, "pid\ttext\n")
    for domain in ("ecom", "video", "medical"):
        raw(root / "Multi-CPR" / "data" / domain, "dev.query.txt", "corpus.tsv", "dev")
    passages = [{"text": f"news {k} of the day", "relevance": k % 4} for k in range(8)]
    (root / "TianGong-PDR").mkdir()
    queries = [{"qid": 1, "query": "what happened", "docs": [{"docid": "a", "passages": passages}]}]
    (root / "TianGong-PDR" / "pdr.json").write_text(json.dumps(queries))
    b = benchmark(f"chinese?root={root}&validation_pairs=5", progress=False)
    assert [name for name, *_ in asked] == ["mteb/CmedqaRetrieval"]
    assert (len(b.train), len(b.validation), len(b.test)) == (25, 5, 30)
    assert {name: len(c) for name, c in b.ood.items()} == {
        "ecom": 30, "video": 30, "medical": 30, "cmedqa2": 300, "tiangong-pdr": 6
    }  # fmt: skip
    assert b.ood["ecom"].language == b.train.language == "zh"


def test_every_part_names_where_it_comes_from() -> None:
    for suite in SUITES.values():
        parts = [suite.train, suite.test, *suite.outside.values()]
        assert all(part.folders for part in parts)
        assert all(not part.hub or part.hub.startswith("hub:mteb/") for part in parts)
    closed = [name for name, part in SUITES["english"].outside.items() if not part.hub]
    assert closed == ["bioasq", "signal1m", "trec-news", "robust04"]
