"""Score rows from MTEB's files (results, which are means, and predictions, a row a query) and out to them. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drscale import __version__
from drscale.files import write_atomic
from drscale.mixed.scores import Judged, Source, ir_measures_for, judgements, measured, measures_wanted, short_name
from drscale.stats.tables import require

METRIC = re.compile(r"[a-z]+_at_\d+")  # those of MTEB's many numbers that the records have too
PREDICTIONS = "_predictions.json"
UNKNOWN = ("und-Zyyy",)  # a language and a script that nobody named; MTEB's means leave out what has none
LAYOUT = "1.12.75"  # of MTEB: the layout of what is written
MEASURE = re.compile(r"(ndcg|mrr|map|recall|precision)(\d+)")


def from_mteb(
    path: Source,
    qrels: Judged | Mapping[str, Judged] | None = None,
    model: str = "",
    split: str = "",
    measures: Sequence[str] = ("nDCG@10",),
) -> pd.DataFrame:
    """Read MTEB's files, one or a folder: results (means), or with ``qrels`` predictions, a row a query.

    Results hold means of datasets and no values of single queries: a row for each task, split and subset, with no
    ``query``; fit them with ``query=None``. Predictions are the files ``TASK_predictions.json`` of MTEB's
    ``prediction_folder``; ``qrels`` are the judgements, a TREC file, a BEIR table or ``{query: {document: grade}}`` as
    MTEB has them, or a dict of these by dataset; ``measures`` are spelled as in ir-measures. A document with the
    query's own id is left out unless it is relevant (BEIR's rule). ``model`` is the name in the file, or in
    ``model_meta.json`` beside it, if it is not given, else the folder's. ``split`` keeps one split, as "test".

    >>> import json
    >>> from pathlib import Path
    >>> from drscale.mixed import from_mteb
    >>> told = {"mteb_model_meta": {"model_name": "me/mine"}, "default": {"test": {"q1": {"d1": 0.9, "d2": 0.4}}}}
    >>> written = Path("Tiny_predictions.json").write_text(json.dumps(told))
    >>> from_mteb("Tiny_predictions.json", {"q1": {"d2": 1}})[["model", "dataset", "query", "ndcg10"]].round(2)
         model dataset query  ndcg10
    0  me/mine    Tiny    q1    0.63
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"path={path!r}: a result file of MTEB, or a folder of them, is needed")
    place = Path(path)
    if not place.exists():
        raise ValueError(f"{place}: no such file or folder")
    if qrels is not None:
        return _from_predictions(place, qrels, model, split, measures)
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*.json") if p.name != "model_meta.json")
    rows = [row for file in files for row in _task(file, model) if not split or row["split"] == split]
    splits = sorted({str(row["split"]) for row in rows})
    if len(splits) > 1 and len({(r["model"], r["task"], r["subset"]) for r in rows}) < len(rows):
        raise ValueError(
            f"{place}: some tasks have several splits; choose one, split={' or split='.join(map(repr, splits))}"
        )
    if not rows:
        raise ValueError(
            f"{place}: {len(files)} result files, none with scores" + (f" of split {split!r}" * bool(split))
        )
    made = pd.DataFrame(rows)
    several = made.groupby(["model", "task"])["subset"].transform("nunique") > 1
    dataset = made["task"].where(~several, made["task"] + ":" + made["subset"])
    made.insert(1, "dataset", dataset)
    return made.drop(columns=["task", "subset"])


def to_mteb(
    rows: Any,
    folder: str | Path,
    model: str = "",
    *,
    split: str = "",
    main: str = "ndcg10",
    languages: Sequence[str] = UNKNOWN,
    revision: str = "unknown",
    seconds: float | None = None,
) -> list[Path]:
    """Write score rows as result files of MTEB, FOLDER/MODEL/external/DATASET.json, each with ``model_meta.json``.

    ``rows`` have a model, a dataset and measures, a row a query or a mean: those of :func:`rank_scores
    <drscale.evaluate.rank_scores>`, :func:`drscale.scores_from_runs`, :func:`drscale.scores_from_trec` and
    :func:`from_mteb`, or what :func:`drscale.score_benchmark` gives (``model`` names it, and its scopes are datasets).
    Written are means over the rows of a dataset, of the measures that MTEB has a name for (ndcg10 as ndcg_at_10);
    ``main`` is its main score, and ``split`` the rows' own or "test". Datasets TASK:SUBSET of one task are subsets in
    one file. ``languages`` are MTEB's ("eng-Latn"; "und-Zyyy" says that they are not known), ``revision`` is that of
    the texts, ``seconds`` what the evaluation took. ``mteb_version`` names the version whose layout the file has: MTEB
    did not run, as ``made_by`` says.

    >>> import drscale as ds
    >>> from drscale.evaluate import rank_scores
    >>> from drscale.mixed import from_mteb
    >>> from drscale.mixed.mteb import to_mteb
    >>> rows = rank_scores(ds.retriever("bm25"), ds.benchmark("planted?pairs=60").test)
    >>> (path,) = to_mteb(rows, "results")
    >>> path.as_posix()
    'results/bm25/external/planted-pairs-60__test.json'
    >>> bool(abs(from_mteb("results")["ndcg10"][0] - rows["ndcg10"].mean()) < 1e-9)
    True
    """
    frame = getattr(rows, "queries", rows)
    if not isinstance(frame, pd.DataFrame):
        raise ValueError(f"rows={type(rows).__name__}: score rows are needed, or what ds.score_benchmark gives")
    frame = frame if "dataset" in frame else frame.rename(columns={"scope": "dataset"})
    if model:
        frame = frame.assign(model=model)
    require(frame, "model", "dataset", what="rows")
    if not len(frame) or frame[["model", "dataset"]].isna().any(axis=None):
        raise ValueError("rows: each needs a model and a dataset, and there must be one")
    splits = sorted(set(frame["split"].astype(str))) if "split" in frame else ["test"]
    if len(splits) > 1:
        raise ValueError(f"rows: of several splits, {', '.join(map(repr, splits))}; keep one")
    names = {column: long for column in frame if (long := mteb_name(str(column)))}
    if main not in names:
        raise ValueError(f"main={main!r}: the rows have the measures {', '.join(map(repr, names)) or 'of none'}")
    frame = frame.astype(dict.fromkeys(names, float))
    if np.isinf(frame[list(names)].to_numpy()).any():
        raise ValueError("rows: a measure is not finite")
    means = frame.groupby(["model", "dataset"], sort=False)[list(names)].mean().reset_index()
    if (lost := means[means[main].isna()]).size:
        raise ValueError(f"{lost['model'].iloc[0]} on {lost['dataset'].iloc[0]}: no row has {main!r}, the main score")
    task, subset = (means["dataset"].astype(str).str.partition(":")[part] for part in (0, 2))
    several = means.assign(task=task).groupby(["model", "task"])["dataset"].transform("nunique") > 1
    whole = ~(several & (subset != ""))
    means["task"], means["subset"] = task.mask(whole, means["dataset"].astype(str)), subset.mask(whole, "default")
    written = []
    named = means[["model", "task"]].drop_duplicates().astype(str)
    if (twins := named.map(_file_name).duplicated()).any():
        one = named[twins.to_numpy()].iloc[0]
        raise ValueError(f"{one['model']} on {one['task']}: another model or dataset would have the same file")
    for (name, task_name), own in means.groupby(["model", "task"], sort=False):
        entries = [
            {
                "hf_subset": row["subset"],
                "languages": list(languages),
                "main_score": row[main],
                **{long: row[column] for column, long in names.items() if row[column] == row[column]},
            }
            for row in own.to_dict("records")
        ]
        body = {
            "task_name": task_name,
            "dataset_revision": revision,
            "mteb_version": LAYOUT,
            "evaluation_time": seconds,
            "scores": {split or splits[0]: entries},
            "made_by": f"drscale {__version__}",
        }
        place = Path(folder) / _file_name(str(name)) / "external"
        meta = {"name": name, "revision": "external", "framework": ["drscale"]}
        write_atomic(place / "model_meta.json", json.dumps(meta, indent=1) + "\n")
        path = place / f"{_file_name(str(task_name))}.json"
        write_atomic(path, json.dumps(body, indent=1, allow_nan=False) + "\n")
        written.append(path)
    return written


def mteb_name(column: str) -> str:
    """A measure's name in MTEB; "" for what is none or has none there.

    >>> from drscale.mixed.mteb import mteb_name
    >>> mteb_name("nDCG@10"), mteb_name("Success@5")
    ('ndcg_at_10', '')
    """
    found = MEASURE.fullmatch(short_name(column))
    return f"{found[1]}_at_{found[2]}" if found else ""


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "__" if c == "/" else "-" for c in name).strip(".") or "unnamed"


def _from_predictions(place: Path, qrels: Any, model: str, split: str, measures: Sequence[str]) -> pd.DataFrame:
    wanted = measures_wanted(ir_measures_for("MTEB's predictions"), measures)
    files = [place] if place.is_file() else sorted(place.rglob(f"*{PREDICTIONS}"))
    found, splits, places = [], set(), []
    for file in files:
        name, parts = _predictions(file)
        task = file.name.removesuffix(PREDICTIONS).removesuffix(".json")
        kept = [(subset, own, part) for subset, own, part in parts if not split or own == split]
        splits |= {own for _, own, _ in kept}
        places += [(name or _model_of(file), task, subset) for subset, _, _ in kept]
        for subset, _, answers in kept:
            dataset = task if len({s for s, *_ in kept}) == 1 else f"{task}:{subset}"
            judged = _judged_of(qrels, dataset, task)
            relevant, where = judgements(judged), judged if isinstance(judged, str | Path) else f"qrels of {dataset}"
            rows = measured(_answers(answers, relevant, file), relevant, wanted, file, where)
            rows.insert(0, "model", model or name or _model_of(file))
            found.append(rows.assign(dataset=dataset)[["model", "dataset", *(c for c in rows if c != "model")]])
    if len(set(places)) < len(places):
        raise ValueError(
            f"{place}: some tasks have several splits; choose one, split={' or split='.join(map(repr, sorted(splits)))}"
        )
    if not found:
        said = f" of split {split!r}" * bool(split)
        raise ValueError(f"{place}: {len(files)} files *{PREDICTIONS}, none with answers{said}")
    return pd.concat(found, ignore_index=True)


def _predictions(path: Path) -> tuple[str, list[tuple[str, str, Mapping[str, Any]]]]:
    """The model's name in a file of MTEB's predictions, and its parts: subset, split and answers."""
    body = _json(path)
    if not isinstance(body, dict):
        raise ValueError(
            f"{path}: no file of MTEB's predictions, {{subset: {{split: {{query: {{document: score}}}}}}}}"
        )
    meta = body.pop("mteb_model_meta", {})
    parts: list[tuple[str, str, Mapping[str, Any]]] = []
    for subset, by_split in body.items():
        for split, answers in by_split.items() if isinstance(by_split, dict) else [("", None)]:
            if not isinstance(answers, dict) or not all(isinstance(a, dict) for a in answers.values()):
                raise ValueError(
                    f"{path}: subset {subset!r} has no {{split: {{query: {{document: score}}}}}}, as predictions of a "
                    "retrieval task have"
                )
            parts.append((subset, split, answers))
    return str(meta.get("model_name") or "") if isinstance(meta, dict) else "", parts


def _judged_of(qrels: Any, dataset: str, task: str) -> Judged:
    """The judgements of a dataset, where they are given by dataset; else what is given."""
    if not isinstance(qrels, Mapping) or not qrels:
        return qrels
    first = next(iter(qrels.values()))
    if isinstance(first, Mapping) and not any(isinstance(v, Mapping | str | Path) for v in first.values()):
        return qrels
    for name in (dataset, task):
        if name in qrels:
            return qrels[name]
    raise ValueError(f"qrels: has none for {dataset!r}; there are {', '.join(map(repr, qrels))}")


def _answers(answers: Mapping[str, Mapping[str, Any]], relevant: pd.DataFrame, path: Path) -> pd.DataFrame:
    """MTEB's answers as the rows of a run, without documents that have the query's own id unless they are relevant."""
    rows = [(q, d, score) for q, own in answers.items() for d, score in own.items()]
    run = pd.DataFrame(rows, columns=["query_id", "doc_id", "score"])
    odd = [not isinstance(s, int | float) or isinstance(s, bool) or not np.isfinite(s) for s in run["score"]]
    if any(odd):
        q, d, score = rows[odd.index(True)]
        raise ValueError(f"{path}: query {q!r} gives {d!r} the score {score!r}, which is no finite number")
    own = run[run["query_id"] == run["doc_id"]]
    if len(own):
        judged = relevant[relevant["relevance"] > 0]
        known = set(zip(judged["query_id"], judged["doc_id"], strict=True))
        run = run.drop([i for i, q in own["query_id"].items() if (q, q) not in known])
    return run.astype({"score": float})


def _task(path: Path, model: str) -> Iterable[dict[str, Any]]:
    """The rows of one MTEB file, in its present layout or in the one before version 1.12."""
    body = _json(path)
    task = body.get("task_name") or body.get("mteb_dataset_name") if isinstance(body, dict) else None
    if not task or not isinstance(task, str):
        raise ValueError(f"{path}: no result file of MTEB, which has a task_name")
    splits = body.get("scores", {k: v for k, v in body.items() if isinstance(v, dict)})
    if not isinstance(splits, dict):
        raise ValueError(f"{path}: its scores are no table of splits")
    for split, entries in splits.items():
        for scores in entries if isinstance(entries, list) else [entries]:
            if not isinstance(scores, dict):
                raise ValueError(f"{path}: the scores of split {split!r} are no tables of metrics")
            told = {k: v for k, v in scores.items() if METRIC.fullmatch(k) or k == "main_score"}
            numbers = {
                k if k == "main_score" else short_name(k): v
                for k, v in told.items()
                if isinstance(v, int | float) and not isinstance(v, bool)
            }
            if not all(abs(v) < 1e300 for v in numbers.values()):
                raise ValueError(f"{path}: a score of split {split!r} is not finite")
            if numbers:
                subset = scores.get("hf_subset", "default")
                if not isinstance(subset, str):
                    raise ValueError(f"{path}: hf_subset={subset!r:.40} of split {split!r} is no name")
                named = {"model": model or _model_of(path), "task": task, "subset": subset, "split": split}
                yield named | {name: float(v) for name, v in numbers.items()}


def _model_of(path: Path) -> str:
    """The model of a result file; the folders are MODEL/REVISION/TASK.json, a name's slash being two underscores."""
    meta = path.with_name("model_meta.json")
    if meta.is_file():
        told = _json(meta)
        name = told.get("name") if isinstance(told, dict) else None
        if not isinstance(name, str) or not name:
            raise ValueError(f"{meta}: no name of a model in it")
        return name
    folder = path.resolve().parent
    revision = re.fullmatch(r"[0-9a-f]{40}|external|no_revision_available", folder.name)
    return (folder.parent if revision else folder).name.replace("__", "/")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ValueError(f"{path}: no JSON, {e}") from None
    except RecursionError:
        raise ValueError(f"{path}: the JSON is nested too deeply") from None
