"""Does a retriever follow instructions? p-MRR, swapped orders, and what is found with an instruction and without.

p-MRR compares a passage's rank o under the instruction that it answers with its rank n under a contradicting one, which
it does not answer: 1 - o / n where it fell, n / o - 1 where it rose or stayed, so 0 is a retriever that does not care
and 1 the most there can be. Definition and conventions (ties, passages not found) are those of MTEB for FollowIR.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from drscale.evaluate.ranking import ranking_metrics
from drscale.evaluate.retrievers import DEPTH, Retriever
from drscale.instructions.texts import TEMPLATES, Instructed, asked, collection, questions, triplets

Change = Callable[[list[str]], Sequence[str]]


def p_mrr(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far passages fell that a new instruction makes irrelevant, of each passage: between -1 and 1.

    ``before`` and ``after`` are ranks, counted from 1, under the old and the new instruction.
    """
    o, n = np.asarray(before, float), np.asarray(after, float)
    if o.shape != n.shape or (o < 1).any() or (n < 1).any():
        raise ValueError(f"p_mrr: before has shape {o.shape}, after {n.shape}; ranks of equal number, from 1")
    return np.where(o >= n, n / o - 1, 1 - o / n)


def ranks_of(scores: np.ndarray, rows: np.ndarray, wanted: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """The rank of one passage for each query, counted from 1.

    ``scores`` and ``rows`` (queries, depth) are a ranking, row -1 where nothing more was found; ``wanted`` (queries,)
    the passages' rows. Equal scores rank by id, the greater id first; a passage not found ranks behind all found ones.
    """
    order = np.empty(len(ids), np.int64)  # a passage's place when ids are sorted, the greatest first
    order[sorted(range(len(ids)), key=ids.__getitem__, reverse=True)] = np.arange(len(ids))
    found = rows >= 0
    here = found & (rows == wanted[:, None])
    own = np.where(here, scores, -np.inf).max(1)  # (queries,)
    ahead = scores > own[:, None]
    ahead |= (scores == own[:, None]) & (order[rows] < order[wanted][:, None])
    return np.where(here.any(1), 1 + (ahead & found).sum(1), found.sum(1) + 1)


def following(
    retriever: Retriever, part: Instructed, templates: tuple[str, ...] = TEMPLATES, seed: int = 0
) -> pd.DataFrame:
    """Ask every question that has a contradicting one under both instructions, and under none; a row a pair of them.

    Columns: model, query, need, home (whose summary the query is), package and other (asked for, and contradicting);
    rank, the right passage's, other_rank, the contradicting passage's, and plain_rank and plain_other_rank without an
    instruction; contradicted_rank and contradicted_other_rank under the contradicting one; pmrr of the right passage
    from one instruction to the other; right, the right passage stands above the other; swapped, it does, and the
    contradicting instruction turns them round. A question has a row for each package that contradicts it: take means of
    :func:`drscale.stats.bootstrap.by_question`.
    """
    rows = triplets(part, templates, seed)
    if rows.empty:
        raise ValueError("following: no need is answered by two packages, so nothing contradicts")
    ids = part.pool.passages["id"].to_pylist()
    place = {name: row for row, name in enumerate(ids)}
    right, other = (rows[c].map(place).to_numpy(np.int64) for c in ("passage", "other_passage"))
    frame = rows[["query", "need", "home", "package", "other"]].copy()
    frame.insert(0, "model", retriever.name)
    for name, told in (("", rows["told"]), ("contradicted_", rows["other_told"]), ("plain_", [""] * len(rows))):
        texts = [asked(text, words) for text, words in zip(rows["text"], told, strict=True)]
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        scores, found = retriever.rank(list(distinct), part.pool, len(ids))
        at = [distinct[text] for text in texts]
        frame[f"{name}rank"] = ranks_of(scores[at], found[at], right, ids)
        frame[f"{name}other_rank"] = ranks_of(scores[at], found[at], other, ids)
    frame["pmrr"] = p_mrr(frame["rank"].to_numpy(), frame["contradicted_rank"].to_numpy())
    frame["right"] = frame["rank"] < frame["other_rank"]
    frame["swapped"] = frame["right"] & (frame["contradicted_other_rank"] < frame["contradicted_rank"])
    return frame


def found(
    retriever: Retriever,
    part: Instructed,
    *,
    told: bool = True,
    change: Change | None = None,
    templates: tuple[str, ...] = TEMPLATES,
    seed: int = 0,
) -> pd.DataFrame:
    """Ask all questions, with their instructions or without, and measure what is found; a row a question.

    ``change`` perturbs the queries, which are given without their instructions and get them afterwards. Columns: model,
    dataset, query, need, home, package, told, changed (whether the query's text was), and the ranking metrics.
    """
    rows = questions(part, templates, seed)
    plain = rows["text"].tolist()
    texts = plain if change is None else list(change(plain))
    if len(texts) != len(plain) or not all(isinstance(t, str) and t for t in texts):
        raise ValueError(f"change: gave {len(texts)} texts for {len(plain)} queries; one text each is needed")
    worded = [asked(t, words if told else "") for t, words in zip(texts, rows["told"], strict=True)]
    asking = collection(part, rows, told=told)  # its passages are the pool's, in their order
    scores, places = retriever.rank(worded, part.pool, min(DEPTH, len(part.pool.passages)))
    metrics = ranking_metrics(asking, np.arange(len(rows)), scores, places)
    frame = rows[["query", "need", "home", "package"]].copy()
    frame.insert(0, "model", retriever.name)
    frame.insert(1, "dataset", asking.name)
    frame["told"] = told
    frame["changed"] = [a != b for a, b in zip(texts, plain, strict=True)]
    return pd.concat([frame, metrics], axis=1)
