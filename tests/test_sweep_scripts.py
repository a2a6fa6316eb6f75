"""The scripts of data/scores: rows are kept key by key, and models come from the study's store or are trained there."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from conftest import ROOT
from scripts import script
from test_instructions import SMALL, wide

from drscale.files import rows_kept
from drscale.instructions import texts as instructions
from drscale.poisoning.make import Poison
from drscale.recipe import Recipe
from drscale.runs import RunStore
from drscale.texts import benchmark


def study(path, *recipes: Recipe):
    """A study file of a few recipes, its store beside it."""
    lines = ["from drscale.recipe import Recipe", f"recipes = [Recipe.parse(r) for r in {[str(r) for r in recipes]}]"]
    path.write_text("\n".join(lines))
    return path


def forbidden(*given: object, **named: object) -> None:
    raise AssertionError("made again")


# ---------------------------------------------------------------------------------------------------- rows, key by key


def test_the_rows_of_a_key_are_made_once(tmp_path) -> None:
    path, made = tmp_path / "deep" / "rows.parquet", []

    def make(model: str, seed: int):
        def rows() -> pd.DataFrame:
            made.append((model, seed))
            frame = pd.DataFrame({"model": [model] * 2, "value": [0.5, seed], "query": ["a", f"only {model}"]})
            return frame.astype({"query": "category", "value": "float32"})

        return rows

    for _ in range(2):
        for model, seed in (("one", 0), ("one", 1), ("two", 0)):
            rows = rows_kept(path, {"model": model, "seed": seed}, make(model, seed))
            assert rows["value"].tolist() == [0.5, seed]
            assert set(rows["seed"]) == {seed}
    assert made == [("one", 0), ("one", 1), ("two", 0)]
    whole = pd.read_parquet(path)
    assert len(whole) == 6
    assert whole["query"].astype(str).tolist() == ["a", "only one", "a", "only one", "a", "only two"]
    assert whole["query"].dtype == "category"
    assert whole["value"].dtype == "float32"
    assert [p.name for p in path.parent.iterdir()] == ["rows.parquet"]


def test_an_interrupt_leaves_the_rows_that_were_there(tmp_path) -> None:
    path = tmp_path / "rows.parquet"
    rows_kept(path, {"seed": 0}, lambda: pd.DataFrame({"value": [1.0]}))
    before = path.read_bytes()

    def interrupted() -> pd.DataFrame:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rows_kept(path, {"seed": 1}, interrupted)
    assert path.read_bytes() == before
    more = rows_kept(path, {"seed": 1}, lambda: pd.DataFrame({"value": [2.0], "caught": [True]}))
    assert more["caught"].tolist() == [True]
    whole = pd.read_parquet(path)
    assert whole["caught"].isna().tolist() == [True, False]  # a column of some keys only is missing in the others


@pytest.mark.parametrize(
    ("key", "rows", "said"),
    [
        ({}, {"value": [1.0]}, "at least one column"),
        ({"seed": 0}, {"value": []}, "make: gave 0 rows"),
        ({"seed": 0}, {"seed": [0, 1]}, "make: gave 2 rows; at least one is needed, and all of {'seed': 0}"),
    ],
)
def test_rows_that_would_never_be_found_again_are_refused(key, rows, said, tmp_path) -> None:
    with pytest.raises(ValueError, match=said):
        rows_kept(tmp_path / "rows.parquet", key, lambda: pd.DataFrame(rows))
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------------------------------- the scripts


def test_instructions_are_measured_on_the_study_s_models(tmp_path, monkeypatch) -> None:
    own = script("data/scores/instructions.py")
    monkeypatch.setattr(instructions, "instructed", lambda progress=True: wide())
    monkeypatch.setattr("drscale.sweep.texts_of", benchmark)
    recipe = SMALL.but(steps=1)
    for name in ("docs-instructed", "docs-instructed-sizes"):
        study(tmp_path / f"{name}.py", recipe)
    settings = {"instructed": wide, "HERE": tmp_path, "RUNS": tmp_path}
    settings |= {"BESIDE": ("bm25",), "PERTURBED": {"casing": ("casing", None)}}
    for name, value in settings.items():
        monkeypatch.setattr(own, name, value)
    monkeypatch.setattr(own, "varied", lambda queries, family, strength, seed: [q.upper() for q in queries])
    monkeypatch.setattr(sys, "argv", ["instructions.py"])
    own.main()
    found, followed = (pd.read_parquet(tmp_path / f"{n}.parquet") for n in ("instructions", "instructions_followed"))
    for name, rows in (("instructions", found), ("instructions_followed", followed)):
        stored = pd.read_parquet(ROOT / "data" / "scores" / f"{name}.parquet")
        assert set(rows.columns) == set(stored.columns)
        assert rows.dtypes.astype(str).to_dict() == stored[rows.columns].dtypes.astype(str).to_dict()
        assert set(rows[["model", "seed"]].itertuples(index=False, name=None)) == {("passages_only", 0), ("bm25", 0)}
    assert RunStore(tmp_path / "docs-instructed").load(recipe) is not None  # a record like any other
    monkeypatch.setattr(sys, "argv", ["instructions.py", "sizes"])
    own.main()
    for name in ("instructions_sizes", "instructions_sizes_followed"):
        rows, stored = (pd.read_parquet(f / f"{name}.parquet") for f in (tmp_path, ROOT / "data" / "scores"))
        assert set(rows.columns) == set(stored.columns)
        assert set(rows["rung"]) == {recipe.rung}
    monkeypatch.setattr(own, "retriever", forbidden)
    own.main()
    monkeypatch.setattr(sys, "argv", ["instructions.py", "size"])
    with pytest.raises(SystemExit, match="size: allowed is 'sizes', or nothing"):
        own.main()


def test_poison_is_made_against_the_study_s_models(tmp_path, monkeypatch) -> None:
    own = script("data/scores/poison.py")
    small = Recipe(texts="planted?pairs=260", start="scratch", rung="L2H12", steps=1, batch=8, projection=8)
    path = study(tmp_path / "few.py", small, small.but(rung="L2H16"), small.but(seed=1))
    settings = {"PASSAGES": tmp_path / "passages.parquet", "RANKS": tmp_path / "ranks.parquet", "FOREIGN": ("shift1",)}
    settings |= {"ATTACK": Poison(steps=2, candidates=3, tokens=5), "COUNTS": (1, 2, 3), "SHARED": 2}
    settings |= {"OTHERS": ("bm25",), "GUARDS": ("norm",), "ASKED": 40, "KNOWN": 200, "VARIED": "L2H12"}
    settings |= {"VARIANTS": {"gold": {"start": "gold"}}, "PLAIN": own.PLAIN | {"passages": 2}}
    for name, value in settings.items():
        monkeypatch.setattr(own, name, value)
    monkeypatch.setattr(sys, "argv", ["poison.py", "--study", str(path), "--seeds", "1"])
    own.main()
    made, ranks = pd.read_parquet(own.PASSAGES), pd.read_parquet(own.RANKS)
    stored = [pd.read_parquet(ROOT / "data" / "scores" / f"{n}.parquet") for n in ("poison_passages", "poison")]
    assert set(made.columns) <= set(stored[0].columns)
    assert set(ranks.columns) == set(stored[1].columns)
    cells = made.groupby(["source", "seed", "variant", "passages"]).size().to_dict()
    wanted = {(f"L2H{width}", 0, "standard", count): count for width in (12, 16) for count in (1, 2, 3)}
    assert cells == wanted | {("L2H12", 0, "gold", 2): 2}
    away = ranks[ranks["source"] != ranks["target"]]
    tried = set(away[["source", "target"]].itertuples(index=False, name=None))
    assert tried == {("L2H12", "L2H16"), ("L2H16", "L2H12"), ("L2H12", "bm25"), ("L2H16", "bm25")}
    assert set(away["passages"]) == {2}
    assert len(RunStore(tmp_path / "few").runs()) == 2  # models that nobody asks for are not trained

    ranks[ranks["source"] != "L2H12"].to_parquet(own.RANKS)  # an interrupt between the two files
    monkeypatch.setattr(own, "poison", forbidden)
    own.main()
    order = ["source", "seed", "target", "variant", "passages", "guard", "dataset", "query"]
    again = pd.read_parquet(own.RANKS).sort_values(order, ignore_index=True)[ranks.columns]
    pd.testing.assert_frame_equal(again, ranks.sort_values(order, ignore_index=True), check_dtype=False)


def test_budgets_are_measured_key_by_key(tmp_path, monkeypatch) -> None:
    own, asked = script("data/scores/attack_budget.py"), []

    def rows_of(recipe, store, texts, surrogate, floor):
        asked.append((recipe.rung, recipe.seed, floor))
        return pd.DataFrame({"floor": ["none" if floor is None else str(floor)] * 2, "budget": [1, 2]})

    settings = {"OUT": tmp_path / "out.parquet", "rows_of": rows_of, "benchmark": str, "model_of": lambda *_: None}
    for name, value in settings.items():
        monkeypatch.setattr(own, name, value)
    own.main()
    own.main()
    assert len(asked) == len(set(asked)) == 12  # ten models, two of them under the floor, too
    assert len(pd.read_parquet(own.OUT)) == 24


def test_only_what_a_record_lacks_is_measured(tmp_path, monkeypatch) -> None:
    own, measured = script("data/scores/docs_models.py"), []
    monkeypatch.setattr(own, "measure", lambda store, recipes, name, function: measured.append((name, len(recipes))))
    own.main(ROOT / "data" / "runs" / "docs-models.py")
    assert measured == [("stability", 0), ("geometry", 0)]
    monkeypatch.setattr(own, "run_study", lambda plan, keep: measured.append(plan.rows["status"].tolist()))
    measured.clear()
    own.main(study(tmp_path / "new.py", Recipe(texts="planted", rung="L2H12")))
    assert measured == [["todo"], ("stability", 1), ["todo"], ("geometry", 1)]
