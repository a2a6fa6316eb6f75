"""How a run is made: a recipe that prints as it parses, checked field by field. Never imports torch."""

from __future__ import annotations

import hashlib
import itertools
import math
import numbers
import typing
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, Literal, get_args, get_type_hints

from drscale.results import did_you_mean

Start = Literal["scratch", "table", "mlm", "retromae", "checkpoint"]
ON_TABLE = ("table", "mlm", "retromae")  # starts whose word vectors are a frozen table and a map
Towers = Literal["shared", "two"]
Pooling = Literal["mean", "cls", "last"]
Mask = Literal["own", "bidirectional"]
Pool = Literal["in_batch", "shared", "both"]
Schedule = Literal["constant", "linear", "cosine"]
Select = Literal["last", "validation", "test"]
Precision = Literal["fp32", "bf16", "fp16"]
Corpus = Literal["chosen", "whole"]
Annotation = Literal["human", "ict", "ict_kept", "cropped", "generated", "mixture"]
Balance = Literal["none", "fixed", "pareto", "mgda", "pcgrad"]
LARGEST = 2**53  # of a whole number in a recipe
BY_GRADIENTS = ("mgda", "pcgrad")  # balances that need both losses' gradients, one by one


@dataclass(frozen=True)
class Recipe:
    """Say how one run is made; ``Recipe.parse(str(recipe)) == recipe``.

    The printed form names ``texts`` and ``rung`` always and every other field only where it differs from the defaults
    below, so the defaults are part of the format and never change. ``pairs=0`` means all training pairs; ``rate`` is
    AdamW's peak learning rate; ``warmup`` counts steps; ``query_tokens`` and ``passage_tokens`` are truncation lengths.
    ``start`` says what the layers begin with: ``scratch`` (nothing, and a vocabulary of the texts' own), ``table``
    (nothing, but MiniLM's frozen word-piece table), ``mlm`` and ``retromae`` (the table, and layers trained on the
    benchmark's training passages beforehand, :mod:`drscale.training.pretrain`) or ``checkpoint`` (the rung's).
    ``corpus`` says where negatives come from, random, mined or attacked: the ``whole`` training collection, as in the
    papers, or the ``chosen`` pairs' own passages, as in every record made before there was a choice (so that a data
    law of theirs mixes the number of pairs with the size of the pool). With ``whole`` an attack, too, takes place among
    the passages of test and training together.
    ``share`` is the share of the pairs that ``strategy`` touches, ``weight`` the factor before its loss; ``balance``
    says what weighs the two losses in its stead, and ``omega``, ``eta`` and ``smooth`` belong to that (Eq. 9 and 10);
    ``synonyms`` names where the substitutes come from that noise and attacks put into passages. ``attacked`` queries of
    the test set are attacked when the run is scored, by ``attack``, a name of :data:`drscale.attacks.registry.ATTACKS`.
    ``annotation`` says where the training queries come from: people, or the training passages themselves
    (:mod:`drscale.labels.queries`). ``strategy`` is a name of :data:`STRATEGIES`, ``variant`` one of its kinds: those
    of "supervised" are progressive, uniform, fused and soft. ``teachers``, joined by "+", rank the passages for each
    training query where the strategy takes its positives from them, the ``top`` first passages of each list; its
    negatives come from ranks 46 to 50 (:data:`drscale.labels.supervision.NEGATIVES`), which is no field.
    ``pooling="last"`` takes the last token's state, the usual of decoders; ``mask="bidirectional"`` lets a decoder's
    tokens see those behind them, too. ``instruction`` stands before each query, inside its ``query_tokens``. ``lora``
    is the rank of adapters that are trained in place of a checkpoint's weights; 0 trains the weights.
    ``iterations`` splits the steps into so many equal parts, each with an optimiser and a schedule that start anew.

    >>> import drscale as ds
    >>> recipe = ds.Recipe(texts="planted", rung="L2H32", steps=200)
    >>> print(recipe)
    texts=planted,rung=L2H32,steps=200
    >>> ds.Recipe.parse(str(recipe)) == recipe
    True
    >>> recipe.but(seed=1).seed
    1
    """

    texts: str = "docs"
    rung: str = "L2H128"
    ladder: str = "local"
    start: Start = "table"
    towers: Towers = "shared"
    pooling: Pooling = "mean"
    projection: int = 768
    pairs: int = 0
    steps: int = 1000
    batch: int = 64
    pool: Pool = "in_batch"
    negatives: int = 256
    corpus: Corpus = "chosen"
    rate: float = 1e-3
    schedule: Schedule = "constant"
    warmup: int = 0
    decay: float = 0.01
    dropout: float = 0.0
    query_tokens: int = 24
    passage_tokens: int = 64
    select: Select = "last"
    strategy: str = "standard"
    variant: str = ""
    share: float = 1.0
    weight: float = 1.0
    balance: Balance = "none"
    omega: float = 0.5
    eta: float = 0.1
    smooth: float = 0.0
    synonyms: str = "encoder"
    attacked: int = 0
    attack: str = "words"
    annotation: Annotation = "human"
    teachers: str = ""
    top: int = 10
    iterations: int = 1
    precision: Precision = "fp32"
    seed: int = 0
    mask: Mask = "own"
    instruction: str = ""
    lora: int = 0

    def __post_init__(self) -> None:
        for f, kind, allowed in _fields():
            value = getattr(self, f.name)
            if f.name == "variant" and self.strategy in STRATEGIES:  # another process may know more strategies
                allowed = tuple(dict.fromkeys(v for row in STRATEGIES.values() for v in ("", *row.variants)))
            if allowed and value not in allowed:
                raise ValueError(f"Recipe.{f.name}={value!r}: allowed are {_listed(value, allowed)}")
            # A row of a table brings numpy's numbers, which would print as 'np.float64(0.001)'.
            if not allowed and type(value) is not kind:
                number = {int: numbers.Integral, float: numbers.Real}.get(kind, kind)
                if not isinstance(value, number) or isinstance(value, bool):
                    raise ValueError(f"Recipe.{f.name}={value!r}: expected {kind.__name__}")
            if kind is str and not _encodes(value):
                raise ValueError(f"Recipe.{f.name}={value!r}: holds half a surrogate pair, which no file can keep")
            if kind in (int, float) and type(value) is not kind:
                try:
                    object.__setattr__(self, f.name, kind(value))
                except OverflowError:
                    raise ValueError(f"Recipe.{f.name}={str(value)[:20]}...: expected a finite number") from None
            if kind is int and abs(value) > LARGEST:
                raise ValueError(f"Recipe.{f.name}={str(value)[:20]}...: at most {LARGEST}")
            if kind is float and not math.isfinite(value):
                raise ValueError(f"Recipe.{f.name}={value!r}: expected a finite number")
        least_of = {
            "pairs": 0,
            "steps": 1,
            "batch": 2,
            "negatives": 1,
            "projection": 0,
            "warmup": 0,
            "seed": 0,
            "top": 1,
            "iterations": 1,
        }
        for name, least in {**least_of, "attacked": 0, "lora": 0, "query_tokens": 4, "passage_tokens": 4}.items():
            if getattr(self, name) < least:
                raise ValueError(f"Recipe.{name}={getattr(self, name)}: at least {least}")
        shares = 0 < self.share <= 1 and 0 <= self.dropout < 1 and 0 <= self.smooth < 1
        if not (shares and self.rate > 0 and self.eta > 0 and min(self.decay, self.weight, self.omega) >= 0):
            raise ValueError(
                f"Recipe: rate={self.rate} must be > 0, decay={self.decay} >= 0, share={self.share} in (0, 1], "
                f"dropout={self.dropout} in [0, 1), weight={self.weight} >= 0, omega={self.omega} >= 0, "
                f"eta={self.eta} > 0, smooth={self.smooth} in [0, 1)"
            )
        if not self.variant:
            object.__setattr__(self, "variant", first_variant(self.strategy))
        if not self.texts or not self.rung:
            raise ValueError(f"Recipe: texts={self.texts!r} and rung={self.rung!r} must not be empty")

    def __str__(self) -> str:
        return self._printed(":/@+._- ?&=")

    @property
    def coded(self) -> str:
        """The printed form with ``?``, ``&`` and ``=`` of a value as percent signs: what keys of old records are."""
        return self._printed(":/@+._- ")

    def _printed(self, plain: str) -> str:
        shown = [f for f, *_ in _fields() if f.name in ("texts", "rung") or getattr(self, f.name) != f.default]
        return ",".join(f"{f.name}={_quote(getattr(self, f.name), plain)}" for f in shown)

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Read a recipe back from its printed form."""
        if not isinstance(text, str):
            raise ValueError(f"recipe {text!r}: its printed form is needed, a text")
        hints, values = _hints(), {}
        shown = f"{text[:200]!r}{'...' if len(text) > 200 else ''}"
        for part in text.split(","):
            name, equals, raw = part.partition("=")
            if not equals or name not in hints:
                raise ValueError(
                    f"recipe {shown}: {part!r:.80} is not one of {', '.join(hints)} followed by '=' and a value"
                )
            if name in values:
                raise ValueError(f"recipe {shown}: {name} is given twice")
            kind, plain = hints[name], urllib.parse.unquote(raw)
            try:
                values[name] = kind(plain) if kind in (int, float) else plain
            except ValueError:
                raise ValueError(f"recipe {shown}: {name}={plain!r:.80} is no {kind.__name__}") from None
        return cls(**typing.cast(dict[str, Any], values))

    @property
    def file_stem(self) -> str:
        """A file name that is safe everywhere; long recipes end in a hash."""
        stem = self.coded.replace("~", "~7E").replace("%", "~").replace("/", "~2F").replace(":", "~3A")
        if len(stem) <= 180:
            return stem
        return f"{stem[:160]}+{hashlib.sha256(self.coded.encode()).hexdigest()[:16]}"

    def but(self, **changes: Any) -> Recipe:
        """Copy this recipe with some fields changed; another strategy begins with its own first variant."""
        return replace(self, **({"variant": ""} if "strategy" in changes else {}) | changes)


def _listed(value: object, allowed: Iterable[object]) -> str:
    words = [str(word) for word in allowed]
    return ", ".join(map(repr, words)) + did_you_mean(value, filter(None, words))


@lru_cache(maxsize=4)
def _hints() -> dict[str, Any]:
    """The types of a recipe's fields; looked up once, as a store reads thousands of recipes."""
    return get_type_hints(Recipe)


@lru_cache(maxsize=4)
def _fields() -> list[tuple[Any, Any, tuple[Any, ...]]]:
    """A recipe's fields with their types and the values that are allowed, none where any of the type is."""
    return [(f, kind, get_args(kind)) for f in fields(Recipe) for kind in [_hints()[f.name]]]


def _encodes(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _quote(value: object, plain: str) -> str:
    return _quoted(value, plain) if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)


@lru_cache(maxsize=4096)
def _quoted(text: str, plain: str) -> str:
    return urllib.parse.quote(text, safe=plain)


def grid(base: Recipe, **lists: Iterable[Any]) -> list[Recipe]:
    """Every combination of the given fields on top of a base recipe, the last field varying fastest.

    >>> import drscale as ds
    >>> recipes = ds.grid(ds.Recipe(texts="planted"), rung=["L2H12", "L2H16"], seed=range(3))
    >>> len(recipes)
    6
    >>> print(recipes[-1])
    texts=planted,rung=L2H16,seed=2
    """
    if not isinstance(base, Recipe):
        raise ValueError(f"grid(base={base!r}): a Recipe is needed, as ds.Recipe(texts='docs')")
    known = {f.name for f in fields(Recipe)}
    for name in lists:
        if name not in known:
            raise ValueError(f"grid({name}=...): a recipe has the fields {', '.join(sorted(known))}")
    for name, some in lists.items():
        if isinstance(some, str | bytes) or not isinstance(some, Iterable):
            raise ValueError(f"grid({name}={some!r}): a list is needed, as [{some!r}]")
    names, values = list(lists), [list(v) for v in lists.values()]
    for name, some in zip(names, values, strict=True):
        if not some:
            raise ValueError(f"grid({name}=[]): at least one value is needed")
    return list(dict.fromkeys(base.but(**dict(zip(names, v, strict=True))) for v in itertools.product(*values)))


def recipes_of(body: Mapping[str, Any]) -> list[Recipe]:
    """The recipes of a study's tables: ``base``, and every combination of the lists of each ``grid`` on top of it.

    >>> from drscale.recipe import recipes_of
    >>> [recipe.seed for recipe in recipes_of({"base": {"texts": "planted"}, "grid": [{"seed": [0, 1]}]})]
    [0, 1]
    """
    unknown = body.keys() - {"store", "keep", "base", "grid"}
    if unknown:
        raise ValueError(f"unknown tables {', '.join(sorted(unknown))}; allowed are store, keep, base, grid")
    if not body.keys() & {"base", "grid"}:
        raise ValueError("a study needs a table [base], tables [[grid]], or both; there is none")
    known, grids = {f.name for f in fields(Recipe)}, body.get("grid", [{}])
    if not isinstance(body.get("base", {}), dict):
        raise ValueError(f"base={body['base']!r}: a table [base] is needed")
    if not isinstance(grids, list) or not all(isinstance(g, dict) for g in grids):
        raise ValueError("grid: tables [[grid]] are needed, with two brackets")
    for name in body.get("base", {}).keys() - known:
        raise ValueError(f"[base] has no field {name!r}; a recipe has {', '.join(sorted(known))}")
    base = Recipe(**body.get("base", {}))
    many = [{k: v if isinstance(v, list) else [v] for k, v in g.items()} for g in grids]
    return list(dict.fromkeys(r for g in many for r in grid(base, **g)))


@dataclass(frozen=True)
class StrategyRow:
    """What others ask of a training strategy: its variants, its costs, what it uses of a recipe, how it gets ready.

    ``losses`` are the variants with a robustness loss of their own. ``texts`` is how many texts are encoded for each
    pair that is touched, beside the pair's own, a number or one a variant. ``options`` are the fields of a recipe that
    the strategy uses and others do not. ``draws`` says that what it adds comes from the collection trained on.
    ``prepare`` is a function or, so that torch stays unloaded, where one stands (``module:name``).
    """

    prepare: Callable[..., Any] | str
    variants: tuple[str, ...] = ("",)
    losses: tuple[str, ...] = ()
    texts: int | Mapping[str, int] = 1
    options: tuple[str, ...] = ("share",)
    draws: bool = False

    def texts_of(self, variant: str) -> int:
        """The texts that a variant adds to a touched pair."""
        return self.texts if isinstance(self.texts, int) else self.texts[variant]


_READY = "drscale.training.prepare:"
# The registry of training strategies. The first variant of each is the one that is meant where none is named.
STRATEGIES: dict[str, StrategyRow] = {
    "standard": StrategyRow(f"{_READY}standard", texts=0, options=()),
    "adversarial": StrategyRow(
        f"{_READY}adversarial",
        ("kl", "pool", "pairwise"),
        ("kl", "pool", "pairwise"),
        {"kl": 2, "pool": 1, "pairwise": 1},  # kl: a passage before the attack and after it
        ("share", "synonyms"),
        draws=True,
    ),
    "denoising": StrategyRow(
        f"{_READY}denoising",
        ("dynamic", "static", "pairwise"),
        ("dynamic", "static", "pairwise"),
        options=("share", "synonyms"),
    ),
    "hard_negative": StrategyRow(f"{_READY}hard_negative", ("pool", "pairwise"), ("pairwise",), draws=True),
    "instructed": StrategyRow(
        "drscale.instructions.train:instructed",
        ("passages_only", "joint_softmax", "sum_of_terms", "uninstructed"),
        texts={"passages_only": 0, "joint_softmax": 2, "sum_of_terms": 2, "uninstructed": 0},
        options=(),
    ),
    "supervised": StrategyRow(
        "drscale.labels.supervision:supervised",
        ("progressive", "uniform", "fused", "soft"),
        options=("teachers",),
        draws=True,
    ),
}
BUILT_IN = tuple(STRATEGIES)
OPTIONS = ("share", "synonyms", "teachers")  # what a strategy may use and another has no use for


def first_variant(strategy: str) -> str:
    """The variant that is meant where none is named; "" for a strategy that nobody registered here."""
    return STRATEGIES[strategy].variants[0] if strategy in STRATEGIES else ""


def register_strategy(
    name: str,
    prepare: Callable[..., Any],
    *,
    variants: Sequence[str] = ("",),
    losses: Sequence[str] = (),
    extra_texts: int | Mapping[str, int] = 0,
    options: Sequence[str] = ("share",),
) -> Callable[..., Any]:
    """Add a training strategy of your own: recipes name it, plans know its FLOPs, runs are trained and recorded by it.

    ``prepare(recipe, collection, pairs, encoder)`` gets ready for one run and gives ``touch(batch, step)``, which adds
    to a drawn batch (a :class:`drscale.training.batches.Batch`) what the strategy brings along, or a whole
    :class:`drscale.training.strategies.Strategy`, whose ``robust`` may be a loss of your own. Import torch inside it.
    ``losses`` are the variants that have such a loss; "pairwise" and "pool" mean as a variant what they mean elsewhere.
    ``extra_texts`` is the number of texts that are encoded for each touched pair, beside the pair's own, for the FLOPs
    of a plan: 0 for a loss of the pairs' own vectors, 1 where ``touch`` adds one of ``others`` or ``changed``.
    ``options`` are "share" (of the pairs that are touched), "synonyms", or both. A worker process has to register it,
    too. Registering a name again replaces it; ``del STRATEGIES[name]`` takes it out.

    >>> from dataclasses import replace
    >>> import numpy as np
    >>> import drscale as ds
    >>> def more_passages(recipe, collection, pairs, encoder):
    ...     def touch(batch, step):
    ...         places = np.arange(len(batch.chosen))  # of the pairs in the batch that are touched: all
    ...         others = np.random.default_rng(step).integers(len(pairs.passages), size=len(places))
    ...         return replace(batch, touched=places, others=others)
    ...     return touch
    >>> prepare = ds.register_strategy("doubled", more_passages, variants=["pool"], extra_texts=1)
    >>> str(ds.Recipe(strategy="doubled", variant="pool", share=0.5))
    'texts=docs,rung=L2H128,strategy=doubled,variant=pool,share=0.5'
    >>> from drscale.recipe import STRATEGIES
    >>> del STRATEGIES["doubled"]
    """
    if not isinstance(name, str) or not name.isidentifier() or name in BUILT_IN:
        raise ValueError(f"name={name!r}: a name of your own is needed, letters, digits and _; {BUILT_IN} are built in")
    if not callable(prepare):
        raise ValueError(f"prepare={prepare!r}: a function (recipe, collection, pairs, encoder) -> touch is needed")
    if isinstance(variants, str) or not variants or not all(isinstance(v, str) for v in variants):
        raise ValueError(f"variants={variants!r}: a list of names, the first one the usual, or [''] for none")
    if isinstance(losses, str) or not set(losses) <= set(variants):
        raise ValueError(f"losses={losses!r}: some of the variants {', '.join(map(repr, variants))}")
    if isinstance(options, str) or not set(options) <= set(OPTIONS):
        raise ValueError(f"options={options!r}: allowed are {', '.join(map(repr, OPTIONS))}")
    if not isinstance(extra_texts, int | Mapping):
        raise ValueError(f"extra_texts={extra_texts!r}: a number, or one for each variant by name, is needed")
    counts = dict.fromkeys(variants, extra_texts) if isinstance(extra_texts, int) else dict(extra_texts)
    if set(counts) != set(variants) or not all(isinstance(n, int) and n >= 0 for n in counts.values()):
        raise ValueError(
            f"extra_texts={extra_texts!r}: a number from 0, or one for each of {', '.join(map(repr, variants))}"
        )
    STRATEGIES[name] = StrategyRow(prepare, tuple(variants), tuple(losses), counts, tuple(options))
    return prepare


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose strategy is unknown, or that names what its strategy has no use for."""
    if recipe.strategy not in STRATEGIES:
        known = _listed(recipe.strategy, STRATEGIES)
        own = "" if "did you mean" in known else "; one of your own needs register_strategy first"
        raise ValueError(f"strategy={recipe.strategy!r}: allowed are {known}{own}")
    row = STRATEGIES[recipe.strategy]
    allowed = row.variants
    if recipe.variant not in allowed:
        known = f"allowed are {_listed(recipe.variant, allowed)}" if allowed != ("",) else "it has no variants"
        raise ValueError(f"variant={recipe.variant!r} of strategy={recipe.strategy!r}: {known}")
    robust = recipe.variant in row.losses
    if recipe.balance != "none" and not robust:
        hint = "; variant='pairwise' has one" if recipe.variant == "pool" else ""
        raise ValueError(f"balance={recipe.balance!r}: {_named(recipe)} has no robustness loss to weigh{hint}")
    if recipe.balance == "fixed" and recipe.omega > 1:
        raise ValueError(f"omega={recipe.omega}: with balance='fixed' it is a weight between 0 and 1")
    if recipe.balance == "pareto" and recipe.omega == 0:
        raise ValueError("omega=0.0: with balance='pareto' it must be above 0, as 1 / omega is the target")
    if recipe.balance in BY_GRADIENTS and recipe.precision == "fp16":
        raise ValueError(
            f"balance={recipe.balance!r} compares gradients, which precision='fp16' scales: use 'fp32' or 'bf16'"
        )
    if recipe.steps % recipe.iterations:
        raise ValueError(f"iterations={recipe.iterations}: steps={recipe.steps} cannot be cut into so many equal parts")
    used = {
        "share": "share" in row.options,
        "weight": robust and recipe.balance == "none",
        "omega": recipe.balance in ("fixed", "pareto"),
        "eta": recipe.balance == "pareto",
        "smooth": recipe.balance == "pareto",
        "synonyms": "synonyms" in row.options or recipe.attacked > 0,
        "attack": recipe.attacked > 0,
        "teachers": "teachers" in row.options,
        "top": "teachers" in row.options,
    }
    if recipe.iterations > 1 and recipe.warmup >= recipe.steps // recipe.iterations:
        part = recipe.steps // recipe.iterations
        raise ValueError(f"warmup={recipe.warmup}: below the {part} steps of an iteration, each of which warms up")
    if recipe.warmup > recipe.steps:
        raise ValueError(
            f"warmup={recipe.warmup}: must not be above steps={recipe.steps}, or the rate never reaches its peak"
        )
    if 0 < recipe.pairs < recipe.batch:
        raise ValueError(f"batch={recipe.batch}: at most pairs={recipe.pairs}, or a batch holds a pair twice")
    _check_body(recipe)
    for f in fields(Recipe):
        if not used.get(f.name, True) and getattr(recipe, f.name) != f.default:
            raise ValueError(f"{f.name}={getattr(recipe, f.name)}: {_named(recipe)} makes no use of it")


def _check_body(recipe: Recipe) -> None:
    """Refuse what a body from scratch cannot have; a checkpoint's own is looked at when it is loaded."""
    if recipe.lora and recipe.start != "checkpoint":
        raise ValueError(f"lora={recipe.lora}: only start='checkpoint' has weights to adapt, not {recipe.start!r}")
    if recipe.ladder == "local" and recipe.start != "checkpoint" and recipe.mask != "own":
        raise ValueError(f"mask={recipe.mask!r}: the encoders of ladder='local' see both sides already")
    if recipe.start == "retromae" and recipe.pooling == "last":
        raise ValueError("pooling='last': allowed with start='retromae' are 'mean' and 'cls'")
    if recipe.ladder == "local-decoder" and recipe.start in ("mlm", "retromae"):
        raise ValueError(f"start={recipe.start!r}: allowed of ladder='local-decoder' are 'scratch' and 'table'")


def part_of(recipe: Recipe, step: int) -> tuple[int, int]:
    """Say which of the ``iterations`` equal parts a step lies in, and which step of that part it is, both from 0."""
    return divmod(step, recipe.steps // recipe.iterations)


def _named(recipe: Recipe) -> str:
    variant = f" ({recipe.variant})" if recipe.variant != first_variant(recipe.strategy) else ""
    balance = f" with balance={recipe.balance!r}" if recipe.balance != "none" else ""
    return f"strategy={recipe.strategy!r}{variant}{balance}"
