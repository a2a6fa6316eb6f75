"""Bad studies: TOML and Python files that say what no study is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from drscale.study import load_study, plan_study
from hostile.judge import Case

GOOD = '[base]\ntexts = "planted"\n[[grid]]\nrung = ["L2H12", "L2H16"]\n'
BASE = '[base]\ntexts = "planted"\n'
PYTHON = "from drscale import Recipe\nrecipes = [Recipe(texts='planted')]\n"


def _planned(path: Path) -> None:
    study = load_study(path)
    plan_study(study.recipes, study.store)


def study_cases(place: Path) -> list[Case]:
    """TOML and Python studies, each written, loaded and planned."""
    toml: dict[str, str | bytes] = {
        "empty": "",
        "a comment only": "# nothing\n",
        "no TOML": "[base\n",
        "JSON": '{"base": {}}',
        "YAML": "base:\n  texts: planted\n",
        "Latin-1": (BASE + 'instruction = "caf\u00e9"\n').encode("latin-1"),
        "UTF-16": GOOD.encode("utf-16"),
        "NUL": GOOD.encode() + b"\0",
        "cut off": GOOD[:-6],
        "a table twice": BASE + BASE,
        "a key twice": BASE + "steps = 1\nsteps = 2\n",
        "one bracket": BASE + '[grid]\nrung = ["L2H12"]\n',
        "an unknown table": GOOD + "[other]\nx = 1\n",
        "an unknown key": "colour = 1\n" + GOOD,
        "a table Base": GOOD.replace("[base]", "[Base]"),
        "grids": GOOD.replace("[[grid]]", "[[grids]]"),
        "base = 3": "base = 3\n",
        "base = a list": "base = [1]\n",
        "base = a text": 'base = "planted"\n',
        "base as tables": '[[base]]\ntexts = "planted"\n',
        "grid = 3": "grid = 3\n" + BASE,
        "grid = a text": 'grid = "rung"\n' + BASE,
        "grid = texts": 'grid = ["rung"]\n' + BASE,
        "grid = []": "grid = []\n" + BASE,
        "an empty grid": BASE + "[[grid]]\nseed = []\n",
        "a list in base": BASE + "seed = [0, 1]\n",
        "a table in base": BASE + "[base.steps]\nx = 1\n",
        "a table in grid": BASE + "[[grid]]\n[grid.seed]\nx = 1\n",
        "store = 3": "store = 3\n" + GOOD,
        "store = a list": 'store = ["x"]\n' + GOOD,
        "store = nothing": 'store = ""\n' + GOOD,
        "store with NUL": 'store = "a\\u0000b"\n' + GOOD,
        "store = a file": 'store = "a-file"\n' + GOOD,
        "store = true": "store = true\n" + GOOD,
        "keep = yes": 'keep = "yes"\n' + GOOD,
        "keep = 1": "keep = 1\n" + GOOD,
        "nested deep": "x = " + "[" * 3000 + "]" * 3000 + "\n" + GOOD,
        "a deep table": "[" + ".".join(["a"] * 3000) + "]\n",
    }
    values = (
        ('steps = "ten"', "steps"),
        ("steps = 1.5", "steps"),
        ("steps = 0", "steps"),
        ("steps = true", "steps"),
        (f"steps = {'9' * 400}", "steps"),
        (f"steps = {'9' * 5000}", "digits"),
        ("stepps = 10", "stepps"),
        ("rate = inf", "rate"),
        ("rate = nan", "rate"),
        ("rate = 0", "rate"),
        ("rate = 1979-05-27", "rate"),
        ("texts = 5", "texts"),
        ('rung = "L2H7"', "rung"),
        ('pooling = "max"', "pooling"),
        ('strategy = "none"', "strategy"),
        ('variant = "kl"', "variant"),
        ('teachers = "bm25"', "teachers"),
        ("batch = 1", "batch"),
        ("lora = 3", "lora"),
        ("seed = -1", "seed"),
    )
    found = []
    (place / "a-file").write_text("x")
    for i, (what, body) in enumerate(toml.items()):
        path = place / f"bad{i}.toml"
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
        found.append(Case(f".toml: {what}", partial(_planned, path), (path.name, "store")))
    for i, (line, name) in enumerate(values):
        for where, body in (("base", f"[base]\n{line}\n"), ("grid", _in_grid(line))):
            path = place / f"value{i}-{where}.toml"
            path.write_text(body)
            found.append(
                Case(f".toml: {line:.60} ({len(line)} characters) in {where}", partial(_planned, path), (name,))
            )
    python = {
        "empty": "",
        "no syntax": "recipes = [\n",
        "NUL": PYTHON + "\0",
        "Latin-1": None,
        "no recipes": "x = 1\n",
        "recipes = None": "recipes = None\n",
        "recipes = a recipe": PYTHON.replace("[Recipe(texts='planted')]", "Recipe()"),
        "recipes = []": "recipes = []\n",
        "recipes = texts": "recipes = ['texts=planted']\n",
        "recipes = a generator": "from drscale import Recipe\nrecipes = (Recipe() for i in range(2))\n",
        "a wrong recipe": PYTHON.replace("'planted'", "'planted', steps=0"),
        "an unknown field": PYTHON.replace("'planted'", "'planted', colour=1"),
        "an import that is not there": "import no_such_module\n" + PYTHON,
        "a name that is not there": "recipes = [Recipe()]\n",
        "1 / 0": "1 / 0\n" + PYTHON,
        "an endless recursion": "def f():\n    return f()\nf()\n",
        "sys.exit(0)": "import sys\nsys.exit(0)\n",
        "sys.exit(3)": "raise SystemExit(3)\n",
        "exit()": "raise SystemExit\n",
        "store = 3": PYTHON + "store = 3\n",
        "store = None": PYTHON + "store = None\n",
        "store = ''": PYTHON + "store = ''\n",
        "keep = 'no'": PYTHON + "keep = 'no'\n",
    }
    for i, (what, source) in enumerate(python.items()):
        path = place / f"bad{i}.py"
        path.write_bytes(b"x = '\xe9'\n" if source is None else source.encode())
        found.append(Case(f".py: {what}", partial(_planned, path), (path.name, "steps")))
    (place / "study.yaml").write_text(GOOD)
    (place / "folder").mkdir()
    (place / "folder.toml").mkdir()
    (place / "pack").mkdir()
    (place / "pack" / "pack.json").write_text("{}")
    for name in ("none.toml", "none.py", "study.yaml", "folder", "folder.toml", "pack", "a-file", ""):
        path = place / name
        found.append(Case(f"load_study({name!r})", partial(load_study, path), (path.name, "study")))
    for value in (None, 5, b"study.toml", ["study.toml"]):
        found.append(Case(f"load_study({value!r})", partial(load_study, value), ("path",)))  # type: ignore[arg-type]
    for name, body, why in (
        ("twice.toml", BASE + "[[grid]]\nseed = [1, 1]\n", "a recipe twice is one recipe"),
        ("one.toml", BASE + "[[grid]]\nseed = 4\n", "one value is a list of one"),
        ("base.toml", BASE, "no grid is the base alone"),
    ):
        path = place / name
        path.write_text(body)
        found.append(Case(f".toml: {name}", partial(_planned, path), accept=why))
    return found


def _in_grid(line: str) -> str:
    name, _, value = line.partition(" = ")
    return f"[base]\n[[grid]]\n{name} = [{value}]\n"
