"""What a study asks, and what its store lacks: recipes from a file, a plan (done, to do, failed, cost) of them."""

from __future__ import annotations

import ast
import importlib.util
import math
import runpy
import sys
import sysconfig
import tomllib
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from drscale.attacks.registry import ATTACKS
from drscale.ladder import flops_per_token, predicted_flops, shape_for
from drscale.models import model_path
from drscale.pack import HEAD, open_pack
from drscale.recipe import STRATEGIES, Recipe, check, recipes_of
from drscale.results import Result
from drscale.runs import Run, RunStore
from drscale.texts import Source

# A guess of training's seconds on a CPU: those of a step, and FLOPs in a second. Nine of ten of our own runs on CPUs
# (data/runs) took between a third of it and three times as much; a test holds the records against it.
STEP_SECONDS, FLOPS_A_SECOND, WITHIN = 0.1, 3e10, 3.0
FEWEST = 2  # finished runs to learn from
GUESS = f"a guess for a CPU: fewer than {FEWEST} runs in the store to learn from; loading torch comes on top"
REGISTRIES: dict[str, dict[str, Any]] = {"strategy": STRATEGIES, "attack": ATTACKS}  # whose names belong to one study
COSTS = {"scoring": "score_seconds", "seconds": "seconds"}  # a plan's columns of time, and what a record calls them


@dataclass(frozen=True)
class Study:
    """A name, the recipes to run, the store that keeps them, and whether trained models are kept beside the records.

    ``pack`` is the folder of the pack that it came in, ``file`` the Python file, "" for none.
    """

    name: str
    store: RunStore
    recipes: list[Recipe]
    keep: bool = False
    pack: str = ""
    file: str = ""


def load_study(path: str | Path) -> Study:
    """Read a study: Python that defines ``recipes`` (and ``store``, a path), or TOML with [base] and [[grid]] tables.

    A Python study is a program and runs as one: it may import what lies beside it. The store defaults to a folder
    beside the file, named like it; ``keep = true`` keeps the trained models, too. A pack's folder is read as well; its
    records go to ``runs`` in it.

    >>> import drscale as ds
    >>> lines = ["[base]", 'texts = "planted"', "[[grid]]", 'rung = ["L2H12", "L2H16"]']
    >>> with open("study.toml", "w") as file:
    ...     print(*lines, sep="\\n", file=file)
    >>> len(ds.load_study("study.toml").recipes)
    2
    """
    if not isinstance(path, str | Path):
        raise ValueError(f"path={path!r}: the path of a study is needed, a .py or a .toml file, or a pack's folder")
    path = Path(path)
    if (path / HEAD).is_file():
        pack = open_pack(path)
        return Study(pack.head["study"], RunStore(path / "runs"), pack.recipes, pack=str(path.resolve()))
    if path.suffix not in (".py", ".toml"):
        raise ValueError(f"{path}: a study is a .py or a .toml file, or the folder of a pack")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix == ".py":
        body = _from_python(path)
        recipes = body.get("recipes")
    else:
        try:
            body = tomllib.loads(path.read_text(encoding="utf-8"))
            recipes = recipes_of(body)
        except (ValueError, TypeError, OverflowError) as e:  # a TOMLDecodeError is a ValueError
            raise ValueError(f"{path}: {e}") from None
        except RecursionError:
            raise ValueError(f"{path}: nested too deeply") from None
    if not isinstance(recipes, list) or not recipes or not all(isinstance(r, Recipe) for r in recipes):
        raise ValueError(f"{path}: must give 'recipes', a non-empty list of Recipe")
    store, keep = body.get("store", path.with_suffix("").name), body.get("keep", False)
    if not isinstance(keep, bool):
        raise ValueError(f"{path}: keep={keep!r}: allowed are true and false")
    if not isinstance(store, str | Path | RunStore) or "\0" in str(store) or not str(store):
        raise ValueError(f"{path}: store={store!r}: the path of a folder is needed")
    place = store if isinstance(store, RunStore) else RunStore(path.parent / store)
    if place.path.exists() and not place.path.is_dir():
        raise ValueError(f"{path}: store={str(store)!r}: it is a file, and the path of a folder is needed")
    return Study(path.stem, place, recipes, keep, file=str(path.resolve()) if path.suffix == ".py" else "")


def _from_python(path: Path) -> dict[str, Any]:
    """What a Python study defines; an error inside it names its line.

    Its folder stays on ``sys.path``, so that what it registers may import from there later on; at its end, so that no
    file beside a study stands before a library of the same name.
    """
    if (folder := str(path.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    _check_neighbours(path)
    registered = [(what, registry, dict(registry)) for what, registry in REGISTRIES.items()]
    try:
        body = runpy.run_path(str(path))
    except SystemExit as e:
        _taken_back(registered)
        raise ValueError(f"{path}: left with sys.exit({e.code!r}) instead of defining 'recipes'") from None
    except Exception as e:  # a program of the user's may raise anything
        _taken_back(registered)
        lines = [step.lineno for step in traceback.extract_tb(e.__traceback__) if step.filename == str(path)]
        if isinstance(e, SyntaxError) and e.filename == str(path):
            lines = [e.lineno]
        at = f"{path}:{lines[-1]}" if lines else str(path)
        raise ValueError(f"{at}: {type(e).__name__}: {e}") from e
    for what, name, owner in _taken_back(registered):
        raise ValueError(
            f"{path}: it registers the {what} {name!r}, which {owner} has registered in this process: "
            "rename one of them, or run each study in a process of its own"
        )
    return body


def _taken_back(registered: Iterable[tuple[str, dict[str, Any], dict[str, Any]]]) -> list[tuple[str, str, str]]:
    """Give every name that another file registered back to it: the kind, the name and the file of each."""
    found = []
    for what, registry, before in registered:
        for name, entry in before.items():
            was, now = _file_of(entry), _file_of(registry.get(name, entry))
            if was != now and was and now:
                registry[name] = entry
                found.append((what, name, was))
    return found


def _file_of(entry: Any) -> str:
    """The file in which a registered function is written, "" for anything else."""
    function = getattr(entry, "prepare", entry)
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    return str(Path(file).resolve()) if file else ""


def _check_neighbours(path: Path) -> None:
    """Refuse a study that imports a file beside it where Python would take another study's file of that name.

    A name stands for one module in a process. A library's name stands for the library, whatever lies beside a study.
    """
    folder, left, seen = path.resolve().parent, [path], set[str]()
    while left:
        for name in _imports(left.pop()) - seen:
            seen.add(name)
            places = (folder / f"{name}.py", folder / name / "__init__.py", folder / name)
            own = next((place.resolve() for place in places if place.exists()), None)
            if own is None:
                continue
            left += [own] if own.is_file() else []
            taken = _place_of(name)
            if taken in (None, own) or _is_library(taken):
                continue
            alone = own.is_file() and taken.is_file() and "__init__.py" not in (own.name, taken.name)
            if not alone or own.read_bytes() != taken.read_bytes():  # of a package more files may differ
                raise ValueError(
                    f"{path}: it imports {name}, which in this process is {taken} and not {own}: "
                    "rename one of them, or run each study in a process of its own"
                )


def _imports(file: Path) -> set[str]:
    """The first names of what a file imports, at once or later; nothing of one that Python cannot read."""
    try:
        steps = list(ast.walk(ast.parse(file.read_bytes())))
    except (SyntaxError, ValueError, RecursionError):  # told when it is run
        return set()
    named = {alias.name for step in steps if isinstance(step, ast.Import) for alias in step.names}
    named |= {step.module for step in steps if isinstance(step, ast.ImportFrom) and step.module and not step.level}
    return {name.partition(".")[0] for name in named}


def _place_of(name: str) -> Path | None:
    """The file that Python takes for a module's name, or the folder where it has no file of its own."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module that somebody made by hand
        return None
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    return Path(places[0]).resolve() if places else None


def _is_library(file: Path) -> bool:
    """Whether a file belongs to Python, to drscale or to anything else that was installed."""
    libraries = [Path(__file__).parent, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))]
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    return bool(installed) or any(file.is_relative_to(place) for place in libraries)


def reason_of(error: BaseException) -> str:
    """An error in one sentence for a failed record; where a user's own code raised it, with that code's file and line.

    Such is the last step that lies neither in drscale nor in another library.

    >>> from drscale.study import reason_of
    >>> reason_of(ValueError("batch=0: at least 1"))
    'ValueError: batch=0: at least 1'
    """
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    for step in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(step.filename).resolve()
        if not step.filename.startswith("<") and not _is_library(file):
            return f"{file.name}:{step.lineno}: {said}"
    return said


@cache
def execute(file: str) -> None:
    """Execute a Python study, once in a process, for what it registers: a worker's first step."""
    _from_python(Path(file))


@dataclass(frozen=True)
class Plan(Result):
    """What a store still lacks of some recipes; prints as a table with predicted FLOPs and time.

    ``rows`` has a row a recipe: ``status`` is done, todo, failed, or unkept where models are to be kept and a finished
    run has none; ``flops``, ``seconds`` of training and ``scoring``, seconds too, are ``predicted`` or what a run took.
    """

    recipes: list[Recipe]
    store: RunStore
    rows: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """A row a recipe, done or to do."""
        return self.rows

    def __str__(self) -> str:
        if self.rows.empty:
            return "no recipes"
        shown = self.rows.assign(
            flops=[f"{v:.1e}" if v == v else "unknown" for v in self.rows["flops"]],
            seconds=[_seconds(v) for v in self.rows["seconds"]],
            scoring=[_seconds(v) for v in self.rows["scoring"]],
        )
        n = self.rows["status"].value_counts()
        left = self.rows[self.rows["status"].isin(["todo", "unkept"])]
        unscored = left[left["status"] == "todo"]  # a run that is made again for its model keeps its scores
        training, scoring = (float(part.sum(skipna=False)) for part in (left["seconds"], unscored["scoring"]))
        said = ", ".join(
            f"{int(n.get(s, 0))} {w}"
            for s, w in (("done", "done"), ("todo", "to do"), ("unkept", "without a model"), ("failed", "failed"))
            if s != "unkept" or s in n
        )
        how = self.rows.attrs.get("how", "") if left["predicted"].any() else ""
        time = between(training / WITHIN, training * WITHIN) if how == GUESS else about(training)
        parts = [f"{time} of training"] if len(left) else ["nothing"]
        parts += [f"{about(scoring)} of scoring"] if scoring else []
        text = f"{shown.to_string(index=False)}\n{said}, in {self.store.path}; {' and '.join(parts)} to go"
        if len(left):
            text += " with one worker"
            text += f" ({how})" if how else ""
        drawn = [name for name, row in STRATEGIES.items() if row.draws]
        fewer = [r for r in self.recipes if r.pairs and r.corpus == "chosen"]
        if any(r.pool != "in_batch" or r.strategy in drawn for r in fewer):
            text += (
                "\nnegatives of the runs on fewer pairs come from those pairs' passages alone (corpus='chosen'): "
                "a data law of theirs mixes pairs with the pool's size; corpus='whole' draws from the whole collection"
            )
        return text

    def todo(self, retry_failed: bool = False) -> list[Recipe]:
        wanted = ("todo", "unkept", "failed") if retry_failed else ("todo", "unkept")
        return [r for r, s in zip(self.recipes, self.rows["status"], strict=True) if s in wanted]


def plan_study(recipes: Sequence[Recipe], store: RunStore, *, keep: bool = False) -> Plan:
    """Say what is done, to do and failed, with predicted FLOPs and seconds.

    With ``keep`` a finished run whose model is not there is to be trained again; its record stays as it is.

    FLOPs assume texts as long as they may be; times are learnt from the store's finished runs, whatever machine made
    them, where there are at least two, else that of training is a guess, and ``table.attrs['how']`` says which. A
    recipe that spells its texts or synonyms as nobody reads them, or asks of its strategy what that has no use for, is
    refused here, before anything is trained.

    >>> import drscale as ds
    >>> recipes = ds.grid(ds.Recipe(texts="planted", steps=10), rung=["L2H12", "L2H16"])
    >>> plan = ds.plan_study(recipes, ds.RunStore("runs"))
    >>> plan.table()["status"].tolist()
    ['todo', 'todo']
    """
    if not isinstance(store, RunStore):
        raise ValueError(f"store={store!r}: a RunStore is needed, as ds.RunStore('runs')")
    if isinstance(recipes, str | Recipe) or not isinstance(recipes, Iterable):
        raise ValueError(f"recipes={recipes!r}: a list of Recipe is needed, as ds.grid makes one")
    recipes = list(recipes)
    if strangers := [r for r in recipes if not isinstance(r, Recipe)]:
        raise ValueError(f"recipes: {strangers[0]!r} is no Recipe")
    recipes = list(dict.fromkeys(recipes))
    for recipe in recipes:
        check_names(recipe)
    found = {run.key: run for run in store.runs()} if store.path.is_dir() else {}
    rows = []
    for recipe in recipes:
        run = found.get(str(recipe))
        flops = predicted_flops(recipe)
        status: str = "todo" if run is None else run.status
        if keep and status == "done" and not model_path(recipe, store).is_file():
            status = "unkept"
        rows.append(
            {
                "key": str(recipe),
                "status": status,
                "flops": run.cost.get("flops", flops) if run else flops,
                "seconds": run.cost.get("seconds", np.nan) if run else np.nan,
                "scoring": run.cost.get("score_seconds", np.nan) if run else np.nan,
                "predicted": run is None,
            }
        )
    table = pd.DataFrame(rows, columns=["key", "status", "flops", "seconds", "scoring", "predicted"])
    done = [r for r in found.values() if r.status == "done"]
    for column, cost in COSTS.items():
        predicted, how = _speed(done, recipes, cost)
        table[column] = table[column].where(~table["predicted"], predicted)
    table.attrs["how"] = how
    return Plan(recipes, store, table)


def check_names(recipe: Recipe, files: bool = True) -> None:
    """Refuse a recipe that names a strategy, texts, synonyms, an attack or a teacher which nobody knows here.

    ``files`` says whether the files and wheels of its teachers have to be there, too.
    """
    from drscale.attacks.registry import check_attack
    from drscale.attacks.substitutes import SynonymSource
    from drscale.labels.supervision import check_teachers

    try:
        check(recipe)
        check_attack(recipe.attack)
        Source.parse(recipe.texts).checked()
        SynonymSource.parse(recipe.synonyms)
        if "teachers" in STRATEGIES[recipe.strategy].options:
            check_teachers(recipe, files)
    except ValueError as e:
        raise ValueError(f"{recipe}: {e}") from None


def _speed(done: list[Run], asked: list[Recipe], cost: str) -> tuple[Any, str]:
    """Seconds that a part of each asked run takes, learnt from finished runs by non-negative least squares.

    Training goes with steps and predicted FLOPs. Scoring goes with the FLOPs of encoding a passage, as the texts are
    the same for all sizes, and takes longer under attack. Shares of the time are fitted, so that short runs count; the
    sum is then that of the finished runs.
    """
    x, y = _sizes([r.recipe for r in done], cost), np.array([r.cost.get(cost, np.nan) for r in done], float)
    kept = np.isfinite(x).all(1) & np.isfinite(y) & (y > 0)
    if kept.sum() < FEWEST:
        guess = [STEP_SECONDS, 1 / FLOPS_A_SECOND] if cost == "seconds" else [np.nan] * x.shape[1]
        return _sizes(asked, cost) @ guess, GUESS
    from scipy.optimize import nnls

    x, y = x[kept], y[kept]
    learnt, _ = nnls(x / y[:, None], np.ones(len(y)))
    learnt *= y.sum() / (x @ learnt).sum()
    return _sizes(asked, cost) @ learnt, f"learnt from {len(y)} finished runs"


def _sizes(recipes: list[Recipe], cost: str) -> Any:
    """What the time of training or scoring goes with, a row a recipe; NaN where only a checkpoint knows the shape."""
    if cost == "seconds":
        return np.array([[r.steps, predicted_flops(r)] for r in recipes], float).reshape(-1, 2)
    shapes = [shape_for(r) for r in recipes]
    flops = [
        r.passage_tokens * flops_per_token(shape, r.passage_tokens, r.start) if shape.layers else np.nan
        for r, shape in zip(recipes, shapes, strict=True)
    ]
    return np.array([[1.0, f, r.attacked * f] for r, f in zip(recipes, flops, strict=True)], float).reshape(-1, 3)


def _seconds(value: float) -> str:
    """Whole seconds, and what is too short for that with a digit.

    >>> _seconds(12.3), _seconds(0.31), _seconds(float("nan"))
    ('12', '0.3', 'unknown')
    """
    if math.isnan(value):
        return "unknown"
    return f"{value:.0f}" if value >= 9.5 else f"{value:.1f}"


def about(seconds: float) -> str:
    """A time as one says it.

    >>> from drscale.study import about
    >>> about(45), about(300), about(9000), about(float("nan"))
    ('about 45 s', 'about 5.0 min', 'about 2.5 h', 'an unknown time')
    """
    return "an unknown time" if math.isnan(seconds) else f"about {_in_words(seconds)}"


def between(least: float, most: float) -> str:
    """A time that is known roughly, as one says it.

    >>> from drscale.study import between
    >>> between(45, 300), between(float("nan"), float("nan"))
    ('between 45 s and 5.0 min', 'an unknown time')
    """
    return "an unknown time" if math.isnan(most) else f"between {_in_words(least)} and {_in_words(most)}"


def _in_words(seconds: float) -> str:
    for limit, words in ((90, f"{seconds:.0f} s"), (5400, f"{seconds / 60:.1f} min")):
        if seconds < limit:
            return words
    return f"{seconds / 3600:.1f} h"
