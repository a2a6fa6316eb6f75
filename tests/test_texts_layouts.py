"""The layouts in which retrieval data sets are handed out: each is written as its makers write it, and read by one
spelling.

What is read is what was written, and its metrics are those that pytrec_eval gives for what was written.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval
from conftest import ROOT

from drscale.evaluate.ranking import METRICS
from drscale.evaluate.retrievers import rank_scores, retriever
from drscale.texts import Collection, benchmark, collection, collections
from drscale.texts.layouts import folder_splits

Grades = dict[str, dict[str, int]]  # of query texts and passage texts
ANIMALS = ("owls", "cats", "bees", "ants", "elks", "rams")
QUERIES = {f"q{i}": f"what is number {i} of the {w}" for i, w in enumerate(ANIMALS)}
PASSAGES = {f"d{i}": (f"Title {i}" if i % 3 else "", f"passage {i} tells of {i * i} things") for i in range(40)}
QRELS = {q: {f"d{(7 * i + 5 * k) % 40}": 2 - k for k in range(3)} for i, q in enumerate(QUERIES)}  # grades 2, 1 and 0
TRAIN = {"q5": {"d1": 1}}  # of another split
JUDGED = {q: v for q, v in QRELS.items() if q != "q5"}


class Written(NamedTuple):
    """What a layout's files say, as texts: the spelling, grades of every query and passage, and all passages."""

    spec: str
    grades: Grades
    passages: list[str]


def text(passage: str, title: bool = True) -> str:
    name, body = PASSAGES[passage]
    return f"{name} {body}" if name and title else body


def said(spec: str, qrels: dict[str, dict[str, int]] = JUDGED, title: bool = True, more: str = "") -> Written:
    """All of the small world, with a text behind each query where there is ``more``."""
    grades = {QUERIES[q] + more: {text(p, title): g for p, g in row.items()} for q, row in qrels.items()}
    return Written(spec, grades, [text(p, title) for p in PASSAGES])


def in_rows(spec: str, rows: Iterable[tuple[str, list[str], list[str]]]) -> Written:
    """What rows of a query, its passages and its negatives say: a passage that is both is relevant."""
    grades: Grades = {}
    for query, positives, negatives in rows:
        own = grades.setdefault(query, {})
        own.update({p: 0 for p in negatives if p not in own} | dict.fromkeys(positives, 1))
    return Written(spec, grades, list(dict.fromkeys(p for own in grades.values() for p in own)))


# ------------------------------------------------------------------------------------------- the reference


def embed(texts: list[str]) -> np.ndarray:
    """A retriever that knows nothing: a vector drawn by each text, so that no two passages tie."""
    seeds = (int.from_bytes(hashlib.blake2b(t.encode(), digest_size=8).digest(), "little") for t in texts)
    return np.stack([np.random.default_rng(seed).normal(size=16) for seed in seeds]).astype(np.float32)


def reference(written: Written) -> dict[str, list[float]]:
    """The metrics of each query, sorted, from pytrec_eval and the texts that were written."""
    queries, passages = list(written.grades), written.passages
    scores = embed(queries) @ embed(passages).T
    qrels = {q: {str(passages.index(p)): g for p, g in own.items()} for q, own in written.grades.items()}
    run = {q: {str(i): float(s) for i, s in enumerate(scores[row])} for row, q in enumerate(queries)}
    names = {"ndcg10": "ndcg_cut_10", "recall10": "recall_10", "recall100": "recall_100"}
    found = pytrec_eval.RelevanceEvaluator(qrels, set(names.values())).evaluate(run)
    values = {ours: sorted(found[q][theirs] for q in queries) for ours, theirs in names.items()}
    first = []
    for q in queries:
        order = sorted(run[q], key=lambda p, q=q: -run[q][p])[:10]
        first.append(next((1 / (i + 1) for i, p in enumerate(order) if qrels[q].get(p, 0) > 0), 0.0))
    return values | {"mrr10": sorted(first)}


def content(c: Collection) -> tuple[Grades, list[str]]:
    """The grades and the passages of a collection, as texts."""
    asked, told = (dict(zip(t["id"].to_pylist(), t["text"].to_pylist(), strict=True)) for t in (c.queries, c.passages))
    grades: Grades = {}
    for row in c.qrels.to_pylist():
        grades.setdefault(asked[row["query"]], {})[told[row["passage"]]] = row["relevance"]
    return grades, sorted(told.values())


# ------------------------------------------------------------------------------------------------- writers


def lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def columns(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows)


def docs(key: str = "_id", title: bool = True) -> list[dict[str, Any]]:
    return [{key: p, **({"title": t} if title else {}), "text": b} for p, (t, b) in PASSAGES.items()]


def asked(key: str = "_id") -> list[dict[str, Any]]:
    return [{key: q, "text": t} for q, t in QUERIES.items()]


def judged(score: Callable[[int], Any] = int, qrels: dict[str, dict[str, int]] = JUDGED) -> list[dict[str, Any]]:
    return [{"query-id": q, "corpus-id": p, "score": score(g)} for q, own in qrels.items() for p, g in own.items()]


def repository(folder: Path, parts: dict[str, dict[str, list[dict[str, Any]]]], kind: str = "parquet") -> Path:
    """A data set of a hub: configurations of splits, in Parquet or JSONL, and the card that lists them."""
    card = "---\nconfigs:\n"
    for config, splits in parts.items():
        card += f"- config_name: {config}\n  data_files:\n"
        for split, rows in splits.items():
            file = folder / config / f"{split}-00000-of-00001.{kind}"
            file.parent.mkdir(parents=True, exist_ok=True)
            if kind == "parquet":
                pq.write_table(columns(rows), file)
            else:
                file.write_text(lines(rows), encoding="utf-8")
            card += f"  - split: {split}\n    path: {config}/{file.name}\n"
    (folder / "README.md").write_text(f"{card}---\n")
    return folder


def beir_hub(folder: Path) -> Written:
    """BeIR/scifact and BeIR/scifact-qrels: two repositories, the second of TSV files."""
    repository(folder / "scifact", {"corpus": {"corpus": docs()}, "queries": {"queries": asked()}})
    (folder / "scifact-qrels").mkdir()
    for split, qrels in (("train", TRAIN), ("test", JUDGED)):
        rows = [f"{q}\t{p}\t{g}\n" for q, own in qrels.items() for p, g in own.items()]
        (folder / "scifact-qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return said(f"hub:{folder / 'scifact'}")


def mteb_1(folder: Path) -> Written:
    """mteb/scifact as it was: JSONL, the judgements in the configuration default."""
    qrels = {"train": judged(qrels=TRAIN), "test": judged()}
    parts = {"default": qrels, "corpus": {"corpus": docs()}, "queries": {"queries": asked()}}
    return said(f"hub:{repository(folder, parts, 'jsonl')}")


def mteb_2(folder: Path) -> Written:
    """mteb/T2Retrieval as it is: Parquet, ids called id, float scores, and dev the only split there is."""
    dev = {"corpus": docs("id"), "queries": asked("id"), "qrels": judged(float)}
    return said(f"hub:{repository(folder, {config: {'dev': rows} for config, rows in dev.items()})}")


def mteb_languages(folder: Path) -> Written:
    """mteb/MIRACLRetrieval: a configuration for each language and part."""
    other = [{"_id": "x", "title": "", "text": "autre"}]
    parts = {
        **{"fr-corpus": {"dev": other}, "fr-queries": {"dev": other}},
        **{"fr-qrels": {"dev": [{"query-id": "x", "corpus-id": "x", "score": 1}]}},
        **{"en-corpus": {"dev": docs()}, "en-queries": {"dev": asked()}, "en-qrels": {"dev": judged()}},
    }
    return said(f"hub:{repository(folder, parts)}?config=en")


def nano(folder: Path) -> Written:
    """sentence-transformers/NanoBEIR-en: the splits are the data sets, and judgements have no score."""
    qrels = {q: {p: 1 for p, g in own.items() if g} for q, own in JUDGED.items()}
    pairs = [{"query-id": q, "corpus-id": p} for q, own in qrels.items() for p in own]
    short = [{k: v for k, v in row.items() if k != "title"} for row in docs()]
    parts = {
        "corpus": {"NanoNQ": short, "NanoSCIDOCS": short[:30]},
        "queries": {"NanoNQ": asked(), "NanoSCIDOCS": asked()[:1]},
        "qrels": {"NanoNQ": pairs, "NanoSCIDOCS": pairs[:1]},
    }
    return said(f"hub:{repository(folder / 'NanoBEIR-en', parts)}?split=NanoNQ", qrels, title=False)


def cmteb(folder: Path) -> Written:
    """C-MTEB/CmedqaRetrieval: splits corpus and queries, and judgements in CmedqaRetrieval-qrels."""
    short = [{"id": p, "text": b} for p, (_, b) in PASSAGES.items()]
    pairs = [{"qid": q, "pid": p, "score": g} for q, own in JUDGED.items() for p, g in own.items()]
    repository(folder / "Cmedqa", {"default": {"corpus": short, "queries": asked("id")}})
    repository(folder / "Cmedqa-qrels", {"default": {"dev": pairs}})
    return said(f"hub:{folder / 'Cmedqa'}?language=zh", title=False)


def followir_test(folder: Path) -> Written:
    """jhu-clsp/core17-instructions-mteb: an instruction behind each query."""
    told = [{"query-id": q, "instruction": "and no other"} for q in QUERIES]
    parts = {"corpus": docs(), "queries": asked(), "default": judged(), "instruction": told}
    whole = repository(folder, {config: {"test": rows} for config, rows in parts.items()})
    return said(f"hub:{whole}", more=" and no other")


def tsv(folder: Path, file: str, rows: Iterable[Iterable[Any]], header: str = "", zipped: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = (header + "".join("\t".join(map(str, row)) + "\n" for row in rows)).encode()
    (folder / (f"{file}.gz" if zipped else file)).write_bytes(gzip.compress(data) if zipped else data)


def trec(qrels: dict[str, dict[str, int]]) -> list[tuple[str, str, str, int]]:
    return [(q, "0", p, g) for q, own in qrels.items() for p, g in own.items()]


def bodies() -> list[tuple[str, str]]:
    return [(p, b) for p, (_, b) in PASSAGES.items()]


def ms_marco(folder: Path) -> Written:
    """collectionandqueries.tar.gz: no header, dev.small judged and dev not."""
    for split, queries in (("train", ["q5"]), ("dev", list(QUERIES)), ("dev.small", list(JUDGED))):
        tsv(folder, f"queries.{split}.tsv", [(q, QUERIES[q]) for q in queries])
    tsv(folder, "collection.tsv", bodies(), zipped=True)
    tsv(folder, "qrels.train.tsv", trec(TRAIN))
    tsv(folder, "qrels.dev.small.tsv", trec(JUDGED))
    return said(f"folder:{folder}?split=dev", title=False)


def t2ranking(folder: Path) -> Written:
    """THUIR/T2Ranking/data: headers, four grades for reranking, and pairs for retrieval, which count."""
    for split, queries in (("train", ["q5"]), ("dev", list(JUDGED)), ("test", ["q0"])):
        tsv(folder / "data", f"queries.{split}.tsv", [(q, QUERIES[q]) for q in queries], "qid\ttext\n")
    tsv(folder / "data", "collection.tsv", bodies(), "pid\ttext\n")
    for split, qrels in (("train", TRAIN), ("dev", JUDGED)):
        tsv(folder / "data", f"qrels.{split}.tsv", trec(qrels), "qid\t-\tpid\trel\n")
        rows = [(q, p) for q, own in qrels.items() for p, g in own.items() if g]
        tsv(folder / "data", f"qrels.retrieval.{split}.tsv", rows, "qid\tpid\n")
    tsv(folder / "data", "train.bm25.tsv", [("q5", "d2", 1)], "qid\tpid\tindex\n")
    flat = {q: {p: 1 for p, g in own.items() if g} for q, own in JUDGED.items()}
    return said(f"folder:{folder / 'data'}?language=zh&split=dev", flat, title=False)


def multi_cpr(folder: Path) -> Written:
    """Multi-CPR/data/video: corpus.tsv, dev.query.txt and TREC's qrels."""
    for split, qrels in (("train", TRAIN), ("dev", JUDGED)):
        tsv(folder / "video", f"{split}.query.txt", [(q, QUERIES[q]) for q in qrels])
        tsv(folder / "video", f"qrels.{split}.tsv", trec(qrels))
    tsv(folder / "video", "corpus.tsv", bodies())
    return said(f"folder:{folder / 'video'}?language=zh&split=dev", title=False)


def lotte(folder: Path) -> Written:
    """lotte/writing/test: questions and answers of search and of forum."""
    for part in ("test", "dev"):
        place = folder / "lotte" / "writing" / part
        tsv(place, "collection.tsv", bodies())
        for split, qrels in (("search", JUDGED), ("forum", TRAIN)):
            tsv(place, f"questions.{split}.tsv", [(q, QUERIES[q]) for q in qrels])
            answers = [{"qid": q, "query": QUERIES[q], "url": "", "answer_pids": list(own)} for q, own in qrels.items()]
            (place / f"qas.{split}.jsonl").write_text(lines(answers))
    (folder / "lotte" / "writing" / "test" / "metadata.jsonl").write_text("")
    flat = {q: dict.fromkeys(own, 1) for q, own in JUDGED.items()}
    return said(f"folder:{folder / 'lotte' / 'writing' / 'test'}?split=search", flat, title=False)


def tiangong(folder: Path) -> Written:
    """TianGong-PDR's JSON: queries, their documents, and the passages of these with grades."""
    names = list(PASSAGES)
    queries = []
    grades: Grades = {}
    for i, q in enumerate(JUDGED):
        own = names[8 * i : 8 * i + 8]
        marks = {p: (k * 7) % 4 for k, p in enumerate(own)}
        parts = [{"text": text(p, False), "relevance": marks[p]} for p in own]
        found = [{"docid": f"n{i}{k}", "relevance": 1, "passages": parts[4 * k : 4 * k + 4]} for k in range(2)]
        queries.append({"qid": i, "query": QUERIES[q], "docs": found})
        grades[QUERIES[q]] = {text(p, False): g for p, g in marks.items()}
    folder.mkdir(exist_ok=True)
    (folder / "TianGong-PDR.json").write_text(json.dumps(queries, ensure_ascii=False))
    return Written(f"folder:{folder}?language=zh", grades, [text(p, False) for p in PASSAGES])


def beir_folder(folder: Path) -> Written:
    """A zip of the BEIR benchmark, unpacked."""
    folder.mkdir(exist_ok=True)
    (folder / "corpus.jsonl").write_text(lines(docs()))
    (folder / "queries.jsonl").write_text(lines(asked()))
    for split, qrels in (("train", TRAIN), ("test", JUDGED)):
        rows = [(q, p, g) for q, own in qrels.items() for p, g in own.items()]
        tsv(folder / "qrels", f"{split}.tsv", rows, "query-id\tcorpus-id\tscore\n")
    return said(f"folder:{folder}")


def forum(folder: Path) -> Written:
    """BEIR's cqadupstack: twelve folders, each a collection; one of them."""
    for name in ("android", "english", "gaming"):
        (folder / "cqadupstack").mkdir(exist_ok=True)
        beir_folder(folder / "cqadupstack" / name)
    return said(f"folder:{folder / 'cqadupstack' / 'gaming'}")


def rows_of_three() -> list[tuple[str, list[str], list[str]]]:
    """A query, the passages that answer it, and some that do not."""
    return [
        (QUERIES[q], [text(p, False) for p, g in own.items() if g], [text(p, False) for p in list(PASSAGES)[i : i + 3]])
        for i, (q, own) in enumerate(JUDGED.items())
    ]


def nested(folder: Path, kind: str) -> tuple[Path, Written]:
    """Rows whose passages are lists of objects, with ids of their own."""
    one, other = {"tevatron": ("positive_passages", "negative_passages"), "dpr": ("positive_ctxs", "hard_negative_ctxs")}[kind]  # fmt: skip # noqa: E501
    key, query = ("docid", "query") if kind == "tevatron" else ("passage_id", "question")
    rows, texts = [], []
    for i, (q, own) in enumerate(JUDGED.items()):
        good, bad = [p for p, g in own.items() if g], list(PASSAGES)[i : i + 3]
        sides = {s: [{key: p, "title": PASSAGES[p][0], "text": PASSAGES[p][1]} for p in ps] for s, ps in ((one, good), (other, bad))}  # fmt: skip # noqa: E501
        rows.append({"query_id": q, query: QUERIES[q], **sides})
        texts.append((QUERIES[q], [text(p) for p in good], [text(p) for p in bad]))
    folder.mkdir(exist_ok=True)
    if kind == "dpr":
        (folder / "dpr.jsonl").write_text(lines(rows))
        return folder / "dpr.jsonl", in_rows(f"pairs:{folder / 'dpr.jsonl'}", texts)
    return folder, in_rows(f"hub:{repository(folder, {'default': {'train': rows}})}", texts)


def tevatron(folder: Path) -> Written:
    """Tevatron/msmarco-passage: query_id, query, positive_passages and negative_passages."""
    return nested(folder, "tevatron")[1]


def dpr(folder: Path) -> Written:
    """dpr-scale's JSONL: question, positive_ctxs and hard_negative_ctxs."""
    return nested(folder, "dpr")[1]


def flat(folder: Path, names: tuple[str, ...], config: str = "default", more: str = "") -> Written:
    """A table of flat columns: the query, a passage that answers, and negatives where there are names for them."""
    rows, told = [], []
    for query, good, bad in rows_of_three():
        for passage in good:
            used = bad[: len(names) - 2]
            rows.append(
                dict(zip(names, (query, passage, *used), strict=True)) | ({"instruction": more} if more else {})
            )
            told.append((f"{query} {more}".strip(), [passage], used))
    repository(
        folder, {config: {"train": rows}, **({"pair-of-another": {"train": rows[:1]}} if config != "default" else {})}
    )
    return in_rows(f"hub:{folder}" + (f"?config={config}" if config != "default" else ""), told)


def st_pairs(folder: Path) -> Written:
    """sentence-transformers/natural-questions: query and answer."""
    return flat(folder, ("query", "answer"))


def st_hard(folder: Path) -> Written:
    """sentence-transformers' mined hard negatives, in one configuration of several: anchor, positive, negative_1 ..."""
    return flat(folder, ("anchor", "positive", "negative_1", "negative_2", "negative_3"), "triplet-hard")


def bge(folder: Path) -> Written:
    """BGE's training JSONL: query, pos and neg, the latter two lists of texts."""
    folder.mkdir(exist_ok=True)
    rows = rows_of_three()
    (folder / "bge.jsonl").write_text(lines({"query": q, "pos": p, "neg": n} for q, p, n in rows))
    return in_rows(f"pairs:{folder / 'bge.jsonl'}", rows)


def inf_ir(folder: Path) -> Written:
    """InF-IR/InF-IR: the splits are data sets; instruction, query, document and hard negatives."""
    rows, told = [], []
    for query, good, bad in rows_of_three():
        row = {"instruction_positive": "be brief", "query_positive": query, "document_positive": good[0]}
        rows.append(row | {f"hard_negative_document_{k}": p for k, p in enumerate(bad, start=1)})
        told.append((f"{query} be brief", good[:1], bad))
    repository(folder, {"default": {"msmarco": rows, "other": rows[:1]}})
    return in_rows(f"hub:{folder}?split=msmarco", told)


def followir_train(folder: Path) -> Written:
    """jhu-clsp/FollowIR-train: query, instruction, document and whether it is relevant."""
    rows, told = [], []
    for query, good, bad in rows_of_three():
        for passage, label in [(p, "true") for p in good] + [(p, "false") for p in bad]:
            rows.append(
                {"id": len(rows), "query": query, "instruction": "in full", "document": passage, "label": label}
            )
        told.append((f"{query} in full", good, bad))
    return in_rows(f"hub:{repository(folder, {'default': {'train': rows}})}", told)


LAYOUTS: dict[str, Callable[[Path], Written]] = {
    "BEIR, unpacked": beir_folder,
    "BEIR on the hub": beir_hub,
    "MTEB, JSONL": mteb_1,
    "MTEB, Parquet": mteb_2,
    "MTEB, a language": mteb_languages,
    "NanoBEIR": nano,
    "C-MTEB": cmteb,
    "CQADupStack": forum,
    "MS MARCO": ms_marco,
    "T2Ranking": t2ranking,
    "Multi-CPR": multi_cpr,
    "TianGong-PDR": tiangong,
    "LoTTE": lotte,
    "Tevatron": tevatron,
    "DPR": dpr,
    "BGE": bge,
    "sentence-transformers, pairs": st_pairs,
    "sentence-transformers, hard negatives": st_hard,
    "FollowIR, test": followir_test,
    "FollowIR, train": followir_train,
    "InF-IR": inf_ir,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv("DRSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read_and_measured_as_the_reference_measures_it(tmp_path: Path, layout: str) -> None:
    written = LAYOUTS[layout](tmp_path / "it") if (tmp_path / "it").mkdir() is None else None
    c = collection(written.spec, progress=False)
    grades, passages = content(c)
    assert grades == written.grades
    assert passages == sorted(written.passages)
    assert c.language == ("zh" if "language=zh" in written.spec else "en")
    expected, scores = reference(written), rank_scores(retriever(embed), c)
    for metric in METRICS:
        np.testing.assert_allclose(np.sort(scores[metric]), expected[metric], atol=1e-12, err_msg=metric)
    assert 0.01 < np.mean(expected["ndcg10"]) < 0.99
    assert collection(written.spec, progress=False).fingerprint == c.fingerprint  # from the cache


def test_the_page_of_layouts_lists_what_is_tested() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \| `([^`]+)` \|.*\| (\w+) \| (\w+) \|$", (ROOT / "docs" / "texts.md").read_text(), re.M
    )
    assert [row[0] for row in rows] == list(LAYOUTS)
    assert {row[2:] for row in rows} == {("yes", "yes")}
    kinds = {row[1].partition(":")[0] for row in rows}
    assert kinds == {"folder", "hub", "pairs"}


def test_the_likely_forms_of_tiangong_come_out_the_same(tmp_path: Path) -> None:
    c = collection(tiangong(tmp_path / "it").spec, progress=False)
    file = tmp_path / "it" / "TianGong-PDR.json"
    queries = json.loads(file.read_text())
    flat = [
        q | {"docs": [{"docid": d["docid"], "passages": [p["text"] for p in d["passages"]],
                       "passage_relevance": [p["relevance"] for p in d["passages"]]} for d in q["docs"]]}
        for q in queries
    ]  # fmt: skip
    keyed = {str(q["qid"]): {k: v for k, v in q.items() if k != "qid"} for q in queries}
    for text in (json.dumps(queries, indent=1), lines(queries), json.dumps(flat), json.dumps(keyed)):
        file.write_text(text)
        assert collection(f"folder:{tmp_path / 'it'}", progress=False).fingerprint == c.fingerprint


# Data sets that are several


def test_a_data_set_that_is_several_is_read_by_its_parts(tmp_path: Path) -> None:
    whole = nano(tmp_path / "nano").spec.partition("?")[0]
    found = collections(whole, progress=False)
    assert {name: len(c.passages) for name, c in found.items()} == {"NanoNQ": 40, "NanoSCIDOCS": 30}
    assert list(collections(f"{whole}?split=NanoNQ", progress=False)) == ["NanoNQ"]
    with pytest.raises(ValueError, match=r"no split 'test' of corpus, there are NanoNQ, NanoSCIDOCS; split= names one"):
        collection(whole)
    forum(tmp_path)
    assert list(collections(f"folder:{tmp_path / 'cqadupstack'}", progress=False)) == [
        f"cqadupstack/{name}" for name in ("android", "english", "gaming")
    ]
    lotte(tmp_path)
    for topic in ("science", "pooled"):  # the latter holds all topics, and is none
        shutil.copytree(tmp_path / "lotte" / "writing", tmp_path / "lotte" / topic)
    topics = collections(f"folder:{tmp_path / 'lotte'}?split=search", progress=False)
    assert {name: len(c) for name, c in topics.items()} == {"lotte/science": 15, "lotte/writing": 15}
    with pytest.raises(ValueError, match=r"2 folders \(science ...\).*read folder:.*/lotte/science/test, or all"):
        collection(f"folder:{tmp_path / 'lotte'}?split=search")


def split_folder(folder: Path, *splits: str) -> Path:
    """A BEIR folder of 400 queries and passages, whose judgements are in several splits."""
    folder.mkdir()
    (folder / "corpus.jsonl").write_text(lines({"_id": f"p{i}", "text": f"passage of word{i}"} for i in range(400)))
    (folder / "queries.jsonl").write_text(lines({"_id": f"q{i}", "text": f"where is word{i}"} for i in range(400)))
    for split, some in zip(splits, (range(330), range(330, 365), range(365, 400)), strict=False):
        tsv(folder / "qrels", f"{split}.tsv", [(f"q{i}", f"p{i}", 1) for i in some], "query-id\tcorpus-id\tscore\n")
    return folder


def test_the_splits_of_a_folder_are_those_of_its_benchmark(tmp_path: Path) -> None:
    folder = split_folder(tmp_path / "mine", "train", "test", "dev")
    read = benchmark(f"folder:{folder}")
    assert [len(part) for part in (read.train, read.test, read.validation)] == [330, 35, 35]
    assert read.test.queries["id"].to_pylist()[0] == "q330"
    assert folder_splits(str(folder)) == {"train": "train", "test": "test", "validation": "dev"}
    assert folder_splits(str(split_folder(tmp_path / "marco", "train", "dev"))) == {"train": "train", "test": "dev"}
    assert folder_splits(str(split_folder(tmp_path / "small", "test"))) == {}
    with (
        pytest.warns(
            UserWarning, match=r"reads the split test of the folder.*; its split train is folder:.*\?split=train"
        ),
        pytest.raises(ValueError, match="35 pairs are too few"),
    ):
        benchmark(f"compose?train=folder:{folder}")


def test_a_repository_is_read_by_its_folder_data(tmp_path: Path) -> None:
    spec = t2ranking(tmp_path / "T2Ranking").spec
    whole = collection(spec.replace("/data?", "?"), progress=False)
    assert (whole.fingerprint, whole.domain) == (collection(spec, progress=False).fingerprint, "T2Ranking")
    multi_cpr(tmp_path / "Multi-CPR" / "data")
    multi_cpr(tmp_path / "x")
    shutil.move(tmp_path / "x" / "video", tmp_path / "Multi-CPR" / "data" / "ecom")
    found = collections(f"folder:{tmp_path / 'Multi-CPR'}?split=dev", progress=False)
    assert list(found) == ["Multi-CPR/ecom", "Multi-CPR/video"]


def test_languages_and_configurations_are_named_in_the_spelling(tmp_path: Path) -> None:
    spec = mteb_languages(tmp_path / "it").spec
    assert collection(spec).domain == "it-en"
    assert len(collection(spec.replace("=en", "=fr"), progress=False).passages) == 1


def test_nested_rows_keep_their_ids(tmp_path: Path) -> None:
    c = collection(tevatron(tmp_path / "it").spec, progress=False)
    assert set(c.queries["id"].to_pylist()) == set(JUDGED)
    assert set(c.passages["id"].to_pylist()) <= set(PASSAGES)
    titled = {p: text(p) for p in PASSAGES}
    assert all(titled[row["id"]] == row["text"] for row in c.passages.to_pylist())


def test_judgements_of_documents_in_lists_and_int_ids(tmp_path: Path) -> None:
    rows = [{"query-id": i, "corpus-id": [i, i + 1]} for i in range(3)]
    texts = [{"_id": i, "title": None, "text": f"text {i}"} for i in range(5)]
    parts = {"corpus": texts, "queries": texts[:3], "qrels": rows}
    c = collection(f"hub:{repository(tmp_path / 'it', {k: {'test': v} for k, v in parts.items()})}", progress=False)
    assert list(zip(c.qrels["query"].to_pylist(), c.qrels["passage"].to_pylist(), strict=True))[:3] == [
        ("0", "0"),
        ("0", "1"),
        ("1", "1"),
    ]


# What is wrong is one sentence


def test_a_folder_that_is_no_collection_lists_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no corpus in a known layout \(BEIR: corpus.jsonl, queries.jsonl and qrels/"):
        collection(f"folder:{tmp_path}")


BAD: list[tuple[Callable[[Path], Written], str, str, str]] = [
    (ms_marco, "qrels.dev.small.tsv", "q0\t0\td1\n", r"small.tsv:1: 3 fields, expected qid, 0, pid, score or qid, pid"),
    (ms_marco, "qrels.dev.small.tsv", "q0\t0\td1\t0.5\n", r"small.tsv:1: the score '0.5' is no whole number"),
    (ms_marco, "qrels.dev.small.tsv", "q0 0 d1 1\nq0 0 d1 2\n", r"tsv:2: .* have occurred together before, with anoth"),
    (ms_marco, "queries.dev.small.tsv", "q0\n", r"small.tsv:1: 1 fields, expected an id and a text with a tab between"),
    (ms_marco, "queries.dev.small.tsv", "q0\tone\nq0\ttwo\n", r"small.tsv:2: the id 'q0' has occurred before, at .*:1"),
    (ms_marco, "queries.dev.small.tsv", "q0\t \n", r"small.tsv:1: the text of the query is empty"),
    (lotte, "lotte/writing/test/qas.search.jsonl", '{"qid": 1}\n', r"jsonl:1: qid and answer_pids are expected, there"),
    (tiangong, "TianGong-PDR.json", "[", r"TianGong-PDR.json: no JSON"),
    (tiangong, "TianGong-PDR.json", '[{"qid": 1, "query": "a"}]', r"query 1: docs or documents or doc is expected, th"),
    (tiangong, "TianGong-PDR.json", "[3]", r"query 1: a JSON int, expected an object"),
    (
        tiangong,
        "TianGong-PDR.json",
        '[{"qid": 1, "query": "a", "docs": [{"passages": ["b"]}]}]',
        r"relevance or label or",
    ),
    (bge, "bge.jsonl", '{"query": "a", "pos": ["b", 3]}\n', r"bge.jsonl:1: pos is 3, expected text"),
    (
        bge,
        "bge.jsonl",
        '{"query": "a", "text": "b"}\n',
        r"no column of the passage \(passage.*; there is query, te",
    ),
    (bge, "bge.jsonl", '{"query": "a", "document": "b", "label": "?"}\n', r"label is '\?', expected true or false"),
]


@pytest.mark.parametrize(("layout", "file", "content", "message"), BAD)
def test_what_is_wrong_is_said_with_the_file_and_the_line(
    tmp_path: Path, layout: Callable[[Path], Written], file: str, content: str, message: str
) -> None:
    (tmp_path / "it").mkdir()
    written = layout(tmp_path / "it")
    (tmp_path / "it" / file).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        collection(
            f"{written.spec}{'&' if '?' in written.spec else '?'}strict=1" if layout is not bge else written.spec
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "rows", "message"),
    [
        ("corpus", [{"_id": "d1", "body": "b"}], r"corpus: _id and text are expected, there is _id, body"),
        ("corpus", [{"_id": None, "text": "b"}, {"_id": "d1", "text": "b"}], r"corpus:row 0: _id is None"),
        ("corpus", [{"_id": "d1", "text": ["b"]}], r"corpus:text is of the type list<.*>, expected text"),
        ("corpus", [{"_id": "d1", "text": "b"}] * 2, r"corpus:row 1: the id 'd1' has occurred before, at .*row 0"),
        ("queries", [{"_id": "q1", "text": "a"}, {"_id": "q2", "text": " "}], r"row 1: the text of the query is empty"),
    ],
)
def test_what_is_wrong_at_a_hub_is_said_with_the_row(tmp_path: Path, part: str, rows: list[Any], message: str) -> None:
    good = {"corpus": [{"_id": "d1", "text": "b"}], "queries": [{"_id": "q1", "text": "a"}]}
    qrels = [{"query-id": "q1", "corpus-id": "d1", "score": 1}]
    parts = {name: {"test": table} for name, table in (good | {"qrels": qrels, part: rows}).items()}
    with pytest.raises(ValueError, match=message) as caught:
        collection(f"hub:{repository(tmp_path / 'it', parts)}")
    assert "\n" not in str(caught.value)
