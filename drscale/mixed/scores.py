"""Score rows: the scores of each model on each query of each dataset, from records, TREC or MTEB files. No torch.

Every function gives a row for each model and query with the columns ``model``, ``dataset``, ``query`` and the metrics
under the names of the records (``ndcg10``, ``mrr10``, ``recall100`` ...); :func:`with_factor` adds a factor. Frames of
several sources are put together with ``pandas.concat``, and :func:`drscale.mixed.fit.fit_mixed` takes them.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drscale.files import CONTROL, check_id
from drscale.recipe import Recipe
from drscale.runs import RunStore
from drscale.stats.tables import require

Source = str | Path
Judged = str | Path | Mapping[str, Mapping[str, int]]  # a TREC or BEIR file, or grades by query and document
MOST_GRADE = 1_000_000  # of a judgement, and of a measure's cut: beyond it trec_eval is wrong or ends the interpreter
SHORT = {"RR": "mrr", "R": "recall", "P": "precision", "AP": "map", "nDCG": "ndcg", "MRR": "mrr"}
OURS = {"ndcg": "nDCG", "mrr": "RR", "recall": "R"}
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
    if not isinstance(qrels, str | Path):
        raise ValueError(f"qrels={qrels!r}: a file of judgements is needed")
    ir_measures = ir_measures_for("TREC files")
    wanted = measures_wanted(ir_measures, measures)
    relevant = judgements(qrels)
    files = run_files if isinstance(run_files, Mapping) else {"": run_files}
    if not files or not all(isinstance(path, str | Path) for path in files.values()):
        given = run_files if isinstance(run_files, Mapping) else type(run_files).__name__
        raise ValueError(f"run_files={given}: a file, or a dict of files by the models' names, is needed")
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
        _warn_of_ranks(Path(path), run)
        rows = measured(run, relevant, wanted, path, qrels)
        rows.insert(0, "model", name or str(run["tag"].iloc[0]))
        rows.insert(1, "dataset", dataset or Path(qrels).stem)
        found.append(rows)
    return pd.concat(found, ignore_index=True)


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
        if not isinstance(levels, str | Path):
            raise ValueError(f"levels={levels!r}: a level for each value, or a CSV of them, is needed")
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


def judgements(qrels: Judged) -> pd.DataFrame:
    """Judgements with the columns query_id, doc_id, relevance: of a TREC file, a BEIR table with a header, a dict."""
    if isinstance(qrels, Mapping):
        told = [(str(q), str(d), g) for q, own in qrels.items() for d, g in own.items()]
        relevant = pd.DataFrame(told, columns=["query_id", "doc_id", "relevance"])
        place = "qrels"
        whole = (
            isinstance(g, int | float | np.integer) and not isinstance(g, bool) and g == g // 1 for _, _, g in told
        )
        if relevant.empty or not all(whole):
            raise ValueError("qrels: whole numbers by query and document are needed, {query: {document: grade}}")
    elif not isinstance(qrels, str | Path):
        raise ValueError(f"qrels={qrels!r:.60}: a file of judgements or {{query: {{document: grade}}}} is needed")
    else:
        place = str(qrels)
        beir = Path(qrels).is_file() and _first_line(qrels).split("\t")[:2] == ["query-id", "corpus-id"]
        names = ["query_id", "doc_id", "relevance"] if beir else ["query_id", "iteration", "doc_id", "relevance"]
        relevant = trec_columns(qrels, names, "relevance", header=int(beir), sep="\t" if beir else r"\s+")
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
    best = grades.groupby(relevant["query_id"]).transform("max")
    if not (best > 0).any():
        raise ValueError(f"{place}: no grade is above 0, so no query has a relevant document")
    # Where all of a query's grades are below 0, trec_eval ends the interpreter; 0 says the same to every measure.
    return relevant.assign(relevance=grades.where(best >= 0, 0).astype(int))


def _first_line(path: Source) -> str:
    with Path(path).open("rb") as f:
        return f.readline(1000).decode("utf-8", "replace").rstrip("\r\n")


def measured(run: pd.DataFrame, relevant: pd.DataFrame, wanted: list[Any], path: Source, qrels: object) -> pd.DataFrame:
    """A row for each query of the judgements: its measures, its positives, and whether the run answers it."""
    asked = pd.Index(relevant["query_id"].unique())
    positives = relevant[relevant["relevance"] > 0].groupby("query_id").size().reindex(asked, fill_value=0)
    answered = asked.isin(run["query_id"])
    if not answered.any():
        first = "".join(f"{q!r} is a query of the run, " for q in run["query_id"].iloc[:1])
        ids = f"{first}{asked[0]!r} one of {qrels}"
        raise ValueError(f"{path}: has no query in common with the qrels; {ids}")
    values = {short_name(str(m)): pd.Series(0.0, asked) for m in wanted}
    for value in ir_measures_for("TREC files").iter_calc(wanted, relevant, run):
        values[short_name(str(value.measure))][value.query_id] = value.value
    _warn_of_missing(Path(path), answered, set(run["query_id"]) - set(asked))
    rows = pd.DataFrame({"query": asked} | {k: v.to_numpy() for k, v in values.items()})
    return rows.assign(positives=positives.to_numpy(), answered=answered)


def measures_wanted(ir_measures: Any, measures: Sequence[str]) -> list[Any]:
    if isinstance(measures, str) or not isinstance(measures, Iterable) or not list(measures):
        raise ValueError(f"measures={measures!r}: a list of measures is needed, as ['nDCG@10']")
    return [_measure(ir_measures, m) for m in measures]


def ir_measures_for(what: str) -> Any:
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


def trec_columns(path: Source, names: list[str], number: str, header: int = 0, sep: str = r"\s+") -> pd.DataFrame:
    """The columns of a TREC file, separated by blanks, below ``header`` lines; a ValueError names the file and line."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    _check_utf8(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a first line that is too long
            rows = pd.read_csv(
                path,
                sep=sep,
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
        if (odd := rows[column].str.contains(CONTROL)).any():
            first = int(np.argmax(odd))
            check_id(rows[column].iloc[first], f"{path}:{rows.index[first]}", column)
    if rows.empty:
        raise ValueError(f"{path}: the file is empty")
    return rows.assign(**{number: values})


def _check_utf8(path: Path) -> None:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                raw.decode()
            except UnicodeDecodeError as e:
                raise ValueError(f"{path}:{number}: byte {e.start} of the line is no UTF-8 ({e.reason})") from None


def _check_finite(rows: pd.DataFrame, path: Source, number: str) -> None:
    if not (finite := np.isfinite(rows[number])).all():
        line = rows.index[int(np.argmin(finite))]
        raise ValueError(f"{path}:{line}: {number} {rows.loc[line, number]} is not finite")


def _warn_of_ranks(path: Path, run: pd.DataFrame) -> None:
    """Warn where the scores, which order a run, decide nothing or another order than the column of ranks."""
    by = run.groupby("query_id")["score"]
    if by.size().max() > 1 and (by.max() == by.min()).all():
        warnings.warn(f"{path}: all scores of a query are equal, so the documents' names order it", ScoreWarning, 3)
        return
    ranks = pd.to_numeric(run["rank"], errors="coerce")
    if ranks.isna().any():
        line = run.index[int(np.argmax(ranks.isna()))]
        said = f"{path}:{line}: rank {run.loc[line, 'rank']!r:.40} is no number; the scores count"
        warnings.warn(said, ScoreWarning, stacklevel=3)
        return
    sheet = pd.DataFrame({"query": run["query_id"], "rank": ranks, "score": run["score"]})
    sheet = sheet.sort_values(["query", "rank", "score"], ascending=[True, True, False])
    before = sheet.shift(1)
    wrong = (sheet["query"] == before["query"]) & (sheet["rank"] > before["rank"]) & (sheet["score"] > before["score"])
    if wrong.any():
        many = sheet.loc[wrong, "query"].nunique()
        said = f"the ranks of {many} queries are not in the order of their scores, which counts"
        warnings.warn(f"{path}: {said}", ScoreWarning, stacklevel=3)


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
    if not isinstance(spelling, str):
        raise ValueError(f"measures={spelling!r}: allowed are ir-measures' names, as nDCG@10, or ndcg10")
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


def short_name(measure: str) -> str:
    """The name of a measure in the records, as ndcg10 for nDCG@10 or ndcg_at_10."""
    name, _, depth = measure.replace("_at_", "@").partition("@")
    return SHORT.get(name, name.lower()) + depth
