"""Teachers' lists for an even part of the queries, as TREC runs in build/lists, for docs-cross and docs-final.

    python data/scores/some_lists.py human      every fourth of people's queries; the cross-encoder's lists among them
    python data/scores/some_lists.py queries    every ninth crop, every second generated query, every fourth of both

A cross-encoder reads fifty passages a query, so its lists for all queries would take hours. Lists are kept in the
cache piece by piece, and a run that is stopped goes on where it was. `queries` trains docs2query first (ten minutes).
"""

import sys
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

import drscale as ds
from drscale.evaluate.lists import Lists
from drscale.labels import ranked_lists, write_trec
from drscale.labels.cross import cross
from drscale.labels.queries import annotated
from drscale.texts import Collection
from drscale.texts.cache import cached_table, key_of

OUT = Path("build/lists")
RETRIEVERS = ("bm25", "minilm", "maxsim")
DEPTH, PIECE = 50, 125
EACH = {"human": 4, "cropped": 9, "generated": 2, "mixture": 4}  # every so many queries of a set


def part_of(collection: Collection, each: int) -> Collection:
    """Every so many of a collection's queries, with all its passages."""
    rows = np.arange(0, len(collection.queries), each)
    queries = collection.queries.take(rows)
    kept = pc.is_in(collection.qrels["query"], queries["id"].combine_chunks())
    return Collection(f"{collection.name}, every {each}", queries, collection.passages, collection.qrels.filter(kept))


def together(parts: list[Collection]) -> Collection:
    """Several sets of queries on one corpus, each query once, so that its passages are encoded once."""
    queries = pa.concat_tables([p.queries for p in parts]).combine_chunks()
    first = np.sort(np.unique(queries["id"].to_pylist(), return_index=True)[1])
    qrels = pa.concat_tables([p.qrels for p in parts]).to_pandas().drop_duplicates()
    told = pa.Table.from_pandas(qrels, schema=parts[0].qrels.schema, preserve_index=False)
    return Collection("docs/train, some", queries.take(first), parts[0].passages, told)


def split(lists: Lists, whole: Collection, part: Collection) -> Lists:
    """The lists of one set of queries among those of all."""
    place = pd.Series(np.arange(len(whole.queries)), whole.queries["id"].to_pylist())
    rows = place[part.queries["id"].to_pylist()].to_numpy()
    return Lists(lists.rows[rows], lists.scores[rows], lists.seconds * len(rows) / len(whole.queries))


def by_cross(source: Collection, part: Collection, only: slice = slice(None)) -> Lists:
    """The cross-encoder's lists, which is trained on all the pairs; ``only`` some pieces, to share the work."""

    @lru_cache(maxsize=1)
    def ready() -> tuple[Any, Any]:
        steps = cross(source)
        return steps, steps.index(part.passages["text"].to_pylist())

    def piece(start: int) -> pd.DataFrame:
        steps, index = ready()
        texts = part.queries["text"].slice(start, PIECE).to_pylist()
        rows, scores = steps.search(steps.encode(texts), index, DEPTH)
        columns = {f"{what}{i}": of[:, i] for what, of in (("row", rows), ("score", scores)) for i in range(DEPTH)}
        print(f"cross: {start + len(texts):,} of {len(part.queries):,} queries", flush=True)
        return pd.DataFrame(columns)

    tables = []
    for start in range(0, len(part.queries), PIECE)[only]:
        key = key_of("some lists", source.fingerprint, part.fingerprint, DEPTH, PIECE, start)
        tables.append(cached_table("some-lists", key, partial(piece, start)))
    whole = pd.concat(tables)
    rows, scores = (whole[[f"{what}{i}" for i in range(DEPTH)]].to_numpy() for what in ("row", "score"))
    return Lists(rows, scores)


def main(what: str, only: slice = slice(None)) -> None:
    texts = ds.benchmark("docs")
    sets = ["human"] if what == "human" else ["cropped", "generated", "mixture"]
    parts = {how: part_of(annotated(texts, how), EACH[how]) for how in sets}
    # People's queries have the lists of docs-supervision in the cache, all of them.
    whole = texts.train if what == "human" else together(list(parts.values()))
    if what == "human":
        lists = by_cross(texts.train, parts["human"], only)
        if only != slice(None):
            return
        write_trec(lists, parts["human"], OUT / "human-cross.run", "cross")
    for teacher in RETRIEVERS:
        lists = ranked_lists(teacher, whole, DEPTH)
        for how, part in parts.items():
            at = write_trec(split(lists, whole, part), part, OUT / f"{how}-{teacher}.run", teacher)
            print(f"{at}: {len(part.queries):,} queries", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *[slice(*map(int, arg.split(":"))) for arg in sys.argv[2:]])
