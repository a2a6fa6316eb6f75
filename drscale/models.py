"""Trained models, kept beside the records of their runs: load one again, measure it anew, add that to its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from drscale.labels.queries import annotated
from drscale.recipe import Recipe
from drscale.runs import Found, Run, RunStore, write_atomic
from drscale.texts import Benchmark, Collection, benchmark

if TYPE_CHECKING:
    from drscale.encoder import BiEncoder

FOLDER = "models"


def model_path(recipe: Recipe, store: RunStore) -> Path:
    """Where a store keeps the model of a recipe."""
    return store.path / FOLDER / f"{recipe.file_stem}.safetensors"


def keep_model(encoder: BiEncoder, recipe: Recipe, store: RunStore, fingerprint: str) -> Path:
    """Write what was trained of an encoder, as safetensors with the recipe and the texts' fingerprint in its head.

    What a recipe alone rebuilds (the frozen table, the tokenizer) is left out.
    """
    from safetensors.torch import save

    tensors = {n: p.detach().float().cpu().contiguous() for n, p in encoder.named_parameters() if p.requires_grad}
    path = model_path(recipe, store)
    write_atomic(path, save(tensors, {"recipe": str(recipe), "fingerprint": fingerprint}))
    return path


def kept_recipes(store: RunStore) -> list[Recipe]:
    """The recipes of a store's finished runs whose models are kept beside them."""
    return [r.recipe for r in store.runs() if r.status == "done" and model_path(r.recipe, store).is_file()]


def load_model(recipe: Recipe | str, store: RunStore, texts: Benchmark | None = None) -> BiEncoder:
    """Build a recipe's encoder and put the trained weights into it; a recipe's key will do.

    ``texts`` are only needed by ``start="scratch"``, whose vocabulary is learnt from them once more.

    >>> import drscale as ds
    >>> recipe, store = ds.Recipe(texts="planted", rung="L2H12", steps=100), ds.RunStore("runs")
    >>> run = ds.run_one(recipe, store, keep=True)  # doctest: +SKIP
    >>> encoder = ds.load_model(recipe, store)  # doctest: +SKIP
    >>> encoder.encode(["open a file"]).shape  # doctest: +SKIP
    (1, 768)
    """
    from safetensors import SafetensorError, safe_open

    from drscale.encoder import build
    from drscale.training.prepare import all_texts

    recipe = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
    path = model_path(recipe, store)
    if not path.is_file():
        kept = len(kept_recipes(store)) if store.path.is_dir() else 0
        raise ValueError(
            f"{path}: no trained model; `drscale sweep STUDY --keep` makes it, and kept_recipes(store) names the "
            f"{kept} that are there"
        )
    try:
        with safe_open(path, framework="pt") as f:
            marks = f.metadata() or {}
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    except SafetensorError as e:
        raise ValueError(f"{path}: no trained model of drscale's ({e})") from None
    if marks.get("recipe") != str(recipe):
        raise ValueError(f"{path}: the model of another recipe, {marks.get('recipe')}")
    words = None
    if recipe.start == "scratch":
        texts = texts if texts is not None else texts_of(recipe.texts)
        if texts.fingerprint != marks.get("fingerprint"):
            raise ValueError(f"{path}: trained on other texts than {texts.name} is now, so its vocabulary is lost")
        words = all_texts(trained_on(recipe, texts))
    encoder = build(recipe, words)
    weights = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    if {n: p.shape for n, p in weights.items()} != {n: t.shape for n, t in tensors.items()}:
        raise ValueError(f"{path}: the weights are not those of {recipe.rung}")
    for name, weight in weights.items():
        weight.data.copy_(tensors[name])
    return encoder.eval()


def measure(
    store: RunStore,
    recipes: Sequence[Recipe],
    name: str,
    function: Callable[[BiEncoder, Benchmark, Run], Found],
    *,
    progress: bool = True,
) -> list[Run]:
    """Measure trained models anew and add what was found to their records; hand back the records that were changed.

    ``function`` takes an encoder, its benchmark and its run so far. A record that was measured under ``name`` before is
    left alone, so an interrupted call goes on where it was.
    """
    changed = []
    for recipe in tqdm(recipes, desc=name, unit="model", disable=None if progress else True):
        run = store.load(recipe)
        if run is None or run.status != "done":
            raise ValueError(f"{recipe}: {store.path} has no finished run of it")
        if f"measured:{name}" in run.versions:
            continue
        texts = texts_of(recipe.texts)
        if texts.fingerprint != run.fingerprint:
            raise ValueError(f"{recipe}: was made on other texts than {texts.name} is now")
        found = function(load_model(recipe, store, texts), texts, run)
        changed.append(store.add(run, name, found))
    return changed


def trained_on(recipe: Recipe, texts: Benchmark) -> Collection:
    """The training pairs of a recipe, under its annotation: all of the benchmark's, or those that its seed draws."""
    source = annotated(texts, recipe.annotation)
    return source.take(recipe.pairs, recipe.seed, whole=recipe.corpus == "whole") if recipe.pairs else source


@lru_cache(maxsize=2)
def texts_of(spec: str) -> Benchmark:
    """The benchmark a recipe names, kept in memory."""
    return benchmark(spec)
