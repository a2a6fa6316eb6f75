"""The one registry of text sources, and the spelling that names them: ``kind:argument?option=value``."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drscale.texts.collection import Benchmark, Collection
from drscale.texts.docs import docs_benchmark, docs_collection
from drscale.texts.planted import World, planted_benchmark, planted_collection

Options = Mapping[str, str]


@dataclass(frozen=True)
class Kind:
    """What a kind of source takes: the name of its argument ('' for none), its options, and how it is read."""

    argument: str
    options: tuple[str, ...]
    read: Callable[[str, Options, bool], Collection]


def _docs(argument: str, options: Options, progress: bool) -> Collection:
    return docs_collection(argument, options.get("body", "full"), progress)


def _planted(argument: str, options: Options, progress: bool) -> Collection:
    return planted_collection(_world(options), _int("pairs", options, 2000), _int("domain", options, 0))


KINDS: dict[str, Kind] = {
    "docs": Kind("PACKAGE", ("body",), _docs),
    "planted": Kind("", ("seed", "pairs", "overlap", "noise", "shift", "domain"), _planted),
}


@dataclass(frozen=True)
class Source:
    """Name a source of texts; ``Source.parse(str(source)) == source``."""

    kind: str
    argument: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted((str(k), str(v)) for k, v in self.options)))
        if self.kind not in KINDS:
            raise ValueError(f"source {self.kind!r}: the kinds are {', '.join(map(spelling, KINDS))}")
        kind = KINDS[self.kind]
        if bool(self.argument) != bool(kind.argument):
            raise ValueError(f"source {str(self)!r}: it is spelt {spelling(self.kind)}")
        names = [name for name, _ in self.options]
        for name in names:
            if name not in kind.options:
                raise ValueError(f"source {str(self)!r}: option {name!r}, allowed are {', '.join(kind.options)}")
            if names.count(name) > 1:
                raise ValueError(f"source {str(self)!r}: the option {name} is given twice")

    def __str__(self) -> str:
        text = self.kind + (f":{_quote(self.argument, '%?')}" if self.argument else "")
        return text + ("?" if self.options else "") + "&".join(f"{k}={_quote(v, '%&=')}" for k, v in self.options)

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read a source from its spelling, for instance ``pairs:faq.csv?query=question&passage=answer``."""
        head, _, tail = text.partition("?")
        kind, _, argument = head.partition(":")
        options = []
        for part in tail.split("&") if tail else []:
            name, equals, value = part.partition("=")
            if not equals:
                raise ValueError(f"source {text!r}: {part!r} is no option=value")
            options.append((name, urllib.parse.unquote(value)))
        return cls(kind, urllib.parse.unquote(argument), tuple(options))


def collection(spec: str | Source, progress: bool = True) -> Collection:
    """Read the collection that a spelling names, from the cache where it was read before."""
    source = spec if isinstance(spec, Source) else Source.parse(spec)
    return KINDS[source.kind].read(source.argument, dict(source.options), progress)


def benchmark(spec: str = "docs", progress: bool = True) -> Benchmark:
    """Read the benchmark that a spelling names: ``docs`` or ``planted``, each with its options."""
    head, _, tail = spec.partition("?")
    if head == "docs":
        options = dict(Source.parse(f"docs:any?{tail}" if tail else "docs:any").options)
        return docs_benchmark(options.get("body", "full"), progress)
    source = Source.parse(spec)
    if source.kind == "planted":
        return planted_benchmark(_world(dict(source.options)), _int("pairs", dict(source.options), 2000))
    raise ValueError(f"benchmark {spec!r}: allowed are docs, docs?body=prose, planted, planted?seed=1")


def spelling(kind: str) -> str:
    """How a source of this kind is written."""
    return f"{kind}:{KINDS[kind].argument}" if KINDS[kind].argument else kind


def _quote(text: str, special: str) -> str:
    return "".join(urllib.parse.quote(c, safe="") if c in special or not c.isprintable() else c for c in text)


def _world(options: Options) -> World:
    return World(
        seed=_int("seed", options, World.seed),
        overlap=_float("overlap", options, World.overlap),
        noise=_int("noise", options, World.noise),
        shift=_float("shift", options, World.shift),
    )


def _int(name: str, options: Options, default: int) -> int:
    try:
        return int(options.get(name, default))
    except ValueError:
        raise ValueError(f"source option {name}={options[name]!r}: not a whole number") from None


def _float(name: str, options: Options, default: float) -> float:
    try:
        return float(options.get(name, default))
    except ValueError:
        raise ValueError(f"source option {name}={options[name]!r}: not a number") from None
