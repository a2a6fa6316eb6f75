"""Does training to follow instructions change what a retriever finds when queries are perturbed?

Four objectives on the same rows, three seeds, one small rung; BM25 stands beside them. Writes two files beside this
one: instructions.parquet (a row for each model, seed, wording and question) and instructions_followed.parquet (a row
for each question beside its contradicting one). Interrupt it as you like: trained models and what was measured wait in
the cache.

    python data/scores/instructions.py
"""

import sys
from functools import cache
from pathlib import Path

import pandas as pd
import torch

from drscale.encoder import build
from drscale.evaluate.retrievers import retriever
from drscale.instructions.measure import following, found
from drscale.instructions.texts import TEMPLATES, UNSEEN, instructed
from drscale.instructions.train import OBJECTIVES, train_instructed
from drscale.models import keep_model, load_model, model_path
from drscale.recipe import Recipe
from drscale.runs import RunStore, write_atomic
from drscale.stability.vary import FAMILIES, variations
from drscale.texts.cache import cache_folder, cached_table, key_of

SEEDS = (0, 1, 2)
BESIDE = ("bm25", "minilm")
# How queries are perturbed: a family of variations and its strength. A typing error in one word of ten, and in three.
PERTURBED = {family: (family, None) for family in FAMILIES} | {"misspelling of 3 in 10": ("misspelling", 0.3)}
RECIPE = Recipe(
    texts="instructed",
    rung="L2H32",
    steps=600,
    rate=0.0031,
    schedule="linear",
    warmup=100,
    dropout=0.1,
    query_tokens=48,  # a query of 24 words and its instruction
)
MEASURED = 1  # raise when what is measured changes


def main(objectives, seeds):
    torch.set_num_threads(1)
    texts = instructed()
    models = [(objective, seed) for seed in seeds for objective in objectives]
    for objective, seed in models:
        trained(objective, seed, texts)
    models += [(name, 0) for name in BESIDE]
    write("instructions.parquet", [measured("found", m, s, texts, all_found) for m, s in models])
    write("instructions_followed.parquet", [measured("followed", m, s, texts, all_followed) for m, s in models])


def trained(objective, seed, texts):
    """A trained encoder, from the cache where it is."""
    recipe = RECIPE.but(seed=seed)
    store = RunStore(cache_folder() / f"instructed-{texts.fingerprint[:12]}" / objective)
    path = model_path(recipe, store)
    if path.is_file():
        return load_model(recipe, store)
    encoder = build(recipe)
    checkpoint = path.with_suffix(".checkpoint")
    went = train_instructed(encoder, texts.part("train"), recipe, objective, checkpoint=checkpoint)
    if went.reason:
        raise RuntimeError(f"{objective}, seed {seed}: {went.reason}")
    keep_model(encoder, recipe, store, texts.fingerprint)
    checkpoint.unlink(missing_ok=True)
    print(f"{objective}, seed {seed}: trained in {went.seconds:.0f} s on {went.tokens:,} tokens", flush=True)
    return encoder.eval()


def measured(what, model, seed, texts, measure):
    """What a function measures of a model, from the cache where it is."""

    def make():
        ranker = retriever(model) if model in BESIDE else retriever(trained(model, seed, texts), model)
        print(f"{what}: {model}, seed {seed}", flush=True)
        return tidy(measure(ranker, texts.part("test"), seed), seed)

    key = key_of(what, texts.fingerprint, str(RECIPE), model, seed, MEASURED, sorted(PERTURBED))
    return cached_table("instructions-scores", key, make)


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


def tidy(rows, seed):
    """Mark the seed and the cluster that rows belong to: the need, or the question itself."""
    own = rows["query"].where(rows["need"] < 0, "need " + rows["need"].astype(str))
    return rows.assign(seed=seed, cluster=own).drop(columns=["need", *rows.columns.intersection(["dataset", "mrr10"])])


def write(name, frames):
    rows = pd.concat(frames, ignore_index=True)
    kinds = {"f": "float32", "i": "int16", "b": "bool"}
    small = {name: kinds.get(kind.kind, "category") for name, kind in rows.dtypes.items()}
    path = Path(__file__).with_name(name)
    write_atomic(path, rows.astype(small).to_parquet(index=False, compression="zstd"))
    print(f"{path}: {len(rows):,} rows", flush=True)


if __name__ == "__main__":
    main(OBJECTIVES, SEEDS[: int(sys.argv[1])] if len(sys.argv) > 1 else SEEDS)
