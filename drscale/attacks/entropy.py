"""Contrastive entropy and ranking under attack: clean and attacked on the same documents, first per query."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch

from drscale.attacks.protocol import (
    Encoded,
    attack_collection,
    encode_collection,
    pick_documents,
    rank_ranges,
    reranked,
    summary,
    within,
    within_budget,
)
from drscale.attacks.registry import WORDS, check_attack
from drscale.attacks.substitutes import Synonyms, synonyms
from drscale.attacks.words import STANDARD, Attack, Method
from drscale.encoder import BiEncoder
from drscale.evaluate.entropy import (
    COLUMNS,
    NEGATIVES,
    REPEATS,
    Encode,
    entropies,
    interval,
    means,
    negative_scores,
    negative_table,
)
from drscale.evaluate.ranking import METRICS, ranking_metrics, spare
from drscale.runs import Found, Measure
from drscale.texts import Collection

Reading = Literal["filled", "alone", "replaced"]
SCOPE, DEPTH = "adversarial", 100
PROBE = Attack(floor=None)  # no floor: measuring how similar texts are would take several times as long as the attack
PROBED: dict[str, Reading] = {SCOPE: "filled", f"{SCOPE}:alone": "alone"}
# What a record keeps of study.summary.
TOLD = ("success", "boosted", "top10", "top100", "changed", "words_changed", "encodings", "cost100")
BUDGET = ("success", "boosted", "top10", "top100", "words_changed", "similarity", "encodings", "cost100")


def adversarial_entropy(
    attacked: pd.DataFrame,
    collection: Collection,
    encoded: Encoded,
    *,
    reading: Reading = "alone",
    temperature: float = 1.0,
    negatives: int = NEGATIVES,
    repeats: int = REPEATS,
    seed: int = 1,
) -> pd.DataFrame:
    """Score the queries of attacked documents, with the documents before and after the attack: two rows for each query.

    ``reading`` names the pool:

    - ``alone``: the positive among the attacked documents only; with nine of them chance is ln 10 = 2.303. The default,
      as it is what the papers say to the letter: "the contrastive entropy under the attacked list with 9 adversarial
      examples and its query".
    - ``filled``: the positive among the query's attacked documents and random negatives, ``negatives`` in all. Its pool
      is as large as that of the entropies in and out of domain and chance is the same ln 257, but the random negatives
      rule it: over 65 runs it correlates .993 with in-domain entropy and the attack adds .06 nats. A front or a law of
      it against in-domain entropy has nearly the same quantity on both axes.
    - ``replaced``: the negatives that are always used, an attacked document standing where its original was drawn. The
      larger the collection, the fewer are drawn, and the less an attack can show.

    Both rows of a query differ only in the documents' texts, so their difference is the effect of the attack. The
    ranking metrics are of the whole collection in which only the query's documents are replaced. Columns are those of a
    run's per-query rows: ``query``, ``positives``, ``entropy``, ``calibrated`` (nats), metrics, ``scope``
    ("adversarial"), ``condition`` ("clean" or "attacked"). The reading is in ``attrs``.
    """
    if reading not in get_args(Reading):
        raise ValueError(f"reading={reading!r}: allowed are {', '.join(get_args(Reading))}")
    query_rows, documents, before, after = _by_query(attacked, collection)
    places = encoded.of(query_rows)
    pair_query, pair_passage = collection.pairs
    kept = np.isin(pair_query, query_rows)
    pair_query, pair_passage = pair_query[kept], pair_passage[kept]
    owner = np.searchsorted(query_rows, pair_query)  # the position of each pair's query among the attacked ones
    most = documents.shape[1]
    if negatives < most:
        raise ValueError(f"negatives={negatives}: fewer than the {most} attacked documents of a query")
    count, times = (most, 1) if reading == "alone" else (negatives, repeats)
    table = negative_table(collection, negatives=count, repeats=times, seed=seed)[kept]
    pools = negative_scores(encoded.queries[places][owner], encoded.passages, pair_passage, table)
    columns = _columns(table, documents[owner], reading, seed)
    frames = []
    for condition, scores in (("clean", before), ("attacked", after)):
        mine = _pools(pools, columns, scores[owner], reading)
        values = {"entropy": entropies(mine), "calibrated": entropies(mine, temperature)}
        grouped = pd.DataFrame({"row": pair_query, **values}).groupby("row")
        frame = grouped.mean().reset_index(drop=True)
        frame.insert(0, "query", collection.queries["id"].take(query_rows).to_pylist())
        frame.insert(1, "positives", grouped.size().to_numpy())
        ranked = _ranking(collection, encoded, query_rows, places, documents, scores)
        frames.append(pd.concat([frame, ranked], axis=1).assign(scope=SCOPE, condition=condition))
    narrow = dict.fromkeys(COLUMNS, np.float32) | {"positives": np.int32}
    rows = pd.concat(frames, ignore_index=True).astype(narrow)
    rows.attrs = {"reading": reading, "negatives": count, "repeats": times}
    return rows


def _by_query(attacked: pd.DataFrame, collection: Collection) -> tuple[np.ndarray, ...]:
    """Query rows, and for each its documents' rows and scores, padded with -1 and NaN."""
    needed = {"query", "passage", "score_before", "score_after"}
    if needed - set(attacked) or not len(attacked):
        raise ValueError(f"attacked: needs rows with {', '.join(sorted(needed))}, as attack_collection makes them")
    asked, own = _places(attacked["query"], collection, "queries"), _places(attacked["passage"], collection, "passages")
    query_rows, owner = np.unique(asked, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner)
    column = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    documents = np.full((len(query_rows), int(sizes.max())), -1, dtype=np.int64)
    documents[owner[order], column] = own[order]
    scores = []
    for name in ("score_before", "score_after"):
        values = np.full(documents.shape, np.nan, dtype=np.float32)
        values[owner[order], column] = attacked[name].to_numpy(np.float32)[order]
        scores.append(values)
    return query_rows, documents, *scores


def _places(ids: pd.Series, collection: Collection, table: str) -> np.ndarray:
    known = getattr(collection, table)["id"]
    place = pd.Series(np.arange(len(known)), index=known.to_pandas())
    found = place.reindex(ids.to_numpy())
    if found.isna().any():
        raise ValueError(
            f"attacked: {ids[found.isna().to_numpy()].iloc[0]!r} is not among the {table} of {collection.name}"
        )
    rows: np.ndarray = found.to_numpy().astype(np.int64)
    return rows


def _columns(table: np.ndarray, documents: np.ndarray, reading: str, seed: int) -> np.ndarray:
    """The position of each document in each pool, -1 if it is not there: (pairs, repeats, documents)."""
    pairs, repeats, negatives = table.shape
    found = np.full((pairs, repeats, documents.shape[1]), -1, dtype=np.int64)
    for i in range(pairs):
        own = documents[i]
        hit = table[i][:, :, None] == np.where(own < 0, -2, own)  # (repeats, negatives, documents)
        drawn = hit.any(1)
        found[i][drawn] = hit.argmax(1)[drawn]
        if reading == "replaced":
            continue
        # The others take the places of negatives drawn at random, never of one of the documents.
        keys = np.random.default_rng([seed, i]).random((repeats, negatives))
        keys[hit.any(2)] = 2.0
        free = np.argsort(keys, axis=1)
        for r in range(repeats):
            missing = np.flatnonzero((own >= 0) & ~drawn[r])
            found[i, r, missing] = free[r, : len(missing)]
    return found


def _pools(pools: torch.Tensor, columns: np.ndarray, scores: np.ndarray, reading: str) -> torch.Tensor:
    """The pools with the documents' scores at their positions; with ``alone`` everything else is removed."""
    made = pools.clone()
    if reading == "alone":
        made[..., 1:] = -torch.inf
    pair, repeat, document = np.nonzero(columns >= 0)
    at = torch.from_numpy(columns[pair, repeat, document] + 1)
    made[torch.from_numpy(pair), torch.from_numpy(repeat), at] = torch.from_numpy(scores[pair, document])
    return made


def _ranking(
    collection: Collection,
    encoded: Encoded,
    query_rows: np.ndarray,
    places: np.ndarray,
    documents: np.ndarray,
    scores: np.ndarray,
) -> pd.DataFrame:
    """The ranking metrics of each query if its documents have these scores."""
    depth = min(DEPTH + spare(collection), len(encoded.passages))
    best, rows = np.empty((len(places), depth), np.float32), np.empty((len(places), depth), np.int64)
    step = max(1, 20_000_000 // len(encoded.passages))
    for at in range(0, len(places), step):
        block = slice(at, at + step)
        every = encoded.queries[places[block]] @ encoded.passages.T  # (block, passages)
        query, column = np.nonzero(documents[block] >= 0)
        every[query, documents[block][query, column]] = scores[block][query, column]
        top = np.argpartition(-every, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(every, top, 1), axis=1, kind="stable")
        rows[block] = np.take_along_axis(top, order, 1)
        best[block] = np.take_along_axis(every, rows[block], 1)
    return ranking_metrics(collection, query_rows, best, rows)[list(METRICS)]


def under_attack(
    model: BiEncoder | Encode,
    collection: Collection,
    source: Synonyms | str,
    attack: Attack | str = STANDARD,
    *,
    encode_passages: Encode | None = None,
    n_queries: int | None = 1000,
    seed: int = 0,
    temperature: float = 1.0,
    reading: Reading = "alone",
    **options: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attack a collection and score it: the per-query rows, and the attacked documents; everything is encoded once.

    ``options`` go to :func:`attack_collection`. For an attack among more passages than the collection's own, use
    ``within(collection, *others)``.
    """
    held = encode_collection(model, collection, encode_passages=encode_passages, n_queries=n_queries, seed=seed)
    attacked = attack_collection(
        model, collection, source, attack, encode_passages=encode_passages, seed=seed, encoded=held, **options
    )
    return adversarial_entropy(attacked, collection, held, reading=reading, temperature=temperature), attacked


def measures(
    rows: pd.DataFrame, attacked: pd.DataFrame | None = None, scope: str = SCOPE
) -> dict[str, dict[str, Measure]]:
    """The part for a record: a scope of the attacked queries, ``:clean`` for the same before, metrics with intervals.

    If the attacked documents are given, the first scope also has the summary of the attack (:func:`summary`). A
    measure without a finite interval, such as the cost of an attack that lifts hardly any document, is left out.
    """
    parts = {c: rows[rows["condition"] == c].reset_index(drop=True) for c in ("attacked", "clean")}
    went = {}
    if attacked is not None:
        told = summary(attacked).set_index("measure").to_dict("index")
        known = {n: m for n in TOLD if (m := told.get(n)) and math.isfinite(m["high"])}
        went = {n: Measure(m["mean"], m["low"], m["high"], m["queries"]) for n, m in known.items()}
    return {scope: means({scope: parts["attacked"]}) | went, f"{scope}:clean": means({scope: parts["clean"]})}


def check_probe(collection: Collection, n_queries: int, source: str, attack: str = WORDS) -> None:
    """Raise a ValueError if :func:`probe` cannot work, before a model is trained."""
    asked = len(np.unique(collection.pairs[0]))
    if n_queries > asked:
        raise ValueError(f"attacked={n_queries}: {collection.name} has {asked} queries")
    rank_ranges(len(collection.passages))
    synonyms(source)
    check_attack(attack)


def probe(
    model: BiEncoder,
    collection: Collection,
    n_queries: int,
    source: str,
    temperature: float = 1.0,
    *,
    beside: Sequence[Collection] = (),
    attack: str = WORDS,
) -> Found:
    """Attack a trained model like every run of a study: white-box, by :data:`PROBE`, on ``n_queries`` queries.

    ``attack`` names another registered attack.

    The queries are the same for every model; the documents are those that the model itself ranks in each range, among
    the passages of the collection and of the collections ``beside`` it. The scope ``adversarial:alone`` is the primary
    measure, the entropy among the attacked documents only; ``adversarial`` has the reading ``filled`` and the summary
    of the attack. The note names the attack, the substitutes and the number of passages.
    """
    substitutes = synonyms(source)
    collection = within(collection, *beside) if beside else collection
    held = encode_collection(model, collection, n_queries=n_queries)
    by: Attack | str = PROBE if attack == WORDS else attack
    attacked = attack_collection(model, collection, substitutes, by, encoded=held, similarity=None)
    found: dict[str, dict[str, Measure]] = {}
    parts = []
    for scope, reading in PROBED.items():
        rows = adversarial_entropy(attacked, collection, held, reading=reading, temperature=temperature)
        found |= measures(rows, attacked if scope == SCOPE else None, scope)
        parts.append(rows.assign(scope=rows["condition"].map({"attacked": scope, "clean": f"{scope}:clean"})))
    note = f"{by}; substitutes {substitutes.source}"
    note += f"; among the {len(collection.passages):,} passages of {collection.name}" if beside else ""
    return Found(found, pd.concat(parts, ignore_index=True), note)


def budget_curve(
    model: BiEncoder | Encode,
    collection: Collection,
    source: Synonyms | str,
    *,
    words: Sequence[int] = (1, 2, 5, 10, 20),
    floors: Sequence[float | None] = (None, 0.8),
    methods: Sequence[Method] = ("gradient",),
    n_queries: int | None = 100,
    seed: int = 0,
    temperature: float = 1.0,
    encode_passages: Encode | None = None,
    similarity: Encode | Literal["minilm"] | None = "minilm",
    encoded: Encoded | None = None,
    documents: pd.DataFrame | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Attack the same documents with more and more words, and several floors and methods, to distinguish models.

    For each method and floor, one attack with the largest number of words gives the results for all smaller numbers
    (:func:`within_budget`). There is one row for each method, floor ("none" or its number), number of words and
    measure, with ``mean``, ``low``, ``high`` (95%, bootstrap over queries) and ``n_queries``. Measures are those of
    :func:`summary` and the entropies of the positive among the attacked documents alone: ``entropy:clean``,
    ``entropy`` (attacked) and ``damage``, their difference (nats; calibrated by ``temperature``). ``surrogate=`` is
    needed for the method ``surrogate``. ``similarity`` is used for the floors only.
    """
    if not words or min(words) < 1:
        raise ValueError(f"words={tuple(words)}: at least one number, each at least 1")
    held = encoded or encode_collection(
        model, collection, encode_passages=encode_passages, n_queries=n_queries, seed=seed
    )
    chosen = pick_documents(collection, held, seed) if documents is None else documents
    tables = []
    for method, floor in itertools.product(methods, floors):
        made = attack_collection(
            model,
            collection,
            source,
            Attack(method, words=max(words), floor=floor, seed=seed),
            encode_passages=encode_passages,
            similarity=None if floor is None else similarity,
            encoded=held,
            documents=chosen,
            seed=seed,
            **options,
        )
        for most in sorted(set(words)):
            rows = reranked(within_budget(made, most), collection, held)
            told = pd.concat([summary(rows).query("measure in @BUDGET"), _damage(rows, collection, held, temperature)])
            place: dict[str, str | int] = {
                "method": method,
                "floor": "none" if floor is None else f"{floor:g}",
                "words": most,
            }
            tables.append(told.assign(**place)[[*place, "measure", "mean", "low", "high", "queries"]])
    return pd.concat(tables, ignore_index=True)


def _damage(rows: pd.DataFrame, collection: Collection, encoded: Encoded, temperature: float) -> pd.DataFrame:
    """The entropies among the attacked documents alone, before and after, and their difference, with intervals."""
    scored = adversarial_entropy(rows, collection, encoded, temperature=temperature)
    before, after = (scored[scored["condition"] == c].reset_index(drop=True) for c in ("clean", "attacked"))
    old, new, weight = (f.to_numpy(float) for f in (before["calibrated"], after["calibrated"], before["positives"]))
    values = {"entropy:clean": old, "entropy": new, "damage": new - old}
    table = [{"measure": name, **vars(interval({"": v}, {"": weight}))} for name, v in values.items()]
    return pd.DataFrame(table).rename(columns={"n": "queries"})


def paired(rows: pd.DataFrame) -> pd.DataFrame:
    """Clean, attacked and their difference by query: one row for each metric, with the difference's 95% interval."""
    clean, attacked = (rows[rows["condition"] == c].set_index("query") for c in ("clean", "attacked"))
    twice = clean.index.has_duplicates or attacked.index.has_duplicates
    if set(clean.index) != set(attacked.index) or twice:
        raise ValueError("rows: every query needs one clean and one attacked row")
    attacked = attacked.loc[clean.index]
    found = []
    for metric in COLUMNS:
        entropy = metric in ("entropy", "calibrated")
        weight = clean["positives"].to_numpy(float) if entropy else np.ones(len(clean))
        old, new = clean[metric].to_numpy(float), attacked[metric].to_numpy(float)
        change, start = interval({"": new - old}, {"": weight}), float(np.average(old, weights=weight))
        found.append({"metric": metric, "clean": start, "attacked": start + change.mean, "change": change.mean})
        found[-1] |= {"low": change.low, "high": change.high, "queries": change.n}
    return pd.DataFrame(found)
