import os
import re
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
from conftest import ROOT

from drscale import study, sweep
from drscale.attacks.registry import ATTACKS
from drscale.recipe import STRATEGIES, Recipe
from drscale.runs import Run, RunStore
from drscale.study import load_study, plan_study

BASE = Recipe(texts="planted", rung="L2H12", steps=6, batch=16, projection=24, rate=3e-3)


def test_a_plan_learns_training_and_scoring_from_finished_runs(tmp_path):
    store, per_step = RunStore(tmp_path), {"L2H12": 0.004, "L2H16": 0.006}
    for rung, steps in (("L2H12", 100), ("L2H12", 300), ("L2H16", 100)):
        cost = {"seconds": 10 * steps * per_step[rung], "score_seconds": 1000 * per_step[rung]}
        store.save(Run(BASE.but(rung=rung, steps=steps), "done", cost=cost))
    plan = plan_study([BASE.but(rung="L2H12", steps=100), BASE.but(rung="L2H12", steps=600)], store)
    assert plan.rows["predicted"].tolist() == [False, True]
    assert plan.rows["seconds"].iloc[1] == pytest.approx(24, rel=0.1)
    assert plan.rows["scoring"].tolist() == pytest.approx([4, 4], rel=0.01)
    told = "about 24 s of training and about 4 s of scoring to go with one worker (learnt from 3 finished runs)"
    assert told in str(plan)
    assert "nothing to go" in str(plan_study([BASE.but(rung="L2H12", steps=100)], store))
    empty = str(plan_study([BASE.but(rung="L2H12")], RunStore(tmp_path / "empty")))
    assert re.search(r"between .* of training and an unknown time of scoring to go with .*\(a guess for a CPU", empty)
    larger = plan_study([BASE.but(rung="L2H16", steps=100), BASE.but(steps=99, batch=256, pool="shared")], store)
    assert larger.rows["scoring"].tolist() == pytest.approx([6, 4], rel=0.01)  # a batch says nothing of scoring
    assert larger.rows["seconds"].iloc[1] > 40


def test_a_model_made_again_is_not_scored_again(tmp_path):
    store = RunStore(tmp_path)
    store.save(Run(BASE, "done", cost={"seconds": 50.0, "score_seconds": 7.0}))
    said = str(plan_study([BASE], store, keep=True))
    assert "1 without a model" in said
    assert said.endswith("about 50 s of training to go with one worker")


def test_predicted_times_add_up_to_what_finished_runs_took(tmp_path):
    store = RunStore(tmp_path)
    for seed, seconds in enumerate((1.0, 10.0, 4.0)):
        store.save(Run(BASE.but(seed=seed), "done", cost={"seconds": seconds, "score_seconds": 2 * seconds}))
    row = plan_study([BASE.but(seed=9)], store).rows.iloc[0]
    assert row["seconds"] == pytest.approx(5)
    assert row["scoring"] == pytest.approx(10)


def test_a_plan_says_where_a_data_law_would_mix_pairs_with_the_pool(tmp_path):
    few = Recipe(texts="folder:tiny", rung="L2H12", pairs=60, batch=32)
    told = {
        str(few.but(**changes)): "corpus='whole' draws" in str(plan_study([few.but(**changes)], RunStore(tmp_path)))
        for changes in ({}, {"pool": "shared"}, {"strategy": "hard_negative"}, {"pool": "shared", "corpus": "whole"})
    }
    assert list(told.values()) == [False, True, True, False]
    assert "corpus='whole'" not in str(plan_study([few.but(pairs=0, pool="shared")], RunStore(tmp_path)))


def test_a_plan_refuses_what_a_strategy_has_no_use_for(tmp_path):
    recipes = [BASE, BASE.but(strategy="hard_negative", synonyms="wordnet")]
    with pytest.raises(ValueError, match="synonyms=wordnet: strategy='hard_negative' makes no use of it"):
        plan_study(recipes, RunStore(tmp_path))


def test_studies(tmp_path):
    toml = tmp_path / "mine.toml"
    head = 'store = "kept"\n[base]\ntexts = "planted"\nsteps = 5\n'
    toml.write_text(head + '[[grid]]\nrung = ["L2H12", "L2H16"]\nseed = [0, 1]\n[[grid]]\npairs = [100]\n')
    study = load_study(toml)
    assert study.name == "mine"
    assert study.store.path == tmp_path / "kept"
    assert len(study.recipes) == 5
    py = tmp_path / "mine.py"
    py.write_text("from drscale.runs import Recipe\nrecipes = [Recipe(seed=s) for s in range(2)]\n")
    assert [r.seed for r in load_study(py).recipes] == [0, 1]
    assert load_study(py).store.path == tmp_path / "mine"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "[base]\nwings = 2\n", "wings"),
        ("a.toml", "[base\n", "a.toml"),
        ("a.toml", "[[grid]]\nwings = [2]\n", "wings"),
        ("a.toml", "[more]\n", "more"),
        ("a.py", "x = 1\n", "recipes"),
        ("a.yaml", "", ".toml"),
    ],
)
def test_a_bad_study_is_one_sentence(tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        load_study(path)


@pytest.mark.parametrize(("field", "spelt"), [("synonyms", "wordnett"), ("texts", "plantd")])
def test_a_recipe_that_nobody_can_read_is_refused_with_its_name_before_any_is_run(tmp_path, field, spelt):
    wrong = BASE.but(**{"attacked": 20, field: spelt})
    with pytest.raises(ValueError, match=re.escape(f"{wrong}: ") + f".*{spelt}"):
        plan_study([BASE, wrong], RunStore(tmp_path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[grid]\nrung = ["L2H12"]\n', r"grid: tables \[\[grid\]\] are needed"),
        ("base = 3\n", r"base=3: a table \[base\] is needed"),
        ("store = 3\n[base]\n", "store=3: the path of a folder"),
        ('store = ["x"]\n[base]\n', r"store=\['x'\]: the path of a folder"),
        ("[base]\nsteps = " + "9" * 400 + "\n", "steps=9999.*: at most 9007"),
        ("x = " + "[" * 3000 + "]" * 3000 + "\n", "study.toml: nested too deeply"),
    ],
)
def test_a_study_that_cannot_be_read_is_one_sentence(tmp_path, text, said):
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        load_study(tmp_path / "study.toml")
    assert len(str(caught.value)) < 1000


def test_a_study_that_exits_is_told(tmp_path):
    (tmp_path / "study.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(ValueError, match=r"study.py: left with sys.exit\(0\)"):
        load_study(tmp_path / "study.py")


def test_a_study_imports_its_neighbour_whichever_way_the_command_is_called(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "near_by.py").write_text("SEEDS = range(3)\n")
    text = "from near_by import SEEDS\nfrom drscale.recipe import Recipe, grid\n"
    (tmp_path / "runs" / "study.py").write_text(text + "recipes = grid(Recipe(texts='planted'), seed=SEEDS)\n")
    for folder, path in ((tmp_path, "runs/study.py"), (tmp_path / "runs", "study.py")):
        for options in ([], ["-P"]):  # -P: without the current folder on sys.path, as the script `drscale` is started
            command = [sys.executable, *options, "-m", "drscale", "plan", path, "--quick"]
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert "3 to do" in done.stdout, done.stderr


def test_a_file_beside_a_study_stands_before_no_library(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "wave.py").write_text("raise RuntimeError('not the library')\n")
    (tmp_path / "near_this.py").write_text("SEEDS = range(2)\n")
    text = "import wave\nfrom near_this import SEEDS\nfrom drscale.recipe import Recipe, grid\n"
    (tmp_path / "study.py").write_text(text + "recipes = grid(Recipe(texts='planted'), seed=SEEDS)\n")
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    assert len(load_study(tmp_path / "study.py").recipes) == 2
    assert sys.path.index(str(tmp_path)) > max(sys.path.index(sysconfig.get_path(n)) for n in ("stdlib", "purelib"))


LATE = "def own():\n    import near_two\n"


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ({"near_one.py": "SEEDS = range(2)\n"}, {"near_one.py": "SEEDS = range(3)\n"}, "first/near_one.py"),
        ({"near_one.py": "SEEDS = range(2)\n"}, {"near_one/__init__.py": "SEEDS = range(3)\n"}, "first/near_one.py"),
        ({"near_one.py": "SEEDS = range(2)\n"}, {"near_one.py": "SEEDS = range(2)\n"}, ""),
        (
            {"near_one/__init__.py": "SEEDS = range(2)\n"},
            {"near_one/__init__.py": "SEEDS = range(2)\n", "near_one/other.py": ""},
            "first/near_one/__init__.py",
        ),
        (
            {"near_one.py": "SEEDS = range(2)\n", "near_two.py": ""},
            {"near_one.py": "SEEDS = range(2)\n", "near_two.py": "A = 1\n", "study.py": LATE},
            "first/near_two.py",
        ),
        ({"near_one.py": "SEEDS = range(2)\n", "near_two.py": "", "wave.py": ""}, {"wave.py": "A = 1\n"}, ""),
    ],
)
def test_a_study_never_gets_another_ones_neighbour(tmp_path, monkeypatch, first, second, taken):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("near_one", "near_two"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    text = "import wave\nfrom drscale.recipe import Recipe, grid\n"
    for folder, files in (("first", first), ("second", second)):
        for file, body in files.items():
            (tmp_path / folder / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / file).write_text(body)
        own = "from near_one import SEEDS\n" if any("near_one" in file for file in files) else "SEEDS = range(2)\n"
        end = "recipes = grid(Recipe(texts='planted'), seed=SEEDS)\n"
        (tmp_path / folder / "study.py").write_text(text + own + files.get("study.py", "") + end)
    assert len(load_study(tmp_path / "first" / "study.py").recipes) == 2
    if not taken:
        assert len(load_study(tmp_path / "second" / "study.py").recipes) == 2
        return
    name = taken.split("/")[1].removesuffix(".py")
    with pytest.raises(ValueError, match=f"it imports {name}, which in this process is {tmp_path / taken} and not "):
        load_study(tmp_path / "second" / "study.py")


@pytest.mark.parametrize(
    ("what", "registry", "words"),
    [
        ("strategy", STRATEGIES, "recipe, collection, pairs, encoder"),
        ("attack", ATTACKS, "model, queries, texts, words"),
    ],
)
def test_a_study_takes_no_name_that_another_has_registered(tmp_path, monkeypatch, what, registry, words):
    monkeypatch.chdir(tmp_path)
    for name, value in (("first", 1), ("second", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.py").write_text(
            f"import drscale as ds\ndef own({words}):\n    return {value}\n"
            f"ds.register_{what}('twice_taken', own)\nrecipes = [ds.Recipe(texts='planted')]\n"
        )
    try:
        for _ in range(2):  # the same study again is no other
            load_study("first/study.py")
        study.execute(str(tmp_path / "first" / "study.py"))  # as threads of this process do
        said = rf"second/study.py: it registers the {what} 'twice_taken', which {tmp_path}"
        with pytest.raises(ValueError, match=said):
            load_study(tmp_path / "second" / "study.py")
        broken = tmp_path / "second" / "study.py"
        broken.write_text(broken.read_text() + "1 / 0\n")
        with pytest.raises(ValueError, match="ZeroDivisionError"):
            load_study(tmp_path / "second" / "study.py")
        kept = registry["twice_taken"]
        assert getattr(kept, "prepare", kept)(None, None, None, None) == 1
    finally:
        registry.pop("twice_taken", None)


def test_nine_of_ten_of_our_runs_on_cpus_took_a_time_within_the_first_guess():
    runs = [r for path in (ROOT / "data" / "runs").iterdir() if path.is_dir() for r in RunStore(path).runs()]
    runs = [r for r in runs if r.status == "done" and r.cost.get("seconds") and "device" not in r.versions]
    guess, _ = study._speed([], [r.recipe for r in runs], "seconds")
    off = np.array([r.cost["seconds"] for r in runs]) / guess
    off = off[np.isfinite(off)]  # a checkpoint's shape may not be known
    assert len(off) > 500
    assert np.mean((off > 1 / study.WITHIN) & (off < study.WITHIN)) == pytest.approx(0.9, abs=0.03)
    assert 0.7 < np.median(off) < 1.4


def test_a_failed_run_names_the_line_of_the_code_that_raised_it():
    def raised(code, name):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            exec(compile(code, name, "exec"), {})
        return study.reason_of(caught.value)

    mine = "/home/me/mine.py"
    assert raised("\n\nx = {}['a']", mine).startswith("mine.py:3: KeyError: 'a'")
    inside = "import statistics\nstatistics.mean([])"  # the library raises it, the line is the user's
    assert raised(inside, mine).startswith("mine.py:2: StatisticsError: ")
    ours = "from drscale.recipe import Recipe\nRecipe(batch=0)"
    assert re.match(r"mine\.py:2: ValueError: .*batch=0", raised(ours, mine))


def test_a_text_is_no_list_of_values():
    with pytest.raises(ValueError, match=r"grid\(rung='L2H12'\): a list is needed, as \['L2H12'\]"):
        sweep.grid(BASE, rung="L2H12")
