"""The wheel stands alone: built from a copy, unpacked or installed elsewhere, it does an analyst's work by itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from packaging.requirements import Requirement

NEEDED = ("drscale", "data/published", "notebooks/apps", "pyproject.toml", "setup.py", "README.md", "LICENSE")
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
LIGHT = """
import importlib.util
assert [n for n in ("torch", "transformers", "datasets", "pytest", "voila") if importlib.util.find_spec(n)] == []
figure = ds.plot.size(runs, y="in_domain_entropy", warn=False)
ds.export(figure, "law.html")
try:
    ds.export(figure, "law.pdf")
except RuntimeError as e:
    print(type(e).__name__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of what it is made of."""
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
    (made_file,) = out.glob("*.whl")
    return made_file


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    """The wheel's files in a folder of their own, far from the repository."""
    with zipfile.ZipFile(wheel) as parts:
        parts.extractall(wheel.parent / "site")
    return wheel.parent / "site"


def needed(name: str, found: dict[str, None]) -> dict[str, None]:
    """A distribution and all that it requires here, extras left out."""
    if name not in found:
        found[name] = None
        for text in distribution(name).requires or ():
            asked = Requirement(text)
            if asked.marker is None or asked.marker.evaluate({"extra": ""}):
                needed(asked.name, found)
    return found


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, installed by pip, and what the light install brings: no torch, no browser.

    What the wheel requires is linked from the tests' own environment; pip looks whether it is all there.
    """
    place = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    asked = zipfile.ZipFile(wheel).read(f"drscale-{wheel.name.split('-')[1]}.dist-info/METADATA").decode()
    found: dict[str, None] = {}
    for text in re.findall(r"^Requires-Dist: ([^;\n]+)$", asked, re.MULTILINE):
        needed(Requirement(text).name, found)
    for name in found:
        ours = distribution(name)
        for top in {file.parts[0] for file in ours.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(ours.locate_file(top))).resolve())
    python = place / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index", str(wheel)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return place


def in_bare(bare: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the bare environment, with none of this one's variables but the way to the system's programs."""
    room = {"PATH": f"{bare / 'bin'}:/usr/bin:/bin", "HOME": str(folder), "BROWSER_PATH": str(folder / "no-browser")}
    command = [str(bare / "bin" / words[0]), *words[1:]]
    return subprocess.run(command, cwd=folder, env=room, capture_output=True, text=True, timeout=300)


def test_pip_installs_it_in_a_bare_environment_and_an_analyst_works_there(bare: Path, tmp_path: Path) -> None:
    done = in_bare(bare, tmp_path, "python", "-W", "error", "-c", ANALYST + LIGHT, str(bare))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[4:] == ["True", "NoBrowser"]
    assert "plotly" in (tmp_path / "law.html").read_text()


def test_its_command_works_there_and_says_what_training_needs(bare: Path, wheel: Path, tmp_path: Path) -> None:
    (example,) = bare.glob("lib/python*/site-packages/drscale/example_runs.csv")
    shutil.copy(example, tmp_path / "runs.csv")
    words = ("runs.csv", "--where", "pairs == 0", "--x", "params_layers", "--y", "in_domain_entropy", "--json")
    done = in_bare(bare, tmp_path, "drscale", "fit", *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {"command": "fit", "law": "size_law"}.items() <= told.items()
    done = in_bare(bare, tmp_path, "drscale", "demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"torch is not installed; this brings it: pip install '{wheel}[lab]'\n")
    assert len(done.stderr.splitlines()) == 1


def test_the_wheels_description_asks_for_no_file_of_a_clone(unpacked: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    head, _, said = metadata.read_text().partition("\n\n")
    assert "Description-Content-Type: text/markdown" in head
    assert "![" in (readme := (ROOT / "README.md").read_text())
    assert "![" not in said
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", said) == []
    assert said.count("are in the repository's folder") == 1
    assert len(said) > 0.8 * len(readme)
    assert re.findall(r"^#+ .*", said, re.MULTILINE) == re.findall(r"^#+ .*", readme, re.MULTILINE)


def test_the_wheel_holds_every_module_and_table(unpacked: Path) -> None:
    ours = {p.relative_to(ROOT).as_posix() for p in (ROOT / "drscale").rglob("*.py*") if p.suffix in (".py", ".pyi")}
    there = {p.relative_to(unpacked).as_posix() for p in unpacked.rglob("*.py*")}
    assert ours <= there
    tables = {p.name for p in (ROOT / "data" / "published").iterdir()}
    assert tables == {p.name for p in (unpacked / "drscale" / "papers" / "tables").iterdir()}
    assert (unpacked / "drscale" / "py.typed").is_file()
    apps = ROOT / "notebooks" / "apps"
    there = {p.relative_to(unpacked / "drscale" / "apps") for p in (unpacked / "drscale" / "apps").rglob("*.*")}
    assert {p.relative_to(apps) for p in apps.rglob("*.*")} - {Path("voila/templates/drscale")} <= there


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


@pytest.mark.parametrize("name", ["budget", "frontier", "law"])
def test_an_app_of_the_wheel_runs_without_the_repository(unpacked: Path, tmp_path: Path, name: str) -> None:
    cells = nbformat.read(unpacked / "drscale" / "apps" / f"{name}.ipynb", 4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    *lines, last = source.splitlines()
    code = "\n".join(
        [*lines, f"shown = {last}", "print(shown.saver.folder, '/', shown.sentence.value)", "print(shown.code.value)"]
    )
    room = {**os.environ, "PYTHONPATH": str(unpacked), "DRSCALE_APP_FOLDER": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=unpacked, env=room, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path} / <p>")
    assert "ds.example_runs()" in done.stdout


@pytest.mark.slow
def test_the_apps_of_the_wheel_are_served_to_who_has_the_token(unpacked: Path, tmp_path: Path) -> None:
    room = {**os.environ, "PYTHONPATH": str(unpacked), "HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "drscale", "app", "--no-browser", "--ip", "127.0.0.1"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=room, stdout=log, stderr=log, start_new_session=True)
    try:
        address, token = _address(server, tmp_path / "log")
        assert "What a law is worth" in _asked(f"{address}/?token={token}")
        for path in (
            "/",
            "/voila/render/law.ipynb",
            "/voila/tree",
            "/api/kernels/0123abcd-0000-0000-0000-000000000000",
        ):
            assert "What a law is worth" not in _asked(f"{address}{path}")
        assert _asked(f"{address}/api/kernels/0123abcd-0000-0000-0000-000000000000") == "403"
        assert _asked(f"{address}/?token={token}x") != _asked(f"{address}/?token={token}")
        for host in ("evil.example", "evil.example:8866", "192.0.2.1"):
            assert _asked(f"{address}/?token={token}", host) == "403"
        assert "What a law is worth" in _asked(f"{address}/?token={token}", "localhost")
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # the server and its kernels
        server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    end = time.monotonic() + 120
    while (said := re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\w{20,})", log.read_text())) is None:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    return said[1], said[2]


def _asked(url: str, host: str = "") -> str:
    """The page at an address, where it is not refused: then the status."""
    asked = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as e:
        return str(e.code)
