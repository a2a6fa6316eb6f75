"""Supervision by teachers: each query's positive and negative come from their ranked lists. Loads no torch by itself.

After Lin et al., How to Train Your DRAGON (2023), Section 3.2 and A.1. A query's positive is drawn from the first
``top`` passages of a teacher's list, its negative from ranks 46 to 50; all contexts of a batch, positives and negatives
of all its queries, are one pool. As in the original, a passage that a teacher ranks high for one query may be another's
negative there; nothing of the pool is masked but a second copy of the query's own positive.
=============== ====================================================================================================
variant         which list
=============== ====================================================================================================
``progressive`` in part t of the run's ``iterations`` one of the first t teachers, each as likely
``uniform``     one of all teachers, each as likely, from the first step on
``fused``       one list, by the sum of the teachers' scores, each list's scaled to 0 to 1
``soft``        the fused list, and its scores as soft labels of what it lists (the paper's negative control)
=============== ====================================================================================================
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from drscale.recipe import Recipe, part_of
from drscale.texts import Collection

if TYPE_CHECKING:
    from torch import Tensor

    from drscale.training.batches import Batch
    from drscale.training.prepare import Ready
    from drscale.training.strategies import Strategy, Views

DEPTH = 50  # passages in a teacher's list
NEGATIVES = (46, 50)  # the ranks that negatives are drawn from, the first and the last, counted from 1
STREAM = 7  # of the random numbers that belong to a seed, beside those of the other draws
CUT = 10  # the rank that accuracy looks down to, as RR@10 does


@dataclass(frozen=True)
class Ranked:
    """A list for each query: passage rows (queries, depth), best first, padded with -1, and their scores."""

    rows: np.ndarray
    scores: np.ndarray
    seconds: float = 0.0


def supervised(r: Ready) -> Strategy:
    """Make ready for training on teachers' labels, as the recipe's ``teachers``, ``variant`` and ``top`` say."""
    from drscale.training.strategies import Strategy

    check_teachers(r.recipe)
    names = teacher_names(r.recipe.teachers)
    lists = [ranked(name, r.collection, refresh=r.refresh) for name in names]
    one = r.recipe.variant in ("fused", "soft")
    for name, each in zip(names, lists, strict=True):
        _tell_short(name, each)
    used = [fuse(lists)] if one else lists
    digest = hashlib.sha256(b"".join(part.tobytes() for each in used for part in (each.rows, each.scores)))
    listed = np.stack([(each.rows >= 0).sum(1) for each in used])
    cost = {
        "teachers_seconds": sum(each.seconds for each in lists),
        "short_lists": float((listed < DEPTH).sum()),
        "unusable_lists": float((listed < 2).sum()),
    }
    return Strategy(
        r.recipe,
        r.pairs,
        with_labels(r.recipe, used, [r.recipe.variant] if one else names),
        mark=digest.hexdigest()[:24],
        notes={
            "teachers": f"{r.recipe.teachers}; negatives from ranks {NEGATIVES[0]} to {NEGATIVES[1]}; "
            f"lists {digest.hexdigest()[:12]}"
        },
        cost=cost,
        natural=soft_loss(used[0], len(r.collection.passages)) if r.recipe.variant == "soft" else None,
        joins=True,
    )


def _tell_short(teacher: str, lists: Ranked) -> None:
    """Warn of a teacher whose lists end before the ranks of the negatives; a list of less than two is told apart."""
    from drscale.evaluate.lists import LabelWarning

    listed = (lists.rows >= 0).sum(1)
    short = (listed >= 2) & (listed < NEGATIVES[1])
    if short.any():
        warnings.warn(
            f"teachers: {teacher} lists fewer than {NEGATIVES[1]} passages for {short.sum():,} of {len(listed):,} "
            f"queries (the shortest list has {listed[short].min()}); the last tenth of such a list are its negatives, "
            f"in place of ranks {NEGATIVES[0]} to {NEGATIVES[1]}",
            LabelWarning,
            stacklevel=3,
        )


def check_teachers(recipe: Recipe, files: bool = True) -> None:
    """Refuse a recipe whose teachers are unknown, too few or too many for its supervision, or lack their files."""
    names = teacher_names(recipe.teachers)
    if not names:
        raise ValueError("teachers='': this strategy takes its labels from teachers, as in teachers='bm25+minilm'")
    for name in names:
        row = _teachers().teacher_row(name)  # an unknown name is a ValueError that names the known ones
        if files and row is not None and row.wheel and find_spec(row.wheel) is None:
            raise ValueError(f"teachers={recipe.teachers!r}: {name} needs a wheel: pip install {row.wheel}")
        kind, _, path = name.partition(":")
        if files and kind == "trec" and not Path(path).is_file():
            raise ValueError(f"teachers={recipe.teachers!r}: no such file {path}")
    if len(set(names)) < len(names):
        raise ValueError(f"teachers={recipe.teachers!r}: each teacher once")
    if recipe.variant == "progressive" and recipe.iterations != len(names):
        raise ValueError(
            f"iterations={recipe.iterations}: progressive supervision adds a teacher in each, so that "
            f"teachers={recipe.teachers!r} needs iterations={len(names)}"
        )
    if recipe.top >= NEGATIVES[0]:
        raise ValueError(f"top={recipe.top}: below {NEGATIVES[0]}, the rank where negatives begin")


def teacher_names(teachers: str) -> list[str]:
    """Split teachers that are joined by "+"; a "+" in the path of a run stays in it.

    >>> from drscale.labels.supervision import teacher_names
    >>> teacher_names("bm25+trec:lists/a+b.run+minilm")
    ['bm25', 'trec:lists/a+b.run', 'minilm']
    """
    names: list[str] = []
    for part in teachers.split("+") if teachers else []:
        if names and names[-1].startswith("trec:") and not _teachers().is_teacher(part):
            names[-1] += f"+{part}"
        else:
            names.append(part)
    return names


def ranked(teacher: str, collection: Collection, *, refresh: bool = False) -> Ranked:
    """A teacher's lists for all queries of a collection."""
    lists = _teachers().ranked_lists(teacher, collection, depth=DEPTH, refresh=refresh)
    return Ranked(np.asarray(lists.rows), np.asarray(lists.scores, dtype=np.float32), float(lists.seconds))


def _teachers() -> Any:
    return importlib.import_module("drscale.labels.teachers")


def fuse(lists: Sequence[Ranked], depth: int = DEPTH) -> Ranked:
    """Make one list of several: by the sum of their scores, each list's scaled to 0 to 1 (min-max).

    What a list lacks has 0 there, like its last; of equal sums the lower row comes first. Scores are the sums.
    """
    count = len(lists[0].rows)
    width = 1 + max(int(each.rows.max()) for each in lists)
    keys, values = [], []
    for each in lists:
        listed = each.rows >= 0
        if not listed.any():
            continue
        low = np.where(listed, each.scores, np.inf).min(1, keepdims=True)
        low = np.where(np.isfinite(low), low, 0.0)  # of a list without passages
        span = np.where(listed, each.scores, -np.inf).max(1, keepdims=True) - low
        scaled = np.where(span > 0, (each.scores - low) / np.where(span > 0, span, 1), 1.0)
        keys.append((np.arange(count)[:, None] * width + each.rows)[listed])
        values.append(scaled[listed])
    if not keys:
        raise ValueError("teachers: none of them lists a passage for any query")
    found, at = np.unique(np.concatenate(keys), return_inverse=True)
    sums = np.bincount(at, np.concatenate(values))
    query, row = np.divmod(found, width)
    order = np.lexsort((row, -sums, query))
    rank = _ranks(query[order])
    kept = rank < depth
    rows, scores = np.full((count, depth), -1, np.int32), np.zeros((count, depth), np.float32)
    rows[query[order][kept], rank[kept]] = row[order][kept]
    scores[query[order][kept], rank[kept]] = sums[order][kept]
    return Ranked(rows, scores, sum(each.seconds for each in lists))


def _ranks(groups: np.ndarray) -> np.ndarray:
    """The place of each element in its group, from 0; groups stand together."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.append(starts, len(groups))))


def places(rows: np.ndarray, top: int, ranks: tuple[int, int] = NEGATIVES) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Say of each list how many positives it has, the place of its first negative and how many negatives it has.

    Of a list that ends before the last of ``ranks`` the last tenth, rounded up, are negatives, and positives end where
    negatives begin.
    """
    length = (rows >= 0).sum(1)
    whole = length >= ranks[1]
    last = np.where(whole, ranks[1], length)
    first = np.where(whole, ranks[0] - 1, length - -(-length // 10))
    return np.minimum(top, first), first, last - first


def with_labels(
    recipe: Recipe, lists: Sequence[Ranked], names: Sequence[str], *, ranks: tuple[int, int] = NEGATIVES
) -> Callable[[Batch, int], Batch]:
    """Put each query's positive and negative from one of these lists into a batch; ``names`` are the lists'.

    The draws depend on the seed and the step alone: which list, which of its first ``recipe.top`` passages, and which
    of those at ``ranks`` (counted from 1, both ends in). A teacher that lists fewer than two passages for a query has
    no part in it; where none so far has two, the next one on the trajectory that has takes its place. A query for which
    no teacher has two is not trained on.
    """
    limits = [places(each.rows, recipe.top, ranks) for each in lists]
    rows = np.stack([each.rows for each in lists])  # (lists, queries, depth)
    positives, first, negatives = (np.stack(part) for part in zip(*limits, strict=True))  # (lists, queries)
    usable = (positives > 0) & (negatives > 0)
    labelled = np.flatnonzero(usable.any(0))
    if not len(labelled):
        raise ValueError(f"teachers: {'+'.join(names)} lists fewer than two passages for every query")
    # A query without labels gives its place in a batch to the next one that has some.
    stand_in = labelled[np.searchsorted(labelled, np.arange(usable.shape[1])) % len(labelled)]

    def touch(batch: Batch, step: int) -> Batch:
        count, asked = len(lists), stand_in[batch.queries]
        if recipe.variant == "progressive":
            count = min(count, 1 + part_of(recipe, step)[0])
        drawn = np.random.default_rng([recipe.seed, STREAM, step]).random((3, len(asked)))
        can = usable[:count, asked]  # (lists, batch)
        nth = np.cumsum(can, axis=0) > (drawn[0] * can.sum(0)).astype(int)
        which = np.where(can.any(0), nth.argmax(0), usable[:, asked].argmax(0))
        at = which, asked
        own = rows[*at, (drawn[1] * positives[at]).astype(int)].astype(np.int64)
        other = rows[*at, first[at] + (drawn[2] * negatives[at]).astype(int)].astype(np.int64)
        touched = np.arange(len(own))
        return replace(batch, queries=asked, positives=own, others=other, touched=touched, relevant=own[:, None])

    return touch


def soft_loss(labels: Ranked, n_passages: int) -> Callable[[Views, Batch], Tensor]:
    """Each query's KL divergence of the student's distribution over its pool from the teachers', in nats.

    The teachers' is the softmax of the fused scores over what of the pool stands in the query's list, its positive and
    its negative among it; the rest of the pool has no part in it. The student's is over the whole pool.
    """
    import torch

    from drscale.losses import divergence

    listed = labels.rows >= 0
    keys = (np.arange(len(labels.rows))[:, None] * n_passages + labels.rows)[listed]
    order = np.argsort(keys)
    keys, values = keys[order], labels.scores[listed][order]

    def loss(v: Views, batch: Batch) -> Tensor:
        shared = np.concatenate([batch.negatives, batch.others])
        beside = np.broadcast_to(shared, (len(batch.queries), len(shared)))
        own = batch.positives
        pool = own[:, None] if v.pool == "shared" else np.broadcast_to(own, (len(own), len(own)))
        asked = batch.queries[:, None] * n_passages + np.concatenate([pool, beside], axis=1)  # (batch, pool)
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        soft = np.where(keys[at] == asked, values[at], -np.inf).astype(np.float32)
        teacher = torch.as_tensor(soft, device=v.scores.device)
        return divergence(teacher.masked_fill(v.scores == float("-inf"), float("-inf")), v.scores)

    return loss


def supervision_quality(collection: Collection, teachers: str | Sequence[str], top: int = 10) -> pd.DataFrame:
    """Measure the accuracy and the diversity of supervision, as in A.2 and Table 9 of the DRAGON paper.

    A row a set of teachers: each alone, the first t of them together (what progressive supervision draws from in
    iteration t, and uniform supervision always from all), and the fused list. ``teachers`` are joined by "+" or a list,
    in the order of the trajectory. Each list's first ``top`` passages are positives; those of a set are ranked by the
    probability of being drawn, and where it is equal by the sum of their reciprocal ranks. Against the collection's own
    labels that ranking has

    - ``accuracy``: RR@10, the mean reciprocal rank of the first relevant passage, 0 beyond rank 10;
    - ``first`` and ``found``: the share of queries with a relevant passage in front, and anywhere among the positives;
    - ``diversity``: different positives a query, the paper's "Avg. # rel", with its standard error over queries, and
      ``relevant`` how many of them are so by the collection's labels.

    >>> import drscale as ds
    >>> from drscale.labels import supervision_quality
    >>> docs = ds.benchmark("planted?pairs=300").test
    >>> supervision_quality(docs, "bm25+minilm")  # doctest: +SKIP
    """
    names = teacher_names(teachers) if isinstance(teachers, str) else list(teachers)
    if not names or not all(names):
        raise ValueError(f"teachers={teachers!r}: names joined by '+', or a list of names")
    if not 1 <= top < NEGATIVES[0]:
        raise ValueError(f"top={top}: at least 1 and below {NEGATIVES[0]}, the rank where negatives begin")
    lists = [ranked(name, collection) for name in names]
    sets = [("single", name, [each]) for name, each in zip(names, lists, strict=True)]
    sets += [("union", "+".join(names[:t]), lists[:t]) for t in range(2, len(names) + 1)]
    sets += [("fused", "+".join(names), [fuse(lists)])] if len(names) > 1 else []
    rows = [{"set": kind, "teachers": of, **_quality(collection, members, top)} for kind, of, members in sets]
    return pd.DataFrame(rows)


def _quality(collection: Collection, lists: Sequence[Ranked], top: int) -> dict[str, float]:
    asked, answer = collection.pairs
    width = len(collection.passages)
    keys, chance, reciprocal = [], [], []
    for each in lists:
        rank = np.broadcast_to(np.arange(each.rows.shape[1]), each.rows.shape)
        kept = (rank < top) & (each.rows >= 0)
        positives = kept.sum(1)
        keys.append((np.arange(len(each.rows))[:, None] * width + each.rows)[kept])
        chance.append(np.repeat(1 / np.maximum(positives, 1) / len(lists), positives))
        reciprocal.append(1 / (1 + rank[kept]))
    if not keys:
        raise ValueError("teachers: none of them lists a passage for any query")
    found, at = np.unique(np.concatenate(keys), return_inverse=True)
    drawn = np.bincount(at, np.concatenate(chance)).round(9)
    tie = np.bincount(at, np.concatenate(reciprocal)).round(9)
    query = found // width
    order = np.lexsort((found, -tie, -drawn, query))
    relevant = np.isin(found[order], asked * width + answer)
    rank, query = 1 + _ranks(query[order]), query[order]
    judged = np.unique(asked)
    best = np.full(len(collection.queries), np.inf)
    np.minimum.at(best, query[relevant], rank[relevant])
    own = best[judged]
    mine = np.isin(query, judged)
    own_positives = np.bincount(query, minlength=len(best))[judged]
    return {
        "accuracy": float(np.where(own <= CUT, 1 / own, 0.0).mean()),
        "first": float((own == 1).mean()),
        "found": float(np.isfinite(own).mean()),
        "diversity": float(own_positives.mean()),
        "diversity_error": float(own_positives.std(ddof=1) / np.sqrt(len(judged))) if len(judged) > 1 else np.nan,
        "relevant": float((relevant & mine).sum() / len(judged)),
        "queries": len(judged),
    }
