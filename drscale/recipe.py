"""How a run is made: a recipe that prints as it parses, checked field by field. Never imports torch.

Which strategies there are, and what a recipe may ask of each. Never imports torch: a plan is made in no time.
"""

from __future__ import annotations

import hashlib
import math
import numbers
import typing
import urllib.parse
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

Start = Literal["scratch", "table", "checkpoint"]
Towers = Literal["shared", "two"]
Pooling = Literal["mean", "cls"]
Pool = Literal["in_batch", "shared", "both"]
Schedule = Literal["constant", "linear", "cosine"]
Select = Literal["last", "validation", "test"]
Precision = Literal["fp32", "bf16", "fp16"]
Corpus = Literal["chosen", "whole"]
Variant = Literal["", "pool", "dynamic", "static", "kl", "pairwise"]
Balance = Literal["none", "fixed", "pareto", "mgda", "pcgrad"]
BY_GRADIENTS = ("mgda", "pcgrad")  # balances that need both losses' gradients, one by one
FIRST_VARIANT: dict[str, Variant] = {"hard_negative": "pool", "denoising": "dynamic", "adversarial": "kl"}


@dataclass(frozen=True)
class Recipe:
    """Say how one run is made; ``Recipe.parse(str(recipe)) == recipe``.

    The printed form names ``texts`` and ``rung`` always and every other field only where it differs from the defaults
    below, so the defaults are part of the format and never change. ``pairs=0`` means all training pairs; ``rate`` is
    AdamW's peak learning rate; ``warmup`` counts steps; ``query_tokens`` and ``passage_tokens`` are truncation lengths.
    ``corpus`` says where negatives come from, random, mined or attacked: the ``whole`` training collection, as in the
    papers, or the ``chosen`` pairs' own passages, as in every record made before there was a choice (so that a data
    law of theirs mixes the number of pairs with the size of the pool). With ``whole`` an attack, too, takes place among
    the passages of test and training together.
    ``share`` is the share of the pairs that ``strategy`` touches, ``weight`` the factor before its loss; ``balance``
    says what weighs the two losses in its stead, and ``omega``, ``eta`` and ``smooth`` belong to that (Eq. 9 and 10);
    ``synonyms`` names where the substitutes come from that noise and attacks put into passages. ``attacked`` queries of
    the test set are attacked when the run is scored.

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
    variant: Variant = ""
    share: float = 1.0
    weight: float = 1.0
    balance: Balance = "none"
    omega: float = 0.5
    eta: float = 0.1
    smooth: float = 0.0
    synonyms: str = "encoder"
    attacked: int = 0
    precision: Precision = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for f in fields(self):
            value, kind = getattr(self, f.name), hints[f.name]
            allowed = get_args(kind)
            if allowed and value not in allowed:
                raise ValueError(f"Recipe.{f.name}={value!r}: allowed are {', '.join(map(repr, allowed))}")
            # A row of a table brings numpy's numbers, which would print as 'np.float64(0.001)'.
            number = {int: numbers.Integral, float: numbers.Real}.get(kind, kind)
            if not allowed and (not isinstance(value, number) or isinstance(value, bool)):
                raise ValueError(f"Recipe.{f.name}={value!r}: expected {kind.__name__}")
            if kind in (int, float):
                object.__setattr__(self, f.name, kind(value))
            if kind is float and not math.isfinite(value):
                raise ValueError(f"Recipe.{f.name}={value!r}: expected a finite number")
        least_of = {"pairs": 0, "steps": 1, "batch": 2, "negatives": 1, "projection": 0, "warmup": 0, "seed": 0}
        for name, least in {**least_of, "attacked": 0, "query_tokens": 4, "passage_tokens": 4}.items():
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
            object.__setattr__(self, "variant", FIRST_VARIANT.get(self.strategy, ""))
        if not self.texts or not self.rung:
            raise ValueError(f"Recipe: texts={self.texts!r} and rung={self.rung!r} must not be empty")

    def __str__(self) -> str:
        shown = [f for f in fields(self) if f.name in ("texts", "rung") or getattr(self, f.name) != f.default]
        return ",".join(f"{f.name}={_quote(getattr(self, f.name))}" for f in shown)

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """Read a recipe back from its printed form."""
        hints, values = get_type_hints(cls), {}
        for part in text.split(","):
            name, equals, raw = part.partition("=")
            if not equals or name not in hints:
                raise ValueError(
                    f"recipe {text!r}: {part!r} is not one of {', '.join(hints)} followed by '=' and a value"
                )
            if name in values:
                raise ValueError(f"recipe {text!r}: {name} is given twice")
            kind, plain = hints[name], urllib.parse.unquote(raw)
            try:
                values[name] = kind(plain) if kind in (int, float) else plain
            except ValueError:
                raise ValueError(f"recipe {text!r}: {name}={plain!r} is no {kind.__name__}") from None
        return cls(**typing.cast(dict[str, Any], values))

    @property
    def file_stem(self) -> str:
        """A file name that is safe everywhere; long recipes end in a hash."""
        stem = str(self).replace("~", "~7E").replace("%", "~").replace("/", "~2F").replace(":", "~3A")
        if len(stem) <= 180:
            return stem
        return f"{stem[:160]}+{hashlib.sha256(str(self).encode()).hexdigest()[:16]}"

    def but(self, **changes: Any) -> Recipe:
        """Copy this recipe with some fields changed; another strategy begins with its own first variant."""
        return replace(self, **({"variant": ""} if "strategy" in changes else {}) | changes)


def _quote(value: object) -> str:
    text = repr(value) if isinstance(value, float) else str(value)
    return urllib.parse.quote(text, safe=":/@+._- ") if isinstance(value, str) else text


VARIANTS: dict[str, tuple[str, ...]] = {
    "standard": ("",),
    "hard_negative": ("pool", "pairwise"),
    "denoising": ("dynamic", "static", "pairwise"),
    "adversarial": ("kl", "pool", "pairwise"),
}
WITHOUT_LOSS = {("standard", ""), ("hard_negative", "pool")}  # strategies without a robustness loss of their own


def check(recipe: Recipe) -> None:
    """Refuse a recipe whose strategy is unknown, or that names what its strategy has no use for."""
    if recipe.strategy not in VARIANTS:
        raise ValueError(f"strategy={recipe.strategy!r}: allowed are {', '.join(map(repr, VARIANTS))}")
    allowed = VARIANTS[recipe.strategy]
    if recipe.variant not in allowed:
        known = f"allowed are {', '.join(map(repr, allowed))}" if allowed != ("",) else "it has no variants"
        raise ValueError(f"variant={recipe.variant!r} of strategy={recipe.strategy!r}: {known}")
    robust = (recipe.strategy, recipe.variant) not in WITHOUT_LOSS
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
    used = {
        "share": recipe.strategy != "standard",
        "weight": robust and recipe.balance == "none",
        "omega": recipe.balance in ("fixed", "pareto"),
        "eta": recipe.balance == "pareto",
        "smooth": recipe.balance == "pareto",
        "synonyms": recipe.strategy in ("denoising", "adversarial") or recipe.attacked > 0,
    }
    for f in fields(Recipe):
        if not used.get(f.name, True) and getattr(recipe, f.name) != f.default:
            raise ValueError(f"{f.name}={getattr(recipe, f.name)}: {_named(recipe)} makes no use of it")


def _named(recipe: Recipe) -> str:
    variant = f" ({recipe.variant})" if recipe.variant != FIRST_VARIANT.get(recipe.strategy, "") else ""
    balance = f" with balance={recipe.balance!r}" if recipe.balance != "none" else ""
    return f"strategy={recipe.strategy!r}{variant}{balance}"
