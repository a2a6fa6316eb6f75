"""The benchmarks of Liu et al.: ``english`` (MS MARCO, BEIR outside) and ``chinese`` (T2Ranking, BCIR outside).

Each part is a data set of the hub or, below ``root=FOLDER``, the files that its makers hand out. ``SUITES`` has a row a
benchmark: a spelling of each part at the hub, and the folder and split in which its own files are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drscale.texts.collection import Benchmark
from drscale.texts.layouts import layout_of
from drscale.texts.sources import Source, composed

FORUMS = (
    *("Android", "English", "Gaming", "Gis", "Mathematica", "Physics"),
    *("Programmers", "Stats", "Tex", "Unix", "Webmasters", "Wordpress"),
)


@dataclass(frozen=True)
class Part:
    """One data set: its spelling at the hub ("" where it is not public), and its folders and split on disk."""

    hub: str
    folders: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True)
class Suite:
    """A benchmark by its parts; where the test cannot be had, it is held out from ``train``."""

    language: str
    train: Part
    test: Part
    outside: dict[str, Part]


def _beir(name: str, public: str = "", *others: str) -> Part:
    return Part(f"hub:mteb/{public}" if public else "", (name, *others), "test")


ENGLISH = Suite(
    "en",
    Part("hub:mteb/msmarco?split=train", ("msmarco",), "train"),
    Part("hub:mteb/msmarco?split=dev", ("msmarco",), "dev"),
    {
        "trec-covid": _beir("trec-covid", "trec-covid"),
        "nfcorpus": _beir("nfcorpus", "nfcorpus"),
        "nq": _beir("nq", "nq"),
        "hotpotqa": _beir("hotpotqa", "hotpotqa"),
        "fiqa": _beir("fiqa", "fiqa"),
        "arguana": _beir("arguana", "arguana"),
        "webis-touche2020": _beir("webis-touche2020", "touche2020"),
        **{f"cqadupstack/{f.lower()}": _beir(f"cqadupstack/{f.lower()}", f"CQADupstack{f}Retrieval") for f in FORUMS},
        "quora": _beir("quora", "quora"),
        "dbpedia-entity": _beir("dbpedia-entity", "dbpedia"),
        "scidocs": _beir("scidocs", "scidocs"),
        "fever": _beir("fever", "fever"),
        "climate-fever": _beir("climate-fever", "climate-fever"),
        "scifact": _beir("scifact", "scifact"),
        "bioasq": _beir("bioasq"),
        "signal1m": _beir("signal1m"),
        "trec-news": _beir("trec-news"),
        "robust04": _beir("robust04"),
    },
)
CHINESE = Suite(
    "zh",
    Part("hub:mteb/T2Retrieval?split=dev", ("T2Ranking/data", "T2Ranking"), "train"),
    Part("", ("T2Ranking/data", "T2Ranking"), "dev"),
    {
        "ecom": Part("hub:mteb/EcomRetrieval?split=dev", ("Multi-CPR/data/ecom", "Multi-CPR/ecom", "ecom"), "dev"),
        "video": Part("hub:mteb/VideoRetrieval?split=dev", ("Multi-CPR/data/video", "Multi-CPR/video", "video"), "dev"),
        "medical": Part(
            "hub:mteb/MedicalRetrieval?split=dev", ("Multi-CPR/data/medical", "Multi-CPR/medical", "medical"), "dev"
        ),
        "cmedqa2": Part("hub:mteb/CmedqaRetrieval?split=dev", ("cMedQA2", "cmedqa2"), "dev"),
        "tiangong-pdr": Part("", ("TianGong-PDR", "tiangong-pdr")),
    },
)
SUITES = {"english": ENGLISH, "chinese": CHINESE}


def suite_benchmark(source: Source, progress: bool = True) -> Benchmark:
    """Read ``english`` or ``chinese``: train and test of one data set, and the domains outside that can be had.

    A part that lies below ``root`` is read from there, any other from the hub; what is not public, and is not there,
    is left out. ``ood=NAME``, which may be repeated, keeps some of the domains only.
    """
    suite, root = SUITES[source.kind], source.text("root")
    if root and not Path(root).expanduser().is_dir():
        raise ValueError(f"texts {str(source)!r}: root={root!r} is no folder")
    wanted = source.texts("ood")
    names = {name.partition("/")[0] for name in suite.outside} | suite.outside.keys()
    if unknown := [name for name in wanted if name not in names]:
        allowed = ", ".join(dict.fromkeys(name.partition("/")[0] for name in suite.outside))
        raise ValueError(f"texts {str(source)!r}: ood={unknown[0]!r}, allowed are {allowed}")
    train, test = (_spelt(part, root, suite.language) for part in (suite.train, suite.test))
    outside = {}
    for name, part in suite.outside.items():
        spelling = _spelt(part, root, suite.language)
        if wanted and not {name, name.partition("/")[0]} & set(wanted):
            continue
        if spelling:
            outside[name] = spelling
        elif wanted:
            where = f"below root={root}" if root else "in a folder of root=FOLDER"
            raise ValueError(
                f"texts {str(source)!r}: ood={name!r} is not public; it is read from {part.folders[0]} {where}"
            )
    held = [(n, source.text(n)) for n in ("near", "seed", "test_pairs", "validation_pairs") if source.text(n)]
    parts = Source("compose", "", (("train", train), *([("test", test)] if test else []), *held))
    return composed(parts, progress, name=str(source), outside=outside)


def _spelt(part: Part, root: str, language: str) -> str:
    """The spelling of a part: its files below ``root`` where they are, else the hub's."""
    spoken = (("language", language),) if language != "en" else ()
    for folder in part.folders if root else ():
        path = Path(root).expanduser() / folder
        if path.is_dir() and layout_of(path) is not None:
            return str(Source("folder", str(path), ((("split", part.split),) if part.split else ()) + spoken))
    if not part.hub:
        return ""
    public = Source.parse(part.hub)
    return str(Source("hub", public.argument, public.options + spoken))
