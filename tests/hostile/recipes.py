"""Bad recipes: every field with wrong values, wrong rungs, spellings that are cut or carry something along."""

from __future__ import annotations

import math
import typing
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drscale.labels import supervision  # a plan loads it, and torch with it: not while an input waits
from drscale.ladder import ladder
from drscale.recipe import Recipe, grid, register_strategy
from drscale.runs import RunStore
from drscale.study import plan_study
from hostile.judge import Case

BASE = Recipe(texts="planted", rung="L2H12")
NAN, INF, HUGE = math.nan, math.inf, 10**400
LEAST = {"steps": 1, "batch": 2, "negatives": 1, "top": 1, "iterations": 1, "query_tokens": 4, "passage_tokens": 4}
RANGES: dict[str, list[float]] = {
    "rate": [0.0, -1e-3],
    "decay": [-0.1],
    "dropout": [-0.1, 1.0, 2.0],
    "share": [0.0, -1.0, 1.1],
    "weight": [-1.0],
    "omega": [-0.5],
    "eta": [0.0, -1.0],
    "smooth": [-0.1, 1.0],
}
NO_TEXT: list[object] = [None, 5, 1.5, True, b"x", ["x"], ("x",), {"x": 1}, math.nan, np.str_]
TEXTS = ("texts", "rung", "ladder", "strategy", "variant", "synonyms", "attack", "teachers", "instruction")


def _wrong(name: str, kind: Any) -> list[object]:
    """Values that a field of this type cannot have."""
    if kind is int:
        least = LEAST.get(name, 0)
        return [least - 1, -(10**9), "ten", "", None, 1.5, float(least + 1), True, NAN, INF, [least + 1], HUGE, b"1"]
    if kind is float:
        return [*RANGES[name], "x", "0.1", None, NAN, INF, -INF, True, [0.5], HUGE, 1j]
    if kind is str:
        return NO_TEXT if name in TEXTS else []
    usual = typing.get_args(kind)
    return ["", "other", usual[0].upper(), f" {usual[0]}", None, 0, True, [usual[0]], b"mean"]


def recipe_cases(place: Path) -> list[Case]:
    """Fields with wrong values, given to Recipe, to but and to grid; rungs and combinations, given to a plan."""
    hints = typing.get_type_hints(Recipe)
    assert supervision
    found = []
    for f in fields(Recipe):
        for value in _wrong(f.name, hints[f.name]):
            # A registered strategy names its variants, so a wrong strategy is told first.
            names = (f.name, "too large") if value is not HUGE else (f.name,)
            found.append(Case(f"{f.name}={value!r:.60}", partial(BASE.but, **{f.name: value}), names))
    for name in ("texts", "rung"):
        found.append(Case(f"{name}=''", partial(BASE.but, **{name: ""}), (name,)))
    return [*found, *_parsed(), *_planned(place), *_grids(), *_hostile_texts(), *_strategies(), *_ladders()]


def _parsed() -> list[Case]:
    good = "texts=planted,rung=L2H12"
    wrong = [
        "",
        " ",
        ",",
        "planted",
        "texts",
        "texts=",
        "=planted",
        "texts=planted,",
        ",texts=planted",
        f"{good},steps",
        f"{good},steps=",
        f"{good},steps=ten",
        f"{good},steps=1e3",
        f"{good},steps=1.0",
        f"{good},steps=-5",
        f"{good},steps=0x10",
        f"{good},steps={'9' * 400}",
        f"{good},steps={'9' * 5000}",
        f"{good},steps=10,steps=20",
        f"{good},Steps=10",
        f"{good},stepps=10",
        f"{good},rate=fast",
        f"{good},rate=nan",
        f"{good},rate=inf",
        f"{good},rate=1,5",
        f"{good},share=50%25",
        f"{good},pooling=max",
        f"{good},pooling=Mean",
        f"{good},__class__=x",
        f"{good},file_stem=x",
        f"{good},seed=\u00b2",
        f"{good},seed=1 2",
    ]
    found = []
    for text in wrong:
        last = text.rpartition(",")[2].partition("=")[0].strip()[:20] or "recipe"
        found.append(
            Case(f"parse({text!r:.200}), {len(text)} characters", partial(Recipe.parse, text), ("recipe", last))
        )
    for value in (None, 5, b"texts=planted", ["texts=planted"], BASE):
        found.append(Case(f"parse({value!r:.200})", partial(Recipe.parse, value), ("recipe",)))  # type: ignore[arg-type]
    for text, why in (
        (f"{good},seed=\u0661", "int() reads the digits of every script, and the recipe prints with our own"),
        (f"{good},seed= 1", "int() reads blanks around a number, and the recipe prints without them"),
        (f"{good},seed=1_0", "Python writes numbers so"),
        ("rung=L2H12,texts=planted", "the order of the fields says nothing"),
        ("texts=planted,rung=L2H12,seed=0", "a default may be said"),
    ):
        found.append(Case(f"parse({text!r:.200})", partial(_round_trip, Recipe.parse, text), accept=why))
    return found


def _round_trip(make: Any, *given: Any) -> None:
    recipe = make(*given)
    if Recipe.parse(str(recipe)) != recipe:
        raise AssertionError(f"{recipe} does not come back")


def _planned(place: Path) -> list[Case]:
    """What a recipe may say and a plan has to refuse."""
    rungs = [
        "L2",
        "H128",
        "L0H12",
        "L2H0",
        "L-2H12",
        "L2H12 ",
        " L2H12",
        "l2h12",
        "L2H12H12",
        "L2.5H12",
        "L\u0662H\u0661\u0662",
        "L2H1\u00b2",
        "L2H" + "9" * 30,
        "L" + "9" * 30 + "H12",
        "L2H" + "9" * 300,
        "L2H7",
        "big",
        "base",
        "bert-base-uncased",
        "owner/name",
        "/",
        "../L2H12",
        "L2H12\n",
        "L2H12\0",
        "\u202eL2H12",
        "nan",
        "None",
        "minilm-L9",
    ]
    changes: list[tuple[dict[str, Any], str]] = [({"rung": rung}, "rung") for rung in rungs]
    changes += [({"ladder": name}, "ladder") for name in ("", "LOCAL", "bert-large", "owner/", "a+b", "/no/such", "\0")]
    changes += [({"ladder": name, "rung": "L2H12"}, "rung") for name in ("ernie", "minilm", "ettin-encoder")]
    changes += [({"strategy": name}, "strategy") for name in ("", "Standard", "hard-negative", "none", "\0")]
    for strategy in ("hard_negative", "denoising", "adversarial", "instructed", "supervised"):
        changes += [({"strategy": strategy, "variant": variant}, "variant") for variant in ("nothing", "POOL")]
    changes += [({"synonyms": s, "strategy": "denoising"}, "synonyms") for s in ("", "glov", "encoder?x=1", "vectors:")]
    changes += [({"attack": a, "attacked": 5}, "attack") for a in ("", "Words", "none")]
    changes += [
        ({"teachers": t, "strategy": "supervised"}, "teacher")
        for t in ("", "+", "bm25+", "+bm25", "bm25+bm25", "BM25", "nobody", "run:/no/such.run", "hub:", "\0")
    ]
    changes += [
        ({"strategy": "supervised", "teachers": "bm25", "top": 46}, "top"),
        ({"top": 5}, "top"),
        ({"teachers": "bm25"}, "teachers"),
        ({"share": 0.5}, "share"),
        ({"weight": 0.5}, "weight"),
        ({"omega": 0.3}, "omega"),
        ({"eta": 0.3}, "eta"),
        ({"smooth": 0.3}, "smooth"),
        ({"synonyms": "wordnet"}, "synonyms"),
        ({"attack": "other"}, "attack"),
        ({"balance": "pareto"}, "balance"),
        ({"strategy": "hard_negative", "balance": "fixed"}, "balance"),
        ({"strategy": "hard_negative", "variant": "pairwise", "balance": "fixed", "omega": 2.0}, "omega"),
        ({"strategy": "hard_negative", "variant": "pairwise", "balance": "pareto", "omega": 0.0}, "omega"),
        ({"strategy": "hard_negative", "variant": "pairwise", "balance": "mgda", "precision": "fp16"}, "fp16"),
        ({"steps": 100, "iterations": 3}, "iterations"),
        ({"steps": 100, "iterations": 2, "warmup": 50}, "warmup"),
        ({"lora": 4}, "lora"),
        ({"mask": "bidirectional"}, "mask"),
        ({"start": "retromae", "pooling": "last"}, "pooling"),
        ({"ladder": "local-decoder", "start": "mlm"}, "start"),
        ({"warmup": 1001, "steps": 1000}, "warmup"),
        ({"warmup": 5000, "steps": 1000}, "warmup"),
        ({"texts": "nothing"}, "texts"),
        ({"texts": "planted?pairs=x"}, "pairs"),
        ({"pairs": 1}, "pairs"),
        ({"pairs": 100, "batch": 200}, "batch"),
        ({"passage_tokens": 10**6}, "passage_tokens"),
        ({"query_tokens": 10**6}, "query_tokens"),
    ]
    store = RunStore(place / "runs")
    found = []
    for change, name in changes:
        said = ", ".join(f"{k}={v!r:.60}" for k, v in change.items())
        found.append(Case(f"plan {said}", lambda c=change: plan_study([BASE.but(**c)], store), (name,)))  # type: ignore[misc]
    for text in (
        "texts=planted;rung=L2H12",
        "texts==planted",
        "texts=planted rung=L2H12",
        "texts=planted,rung=L2H12\nsteps=1",
    ):
        made = partial(plan_study, [Recipe.parse(text)], store)  # a recipe carries any text; the plan has to refuse it
        found.append(Case(f"plan {text!r}", made, ("texts", "rung")))
    for value in (None, BASE, "texts=planted", [None], ["texts=planted"], 5):
        found.append(Case(f"plan_study({value!r:.200})", partial(plan_study, value, store), ("recipes",)))  # type: ignore[arg-type]
    found.append(Case("plan_study(store=a path)", partial(plan_study, [BASE], str(place)), ("store",)))  # type: ignore[arg-type]
    return found


def _grids() -> list[Case]:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"colour": ["red"]}, "colour"),
        ({"Rung": ["L2H12"]}, "Rung"),
        ({"rung": "L2H12"}, "rung"),
        ({"seed": 3}, "seed"),
        ({"rung": None}, "rung"),
        ({"rung": b"L2H12"}, "rung"),
        ({"rung": [None]}, "rung"),
        ({"seed": [0, "one"]}, "seed"),
        ({"seed": [0.5]}, "seed"),
        ({"seed": []}, "seed"),
        ({"seed": {}}, "seed"),
        ({"seed": pd.DataFrame({"a": [1.5]})}, "seed"),
        ({"rate": [math.nan]}, "rate"),
    ]
    found = [Case(f"grid({lists!r:.200})", partial(grid, BASE, **lists), (name,)) for lists, name in wrong]
    for base in (None, "texts=planted", {}, Recipe):
        found.append(Case(f"grid({base!r:.200})", partial(grid, base, seed=[1]), ("base",)))  # type: ignore[arg-type]
    why = "a value twice is one recipe"
    found.append(Case("grid(seed=[1, 1])", partial(grid, BASE, seed=[1, 1]), accept=why))
    return found


def _hostile_texts() -> list[Case]:
    """Texts that want to break out of a file name or a line: they come back as they were, in a safe file name."""

    def kept(text: str) -> None:
        recipe = Recipe(texts=text, rung="L2H12", instruction=text)
        stem = recipe.file_stem
        if Recipe.parse(str(recipe)) != recipe:
            raise AssertionError(f"{text!r} does not come back")
        if len(stem) > 200 or set(stem) & set("/\\:\0\n\r") or stem.startswith(".") or not stem.isascii():
            raise AssertionError(f"the file name {stem!r} is not safe")

    texts = (
        "../../etc/passwd",
        "..%2F..%2Fetc",
        "a/b\\c",
        "C:\\con",
        "a,b=c",
        "steps=5,seed=1",
        "a\nb",
        "a\r\nb",
        "a\0b",
        "\u202eabc",
        "\u200b",
        "x" * 10_000,
        "%",
        "%zz",
        "~7E",
        "a+b@c",
        " ",
        "\u00e9\u0301",
        "\U0001f600",
        "'; rm -rf /",
        "<script>alert(1)</script>",
        "$(id)",
        "*?[",
    )
    why = "a recipe carries any text, quoted; the plan says whether it can be read"
    found = [Case(f"texts={text!r:.30}", partial(kept, text), accept=why) for text in texts]
    found.append(Case("texts='\\ud800'", partial(kept, "\ud800"), ("texts",)))
    found.append(Case("instruction='\\ud800'", partial(BASE.but, instruction="\ud800"), ("instruction",)))
    return found


def _strategies() -> list[Case]:
    def prepare(recipe: Recipe, collection: Any, pairs: Any, encoder: Any) -> None: ...

    def register(*given: Any, **options: Any) -> object:
        return register_strategy(*given, **options)

    wrong: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
        ("no name", ("", prepare), {}, "name"),
        ("a blank in the name", ("a b", prepare), {}, "name"),
        ("a comma in the name", ("a,b", prepare), {}, "name"),
        ("a name of None", (None, prepare), {}, "name"),
        ("a built-in name", ("standard", prepare), {}, "name"),
        ("no function", ("hostile", "prepare"), {}, "prepare"),
        ("None as function", ("hostile", None), {}, "prepare"),
        ("variants of a text", ("hostile", prepare), {"variants": "ab"}, "variants"),
        ("no variants", ("hostile", prepare), {"variants": ()}, "variants"),
        ("variants of numbers", ("hostile", prepare), {"variants": (1,)}, "variants"),
        ("unknown losses", ("hostile", prepare), {"losses": ("x",)}, "losses"),
        ("unknown options", ("hostile", prepare), {"options": ("colour",)}, "options"),
        ("minus one text", ("hostile", prepare), {"extra_texts": -1}, "extra_texts"),
        ("texts of a variant that is none", ("hostile", prepare), {"extra_texts": {"x": 1}}, "extra_texts"),
        ("texts of None", ("hostile", prepare), {"extra_texts": None}, "extra_texts"),
    ]
    return [Case(f"register_strategy: {w}", partial(register, *g, **o), (name,)) for w, g, o, name in wrong]


def _ladders() -> list[Case]:
    wrong: tuple[object, ...] = (
        "",
        "LOCAL",
        "nothing",
        None,
        5,
        [],
        ["x"],
        ["a/b", "a/b"],
        [None],
        "a+b",
        b"local",
        True,
    )
    return [Case(f"ladder({value!r})", partial(ladder, value), ("ladder",)) for value in wrong]  # type: ignore[arg-type]
