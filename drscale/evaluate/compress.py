"""Vectors made cheaper after training: cut, turned and cut, whole numbers of eight bits, one bit a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
CUTS = ("cut", "turned")
How = Literal["whole", "unit", "cut", "turned", "int8", "bit"]


@dataclass(frozen=True)
class Compressed:
    """A way to make vectors cheaper, learnt from sample passages; queries stay in floating point where they may.

    ``turn`` (dimension, kept) is applied to both sides; ``steps`` (kept,) is the size of an int8's step or a bit's
    value, for passages alone; ``bytes`` is what a passage takes.
    """

    how: How
    turn: Array
    steps: Array
    bytes: int

    def queries(self, vectors: npt.ArrayLike) -> Array:
        """Vectors of queries, to be multiplied with the passages'."""
        found: Array = np.asarray(vectors, np.float32) @ self.turn
        return found

    def passages(self, vectors: npt.ArrayLike) -> Array:
        """Vectors of passages as they are read back."""
        turned = self.queries(vectors)
        if self.how == "unit":
            return turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12).astype(np.float32)
        if self.how == "int8":
            return np.clip(np.rint(turned / self.steps), -127, 127).astype(np.float32) * self.steps
        return np.where(turned < 0, -self.steps, self.steps) if self.how == "bit" else turned


def compressed(sample: npt.ArrayLike, how: How, kept: int = 0) -> Compressed:
    """Learn a compression from vectors of passages, (passages, dimension); ``kept`` numbers stay (0: all).

    ``cut`` keeps the first numbers as they are. ``turned`` first turns the axes to the eigenvectors of the sample's
    second moment, so that the first numbers hold the most of its inner products. ``int8`` rounds each number to 255
    levels up to its largest in the sample; ``bit`` keeps signs alone, worth the number's mean size in the sample.
    ``unit`` saves nothing: it takes the passages' lengths away, as ``bit`` does nearly, to tell the two apart.

    >>> import numpy as np
    >>> from drscale.evaluate.compress import compressed
    >>> sample = np.random.default_rng(0).normal(size=(100, 16))
    >>> compressed(sample, "turned", 4).passages(sample).shape
    (100, 4)
    >>> compressed(sample, "bit").bytes
    2
    """
    vectors = np.asarray(sample, np.float32)
    if how not in get_args(How):
        raise ValueError(f"how={how!r}: allowed are {', '.join(map(repr, get_args(How)))}")
    if vectors.ndim != 2 or len(vectors) < 2 or not np.isfinite(vectors).all():
        raise ValueError(f"sample of shape {vectors.shape}: finite vectors of at least two passages are needed")
    wide = vectors.shape[1]
    kept = kept or wide
    if not 1 <= kept <= wide or (how not in CUTS and kept != wide):
        raise ValueError(f"kept={kept}: {how!r} of {wide} numbers keeps {'1 to ' if how in CUTS else ''}{wide}")
    turn = np.eye(wide, kept, dtype=np.float32)
    if how == "turned":
        _, axes = np.linalg.eigh(vectors.T.astype(float) @ vectors / len(vectors))
        turn = np.ascontiguousarray(axes[:, ::-1][:, :kept], dtype=np.float32)
    size = np.abs(vectors @ turn)
    steps = {"int8": size.max(0) / 127, "bit": size.mean(0)}.get(how, np.ones(kept))
    taken = {"int8": kept, "bit": -(-kept // 8)}.get(how, 4 * kept)
    return Compressed(how, turn, np.maximum(steps, 1e-12).astype(np.float32), taken)


def through(
    encode: Callable[[list[str]], npt.ArrayLike], change: Callable[[npt.ArrayLike], Array]
) -> Callable[[list[str]], Array]:
    """An encode function whose vectors are changed on the way."""
    return lambda texts: change(encode(texts))
