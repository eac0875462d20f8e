"""K-means: centers cold from anywhere, or warm from the live ones."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.segments.geometry import squared_distances

Matrix: TypeAlias = NDArray[np.float64]

COLD_STARTS = 10


def fit_kmeans(
    points: Matrix, k: int, rng: np.random.Generator, live: Matrix | None = None
) -> Matrix:
    """Return (k, d) centers of least inertia.

    points  (n, d) with at least k distinct rows
    live    (j, d) centers to start from if j <= k: a segment more starts where customers are
            served worst; None, or more than k: from anywhere, `COLD_STARTS` times
    Source  Lloyd (1982), "Least squares quantization in PCM"; Arthur & Vassilvitskii (2007),
            "k-means++"

    >>> points = np.array([[0.0], [1.0], [9.0]])
    >>> fit_kmeans(points, 2, np.random.default_rng(0), live=np.array([[0.0], [5.0]]))
    array([[0.5],
           [9. ]])
    """
    if live is None or k < len(live):
        return _search(points, k, "k-means++", COLD_STARTS, rng)
    starts = live
    while len(starts) < k:
        gap = squared_distances(points, starts).min(axis=1)
        starts = np.vstack((starts, points[gap.argmax()]))
    return _search(points, k, starts, 1, rng)


def inertia(points: Matrix, centers: Matrix) -> float:
    """Return the mean squared distance of a customer to the nearest center.

    >>> inertia(np.array([[0.0], [3.0]]), np.array([[1.0]]))
    2.5
    """
    return float(squared_distances(points, centers).min(axis=1).mean())


def _search(
    points: Matrix, k: int, init: str | Matrix, starts: int, rng: np.random.Generator
) -> Matrix:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - only a fit pays for this import

    seed = int(rng.integers(2**31))
    found: Matrix = (
        KMeans(n_clusters=k, init=init, n_init=starts, random_state=seed)
        .fit(points)
        .cluster_centers_
    )
    return found
