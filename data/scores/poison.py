"""Poison the models of docs-models: 1, 10 and 50 passages against each, their transfer, and what guards leave.

Run from anywhere; what is there already is left alone, so it goes on where it was interrupted:

    python data/scores/poison.py [--store FOLDER] [--seeds 2]

Two files, explained in data/README.md: poison_passages.parquet (the passages) and poison.parquet (a row a query).
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from drscale.encoder import BiEncoder
from drscale.evaluate.retrievers import Retriever, retriever
from drscale.models import load_model, model_path, texts_of
from drscale.poisoning.exposure import poison_ranks
from drscale.poisoning.guards import Kind, guard, guarded
from drscale.poisoning.make import Poison, poison
from drscale.recipe import Recipe
from drscale.runs import RunStore, write_atomic
from drscale.texts import Benchmark, Collection

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
NARROW = {"rank": "float32"} | dict.fromkeys(("source", "target", "variant", "guard", "dataset", "query"), "category")


def held(path: Path) -> pd.DataFrame:
    """What was stored so far."""
    return pd.read_parquet(path) if path.is_file() else pd.DataFrame()


def kept(path: Path, *parts: pd.DataFrame) -> pd.DataFrame:
    """Put parts together and store them."""
    frame = pd.concat([p.astype({c: "str" for c in p if p[c].dtype == "category"}) for p in parts], ignore_index=True)
    buffer = io.BytesIO()
    narrow = {c: kind for c, kind in NARROW.items() if c in frame}
    frame.astype(narrow).to_parquet(buffer, index=False, compression="zstd")
    write_atomic(path, buffer.getvalue())
    return frame


def done(frame: pd.DataFrame, **key: Any) -> bool:
    """Whether rows of a key are stored."""
    return len(frame) > 0 and bool((frame[list(key)].astype(str) == pd.Series(key).astype(str)).all(axis=1).any())


def cells(recipe: Recipe, first: bool) -> Iterator[tuple[str, Poison]]:
    """The attacks on a model, a name and what is done: those that come first, or the longer ones."""
    for count in COUNTS[:-1] if first else COUNTS[-1:] if recipe.seed == 0 else ():
        yield "standard", replace(ATTACK, passages=count, seed=recipe.seed)
    if not first and recipe.rung == VARIED and recipe.seed == 0:
        for name, options in VARIANTS.items():
            yield name, replace(ATTACK, passages=SHARED, **options)


def attack(
    encoder: BiEncoder, recipe: Recipe, todo: list[tuple[str, Poison]], texts: Benchmark
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Make the passages of each cell, look at them through the guards, and see what is listed."""
    source, asked = retriever(encoder, recipe.rung), texts.train.take(ASKED)
    known = texts.train.take(KNOWN, seed=1).passages["text"].to_pylist()
    real = texts.test.passages["text"].to_pylist()
    guards = [guard(kind, encoder, known, asked.queries["text"].to_pylist()) for kind in GUARDS]
    refused = {g.kind: float(g.refuses(real).mean()) for g in guards}
    for name, how in todo:
        made = poison(encoder, asked, how)
        key: dict[str, Any] = {"source": recipe.rung, "seed": recipe.seed, "variant": name, "passages": how.passages}
        told = made.drop(columns="ids").assign(**key, recipe=str(recipe))
        open_to = poison_ranks(source, texts.test, made["text"].tolist())
        rows = [tidy(open_to), rows_of(source, made["text"].tolist(), {n: texts.ood[n] for n in FOREIGN})]
        rows = [r.assign(guard="none") for r in rows]
        for one in guards if name == "standard" else []:
            left, out = guarded(source, one, texts.test, made["text"].tolist(), open_to)
            told[one.kind], told[f"{one.kind}_refused"] = out, refused[one.kind]
            rows.append(tidy(left).assign(guard=one.kind))
        yield told, pd.concat(rows, ignore_index=True).assign(**key)


def rows_of(model: Retriever, passages: list[str], parts: Mapping[str, Collection]) -> pd.DataFrame:
    """The rank of the best passage for each query of some collections."""
    return pd.concat([tidy(poison_ranks(model, c, passages), name) for name, c in parts.items()], ignore_index=True)


def tidy(rows: pd.DataFrame, dataset: str = TEST) -> pd.DataFrame:
    """What is stored of the rows of one collection."""
    return rows.assign(dataset=dataset).rename(columns={"model": "target"})[["target", "dataset", "query", "rank"]]


def attack_all(recipes: list[Recipe], store: RunStore, texts: Benchmark, first: bool) -> None:
    """Attack each model as it was not yet attacked."""
    made, ranks = held(PASSAGES), held(RANKS)
    for recipe in tqdm(recipes, desc="attack", unit="model"):
        same: dict[str, Any] = {"source": recipe.rung, "seed": recipe.seed}
        todo = [(n, h) for n, h in cells(recipe, first) if not done(made, **same, variant=n, passages=h.passages)]
        if not todo:
            continue
        for told, rows in attack(load_model(recipe, store, texts), recipe, todo, texts):
            ranks = kept(RANKS, ranks, rows)
            made = kept(PASSAGES, made, told)  # last: it says that a cell is done


def carry_over(targets: list[Recipe | str], seeds: range, store: RunStore, texts: Benchmark) -> None:
    """Try the passages made against one model of a seed on another, or on a stranger."""
    made, ranks = held(PASSAGES), held(RANKS)
    shared = made[(made["variant"] == "standard") & (made["passages"] == SHARED)]
    for target in tqdm(targets, desc="transfer", unit="model"):
        own = target if isinstance(target, Recipe) else None
        name, mine = (str(target), list(seeds)) if own is None else (own.rung, [own.seed])
        missing = [
            (str(source), int(seed), part["text"].tolist())
            for (source, seed), part in shared.groupby(["source", "seed"], sort=False)
            if seed in mine
            and source != name
            and not done(ranks, source=source, target=name, seed=seed, variant="standard", passages=SHARED)
        ]
        if missing:
            model = retriever(name) if own is None else retriever(load_model(own, store, texts), name)
            new = [rows_of(model, t, {TEST: texts.test}).assign(source=s, seed=i, **PLAIN) for s, i, t in missing]
            ranks = kept(RANKS, ranks, *new)


def main() -> None:
    """Attack what was not attacked yet and carry the passages over to the other models; the slow parts last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=Path, default=HERE.parent / "runs" / "docs-models")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    store, seeds = RunStore(options.store), range(options.seeds)
    found = [r.recipe for r in store.runs() if r.status == "done" and model_path(r.recipe, store).is_file()]
    recipes = [r for r in found if r.strategy == "standard" and not r.pairs and r.seed in seeds]
    if not recipes:
        sys.exit(f"{store.path}: no trained model yet; drscale sweep {store.path}.py --keep makes them")
    recipes.sort(key=lambda r: (r.seed, int(r.rung.partition("H")[2])))
    texts = texts_of(recipes[0].texts)
    attack_all(recipes, store, texts, first=True)
    carry_over([*recipes, OTHERS[0]], seeds, store, texts)
    attack_all(recipes, store, texts, first=False)
    carry_over(list(OTHERS[1:]), seeds, store, texts)
    print(f"{len(held(PASSAGES))} passages, {len(held(RANKS))} rows")


if __name__ == "__main__":
    main()
