"""The waist: recipes print as they parse, records survive crashes and strangers, and what is missing stays missing."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drscale import runs
from drscale.ladder import parse_rung
from drscale.recipe import Recipe
from drscale.runs import Measure, Run, RunStore, StoreWarning, write_atomic
from drscale.stats.tables import warn_if_mixed

# ------------------------------------------------------------------------------------------------------------ recipes

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
        return st.integers(min_value=LEAST.get(name, 0))
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


def test_a_moving_weight_is_kept_and_a_record_without_one_is_as_it_was() -> None:
    run = finished(omega=[0.5, 0.55])
    assert Run.from_json(run.to_json()).omega == [0.5, 0.55]
    assert "omega" not in json.loads(finished().to_json())
    with pytest.raises(ValueError, match="omega must be a list of numbers"):
        Run.from_json(run.to_json().replace("0.55", '"much"'))


def test_numbers_from_a_table_are_plain_numbers() -> None:
    recipe = Recipe(rate=np.float64(5e-4), pairs=np.int64(100), share=np.float32(0.5))  # type: ignore[arg-type]
    assert recipe == Recipe(rate=5e-4, pairs=100, share=0.5)
    assert Recipe.parse(str(recipe)) == recipe
    assert json.loads(Run(recipe, "done").to_json())["recipe"]["pairs"] == 100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start": "warm"}, r"Recipe.start='warm': allowed are 'scratch', 'table', 'checkpoint'"),
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
            r"Recipe.variant='hinge': allowed are '', 'pool', 'pairwise', 'dynamic', 'static', 'kl'",
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


@pytest.mark.parametrize(("rung", "size"), [("L2H128", (2, 128)), ("base", None), ("L2H128x", None)])
def test_rungs_are_read(rung: str, size: tuple[int, int] | None) -> None:
    assert parse_rung(rung) == size


# ------------------------------------------------------------------------------------------------------------ records

MEASURE = st.builds(
    Measure, *[st.floats(allow_nan=False, allow_infinity=False) for _ in range(3)], st.integers(min_value=1)
)


@given(
    st.builds(
        Run,
        recipe=RECIPES,
        status=st.sampled_from(["done", "failed"]),
        reason=st.text(),
        train_pairs=st.none() | st.integers(min_value=0),
        temperature=st.none() | st.floats(min_value=0.01, max_value=100),
        measures=st.dictionaries(st.text(), st.dictionaries(st.text(), MEASURE, max_size=2), max_size=2),
        cost=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    )
)
def test_a_record_reads_as_it_was_written(run: Run) -> None:
    assert Run.from_json(run.to_json()) == run


def finished(seed: int = 0, **more: Any) -> Run:
    measures = {"in_domain": {"entropy": Measure(2.0, 1.9, 2.1, 50)}, "ood:x": {"entropy": Measure(3.0, 2.9, 3.1, 9)}}
    given = {"fingerprint": "f", "parameters": {"layers": 10}, "cost": {"flops": 1e9}, "train_pairs": 7, **more}
    return Run(Recipe(texts="planted", seed=seed), "done", measures=measures, **given)


ROWS = pd.DataFrame({"query": ["a", "b"], "entropy": [1.0, 3.0]})


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "store")


def test_a_run_comes_back_with_its_rows(store: RunStore) -> None:
    run = finished()
    path = store.save(run, ROWS)
    assert store.load(run.recipe) == run
    assert store.load(run.recipe.but(seed=9)) is None
    assert [p.name for p in sorted(store.path.iterdir())] == [path.name, path.with_suffix(".parquet").name]
    pd.testing.assert_frame_equal(store.queries(run.key), ROWS.assign(key=run.key))
    assert store.queries("texts=other,rung=none").empty


def test_what_is_missing_stays_missing(store: RunStore) -> None:
    store.save(finished())
    store.save(Run(Recipe(texts="planted", seed=1), "failed", reason="loss is NaN at step 3"))
    table = store.table().set_index("seed")
    assert list(table["status"]) == ["done", "failed"]
    assert table.loc[1, "reason"] == "loss is NaN at step 3"
    measured = ["train_pairs", "temperature", "params_layers", "flops", "in_domain_entropy", "in_domain_entropy_low"]
    assert table.loc[1, measured].isna().all()
    assert table.loc[0, "params_layers"] == 10
    assert math.isnan(table.loc[0, "temperature"])
    assert "ood:x_entropy" not in table
    domains = store.domains()
    assert set(domains["scope"]) == {"in_domain", "ood:x"}
    assert list(domains.loc[domains["scope"] == "ood:x", "n"]) == [9]


def test_curves_are_rows(store: RunStore) -> None:
    store.save(finished(curve=[{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "watched": 4.0}]))
    curves = store.curves()
    assert list(curves["step"]) == [1, 2]
    assert curves["watched"].isna().tolist() == [True, False]


def test_a_folder_that_is_not_there_is_an_error_and_an_empty_one_is_empty(store: RunStore) -> None:
    with pytest.raises(ValueError, match="store'\\): no such folder"):
        store.table()
    store.path.mkdir()
    assert store.table().empty


BROKEN = {
    "truncated.json": finished(1).to_json()[:80],
    "empty.json": "",
    "list.json": "[1, 2]",
    "foreign.json": '{"loss": 3}',
    "old.json": finished(1).to_json().replace("drscale-run/1", "drscale-run/0"),
    "renamed.json": finished(2).to_json(),
    f"{finished(3).recipe.file_stem}.json": finished(3).to_json().replace('"done"', '"halfway"'),
    f"{finished(4).recipe.file_stem}.json": finished(4).to_json().replace('"steps": 1000', '"steps": 0'),
    f"{finished(5).recipe.file_stem}.json": finished(5).to_json().replace('"mean"', '"average"'),
    f"{finished(6).recipe.file_stem}.json": json.dumps(json.loads(finished(6).to_json()) | {"note": "mine"}),
    f"{finished(7).recipe.file_stem}.json": json.dumps(json.loads(finished(7).to_json()) | {"key": "rung=x"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_and_skipped(store: RunStore, name: str) -> None:
    store.save(finished())
    (store.path / name).write_text(BROKEN[name])
    with pytest.warns(StoreWarning, match=re.escape(name)) as seen:
        table = store.table()
    assert len(seen) == 1
    assert list(table["key"]) == [finished().key]


def test_bytes_that_are_no_text_are_named_and_skipped(store: RunStore) -> None:
    store.save(finished())
    (store.path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.warns(StoreWarning, match=r"skipped .*binary\.json: "):
        assert len(store.runs()) == 1


def test_the_record_of_another_recipe_is_never_handed_out(store: RunStore) -> None:
    path = store.save(finished(1))
    path.rename(store.path / f"{finished(2).recipe.file_stem}.json")
    with pytest.raises(ValueError, match="named otherwise than its recipe"):
        store.load(finished(2).recipe)


def test_missing_and_broken_rows_are_named(store: RunStore) -> None:
    store.save(finished(0), ROWS)
    store.save(finished(1))
    broken = store.save(finished(2), ROWS).with_suffix(".parquet")
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.warns(StoreWarning) as seen:
        rows = store.queries()
    assert set(rows["key"]) == {finished(0).key}
    assert sorted("seed=1.parquet" in str(w.message) for w in seen) == [False, True]


# ---------------------------------------------------------------------------------------------------------- atomicity


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_atomic(path, "old")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs.Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomic(path, b"new")
    assert path.read_text() == "new"


KILLED = """
import os, signal, sys
from pathlib import Path
from drscale import runs
from drscale.runs import Recipe, Run, RunStore
Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
RunStore(sys.argv[1]).save(Run(Recipe(texts="planted"), "failed", reason="never seen"))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_in_the_middle_of_a_write_loses_nothing(store: RunStore) -> None:
    store.save(finished(), ROWS)
    died = subprocess.run([sys.executable, "-c", KILLED, str(store.path)], check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(list(store.path.glob(".*.tmp"))) == 1, "the write did not get as far as its temporary file"
    assert store.runs() == [finished()]
    assert len(store.queries()) == len(ROWS)


# ------------------------------------------------------------------------------------------------------------- mixing


def test_mixed_texts_are_called_out() -> None:
    table = pd.DataFrame({"fingerprint": ["a", "b", None], "synthetic": [False, False, False]})
    with pytest.warns(StoreWarning, match="2 different text fingerprints"):
        warn_if_mixed(table)
    with pytest.warns(StoreWarning, match="measured and synthetic"):
        warn_if_mixed(pd.DataFrame({"synthetic": [True, False]}))


def test_one_source_is_no_mixture() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_mixed(pd.DataFrame({"fingerprint": ["a", "a", ""], "synthetic": [False, False, False]}))
        warn_if_mixed(pd.DataFrame({"loss": [1.0]}))


def test_tables_of_others_are_mixed_where_the_other_count_varies():
    sizes = pd.DataFrame({"params_layers": [1, 2, 3], "train_pairs": [10, 10, 20], "loss": 1.0})
    with pytest.warns(StoreWarning, match="2 different 'train_pairs': keep one, or fit a law of both"):
        warn_if_mixed(sizes, "params_layers")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_mixed(sizes, "params_layers", "train_pairs")
        warn_if_mixed(sizes.iloc[:2], "params_layers")


def test_scopes_that_no_run_has_are_refused(tmp_path):
    (tmp_path / "s").mkdir()
    for scopes in ("ood", ["adverserial"]):
        with pytest.raises(ValueError, match=r"scopes=.*: a list of adversarial, in_domain, ood"):
            RunStore(tmp_path / "s").table(scopes)
