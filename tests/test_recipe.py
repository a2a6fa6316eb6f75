"""Recipes print as they parse, name what differs and nothing else, and refuse what cannot be."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, fields
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drscale.recipe import Recipe, check
from drscale.runs import Run

LEAST = {"top": 1, "iterations": 1, "steps": 1, "batch": 2, "negatives": 1, "query_tokens": 4, "passage_tokens": 4}
FLOATS: dict[str, st.SearchStrategy[float]] = {
    "rate": st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    "decay": st.floats(min_value=0, allow_infinity=False, allow_nan=False),
    "dropout": st.floats(min_value=0, max_value=1, exclude_max=True),
    "share": st.floats(min_value=0, max_value=1, exclude_min=True),
    "weight": st.floats(min_value=0, allow_infinity=False, allow_nan=False),
    "omega": st.floats(min_value=0, allow_infinity=False, allow_nan=False),
    "eta": st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False),
    "smooth": st.floats(min_value=0, max_value=1, exclude_max=True),
}


def _values(name: str, kind: Any) -> st.SearchStrategy[Any]:
    if get_args(kind):
        return st.sampled_from(get_args(kind))
    if kind is int:
        return st.integers(min_value=LEAST.get(name, 0), max_value=2**53)
    if kind is float:
        return FLOATS[name]
    return st.text(min_size=1 if name in ("texts", "rung") else 0)


HINTS = get_type_hints(Recipe)
RECIPES = st.builds(Recipe, **{f.name: _values(f.name, HINTS[f.name]) for f in fields(Recipe)})


@given(RECIPES)
def test_a_recipe_prints_as_it_parses(recipe: Recipe) -> None:
    assert Recipe.parse(str(recipe)) == recipe
    assert str(Recipe.parse(str(recipe))) == str(recipe)


@given(RECIPES)
def test_file_stems_are_safe_everywhere(recipe: Recipe) -> None:
    assert re.fullmatch(r"[A-Za-z0-9@+._~ ,=-]{1,200}", recipe.file_stem)
    assert not recipe.file_stem.startswith(".")


@given(RECIPES, RECIPES)
def test_different_recipes_have_different_files(one: Recipe, other: Recipe) -> None:
    assert (one == other) == (str(one) == str(other)) == (one.file_stem == other.file_stem)


@example("a/b", "a~2Fb")
@example("%", "~25")
@given(st.text("/~:%2F3A7E ,=", min_size=1), st.text("/~:%2F3A7E ,=", min_size=1))
def test_escapes_never_meet(one: str, other: str) -> None:
    assert (one == other) == (Recipe(texts=one).file_stem == Recipe(texts=other).file_stem)


def test_long_recipes_differ_in_their_tail_only() -> None:
    one, other = (Recipe(texts="folder:" + "x" * 400 + tail) for tail in "ab")
    assert one.file_stem != other.file_stem
    assert len(one.file_stem) < 200


def test_the_printed_form_names_what_differs_and_nothing_else() -> None:
    assert str(Recipe()) == "texts=docs,rung=L2H128"
    assert str(Recipe(rung="L2H64", rate=5e-4, seed=2)) == "texts=docs,rung=L2H64,rate=0.0005,seed=2"


def test_a_key_reads_as_its_texts_were_spelled_and_old_keys_are_read() -> None:
    recipe = Recipe(texts="pairs:faq.csv?query=question&passage=answer", rung="L2H64")
    assert str(recipe) == "texts=pairs:faq.csv?query=question&passage=answer,rung=L2H64"
    assert recipe.coded == "texts=pairs:faq.csv%3Fquery%3Dquestion%26passage%3Danswer,rung=L2H64"
    assert Recipe.parse(recipe.coded) == Recipe.parse(str(recipe)) == recipe
    assert recipe.file_stem == "texts=pairs~3Afaq.csv~3Fquery~3Dquestion~26passage~3Danswer,rung=L2H64"
    comma = Recipe(texts="compose?train=planted%3Fpairs=700&ood=a,b")
    assert str(comma) == "texts=compose?train=planted%253Fpairs=700&ood=a%2Cb,rung=L2H128"
    assert Recipe.parse(str(comma)) == comma


def test_a_strategy_names_its_variant_and_standard_training_names_nothing_new() -> None:
    assert str(Recipe(strategy="adversarial", balance="pareto", share=0.5)) == (
        "texts=docs,rung=L2H128,strategy=adversarial,variant=kl,share=0.5,balance=pareto"
    )
    assert Recipe.parse("rung=L2H64,strategy=denoising") == Recipe(
        rung="L2H64", strategy="denoising", variant="dynamic"
    )
    new = {"variant", "weight", "balance", "omega", "eta", "smooth"}
    old = {k: v for k, v in asdict(Recipe(seed=3, rate=5e-4)).items() if k not in new}
    assert Recipe(**old) == Recipe(seed=3, rate=5e-4)


def test_another_strategy_begins_with_its_own_variant() -> None:
    recipe = Recipe(strategy="adversarial", variant="pairwise", rung="L2H64")
    assert recipe.but(strategy="standard") == Recipe(rung="L2H64")
    assert recipe.but(strategy="denoising").variant == "dynamic"
    assert recipe.but(strategy="denoising", variant="static").variant == "static"
    assert recipe.but(share=0.5).variant == "pairwise"


def test_numbers_from_a_table_are_plain_numbers() -> None:
    recipe = Recipe(rate=np.float64(5e-4), pairs=np.int64(100), share=np.float32(0.5))  # type: ignore[arg-type]
    assert recipe == Recipe(rate=5e-4, pairs=100, share=0.5)
    assert Recipe.parse(str(recipe)) == recipe
    assert json.loads(Run(recipe, "done").to_json())["recipe"]["pairs"] == 100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": "warm"}, r"Recipe.start='warm': allowed are 'scratch', 'table', 'mlm', 'retromae', 'checkpoint'"),
        ({"steps": 0}, r"Recipe.steps=0: at least 1"),
        ({"steps": 1.5}, r"Recipe.steps=1.5: expected int"),
        ({"steps": True}, r"Recipe.steps=True: expected int"),
        ({"pairs": -1}, r"Recipe.pairs=-1: at least 0"),
        ({"rate": 0}, r"rate=0.0 must be > 0"),
        ({"rate": math.nan}, r"Recipe.rate=nan: expected a finite number"),
        ({"rate": math.inf}, r"Recipe.rate=inf: expected a finite number"),
        ({"rate": "fast"}, r"Recipe.rate='fast': expected float"),
        ({"share": 1.5}, r"share=1.5 in \(0, 1\]"),
        ({"dropout": 1}, r"dropout=1.0 in \[0, 1\)"),
        ({"weight": -1}, r"weight=-1.0 >= 0"),
        ({"omega": -0.1}, r"omega=-0.1 >= 0"),
        ({"eta": 0}, r"eta=0.0 > 0"),
        ({"smooth": 1}, r"smooth=1.0 in \[0, 1\)"),
        (
            {"variant": "hinge"},
            r"Recipe.variant='hinge': allowed are '', 'kl', 'pool', 'pairwise', 'dynamic', 'static'",
        ),
        ({"balance": "even"}, r"Recipe.balance='even': allowed are 'none', 'fixed', 'pareto', 'mgda', 'pcgrad'"),
        ({"texts": ""}, r"texts='' and rung='L2H128' must not be empty"),
        ({"texts": 3}, r"Recipe.texts=3: expected str"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe(**change)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rung", "'rung' is not one of texts, rung"),
        ("size=3", "'size=3' is not one of texts, rung"),
        ("rung=a,rung=b", "rung is given twice"),
        ("rung=a,steps=many", "steps='many' is no int"),
        ("rung=a,rate=fast", "rate='fast' is no float"),
        ("", "is not one of texts"),
    ],
)
def test_a_bad_recipe_text_is_explained(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe.parse(text)


def test_a_word_that_is_nearly_right_is_answered_with_the_right_one() -> None:
    with pytest.raises(ValueError, match=r"strategy='adversarail'.*did you mean 'adversarial'"):
        check(Recipe(strategy="adversarail"))
    with pytest.raises(ValueError, match=r"schedule='linaer'.*did you mean 'linear'"):
        Recipe(schedule="linaer")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"allowed are [^;]*$"):
        Recipe(schedule="nothing like it")  # type: ignore[arg-type]
