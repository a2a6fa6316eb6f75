"""The plan of the house, enforced: which rooms there are, what may import what, and which side stays free of torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, START_FIRST

PACKAGE = ROOT / "drscale"
# A room may import only rooms that stand before it.
ROOMS = (
    "files",
    "results",
    "recipe",
    "runs",
    "ladder",
    "stats",
    "plotting",
    "laws",
    "budget",
    "frontier",
    "papers",
    "mixed",
    "texts",
    "losses",
    "encoder",
    "evaluate",
    "attacks",
    "training",
    "labels",
    "models",
    "pack",
    "stability",
    "poisoning",
    "geometry",
    "instructions",
    "ahead",
    "pools",
    "study",
    "sweep",
    "demo",
    "doctor",
    "commands",
    "cli",
    "__main__",
    "plot",
    "explore",
)
TORCH_FREE = (
    "files",
    "results",
    "recipe",
    "runs",
    "ladder",
    "stats",
    "plotting",
    "laws",
    "budget",
    "frontier",
    "papers",
    "mixed",
)
FREE_FILES = ("plot", "explore", "weight", "drops")  # these stay free of torch in every package
HEAVY = ("torch", "transformers", "datasets", "accelerate", "sentence_transformers", "faiss")
LONGEST = 600  # lines a module may have, as the plan of the house says


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(p): p for p in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """The room of a module of ours; the front door ``drscale`` has none."""
    return module.split(".")[1] if "." in module else ""


def imports(source: str) -> set[str]:
    """Every module that a source names in an import, wherever in the file it stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: relative import")
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names} & MODULES.keys()
            named_all_modules = len(inner) == len(node.names)
            found |= inner | (set() if named_all_modules else {module})
    return found


EDGES = {name: imports(path.read_text()) for name, path in MODULES.items()}


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Import cycles among the modules of a graph, each as the path that closes it."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> None:
        if node in path:
            found.append([*path[path.index(node) :], node])
        elif node not in done:
            for target in sorted(edges[node] & edges.keys()):
                walk(target, [*path, node])
            done.add(node)

    for node in sorted(edges):
        walk(node, [])
    return found


def upward(module: str, targets: set[str]) -> list[str]:
    """The imports of a module that name a room standing after its own."""
    ours = [t for t in targets if t in MODULES and room_of(t)]
    here = ROOMS.index(room_of(module)) if room_of(module) else -1
    return sorted(t for t in ours if ROOMS.index(room_of(t)) > here)


def test_every_file_has_its_room() -> None:
    rooms = {room_of(m) for m in MODULES} - {""}
    assert rooms <= set(ROOMS), f"not in the plan: {sorted(rooms - set(ROOMS))}"
    assert set(ROOMS) == rooms


def test_the_readme_names_every_room() -> None:
    _, _, part = (ROOT / "README.md").read_text().partition("## The rooms")
    table = re.findall(r"^\| `(\w+)`", part.partition("\n## ")[0], flags=re.MULTILINE)
    assert table == list(ROOMS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_upstream_only(module: str) -> None:
    assert not upward(module, EDGES[module])


def test_no_import_cycle() -> None:
    assert not cycles(EDGES)


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_short(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST


def is_free(module: str) -> bool:
    """Whether a module belongs to the table side: by its room, or as a file that draws, slides, weighs or counts."""
    return room_of(module) in ("", *TORCH_FREE) or module.rsplit(".", 1)[-1] in FREE_FILES


@pytest.mark.parametrize("module", list(filter(is_free, MODULES)))
def test_the_table_side_names_nothing_of_the_torch_side(module: str) -> None:
    for target in EDGES[module]:
        assert target.split(".")[0] not in HEAVY
        assert target not in MODULES or is_free(target), f"{module} imports {target}"


SOLVERS = {"drscale.laws._power", "drscale.laws._solver", "drscale.laws._numerical"}


def named_solvers(source: str) -> set[str]:
    """The solvers' own classes that a source names, in an import, an isinstance, an annotation or anywhere else."""
    tree = list(ast.walk(ast.parse(source)))
    names = {n.id for n in tree if isinstance(n, ast.Name)} | {n.attr for n in tree if isinstance(n, ast.Attribute)}
    return {"Power", "Separable", "Plain"} & (names | {n.name for n in tree if isinstance(n, ast.alias)})


@pytest.mark.parametrize("module", sorted(MODULES.keys() - SOLVERS))
def test_no_caller_asks_which_solver_it_is(module: str) -> None:
    assert not named_solvers(MODULES[module].read_text())


CHILD = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
    print(module, *sorted({"torch", "transformers", "datasets", "faiss"} & sys.modules.keys()))
"""
LIGHT = [m for m in MODULES if is_free(m) or room_of(m) in ("texts", "doctor", "commands", "cli")]


def heavy_in(modules: list[str]) -> list[str]:
    """What modules load that they should not, in a fresh process, by the first module that does."""
    done = subprocess.run([sys.executable, "-c", CHILD, *modules], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if len(line.split()) > 1][:1]


def test_imports_are_light() -> None:
    assert not heavy_in(LIGHT)


def test_these_checks_can_fail() -> None:
    assert heavy_in(["drscale.runs", "drscale.encoder"]) == ["drscale.encoder torch"]
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]
    assert upward("drscale.runs", {"drscale.cli"}) == ["drscale.cli"]
    assert imports("def f():\n    import torch.nn\n    from drscale import runs") == {"torch.nn", "drscale.runs"}
    assert named_solvers("from laws._power import Power\nisinstance(f.problem, s.Separable)") == {"Power", "Separable"}
    with pytest.raises(ValueError, match="relative import"):
        imports("from . import runs")


# Tests of the whole house and not of one room.
OF_THE_HOUSE = ("browser", "door", "examples", "hostile", "layers", "notebooks", "readme", "registries", "wheel")


def test_the_tests_are_named_after_the_rooms() -> None:
    names = {p.stem.removeprefix("test_") for p in (ROOT / "tests").glob("test_*.py")}
    strangers = [n for n in names if n not in OF_THE_HOUSE and not any(n == r or n.startswith(f"{r}_") for r in ROOMS)]
    assert not strangers, f"name these after a room: {strangers}"
    folders = {p.parent.name for p in (ROOT / "tests").glob("*/**/test_*.py")}
    assert folders <= {*ROOMS, *OF_THE_HOUSE}, f"name these folders after a room: {sorted(folders)}"
    untested = {r for r in ROOMS if not any(n == r or n.startswith(f"{r}_") for n in names)}
    assert untested <= UNTESTED, f"no test file of their own: {untested - UNTESTED}"


def test_the_files_that_start_first_are_there() -> None:
    names = {p.stem.removeprefix("test_") for p in (ROOT / "tests").rglob("test_*.py")}
    assert set(START_FIRST) <= names, f"conftest.START_FIRST names no test file: {set(START_FIRST) - names}"


# A few lines each, tested where they are used: test_door, test_cli, test_plotting, test_sweep.
UNTESTED = {"results", "doctor", "plot", "ahead", "pools", "__main__"}


def test_the_design_tells_the_houses_true_size():
    said = re.search(
        r"has ([\d,]+) lines in (\d+) files .*?, ([\d,]+) and (\d+) of them for `labels/`",
        (ROOT / "docs" / "design.md").read_text(),
    )
    assert said is not None
    lines, files, own, own_files = (int(number.replace(",", "")) for number in said.groups())
    for folder, told, count in ((PACKAGE, lines, files), (PACKAGE / "labels", own, own_files)):
        there = [path for path in folder.rglob("*.py") if path.name != "__init__.py"]
        assert abs(sum(len(path.read_text().splitlines()) for path in there) / told - 1) < 0.03, folder
        assert abs(len(there) - count) <= 3, folder
