"""Bad files of rankings: TREC runs, qrels, measures, MTEB's results; the deadly ones in a process of their own."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from drscale.mixed import scores_from_trec
from drscale.mixed.mteb import from_mteb
from drscale.mixed.scores import with_factor
from hostile.judge import Case

CONTROLS = {
    "a bell": "\x07",
    "a vertical tab": "\x0b",
    "a file separator": "\x1c",
    "an escape": "\x1b",
    "delete": "\x7f",
}
RUN = "q1 Q0 d1 1 9.5 mine\nq1 Q0 d2 2 8.5 mine\nq2 Q0 d1 1 7.5 mine\n"
QRELS = "q1 0 d1 1\nq2 0 d2 2\n"


def trec_cases(place: Path) -> list[Case]:
    """Runs, qrels, measures and result files."""
    (place / "good.run").write_text(RUN)
    (place / "good.qrels").write_text(QRELS)
    found = [*_runs(place), *_qrels(place), *_measures(place), *_mteb(place), *_deadly(place)]
    good = place / "good.run", place / "good.qrels"
    for value in (None, 5, ["a.run"], b"good.run", {}, {"m": None}, {"m": 5}):
        found.append(
            Case(f"run_files={value!r:.30}", partial(scores_from_trec, value, good[1]), ("run_files", "run file"))
        )  # type: ignore[arg-type]
    for value in (None, 5, ["x"], b"x"):
        found.append(Case(f"qrels={value!r}", partial(scores_from_trec, good[0], value), ("qrels",)))  # type: ignore[arg-type]
    for name in ("none", "", "."):
        found.append(Case(f"the run is {name!r}", partial(scores_from_trec, place / name, good[1]), ("no such file",)))
        found.append(
            Case(f"the qrels are {name!r}", partial(scores_from_trec, good[0], place / name), ("no such file",))
        )
    return found


def _runs(place: Path) -> list[Case]:
    files: dict[str, str | bytes] = {
        "empty": "",
        "blank lines": "\n\n \n",
        "one column": "q1\n",
        "five columns": "q1 Q0 d1 1 9.5\n",
        "seven columns": "q1 Q0 d1 1 9.5 mine more\n",
        "seven columns in the second line": RUN + "q1 Q0 d3 1 9.5 mine more\n",
        "a short line in the middle": "q1 Q0 d1 1 9.5 mine\nq1 Q0\nq2 Q0 d1 1 9 mine\n",
        "commas": RUN.replace(" ", ","),
        "a score of text": "q1 Q0 d1 1 good mine\n",
        "a score of NaN": "q1 Q0 d1 1 nan mine\n",
        "a score of infinity": "q1 Q0 d1 1 inf mine\n",
        "a score of 1e400": "q1 Q0 d1 1 1e400 mine\n",
        "a score with a decimal comma": "q1 Q0 d1 1 9,5 mine\n",
        "a document twice": RUN + "q1 Q0 d1 3 1.0 mine\n",
        "two tags": RUN + "q2 Q0 d2 2 1.0 yours\n",
        "no query in common": RUN.replace("q1", "x1").replace("q2", "x2"),
        "a query that is not answered": "q1 Q0 d1 1 9.5 mine\n",
        "a query that was not asked": RUN + "q9 Q0 d1 1 9.5 mine\n",
        "NUL in a document": "q1 Q0 d\x001 1 9.5 mine\n",
        "NUL in a query": "q\x001 Q0 d1 1 9.5 mine\n",
        **{f"{name} in a document": f"q1 Q0 d{sign}1 1 9.5 mine\n" for name, sign in CONTROLS.items()},
        **{f"{name} in a query": f"q{sign}1 Q0 d1 1 9.5 mine\n" for name, sign in CONTROLS.items()},
        "Latin-1": "q1 Q0 caf\u00e9 1 9.5 mine\n".encode("latin-1"),
        "UTF-16": RUN.encode("utf-16"),
        "random bytes": np.random.default_rng(0).bytes(300),
        "gzip": gzip.compress(RUN.encode()),
        "qrels in its place": QRELS,
        "JSON": '{"q1": {"d1": 1.0}}\n',
        "a header": "query Q0 doc rank score tag\n" + RUN,
        "all scores equal": "q1 Q0 d1 1 0 mine\nq1 Q0 d2 2 0 mine\nq2 Q0 d1 1 0 mine\nq2 Q0 d2 2 0 mine\n",
        "ranks that contradict the scores": "q1 Q0 d1 2 9.5 mine\nq1 Q0 d2 1 8.5 mine\nq2 Q0 d1 1 7 mine\n",
        "a rank of text": RUN.replace("d2 2", "d2 second"),
        "a line of a million characters": "q1 Q0 " + "d" * 1_000_000 + " 1 9.5 mine more\n",
    }
    found = []
    for i, (what, body) in enumerate(files.items()):
        path = place / f"bad{i}.run"
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
        found.append(Case(f"run: {what}", partial(scores_from_trec, path, place / "good.qrels"), (path.name,)))
    well = {
        "tabs": (RUN.replace(" ", "\t"), "blanks of any kind part the columns"),
        "blank lines between": (RUN.replace("\n", "\n\n"), "they hold no row"),
        "negative scores": (RUN.replace(" 9.5", " -9.5"), "logarithms of probabilities are negative"),
        "quotes in an id": (RUN.replace("d2", "d\"2'"), "TREC has no quotes, so they belong to the id"),
        "lines end as on Windows": (RUN.replace("\n", "\r\n"), "a blank at the end"),
    }
    for i, (what, (text, why)) in enumerate(well.items()):
        path = place / f"well{i}.run"
        path.write_bytes(text.encode())
        found.append(Case(f"run: {what}", partial(scores_from_trec, path, place / "good.qrels"), accept=why))
    return found


def _qrels(place: Path) -> list[Case]:
    files: dict[str, str | bytes] = {
        "empty": "",
        "three columns": "q1 d1 1\n",
        "five columns": "q1 0 d1 1 x\n",
        "a grade of text": "q1 0 d1 good\n",
        "a grade of a half": "q1 0 d1 0.5\n",
        "a grade of NaN": "q1 0 d1 nan\n",
        "a grade of infinity": "q1 0 d1 inf\n",
        "a grade of 1e12": "q1 0 d1 1000000000000\n",
        "a document twice": QRELS + "q1 0 d1 2\n",
        "NUL": "q1 0 d\x001 1\n",
        **{f"{name} in a document": f"q1 0 d{sign}1 1\n" for name, sign in CONTROLS.items()},
        **{f"{name} in a query": f"q{sign}1 0 d1 1\n" for name, sign in CONTROLS.items()},
        "Latin-1": "q1 0 caf\u00e9 1\n".encode("latin-1"),
        "a run in its place": RUN,
        "no positive grade": "q1 0 d1 0\nq2 0 d2 0\n",
    }
    found = []
    for i, (what, body) in enumerate(files.items()):
        path = place / f"bad{i}.qrels"
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
        found.append(Case(f"qrels: {what}", partial(scores_from_trec, place / "good.run", path), (path.name,)))
    for i, (what, text, why) in enumerate(
        (
            ("a negative grade among others", QRELS + "q1 0 d5 -2\n", "TREC's grade of spam"),
            ("a query without a positive", QRELS + "q3 0 d1 0\nq1 0 d7 0\n", "positives says 0; the run is warned of"),
        )
    ):
        path = place / f"well{i}.qrels"
        path.write_text(text)
        run = place / f"all{i}.run"
        run.write_text(RUN + "q3 Q0 d1 1 5 mine\n" * i)
        found.append(Case(f"qrels: {what}", partial(scores_from_trec, run, path), accept=why))
    return found


def _measures(place: Path) -> list[Case]:
    wrong: tuple[object, ...] = (
        ("nothing",),
        ("",),
        ("nDCG@ten",),
        ("nDCG@-1",),
        ("nDCG@1.5",),
        ("nDCG@99999999999999999999",),
        ("ndcg",),
        ("@10",),
        ("nDCG@10@5",),
        ("P(rel=0)@5",),
        ("P(rel=-1)@5",),
        ("P(rel=99999999999)@5",),
        ("__import__('os')",),
        (5,),
        (None,),
        (),
        [],
        None,
        5,
        "nDCG@10",
    )
    good = place / "good.run", place / "good.qrels"
    well = [
        Case(f"measures={m!r}", partial(scores_from_trec, *good, m), accept="a measure twice is one column")
        for m in (("nDCG@10", "nDCG@10"), ("nDCG@10", "ndcg10"))
    ]
    return [*well, *(Case(f"measures={w!r:.40}", partial(scores_from_trec, *good, w), ("measures",)) for w in wrong)]  # type: ignore[arg-type]


def _mteb(place: Path) -> list[Case]:
    def body(**change: Any) -> dict[str, Any]:
        scores = {"test": [{"hf_subset": "default", "main_score": 0.5, "ndcg_at_10": 0.5}]}
        return {"task_name": "SciFact", "scores": scores} | change

    def one(**score: Any) -> dict[str, Any]:
        return body(scores={"test": [score]})

    files: dict[str, str | bytes] = {
        "empty": "",
        "no JSON": "{task",
        "a list": "[]",
        "null": "null",
        "a number": "5",
        "no task": json.dumps({"scores": {}}),
        "a task of null": json.dumps(body(task_name=None)),
        "a task of a list": json.dumps(body(task_name=["x"])),
        "no scores": json.dumps(body(scores={})),
        "scores of null": json.dumps(body(scores=None)),
        "scores of a list": json.dumps(body(scores=[1])),
        "scores of a number": json.dumps(body(scores=0.5)),
        "a split of a number": json.dumps(body(scores={"test": 0.5})),
        "a split of numbers": json.dumps(body(scores={"test": [0.5]})),
        "a score of NaN": json.dumps(one(main_score=float("nan"))),
        "a score of infinity": json.dumps(one(ndcg_at_10=float("inf"))),
        "a score of text": json.dumps(one(main_score="high")),
        "a score of true": json.dumps(one(main_score=True)),
        "a score of null": json.dumps(one(main_score=None)),
        "a score of a list": json.dumps(one(main_score=[0.5])),
        "a score of 400 digits": '{"task_name": "x", "scores": {"test": [{"main_score": ' + "9" * 400 + "}]}}",
        "a subset of a list": json.dumps(one(main_score=0.5, hf_subset=["a"])),
        "nested deep": '{"task_name": "x", "scores": ' + "[" * 100_000,
        "Latin-1": json.dumps(body(task_name="caf\u00e9"), ensure_ascii=False).encode("latin-1"),
    }
    found = []
    for i, (what, text) in enumerate(files.items()):
        path = place / f"mteb{i}" / "Task.json"
        path.parent.mkdir()
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found.append(Case(f"MTEB: {what}", partial(from_mteb, path), ("Task.json", "result files")))
    for i, meta in enumerate(("", "[]", "{", '{"name": 5}', '{"name": null}', "{}")):
        folder = place / f"meta{i}"
        folder.mkdir()
        (folder / "Task.json").write_text(json.dumps(body()))
        (folder / "model_meta.json").write_text(meta)
        found.append(Case(f"MTEB: model_meta.json is {meta!r}", partial(from_mteb, folder), ("model_meta.json",)))
    (place / "nothing").mkdir()
    two = place / "two" / "Task.json"
    two.parent.mkdir()
    two.write_text(json.dumps(body(scores={s: [{"main_score": 0.5}] for s in ("test", "dev")})))
    found += [
        Case("MTEB: two splits", partial(from_mteb, two), ("split",)),
        Case("MTEB: a split that is not there", partial(from_mteb, two, split="train"), ("train",)),
        Case("MTEB: an empty folder", partial(from_mteb, place / "nothing"), ("nothing",)),
        Case("MTEB: no such folder", partial(from_mteb, place / "none"), ("none",)),
        Case("MTEB: None", partial(from_mteb, None), ("path",)),  # type: ignore[arg-type]
    ]
    rows = scores_from_trec(place / "good.run", place / "good.qrels")
    for what, levels, name in (
        ("no such file", place / "none.csv", "none.csv"),
        ("a value without a level", {"x": 1}, "levels"),
        ("None", None, "levels"),
        ("a list", ["a"], "levels"),
        ("a name that is there", {"good": 1}, "name"),
    ):
        factor = "model" if name == "name" else "kind"
        found.append(Case(f"with_factor: {what}", partial(with_factor, rows, factor, levels), (name,)))  # type: ignore[arg-type]
    return found


CHILD = """
import sys, warnings
from drscale.mixed import scores_from_trec
run, qrels, huge, below = sys.argv[1:]
for qrels, measure in ((qrels, "nDCG@0"), (qrels, "P@0"), (huge, "nDCG@10"), (huge, "AP"), (below, "nDCG@10")):
    for again in range(3):  # once it took a second call
        try:
            scores_from_trec(run, qrels, (measure,))
        except ValueError as e:
            print(e, flush=True)
        else:
            print("accepted", flush=True)
"""


def _deadly(place: Path) -> list[Case]:
    """Inputs that ended the interpreter once: each has to be told in a sentence, and the process has to live."""
    huge = place / "huge.qrels"
    huge.write_text("q1 0 d1 99999999999999999999\nq2 0 d2 1\n")
    below = place / "below.qrels"
    below.write_text("q1 0 d1 -1\nq2 0 d2 -2\n")
    said: list[str] = []

    def answer(number: int) -> None:
        if not said:
            files = [place / "good.run", place / "good.qrels", huge, below]
            command = [sys.executable, "-c", CHILD, *map(str, files)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            said.extend([*done.stdout.splitlines(), *[f"the interpreter ended with {done.returncode}"] * 15][:15])
        raise ValueError(said[number]) if said[number] != "accepted" else RuntimeError("accepted")

    names = ["measures"] * 6 + ["huge.qrels"] * 6 + ["below.qrels"] * 3
    inputs = ("nDCG@0", "P@0", "a grade of 1e20", "a grade of 1e20 under AP", "grades below 0 only")
    what = [f"{name}, call {i + 1}" for name in inputs for i in range(3)]
    return [Case(w, partial(answer, i), (name,)) for i, (w, name) in enumerate(zip(what, names, strict=True))]
