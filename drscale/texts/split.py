"""Compose collections into a benchmark whose training pairs share nothing with the parts it is measured on.

``describe`` and ``pair_table`` show texts as tables: pairs side by side, their lengths, the words they share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from drscale.texts.collection import Benchmark, Collection, joined, shuffled
from drscale.texts.near import WORD, Shingles, near_duplicates, normalised, shingled, spaced
from drscale.texts.tables import rows_at

SPLITTER = 4  # raise when the split of the same collections changes: it is part of cache keys
INSIDE = ("train", "validation", "test")
SHARED = 0.5  # the Jaccard similarity from which two texts count as the same


def compose(
    train: Collection | Sequence[Collection],
    ood: Mapping[str, Collection] | None = None,
    test: Collection | None = None,
    validation: Collection | None = None,
    *,
    name: str = "composed",
    test_pairs: int = 1000,
    validation_pairs: int = 500,
    near: float = SHARED,
    seed: int = 0,
) -> Benchmark:
    """Make a benchmark; a test or validation split that is not given is held out from the training pairs.

    Held-out pairs are drawn from each training collection in proportion to its size. A split that was drawn has its
    pairs' passages and, like training, all those that are relevant to no query: they are what a real collection is
    searched among, and where negatives come from. A given ``test`` and the domains ``ood`` are taken as they are.
    Training and validation lose every pair that is related to them (:func:`related`), and training those related to
    validation.

    >>> import drscale as ds
    >>> train, shifted = ds.collection("planted?pairs=300"), ds.collection("planted?pairs=50&domain=1")
    >>> from drscale.texts import compose
    >>> benchmark = compose(train, {"shifted": shifted}, test_pairs=40, validation_pairs=40)
    >>> len(benchmark.test), list(benchmark.ood)
    (40, ['shifted'])
    """
    sources = [train] if isinstance(train, Collection) else list(train)
    pool, outside = joined(name, sources), dict(ood or {})
    groups = np.repeat(np.arange(len(sources)), [len(c) for c in sources])
    free = np.ones(len(pool), bool)
    fixed = [*outside.values(), *([test] if test is not None else [])]
    mine = _facets([pool])
    if fixed:
        free &= ~_touching(mine, _facets(fixed), near)
    held = clashes = 0
    if test is None:
        drawn = _draw(free, groups, test_pairs, seed, f"{name}: test_pairs={test_pairs}")
        test = pool.select(drawn, beside=pool.unjudged)
        held = len(test)
        free &= ~_touching(mine, _facets([test]), near)
    if validation is None:
        wanted = f"{name}: validation_pairs={validation_pairs}"
        validation = pool.select(_draw(free, groups, validation_pairs, seed, wanted), beside=pool.unjudged)
        held += len(validation)
    else:
        clash = _touching(_facets([validation]), _facets([test, *outside.values()]), near)
        if clash.all():
            raise ValueError(f"{name}: every validation pair is related to the test or to a domain outside")
        clashes = int(clash.sum())
        if clashes:
            validation = validation.select(np.flatnonzero(~clash), beside=validation.unjudged)
    free &= ~_touching(mine, _facets([validation]), near)
    if not free.any():
        raise ValueError(f"{name}: no pair is left to train on once everything related to the other parts is out")
    parts = {"train": pool.select(np.flatnonzero(free), beside=pool.unjudged), "validation": validation, "test": test}
    return Benchmark(
        name,
        **{part: c.renamed(f"{name}/{part}") for part, c in parts.items()},
        ood={domain: c.renamed(f"{name}/{domain}", domain) for domain, c in outside.items()},
        left_out={"train": len(pool) - held - int(free.sum()), "validation": clashes},
    )


def split_sentence(benchmark: Benchmark) -> str:
    """Say how many pairs went where, and how many are left out because they touch what is measured.

    >>> import drscale as ds
    >>> from drscale.texts.split import split_sentence
    >>> split_sentence(ds.benchmark("planted?pairs=300"))
    'planted?pairs=300: 300 pairs to train, 300 to validation, 300 to test; outside: shift1 300, shift2 300, shift3 300'
    """
    inside = (benchmark.train, benchmark.validation, benchmark.test)
    parts = ", ".join(
        f"{len(c):,}{' pairs' * (i == 0)} to {n}" for i, (n, c) in enumerate(zip(INSIDE, inside, strict=True))
    )
    gone = {name: n for name, n in benchmark.left_out.items() if n}
    if benchmark.left_out:
        from_where = f" ({', '.join(f'{n:,} of {name}' for name, n in gone.items())})" if len(gone) > 1 else ""
        parts += f", {sum(gone.values()):,} left out as near-duplicates of what is measured{from_where}"
    outside = ", ".join(f"{name} {len(c):,}" for name, c in benchmark.ood.items())
    return f"{benchmark.name}: {parts}" + (f"; outside: {outside}" if outside else "")


def cut_sentence(benchmark: Benchmark, query_tokens: int, passage_tokens: int) -> str:
    """Say which share of training texts is surely cut, having more words than word pieces are read; "" below 5%.

    A word is at least one word piece, and in Chinese a character is, so more may be cut than is told. At most 10,000
    texts of a kind are counted, evenly spread.

    >>> import drscale as ds
    >>> from drscale.texts.split import cut_sentence
    >>> cut_sentence(ds.benchmark("planted?pairs=300"), 24, 4)
    'at least 100% of passages are longer than passage_tokens=4 word pieces, and are cut there'
    """
    said = []
    tables = {"query": (benchmark.train.queries, query_tokens), "passage": (benchmark.train.passages, passage_tokens)}
    for what, (table, most) in tables.items():
        count = len(table)
        texts = table["text"].take(np.unique(np.linspace(0, count - 1, min(count, 10_000)).astype(int)))
        if "zh" in (benchmark.train.language or ""):
            lengths = pc.count_substring_regex(texts, pattern=r"\p{Han}")
        else:
            lengths = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(texts)))
        share = pc.mean(pc.greater(lengths, most)).as_py() or 0.0
        if share >= 0.05:
            plural = {"query": "queries", "passage": "passages"}[what]
            said.append(
                f"at least {math.floor(100 * share)}% of {plural} are longer than {what}_tokens={most} word pieces"
            )
    return ", ".join(said) + ", and are cut there" if said else ""


def related(pairs: Collection, others: Collection, near: float = SHARED) -> np.ndarray:
    """Mark the pairs of one collection that share something with the pairs of another.

    Shared is an equal query (lower case, words only), a passage whose 4-word shingles have a Jaccard similarity of at
    least ``near``, or a query and passage that together do. In Chinese (a ``language`` with ``zh``) a character is a
    word. Returns a boolean for each pair.
    """
    return _touching(_facets([pairs]), _facets([others]), near)


@dataclass(frozen=True, eq=False)
class _Facets:
    """What pairs can share: the query, the passage (several pairs may have one), the two together."""

    queries: list[str]
    passage: np.ndarray  # of each pair, its row in ``passages``
    passages: Shingles
    together: Shingles


def _facets(collections: Sequence[Collection]) -> _Facets:
    queries: list[str] = []
    passages: list[str] = []
    for c in collections:
        queries += _worded(_texts(c.queries, c.pairs[0]), c.language)
        passages += _worded(_texts(c.passages, c.pairs[1]), c.language)
    rows = {passage: row for row, passage in enumerate(dict.fromkeys(passages))}
    return _Facets(
        [normalised(query) for query in queries],
        np.array([rows[passage] for passage in passages]),
        shingled(list(rows)),
        shingled([f"{query} {passage}" for query, passage in zip(queries, passages, strict=True)]),
    )


def _touching(mine: _Facets, others: _Facets, near: float) -> np.ndarray:
    asked = set(others.queries)
    found = np.array([query in asked for query in mine.queries])
    found |= np.isin(mine.passage, near_duplicates(mine.passages, others.passages, near)[:, 0])
    found[near_duplicates(mine.together, others.together, near)[:, 0]] = True
    return found


def _texts(table: pa.Table, rows: np.ndarray) -> list[str]:
    texts: list[str] = rows_at(table, rows)["text"].to_pylist()
    return texts


def _worded(texts: list[str], language: str) -> list[str]:
    """The texts with spaces between their words, which Chinese has not."""
    return [spaced(text) for text in texts] if "zh" in language else texts


def _draw(free: np.ndarray, groups: np.ndarray, wanted: int, seed: int, what: str) -> np.ndarray:
    """Choose free pairs, from each group in proportion to its size (largest remainders), in their order."""
    sizes = np.bincount(groups[free], minlength=int(groups.max()) + 1)
    if not 1 <= wanted < sizes.sum():
        raise ValueError(f"{what} must lie between 1 and {max(sizes.sum() - 1, 0):,}, the free pairs less one")
    exact = wanted * sizes / sizes.sum()
    shares = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: wanted - shares.sum()]] += 1
    order = shuffled(len(free), seed)
    order = order[free[order]]
    return np.sort(np.concatenate([order[groups[order] == g][:n] for g, n in enumerate(shares)]))


def pair_table(collection: Collection) -> pd.DataFrame:
    """A row for each pair: id, query, passage, their words, and the share of the query's words in a passage.

    ``overlap`` counts the query's distinct words that its own passage has, ``overlap_other`` those that the passage of
    another pair has (half the collection away), which is what two texts of this domain share anyway. A Chinese
    character counts as a word.
    """
    queries, passages = collection.pairs
    ids = rows_at(collection.queries, queries)["id"].to_pylist()
    asked, told = _texts(collection.queries, queries), _texts(collection.passages, passages)
    frame = pd.DataFrame({"id": ids, "query": asked, "passage": told})
    asked, told = _worded(asked, collection.language), _worded(told, collection.language)
    words = [set(WORD.findall(text.lower())) for text in asked]
    bags = [set(WORD.findall(text.lower())) for text in told]
    half = len(bags) // 2
    frame["query_words"] = [len(text.split()) for text in asked]
    frame["passage_words"] = [len(text.split()) for text in told]
    for column, others in (("overlap", bags), ("overlap_other", bags[half:] + bags[:half])):
        frame[column] = [len(w & b) / len(w) if w else np.nan for w, b in zip(words, others, strict=True)]
    return frame


def describe(benchmark: Benchmark) -> pd.DataFrame:
    """A row for each part: its scope, pairs, median words of queries and passages, mean overlaps.

    >>> import drscale as ds
    >>> table = ds.describe(ds.benchmark("planted?pairs=300"))
    >>> table["pairs"].to_dict()
    {'train': 300, 'validation': 300, 'test': 300, 'shift1': 300, 'shift2': 300, 'shift3': 300}
    """
    rows = []
    for name, part in benchmark.parts().items():
        pairs = pair_table(part)
        rows.append(
            {
                "part": name.removeprefix("ood:"),
                "scope": "ood" if name.startswith("ood:") else "in_domain",
                "pairs": len(pairs),
                "query_words": pairs["query_words"].median(),
                "passage_words": pairs["passage_words"].median(),
                "overlap": pairs["overlap"].mean(),
                "overlap_other": pairs["overlap_other"].mean(),
            }
        )
    return pd.DataFrame(rows).set_index("part")
