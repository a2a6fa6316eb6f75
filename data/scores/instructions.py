"""Does training to follow instructions change what a retriever finds when queries are perturbed?

The models of data/runs/docs-instructed; BM25 and MiniLM stand beside them. Models that are not there are trained first,
as `drscale sweep data/runs/docs-instructed.py` does it. Writes two files beside this one: instructions.parquet (a row
for each model, seed, wording and question) and instructions_followed.parquet (a row for each question beside its
contradicting one). With `sizes` it does the same for the smaller and larger models of docs-instructed-sizes, into
instructions_sizes.parquet and instructions_sizes_followed.parquet, where rows have a `rung`. Interrupt it as you like:
a model's rows are written when it is done, and rows that are there stay. Delete the files to measure other versions of
the texts.

    python data/scores/instructions.py [sizes]
"""

import sys
from functools import cache
from pathlib import Path

import pandas as pd
import torch

from drscale.evaluate.retrievers import retriever
from drscale.files import rows_kept
from drscale.instructions.measure import following, found
from drscale.instructions.texts import TEMPLATES, UNSEEN, instructed
from drscale.stability.vary import FAMILIES, variations
from drscale.study import load_study
from drscale.sweep import model_of

HERE = Path(__file__).resolve().parent
RUNS = HERE.parent / "runs"
BESIDE = ("bm25", "minilm")
# How queries are perturbed: a family of variations and its strength. A typing error in one word of ten, and in three.
PERTURBED = {family: (family, None) for family in FAMILIES} | {"misspelling of 3 in 10": ("misspelling", 0.3)}


def main():
    torch.set_num_threads(1)
    sizes = sys.argv[1:] == ["sizes"]
    if sys.argv[1:] and not sizes:
        sys.exit(f"{' '.join(sys.argv[1:])}: allowed is 'sizes', or nothing")
    study = load_study(RUNS / f"docs-instructed{'-sizes' * sizes}.py")
    for one in (*study.recipes, *(() if sizes else BESIDE)):
        keep_rows(one, study.store, instructed().part("test"), sizes)


def keep_rows(one, store, part, sizes):
    """Keep what a recipe's model, or a stranger of this name, finds and how it follows, where rows are missing."""
    name, seed = (one, 0) if isinstance(one, str) else (one.variant, one.seed)
    fields = {"seed": seed} | ({"rung": one.rung} if sizes else {})

    @cache
    def ranker():
        print(f"{name}, {fields}", flush=True)
        return retriever(one) if isinstance(one, str) else retriever(model_of(one, store), name)

    for file, measure in (("", all_found), ("_followed", all_followed)):

        def make(measure=measure):
            return tidy(measure(ranker(), part, seed).assign(**fields))

        rows_kept(HERE / f"instructions{'_sizes' * sizes}{file}.parquet", {"model": name, **fields}, make)


def all_found(ranker, part, seed):
    """What is found for clean and for perturbed queries, asked with their instructions and without."""
    frames = [clean_found(ranker, part, seed)]
    for name, (family, strength) in PERTURBED.items():

        def change(queries, family=family, strength=strength):
            return varied(tuple(queries), family, strength, seed)

        frames += [found(ranker, part, told=told, change=change).assign(wording=name) for told in (True, False)]
    return pd.concat(frames, ignore_index=True)


@cache
def varied(queries, family, strength, seed):
    """The same for all models."""
    return variations(queries, family, strength=strength, seed=seed)["varied"].tolist()


def clean_found(ranker, part, seed):
    """What is found for queries as they are."""
    return pd.concat([found(ranker, part, told=told).assign(wording="clean") for told in (True, False)])


def all_followed(ranker, part, seed):
    """What becomes of contradicting instructions, in phrasings of the training and in others."""
    sets = {"seen": TEMPLATES, "unseen": UNSEEN}
    return pd.concat([following(ranker, part, some).assign(phrasing=name) for name, some in sets.items()])


def tidy(rows):
    """Mark the cluster that rows belong to, the need or the question itself, and store them narrow."""
    own = rows["query"].where(rows["need"] < 0, "need " + rows["need"].astype(str))
    rows = rows.assign(cluster=own).drop(columns=["need", *rows.columns.intersection(["dataset", "mrr10"])])
    kinds = {"f": "float32", "i": "int16", "b": "bool"}
    return rows.astype({name: kinds.get(kind.kind, "category") for name, kind in rows.dtypes.items()})


if __name__ == "__main__":
    main()
