"""Get ready what a strategy needs: negatives mined, noise to draw, passages attacked, a teacher's vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from drscale.attacks import synonyms as sources
from drscale.attacks import words
from drscale.encoder import BiEncoder, Tokens, build
from drscale.ladder import ladder
from drscale.runs import Recipe
from drscale.texts import Collection
from drscale.texts.cache import cached_table, key_of
from drscale.training import augment, mining
from drscale.training.allowed import check
from drscale.training.augment import Perturb
from drscale.training.batches import Pairs, tokenised
from drscale.training.loop import train
from drscale.training.strategies import Strategy

SURROGATE_WIDTH, SURROGATE_STEPS = 48, 400


class Attack(Protocol):
    """How passages are attacked: an encoder and a source of substitutes in, a perturbation out; ``str`` names it."""

    def __call__(self, encoder: BiEncoder, substitutes: sources.Synonyms) -> Perturb: ...


SWAPS = words.Attack(floor=None)


@dataclass(frozen=True)
class WordSwaps:
    """The white-box word substitution attack, without a floor: judging similarity would take most of the time."""

    attack: words.Attack = SWAPS

    def __str__(self) -> str:
        return str(self.attack)

    def __call__(self, encoder: BiEncoder, substitutes: sources.Synonyms) -> Perturb:
        def perturb(queries: Sequence[str], passages: Sequence[str]) -> list[str]:
            made = words.attack_texts(encoder, queries, passages, substitutes, self.attack, similarity=None)
            return [str(text) for text in made["attacked"]]

        return perturb


def prepare(
    recipe: Recipe,
    collection: Collection,
    pairs: Pairs,
    encoder: BiEncoder,
    *,
    small: Callable[[], BiEncoder],
    attack: Attack,
    source: Collection | None = None,
    refresh: bool = False,
) -> Strategy:
    """Make the strategy a recipe names ready for training an encoder on a collection's tokenised pairs.

    ``source`` is the whole collection that the pairs were taken from, where the recipe has ``corpus="whole"``.
    ``small()`` gives the surrogate, an encoder trained by :func:`surrogate_recipe`: it is the white box of the attack
    and the teacher of static denoising, and only asked for where the cache lacks what it makes. ``refresh`` mines and
    attacks anew.
    """
    check(recipe)

    def tokenise(texts: Sequence[str]) -> Tokens:
        return encoder.tokens(texts, "passage")

    if recipe.strategy == "standard":
        return Strategy(recipe, pairs)
    if recipe.strategy == "hard_negative":
        ranked = mining.hard_negatives(collection, refresh=refresh)
        notes = {"bm25s": mining.version()}
        return Strategy(recipe, pairs, augment.with_hard_negatives(recipe, pairs, ranked), notes=notes)
    substitutes = sources.synonyms(recipe.synonyms)
    notes = {"synonyms": substitutes.source}
    if recipe.strategy == "denoising":
        passages = collection.passages["text"].to_pylist()
        teacher: np.ndarray | None = None
        if recipe.variant == "static":
            teacher = small().encode_passages(passages)
            notes["teacher"] = str(surrogate_recipe(recipe))
        known = augment.substitutes_of(_taken_from(recipe, collection, source), substitutes)
        touch = augment.with_noise(recipe, pairs, passages, tokenise, known)
        return Strategy(recipe, pairs, touch, teacher, notes=notes)
    made_by = f"{attack}; white box {surrogate_recipe(recipe)}; substitutes {substitutes.source}"
    attacked = _taken_from(recipe, collection, source)
    examples = augment.attacked(attacked, recipe, lambda: attack(small(), substitutes), made_by, refresh=refresh)
    touch = augment.with_attacked(recipe, pairs, examples, tokenise)
    cost = {"examples": len(examples.texts), "examples_changed": examples.changed, "examples_seconds": examples.seconds}
    return Strategy(recipe, pairs, touch, mark=examples.mark, notes={"examples": made_by}, cost=cost)


def made_ready(
    recipe: Recipe,
    collection: Collection,
    pairs: Pairs,
    encoder: BiEncoder,
    *,
    source: Collection | None = None,
    refresh: bool = False,
) -> Strategy:
    """:func:`prepare` with the word substitution attack and a surrogate that is trained where it is needed."""

    def small() -> BiEncoder:
        plain, read = surrogate_recipe(recipe), _taken_from(recipe, collection, source)
        surrogate = build(plain, all_texts(read) if plain.start == "scratch" else None)
        return remembered(surrogate, read, plain, lambda e: train(e, tokenised(e, read), plain))

    return prepare(recipe, collection, pairs, encoder, small=small, attack=WordSwaps(), source=source, refresh=refresh)


def _taken_from(recipe: Recipe, collection: Collection, source: Collection | None) -> Collection:
    """The collection that attacked passages and the surrogate come from."""
    if recipe.corpus == "chosen" or not recipe.pairs:
        return collection
    if source is None:
        raise ValueError("corpus='whole': give source, the collection that the pairs were taken from")
    return source


def all_texts(collection: Collection) -> list[str]:
    """Queries and passages, from which a vocabulary is learnt."""
    return [*collection.queries["text"].to_pylist(), *collection.passages["text"].to_pylist()]


def surrogate_recipe(recipe: Recipe) -> Recipe:
    """The small encoder behind a recipe's examples: standard training on the same pairs, the same for all rungs.

    With ``corpus="whole"`` it is trained on all pairs and with one seed, and so is the same for all recipes.
    """
    text = ("texts", "query_tokens", "passage_tokens", "corpus")
    encoder = ("ladder", "start", "towers", "pooling", "projection")
    own = () if recipe.corpus == "whole" else ("pairs", "seed")
    kept = (*text, *encoder, *own, "batch", "pool", "negatives")
    local = recipe.ladder == "local"
    rung = f"L2H{SURROGATE_WIDTH}" if local else next(iter(ladder(recipe.ladder)))
    steps = min(recipe.steps, SURROGATE_STEPS)
    rate = float(f"{0.1 / SURROGATE_WIDTH:.2g}") if local else recipe.rate
    tuned = {"rung": rung, "steps": steps, "rate": rate, "schedule": "linear", "warmup": steps // 8}
    return Recipe(**{name: getattr(recipe, name) for name in kept} | tuned)


def remembered(
    encoder: BiEncoder, collection: Collection, recipe: Recipe, train: Callable[[BiEncoder], object]
) -> BiEncoder:
    """Give an untrained encoder the weights that ``train`` gives it on a collection, from the cache where they are."""
    names = [name for name, weight in encoder.named_parameters() if weight.requires_grad]
    weights = dict(encoder.named_parameters())

    def make() -> pd.DataFrame:
        train(encoder)
        return pd.DataFrame({"name": names, "values": [weights[n].detach().cpu().flatten().numpy() for n in names]})

    key = key_of("surrogate", collection.fingerprint, str(recipe))
    kept = cached_table("surrogate", key, make)
    with torch.no_grad():
        for name, values in zip(kept["name"], kept["values"], strict=True):
            weights[name].copy_(torch.as_tensor(np.array(values)).reshape(weights[name].shape))
    return encoder.eval()
