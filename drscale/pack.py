"""A study in one folder for a machine without a network: token ids, start weights, recipes and this package's source.

``drscale pack STUDY`` writes it, ``drscale sweep PACK`` or, where drscale is not installed, ``python PACK`` trains and
scores there. The node needs torch, transformers, pandas, pyarrow and safetensors and nothing else. The records are
those that the study would have left at home: same recipes, same keys, same fingerprints of the texts.

A pack holds no text: each text is the list of its word pieces' numbers, cut where the study's recipes cut it, and on
the node a "text" is these numbers in writing. What needs words there (mining, noise, attacks, labels) is refused when
the pack is made.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from drscale import __version__
from drscale.files import write_atomic
from drscale.labels.queries import annotated
from drscale.ladder import MINILM, shape_for
from drscale.models import texts_of, trained_on
from drscale.recipe import Recipe
from drscale.results import Result
from drscale.runs import commit
from drscale.texts import Benchmark, Collection
from drscale.texts.collection import read_meta
from drscale.texts.tables import QRELS, TEXTS

if TYPE_CHECKING:
    from drscale.encoder import BiEncoder

FORMAT, HEAD, MOST_MB = "drscale-pack/1", "pack.json", 60
MAIN = '''"""Train and score what this pack holds: python PACK [--workers N]."""

import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here / "code"))

from drscale.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["sweep", str(here), *sys.argv[1:]]))
'''


@dataclass(frozen=True)
class Ids:
    """The tokenizer of packed texts, which are numbers in writing; it cuts and adds the two special ones."""

    size: int
    first: int
    last: int
    pad_token_id: int
    length: int = 512

    @property
    def backend_tokenizer(self) -> Ids:
        return self

    def __len__(self) -> int:
        return self.size

    def no_padding(self) -> None:
        return None

    def enable_truncation(self, length: int) -> None:
        object.__setattr__(self, "length", length)

    def encode_batch_fast(self, texts: Sequence[str]) -> list[Encoded]:
        """Numbers in writing to token ids."""
        return [self._ids(np.array(text.split()[: self.length - 2], dtype=np.int32)) for text in texts]

    def _ids(self, ids: np.ndarray) -> Encoded:
        return Encoded(np.concatenate([[self.first], ids, [self.last]]).astype(np.int32))


@dataclass(frozen=True)
class Encoded:
    """What a tokenizer gives for a text."""

    ids: np.ndarray


@dataclass(frozen=True)
class Pack(Result):
    """A pack as it was opened: its recipes, and the texts and the encoder of each."""

    path: Path
    head: dict[str, Any]

    @cached_property
    def recipes(self) -> list[Recipe]:
        return [Recipe.parse(text) for text in self.head["recipes"]]

    def __str__(self) -> str:
        return f"{self.head['study']}: {len(self.recipes)} recipes, {self.head['mb']:.1f} MB"

    def texts(self, recipe: Recipe) -> Benchmark:
        """The recipe's benchmark, its texts as numbers."""
        return _benchmark(self, self._entry(recipe)["texts"])

    def source(self, recipe: Recipe) -> Collection:
        """The recipe's whole training collection under its annotation, its texts as numbers."""
        texts = self._entry(recipe)["texts"]
        if recipe.annotation == "human":
            return _benchmark(self, texts).train
        return _read_part(self.path / texts["folder"], texts["annotations"][recipe.annotation])

    def build(self, recipe: Recipe) -> BiEncoder:
        """The recipe's encoder, untrained."""
        from drscale.encoder import build

        return build(recipe, tokenizer=Ids(**self._entry(recipe)["tokenizer"]), folder=self.path / "minilm")

    def _entry(self, recipe: Recipe) -> dict[str, Any]:
        found: dict[str, Any] | None = self.head["vocabularies"].get(_vocabulary(recipe))
        if found is None:
            raise ValueError(f"{self.path}: has no texts for {recipe}")
        return found


def write_pack(recipes: Sequence[Recipe], folder: str | Path, study: str = "study", most_mb: float = MOST_MB) -> Pack:
    """Pack recipes with all they need into a folder, which must not be there yet, and open it.

    >>> import drscale as ds
    >>> from drscale.pack import write_pack
    >>> recipes = ds.grid(ds.Recipe(texts="planted?pairs=300", start="scratch", steps=2), rung=["L2H12", "L2H16"])
    >>> pack = write_pack(recipes, "tiny.pack")
    >>> print(pack)
    study: 2 recipes, ... MB
    """
    path, recipes = Path(folder), list(dict.fromkeys(recipes))
    if path.exists():
        raise ValueError(f"{path}: is there already; give a folder that is not")
    if not recipes:
        raise ValueError("recipes=[]: at least one is needed")
    for recipe in recipes:
        _check(recipe)
    building = path.with_name(f"{path.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        vocabularies = _write_texts(recipes, building)
        _write_start(recipes, building, vocabularies)
        _write_code(building)
        files = {str(p.relative_to(building)): _digest(p) for p in sorted(building.rglob("*")) if p.is_file()}
        mb = sum((building / name).stat().st_size for name in files) / 1e6
        if mb > most_mb:
            raise ValueError(
                f"{path}: the pack would have {mb:.1f} MB, allowed are {most_mb:g}; cut the texts shorter "
                "(passage_tokens), use fewer of them, or raise --most-mb"
            )
        head = {
            "format": FORMAT,
            "study": study,
            "drscale": __version__,
            "commit": commit(),
            "recipes": [str(r) for r in recipes],
            "vocabularies": vocabularies,
            "files": files,
            "mb": round(mb, 3),
        }
        write_atomic(building / HEAD, json.dumps(head, indent=1) + "\n")
        building.rename(path)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return open_pack(path)


def open_pack(folder: str | Path) -> Pack:
    """Open a pack and look whether it is whole."""
    path = Path(folder)
    head = read_meta(path / HEAD, FORMAT, ("study", "commit", "recipes", "vocabularies", "files", "mb"))
    for name, digest in head["files"].items():
        if not (path / name).is_file() or _digest(path / name) != digest:
            raise ValueError(f"{path / name}: missing or damaged; copy the pack again")
    return Pack(path, head)


@lru_cache(maxsize=2)
def opened(folder: str) -> Pack:
    """The pack a worker trains from, kept in memory."""
    return open_pack(folder)


# ------------------------------------------------------------------------------------------------------- the parts


def _check(recipe: Recipe) -> None:
    """Refuse what needs more than numbers."""
    needs = {
        f"strategy={recipe.strategy!r} needs words (a pack trains 'standard')": recipe.strategy != "standard",
        "attacked=... needs words: measure it at home on the models that --keep leaves": recipe.attacked > 0,
        f"instruction={recipe.instruction!r} needs words": bool(recipe.instruction),
        f"start={recipe.start!r} needs words": recipe.start in ("mlm", "retromae"),
        f"start='checkpoint' of {recipe.rung!r}: a pack brings MiniLM alone": (
            recipe.start == "checkpoint" and shape_for(recipe).hub != MINILM
        ),
    }
    for said, true in needs.items():
        if true:
            raise ValueError(f"{recipe}: {said}")


def _vocabulary(recipe: Recipe) -> str:
    """What a recipe's texts and word pieces hang on."""
    learnt = [str(recipe.pairs), str(recipe.seed if recipe.pairs else 0), recipe.corpus] if recipe.pairs else []
    learnt += [recipe.annotation] if recipe.annotation != "human" else []
    return "|".join([recipe.texts, *(["scratch", *learnt] if recipe.start == "scratch" else ["table"])])


def _write_texts(recipes: list[Recipe], path: Path) -> dict[str, dict[str, Any]]:
    """A folder for each benchmark and vocabulary."""
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault(_vocabulary(recipe), []).append(recipe)
    vocabularies: dict[str, dict[str, Any]] = {}
    for number, (key, group) in enumerate(groups.items()):
        texts, tokenizer = texts_of(group[0].texts), _tokenizer(group[0])
        folder = f"texts-{number:02d}"
        lengths = {"queries": max(r.query_tokens for r in group), "passages": max(r.passage_tokens for r in group)}
        parts = {
            name: _write_part(part, path / folder, f"{at:02d}", tokenizer, lengths)
            for at, (name, part) in enumerate(texts.parts().items())
        }
        kinds = dict.fromkeys(r.annotation for r in group if r.annotation != "human")
        labelled = {
            how: _write_part(annotated(texts, how), path / folder, f"{at:02d}", tokenizer, lengths)
            for at, how in enumerate(kinds, len(parts))
        }
        ids = {"first": "cls", "last": "sep", "pad_token_id": "pad"}
        about = {"folder": folder, "name": texts.name, "fingerprint": texts.fingerprint, "parts": parts}
        vocabularies[key] = {
            "texts": about | ({"annotations": labelled} if labelled else {}),
            "tokenizer": {"size": len(tokenizer), **{k: getattr(tokenizer, f"{v}_token_id") for k, v in ids.items()}},
            "minilm": group[0].start != "scratch",
        }
    return vocabularies


def _tokenizer(recipe: Recipe) -> Any:
    from transformers import AutoTokenizer

    from drscale.encoder import learn_vocabulary, minilm_folder
    from drscale.training.prepare import all_texts

    if recipe.start == "scratch":
        return learn_vocabulary(all_texts(trained_on(recipe, texts_of(recipe.texts))), shape_for(recipe).vocabulary)
    return AutoTokenizer.from_pretrained(str(minilm_folder()))


def _write_part(part: Collection, path: Path, number: str, tokenizer: Any, lengths: dict[str, int]) -> dict[str, Any]:
    path.mkdir(parents=True, exist_ok=True)
    for side, length in lengths.items():
        table = getattr(part, side)
        ids = _ids(tokenizer, table["text"].to_pylist(), length - 2)
        columns = {
            "id": table["id"],
            "ids": pa.array(ids, pa.list_(pa.uint16() if len(tokenizer) < 1 << 16 else pa.int32())),
        }
        pq.write_table(pa.table(columns), path / f"{number}-{side}.parquet", compression="zstd", compression_level=19)
    pq.write_table(part.qrels, path / f"{number}-qrels.parquet", compression="zstd", compression_level=19)
    told = {name: getattr(part, name) for name in ("name", "language", "domain", "synthetic", "fingerprint")}
    return {"number": number, **told, "versions": dict(part.versions)}


def _ids(tokenizer: Any, texts: list[str], most: int) -> Iterable[list[int]]:
    rust = tokenizer.backend_tokenizer
    rust.no_padding()
    rust.no_truncation()
    for at in range(0, len(texts), 10_000):
        for encoded in rust.encode_batch_fast(texts[at : at + 10_000], add_special_tokens=False):
            yield encoded.ids[:most]


def _write_start(recipes: list[Recipe], path: Path, vocabularies: dict[str, dict[str, Any]]) -> None:
    """MiniLM's table, or all of it where a recipe starts from it, in half precision; pieces in no text stay out."""
    import torch
    from safetensors.torch import load_file, save_file

    from drscale.encoder import minilm_folder

    if all(r.start == "scratch" for r in recipes):
        return
    used = np.zeros(1 << 16, bool)
    for entry in (v for v in vocabularies.values() if v["minilm"]):
        for file in (path / entry["texts"]["folder"]).glob("*s.parquet"):
            if "ids" in (table := pq.read_table(file)).column_names:
                used[table["ids"].combine_chunks().flatten().to_numpy()] = True
        used[[entry["tokenizer"][name] for name in ("first", "last", "pad_token_id")]] = True
    weights = load_file(minilm_folder() / "model.safetensors")
    whole = any(r.start == "checkpoint" for r in recipes)
    layers = max((shape_for(r).layers for r in recipes if r.start == "checkpoint"), default=0)
    kept = {}
    for name, weight in weights.items():
        deep = name.partition("encoder.layer.")[2].partition(".")[0]
        if name.endswith("word_embeddings.weight"):
            rows = np.flatnonzero(used[: len(weight)])
            kept[name] = weight[torch.from_numpy(rows)].half()
            kept["rows"] = torch.from_numpy(rows)
        elif whole and weight.is_floating_point() and "pooler" not in name and (not deep or int(deep) < layers):
            kept[name] = weight.half()
    (path / "minilm").mkdir()
    save_file(kept, path / "minilm" / "model.safetensors")
    shutil.copy(minilm_folder() / "config.json", path / "minilm" / "config.json")


def _write_code(path: Path) -> None:
    """This package and the one small library that it loads itself with."""
    code, here = path / "code", Path(__file__).parent
    shutil.copytree(here, code / "drscale", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    spec = importlib.util.find_spec("lazy_loader")
    if spec is None or spec.origin is None:
        raise ValueError("lazy_loader, which drscale needs, cannot be found")
    shutil.copytree(
        Path(spec.origin).parent, code / "lazy_loader", ignore=shutil.ignore_patterns("__pycache__", "tests")
    )
    (path / "__main__.py").write_text(MAIN, encoding="utf-8")


@lru_cache(maxsize=2)
def _read_benchmark(path: Path, about: str) -> Benchmark:
    texts = json.loads(about)
    parts = {name: _read_part(path / texts["folder"], told) for name, told in texts["parts"].items()}
    ood = {name.removeprefix("ood:"): c for name, c in parts.items() if name.startswith("ood:")}
    benchmark = Benchmark(texts["name"], parts["train"], parts["validation"], parts["test"], ood)
    if benchmark.fingerprint != texts["fingerprint"]:
        raise ValueError(f"{path}: the texts' fingerprint is not that of the parts")
    return benchmark


def _benchmark(pack: Pack, texts: dict[str, Any]) -> Benchmark:
    return _read_benchmark(pack.path, json.dumps(texts))


def _read_part(path: Path, told: dict[str, Any]) -> Collection:
    number, tables = told["number"], {}
    for side in ("queries", "passages"):
        table = pq.read_table(path / f"{number}-{side}.parquet")
        texts = [" ".join(map(str, ids)) for ids in table["ids"].to_pylist()]
        tables[side] = pa.table([table["id"], pa.array(texts, pa.string())], schema=TEXTS)
    tables["qrels"] = pq.read_table(path / f"{number}-qrels.parquet").cast(QRELS)
    about = {k: v for k, v in told.items() if k != "number"}
    return Collection._trusted(**tables, **about)


def _digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
