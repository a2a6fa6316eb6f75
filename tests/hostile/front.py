"""Bad input at the front: teachers' lists, the analyst's command line, retrievers, scores, attacks."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import drscale as ds
from drscale import evaluate, labels
from drscale.attacks import Attack, Given
from drscale.cli import main
from drscale.evaluate.lists import Lists, lists_from
from hostile.judge import Case
from hostile.tables import D, N, Y, planted
from hostile.trec import QRELS, RUN

NAN, INF = math.nan, math.inf


def label_cases(place: Path) -> list[Case]:
    """Lists of teachers that do not fit the texts, and files of labels that hold none."""
    texts = ds.collection("planted?pairs=40", progress=False)
    asked, told = (getattr(texts, side)["id"].to_pylist() for side in ("queries", "passages"))
    count, found = len(asked), []

    def lists(rows: Any, scores: Any = None) -> Lists:
        table = np.asarray(rows)
        return Lists(table, np.zeros(table.shape, np.float32) if scores is None else np.asarray(scores))

    def write(made: Lists, **options: Any) -> object:
        return labels.write_dpr(texts, made, place / "out.jsonl", **options)

    whole = np.tile(np.arange(5, dtype=np.int32), (count, 1))
    for what, made, names in (
        ("too few queries", lists(whole[:3]), ("lists",)),
        ("a passage beyond the last", lists(whole + 10**6), ("lists",)),
        ("a passage of -5", lists(whole - 5), ("lists",)),
        ("passages of half numbers", lists(whole + 0.5), ("lists",)),
        ("one dimension", lists(whole[:, 0]), ("lists",)),
        ("empty", lists(np.full((count, 5), -1)), ("empty",)),
        ("shorter than the negatives' ranks", lists(whole), ("shorter",)),
        ("scores of NaN", lists(whole, np.full(whole.shape, NAN)), ("score",)),
        ("scores of another shape", lists(whole, np.zeros((count, 2))), ("lists",)),
    ):
        found.append(Case(f"write_dpr: {what}", partial(write, made), names))
        if what not in ("shorter than the negatives' ranks", "empty"):
            trec = partial(labels.write_trec, made, texts, place / "out.run")
            found.append(Case(f"write_trec: {what}", trec, names))
    for options in ({"positives": 0}, {"positives": -1}, {"positives": "ten"}, {"negatives": 5}, {"negatives": None}):
        found.append(
            Case(f"write_dpr({options!r})", partial(write, lists(whole), **options), ("positives", "negatives"))
        )
    found.append(
        Case(
            "write_trec: a tag with blanks",
            partial(labels.write_trec, lists(whole), texts, place / "t.run", "a b"),
            ("a b",),
        )
    )
    runs = {
        "no query is known": "x1 Q0 d1 1 1 t\n",
        "no passage is known": f"{asked[0]} Q0 nobody 1 1 t\n",
        "a passage that is not known": f"{asked[0]} Q0 {told[0]} 1 2 t\n{asked[0]} Q0 nobody 2 1 t\n",
        "one query of many": f"{asked[0]} Q0 {told[0]} 1 2 t\n",
        "a score of NaN": f"{asked[0]} Q0 {told[0]} 1 nan t\n",
        "a score of infinity": f"{asked[0]} Q0 {told[0]} 1 inf t\n",
        "a passage twice": f"{asked[0]} Q0 {told[0]} 1 2 t\n" * 2,
        "empty": "",
        "no columns": "x\n",
    }
    for i, (what, text) in enumerate(runs.items()):
        (place / f"labels{i}.run").write_text(text)
        found.append(
            Case(f"read_trec: {what}", partial(labels.read_trec, place / f"labels{i}.run", texts), (f"labels{i}.run",))
        )
    row: dict[str, Any] = {"question": "how", "positive_ctxs": [{"id": "a", "text": "b"}], "hard_negative_ctxs": []}
    rows: dict[str, Any] = {
        "no question": {k: v for k, v in row.items() if k != "question"},
        "a question of null": {**row, "question": None},
        "a question of blanks": {**row, "question": " "},
        "a question of a number": {**row, "question": 5},
        "no positives": {k: v for k, v in row.items() if k != "positive_ctxs"},
        "positives of null": {**row, "positive_ctxs": None},
        "positives of a text": {**row, "positive_ctxs": "b"},
        "positives of texts": {**row, "positive_ctxs": ["b"]},
        "a context without text": {**row, "positive_ctxs": [{"id": "a"}]},
        "a context of a number": {**row, "positive_ctxs": [{"id": "a", "text": 5}]},
        "a docidx beyond the corpus": {**row, "positive_ctxs": [{"docidx": 10**9}]},
        "a docidx of -1": {**row, "positive_ctxs": [{"docidx": -1}]},
        "a docidx of text": {**row, "positive_ctxs": [{"docidx": "x"}]},
        "a docidx of true": {**row, "positive_ctxs": [{"docidx": True}]},
        "a relevance of text": {**row, "positive_ctxs": [{"id": "a", "text": "b", "relevance": "high"}]},
        "a relevance of NaN": {**row, "positive_ctxs": [{"id": "a", "text": "b", "relevance": NAN}]},
        "another text under an id": {**row, "hard_negative_ctxs": [{"id": "a", "text": "c"}]},
        "no context": {**row, "positive_ctxs": []},
        "ctxs of a number": {"question": "how", "ctxs": 5},
        "ctxs without has_answer": {"question": "how", "ctxs": [{"id": "a", "text": "b"}]},
        "a list": [row],
        "half a surrogate pair": {**row, "question": "\ud800"},
    }
    for i, (what, value) in enumerate(rows.items()):
        (place / f"dpr{i}.jsonl").write_text(json.dumps(value) + "\n")
        found.append(Case(f"read_dpr: {what}", partial(labels.read_dpr, place / f"dpr{i}.jsonl"), (f"dpr{i}.jsonl",)))
    (place / "twice.jsonl").write_text(2 * (json.dumps({**row, "id": "q"}) + "\n"))
    found.append(Case("read_dpr: an id twice", partial(labels.read_dpr, place / "twice.jsonl"), ("twice.jsonl",)))
    hard = {
        "no qid": {"pos": [1], "neg": {}},
        "pos of a number": {"qid": 1, "pos": 5, "neg": {}},
        "neg of a list": {"qid": 1, "pos": [1], "neg": [2]},
        "neg of numbers": {"qid": 1, "pos": [1], "neg": {"bm25": 5}},
        "nothing": {"qid": 1, "pos": [], "neg": {}},
    }
    for i, (what, value) in enumerate(hard.items()):
        (place / f"hard{i}.jsonl").write_text(json.dumps(value) + "\n")
        found.append(
            Case(f"hard: {what}", partial(labels.read_hard_negatives, place / f"hard{i}.jsonl"), (f"hard{i}.jsonl",))
        )
    for what, frame in (
        ("no column of the score", pd.DataFrame({"query": asked[:1], "passage": told[:1]})),
        ("no rows", pd.DataFrame({"query": [], "passage": [], "score": []})),
        ("scores of text", pd.DataFrame({"query": asked[:1], "passage": told[:1], "score": ["high"]})),
    ):
        found.append(Case(f"lists_from: {what}", partial(lists_from, frame, texts), ("found", "score")))
    for teacher in ("nobody", "", "run:", "run:/no/such", "bm25+bm25", None, 5, "hub:"):
        made = partial(labels.ranked_lists, teacher, texts, depth=3)
        found.append(Case(f"ranked_lists({teacher!r})", made, ("teacher",)))
    for depth in (0, -1, 1.5, "ten", None, True):
        found.append(Case(f"depth={depth!r}", partial(labels.ranked_lists, "bm25", texts, depth=depth), ("depth",)))  # type: ignore[arg-type]
    return found


def _command(*words: str) -> Callable[[], None]:
    """A call of the command: status 2 or 1 and one sentence on the standard error is a ValueError with it."""

    def call() -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main(list(words))
            except SystemExit as e:
                status = int(e.code or 0)
        if status == 1 and not err.getvalue():  # a result: there is no such plan
            raise ValueError(out.getvalue().strip().splitlines()[-1])
        said = [line for line in err.getvalue().splitlines() if not line.startswith("warning: ")]
        if status == 0:
            return
        if status not in (1, 2) or len(said) != 1 or out.getvalue():
            raise RuntimeError(f"status {status}, {len(said)} lines: {said[:3]}, and {out.getvalue()[:40]!r}")
        raise ValueError(said[0])

    return call


def command_cases(place: Path) -> list[Case]:
    """The analyst's verbs with wrong words, wrong files and wrong numbers."""
    planted().to_csv(place / "runs.csv", index=False)
    (place / "a.run").write_text(RUN)
    (place / "b.run").write_text(RUN.replace("mine", "yours"))
    (place / "q.qrels").write_text(QRELS)
    for name, text in (
        ("empty.csv", ""),
        ("head.csv", f"{N},{D},{Y}\n"),
        ("text.csv", f"{N},{Y}\nmany,1\nmore,2\n"),
        ("ragged.csv", "a,b\n1,2,3\n"),
        ("binary.csv", "\0\0\0"),
        ("bad.jsonl", "{\n"),
        ("list.json", "[1, 2]"),
        ("bad.parquet", "x"),
        ("bad.toml", "[grid]\n"),
    ):
        (place / name).write_text(text)
    runs, run, other, qrels = (str(place / n) for n in ("runs.csv", "a.run", "b.run", "q.qrels"))
    law = ("--x", N, "--y", Y, "--law", "size_law", "--quiet")
    plan = ("allocate", runs, "--x", f"{N},{D}", "--y", Y, "--law", "additive_law", "--draws", "0", "--quiet")
    wrong: list[tuple[tuple[str, ...], str]] = [
        ((), "COMMAND"),
        (("fitt",), "fit"),
        (("fit",), "RUNS"),
        (("fit", runs, "--lawn", "x"), "--law"),
        (("fit", str(place / "none.csv")), "none.csv"),
        (("fit", str(place / "run.csv")), "runs.csv"),
        (("fit", str(place / "q.qrels")), "q.qrels"),
        *((("fit", str(place / n)), n) for n in ("empty.csv", "head.csv", "ragged.csv", "binary.csv")),
        (("fit", str(place / "text.csv")), N),
        *((("fit", str(place / n)), n) for n in ("bad.jsonl", "list.json", "bad.parquet", "bad.toml")),
        (("fit", runs, "--law", "cubic"), "cubic"),
        (("fit", runs, "--x", "parameters", "--y", Y), "parameters"),
        (("fit", runs, "--x", N, "--y", "los"), "los"),
        (("fit", runs, "--x", N, "--y", N), N),
        (("fit", runs, "--x", f"{N},{D},{Y}", "--y", Y), "--x"),
        (("fit", runs, "--x", f"Q={N}", "--y", Y), "Q"),
        (("fit", runs, "--x", "", "--y", Y), "--x"),
        (("fit", runs, *law, "--level", "95"), "level"),
        (("fit", runs, *law, "--level", "nan"), "level"),
        (("fit", runs, *law, "--level", "high"), "level"),
        (("fit", runs, *law, "--space", "cube"), "cube"),
        (("fit", runs, *law, "--where", "kind == 1"), "kind"),
        (("fit", runs, *law, "--where", f"{N} >"), "where"),
        (("fit", runs, *law, "--where", f"{N} > 1e99"), "where"),
        (("fit", runs, *law, "--where", "@__import__('os').getcwd()"), "where"),
        (("fit", runs, *law, "--where", "5"), "where"),
        (("fit", runs, *law, "--where", ""), "where"),
        (("fit", runs, *law, "--by", "kind"), "kind"),
        (("fit", runs, *law, "--out", str(place / "x.doc")), "x.doc"),
        (("fit", runs, *law, "--out", str(place)), "--out"),
        (("fit", runs, *law, "--out", str(place / "runs.csv" / "x.csv")), "runs.csv"),
        (plan, "--budget"),
        ((*plan, "--budget", "5000"), "price"),
        ((*plan, "--budget", "-5", "--prices", "paper"), "--budget"),
        ((*plan, "--budget", "nan", "--prices", "paper"), "--budget"),
        ((*plan, "--budget", "much", "--prices", "paper"), "much"),
        ((*plan, "--budget", "5", "--target", "2", "--prices", "paper"), "--target"),
        ((*plan, "--target", "0", "--prices", "paper"), "--target"),
        ((*plan, "--target", "0.01", "--prices", "paper"), "0.01"),
        ((*plan, "--budget", "5000", "--prices", "mine"), "mine"),
        ((*plan, "--budget", "5000", "--prices", "paper", "--pair-price", "0"), "--pair-price"),
        ((*plan, "--budget", "5000", "--prices", "paper", "--utilisation", "2"), "utilisation"),
        ((*plan, "--budget", "5000", "--prices", "paper", "--draws", "5"), "--draws"),
        ((*plan, "--budget", "5000", "--prices", "paper", "--draws", "-5"), "--draws"),
        ((*plan, "--budget", "5000", "--prices", "paper", "--within", "x"), "--within"),
        ((*plan, "--target", "2", "--prices", "paper", "--within", "box"), "--within"),
        ((*plan, "--budget", "0.01", "--prices", "paper", "--within", "box"), "box"),
        (("allocate", runs, "--x", N, "--y", Y, "--law", "size_law", "--budget", "5", "--prices", "paper"), "size_law"),
        (("compare",), "RUN"),
        (("compare", run), "--qrels"),
        (("compare", run, "--qrels", qrels), "a.run"),
        (("compare", run, other, "--qrels", str(place / "none")), "none"),
        (("compare", run, str(place / "c.run"), "--qrels", qrels), "c.run"),
        (("compare", run, run, "--qrels", qrels), "a.run"),
        (("compare", f"={run}", other, "--qrels", qrels), "name"),
        (("compare", run, other, "--qrels", qrels, "--measures", "nothing"), "nothing"),
        (("compare", run, other, "--qrels", qrels, "--measures", "nDCG@0"), "nDCG@0"),
        (("compare", run, other, "--qrels", qrels, "--measures"), "--measures"),
        (("compare", run, other, "--qrels", qrels, "--baseline", "nobody"), "nobody"),
        (("compare", run, other, "--qrels", qrels, "--level", "2"), "level"),
        (("compare", run, other, "--qrels", run), "a.run"),
        (("compare", runs, other, "--qrels", qrels), "runs.csv"),
        (("stability",), "RUN"),
        (("stability", run, "--qrels", qrels), "second run"),
        (("stability", run, other), "--qrels"),
        (("stability", str(place)), place.name),
        (("stability", run, other, "--qrels", qrels, "--level", "0"), "level"),
        (("export", runs), "--to"),
        (("export", runs, "--to", str(place / "x.doc")), "x.doc"),
        (("export", runs, "--to", str(place / "x.csv"), "--columns", "nothing"), "nothing"),
        (("export", runs, "--to", str(place / "x.csv"), "--columns", ","), "--columns"),
        (("export", runs, "--to", str(place / "x.csv"), "--where", "1/0"), "where"),
        (("completion", "tcsh"), "tcsh"),
        (("status", str(place / "none")), "none"),
        (("table", str(place / "runs.csv")), "runs.csv"),
        (("plan", str(place / "bad.toml")), "bad.toml"),
        (("sweep", str(place / "bad.toml"), "--workers", "0"), "--workers"),
    ]
    return [
        Case(f"drscale {' '.join(Path(w).name for w in words)}"[:300], _command(*words), (n,)) for words, n in wrong
    ]


def door_cases(place: Path) -> list[Case]:
    """Retrievers that are none, encoders that give nonsense, attacks on nothing."""
    texts = ds.benchmark("planted?pairs=300", progress=False)
    test, found = texts.test, []
    for model in (None, 5, "", "bm26", "BM25", "hub:", "/no/such/folder", [], {}, np.ones(3)):
        found.append(Case(f"retriever({model!r:.30})", partial(ds.retriever, model), ("model",)))
    found.append(
        Case(
            "retriever('bm25', encode_passages=f)",
            partial(ds.retriever, "bm25", encode_passages=len),
            ("encode_passages",),
        )
    )  # type: ignore[arg-type]

    def vectors(change: Callable[[np.ndarray], Any]) -> Callable[[list[str]], Any]:
        def encode(asked: list[str]) -> Any:
            return change(np.random.default_rng(len(asked)).standard_normal((len(asked), 8)))

        return encode

    nonsense: dict[str, Callable[[np.ndarray], Any]] = {
        "None": lambda v: None,
        "a list of texts": lambda v: ["x"] * len(v),
        "a number": lambda v: 5,
        "a vector too few": lambda v: v[:-1],
        "one dimension": lambda v: v[:, 0],
        "three dimensions": lambda v: v[:, :, None],
        "no dimension": lambda v: v[:, :0],
        "NaN": lambda v: v * NAN,
        "infinity": lambda v: v * INF,
        "complex numbers": lambda v: v + 1j,
    }
    for what, change in nonsense.items():
        encode = vectors(change)
        ask = partial(evaluate.rank_scores, ds.retriever(encode, "mine"), test, limit=5)
        found.append(Case(f"rank_scores: {what}", ask, ("mine", "encode")))
        found.append(Case(f"score_benchmark: {what}", partial(ds.score_benchmark, encode, texts), ("encode",)))
    two = ds.retriever(vectors(lambda v: v), "mine", encode_passages=vectors(lambda v: v[:, :4]))
    found.append(
        Case(
            "queries and passages of two widths",
            partial(evaluate.rank_scores, two, test, limit=5),
            ("mine", "dimension"),
        )
    )
    bm25 = ds.retriever("bm25")
    for what, call, name in (
        ("rank_scores of no collection", partial(evaluate.rank_scores, bm25, "planted"), "collection"),  # type: ignore[arg-type]
        ("rank_scores of no retriever", partial(evaluate.rank_scores, "bm25", test), "retriever"),  # type: ignore[arg-type]
        ("rank_scores with too few queries", partial(evaluate.rank_scores, bm25, test, ["x"]), "queries"),
        ("rank_scores of limit 0", partial(evaluate.rank_scores, bm25, test, limit=0), "limit"),
        ("rank_scores of limit -1", partial(evaluate.rank_scores, bm25, test, limit=-1), "limit"),
        ("rank_scores of limit 'x'", partial(evaluate.rank_scores, bm25, test, limit="x"), "limit"),  # type: ignore[arg-type]
        ("rank_scores of a metric", partial(evaluate.rank_scores, bm25, test, limit=5, metrics=["x"]), "x"),
        ("score_benchmark of no texts", partial(ds.score_benchmark, vectors(lambda v: v), None), "Benchmark"),  # type: ignore[arg-type]
        ("score_benchmark of no encoder", partial(ds.score_benchmark, None, texts), "encode"),  # type: ignore[arg-type]
        ("variations of an unknown family", partial(ds.variations, ["how to open"], "nothing"), "nothing"),
        ("measure_geometry of no texts", partial(ds.measure_geometry, vectors(lambda v: v), None), "collection"),  # type: ignore[arg-type]
        ("drop_rates of no rows", partial(ds.drop_rates, None), "rows"),  # type: ignore[arg-type]
        ("Run without a recipe", partial(ds.Run, None, "done"), "recipe"),  # type: ignore[arg-type]
        ("verdicts of nonsense", partial(ds.verdicts, "nothing"), "nothing"),
    ):
        found.append(Case(what, call, (name, name.lower())))
    source = Given({"big": ["huge"]})
    encode, plain = vectors(lambda v: v), Attack("random", floor=None)

    def attack(queries: Any, passages: Any, how: Any = plain, words: Any = source, **more: Any) -> object:
        return ds.attack_texts(encode, queries, passages, words, how, **{"similarity": None, **more})

    for what, call, name in (
        ("no passages", partial(attack, [], []), "attack"),
        ("a query too few", partial(attack, ["a"], ["big", "big"]), "attack"),
        ("a method that needs weights", partial(attack, ["a"], ["big"], Attack("gradient", floor=None)), "method"),
        ("no surrogate", partial(attack, ["a"], ["big"], Attack("surrogate", floor=None)), "surrogate"),
        ("a floor without a judge", partial(attack, ["a"], ["big"], Attack("random")), "floor"),
        ("no word with a substitute", partial(attack, ["a"], ["small"]), "substitute"),
        ("an unknown attack", partial(attack, ["a"], ["big"], "nothing"), "attack"),
        ("an attack of None", partial(attack, ["a"], ["big"], None), "attack"),
        ("an unknown source", partial(attack, ["a"], ["big"], plain, "nothing"), "synonyms"),
        ("a source of None", partial(attack, ["a"], ["big"], plain, None), "source"),
        ("a block of 0", partial(attack, ["a"], ["big"], block=0), "block"),
        ("queries of None", partial(attack, None, ["big"]), "queries"),
        ("passages of numbers", partial(attack, ["a"], [5]), "passages"),
    ):
        found.append(Case(f"attack_texts: {what}", call, (name,)))
    for options in (
        {"method": "other"},
        {"words": 0},
        {"words": "ten"},
        {"candidates": 0},
        {"share": 0},
        {"share": NAN},
        {"share": "half"},
        {"floor": 2},
        {"floor": NAN},
        {"floor": "low"},
        {"rule": "other"},
        {"rule": "nearest", "method": "random"},
        {"rule": "nearest", "eps": -1},
        {"constraints": ("other",)},
        {"constraints": "stop_words"},
        {"seed": -1},
    ):
        (name, *_) = options if "rule" not in options else ("rule",)
        found.append(Case(f"Attack({options!r})", partial(Attack, **options), (name,)))  # type: ignore[arg-type]
    return found
