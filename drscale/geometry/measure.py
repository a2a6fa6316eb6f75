"""The geometry of embeddings: how evenly vectors fill their space, who attracts queries, how large the weights are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import skew, t
from torch import nn

from drscale.encoder import BiEncoder
from drscale.evaluate.entropy import Encode, checked, unit_rows
from drscale.evaluate.ranking import search
from drscale.evaluate.retrievers import measured_queries, retriever
from drscale.runs import Found, Measure, Run
from drscale.stats.tables import Array
from drscale.texts import Benchmark, Collection

POINTS, SEEDS, K = 2000, 5, 10
COLUMNS = ["metric", "mean", "low", "high", "n", "over"]
NOT_WEIGHTED = ("embeddings", "pooler", "lm_head")  # parts of a transformer whose Linear layers do not count


# --------------------------------------------------------------------------------------------- of a cloud of points


def participation_ratio(vectors: npt.ArrayLike) -> float:
    """Count the directions that share the variance, between 1 and the dimension.

    (sum l)^2 / sum l^2 over the eigenvalues l of the points' covariance; m points of an isotropic Gaussian in d
    dimensions are expected near d / (1 + d / m), not at d.
    """
    centred = _centred(vectors)
    short = centred if centred.shape[0] < centred.shape[1] else centred.T
    gram = short @ short.T  # its eigenvalues but for zeros are the covariance's, times the points
    return float(np.trace(gram) ** 2 / np.square(gram).sum())


def isoscore(vectors: npt.ArrayLike, dimension: int | None = None) -> float:
    """Measure how evenly points use the dimensions of their space: 0 on a line, 1 where the variance is the same all
    around (IsoScore, Rudman et al. 2022).

    With the defect d = ||S - 1|| / sqrt(2 (n - sqrt n)), S the variances along the n principal axes at length sqrt n,
    it is ((n - d^2 (n - sqrt n))^2 - n) / (n (n - 1)), which is (participation ratio - 1) / (n - 1). ``dimension`` is
    n where the points cannot leave a subspace, as those of a narrow encoder behind a wide projection; by default it
    is the vectors' own. From m points it can't exceed (m - 2) / (n - 1): compare models at the same m.
    """
    points = _points(vectors)
    n = points.shape[1] if dimension is None else dimension
    if not 2 <= n <= points.shape[1]:
        raise ValueError(f"isoscore: dimension={n}: from 2 to the vectors' own, {points.shape[1]}")
    return (participation_ratio(points) - 1) / (n - 1)


def effective_rank(vectors: npt.ArrayLike, centred: bool = True) -> float:
    """Take exp of the entropy of the singular values' shares (Roy & Vetterli 2007): 1 up to the dimension.

    ``centred`` moves the points' mean to 0 first; without it a common direction counts as the largest one.
    """
    points = _centred(vectors) if centred else _points(vectors)
    if not points.any():
        raise ValueError("effective_rank: all vectors are zero")
    short = points if points.shape[0] < points.shape[1] else points.T
    values = np.sqrt(np.clip(np.linalg.eigvalsh(short @ short.T), 0, None))
    shares = values[values > values.max() * 1e-7] / values[values > values.max() * 1e-7].sum()  # less is rounding
    return float(np.exp(-(shares * np.log(shares)).sum()))


def mean_cosine(vectors: npt.ArrayLike, pairs: int | None = None, seed: int = 0) -> float:
    """Average the cosine of pairs of different points, "angular uniformity": lower is more even.

    Over all pairs by default, which costs no more than a sum; ``pairs`` draws so many at random, as the paper does.
    """
    unit = _unit(vectors)
    n = len(unit)
    if pairs is None:
        return float((np.square(unit.sum(0)).sum() - n) / (n * (n - 1)))
    if pairs < 1:
        raise ValueError(f"mean_cosine: pairs={pairs}: at least 1, or None for all")
    rng = np.random.default_rng(seed)
    one, step = rng.integers(0, n, pairs), rng.integers(1, n, pairs)
    return float((unit[one] * unit[(one + step) % n]).sum(-1).mean())


def alignment(queries: npt.ArrayLike, passages: npt.ArrayLike, alpha: float = 2.0) -> float:
    """Average ||q - p||^alpha over pairs (row i with row i) at length 1 (Wang & Isola 2020): lower is closer."""
    one, other = _unit(queries, least=1), _unit(passages, least=1)
    if one.shape != other.shape:
        raise ValueError(f"alignment: queries are {one.shape}, passages {other.shape}; a row of one for each of other")
    return float((np.linalg.norm(one - other, axis=1) ** alpha).mean())


def uniformity(vectors: npt.ArrayLike, spread: float = 2.0) -> float:
    """Take log of the mean of exp(-spread ||a - b||^2) over all pairs at length 1 (Wang & Isola 2020).

    Lower is more even: 0 where all points are one, near -2 spread in many dimensions where they are even.
    """
    unit = _unit(vectors)
    n, total = len(unit), 0.0
    for at in range(0, n, 1024):  # all pairs at once would need n^2 numbers
        cosines = unit[at : at + 1024] @ unit.T  # (block, n)
        total += float(np.exp(-spread * np.clip(2 - 2 * cosines, 0, None)).sum())
    return math.log(max((total - n) / (n * (n - 1)), math.ulp(0.0)))


# ------------------------------------------------------------------------------------------- of a search and a model


def occurrences(retrieved: npt.ArrayLike, n_passages: int) -> npt.NDArray[np.int64]:
    """Count a passage's k-occurrence: how many queries have it among their k (Radovanovic et al. 2010).

    ``retrieved`` are the passage rows found for each query, (queries, k), -1 where a query found fewer.
    """
    found = np.asarray(retrieved)
    if found.ndim != 2 or not found.size or not np.issubdtype(found.dtype, np.integer):
        raise ValueError(
            f"occurrences: retrieved of shape {found.shape}, {found.dtype}: whole numbers, (queries, k), are needed"
        )
    if found.min() < -1 or found.max() >= n_passages:
        raise ValueError(
            f"occurrences: retrieved from {found.min()} to {found.max()}: allowed are -1 to {n_passages - 1}"
        )
    return np.bincount(found[found >= 0], minlength=n_passages)


def hubness(retrieved: npt.ArrayLike, n_passages: int) -> tuple[float, float]:
    """Say how unevenly passages are found: the skewness of their :func:`occurrences`, and the share never found."""
    times = occurrences(retrieved, n_passages)
    even = times.min() == times.max()
    return (0.0 if even else float(skew(times))), float((times == 0).mean())


def hubness_by_chance(n_queries: int, n_passages: int, k: int = K) -> tuple[float, float]:
    """Say what :func:`hubness` would be if each query found k passages at random (a binomial's skewness and zeros)."""
    if n_queries < 1 or not 1 <= k < n_passages:
        raise ValueError(
            f"hubness_by_chance: n_n_queries={n_queries}, n_passages={n_passages}, k={k}: 1 query and 1 <= k < passages"
        )
    p = k / n_passages
    return (1 - 2 * p) / math.sqrt(n_queries * p * (1 - p)), (1 - p) ** n_queries


def gini(times: npt.ArrayLike) -> float:
    """Measure how unevenly passages are found, from how often each one is (:func:`occurrences`): their retrievability.

    The Gini coefficient is 0 where all are found equally often and near 1 where a few are found by all queries. With a
    cut at rank k as the cost this is the measure of Azzopardi & Vinay (2008). It depends on the number of queries, as q
    of them find at most q k passages: compare models on the same queries and passages.
    """
    found = np.sort(np.asarray(times, dtype=float))
    if found.ndim != 1 or not found.size or found[0] < 0 or not found[-1] > 0:
        raise ValueError(f"gini: times of shape {found.shape}: counts from 0 on are needed, one of them above 0")
    place = 2 * np.arange(1, len(found) + 1) - len(found) - 1
    return float((place * found).sum() / (len(found) * found.sum()))


def spectral_norms(model: nn.Module, maps: bool = False) -> dict[str, float]:
    """Take the largest singular value of each Linear layer of a transformer, by the layer's name.

    Embeddings, pooler and language-model head do not count. Of a BiEncoder the bodies count, one where the towers
    share it. The map from a frozen word table to the rung's width belongs to the embeddings, and the projection behind
    the pooling to no layer; ``maps`` adds both.
    """
    found = _norms(model, maps)
    if not found:
        raise ValueError(f"spectral_norms: {type(model).__name__} has no Linear layer that counts")
    return found


def _norms(model: nn.Module, maps: bool = False) -> dict[str, float]:
    found = {}
    for name, layer in _layers(model):
        body = not any(part in NOT_WEIGHTED for part in name.split("."))
        if isinstance(model, BiEncoder):
            body = body and ".body." in name
        if body or maps:
            found[name] = float(np.linalg.norm(layer.weight.detach().float().cpu().numpy(), 2))
    return found


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    for name, layer in model.named_modules():  # a tower that is shared comes once
        if isinstance(layer, nn.Linear):
            yield name, layer


# --------------------------------------------------------------------------------------------------- all in one table


def measure_geometry(
    model: Any, collection: Collection, *, points: int = POINTS, seeds: int = SEEDS, k: int = K
) -> pd.DataFrame:
    """Measure the geometry of any retriever on a collection; a row a metric, with an interval over draws.

    ``model`` is what :func:`drscale.evaluate.retrievers.retriever` takes; what has no vectors, as BM25, has hubness
    only, and a model whose Linear layers can be seen has a spectral norm. Each of ``seeds`` draws takes ``points``
    passages, pairs or queries without replacement, but at most half of those there are, so that draws differ; ``n``
    says how many. ``low`` and ``high`` tell where one further draw of that many would fall, with 95% (mean +- t s
    sqrt(1 + 1 / seeds)): the uncertainty of the sample of texts, not of another training seed. Spectral norms are
    exact. Most metrics depend on how many points there are: compare models on the same collection with the same
    ``points``.

    >>> import drscale as ds
    >>> from drscale.texts import oracle
    >>> table = ds.measure_geometry(oracle(), ds.collection("planted?pairs=60"), points=20, k=3)
    >>> table["metric"].tolist()[:3]
    ['isoscore', 'effective_rank', 'mean_cosine']
    """
    if points < 4 or seeds < 2 or k < 1:
        raise ValueError(f"geometry: points={points}, seeds={seeds}, k={k}: at least 4 points, 2 seeds and k=1")
    rows_asked, count = measured_queries(collection), len(collection.passages)
    if len(rows_asked) < 4 or count < max(8, k):
        raise ValueError(
            f"{collection.name}: {len(rows_asked)} queries and {count} passages are too few to have a geometry"
        )
    found = retriever(model)
    texts = collection.queries["text"].take(rows_asked).to_pylist()
    draws: dict[str, list[float]] = {}
    over: dict[str, tuple[int, str]] = {}
    take = {what: min(points, n // 2) for what, n in _sizes(collection).items()}

    def note(what: str, **values: float) -> None:
        for metric, value in values.items():
            draws.setdefault(metric, []).append(value)
            over[metric] = (take[what], what)

    if found.encode is None or found.encode_passages is None:
        _, rows = found.rank(texts, collection, k)
        vectors = None
    else:
        vectors = _vectors(found.encode, found.encode_passages, collection, texts)
        _, rows = search(*vectors, depth=k)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)  # the same texts for every model, with vectors or without
        cloud, pairs, some = (rng.choice(n, take[what], replace=False) for what, n in _sizes(collection).items())
        if vectors is not None:
            queries, passages = vectors
            note("passages", **cloud_measures(passages[cloud]))
            q, p = (side[pairs] for side in collection.pairs)
            note("pairs", alignment=alignment(queries[np.searchsorted(rows_asked, q)], passages[p]))
        hubs, never = hubness(rows[some], count)
        note("queries", hubs=hubs, never_found=never, gini=gini(occurrences(rows[some], count)))
    frame = pd.DataFrame([_row(m, values, *over[m]) for m, values in draws.items()], columns=COLUMNS)
    norms = list(_norms(found.module).values()) if isinstance(found.module, nn.Module) else []
    if not norms:
        return frame
    exact = pd.DataFrame([("spectral_norm", *[float(np.mean(norms))] * 3, len(norms), "layers")], columns=COLUMNS)
    return pd.concat([frame, exact], ignore_index=True)


def cloud_measures(vectors: npt.ArrayLike) -> dict[str, float]:
    """All that is told of one cloud of points: isoscore, effective_rank, mean_cosine, uniformity."""
    return {
        "isoscore": isoscore(vectors),
        "effective_rank": effective_rank(vectors),
        "mean_cosine": mean_cosine(vectors),
        "uniformity": uniformity(vectors),
    }


def geometry_of_records(encoder: Any, texts: Benchmark, run: Run | None = None) -> Found:
    """Measure the geometry on a benchmark's test set as the scope ``geometry``, for :func:`drscale.models.measure`.

    ``isoscore_width`` judges the points by the dimensions that the encoder's width leaves them, where the projection
    is wider: there ``isoscore`` grows with the width, whatever the points do. Of a retriever that is no BiEncoder the
    two are one, and one without vectors has neither.
    """
    frame = measure_geometry(encoder, texts.test)
    rows = frame[COLUMNS[:-1]].to_numpy().tolist()
    measures = {metric: Measure(mean, low, high, n) for metric, mean, low, high, n in rows}
    if m := measures.get("isoscore"):
        scale = _widening(encoder) if isinstance(encoder, BiEncoder) else 1.0
        measures["isoscore_width"] = Measure(m.mean * scale, m.low * scale, m.high * scale, m.n)
    what, n = ("passages", m.n) if m else ("queries", measures["hubs"].n)
    note = f"{texts.test.name}; {SEEDS} draws of {n} {what}; intervals for one further draw"
    return Found({"geometry": measures}, pd.DataFrame(), note)


def _widening(encoder: BiEncoder) -> float:
    """By how much isoscore shrinks because a projection is wider than the encoder."""
    projection, width = encoder.passage_tower.projection, encoder.shape.width
    full = projection.out_features if isinstance(projection, nn.Linear) else width
    return (full - 1) / (width - 1) if full > width else 1.0


def _sizes(collection: Collection) -> dict[str, int]:
    queries, _ = collection.pairs
    return {"passages": len(collection.passages), "pairs": len(queries), "queries": len(np.unique(queries))}


def _vectors(
    encode: Encode, encode_passages: Encode, collection: Collection, texts: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    queries = checked(encode, texts, f"{collection.name}: encode(queries)")
    passages = collection.passages["text"].to_pylist()
    return queries, checked(encode_passages, passages, f"{collection.name}: encode(passages)")


def _row(metric: str, values: list[float], n: int, what: str) -> tuple[str, float, float, float, int, str]:
    mean = float(np.mean(values))
    reach = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) * math.sqrt(1 + 1 / len(values)))
    return metric, mean, mean - reach, mean + reach, n, f"draws of {what}"


# --------------------------------------------------------------------------------------------------------------- checks


def _points(vectors: npt.ArrayLike, least: int = 2) -> Array:
    points = np.asarray(vectors, dtype=np.float64)
    if points.ndim != 2 or len(points) < least or not points.shape[1]:
        raise ValueError(f"vectors of shape {points.shape}: (points, dimension) with at least {least} points is needed")
    if not np.isfinite(points).all():
        raise ValueError(f"vectors: {int((~np.isfinite(points)).any(1).sum())} of {len(points)} are not finite")
    return points


def _centred(vectors: npt.ArrayLike) -> Array:
    points = _points(vectors)
    if (points == points[0]).all():
        raise ValueError("vectors: all are the same point, which has no directions")
    return points - points.mean(0)


def _unit(vectors: npt.ArrayLike, least: int = 2) -> Array:
    points = _points(vectors, least)
    if null := int((np.linalg.norm(points, axis=1) == 0).sum()):
        raise ValueError(f"vectors: {null} of {len(points)} are zero and have no direction")
    return unit_rows(points)
