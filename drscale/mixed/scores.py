"""Score rows: the scores of each model on each query of each dataset, from records, TREC or MTEB files. No torch.

Every function gives a row for each model and query with the columns ``model``, ``dataset``, ``query`` and the metrics
under the names of the records (``ndcg10``, ``mrr10``, ``recall100`` ...); :func:`with_factor` adds a factor. Frames of
several sources are put together with ``pandas.concat``, and :func:`drscale.mixed.fit.fit_mixed` takes them.
"""

from __future__ import annotations

import importlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drscale.recipe import Recipe
from drscale.runs import RunStore
from drscale.stats.tables import require

Source = str | Path
Judged = str | Path | Mapping[str, Mapping[str, int]]  # a TREC or BEIR file, or grades by query and document
MOST_GRADE = 1_000_000  # of a judgement, and of a measure's cut: beyond it trec_eval is wrong or ends the interpreter
SHORT = {"RR": "mrr", "R": "recall", "P": "precision", "AP": "map", "nDCG": "ndcg", "MRR": "mrr"}
OURS = {"ndcg": "nDCG", "mrr": "RR", "recall": "R"}
METRIC = re.compile(r"[a-z]+_at_\d+")  # those of MTEB's many numbers that the records have too
# First words of a question, and the most common imperatives of documentation, which begin an instruction.
QUESTION = ("what", "who", "whom", "whose", "which", "where", "why", "how")
ORDER = (
    "add append apply assert attach build calculate call cast change check clear close collect color combine "
    "compare compile compute concatenate configure connect construct contain convert copy count create decode "
    "decorate define delete describe detect determine differentiate disable display divide do download draw drop "
    "embed emit enable encode ensure estimate evaluate execute expand export extend extract fetch fill filter "
    "finalize find fit flatten flush format generate get give handle import indicate infer initialize insert "
    "inspect install invoke iterate join list load locate log look make map mark match merge move normalize open "
    "override parse patch perform plot prepare print process produce provide push put query raise ravel read "
    "rebuild reconstruct register reindex release remove rename render repeat replace represent request reset "
    "resolve restore retrieve return reverse round run sample save scale search select send serialize set shift "
    "show solve sort specify split start stop store strip submit subtract sum switch take test tokenize transform "
    "translate truncate try turn update upload use validate verify wait wrap write yield"
)
_ORDER = frozenset(ORDER.split())


class ScoreWarning(UserWarning):
    """A run lacks queries, or has queries that were not asked."""


def scores_from_runs(
    store: RunStore | Source,
    model: str | Sequence[str] = "rung",
    where: str = "",
    scopes: Sequence[str] = ("in_domain", "ood"),
    condition: str = "clean",
) -> pd.DataFrame:
    """Read the rows of a store's runs: the label ``model`` is a field of the recipe, or several joined by a comma.

    ``where`` is a query of the store's table, such as "pairs == 0". ``scopes`` include all their domains ("ood" is
    every ``ood:NAME``); the dataset is the scope. Runs of one label may differ in their seed only; a query then has
    several rows, distinguished by ``seed``. Fields of the label are columns too.

    >>> import pandas as pd
    >>> import drscale as ds
    >>> from drscale.runs import Measure
    >>> rows = pd.DataFrame({"scope": "in_domain", "condition": "clean", "query": ["q1", "q2"], "ndcg10": [1.0, 0.5]})
    >>> measures = {"in_domain": {"ndcg10": Measure(0.75, 0.5, 1.0, 2)}}
    >>> store = ds.RunStore("runs")
    >>> path = store.save(ds.Run(ds.Recipe(texts="planted"), "done", measures=measures), rows)
    >>> ds.scores_from_runs(store)[["model", "dataset", "query", "ndcg10"]]
        model    dataset query  ndcg10
    0  L2H128  in_domain    q1     1.0
    1  L2H128  in_domain    q2     0.5
    """
    kept = RunStore(store) if isinstance(store, str | Path) else store
    table = kept.table()
    runs = (table.query(where) if where else table).query("status == 'done'")
    fields = [model] if isinstance(model, str) else list(model)
    require(table, *fields, what=f"model={model!r}: the store's table")
    if runs.empty:
        raise ValueError(f"where={where!r}: none of the {len(table)} runs in {kept} is done and fits it")
    label = runs[fields].astype(str).agg(", ".join, axis=1)
    _check_alone(runs, label, fields)
    rows = kept.queries()
    if rows.empty:
        raise ValueError(f"{kept}: its runs have no rows of single queries beside them")
    rows = rows[rows["key"].isin(list(runs["key"])) & (rows["condition"] == condition)]
    inside = [scope for scope in rows["scope"].unique() if any(_inside(scope, s) for s in scopes)]
    rows = rows[rows["scope"].isin(inside)]
    if rows.empty:
        raise ValueError(f"scopes={scopes!r}, condition={condition!r}: no query of these runs in {kept}")
    own = runs.set_index("key").assign(model=label.to_numpy())[list(dict.fromkeys(["model", *fields, "seed"]))]
    told = own.loc[rows["key"]].reset_index(drop=True)
    plain = rows.drop(columns=["key", "condition"]).rename(columns={"scope": "dataset"}).reset_index(drop=True)
    first = ["model", "dataset", "query"]
    made = pd.concat([told, plain.astype({"dataset": str, "query": str})], axis=1)
    return made[[*first, *(c for c in made if c not in first)]]


def by_package(rows: pd.DataFrame, dataset: str = "in_domain") -> pd.DataFrame:
    """Split a dataset of the documentation benchmark by the package that each query's name begins with.

    The test of the training packages is one collection in the records; ``in_domain:scipy`` is then a separate dataset,
    although its queries were searched in the passages of all training packages.
    """
    require(rows, "dataset", "query")
    mine = rows["dataset"] == dataset
    if not mine.any():
        raise ValueError(f"dataset={dataset!r}: the rows have {', '.join(map(str, rows['dataset'].unique()))}")
    package = dataset + ":" + rows["query"].astype(str).str.split(".").str[0]
    return rows.assign(dataset=rows["dataset"].where(~mine, package))


def scores_from_trec(
    run_files: Source | Mapping[str, Source],
    qrels: Source,
    measures: Sequence[str] = ("nDCG@10",),
    dataset: str = "",
) -> pd.DataFrame:
    """Measure TREC runs (query Q0 document rank score tag) against qrels (query 0 document grade), a row per query.

    ``run_files`` is a file, whose tag names the model, or files by the models' names; ``measures`` are spelled as in
    ir-measures. Every query of the qrels has a row: one that a run leaves out scores 0, has False in ``answered``, and
    is counted in a ScoreWarning. ``positives`` counts the relevant documents; if it is 0, no retriever can score above
    0. ``dataset`` is the qrels' name if it is not given.

    >>> from pathlib import Path
    >>> import drscale as ds
    >>> bytes_written = Path("qrels").write_text("q1 0 d1 1 \\nq2 0 d2 1")
    >>> bytes_written = Path("mine.run").write_text("q1 Q0 d1 1 9 mine \\nq2 Q0 d1 1 9 mine \\nq2 Q0 d2 2 8 mine")
    >>> ds.scores_from_trec("mine.run", "qrels")[["model", "query", "ndcg10"]].round(2)
      model query  ndcg10
    0  mine    q1    1.00
    1  mine    q2    0.63
    """
    ir_measures = _ir_measures("TREC files")
    wanted = [_measure(ir_measures, m) for m in measures]
    relevant = _judgements(qrels)
    if not isinstance(run_files, Mapping | str | Path):
        raise ValueError(
            f"run_files={type(run_files).__name__}: a file, or a dict of files by the models' names, is needed"
        )
    files = run_files if isinstance(run_files, Mapping) else {"": run_files}
    found = []
    for name, path in files.items():
        run = trec_columns(path, ["query_id", "Q0", "doc_id", "rank", "score", "tag"], "score")
        again = run.duplicated(["query_id", "doc_id"])
        if again.any():
            i = int(np.argmax(again))
            raise ValueError(
                f"{path}:{run.index[i]}: query {run['query_id'].iloc[i]!r} has {run['doc_id'].iloc[i]!r} twice"
            )
        _check_finite(run, path, "score")
        if (run["tag"] != run["tag"].iloc[0]).any():
            raise ValueError(
                f"{path}: has several tags, {', '.join(map(repr, run['tag'].unique()[:3]))}; one run a file"
            )
        rows = _measured(run, relevant, wanted, path, qrels)
        rows.insert(0, "model", name or str(run["tag"].iloc[0]))
        rows.insert(1, "dataset", dataset or Path(qrels).stem)
        found.append(rows)
    return pd.concat(found, ignore_index=True)


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


def with_factor(
    rows: pd.DataFrame, name: str, levels: Mapping[Any, Any] | Source, on: str = "dataset", column: str = ""
) -> pd.DataFrame:
    """Add a factor: ``levels`` maps each value of the column ``on`` to a level.

    ``levels`` may be a CSV with the columns ``on`` and ``name``, or ``column`` if the level has another name there.
    """
    require(rows, on)
    if name in rows:
        raise ValueError(f"name={name!r}: the rows have such a column already")
    if isinstance(levels, Mapping):
        known, source = levels, "levels"
    else:
        file = pd.read_csv(levels, dtype=str) if Path(levels).is_file() else None
        if file is None or not {on, column or name} <= set(file):
            raise ValueError(
                f"levels={str(levels)!r}: a CSV with the columns {on!r} and {(column or name)!r} is needed"
            )
        known, source = dict(zip(file[on], file[column or name], strict=True)), str(levels)
    missing = [value for value in rows[on].unique() if value not in known]
    if missing:
        some = ", ".join(map(repr, missing[:4])) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise ValueError(f"{source}: has no {name} for {on} {some}")
    return rows.assign(**{name: rows[on].map(known)})


def query_form(text: str) -> str:
    """Name a text's form by a rule: "question", "instruction" or "phrase".

    A question ends with a question mark or begins with a question word; an instruction begins with one of about 160
    verbs, with any ending and possibly after adverbs. The rule is made for English documentation. It is not a
    classifier, and its forms are not the categories of the generalisability paper, which a trained model of non-factoid
    questions assigns.
    """
    words = [w for w in re.findall(r"[a-z']+", text.lower()) if not w.endswith("ly") or w in _ORDER]
    first = words[0] if words else ""
    if text.rstrip().endswith(("?", "\uff1f")) or first in QUESTION:
        return "question"
    stems = {first, first.removesuffix("s"), first.removesuffix("es"), re.sub("ies$", "y", first)}
    return "instruction" if stems & _ORDER else "phrase"


def planted(
    means: Mapping[str, tuple[float, float]] | None = None,
    datasets: int = 12,
    n_queries: int = 40,
    skipped: float = 0.3,
    sd: tuple[float, float, float] = (0.15, 0.25, 0.2),
    seed: int = 0,
) -> pd.DataFrame:
    """Make synthetic score rows with a known truth, for teaching and tests; every row has ``synthetic``.

    ``means`` gives each model's true mean in-domain and out-of-domain, the levels of the factor ``where``; ``sd`` are
    the standard deviations of datasets, queries and noise. Each model skips a share of the datasets, as on
    leaderboards.
    """
    truth = {"generalist": (0.45, 0.4), "specialist": (0.6, 0.35)} if means is None else means
    rng, parts = np.random.default_rng(seed), []
    asked = rng.integers(n_queries // 2 + 1, 2 * n_queries, datasets)
    place = np.repeat(np.arange(datasets), asked)
    both = (sd[0] * rng.standard_normal(datasets))[place] + sd[1] * rng.standard_normal(len(place))
    for name, levels in truth.items():
        y = np.array(levels)[place % 2] + both + sd[2] * rng.standard_normal(len(place))
        kept = ~np.isin(place, rng.choice(datasets, int(skipped * datasets), replace=False))
        told = {"model": name, "dataset": [f"set {d}" for d in place], "query": np.arange(len(place)), "ndcg10": y}
        where = np.array(["home", "abroad"])[place % 2]
        parts.append(pd.DataFrame(told).assign(where=where, synthetic=True)[kept])
    return pd.concat(parts, ignore_index=True)


PREDICTIONS = "_predictions.json"


def _from_predictions(place: Path, qrels: Any, model: str, split: str, measures: Sequence[str]) -> pd.DataFrame:
    ir_measures = _ir_measures("MTEB's predictions")
    wanted = [_measure(ir_measures, m) for m in measures]
    files = [place] if place.is_file() else sorted(place.rglob(f"*{PREDICTIONS}"))
    found, splits = [], set()
    for file in files:
        name, parts = _predictions(file)
        task = file.name.removesuffix(PREDICTIONS).removesuffix(".json")
        kept = [(subset, own, part) for subset, own, part in parts if not split or own == split]
        splits |= {own for _, own, _ in kept}
        for subset, _, answers in kept:
            dataset = task if len({s for s, _, _ in kept}) == 1 else f"{task}:{subset}"
            judged = _judged_of(qrels, dataset, task)
            relevant, where = _judgements(judged), judged if isinstance(judged, str | Path) else f"qrels of {dataset}"
            rows = _measured(_answers(answers, relevant, file), relevant, wanted, file, where)
            rows.insert(0, "model", model or name or _model_of(file))
            found.append(rows.assign(dataset=dataset)[["model", "dataset", *(c for c in rows if c != "model")]])
    if len(splits) > 1:
        raise ValueError(
            f"{place}: has several splits; choose one, split={' or split='.join(map(repr, sorted(splits)))}"
        )
    if not found:
        said = f" of split {split!r}" * bool(split)
        raise ValueError(f"{place}: {len(files)} files *{PREDICTIONS}, none with answers{said}")
    return pd.concat(found, ignore_index=True)


def _predictions(path: Path) -> tuple[str, list[tuple[str, str, Mapping[str, Any]]]]:
    """The model's name in a file of MTEB's predictions, and its parts: subset, split and answers."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise ValueError(f"{path}: no JSON, {e}") from None
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


def _judgements(qrels: Judged) -> pd.DataFrame:
    """Judgements with the columns query_id, doc_id, relevance: of a TREC file, a BEIR table with a header, a dict."""
    if isinstance(qrels, Mapping):
        told = [(str(q), str(d), g) for q, own in qrels.items() for d, g in own.items()]
        relevant = pd.DataFrame(told, columns=["query_id", "doc_id", "relevance"])
        place = "qrels"
        if relevant.empty or not all(isinstance(g, int | np.integer) and not isinstance(g, bool) for _, _, g in told):
            raise ValueError("qrels: whole numbers by query and document are needed, {query: {document: grade}}")
    else:
        place = str(qrels)
        beir = Path(qrels).is_file() and _first_line(qrels).split("\t")[:2] == ["query-id", "corpus-id"]
        names = ["query_id", "doc_id", "relevance"] if beir else ["query_id", "iteration", "doc_id", "relevance"]
        relevant = trec_columns(qrels, names, "relevance", header=int(beir))
        _check_finite(relevant, qrels, "relevance")
    grades = relevant["relevance"]
    if (odd := grades != grades.round()).any():
        i = int(np.argmax(odd))
        raise ValueError(f"{place}:{relevant.index[i]}: grade {grades.iloc[i]:g} is no whole number")
    if (large := grades.abs() > MOST_GRADE).any():
        i = int(np.argmax(large))
        raise ValueError(f"{place}:{relevant.index[i]}: grade {grades.iloc[i]:g} is beyond {MOST_GRADE}")
    if (again := relevant.duplicated(["query_id", "doc_id"])).any():
        i = int(np.argmax(again))
        both = f"query {relevant['query_id'].iloc[i]!r} has {relevant['doc_id'].iloc[i]!r} twice"
        raise ValueError(f"{place}:{relevant.index[i]}: {both}")
    return relevant.assign(relevance=grades.astype(int))


def _first_line(path: Source) -> str:
    with Path(path).open("rb") as f:
        return f.readline(1000).decode("utf-8", "replace").rstrip("\r\n")


def _measured(
    run: pd.DataFrame, relevant: pd.DataFrame, wanted: list[Any], path: Source, qrels: object
) -> pd.DataFrame:
    """A row for each query of the judgements: its measures, its positives, and whether the run answers it."""
    asked = pd.Index(relevant["query_id"].unique())
    positives = relevant[relevant["relevance"] > 0].groupby("query_id").size().reindex(asked, fill_value=0)
    answered = asked.isin(run["query_id"])
    if not answered.any():
        first = "".join(f"{q!r} is a query of the run, " for q in run["query_id"].iloc[:1])
        ids = f"{first}{asked[0]!r} one of {qrels}"
        raise ValueError(f"{path}: has no query in common with the qrels; {ids}")
    values = {_short(str(m)): pd.Series(0.0, asked) for m in wanted}
    for value in _ir_measures("TREC files").iter_calc(wanted, relevant, run):
        values[_short(str(value.measure))][value.query_id] = value.value
    _warn_of_missing(Path(path), answered, set(run["query_id"]) - set(asked))
    rows = pd.DataFrame({"query": asked} | {k: v.to_numpy() for k, v in values.items()})
    return rows.assign(positives=positives.to_numpy(), answered=answered)


def _ir_measures(what: str) -> Any:
    try:
        return importlib.import_module("ir_measures")
    except ModuleNotFoundError:
        raise ValueError(f"{what} need ir-measures, which is not installed: pip install ir-measures") from None


def _inside(domain: str, scope: str) -> bool:
    return domain == scope or (scope == "ood" and domain.startswith("ood:"))


def _check_alone(runs: pd.DataFrame, label: pd.Series, fields: list[str]) -> None:
    """Raise ValueError if runs of one label differ in more than the seed."""
    for name, part in runs.groupby(label.to_numpy(), sort=False):
        same = {str(Recipe.parse(key).but(seed=0)) for key in part["key"]}
        if len(same) > 1:
            parts = [dict(p.partition("=")[::2] for p in key.split(",")) for key in same]
            differ = sorted({k for p in parts for k in p if len({str(q.get(k)) for q in parts}) > 1} - set(fields))
            raise ValueError(
                f"model={fields!r}: {len(part)} runs are called {name!r} and differ in {', '.join(differ)}: name that "
                "in model too, or keep one with where"
            )
        if part["seed"].duplicated().any():
            raise ValueError(f"model={fields!r}: two runs of {name!r} have the same seed")


def trec_columns(path: Source, names: list[str], number: str, header: int = 0) -> pd.DataFrame:
    """The columns of a TREC file, separated by blanks, below ``header`` lines; a ValueError names the file and line."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a first line that is too long
            rows = pd.read_csv(
                path,
                sep=r"\s+",
                header=None,
                names=names,
                dtype=str,
                quoting=3,
                keep_default_na=False,
                index_col=False,
                skip_blank_lines=False,
                on_bad_lines="error",
                encoding="utf-8",
            )
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path}: the file is empty") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as e:
        line = re.search(r"line (\d+)", str(e))
        raise ValueError(
            f"{path}:{line[1] if line else 1}: more than the {len(names)} columns {' '.join(names)}"
        ) from None
    rows.index += 1  # lines
    rows = rows.iloc[header:]
    rows = rows[rows[names[0]].notna() & (rows[names[0]] != "")]
    short = (rows[names[-1]].isna() | (rows[names[-1]] == "")).to_numpy()
    if short.any():
        raise ValueError(f"{path}:{rows.index[short][0]}: fewer than the {len(names)} columns {' '.join(names)}")
    values = pd.to_numeric(rows[number], errors="coerce")
    wrong = rows[values.isna()]
    if len(wrong):
        raise ValueError(f"{path}:{wrong.index[0]}: {number} {wrong[number].iloc[0]!r} is no number")
    for column in (names[0], names[2] if len(names) > 3 else names[1]):
        if (odd := rows[column].str.contains("\0", regex=False)).any():
            raise ValueError(f"{path}:{rows.index[int(np.argmax(odd))]}: {column} holds a NUL byte")
    if rows.empty:
        raise ValueError(f"{path}: the file is empty")
    return rows.assign(**{number: values})


def _check_finite(rows: pd.DataFrame, path: Source, number: str) -> None:
    if not (finite := np.isfinite(rows[number])).all():
        line = rows.index[int(np.argmin(finite))]
        raise ValueError(f"{path}:{line}: {number} {rows.loc[line, number]} is not finite")


def _warn_of_missing(path: Path, answered: Any, unasked: set[str]) -> None:
    said = []
    if not answered.all():
        said.append(f"{int((~answered).sum())} of {len(answered)} queries of the qrels are not in the run and score 0")
    if unasked:
        said.append(f"{len(unasked)} queries of the run are not in the qrels and are left out")
    if said:
        warnings.warn(f"{path}: {'; '.join(said)}", ScoreWarning, stacklevel=4)


def _measure(ir_measures: Any, spelling: str) -> Any:
    """A measure as ir-measures spells it or as our records do: nDCG@10 or ndcg10."""
    ours = re.fullmatch(r"(ndcg|mrr|recall)(\d+)", spelling)
    name = f"{OURS[ours[1]]}@{ours[2]}" if ours else spelling
    try:
        measure = ir_measures.parse_measure(name)
    except (NameError, ValueError) as e:
        raise ValueError(
            f"measures={spelling!r}: allowed are ir-measures' names, as nDCG@10, or ndcg10 ({e})"
        ) from None
    for what in ("cutoff", "rel"):
        value = measure.params.get(what, 1)
        if not isinstance(value, int) or not 1 <= value <= MOST_GRADE:  # trec_eval would end the interpreter
            raise ValueError(f"measures={spelling!r}: {what}={value}, allowed are whole numbers from 1 to {MOST_GRADE}")
    return measure


def _short(measure: str) -> str:
    """The name of a measure in the records, as ndcg10 for nDCG@10 or ndcg_at_10."""
    name, _, depth = measure.replace("_at_", "@").partition("@")
    return SHORT.get(name, name.lower()) + depth


def _task(path: Path, model: str) -> Iterable[dict[str, Any]]:
    """The rows of one MTEB file, in its present layout or in the one before version 1.12."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ValueError(f"{path}: no JSON, {e}") from None
    task = body.get("task_name") or body.get("mteb_dataset_name") if isinstance(body, dict) else None
    if not task:
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
                k if k == "main_score" else _short(k): float(v)
                for k, v in told.items()
                if isinstance(v, int | float) and not isinstance(v, bool)
            }
            if not all(map(np.isfinite, numbers.values())):
                raise ValueError(f"{path}: a score of split {split!r} is not finite")
            if numbers:
                subset = str(scores.get("hf_subset", "default"))
                yield {"model": model or _model_of(path), "task": task, "subset": subset, "split": split, **numbers}


def _model_of(path: Path) -> str:
    """The model of a result file; the folders are MODEL/REVISION/TASK.json, a name's slash being two underscores."""
    meta = path.with_name("model_meta.json")
    if meta.is_file():
        return str(json.loads(meta.read_text(encoding="utf-8")).get("name", ""))
    folder = path.resolve().parent
    revision = re.fullmatch(r"[0-9a-f]{40}|external|no_revision_available", folder.name)
    return (folder.parent if revision else folder).name.replace("__", "/")
