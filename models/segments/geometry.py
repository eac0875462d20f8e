"""How far a customer is from each segment: one family of distances for every algorithm.

Centroids          k-means, MiniBatch k-means, AGNES: the distance to one center per segment
density.Density    DBSCAN: the distance to the nearest of a group's anchors over the reach; to be an
                   outlier is at distance 1
mixture.Mixture    Gaussian mixture: what is lost in log-likelihood against the best place there is
rfm_rules.Quintiles  rules over recency, frequency, money: the way to the segment's nearest cell
"""

from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays
from models.checks import ShapeError, of_rank, require

Matrix: TypeAlias = NDArray[np.float64]

_BLOCK = 4_096  # rows at a time: the working set stays in the processor's cache


class Geometry(Protocol):
    """Distances of points to k segments, and a center of each."""

    @property
    def centers(self) -> Matrix:
        """(k, d) a representative point of each segment."""

    @property
    def unit(self) -> float:
        """A distance between two segments, >= 0: the measure of what is near."""

    def distances(self, points: Matrix) -> Matrix:
        """Return (n, k) distances >= 0; a row's answer depends on that row alone."""

    def strangeness(self, distances: Matrix) -> NDArray[np.float64]:
        """Return (n,) how far from every group those are who have these distances, >= 0."""

    def reordered(self, order: NDArray[np.int64]) -> Self:
        """Return the same geometry with its segments in another order."""

    def arrays(self) -> Arrays:
        """Return what `read` needs besides the centers."""

    @classmethod
    def read(cls, centers: Matrix, arrays: Arrays) -> Self:
        """Return the geometry of these arrays; raise ShapeError or DomainError."""


@dataclass(frozen=True, slots=True)
class Centroids:
    """One center per segment, (k, d)."""

    centers: Matrix

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless there is a finite center."""
        of_rank(2, centroids=self.centers)
        require(len(self.centers) > 0, "at least one segment")
        require(np.isfinite(self.centers).all(axis=1), "centroids are finite")

    def distances(self, points: Matrix) -> Matrix:
        """Return (n, k) Euclidean distances.

        >>> Centroids(np.array([[0.0], [3.0]])).distances(np.array([[1.0]]))
        array([[1., 2.]])
        """
        distances: Matrix = np.sqrt(squared_distances(points, self.centers))
        return distances

    @property
    def unit(self) -> float:
        """Median distance between two centers."""
        return median_gap(self.centers)

    def strangeness(self, distances: Matrix) -> NDArray[np.float64]:
        """Return (n,) the distance to the nearest center over the median gap between centers."""
        gap = self.unit
        nearest: NDArray[np.float64] = distances.min(axis=1)
        return nearest / (gap if gap > 0 else 1.0)

    def reordered(self, order: NDArray[np.int64]) -> Self:
        """Return the same geometry with its segments in another order."""
        return type(self)(self.centers[order])

    def arrays(self) -> Arrays:
        """Return nothing: the centers are all there is."""
        return {}

    @classmethod
    def read(cls, centers: Matrix, arrays: Arrays) -> Self:  # noqa: ARG003 - as the others
        """Return the geometry of these centers."""
        return cls(centers)


def median_gap(centers: Matrix) -> float:
    """Return the median distance between two centers; 0 for fewer than two.

    >>> median_gap(np.array([[0.0], [1.0], [4.0]]))
    3.0
    """
    upper = np.triu_indices(len(centers), 1)
    gaps = np.sqrt(((centers[upper[0]] - centers[upper[1]]) ** 2).sum(axis=1))
    return float(np.median(gaps)) if len(gaps) else 0.0


def squared_distances(points: Matrix, centers: Matrix) -> Matrix:
    """Return (n, k) squared Euclidean distances, summed column by column.

    Not by the matrix product of ||x||² - 2xc + ||c||²: that would cancel digits, and let a
    customer's answer depend on which others are in the batch.

    >>> squared_distances(np.array([[1.0, 1.0]]), np.array([[0.0, 0.0], [4.0, 5.0]]))
    array([[ 2., 25.]])
    """
    if points.ndim != 2 or centers.ndim != 2 or points.shape[1] != centers.shape[1]:
        raise ShapeError(f"points are {points.shape}, centers {centers.shape}")
    found = np.empty((len(points), len(centers)))
    for start in range(0, len(points), _BLOCK):
        columns = np.ascontiguousarray(points[start : start + _BLOCK].T)
        gap = np.empty(columns.shape[1])
        for j, center in enumerate(centers):
            total = np.zeros(columns.shape[1])
            for column, place in zip(columns, center.tolist(), strict=True):
                np.subtract(column, place, out=gap)
                np.multiply(gap, gap, out=gap)
                np.add(total, gap, out=total)
            found[start : start + _BLOCK, j] = total
    return found
