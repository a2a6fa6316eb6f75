"""Poison the models of docs-models: 1, 10 and 50 passages against each, their transfer, and what guards leave.

Run from anywhere; rows that are there already are left alone, so it goes on where it was interrupted. Models that are
needed and not there are trained first, as `drscale sweep data/runs/docs-models.py --keep` does it.

    python data/scores/poison.py [--study FILE] [--seeds 2]

Poisoning is a measure of a study's kept models, not an attack of the registry, and no part of a run's record: an attack
of the registry changes a given passage for one query, and a recipe's ``attacked`` counts its success there; a planted
passage is made for a cluster of training queries and is no changed form of another. Its rows also belong to two models,
the one it was made against and the one it is tried on.

Two files, explained in data/README.md: poison_passages.parquet (the passages) and poison.parquet (a row a query).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from drscale.encoder import BiEncoder
from drscale.evaluate.retrievers import Retriever, retriever
from drscale.files import rows_kept
from drscale.models import texts_of
from drscale.poisoning.exposure import poison_ranks
from drscale.poisoning.guards import Guard, Kind, guard, guarded
from drscale.poisoning.make import Poison, poison
from drscale.recipe import Recipe
from drscale.runs import RunStore
from drscale.study import load_study
from drscale.sweep import model_of
from drscale.texts import Collection

HERE = Path(__file__).resolve().parent
PASSAGES, RANKS = HERE / "poison_passages.parquet", HERE / "poison.parquet"
# A fifth of the published candidates and a fiftieth of the steps, to save time: a passage may still be on its way when
# they end (the column steps says so). "wide" has all candidates and twice the steps.
ATTACK = Poison(steps=100, candidates=20)
COUNTS, SHARED = (1, 10, 50), 10  # passages; how many are tried on other encoders
TEST, FOREIGN, OTHERS = "docs:test", ("pandas",), ("bm25", "minilm")
GUARDS: tuple[Kind, ...] = ("norm", "likelihood", "centroids", "twins")
ASKED, KNOWN = 4000, 2000  # training queries to cluster, real passages a guard is set up with
# At one size, what else one may do; all else is as in ATTACK.
VARIANTS: dict[str, dict[str, Any]] = {
    "queries": {"form": "queries"},
    "all": {"pieces": "all"},
    "gold": {"start": "gold"},
    "wide": {"candidates": 100, "steps": 200},
}
VARIED = "L2H24"
PLAIN: dict[str, Any] = {"variant": "standard", "passages": SHARED, "guard": "none"}


def cells(recipe: Recipe, first: bool) -> Iterator[tuple[str, Poison]]:
    """The attacks on a model, a name and what is done: those that come first, or the longer ones."""
    for count in COUNTS[:-1] if first else COUNTS[-1:] if recipe.seed == 0 else ():
        yield "standard", replace(ATTACK, passages=count, seed=recipe.seed)
    if not first and recipe.rung == VARIED and recipe.seed == 0:
        for name, options in VARIANTS.items():
            yield name, replace(ATTACK, passages=SHARED, **options)


@lru_cache(maxsize=1)
def victim(recipe: Recipe, store: RunStore) -> BiEncoder:
    """The model of a recipe, trained where it is not there."""
    return model_of(recipe, store)


@lru_cache(maxsize=1)
def ranker(target: Recipe | str, store: RunStore) -> Retriever:
    """A recipe's model or a stranger, whose passages are encoded once."""
    return retriever(target) if isinstance(target, str) else retriever(victim(target, store), target.rung)


@lru_cache(maxsize=1)
def guards_of(recipe: Recipe, store: RunStore) -> list[tuple[Guard, float]]:
    """The guards set up for a model, and the share of the real passages that each refuses."""
    texts, encoder = texts_of(recipe.texts), victim(recipe, store)
    known = texts.train.take(KNOWN, seed=1).passages["text"].to_pylist()
    asked = texts.train.take(ASKED).queries["text"].to_pylist()
    guards, real = [guard(kind, encoder, known, asked) for kind in GUARDS], texts.test.passages["text"].to_pylist()
    return [(one, float(one.refuses(real).mean())) for one in guards]


def made_against(recipe: Recipe, store: RunStore, name: str, how: Poison) -> pd.DataFrame:
    """The passages of a cell, and which guards refuse them."""
    made = poison(victim(recipe, store), texts_of(recipe.texts).train.take(ASKED), how)
    told = made.drop(columns="ids").assign(recipe=str(recipe))
    for one, refused in guards_of(recipe, store) if name == "standard" else []:
        told[one.kind], told[f"{one.kind}_refused"] = one.refuses(made["text"].tolist()), refused
    return told


def listed(recipe: Recipe, store: RunStore, name: str, passages: list[str]) -> pd.DataFrame:
    """Where a cell's passages stand in its own model's lists: without a guard, abroad, and behind each guard."""
    texts, source = texts_of(recipe.texts), ranker(recipe, store)
    open_to = poison_ranks(source, texts.test, passages)
    rows = [tidy(open_to), rows_of(source, passages, {n: texts.ood[n] for n in FOREIGN})]
    rows = [r.assign(guard="none") for r in rows]
    for one, _ in guards_of(recipe, store) if name == "standard" else []:
        rows.append(tidy(guarded(source, one, texts.test, passages, open_to)[0]).assign(guard=one.kind))
    return pd.concat(rows, ignore_index=True)


def rows_of(model: Retriever, passages: list[str], parts: Mapping[str, Collection]) -> pd.DataFrame:
    """The rank of the best passage for each query of some collections."""
    return pd.concat([tidy(poison_ranks(model, c, passages), name) for name, c in parts.items()], ignore_index=True)


def tidy(rows: pd.DataFrame, dataset: str = TEST) -> pd.DataFrame:
    """What is stored of the rows of one collection."""
    return rows.assign(dataset=dataset).rename(columns={"model": "target"})[["target", "dataset", "query", "rank"]]


def attack_all(recipes: list[Recipe], store: RunStore, first: bool) -> None:
    """Attack each model as it was not yet attacked."""
    for recipe in tqdm(recipes, desc="attack", unit="model"):
        for name, how in cells(recipe, first):
            key = {"source": recipe.rung, "seed": recipe.seed, "variant": name, "passages": how.passages}
            made = rows_kept(PASSAGES, key, partial(made_against, recipe, store, name, how))
            rows_kept(RANKS, key | {"target": recipe.rung}, partial(listed, recipe, store, name, made["text"].tolist()))


def carry_over(targets: list[Recipe | str], seeds: range, store: RunStore, test: Collection) -> None:
    """Try the passages made against one model of a seed on another, or on a stranger."""
    made = pd.read_parquet(PASSAGES)
    shared = made[(made["variant"] == "standard") & (made["passages"] == SHARED)]
    for target in tqdm(targets, desc="transfer", unit="model"):
        name, mine = (target, list(seeds)) if isinstance(target, str) else (target.rung, [target.seed])
        for (source, seed), part in shared.groupby(["source", "seed"], sort=False, observed=True):
            if seed in mine and source != name:
                key = {"source": str(source), "seed": int(seed), "target": name} | PLAIN
                rows_kept(RANKS, key, partial(tried_on, target, store, part["text"].tolist(), test))


def tried_on(target: Recipe | str, store: RunStore, passages: list[str], test: Collection) -> pd.DataFrame:
    """Where passages that were made against another model stand in a target's lists."""
    return rows_of(ranker(target, store), passages, {TEST: test})


def main() -> None:
    """Attack what was not attacked yet and carry the passages over to the other models; the slow parts last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--study", type=Path, default=HERE.parent / "runs" / "docs-models.py")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    study, seeds = load_study(options.study), range(options.seeds)
    store, recipes = study.store, [r for r in study.recipes if r.strategy == "standard" and not r.pairs]
    recipes = [r for r in recipes if r.seed in seeds]
    recipes.sort(key=lambda r: (r.seed, int(r.rung.partition("H")[2])))
    test = texts_of(recipes[0].texts).test
    attack_all(recipes, store, first=True)
    carry_over([*recipes, OTHERS[0]], seeds, store, test)
    attack_all(recipes, store, first=False)
    carry_over(list(OTHERS[1:]), seeds, store, test)
    print(f"{len(pd.read_parquet(PASSAGES))} passages, {len(pd.read_parquet(RANKS))} rows")


if __name__ == "__main__":
    main()
