"""Vectors made cheaper keep what they should, and the bytes are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from drscale.evaluate.compress import How, compressed, through
from drscale.evaluate.plot import bytes_figure

RNG = np.random.default_rng(0)
SAMPLE = RNG.normal(size=(200, 12)) @ np.diag(np.linspace(3, 0.1, 12)[::-1])  # the last numbers matter most
ASKED = RNG.normal(size=(5, 12))


def scores(how: How, kept: int = 0) -> np.ndarray:
    way = compressed(SAMPLE, how, kept)
    return way.queries(ASKED) @ way.passages(SAMPLE).T


def test_turning_alone_changes_no_score_and_cutting_turned_axes_loses_less() -> None:
    exact = ASKED.astype(np.float32) @ SAMPLE.T.astype(np.float32)
    assert np.allclose(scores("whole"), exact, atol=1e-4)
    assert np.allclose(scores("turned"), exact, atol=1e-3)
    lost = {how: np.abs(scores(how, 4) - exact).mean() for how in ("cut", "turned")}  # type: ignore[arg-type]
    assert lost["turned"] < 0.5 * lost["cut"]


def test_eight_bits_are_close_and_a_bit_keeps_signs_and_mean_sizes() -> None:
    way = compressed(SAMPLE, "int8")
    assert np.abs(way.passages(SAMPLE) - SAMPLE).max() <= np.abs(SAMPLE).max() / 127 / 2 + 1e-6
    signs = compressed(SAMPLE, "bit").passages(SAMPLE)
    assert (np.sign(signs) == np.sign(SAMPLE)).all()
    assert np.allclose(np.abs(signs[0]), np.abs(SAMPLE).mean(0), rtol=1e-5)
    assert np.allclose(np.linalg.norm(compressed(SAMPLE, "unit").passages(SAMPLE), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("how", "kept", "bytes_"), [("whole", 0, 48), ("cut", 4, 16), ("turned", 4, 16), ("int8", 0, 12), ("bit", 0, 2)]
)
def test_bytes_of_a_passage(how: How, kept: int, bytes_: int) -> None:
    assert compressed(SAMPLE, how, kept).bytes == bytes_


@pytest.mark.parametrize(
    ("sample", "how", "kept", "said"),
    [
        (SAMPLE, "zip", 0, "allowed are 'whole', 'unit', 'cut'"),
        (SAMPLE, "cut", 13, "keeps 1 to 12"),
        (SAMPLE, "bit", 4, "'bit' of 12 numbers keeps 12"),
        (SAMPLE[:1], "bit", 0, "at least two passages"),
        (SAMPLE * np.nan, "cut", 2, "finite vectors"),
    ],
)
def test_what_cannot_be_is_refused(sample: np.ndarray, how: How, kept: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compressed(sample, how, kept)


def test_an_encoder_s_vectors_are_changed_on_the_way() -> None:
    change = compressed(SAMPLE, "cut", 3)
    assert through(lambda texts: SAMPLE[: len(texts)], change.passages)(["a", "b"]).shape == (2, 3)


def test_the_figure_has_a_panel_a_size_and_a_mark_for_a_way_with_one_number() -> None:
    rows = [(s, w, b, 0.1 * b**0.2) for s in ("small", "large") for w, b in (("cut", 32), ("cut", 64), ("bit", 96))]
    fig = bytes_figure(pd.DataFrame(rows, columns=["size", "way", "bytes", "ndcg10"]), panels="size")
    assert [(t.name, len(t.x)) for t in fig.data] == [("cut", 2), ("bit", 1)] * 2
    assert {t.xaxis for t in fig.data} == {"x", "x2"}
    with pytest.raises(ValueError, match="no column 'panel'"):
        bytes_figure(pd.DataFrame(rows, columns=["size", "way", "bytes", "ndcg10"]), panels="panel")
