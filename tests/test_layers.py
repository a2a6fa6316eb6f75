"""The plan of the house, enforced: which rooms there are, what may import what, and which side stays free of torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "drscale"
# A room may import only rooms that stand before it.
ROOMS = (
    "recipe",
    "runs",
    "ladder",
    "texts",
    "losses",
    "encoder",
    "evaluation",
    "attacks",
    "training",
    "provenance",
    "study",
    "trained",
    "sweep",
    "analysis",
    "show",
    "doctor",
    "cli",
)
PLANNED: set[str] = set()  # in the plan, not built yet: leaves this set with its first file
TORCH_FREE = ("recipe", "runs", "ladder", "provenance", "analysis", "show")
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
    assert set(ROOMS) - rooms == PLANNED, "a room is missing, or one is built that PLANNED still names"


def test_the_readme_names_every_room() -> None:
    _, _, part = (ROOT / "README.md").read_text().partition("## The rooms")
    table = re.findall(r"^\| `(\w+)`", part.partition("\n## ")[0], flags=re.MULTILINE)
    assert table == [r for r in ROOMS if r not in PLANNED]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_upstream_only(module: str) -> None:
    assert not upward(module, EDGES[module])


def test_no_import_cycle() -> None:
    assert not cycles(EDGES)


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_short(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) in TORCH_FREE or not room_of(m)])
def test_the_pandas_side_names_nothing_of_the_torch_side(module: str) -> None:
    for target in EDGES[module]:
        assert target.split(".")[0] not in HEAVY
        assert target not in MODULES or room_of(target) in ("", *TORCH_FREE), f"{module} imports {target}"


CHILD = """
import sys, time
start = time.process_time()
__import__(sys.argv[1])
seconds = time.process_time() - start
print(seconds, *sorted({"torch", "transformers", "datasets"} & sys.modules.keys()))
"""
# Beside the torch-free rooms those that the command line needs before anything is trained.
# A browser widget of plotly takes 3 s on a busy core; torch takes 10 and is looked for by name.
LIGHT_SECONDS = 6
LIGHT = [m for m in MODULES if room_of(m) in ("", *TORCH_FREE, "texts", "doctor", "cli")]


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module: str) -> None:
    taken = []
    for _ in range(3):  # seconds of this process alone; the first import on a new machine also compiles
        done = subprocess.run([sys.executable, "-c", CHILD, module], capture_output=True, text=True, check=True)
        seconds, *heavy = done.stdout.split()
        assert not heavy, f"importing {module} loads {heavy}"
        taken.append(float(seconds))
        if taken[-1] < LIGHT_SECONDS:
            break
    assert min(taken) < LIGHT_SECONDS, f"importing {module} takes {min(taken):.1f} s"


def test_these_checks_can_fail() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]
    assert upward("drscale.runs", {"drscale.cli"}) == ["drscale.cli"]
    assert imports("def f():\n    import torch.nn\n    from drscale import runs") == {"torch.nn", "drscale.runs"}
    with pytest.raises(ValueError, match="relative import"):
        imports("from . import runs")
