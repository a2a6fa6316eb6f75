"""The benchmark ``api-docs``: docstrings of more packages, and the documentation of cloud services in two clients.

Only files are parsed, nothing of a package is imported or run, so ``pip install --no-deps`` is enough.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from drscale.texts import docs, docstrings
from drscale.texts.cache import cached, key_of
from drscale.texts.collection import Benchmark, Collection, from_pairs
from drscale.texts.docs import Triple, check_domains, distinct, docs_collections, domains_of, installed_packages
from drscale.texts.split import SPLITTER, compose

BUILDER = 1  # raise when the choice of pairs of the cloud services changes: it is part of the cache key

# What drscale installs anyway, then what its extra ``corpora`` adds; botocore and googleapiclient are split by service.
INSTALLED = (*docs.TRAIN, "sentence_transformers", "datasets", "pydantic")
ADDED = ("twisted", "pennylane", "astropy", "diffusers", "sqlalchemy", "jax", "qiskit", "mne", "monai", "matplotlib")
ADDED_SMALL = ("ibis", "nltk", "keras", "nilearn", "telegram", "xarray")
TRAIN = (*INSTALLED, *ADDED, *ADDED_SMALL)
OUTSIDE = ("pandas", "networkx", "numpy", "huggingface_hub", "IPython", "tornado", "django", "Bio")
AWS_OUTSIDE, GOOGLE_OUTSIDE = ("ec2", "mediaconvert"), ("compute", "searchads360")
DISTRIBUTIONS = {
    "Bio": "biopython",
    "ibis": "ibis-framework",
    "telegram": "python-telegram-bot",
    "sklearn": "scikit-learn",
}
DISTRIBUTIONS |= {"googleapiclient": "google-api-python-client", "IPython": "ipython"}

BLOCK = re.compile(r"</?(?:p|li|ul|ol|dl|dt|dd|br|note|important|pre|h[1-6]|table|tr|td|th|div|title)\b[^<>]*>")
TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>", re.DOTALL)
# The end of a sentence: a stop with a capital, a digit or a bracket behind it, or a line that ends.
STOP = re.compile(r"[.!?][)\"']?\s+(?=[\"'(]?[A-Z0-9])|\n+")
SHORT = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|No|Inc|Corp|Ltd|St|Dr|Mr|Ms|U\.S|[A-Z])|\.\.)\.$")
WRAPPED = re.compile(r"(?<!\n)\n(?!\s*(?:\n|[-*]))")  # a line that goes on in the next one, as in Google's texts
LEAST_WORDS = 19  # of a query and a passage together: shorter texts need not be cleaned
VERSION = re.compile(r"^(?:([a-z]+)_?)?v(\d+)(?:[.p](\d+))?(.*)$")
STAGES = ("alpha", "beta", "preview")


def first_sentence(text: str) -> tuple[str, str]:
    """The first sentence of a text and the rest; a line that ends ends its sentence too."""
    text = text.strip()
    for stop in STOP.finditer(text):
        if "\n" in stop[0] or not SHORT.search(text[: stop.start() + 1]):
            return text[: stop.end()].strip(), text[stop.end() :].strip()
    return text, ""


def pair_of(text: str) -> tuple[str, str] | None:
    """The (query, passage) pair of a description, its first sentence and the rest, or None if it makes no fit pair."""
    if len(text.split()) < LEAST_WORDS:
        return None
    query, passage = map(docstrings.clean, first_sentence(text))
    return docstrings.fit(query, passage)


def plain(markup: str) -> str:
    """The text of HTML, a line for each of its lines and blocks."""
    lines = html.unescape(TAG.sub("", BLOCK.sub("\n", markup))).splitlines()
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))


def botocore_triples(root: Path) -> Iterator[Triple]:
    """The pairs of every service's newest version: of the service, its operations, its shapes and their members."""
    for service in sorted(folder for folder in (root / "data").iterdir() if folder.is_dir()):
        versions = sorted(version for version in service.iterdir() if any(version.glob("service-2.json*")))
        if not versions:
            continue
        (file, *_) = sorted(versions[-1].glob("service-2.json*"))
        model = json.loads(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
        for name, markup in _documented(model):
            if pair := pair_of(plain(" ".join(markup.split()))):
                yield ".".join(filter(None, ("botocore", service.name, name))), *pair


def _documented(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "", model.get("documentation") or ""
    for name, operation in model.get("operations", {}).items():
        yield name, operation.get("documentation") or ""
    for name, shape in model.get("shapes", {}).items():
        yield name, shape.get("documentation") or ""
        for member, about in shape.get("members", {}).items():
            yield f"{name}.{member}", about.get("documentation") or ""


def google_triples(root: Path) -> Iterator[Triple]:
    """The pairs of the newest version of each API in google-api-python-client's discovery documents."""
    newest: dict[str, tuple[tuple[int, ...], Path]] = {}
    for file in sorted((root / "discovery_cache" / "documents").glob("*.json")):
        api, _, version = file.stem.partition(".")
        part, number = version_of(version)
        api = ".".join(filter(None, (api, part)))
        if api not in newest or number > newest[api][0]:
            newest[api] = number, file
    for api, (_, file) in sorted(newest.items()):
        document = json.loads(file.read_bytes())
        for name, text in _described(document, ""):
            if pair := pair_of(WRAPPED.sub(" ", text)):
                yield ".".join(filter(None, ("googleapiclient", api, name))), *pair


def version_of(version: str) -> tuple[str, tuple[int, ...]]:
    """The part of an API that a version names, and its rank: v2beta1 is above v1, and v1 above v1beta1."""
    match = VERSION.match(version)
    if not match:  # alpha, beta, preview
        return "", (-1, STAGES.index(version) if version in STAGES else len(STAGES), 0, 0)
    part, major, minor, tail = match.groups()
    stage = next((i for i, name in enumerate(STAGES) if name in tail), len(STAGES))
    last = re.search(r"\d+$", tail)
    return part or "", (int(major), stage, int(minor or 0), int(last[0]) if last else 0)


WAYS = ("methods", "resources", "schemas", "properties", "parameters", "items", "additionalProperties")


def _described(node: dict[str, Any], name: str) -> Iterator[tuple[str, str]]:
    text = node.get("description")
    if isinstance(text, str):
        yield name, text
    for way in WAYS:
        inner = node.get(way)
        if not isinstance(inner, dict):
            continue
        if way in ("items", "additionalProperties"):
            yield from _described(inner, name)
            continue
        for key, child in inner.items():
            if isinstance(child, dict):
                yield from _described(child, f"{name}.{key}".lstrip("."))


CLOUDS: dict[str, Callable[[Path], Iterator[Triple]]] = {
    "botocore": botocore_triples,
    "googleapiclient": google_triples,
}


def api_benchmark(body: str = "full", progress: bool = True) -> Benchmark:
    """Train on the documentation of packages and cloud services, measure on held-out pairs and on twelve domains.

    1,000 pairs are held out for the test and 500 for validation, stratified over packages and services; four services
    and eight packages stand outside, with at most 1,000 pairs each. ``body`` is that of :func:`docs_collection`. Built
    once for a set of package versions.
    """
    name = "api-docs" if body == "full" else f"api-docs?body={body}"
    packages = (*TRAIN, *OUTSIDE)
    found = installed_packages("api-docs", (*packages, *CLOUDS), DISTRIBUTIONS)

    def build(_: Path) -> Benchmark:
        read = {c.domain: c for c in docs_collections(packages, body, progress)}
        aws, google = (by_service(_cloud(package, *found[package], progress)) for package in CLOUDS)
        outside = {package: read[package] for package in OUTSIDE}
        outside |= {f"aws-{service}": aws.pop(service) for service in AWS_OUTSIDE if service in aws}
        outside |= {f"google-{service}": google.pop(service) for service in GOOGLE_OUTSIDE if service in google}
        train = [*(read[package] for package in TRAIN), *aws.values(), *google.values()]
        with tqdm(desc="keeping the splits apart", total=1, disable=not progress, leave=False):
            return compose(train, domains_of(outside), name=name)

    versions = {package: version for package, (_, version) in found.items()}
    parts = TRAIN, OUTSIDE, AWS_OUTSIDE, GOOGLE_OUTSIDE
    key = key_of(versions, parts, docstrings.PARSER, docs.BUILDER, BUILDER, SPLITTER, body, docs.NEAR)
    benchmark = cached(f"benchmark-{name}", key, Benchmark.load, build)
    clouds = [f"aws-{service}" for service in AWS_OUTSIDE] + [f"google-{service}" for service in GOOGLE_OUTSIDE]
    check_domains(benchmark, [*OUTSIDE, *clouds])
    return benchmark


def _cloud(package: str, root: Path, version: str, progress: bool) -> Collection:
    """The pairs of all services that a client documents, each text once."""

    def build(_: Path) -> Collection:
        triples = CLOUDS[package](root)
        kept = distinct(tqdm(triples, f"reading {package}", unit=" pairs", disable=not progress, leave=False))
        if not kept:
            raise ValueError(f"api-docs: {root} has no service description that makes a pair")
        return from_pairs(package, kept, domain=package, versions={package: version})

    return cached(
        f"api-{package}", key_of(package, version, docstrings.PARSER, BUILDER, docs.NEAR), Collection.load, build
    )


def by_service(collection: Collection) -> dict[str, Collection]:
    """Take the services of a client apart; a pair's id is client.service.name."""
    services = np.array([name.split(".")[1] for name in collection.queries["id"].take(collection.pairs[0]).to_pylist()])
    return {
        service: collection.select(np.flatnonzero(services == service)).renamed(f"{collection.name}.{service}")
        for service in np.unique(services).tolist()
    }
