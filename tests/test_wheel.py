"""The wheel stands alone: built from a copy, unpacked elsewhere, it reads its own tables and does an analyst's work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

NEEDED = ("drscale", "data/published", "pyproject.toml", "README.md", "LICENSE")
ANALYST = """
import sys
import drscale as ds
from drscale import papers
assert ds.__file__.startswith(sys.argv[1]), ds.__file__
runs = ds.example_runs()
fit = ds.fit_law(runs, ds.size_law, y="in_domain_entropy", warn=False)
print(len(runs), len(papers.published_laws()), len(papers.dragon(4)), len(papers.verdicts()), fit.best_values["mu"] > 0)
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's files in a folder of their own, far from the repository."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in NEEDED:
        source = ROOT / name
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(out),
        ".",
    ]
    made = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as parts:
        parts.extractall(out / "site")
    return out / "site"


def test_the_wheel_holds_every_module_and_table(unpacked: Path) -> None:
    ours = {p.relative_to(ROOT).as_posix() for p in (ROOT / "drscale").rglob("*.py*") if p.suffix in (".py", ".pyi")}
    there = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*.py*")}
    assert ours <= there
    tables = {p.name for p in (ROOT / "data" / "published").iterdir()}
    assert tables == {p.name for p in (unpacked / "drscale" / "papers" / "tables").iterdir()}
    assert (unpacked / "drscale" / "py.typed").is_file()


def test_an_analyst_needs_only_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    room = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", ANALYST, str(unpacked)],
        cwd=tmp_path,
        env=room,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    counts = done.stdout.split()
    assert all(int(n) > 10 for n in counts[:4])
    assert counts[4] == "True"
