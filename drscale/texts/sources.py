"""The one registry of text sources, and the spelling that names them: ``kind:argument?option=value&option=value``."""

from __future__ import annotations

import importlib
import re
import urllib.parse
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from drscale.results import did_you_mean
from drscale.texts.apis import api_benchmark
from drscale.texts.cache import cached, key_of
from drscale.texts.chinese import chinese_benchmark
from drscale.texts.collection import Benchmark, Collection
from drscale.texts.docs import docs_benchmark, docs_collection
from drscale.texts.hub import hub_collection, hub_splits
from drscale.texts.layouts import folder_collection, folder_parts, folder_splits
from drscale.texts.pairs import pairs_collection
from drscale.texts.planted import World, planted_benchmark, planted_collection
from drscale.texts.split import SHARED, SPLITTER, compose

LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")  # en, zh, pt-BR
WHOLE = ("pairs", "domain", "seed", "noise", "test_pairs", "validation_pairs", "strict", "told")
SHARES = ("overlap", "shift", "near")  # options of our own kinds that are numbers, beside those that are whole
COMPOSED = ("train", "ood", "test", "validation", "test_pairs", "validation_pairs", "near", "seed")
SUITE = ("root", "ood", "test_pairs", "validation_pairs", "near", "seed")
HUB = ("split", "config", "revision", "query", "passage", "language", "strict")
Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Source:
    """Name a source of texts; ``Source.parse(str(source)) == source``, and the options stand in alphabetical order."""

    kind: str
    argument: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(((str(k), str(v)) for k, v in self.options), key=_name)))
        kind = KINDS.get((self.kind, bool(self.argument)))
        if kind is None:
            if (self.kind, not self.argument) in KINDS:
                usual = spelling((self.kind, not self.argument))
                wrong = f"{self.argument!r} stands behind it" if self.argument else "nothing stands behind it"
                raise ValueError(f"texts {str(self)!r}: {wrong}; allowed is {usual}, its options behind a '?'")
            near = did_you_mean(self.kind, (known for known, _ in KINDS))
            raise ValueError(f"texts {str(self)!r}: allowed are {', '.join(map(spelling, KINDS))}{near}")
        names = [name for name, _ in self.options]
        for name, value in self.options:
            if name not in kind.options:
                allowed = ", ".join(kind.options) or "(none)"
                raise ValueError(f"texts {str(self)!r}: option {name!r}, allowed for {self.kind} are {allowed}")
            if names.count(name) > 1 and name not in kind.repeated:
                raise ValueError(f"texts {str(self)!r}: the option {name} is given twice")
            if not value:
                raise ValueError(f"texts {str(self)!r}: the option {name} has no value")

    def __str__(self) -> str:
        text = self.kind + (f":{_quoted(self.argument, '%?')}" if self.argument else "")
        return text + ("?" if self.options else "") + "&".join(f"{k}={_quoted(v, '%&')}" for k, v in self.options)

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read a source from its spelling, for instance ``pairs:faq.csv?passage=answer&query=question``."""
        if not isinstance(text, str):
            raise ValueError(f"texts {text!r}: a spelling is needed, such as 'docs:numpy'")
        head, _, tail = text.partition("?")
        kind, _, argument = head.partition(":")
        options = []
        for part in tail.split("&") if tail else []:
            name, equals, value = part.partition("=")
            if not equals:
                raise ValueError(f"texts {text!r}: {part!r} is no option=value")
            options.append((name, urllib.parse.unquote(value)))
        return cls(kind, urllib.parse.unquote(argument), tuple(options))

    def checked(self) -> Source:
        """The source; a ValueError for values that its kind cannot have, before anything is read."""
        if "\0" in self.argument:
            raise ValueError(f"texts {str(self)!r}: no name holds a NUL byte")
        for name, value in self.options if self.kind in BUILT_IN else ():
            if name == "language" and not LANGUAGE.fullmatch(value):
                raise ValueError(f"texts {str(self)!r}: language={value!r}, a code such as en or zh is needed")
            if name in (*WHOLE, *SHARES):
                self.number(name, 0 if name in WHOLE else 0.0)
        return self

    def text(self, option: str, default: str = "") -> str:
        """The value of an option."""
        return dict(self.options).get(option, default)

    def texts(self, option: str) -> list[str]:
        """All values of an option that may be repeated."""
        return [value for name, value in self.options if name == option]

    def number(self, option: str, default: Number) -> Number:
        """The value of an option as a number of the default's type."""
        value = self.text(option, str(default))
        try:
            return type(default)(value)
        except ValueError:
            what = "whole number" if isinstance(default, int) else "number"
            raise ValueError(f"texts {str(self)!r}: {option}={value!r} is no {what}") from None


def collection(spec: str | Source, progress: bool = True) -> Collection:
    """Read the collection that a spelling names, from the cache where it was read before.

    >>> import drscale as ds
    >>> docs = ds.collection("planted?pairs=50")
    >>> len(docs), docs.synthetic
    (50, True)
    """
    source = (spec if isinstance(spec, Source) else Source.parse(spec)).checked()
    read = KINDS[source.kind, bool(source.argument)].collection
    if read is None:
        several = ", ".join(spelling(key) for key, kind in KINDS.items() if kind.collection)
        raise ValueError(f"texts {str(source)!r} are a benchmark, not a collection; collections are {several}")
    return read(source, progress)


def collections(spec: str | Source, progress: bool = True) -> dict[str, Collection]:
    """Read all collections that a spelling names, by domain: one, or the parts of a data set that is several.

    A folder of folders, as CQADupStack's twelve forums, gives the domains ``cqadupstack/android``,
    ``cqadupstack/english`` ...: a mean over domains counts what stands before the slash once. A data set of a hub whose
    splits are data sets, as NanoBEIR's, gives a domain a split.
    """
    source = (spec if isinstance(spec, Source) else Source.parse(spec)).checked()
    parts = KINDS[source.kind, bool(source.argument)].parts
    several = parts(source) if parts else {}
    if not several:
        c = collection(source, progress)
        return {c.domain or c.name: c}
    read = {domain: collection(part, progress) for domain, part in several.items()}
    return {domain: c.renamed(c.name, domain) for domain, c in read.items()}


def benchmark(spec: str | Source = "docs", progress: bool = True) -> Benchmark:
    """Read the benchmark that a spelling names: ``docs``, ``api-docs``, ``chinese-docs``, ``planted``, ``compose?...``.

    A collection becomes one by holding out a test and a validation split, with no domain outside; a folder with a split
    ``train`` keeps its own splits train, dev and test, and only what it lacks is held out of train.

    >>> import drscale as ds
    >>> benchmark = ds.benchmark("planted?pairs=300")
    >>> list(benchmark.ood)
    ['shift1', 'shift2', 'shift3']
    """
    source = (spec if isinstance(spec, Source) else Source.parse(spec)).checked()
    read = KINDS[source.kind, bool(source.argument)].benchmark
    if isinstance(read, str):
        module, _, name = read.partition(":")
        made: Benchmark = getattr(importlib.import_module(module), name)(source, progress)
        return made
    if read is None:
        parts = _folder_splits(source) or {"train": source}
        options = tuple((part, str(own)) for part, own in parts.items())
        return composed(Source("compose", "", options), progress, name=str(source))
    return read(source, progress)


def spelling(key: tuple[str, bool]) -> str:
    """How a kind of source is written."""
    return key[0] + (f":{KINDS[key].argument}" if key[1] else "")


def composed(source: Source, progress: bool, name: str = "", outside: Mapping[str, str] | None = None) -> Benchmark:
    """Read the parts of ``compose?...`` and put them together; a domain is called by its collection's domain.

    ``outside`` adds domains under names of their own.
    """
    for part in source.texts("train"):
        _warn_of_train(part)
    train = [collection(part, progress) for part in source.texts("train")]
    if not train:
        raise ValueError(f"texts {str(source)!r}: the option train is missing")
    domains = {domain: collection(part, progress) for domain, part in (outside or {}).items()}
    for part in source.texts("ood"):
        for domain, c in collections(part, progress).items():
            if domain in domains:
                raise ValueError(f"texts {str(source)!r}: two domains outside are called {domain}")
            domains[domain] = c
    given = {part: collection(source.text(part), progress) for part in ("test", "validation") if source.text(part)}
    pairs = sum(map(len, train))
    numbers = {option: source.number(option, usual) for option, usual in _usual(pairs).items()}
    if numbers["seed"] < 0:
        raise ValueError(f"texts {name or str(source)!r}: seed={numbers['seed']} must not be negative")
    drawn = {part: numbers[f"{part}_pairs"] for part in ("test", "validation") if part not in given}
    if pairs <= sum(drawn.values()):
        held = " and ".join(f"{n} for {part}" for part, n in drawn.items())
        raise ValueError(
            f"texts {name or str(source)!r}: {pairs} pairs are too few for a benchmark, which holds out {held}; to "
            "measure only, read them as a collection"
        )
    near = source.number("near", SHARED)

    def build(_: object) -> Benchmark:
        return compose(train, domains, **given, **numbers, near=near, name=name or str(source))  # type: ignore[arg-type]

    prints = [c.fingerprint for c in train], {n: c.fingerprint for n, c in {**domains, **given}.items()}
    return cached(
        "benchmark-compose", key_of(name or str(source), prints, numbers, near, SPLITTER), Benchmark.load, build
    )


def _usual(pairs: int) -> dict[str, int]:
    """How much is held out unless said otherwise: a fifth and a tenth of a small collection, 1,000 and 500 of a large.

    Scoring needs 257 passages, so a test has 300 where the pairs allow it.
    """
    return {"test_pairs": min(1000, max(300, pairs // 5)), "validation_pairs": min(500, max(1, pairs // 10)), "seed": 0}


def _world(source: Source) -> World:
    return World(
        seed=source.number("seed", World.seed),
        overlap=source.number("overlap", World.overlap),
        noise=source.number("noise", World.noise),
        shift=source.number("shift", World.shift),
    )


def _docs(source: Source, progress: bool) -> Collection:
    return docs_collection(source.argument, source.text("body", "full"), progress)


def _docs_benchmark(source: Source, progress: bool) -> Benchmark:
    return docs_benchmark(source.text("body", "full"), progress)


def _api_docs(source: Source, progress: bool) -> Benchmark:
    return api_benchmark(source.text("body", "full"), progress)


def _chinese_docs(source: Source, progress: bool) -> Benchmark:
    return chinese_benchmark(progress)


def _folder(source: Source, progress: bool) -> Collection:
    language, strict = source.text("language", "en"), bool(source.number("strict", 0))
    return folder_collection(source.argument, source.text("split"), language, progress, strict)


def _folder_parts(source: Source) -> dict[str, Source]:
    whole = Path(source.argument).expanduser().resolve().name
    parts = folder_parts(source.argument)
    return {f"{whole}/{n}": Source("folder", str(Path(source.argument, p)), source.options) for n, p in parts.items()}


def _folder_splits(source: Source) -> dict[str, Source]:
    """The splits of a folder that has one to train on, each as a source; none where a split is named."""
    if source.kind != "folder" or source.text("split"):
        return {}
    own = folder_splits(source.argument)
    return {part: Source("folder", source.argument, (*source.options, ("split", s))) for part, s in own.items()}


def _warn_of_train(spec: str) -> None:
    """Warn where a folder to train on is read by its split test although it has a split train."""
    source = Source.parse(spec)
    if "test" in (splits := _folder_splits(source)):
        warnings.warn(
            f"train={source} reads the split test of the folder, as {splits['test']} does; its split train is "
            f"{splits['train']}",
            UserWarning,
            stacklevel=4,
        )


def _pairs(source: Source, progress: bool) -> Collection:
    sides = source.text("query"), source.text("passage")
    return pairs_collection(source.argument, *sides, source.text("language", "en"), progress)


def _hub(source: Source, progress: bool) -> Collection:
    language, strict = source.text("language", "en"), bool(source.number("strict", 0))
    names = {option: source.text(option) for option in ("split", "query", "passage", "config", "revision")}
    return hub_collection(source.argument, language=language, strict=strict, **names)


def _hub_parts(source: Source) -> dict[str, Source]:
    if any(source.text(option) for option in ("split", "query", "passage")):
        return {}
    splits = hub_splits(source.argument, source.text("config"), source.text("revision"))
    return {s: Source("hub", source.argument, (*source.options, ("split", s))) for s in splits}


def _planted(source: Source, progress: bool) -> Collection:
    return planted_collection(_world(source), source.number("pairs", 2000), source.number("domain", 0))


def _planted_benchmark(source: Source, progress: bool) -> Benchmark:
    if source.text("domain"):
        raise ValueError(f"texts {str(source)!r}: the option domain is for a collection; a benchmark has all domains")
    return planted_benchmark(_world(source), source.number("pairs", 2000))


@dataclass(frozen=True)
class Kind:
    """A kind of source: what its argument is called, its options, and how it is read.

    ``parts`` gives the sources of a data set that is several, by domain, and none where it is one. ``benchmark`` is a
    function or, where that stands in a room above this one, its place (``module:name``).
    """

    argument: str
    options: tuple[str, ...]
    collection: Callable[[Source, bool], Collection] | None = None
    benchmark: Callable[[Source, bool], Benchmark] | str | None = None
    repeated: tuple[str, ...] = ()
    parts: Callable[[Source], dict[str, Source]] | None = None


# The registry, by name and whether an argument follows.
KINDS: dict[tuple[str, bool], Kind] = {
    ("docs", True): Kind("PACKAGE", ("body",), _docs),
    ("docs", False): Kind("", ("body",), None, _docs_benchmark),
    ("api-docs", False): Kind("", ("body",), None, _api_docs),
    ("chinese-docs", False): Kind("", (), None, _chinese_docs),
    ("folder", True): Kind("PATH", ("split", "language", "strict"), _folder, parts=_folder_parts),
    ("pairs", True): Kind("FILE", ("query", "passage", "language"), _pairs),
    ("hub", True): Kind("ID", HUB, _hub, parts=_hub_parts),
    ("planted", False): Kind("", (*vars(World()), "pairs", "domain"), _planted, _planted_benchmark),
    ("instructed", False): Kind("", ("told",), None, "drscale.instructions.texts:instructed_benchmark"),
    ("english", False): Kind("", SUITE, None, "drscale.texts.suites:suite_benchmark", repeated=("ood",)),
    ("chinese", False): Kind("", SUITE, None, "drscale.texts.suites:suite_benchmark", repeated=("ood",)),
    ("compose", False): Kind("", COMPOSED, None, composed, repeated=("train", "ood")),
}
BUILT_IN = tuple(dict.fromkeys(name for name, _ in KINDS))


def register_source(
    name: str,
    collection: Callable[[Source, bool], Collection] | None = None,
    *,
    benchmark: Callable[[Source, bool], Benchmark] | None = None,
    argument: str = "",
    options: Sequence[str] = (),
    repeated: Sequence[str] = (),
) -> None:
    """Add a kind of texts of your own: its spelling then works in recipes, ``collection``, ``benchmark`` and the CLI.

    ``collection(source, progress)`` reads a :class:`Collection`; ``source.argument`` is what stands behind the colon,
    ``source.text("option")`` and ``source.number("option", 0)`` are its options. ``argument`` is what the part behind
    the colon is called in messages, "" where there is none. With ``benchmark(source, progress)`` it has a split of its
    own; a collection alone is split like any other. ``repeated`` are the options that may be given more than once.
    Registering a name again replaces it; ``del KINDS[name, bool(argument)]`` takes it out.

    >>> import drscale as ds
    >>> from drscale.texts.collection import from_pairs
    >>> def faq(source, progress):
    ...     return from_pairs("faq", [("1", "how to sort", "use sorted()")])
    >>> ds.register_source("faq", faq)
    >>> ds.collection("faq").queries["text"].to_pylist()
    ['how to sort']
    >>> from drscale.texts.sources import KINDS
    >>> del KINDS["faq", False]
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in BUILT_IN:
        known = ", ".join(BUILT_IN)
        raise ValueError(f"name={name!r}: a name of small letters, digits, _ and - is needed; {known} are built in")
    if collection is None and benchmark is None:
        raise ValueError(f"collection=None, benchmark=None: {name!r} needs a function that reads one of them")
    for what, read in (("collection", collection), ("benchmark", benchmark)):
        if read is not None and not callable(read):
            raise ValueError(f"{what}={read!r}: a function (source, progress) is needed")
    if isinstance(options, str) or not all(isinstance(o, str) and o.isidentifier() for o in options):
        raise ValueError(f"options={options!r}: a list of names is needed")
    if isinstance(repeated, str) or not set(repeated) <= set(options):
        raise ValueError(f"repeated={repeated!r}: some of the options {', '.join(options) or '(none)'}")
    KINDS[name, bool(argument)] = Kind(argument, tuple(options), collection, benchmark, tuple(repeated))


def _name(option: tuple[str, str]) -> str:
    return option[0]


def _quoted(text: str, special: str) -> str:
    return "".join(urllib.parse.quote(c, safe="") if c in special or not c.isprintable() else c for c in text)
