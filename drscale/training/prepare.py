"""Build what a strategy needs: mined negatives, noise, attacked passages, a teacher's vectors.

Attacked passages are made once, by a function that is passed in (queries and passages in, texts out), and cached by
what they depend on; pairs are attacked in a fixed random order and in blocks, so that a larger share goes on where a
smaller one stopped, and so does an interrupted one.
"""

from __future__ import annotations

import importlib
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from drscale.attacks import substitutes as sources
from drscale.attacks import words
from drscale.attacks.noise import noisy
from drscale.attacks.substitutes import Synonyms
from drscale.encoder import BiEncoder, Tokens, build, seed_for
from drscale.ladder import ladder
from drscale.recipe import STRATEGIES, Recipe, check
from drscale.texts import Collection
from drscale.texts.cache import cached_table, key_of
from drscale.texts.collection import shuffled, taken
from drscale.training import batches as mining
from drscale.training.batches import Batch, Pairs, tokenised, touched_pairs
from drscale.training.loop import train
from drscale.training.pretrain import begin
from drscale.training.strategies import Strategy

Perturb = Callable[[Sequence[str], Sequence[str]], Sequence[str]]
Tokenise = Callable[[Sequence[str]], Tokens]
Touch = Callable[[Batch, int], Batch]
BLOCK = 1024  # pairs attacked between two writes to the cache
COMMON = 5000  # words that noise has substitutes for
LETTERS = 8  # a token has hardly more letters than this; noise goes where the encoder reads


@dataclass(frozen=True)
class Examples:
    """Attacked passages: the pairs they are for, the rows of the passages attacked (targets), and what became of them.

    ``changed`` counts the texts that differ; ``seconds`` is what making them took, whenever that was.
    """

    pairs: np.ndarray
    targets: np.ndarray
    texts: list[str]
    changed: int
    seconds: float

    @property
    def mark(self) -> str:
        """A short hash of the texts, for checkpoints of runs on them."""
        return key_of(self.texts)


def attacked(
    collection: Collection,
    recipe: Recipe,
    perturb: Callable[[], Perturb],
    made_by: str,
    *,
    refresh: bool = False,
) -> Examples:
    """Attack for each pair that a recipe touches one passage that its query ranks low, towards the query.

    The passage is drawn at random from the lower nine tenths of the query's first thousand by BM25 (of a small
    collection: of its first tenth). ``perturb()`` gives the attack and is only called if something has to be made;
    ``made_by`` says what it is and, with the texts, is the key in the cache. ``refresh`` makes all anew.

    With ``corpus="whole"`` the collection is the whole one that pairs are taken from: its attacked passages are made
    once, with one seed, and every recipe takes those of its own pairs, so that recipes of all amounts and seeds train
    on the same ones. Otherwise the collection is the pairs' own, and so are the attacks and their seed.
    """
    count, whole = len(collection), recipe.corpus == "whole"
    mine = taken(count, recipe.pairs or count, recipe.seed) if whole else np.arange(count)
    touched = touched_pairs(len(mine), recipe.share, recipe.seed)
    seed = 0 if whole else recipe.seed
    order = shuffled(count, seed) if whole else touched_pairs(count, 1.0, seed)
    place = np.argsort(order)[mine[touched]]  # of each touched pair in that order
    index: list[mining.Index] = []
    attack: list[Perturb] = []
    frames = {}
    for start in np.unique(place // BLOCK) * BLOCK:
        block = order[start : start + BLOCK]
        key = key_of("attacked", collection.fingerprint, made_by, "whole" if whole else seed, int(start), BLOCK)

        def make(block: np.ndarray = block, start: int = int(start)) -> pd.DataFrame:
            started = time.perf_counter()
            index[:] = index or [mining.Index(collection)]
            attack[:] = attack or [perturb()]
            made = _attacked(collection, block, index[0], attack[0], seed_for(seed, f"attack {start}"))
            return made.assign(seconds=time.perf_counter() - started)

        frames[start] = cached_table("attacked", key, make, refresh=refresh)
    made = pd.concat([f.set_index(start + np.arange(len(f))) for start, f in frames.items()]).loc[place]
    seconds = sum(float(f["seconds"].iloc[0]) for f in frames.values())
    targets, changed = made["target"].to_numpy(np.int64), int(made["changed"].sum())
    return Examples(touched, targets, made["text"].tolist(), changed, seconds)


def _attacked(
    collection: Collection, pairs: np.ndarray, index: mining.Index, perturb: Perturb, seed: int
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    deep = mining.depth(len(collection.passages), mining.CANDIDATES)
    query_rows = collection.pairs[0][pairs]
    ranked = index.best(query_rows, deep)
    found = (ranked >= 0).sum(1)
    if not found.all():
        raise ValueError(f"{collection.name}: a query has no passage but its own, so none is left to attack")
    low = found // 10
    targets = ranked[np.arange(len(ranked)), low + (rng.random(len(ranked)) * (found - low)).astype(int)]
    queries = collection.queries["text"].take(query_rows).to_pylist()
    before = collection.passages["text"].take(targets).to_pylist()
    after = list(perturb(queries, before))
    if len(after) != len(before) or not all(isinstance(t, str) and t for t in after):
        raise ValueError(f"perturb: gave {len(after)} texts for {len(before)} passages; one text each is needed")
    changed = [a != b for a, b in zip(before, after, strict=True)]
    return pd.DataFrame({"pair": pairs, "target": targets, "text": after, "changed": changed})


def substitutes_of(collection: Collection, source: Synonyms, most: int = COMMON) -> dict[str, list[str]]:
    """Substitutes for a collection's commonest words, looked up together and kept in the cache."""
    key = key_of("substitutes", collection.fingerprint, source.source, most)

    def look_up() -> pd.DataFrame:
        counted: Counter[str] = Counter()
        for text in collection.passages["text"].to_pylist():
            counted.update(re.findall(r"[^\W\d_]+", text.lower()))
        words = sorted(counted, key=lambda word: (-counted[word], word))[:most]
        found = source.of(words)
        return pd.DataFrame({"word": words, "substitutes": [list(found[word]) for word in words]})

    table = cached_table("substitutes", key, look_up)
    return {word: list(some) for word, some in zip(table["word"], table["substitutes"], strict=True) if len(some)}


# --------------------------------------------------------------------------------------------------- added to a batch


def with_hard_negatives(recipe: Recipe, pairs: Pairs, ranked: np.ndarray) -> Touch:
    """Bring along one of each touched query's BM25 negatives, drawn anew every time.

    In the variant ``pool`` it takes the place of one of the random negatives, where the recipe has any.
    """
    at = _places(recipe, len(pairs))
    if not (ranked[pairs.query_rows[at >= 0], 0] >= 0).all():
        raise ValueError("strategy='hard_negative': a query has no passage but its own, so it has no negative")

    def touch(batch: Batch, step: int) -> Batch:
        touched = np.flatnonzero(at[batch.chosen] >= 0)
        rows = ranked[batch.queries[touched]]
        rng = np.random.default_rng([recipe.seed, 3, step])
        others = rows[np.arange(len(rows)), (rng.random(len(rows)) * (rows >= 0).sum(1)).astype(int)].astype(np.int64)
        left = max(0, len(batch.negatives) - (len(others) if recipe.variant == "pool" else 0))
        return replace(batch, negatives=batch.negatives[:left], touched=touched, others=others)

    return touch


def with_noise(
    recipe: Recipe, pairs: Pairs, passages: list[str], tokenise: Tokenise, substitutes: Mapping[str, Sequence[str]]
) -> Touch:
    """Bring along a noisy form of each touched passage, the kind and its places drawn anew every time."""
    at = _places(recipe, len(pairs))

    def synonyms(word: str) -> Sequence[str]:
        return substitutes.get(word, ())

    read = [text[: LETTERS * recipe.passage_tokens] for text in passages]

    def touch(batch: Batch, step: int) -> Batch:
        touched = np.flatnonzero(at[batch.chosen] >= 0)
        if not len(touched):
            return batch
        texts = [read[row] for row in batch.positives[touched]]
        changed = noisy(texts, seed=f"{recipe.seed}/{step}", others=read, synonyms=synonyms if substitutes else None)
        tokens = tokenise(changed)
        return replace(batch, touched=touched, changed=tuple(tokens.rows(np.arange(len(tokens)))))

    return touch


def with_attacked(recipe: Recipe, pairs: Pairs, examples: Examples, tokenise: Tokenise) -> Touch:
    """Bring along each touched query's attacked passage and, for the variant ``kl``, the same before the attack."""
    at = np.full(len(pairs), -1)
    at[examples.pairs] = np.arange(len(examples.pairs))
    tokens = tokenise(examples.texts)

    def touch(batch: Batch, step: int) -> Batch:
        touched = np.flatnonzero(at[batch.chosen] >= 0)
        rows = at[batch.chosen[touched]]
        origins = examples.targets[rows]
        others = origins if recipe.variant == "kl" else batch.others
        return replace(batch, touched=touched, others=others, changed=tuple(tokens.rows(rows)), origins=origins)

    return touch


def _places(recipe: Recipe, count: int) -> np.ndarray:
    """The place of each pair among those that a recipe touches, -1 for the others."""
    touched = touched_pairs(count, recipe.share, recipe.seed)
    at = np.full(count, -1)
    at[touched] = np.arange(len(touched))
    return at


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
    """Build the strategy that a recipe names, for an encoder and a collection's tokenised pairs.

    ``source`` is the whole collection that the pairs were taken from, where the recipe has ``corpus="whole"``.
    ``small()`` gives the surrogate, an encoder trained by :func:`surrogate_recipe`: it is the white box of the attack
    and the teacher of static denoising, and only asked for where the cache lacks what it makes. ``refresh`` mines and
    attacks anew.
    """
    check(recipe)
    row = STRATEGIES[recipe.strategy]
    if isinstance(row.prepare, str):
        module, _, name = row.prepare.partition(":")
        ready = Ready(recipe, collection, pairs, encoder, small, attack, source, refresh)
        built_in: Strategy = getattr(importlib.import_module(module), name)(ready)
        return built_in
    own = row.prepare(recipe, collection, pairs, encoder)
    own = own if isinstance(own, Strategy) else Strategy(recipe, pairs, own)
    if (own.robust is not None) != (recipe.variant in row.losses):
        raise ValueError(
            f"strategy={recipe.strategy!r}: variant={recipe.variant!r} must give a Strategy with robust just where it "
            f"is registered with losses={row.losses}"
        )
    return own


@dataclass(frozen=True)
class Ready:
    """What the built-in strategies are made ready from; see :func:`prepare`."""

    recipe: Recipe
    collection: Collection
    pairs: Pairs
    encoder: BiEncoder
    small: Callable[[], BiEncoder]
    attack: Attack
    source: Collection | None
    refresh: bool

    def tokenise(self, texts: Sequence[str]) -> Tokens:
        """Tokens of passages."""
        return self.encoder.tokens(texts, "passage")


def standard(r: Ready) -> Strategy:
    """Pairs and nothing else."""
    return Strategy(r.recipe, r.pairs)


def hard_negative(r: Ready) -> Strategy:
    """BM25 negatives, mined once."""
    ranked = mining.hard_negatives(r.collection, refresh=r.refresh)
    touch = with_hard_negatives(r.recipe, r.pairs, ranked)
    return Strategy(r.recipe, r.pairs, touch, notes={"bm25s": mining.version()})


def denoising(r: Ready) -> Strategy:
    """Noisy passages, drawn anew at every step, and in the variant ``static`` a teacher's vectors."""
    substitutes = sources.synonyms(r.recipe.synonyms)
    notes = {"synonyms": substitutes.source}
    passages = r.collection.passages["text"].to_pylist()
    teacher: np.ndarray | None = None
    if r.recipe.variant == "static":
        teacher = r.small().encode_passages(passages)
        notes["teacher"] = str(surrogate_recipe(r.recipe))
    known = substitutes_of(_taken_from(r.recipe, r.collection, r.source), substitutes)
    touch = with_noise(r.recipe, r.pairs, passages, r.tokenise, known)
    return Strategy(r.recipe, r.pairs, touch, teacher, notes=notes)


def adversarial(r: Ready) -> Strategy:
    """Attacked passages, made once."""
    substitutes = sources.synonyms(r.recipe.synonyms)
    made_by = f"{r.attack}; white box {surrogate_recipe(r.recipe)}; substitutes {substitutes.source}"
    whole = _taken_from(r.recipe, r.collection, r.source)
    examples = attacked(whole, r.recipe, lambda: r.attack(r.small(), substitutes), made_by, refresh=r.refresh)
    touch = with_attacked(r.recipe, r.pairs, examples, r.tokenise)
    cost = {"examples": len(examples.texts), "examples_changed": examples.changed, "examples_seconds": examples.seconds}
    return Strategy(r.recipe, r.pairs, touch, mark=examples.mark, notes={"examples": made_by}, cost=cost)


def made_ready(
    recipe: Recipe,
    collection: Collection,
    pairs: Pairs,
    encoder: BiEncoder,
    *,
    source: Collection | None = None,
    refresh: bool = False,
    start_on: Collection | None = None,
) -> Strategy:
    """:func:`prepare` with the word substitution attack and a surrogate that is trained where it is needed.

    ``start_on`` is what the starts "mlm" and "retromae" read, the benchmark's own training collection.
    """

    def small() -> BiEncoder:
        plain, read = surrogate_recipe(recipe), _taken_from(recipe, collection, source)
        surrogate = build(plain, all_texts(read) if plain.start == "scratch" else None)
        begin(surrogate, plain, start_on or source or collection)
        return remembered(surrogate, read, plain, lambda e: train(e, tokenised(e, read), plain, alone=True))

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
    text = ("texts", "annotation", "query_tokens", "passage_tokens", "corpus")
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
