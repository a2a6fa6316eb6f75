"""A study: which recipes to run and where to keep what comes out; a grid of recipes, or a file that gives them."""

from __future__ import annotations

import itertools
import runpy
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from drscale.runs import Recipe, RunStore


@dataclass(frozen=True)
class Study:
    """A name, the recipes to run, the store that keeps them, and whether trained models are kept beside the records."""

    name: str
    store: RunStore
    recipes: list[Recipe]
    keep: bool = False


def grid(base: Recipe, **lists: Iterable[Any]) -> list[Recipe]:
    """Every combination of the given fields on top of a base recipe, the last field varying fastest."""
    known = {f.name for f in fields(Recipe)}
    for name in lists:
        if name not in known:
            raise ValueError(f"grid({name}=...): a recipe has the fields {', '.join(sorted(known))}")
    names, values = list(lists), [list(v) for v in lists.values()]
    return list(dict.fromkeys(base.but(**dict(zip(names, v, strict=True))) for v in itertools.product(*values)))


def load_study(path: str | Path) -> Study:
    """Read a study: Python that defines ``recipes`` (and ``store``, a path), or TOML with [base] and [[grid]] tables.

    A Python study is a program and runs as one. The store defaults to a folder beside the file, named like it;
    ``keep = true`` keeps the trained models, too.
    """
    path = Path(path)
    if path.suffix not in (".py", ".toml"):
        raise ValueError(f"{path}: a study is a .py or a .toml file")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if path.suffix == ".py":
        body = runpy.run_path(str(path))
        recipes = body.get("recipes")
    else:
        try:
            body = tomllib.loads(path.read_text(encoding="utf-8"))
            recipes = _from_toml(body)
        except (ValueError, TypeError) as e:  # a TOMLDecodeError is a ValueError
            raise ValueError(f"{path}: {e}") from None
    if not isinstance(recipes, list) or not recipes or not all(isinstance(r, Recipe) for r in recipes):
        raise ValueError(f"{path}: must give 'recipes', a non-empty list of Recipe")
    store = body.get("store", path.with_suffix("").name)
    keep = body.get("keep", False)
    if not isinstance(keep, bool):
        raise ValueError(f"{path}: keep={keep!r}: allowed are true and false")
    return Study(path.stem, store if isinstance(store, RunStore) else RunStore(path.parent / store), recipes, keep)


def _from_toml(body: dict[str, Any]) -> list[Recipe]:
    unknown = body.keys() - {"store", "keep", "base", "grid"}
    if unknown:
        raise ValueError(f"unknown tables {', '.join(sorted(unknown))}; allowed are store, keep, base, grid")
    known = {f.name for f in fields(Recipe)}
    for name in body.get("base", {}).keys() - known:
        raise ValueError(f"[base] has no field {name!r}; a recipe has {', '.join(sorted(known))}")
    base = Recipe(**body.get("base", {}))
    grids = body.get("grid", [{}])
    many = [{k: v if isinstance(v, list) else [v] for k, v in g.items()} for g in grids]
    return list(dict.fromkeys(r for g in many for r in grid(base, **g)))
