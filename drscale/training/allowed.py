"""Which strategies there are, and what a recipe may ask of each. Never imports torch: a plan is made in no time."""

from __future__ import annotations

from dataclasses import fields

from drscale.recipe import BY_GRADIENTS, FIRST_VARIANT, Recipe

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
