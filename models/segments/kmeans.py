"""K-means segments: warm-started from the live centroids, their ids kept by matching."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from models.checks import of_rank, require
from models.segments.matching import match_centroids
from models.segments.model import (
    Assignment,
    SegmentModel,
    assign,
    from_state,
    settle,
    to_state,
)
from models.segments.naming import name_segments
from models.segments.scaling import fit_scaling, rescale, scale

__all__ = [
    "LEAST_CUSTOMERS",
    "Assignment",
    "SegmentModel",
    "assign",
    "fit_segments",
    "from_state",
    "settle",
    "to_state",
]

Matrix: TypeAlias = NDArray[np.float64]

LEAST_CUSTOMERS = 30
FIRST_ID = 1
_SIZES = (5, 6, 7, 8)
_CUSTOMERS_PER_SEGMENT = 10
_SAMPLE = 2_000
_COLD_STARTS = 4


def fit_segments(
    features: Matrix,
    *,
    k: int | None = None,
    rng: np.random.Generator,
    previous: SegmentModel | None = None,
) -> SegmentModel:
    """Fit k segments on recency, frequency and money of the customers who have bought.

    features  (n, 3) >= 0, n >= 30: `models.features.rfm`
    k         number of segments; None = as many as `previous`, else 5 to 8 by silhouette on a
              sample of 2,000 (fewer below 50 customers); never more than distinct rows
    rng       chooses the sample and the starts
    previous  the live model: its centroids start the search, its ids and names live on
    Raises    ShapeError, DomainError (fewer than 30 customers)
    Source    Lloyd (1982), "Least squares quantization in PCM"

    >>> lapsed, loyal = np.tile([300.0, 1.0, 900.0], (40, 1)), np.tile([3.0, 20.0, 9e5], (20, 1))
    >>> model = fit_segments(np.vstack((lapsed, loyal)), k=2, rng=np.random.default_rng(0))
    >>> sorted(model.names), model.next_id
    (['Champions', 'Lapsed'], 3)
    """
    of_rank(2, features=features)
    require(len(features) >= LEAST_CUSTOMERS, f"at least {LEAST_CUSTOMERS} customers")
    require(k is None or k >= 1, "k >= 1")
    scaling = fit_scaling(features)
    points = scale(scaling, features)
    distinct = len(np.unique(points, axis=0))
    live = None if previous is None else rescale(previous.centroids, previous.scaling, scaling)
    if k is None:
        k = len(live) if live is not None else _size(points, rng)
    centroids = _centroids(points, min(k, distinct), live, rng)
    if previous is None or live is None:
        ids, next_id = FIRST_ID + np.arange(len(centroids)), FIRST_ID + len(centroids)
    else:
        ids, next_id = match_centroids(centroids, live, previous.ids, previous.next_id)
    order = np.argsort(ids)
    names = (
        {} if previous is None else dict(zip(previous.ids.tolist(), previous.names, strict=True))
    )
    z = _z_scores(centroids[order], points)
    return SegmentModel(
        scaling=scaling,
        centroids=centroids[order],
        ids=ids[order],
        names=name_segments(z, [names.get(i) for i in ids[order].tolist()]),
        next_id=next_id,
    )


def _size(points: Matrix, rng: np.random.Generator) -> int:
    """Choose the number of segments by the mean silhouette on a sample."""
    sample = points if len(points) <= _SAMPLE else rng.choice(points, _SAMPLE, replace=False)
    most = min(len(points) // _CUSTOMERS_PER_SEGMENT, len(np.unique(sample, axis=0)))
    sizes = [size for size in _SIZES if size <= most and size < len(sample)]
    if not sizes:
        return max(1, min(most, _SIZES[0] - 1))

    def quality(size: int) -> float:
        labels = _search(sample, size, "k-means++", 2, rng).labels_
        return float(silhouette_score(sample, labels))

    return max(sizes, key=quality)


def _centroids(points: Matrix, size: int, live: Matrix | None, rng: np.random.Generator) -> Matrix:
    """Return (size, d) centroids: from the live ones if there are enough, else from anywhere."""
    if live is None or size < len(live):
        found: Matrix = _search(points, size, "k-means++", _COLD_STARTS, rng).cluster_centers_
        return found
    starts = live
    while len(starts) < size:  # a segment more than now: start it where customers are worst served
        gap = ((points[:, None, :] - starts[None, :, :]) ** 2).sum(axis=2).min(axis=1)
        starts = np.vstack((starts, points[gap.argmax()]))
    warm: Matrix = _search(points, size, starts, 1, rng).cluster_centers_
    return warm


def _search(
    points: Matrix, size: int, init: str | Matrix, starts: int, rng: np.random.Generator
) -> KMeans:
    seed = int(rng.integers(2**31))
    return KMeans(n_clusters=size, init=init, n_init=starts, random_state=seed).fit(points)


def _z_scores(centroids: Matrix, points: Matrix) -> Matrix:
    """Where the centroids lie among all customers; 0 in a constant column."""
    spread = points.std(axis=0)
    z: Matrix = (centroids - points.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return z
