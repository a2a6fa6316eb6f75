"""The teachers' lists of the documentation's training collection: how good they are, and what a query costs.

The lists go into the cache, a thousand queries at a time. A row for each teacher goes into teachers.parquet: the
metrics of its lists against the human pairs (the passage that a query came from), seconds, and milliseconds a query
(drscale.labels.teachers.latency, as in Table 6 of Lin et al. 2023) on 2,000 pairs and their passages. Of the
cross-encoder, whose lists for all queries would take hours, only the cost of a query is measured, and as that does not
depend on its weights, with a model of one step. --exact measures for late interaction, which reranks here, how much of
the first 10 and 50 of exact MaxSim it has, on 60 queries. Interrupt it as you like.

    python data/scores/teachers.py                 # the queries that people wrote
    python data/scores/teachers.py --also cropped  # and those that drscale.labels makes of the passages
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from drscale.evaluate import rankers
from drscale.evaluate.ranking import ranking_metrics
from drscale.files import write_atomic
from drscale.labels import cross
from drscale.labels.teachers import latency, ranked_lists
from drscale.texts import benchmark
from drscale.texts.collection import shuffled

OUT = Path(__file__).with_suffix(".parquet")
TEACHERS = ("bm25", "minilm", "wordllama", "maxsim", "cross")
UNLISTED = ("cross",)  # reads 850,000 pairs for all lists
TIMED = 2000  # pairs of the collection on which the cost of a query is measured
DEPTH = 50


def overlap_with_exact(collection, lists, queries=60):
    """Which share of exact MaxSim's first 10 and first 50 the lists have in theirs."""
    some = np.sort(shuffled(len(collection.queries), 3)[:queries])
    steps = rankers.maxsim(exact=True)
    index = steps.index(collection.passages["text"].to_pylist())
    exact, _ = steps.search(steps.encode(collection.queries["text"].take(some).to_pylist()), index, DEPTH)
    near = lists.rows[some]
    return {
        f"exact{k}": float(np.mean([len(set(a[:k]) & set(b[:k])) / k for a, b in zip(exact, near, strict=True)]))
        for k in (10, DEPTH)
    }


def with_exact(done, queries, collection):
    """Add to the row of late interaction, where it is there without, what it has of exact MaxSim."""
    row = (done["queries_from"] == queries) & (done["teacher"] == "maxsim")
    lacks = row & (done["exact10"].isna() if "exact10" in done else True)
    if lacks.any():
        for name, share in overlap_with_exact(collection, ranked_lists("maxsim", collection, DEPTH)).items():
            done.loc[lacks, name] = share
        write_atomic(OUT, done.to_parquet(index=False))
        print(done.loc[row, ["queries_from", "teacher", "exact10", "exact50"]].to_string(index=False), flush=True)
    return done


def row_of(teacher, collection, queries, exact):
    """Rank, measure against the pairs, and time."""
    cost = latency(teacher, collection.take(min(TIMED, len(collection))), depth=DEPTH)
    cost = cost.assign(queries_from=queries, fingerprint=collection.fingerprint)
    if teacher in UNLISTED:
        return cost
    lists = ranked_lists(teacher, collection, DEPTH)
    asked = np.unique(collection.pairs[0])
    metrics = ranking_metrics(collection, asked, lists.scores[asked], lists.rows[asked], ["R@50"]).mean()
    about = {"list_seconds": lists.seconds, "listed": len(lists), **metrics.to_dict()}
    if teacher == "maxsim" and exact:
        about |= overlap_with_exact(collection, lists)
    return cost.assign(**about).drop(columns="recall100")


def collections(also):
    train = benchmark("docs").train
    yield "human", train
    for name in also:
        from drscale.labels.queries import annotate

        yield name, annotate(train, name)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--also", nargs="*", default=[], help="queries made of the passages, such as cropped")
    options.add_argument("--exact", action="store_true", help="hold late interaction against exact MaxSim")
    given = options.parse_args()
    cross.TRAINING = cross.TRAINING.but(steps=1, warmup=0)
    done = pd.read_parquet(OUT) if OUT.is_file() else pd.DataFrame(columns=["queries_from", "teacher"])
    for queries, collection in collections(given.also):
        if given.exact:
            done = with_exact(done, queries, collection)
        for teacher in TEACHERS:
            if ((done["queries_from"] == queries) & (done["teacher"] == teacher)).any():
                continue
            try:
                row = row_of(teacher, collection, queries, given.exact)
            except ValueError as e:
                print(f"{queries} {teacher}: {e}", flush=True)
                continue
            done = pd.concat([done, row], ignore_index=True) if len(done) else row
            write_atomic(OUT, done.to_parquet(index=False))
            print(row.T.to_string(), flush=True)


if __name__ == "__main__":
    main()
