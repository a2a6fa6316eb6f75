"""Score rows from records, TREC files and MTEB files, and the factors added to them."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from drscale.mixed import fit as mixed
from drscale.mixed import margins, mteb, scores
from drscale.recipe import Recipe
from drscale.runs import Run, RunStore

QRELS = "q1 0 a 1\nq1 0 b 0\nq2 0 c 2\nq2 0 d 1\nq3 0 e 1\nq4 0 f 0\n"
RUN = "q1 Q0 a 1 3.0 bm25\nq1 Q0 b 2 2.0 bm25\nq2 Q0 x 1 9 bm25\nq2 Q0 c 2 8 bm25\nq9 Q0 a 1 1 bm25\n"


@pytest.fixture
def trec(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "tiny.qrels").write_text(QRELS)
    (tmp_path / "bm25.run").write_text(RUN)
    return tmp_path / "bm25.run", tmp_path / "tiny.qrels"


def a_run(rung: str, seed: int = 0, pairs: int = 0) -> Run:
    return Run(Recipe(texts="docs", rung=rung, seed=seed, pairs=pairs), "done")


def some_queries(base: float) -> pd.DataFrame:
    scopes = ["in_domain", "in_domain", "ood:numpy", "adversarial", "adversarial:clean"]
    names = ["scipy.stats.f", "torch.cat", "numpy.add", "torch.cat", "torch.cat"]
    conditions = ["clean", "clean", "clean", "attacked", "clean"]
    told = {"query": names, "scope": scopes, "condition": conditions, "positives": 1}
    return pd.DataFrame(told | {"ndcg10": [base + i / 10 for i in range(5)]})


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    kept = RunStore(tmp_path / "store")
    for i, run in enumerate((a_run("L2H12"), a_run("L2H12", seed=1), a_run("L2H48"))):
        kept.save(run, some_queries(i / 10))
    kept.save(Run(Recipe(texts="docs", rung="L2H96"), "failed", "no memory"))
    return kept


# ------------------------------------------------------------------------------------------------------------- records


def test_rows_of_runs(store: RunStore) -> None:
    rows = scores.scores_from_runs(store)
    assert list(rows)[:5] == ["model", "dataset", "query", "rung", "seed"]
    assert len(rows) == 3 * 3  # clean, in-domain and out of it
    assert set(rows["dataset"]) == {"in_domain", "ood:numpy"}
    one = rows.query("model == 'L2H48' and dataset == 'ood:numpy'")
    assert one["ndcg10"].tolist() == pytest.approx([0.4])
    assert rows.query("model == 'L2H12'")["seed"].value_counts().to_dict() == {0: 3, 1: 3}
    assert set(scores.scores_from_runs(store, ["rung", "seed"])["model"]) == {"L2H12, 0", "L2H12, 1", "L2H48, 0"}
    attacked = scores.scores_from_runs(store.path, scopes=["adversarial"], condition="attacked")
    assert set(attacked["dataset"]) == {"adversarial"}
    assert set(scores.scores_from_runs(store, where="seed == 1")["model"]) == {"L2H12"}


def test_a_dataset_is_split_by_package(store: RunStore) -> None:
    rows = scores.by_package(scores.scores_from_runs(store))
    assert set(rows["dataset"]) == {"in_domain:scipy", "in_domain:torch", "ood:numpy"}
    with pytest.raises(ValueError, match="dataset='home': the rows have"):
        scores.by_package(rows, "home")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "size"}, "no column 'size'"),
        ({"where": "rung == 'L4'"}, "none of the 4 runs"),
        ({"scopes": ["ood:scipy"]}, "no query of these runs"),
        ({"condition": "typos"}, "no query of these runs"),
    ],
)
def test_what_a_store_has_not_is_said(store: RunStore, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scores.scores_from_runs(store, **options)


def test_runs_that_differ_in_more_than_the_seed_are_not_one_model(store: RunStore) -> None:
    store.save(a_run("L2H48", pairs=500), some_queries(0.3))
    with pytest.raises(ValueError, match="called 'L2H48' and differ in pairs"):
        scores.scores_from_runs(store)
    assert "L2H48, 500" in set(scores.scores_from_runs(store, ["rung", "pairs"])["model"])
    empty = RunStore(store.path / "empty")
    empty.save(a_run("L2H12"))
    with pytest.warns(Warning, match="skipped"), pytest.raises(ValueError, match="no rows of single queries"):
        scores.scores_from_runs(empty)


def test_measured_rows_can_be_fitted() -> None:
    rows = scores.scores_from_runs(
        ROOT / "data" / "runs" / "docs-strategies", where="strategy == 'standard' and pairs == 0"
    )
    rows = scores.by_package(rows)
    home = {d: "home" if d.startswith("in_domain") else "foreign" for d in rows["dataset"].unique()}
    fit = mixed.fit_mixed(scores.with_factor(rows, "where", home), factor="where")
    assert fit.datasets == 16
    assert margins.marginal_means(fit)["mean"].between(0, 1).all()


# ---------------------------------------------------------------------------------------------------------------- TREC


def test_rows_of_trec_files(trec: tuple[Path, Path]) -> None:
    with pytest.warns(
        scores.ScoreWarning, match=r"2 of 4 queries .* score 0; 1 queries of the run are not in the qrels"
    ):
        rows = scores.scores_from_trec(*trec, measures=["nDCG@10", "RR@10", "R@100"])
    assert list(rows) == ["model", "dataset", "query", "ndcg10", "mrr10", "recall100", "positives", "answered"]
    assert rows["model"].unique().tolist() == ["bm25"]
    assert rows["dataset"].unique().tolist() == ["tiny"]
    assert rows["query"].tolist() == ["q1", "q2", "q3", "q4"]
    assert rows["mrr10"].tolist() == [1, 0.5, 0, 0]
    assert rows["recall100"].tolist() == [1, 0.5, 0, 0]
    assert rows["ndcg10"].tolist() == pytest.approx([1, 2 / 1.584962500721156 / (2 + 1 / 1.584962500721156), 0, 0])
    assert rows["positives"].tolist() == [1, 2, 1, 0]
    assert rows["answered"].tolist() == [True, True, False, False]


def test_several_runs_are_told_apart(trec: tuple[Path, Path]) -> None:
    run, qrels = trec
    other = run.with_name("other.run")
    other.write_text("".join(f"q{i} Q0 {d} 1 1.0 x\n" for i, d in ((1, "a"), (2, "c"), (3, "e"), (4, "f"))))
    rows = scores.scores_from_trec({"other": other}, qrels, dataset="toy")
    assert rows["model"].unique().tolist() == ["other"]
    assert rows["dataset"].unique().tolist() == ["toy"]
    assert rows["answered"].all()
    with pytest.warns(scores.ScoreWarning):
        both = scores.scores_from_trec({"bm25": run, "other": other}, qrels)
    assert both.groupby("model").size().to_dict() == {"bm25": 4, "other": 4}


@pytest.mark.parametrize(
    ("run", "qrels", "said"),
    [
        ("q1 Q0 a 1 3.0\n", QRELS, r"bm25.run:1: fewer than the 6 columns"),
        ("q1 Q0 a 1 3.0 t\nq1 Q0 b 1 3.0 t x\n", QRELS, r"bm25.run:2: more than the 6 columns"),
        ("q1 Q0 a 1 high t\n", QRELS, r"bm25.run:1: score 'high' is no number"),
        ("q1 Q0 a 1 3 t\n\nq1 Q0 a 2 2 t\n", QRELS, r"bm25.run:3: query 'q1' has 'a' twice"),
        ("", QRELS, r"bm25.run: the file is empty"),
        (RUN, "q1 0 a yes\n", r"tiny.qrels:1: relevance 'yes' is no number"),
        (RUN, "q1 a 1\n", r"tiny.qrels:1: fewer than the 4 columns"),
    ],
)
def test_broken_trec_files_are_named(trec: tuple[Path, Path], run: str, qrels: str, said: str) -> None:
    trec[0].write_text(run)
    trec[1].write_text(qrels)
    with pytest.raises(ValueError, match=said):
        scores.scores_from_trec(*trec)


def test_a_missing_trec_file_is_named(trec: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match=r"none\.run: no such file"):
        scores.scores_from_trec(trec[0].with_name("none.run"), trec[1])


def test_what_trec_files_need_is_said(trec: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(ValueError, match="pip install ir-measures"):
        scores.scores_from_trec(*trec)


# ---------------------------------------------------------------------------------------------------------------- MTEB


def entry(value: float, subset: str = "default") -> dict[str, Any]:
    more = {"nauc_ndcg_at_10_max": 0.1, "languages": ["eng-Latn"], "recall_at_100": 0.9, "main_score": value}
    return {"ndcg_at_10": value, "mrr_at_10": value / 2, "hf_subset": subset} | more


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for i, model in enumerate(("lab__small", "lab__large")):
        folder = tmp_path / "results" / model / ("0123456789" * 4)
        folder.mkdir(parents=True)
        for j, task in enumerate(("FiQA2018", "SciFact", "NFCorpus", "ArguAna")):
            value = 0.3 + 0.1 * i + 0.05 * j + 0.01 * i * j
            body = {"task_name": task, "mteb_version": "2.0.0", "scores": {"test": [entry(value)], "dev": [entry(0.1)]}}
            (folder / f"{task}.json").write_text(json.dumps(body))
    return tmp_path / "results"


def test_rows_of_mteb_files_are_means_without_queries(results: Path) -> None:
    rows = mteb.from_mteb(results, split="test")
    assert list(rows) == ["model", "dataset", "split", "ndcg10", "mrr10", "recall100", "main_score"]
    assert set(rows["model"]) == {"lab/small", "lab/large"}
    assert len(rows) == 8
    with pytest.raises(ValueError, match="pass query=None"):
        mixed.fit_mixed(rows)
    fit = mixed.fit_mixed(rows, query=None)
    assert fit.queries is None
    assert margins.contrasts(fit)["difference"].abs().tolist() == pytest.approx([0.115])


def test_trec_files_that_do_not_belong_together(trec: tuple[Path, Path], tmp_path: Path) -> None:
    run, qrels = trec
    other = tmp_path / "other.run"
    other.write_text("z9 Q0 a 1 1 bm25\n")
    with pytest.raises(ValueError, match=r"no query in common.*'z9' is a query of the run, 'q1' one of"):
        scores.scores_from_trec(other, qrels)
    with pytest.warns(scores.ScoreWarning, match="2 of 4 queries"):
        assert {"ndcg10", "ndcg5"} <= set(scores.scores_from_trec({"mine": run}, qrels, ["ndcg10", "nDCG@5"]))
    with pytest.raises(ValueError, match="measures='nDGC@10'"):
        scores.scores_from_trec(run, qrels, ["nDGC@10"])
    with pytest.raises(ValueError, match="run_files=list"):
        scores.scores_from_trec([run], qrels)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"tiny\.qrels:1: more than the 4 columns|bm25\.run:1: more than the 4"):
        scores.scores_from_trec(run, run)
    for text, said in (
        ("q1 0 a 0.7\n", "grade 0.7 is no whole"),
        ("q1 0 a 99999999999999999999\n", ":1: grade 1e\\+20 is beyond 1000000"),
        ("q1 0 a inf\n", ":1: relevance inf is not finite"),
        ("q1 0 a 1\nq1 0 a 0\n", ":2: query 'q1' has 'a' twice"),
    ):
        bad = tmp_path / "bad.qrels"
        bad.write_text(text)
        with pytest.raises(ValueError, match=said):
            scores.scores_from_trec(run, bad)


@pytest.mark.parametrize("name", ["nDCG@0", "P@0", "P@1.5", "nDCG@99999999999", "P(rel=0)@5"])
def test_a_cut_that_ends_the_interpreter_is_refused(trec: tuple[Path, Path], name: str) -> None:
    with pytest.raises(ValueError, match="allowed are whole numbers from 1 to 1000000"):
        scores.scores_from_trec(*trec, [name])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("q1 Q0 a 1 inf mine\n", ":1: score inf is not finite"),
        ("q1 Q0 a 1 3 mine\nq1 Q0 b 2 1e400 mine\n", ":2: score inf is not finite"),
        ("q1 Q0 a 1 3 mine\nq1 Q0 b 2 2 yours\n", "several tags, 'mine', 'yours'; one run a file"),
        ("q1 Q0 a\0c 1 3 mine\n", r":1: the doc_id 'a\\x00c' holds a control character, U\+0000"),
    ],
)
def test_a_run_that_cannot_be_is_refused(trec: tuple[Path, Path], tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "odd.run").write_text(text)
    with pytest.raises(ValueError, match=said):
        scores.scores_from_trec(tmp_path / "odd.run", trec[1])


def test_a_split_is_chosen_where_there_are_several() -> None:
    with pytest.raises(ValueError, match="split='dev' or split='test'"):
        mteb.from_mteb(ROOT / "tests" / "reference" / "mteb")


def test_published_mteb_files() -> None:
    """Two files of embeddings-benchmark/results, commits b160a3f and b805e95, cut to a few metrics."""
    rows = mteb.from_mteb(ROOT / "tests" / "reference" / "mteb", split="test").set_index("dataset")
    assert rows["model"].unique().tolist() == ["GritLM/GritLM-7B"]
    assert rows.loc["FiQA2018", ["ndcg10", "recall100", "main_score"]].tolist() == [0.59908, 0.89464, 0.59908]
    assert rows.index.drop("FiQA2018").tolist() == ["DiaBlaBitextMining:fr-en", "DiaBlaBitextMining:en-fr"]
    assert rows.drop("FiQA2018")["ndcg10"].isna().all()  # a task that is no retrieval has other metrics


def test_older_and_split_mteb_files(results: Path, tmp_path: Path) -> None:
    old = tmp_path / "SciFact.json"
    old.write_text(json.dumps({"mteb_dataset_name": "SciFact", "test": {"ndcg_at_10": 0.7, "evaluation_time": 3.0}}))
    assert mteb.from_mteb(old, model="m").loc[0, ["model", "dataset", "ndcg10"]].tolist() == ["m", "SciFact", 0.7]
    two = tmp_path / "two.json"
    body = {"task_name": "Belebele", "scores": {"test": [entry(0.5, "eng"), entry(0.4, "deu")]}}
    two.write_text(json.dumps(body))
    assert mteb.from_mteb(two)["dataset"].tolist() == ["Belebele:eng", "Belebele:deu"]
    (tmp_path / "model_meta.json").write_text(json.dumps({"name": "lab/known"}))
    assert mteb.from_mteb(two)["model"].unique().tolist() == ["lab/known"]


def test_what_is_written_as_mteb_results_is_read_again(results: Path, tmp_path: Path) -> None:
    """Rows of queries as their means, means as they are, several domains of one task as subsets of one file."""
    rows = pd.DataFrame(
        {
            "model": ["lab/one"] * 5 + ["two"],
            "dataset": ["ood:a", "ood:a", "ood:b", "alone:c", "plain", "plain"],
            "query": ["q1", "q2", "q1", "q1", "q1", "q1"],
            "ndcg10": [1.0, 0.5, 0.25, 0.1, 0.3, 0.7],
            "recall1000": [1.0, 1.0, 0.0, 1.0, 1.0, np.nan],
            "R@20": np.float32(0.5),
            "positives": 1,
        }
    )
    written = mteb.to_mteb(rows, tmp_path / "out", languages=["eng-Latn"], revision="r1", seconds=2.5)
    assert [p.relative_to(tmp_path / "out").as_posix() for p in written] == [
        "lab__one/external/ood.json",
        "lab__one/external/alone-c.json",
        "lab__one/external/plain.json",
        "two/external/plain.json",
    ]
    body = json.loads(written[0].read_text())
    assert (body["task_name"], body["dataset_revision"], body["evaluation_time"]) == ("ood", "r1", 2.5)
    first = {"hf_subset": "a", "languages": ["eng-Latn"], "main_score": 0.75, "ndcg_at_10": 0.75}
    assert body["scores"] == {
        "test": [
            first | {"recall_at_1000": 1.0, "recall_at_20": 0.5},
            first
            | {"hf_subset": "b", "main_score": 0.25, "ndcg_at_10": 0.25, "recall_at_1000": 0.0, "recall_at_20": 0.5},
        ]
    }
    again = mteb.from_mteb(tmp_path / "out").set_index(["model", "dataset"])
    wanted = rows.rename(columns={"R@20": "recall20"}).groupby(["model", "dataset"])[
        ["ndcg10", "recall1000", "recall20"]
    ]
    pd.testing.assert_frame_equal(again.sort_index()[["ndcg10", "recall1000", "recall20"]], wanted.mean().astype(float))
    means = mteb.from_mteb(results, split="test")
    mteb.to_mteb(means, tmp_path / "means")
    pd.testing.assert_frame_equal(mteb.from_mteb(tmp_path / "means")[list(means)], means, check_like=True)


def test_scored_benchmarks_are_written_under_a_name(tmp_path: Path) -> None:
    rows = pd.DataFrame({"scope": ["in_domain", "ood:x"], "query": "q", "ndcg10": np.float32([0.1, 0.2])})
    scored = SimpleNamespace(queries=rows)
    (first, _) = mteb.to_mteb(scored, tmp_path, "me/mine")
    assert json.loads(first.read_text())["scores"]["test"][0]["ndcg_at_10"] == pytest.approx(0.1)
    assert mteb.from_mteb(tmp_path)["dataset"].tolist() == ["in_domain", "ood:x"]
    for wrong, said in (
        ((scored, tmp_path), "rows has no column 'model'"),
        (([1], tmp_path), "rows=list: score rows are needed"),
        ((rows.drop(columns="ndcg10"), tmp_path, "m"), "main='ndcg10': the rows have the measures of none"),
        ((rows.assign(ndcg10=np.inf), tmp_path, "m"), "a measure is not finite"),
        ((rows.assign(split=["dev", "test"]), tmp_path, "m"), "of several splits, 'dev', 'test'; keep one"),
    ):
        with pytest.raises(ValueError, match=said):
            mteb.to_mteb(*wrong)


def test_what_is_no_mteb_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: no JSON"):
        mteb.from_mteb(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"a\.json: no result file of MTEB"):
        mteb.from_mteb(tmp_path)
    with pytest.raises(ValueError, match="no such file or folder"):
        mteb.from_mteb(tmp_path / "none")
    (tmp_path / "a.json").write_text(json.dumps({"task_name": "T", "scores": {"test": [entry(0.5)]}}))
    with pytest.raises(ValueError, match="1 result files, none with scores of split 'dev'"):
        mteb.from_mteb(tmp_path, split="dev")


# --------------------------------------------------------------------------------------------------- MTEB's predictions

ANSWERS = {
    "q1": {"d1": 0.9, "d2": 0.4, "d3": 0.1},
    "q2": {"d3": 0.8, "q2": 2.0, "d1": 0.7},  # its own id comes first
    "q3": {"d9": 0.5},
    "q7": {"d1": 1.0},
}
GRADES = {"q1": {"d2": 2, "d1": 0}, "q2": {"d3": 1}, "q3": {"d1": 1}, "q4": {"d4": 1}}


def predictions(path: Path, answers: object = ANSWERS, model: str = "lab/one", **subsets: object) -> Path:
    told = {"mteb_model_meta": {"model_name": model, "revision": "r"}, **(subsets or {"default": {"test": answers}})}
    path.write_text(json.dumps(told))
    return path


def test_predictions_of_mteb_are_rows_of_queries(tmp_path: Path) -> None:
    """Against TREC files with the same content, and against numbers worked out by hand."""
    path = predictions(tmp_path / "Tiny_predictions.json")
    with pytest.warns(scores.ScoreWarning, match="1 of 4 queries .* score 0; 1 queries of the run are not"):
        rows = mteb.from_mteb(path, GRADES, measures=["nDCG@10", "RR@10", "R@10"])
    assert list(rows) == ["model", "dataset", "query", "ndcg10", "mrr10", "recall10", "positives", "answered"]
    assert rows["query"].tolist() == ["q1", "q2", "q3", "q4"]
    assert rows["ndcg10"].tolist() == pytest.approx([1 / math.log2(3), 1.0, 0.0, 0.0])  # BEIR: no q2 for q2
    assert rows["mrr10"].tolist() == pytest.approx([0.5, 1.0, 0.0, 0.0])
    assert rows[["model", "dataset"]].drop_duplicates().to_numpy().tolist() == [["lab/one", "Tiny"]]
    qrels, table = tmp_path / "t.qrels", tmp_path / "test.tsv"
    told = [(q, d, g) for q, own in GRADES.items() for d, g in own.items()]
    qrels.write_text("".join(f"{q} 0 {d} {g}\n" for q, d, g in told))
    table.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in told))
    for judged in (qrels, table, str(table), {"Tiny": GRADES}, {"Tiny": table}):
        with pytest.warns(scores.ScoreWarning):
            again = mteb.from_mteb(path, judged, measures=["nDCG@10", "RR@10", "R@10"])
        pd.testing.assert_frame_equal(again, rows)
    run = tmp_path / "one.run"
    kept = {q: {d: s for d, s in own.items() if d != q} for q, own in ANSWERS.items()}
    run.write_text("".join(f"{q} Q0 {d} 0 {s} lab/one\n" for q, own in kept.items() for d, s in own.items()))
    with pytest.warns(scores.ScoreWarning):
        pd.testing.assert_series_equal(scores.scores_from_trec(run, qrels)["ndcg10"], rows["ndcg10"])


def test_a_folder_of_predictions_with_subsets_and_splits(tmp_path: Path) -> None:
    own = {"q1": {"d1": 1.0}}
    predictions(tmp_path / "A_predictions.json", en={"test": own, "dev": own}, de={"test": own})
    predictions(tmp_path / "B_predictions.json", own)
    (tmp_path / "B.json").write_text("{}")  # results beside them are not read
    grades = {"q1": {"d1": 1}}
    rows = mteb.from_mteb(tmp_path, grades, split="test", model="mine")
    assert rows["dataset"].tolist() == ["A:en", "A:de", "B"]
    assert rows["model"].unique().tolist() == ["mine"]
    by_set = {"A:en": grades, "A": {"q1": {"d2": 1}}, "B": grades}
    assert mteb.from_mteb(tmp_path, by_set, split="test")["ndcg10"].tolist() == [1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match="several splits; choose one, split='dev' or split='test'"):
        mteb.from_mteb(tmp_path, grades)
    with pytest.raises(ValueError, match="has none for 'A:en'; there are 'B'"):
        mteb.from_mteb(tmp_path, {"B": grades}, split="test")
    with pytest.raises(ValueError, match="none with answers of split 'train'"):
        mteb.from_mteb(tmp_path, grades, split="train")
    predictions(tmp_path / "A_predictions.json", default={"dev": own})  # one split a task, as BEIR's MS MARCO has
    assert mteb.from_mteb(tmp_path, {"q1": {"d1": 1.0}})["dataset"].tolist() == ["A", "B"]


@pytest.mark.parametrize(
    ("answers", "grades", "said"),
    [
        ({"q1": {"d1": True}}, {"q1": {"d1": 1}}, "gives 'd1' the score True, which is no finite number"),
        ({"q1": {"d1": "1"}}, {"q1": {"d1": 1}}, "the score '1'"),
        ({"q1": {"d1": float("nan")}}, {"q1": {"d1": 1}}, "the score nan"),
        ({"q1": ["d1"]}, {"q1": {"d1": 1}}, "as predictions of a retrieval task have"),
        ([0.1, 0.2], {"q1": {"d1": 1}}, "as predictions of a retrieval task have"),
        ({"q1": {"d1": 1.0}}, {"q2": {"d1": 1}}, "no query in common.*'q1' is a query of the run, 'q2' one of qrels"),
        ({}, {"q2": {"d1": 1}}, "no query in common with the qrels; 'q2'"),
        ({"q1": {"d1": 1.0}}, {"q1": {"d1": 0.5}}, "qrels: whole numbers by query and document"),
        ({"q1": {"d1": 1.0}}, 5, "qrels=5: a file of judgements or"),
        ({"q1": {"d1": 1.0}}, {"T": [1]}, "qrels"),
        ({"q1": {"d1": 1.0}}, {}, "qrels: whole numbers by query and document"),
        ({"q1": {"d1": 1.0}}, {"q1": {"d1": 10**7}}, "beyond 1000000"),
    ],
)
def test_predictions_that_cannot_be(tmp_path: Path, answers: object, grades: object, said: str) -> None:
    path = predictions(tmp_path / "T_predictions.json", answers)
    with pytest.raises(ValueError, match=said):
        mteb.from_mteb(path, grades)  # type: ignore[arg-type]


def test_a_file_of_predictions_that_is_none(tmp_path: Path) -> None:
    deep = "[" * 100_000
    for text, said in (("{", "no JSON"), ("[1]", "no file of MTEB's predictions"), (deep, "nested too deeply")):
        (tmp_path / "T_predictions.json").write_text(text)
        with pytest.raises(ValueError, match=said):
            mteb.from_mteb(tmp_path, GRADES)


# ------------------------------------------------------------------------------------------------------------- factors


def test_factors_from_a_mapping_and_a_file(tmp_path: Path) -> None:
    rows = pd.DataFrame({"model": "m", "dataset": ["a", "b", "a"], "query": list("xyz"), "ndcg10": 0.5})
    assert scores.with_factor(rows, "corpus", {"a": "web", "b": "wiki"})["corpus"].tolist() == ["web", "wiki", "web"]
    by_query = scores.with_factor(rows, "form", dict.fromkeys("xyz", "phrase"), on="query")
    assert by_query["form"].unique().tolist() == ["phrase"]
    (tmp_path / "levels.csv").write_text("dataset,corpus\na,web\nb,wiki\n")
    assert scores.with_factor(rows, "corpus", tmp_path / "levels.csv")["corpus"].tolist() == ["web", "wiki", "web"]
    assert scores.with_factor(rows, "kind", tmp_path / "levels.csv", column="corpus")["kind"].tolist()[1] == "wiki"
    for by, options, said in (
        ({"a": 1}, {}, "levels: has no corpus for dataset 'b'"),
        (tmp_path / "none.csv", {}, "a CSV with the columns 'dataset' and 'corpus' is needed"),
        (tmp_path / "levels.csv", {"on": "model"}, "a CSV with the columns 'model' and 'corpus'"),
        ({}, {"on": "domain"}, "no column 'domain'"),
    ):
        with pytest.raises(ValueError, match=said):
            scores.with_factor(rows, "corpus", by, **options)
    with pytest.raises(ValueError, match="such a column already"):
        scores.with_factor(rows, "ndcg10", {})


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("How do I sort a list", "question"),
        ("A list, sorted?", "question"),
        ("如何打开文件？", "question"),
        ("Return the sorted list.", "instruction"),
        ("Returns the sorted list.", "instruction"),
        ("Dynamically applies a patch.", "instruction"),
        ("Apply it.", "instruction"),
        ("Is it a list, they ask.", "phrase"),
        ("Base class for all estimators.", "phrase"),
        ("The list, sorted", "phrase"),
        ("", "phrase"),
    ],
)
def test_forms_of_queries(text: str, form: str) -> None:
    assert scores.query_form(text) == form


def test_planted_rows_say_so_and_are_recovered() -> None:
    rows = scores.planted(datasets=60, seed=3)
    assert rows["synthetic"].all()
    fit = mixed.fit_mixed(rows, factor="where")
    found = margins.marginal_means(fit, ["model", "where"]).set_index(["model", "where"])
    truth = {("generalist", "home"): 0.45, ("generalist", "abroad"): 0.4, ("specialist", "home"): 0.6}
    for cell, mean in truth.items():
        assert abs(found.loc[[cell], "mean"].item() - mean) < 3 * found.loc[[cell], "se"].item()
    tax = margins.specialisation(fit, "specialist", "home", "abroad").set_index("what")
    assert tax.loc["tax", "low"] < 0.2 < tax.loc["tax", "high"]
    skipped = rows.groupby("model")["dataset"].nunique()
    assert skipped.tolist() == [42, 42]
