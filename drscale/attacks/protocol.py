"""Attack a collection by the papers' protocol, a thousand queries and nine documents each, and summarise the result.

Black-box attacks use a surrogate: a small encoder that is trained to order passages as the target does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch

from drscale.attacks.substitutes import Synonyms, swapped
from drscale.attacks.target import target
from drscale.attacks.words import STANDARD, Attack, attack_texts
from drscale.encoder import BiEncoder, Tokens, build, seed_for
from drscale.evaluate.entropy import Encode, checked, interval, relevant_rows
from drscale.evaluate.ranking import search, spare, without_own
from drscale.recipe import Recipe
from drscale.runs import Measure
from drscale.texts import Collection
from drscale.texts.collection import shuffled
from drscale.texts.tables import has_duplicates

DEPTH, RANGES = 1000, 9
TOP = 100  # the length of the top of the list, which attacks with hinges use
CLIMB = 100  # the climb in ranks for which summary gives the cost, cost100
COLUMNS = ("query", "passage", "range_low", "range_high", "rank_before", "rank_after")


@dataclass(frozen=True)
class Encoded:
    """Vectors of some of a collection's queries and of all its passages, computed once and used again.

    ``selves`` gives for each query the passage that is the query itself; it counts in no list
    (``Collection.own_rows``).
    """

    query_rows: np.ndarray
    queries: np.ndarray
    passages: np.ndarray
    selves: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The places of these query rows among the encoded ones."""
        places = np.searchsorted(self.query_rows, rows)
        if len(rows) and (places.max() >= len(self.query_rows) or (self.query_rows[places] != rows).any()):
            raise ValueError(
                "encoded: some of the attacked queries are missing; encode the same collection with the same seed"
            )
        return places


def within(collection: Collection, *others: Collection) -> Collection:
    """The same queries and judgements among more passages: a collection's own first, then those of ``others``.

    An attack on ranks 101 to 1,000 means little if the collection has only 1,000 passages; if a benchmark's training
    passages are added to its test set, these ranks are the top of many thousands. A passage whose text is already
    present is left out. If an added id is already used by a passage or a query, all ids of the added collection get its
    name in front.
    """
    passages = collection.passages
    for other in others:
        known = pc.is_in(other.passages["text"], value_set=passages["text"].combine_chunks())
        more = other.passages.filter(pc.invert(known))
        taken = [t.select(["id"]) for t in (passages, collection.queries)]
        if any(has_duplicates(pa.concat_tables([ids, more.select(["id"])])["id"]) for ids in taken):
            more = more.set_column(0, more.schema.field("id"), pc.binary_join_element_wise(other.name, more["id"], "/"))
        passages = pa.concat_tables([passages, more])
    if has_duplicates(passages["id"]):
        raise ValueError(
            f"within({collection.name}): two of the added collections have the same name and share passage ids"
        )
    every = (collection, *others)
    return Collection._trusted(
        name="+".join(c.name for c in every),
        queries=collection.queries,
        passages=passages,
        qrels=collection.qrels,
        language=collection.language,
        domain=collection.domain,
        synthetic=any(c.synthetic for c in every),
        versions={k: v for c in every for k, v in c.versions.items()},
    )


def encode_collection(
    model: BiEncoder | Encode,
    collection: Collection,
    *,
    encode_passages: Encode | None = None,
    n_queries: int | None = 1000,
    seed: int = 0,
) -> Encoded:
    """Encode a collection's passages and at most ``n_queries`` of its queries (None: all), drawn by the seed alone."""
    if n_queries is not None and n_queries < 1:
        raise ValueError(f"n_queries={n_queries}: at least 1, or None for all")
    aim = target(model, encode_passages)
    rows = np.unique(collection.pairs[0])
    rows = np.sort(rows[shuffled(len(rows), seed)[:n_queries]])
    asked = collection.queries["text"].take(rows).to_pylist()
    passages = collection.passages["text"].to_pylist()
    return Encoded(
        rows,
        checked(aim.encode_queries, asked, f"{collection.name}: encode(n_queries)"),
        checked(aim.encode_passages, passages, f"{collection.name}: encode(passages)"),
        collection.own_rows[rows],
    )


def rank_ranges(n_passages: int) -> list[tuple[int, int]]:
    """The nine ranges of ranks from which documents are drawn, both ends included: 101 to 200 ... 901 to 1000.

    For a collection of fewer than 1,000 passages, the whole list is cut into ten parts and the first part is left out.
    """
    depth = min(DEPTH, n_passages)
    if depth < 2 * (RANGES + 1):
        raise ValueError(
            f"a collection of {n_passages} n_passages: at least {2 * (RANGES + 1)} are needed for nine ranges"
        )
    cuts = [round(depth * i / (RANGES + 1)) for i in range(1, RANGES + 2)]
    return [(low + 1, high) for low, high in itertools.pairwise(cuts)]


def pick_documents(collection: Collection, encoded: Encoded, seed: int = 0) -> pd.DataFrame:
    """Draw for each query one document from each range of its ranks, never a relevant one.

    Columns ``query_row``, ``passage_row``, ``range_low``, ``range_high``. A range without a document that may be drawn
    is left out.
    """
    relevant = relevant_rows(*collection.pairs)[encoded.query_rows]
    bands = rank_ranges(len(collection.passages))
    scores, ranked = search(encoded.queries, encoded.passages, bands[-1][1] + spare(collection))
    _, ranked = without_own(collection.own_rows[encoded.query_rows], scores, ranked)
    rng = np.random.default_rng(seed)
    rows = []
    for i, row in enumerate(encoded.query_rows):
        draws = rng.random(len(bands))
        for (low, high), draw in zip(bands, draws, strict=True):
            band = ranked[i, low - 1 : high]
            band = band[~np.isin(band, relevant[i]) & (band >= 0)]
            if len(band):
                rows.append((int(row), int(band[int(draw * len(band))]), low, high))
    return pd.DataFrame(rows, columns=["query_row", "passage_row", "range_low", "range_high"])


def attack_collection(
    model: BiEncoder | Encode,
    collection: Collection,
    source: Synonyms | str,
    attack: Attack | str = STANDARD,
    *,
    encode_passages: Encode | None = None,
    n_queries: int | None = 1000,
    seed: int = 0,
    similarity: Encode | Literal["minilm"] | None = "minilm",
    surrogate: BiEncoder | None = None,
    encoded: Encoded | None = None,
    documents: pd.DataFrame | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Attack one document of each range of ranks for ``n_queries`` queries: one row for each query and document.

    Columns: ``query``, ``passage`` (ids), ``range_low``, ``range_high``, ``rank_before``, ``rank_after`` (1 is best;
    the list has all passages, and only this one changes), then those of :func:`words.attack_texts`. ``attack`` may be
    the name of a registered one. The same seed gives the same rows. ``encoded`` saves encoding the collection again;
    ``documents``, a table from :func:`pick_documents`, fixes which documents are attacked, for instance the same ones
    for several models. ``attrs`` hold the settings, the number of queries and the ranges; ``scaled`` is true if the
    collection was too small for the papers' own ranges.

    >>> import drscale as ds
    >>> from drscale.attacks import Attack, Given
    >>> from drscale.texts import oracle
    >>> docs = ds.collection("planted?pairs=30")
    >>> words = " ".join(docs.passages["text"].to_pylist()).split()
    >>> source, how = Given({word: words[:3] for word in words}), Attack("random", words=2, floor=None)
    >>> rows = ds.attack_collection(oracle(), docs, source, how, n_queries=2, similarity=None)
    >>> bool((rows["score_after"] >= rows["score_before"]).all())
    True
    """
    aim = target(model, encode_passages)
    held = encoded or encode_collection(
        model, collection, encode_passages=encode_passages, n_queries=n_queries, seed=seed
    )
    chosen = pick_documents(collection, held, seed) if documents is None else documents
    if not len(chosen):
        raise ValueError(f"{collection.name}: there is no document to attack")
    places, own = held.of(chosen["query_row"].to_numpy()), chosen["passage_row"].to_numpy()
    rivals = None
    if isinstance(attack, Attack) and attack.method == "hinge":
        rivals = search(held.queries, held.passages, TOP)[0][places]
    frame = attack_texts(
        aim.encoder or model,
        collection.queries["text"].take(chosen["query_row"].to_numpy()).to_pylist(),
        collection.passages["text"].take(own).to_pylist(),
        source,
        attack,
        encode_passages=encode_passages,
        similarity=similarity,
        surrogate=surrogate,
        rivals=rivals,
        progress=progress,
    )
    heads = {
        "query": collection.queries["id"].take(chosen["query_row"].to_numpy()).to_pylist(),
        "passage": collection.passages["id"].take(own).to_pylist(),
        "range_low": chosen["range_low"].to_numpy(),
        "range_high": chosen["range_high"].to_numpy(),
        **_ranked(held, places, own, frame),
    }
    rows = pd.concat([pd.DataFrame(heads), frame], axis=1)
    bands = rank_ranges(len(collection.passages))
    rows.attrs = {
        **frame.attrs,
        "collection": collection.name,
        "fingerprint": collection.fingerprint,
        "synthetic": collection.synthetic,
        "queries": len(held.query_rows),
        "ranges": [list(band) for band in bands],
        "scaled": bands[-1][1] < DEPTH,
        "seed": seed,
    }
    return rows


def _ranked(encoded: Encoded, places: np.ndarray, own: np.ndarray, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    before, after = ranks(encoded, places, own, frame["score_after"].to_numpy())
    return {"rank_before": before, "rank_after": np.where(frame["changed"], np.minimum(before, after), before)}


def within_budget(attacked: pd.DataFrame, words: int) -> pd.DataFrame:
    """The result of the same attack if it may swap at most ``words`` words, without attacking again.

    The search is greedy: a larger budget makes the same swaps first, with or without a floor, so the rows are those of
    an attack with that budget. Without a floor the shorter texts were not judged, and their similarity
    is missing.
    """
    asked = attacked.attrs["attack"]
    if "words" not in asked:
        raise ValueError(f"attacked: {asked['name']!r} is not an attack by words, so no words can be left out")
    if not 1 <= words <= asked["words"]:
        raise ValueError(f"words={words}: allowed are 1 to {asked['words']}, the most that the attack could swap")
    rows = []
    for row in attacked.to_dict("records"):
        kept = np.argsort(np.asarray(row["step_encodings"], dtype=np.int64), kind="stable")
        if len(kept) >= words:
            last, kept = kept[words - 1], np.sort(kept[:words])
            shorter = len(kept) < len(row["swaps"])
            row["score_after"], row["encodings"] = row["step_scores"][last], row["step_encodings"][last]
            judged = row["step_similarities"]
            row["similarity"] = row["similarity"] if not shorter else judged[last] if len(judged) else math.nan
            for name in ("swaps", "places", "step_scores", "step_similarities", "step_encodings"):
                row[name] = [row[name][k] for k in kept if len(row[name])]
            pairs = (str(swap).partition(" -> ") for swap in row["swaps"])
            swaps = [(at, old, new) for at, (old, _, new) in zip(row["places"], pairs, strict=True)]
            row["words_changed"], row["attacked"] = len(kept), swapped(row["original"], swaps)
        rows.append(row)
    frame = pd.DataFrame(rows, columns=attacked.columns).astype(attacked.dtypes)
    frame.attrs = {**attacked.attrs, "attack": {**asked, "words": words}}
    return frame


def reranked(attacked: pd.DataFrame, collection: Collection, encoded: Encoded) -> pd.DataFrame:
    """The same rows with their ranks counted again, for rows whose scores have changed (:func:`within_budget`)."""
    rows = [
        np.asarray(pc.index_in(pa.array(attacked[column]), value_set=table["id"].combine_chunks()))
        for column, table in (("query", collection.queries), ("passage", collection.passages))
    ]
    return attacked.assign(**_ranked(encoded, encoded.of(rows[0]), rows[1], attacked))


def ranks(encoded: Encoded, places: np.ndarray, own: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rank of each passage in its query's list, before the attack and with its score after; ties share the best."""
    old, new = np.empty(len(own), dtype=np.int64), np.empty(len(own), dtype=np.int64)
    step = max(1, 20_000_000 // len(encoded.passages))
    for at in range(0, len(own), step):
        rows = slice(at, at + step)
        wanted, place = np.unique(places[rows], return_inverse=True)
        scores = (encoded.queries[wanted] @ encoded.passages.T)[place]  # (block, passages)
        block = np.arange(len(scores))
        mine = scores[block, own[rows]].copy()
        scores[block, own[rows]] = -np.inf
        if encoded.selves is not None:
            same = encoded.selves[places[rows]]
            scores[block[same >= 0], same[same >= 0]] = -np.inf
        old[rows] = 1 + (scores > mine[:, None]).sum(1)
        new[rows] = 1 + (scores > np.asarray(after[rows], np.float32)[:, None]).sum(1)
    return old, new


def summary(attacked: pd.DataFrame, top: Sequence[int] = (10, 100), by: str | None = None) -> pd.DataFrame:
    """How well an attack went: each measure's mean with its 95% bootstrap interval over queries.

    ``success``: the share of documents that climbed; ``boosted``: ranks climbed, on average over all; ``top10``: the
    share that is among the first ten afterwards (before, none was there if the ranges begin lower), ``top100``: among
    the first hundred; ``changed``: the share that was changed at all; ``words_changed``, ``share_changed``: words
    swapped, and their share of the words read; ``similarity``; ``encodings``: number of texts that the model was asked
    about (a gradient does not count); ``cost100``: encodings for a climb of 100 ranks, 100 x all encodings / all ranks
    climbed, left out where nothing climbed. The bootstrap draws the documents of a query together. ``by`` names a
    column whose values are summarised separately, for instance ``range_low``.
    """
    if by is not None and by not in attacked:
        raise ValueError(f"by={by!r}: the rows have {', '.join(map(str, attacked.columns))}")
    groups = [("", attacked)] if by is None else list(attacked.groupby(by))
    rows = []
    for group, part in groups:
        for name, values in _outcomes(part, top).items():
            kept = pd.DataFrame({"query": part["query"].to_numpy(), "value": values}).dropna()
            if not len(kept):
                continue
            each = kept.groupby("query")["value"].agg(["mean", "size"])
            weight = each["size"].to_numpy(float)
            measure = interval({"": each["mean"].to_numpy(float)}, {"": weight})
            rows.append({**({} if by is None else {by: group}), "measure": name, **vars(measure)})
        if (cost := _cost(part)) is not None:
            rows.append({**({} if by is None else {by: group}), "measure": f"cost{CLIMB}", **vars(cost)})
    return pd.DataFrame(rows).rename(columns={"n": "queries"})


def _cost(part: pd.DataFrame) -> Measure | None:
    """Encodings for a climb of 100 ranks; its interval is the inverse of that of ranks per encoding.

    None if the encodings are not known, or if documents do not climb.
    """
    if part["encodings"].isna().any():
        return None
    climbed = (part["rank_before"] - part["rank_after"]).groupby(part["query"].to_numpy()).sum().to_numpy(float)
    asked = part["encodings"].groupby(part["query"].to_numpy()).sum().to_numpy(float)
    rate = interval({"": climbed / asked}, {"": asked})  # ranks per encoding
    if rate.mean <= 0:
        return None
    return Measure(CLIMB / rate.mean, CLIMB / rate.high, CLIMB / rate.low if rate.low > 0 else math.inf, rate.n)


def side_by_side(
    attacks: Mapping[str, pd.DataFrame], measures: Sequence[str] = ("success", "boosted", "top10")
) -> pd.DataFrame:
    """Several attacks as text: one row each, one column for each measure of :func:`summary` as "mean (low to high)".

    A measure that an attack lacks is left empty. To calculate with the numbers, use :func:`summary`.
    """
    rows = {}
    for name, attacked in attacks.items():
        known = [*_outcomes(attacked, (10, 100)), f"cost{CLIMB}"]
        if unknown := [m for m in measures if m not in known]:
            raise ValueError(f"measures={unknown[0]!r}: allowed are {', '.join(known)}")
        told = {row["measure"]: _interval_text(row) for _, row in summary(attacked).iterrows()}
        rows[name] = [told.get(m, "") for m in measures]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(measures))


def _interval_text(row: pd.Series) -> str:
    digits = next((d for d, end in ((3, 1), (2, 10), (1, 100)) if abs(row["mean"]) < end), 0)
    mean, low, high = (f"{row[c]:,.{digits}f}" for c in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def _outcomes(part: pd.DataFrame, top: Sequence[int]) -> dict[str, np.ndarray]:
    old, new = part["rank_before"].to_numpy(), part["rank_after"].to_numpy()
    found = {"success": new < old, "boosted": old - new}
    found |= {f"top{k}": new <= k for k in top}
    found |= {name: part[name].to_numpy() for name in ("changed", "words_changed")}
    found["share_changed"] = part["words_changed"].to_numpy() / np.maximum(part["words"].to_numpy(), 1)
    found |= {name: part[name].to_numpy() for name in ("similarity", "encodings")}
    return {name: np.asarray(values, dtype=float) for name, values in found.items()}


MARGIN = 1.0


@dataclass(frozen=True)
class Surrogate:
    """The encoder, and how often it orders two passages as the target does, on queries that it was not trained on."""

    encoder: BiEncoder
    agreement: Measure


def train_surrogate(
    collection: Collection,
    encoded: Encoded,
    *,
    rung: str = "L2H64",
    steps: int = 300,
    batch: int = 32,
    rate: float = 1e-3,
    depth: int = TOP,
    held_out: float = 0.1,
    seed: int = 0,
) -> Surrogate:
    """Train a small encoder on the target's rankings for a collection's encoded queries, and on nothing else of it.

    Each step draws ``batch`` queries and two passages for each: one of the target's first ``depth``, and one that it
    ranks lower. Half of the time the second comes from the same list, otherwise from anywhere. The loss is the margin
    ranking loss of the original attack, max(0, 1 - s(higher) + s(lower)). Only the order of the target's list is used,
    never a score.
    """
    if steps < 1 or batch < 1 or not 0 < held_out < 1 or not 2 <= depth <= len(collection.passages):
        raise ValueError(
            f"train_surrogate: steps={steps} and batch={batch} must be at least 1, held_out={held_out} in (0, 1), "
            f"depth={depth} between 2 and the {len(collection.passages)} passages"
        )
    count = len(encoded.query_rows)
    aside = max(1, round(held_out * count))
    if count - aside < 1:
        raise ValueError(f"train_surrogate: {count} queries are too few, at least 2 are needed")
    _, lists = search(encoded.queries, encoded.passages, depth)
    encoder = build(Recipe(rung=rung, seed=seed))
    asked = encoder.tokens(collection.queries["text"].take(encoded.query_rows).to_pylist(), "query")
    told = encoder.tokens(collection.passages["text"].to_pylist(), "passage")
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    taught, tested = order[aside:], order[:aside]
    optimiser = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=rate)
    encoder.train()
    torch.manual_seed(seed_for(seed, "surrogate"))
    for _ in range(steps):
        rows = rng.choice(taught, batch)
        high, low = _draw(rng, lists, rows, len(collection.passages))
        queries, passages = encoder(asked.rows(rows), told.rows(np.concatenate([high, low])))
        scores = (queries.repeat(2, 1) * passages).sum(-1)  # (2 * batch,)
        loss = torch.relu(MARGIN - scores[:batch] + scores[batch:]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    encoder.eval()
    return Surrogate(encoder, _agreement(encoder, asked, told, lists, tested, rng))


def _draw(
    rng: np.random.Generator, lists: np.ndarray, rows: np.ndarray, n_passages: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each query a passage of its list and a lower one, from the list if the random passage is itself in it."""
    depth = lists.shape[1]
    place = np.sort(np.stack([rng.choice(depth, 2, replace=False) for _ in rows]), axis=1)
    high, low = lists[rows, place[:, 0]], lists[rows, place[:, 1]]
    anywhere = rng.integers(0, n_passages, len(rows))
    outside = (lists[rows] != anywhere[:, None]).all(1) & (rng.random(len(rows)) < 0.5)
    return high, np.where(outside, anywhere, low)


def _agreement(
    encoder: BiEncoder, asked: Tokens, told: Tokens, lists: np.ndarray, tested: np.ndarray, rng: np.random.Generator
) -> Measure:
    """The share of pairs of passages in the lists of held-out queries that the encoder puts in the target's order."""
    queries = encoder.encode_all(asked, "query")[tested]
    passages = encoder.encode_all(told, "passage")
    scores = (queries[:, None, :] * passages[lists[tested]]).sum(-1)  # (queries, depth)
    place = np.sort(np.stack([rng.choice(lists.shape[1], 2, replace=False) for _ in range(200)]), axis=1)
    right = scores[:, place[:, 0]] > scores[:, place[:, 1]]
    return interval({"": right.mean(1)})
