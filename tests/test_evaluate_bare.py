"""What scores on a bare node gives what FAISS, trec_eval and SciPy give."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import minimize_scalar

from drscale.evaluate import bare, ranking
from drscale.texts import Collection
from drscale.texts.tables import QRELS, TEXTS


def graded(rng: np.random.Generator) -> Collection:
    """Forty queries and 150 passages with grades from 0 to 3; ids whose order as text is not that of their rows."""
    queries, passages = ([f"{side}{n}" for n in range(count)] for side, count in (("q", 40), ("p", 150)))
    rows = [(q, passages[p], int(rng.integers(0, 4))) for q in queries for p in rng.choice(150, 6, replace=False)]
    rows += [(q, passages[0], 2) for q in queries if (q, passages[0]) not in {(a, b) for a, b, _ in rows}]
    return Collection(
        "graded",
        pa.table({"id": queries, "text": queries}, TEXTS),
        pa.table({"id": passages, "text": passages}, TEXTS),
        pa.table([pa.array(c) for c in zip(*rows, strict=True)], names=QRELS.names).cast(QRELS),
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_four_metrics_are_trec_evals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    collection = graded(rng)
    rows = np.stack([rng.permutation(150)[:100] for _ in range(40)])
    rows[rng.random(rows.shape) < 0.05] = -1
    scores = rng.integers(0, 12, rows.shape).astype(np.float32)  # most are equal to others: the tie rule decides
    asked = np.arange(40)
    theirs = ranking.ranking_metrics(collection, asked, scores, rows)
    ours = bare.four_metrics(collection, asked, scores, rows)
    assert list(ours) == list(theirs)
    for name, values in ours.items():
        assert np.abs(values - theirs[name]).max() < 1e-12, name
    assert theirs["ndcg10"].std() > 0.01


def test_search_is_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, passages = (rng.normal(size=(n, 16)).astype(np.float32) for n in (2100, 300))
    scores, rows = ranking.search(queries, passages, 20)
    monkeypatch.setattr(ranking, "faiss", None)
    ours, found = ranking.search(queries, passages, 20)
    assert (rows == found).mean() > 0.999
    assert np.abs(scores - ours).max() < 1e-5


def test_further_metrics_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "ir_measures", None)
    assert ranking.depth_of(ranking.measures_of()) == 100
    with pytest.raises(ValueError, match="needs ir-measures, which is not installed"):
        ranking.measures_of(["R@1000"])


@pytest.mark.parametrize("at", [-3.0, 0.2, 7.9])
def test_the_lowest_point_is_scipys(at: float) -> None:
    def bowl(x: float) -> float:
        return float(np.cosh(x - at))

    theirs = minimize_scalar(bowl, bounds=(-7, 9), method="bounded", options={"xatol": 1e-4}).x
    assert bare.lowest(bowl, -7, 9) == pytest.approx(theirs, abs=2e-4)
    assert abs(theirs - at) < 1e-3
