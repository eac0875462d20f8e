"""K-means: centers cold from anywhere, or warm from the live ones and no farther than needed."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.segments.geometry import squared_distances

Matrix: TypeAlias = NDArray[np.float64]

COLD_STARTS = 10
WORTH = 0.01  # an optimum elsewhere must be better by this share to send customers there
SPARE = 0.0015  # inertia given away so that fewer customers move
MOST_MOVED = 0.05  # of the customers at once, unless
FAR_BETTER = 0.9  # of the live inertia is to be had: so badly do the live centers fit
_STEPS = np.linspace(0.0, 1.0, 41)


def fit_kmeans(
    points: Matrix, k: int, rng: np.random.Generator, live: Matrix | None = None
) -> Matrix:
    """Return (k, d) centers of least inertia; near the live ones if these can be made good.

    points  (n, d) with at least k distinct rows
    live    (j, d) centers to start from; with j < k a segment more starts where customers are
            served worst; with j > k they are of no use. They go toward the new optimum only
            until they are within SPARE of it, or MOST_MOVED customers have moved: the next fit
            goes on from there.
    Source  Lloyd (1982), "Least squares quantization in PCM"; Arthur & Vassilvitskii (2007),
            "k-means++"

    >>> points = np.array([[0.0], [1.0], [9.0]])
    >>> fit_kmeans(points, 2, np.random.default_rng(0), live=np.array([[0.0], [5.0]]))
    array([[0.5],
           [9. ]])
    """
    cold = _search(points, k, "k-means++", COLD_STARTS, rng)
    if live is None or k < len(live):
        return cold
    starts = live
    while len(starts) < k:
        gap = squared_distances(points, starts).min(axis=1)
        starts = np.vstack((starts, points[gap.argmax()]))
    warm = _search(points, k, starts, 1, rng)
    ends = [warm]
    if inertia(points, cold) < (1.0 - WORTH) * inertia(points, warm):
        _, order = linear_sum_assignment(squared_distances(starts, cold))
        ends.append(cold[order])
    if inertia(points, ends[-1]) < FAR_BETTER * inertia(points, starts):
        return ends[-1]
    return min((_least_move(points, starts, end) for end in ends), key=lambda c: inertia(points, c))


def inertia(points: Matrix, centers: Matrix) -> float:
    """Return the mean squared distance of a customer to the nearest center.

    >>> inertia(np.array([[0.0], [3.0]]), np.array([[1.0]]))
    2.5
    """
    return float(squared_distances(points, centers).min(axis=1).mean())


def _least_move(points: Matrix, starts: Matrix, end: Matrix) -> Matrix:
    """Return the first centers on the way that are good enough, else the best within reach."""
    good_enough = (1.0 + SPARE) * inertia(points, end)
    before = squared_distances(points, starts).argmin(axis=1)
    best, least = starts, np.inf
    for share in _STEPS:
        centers: Matrix = starts + share * (end - starts)
        distances = squared_distances(points, centers)
        if (distances.argmin(axis=1) != before).mean() > MOST_MOVED:
            break
        now = float(distances.min(axis=1).mean())
        if now < least:
            best, least = centers, now
        if now <= good_enough:
            break
    return best


def _search(
    points: Matrix, k: int, init: str | Matrix, starts: int, rng: np.random.Generator
) -> Matrix:
    from sklearn.cluster import KMeans  # noqa: PLC0415 - only a fit pays for this import

    seed = int(rng.integers(2**31))
    found = KMeans(n_clusters=k, init=init, n_init=starts, random_state=seed).fit(points)
    centers: Matrix = found.cluster_centers_
    return centers
