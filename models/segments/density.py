"""DBSCAN: groups wherever customers are dense, and the outliers between them.

A segment version keeps no customer: each dense group is stood for by a few anchors, means of ten
and more of its customers, and whoever is farther than the reach from all anchors is an outlier.
"""

from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, matrix, vector
from models.checks import ShapeError, require
from models.segments.geometry import squared_distances

Matrix: TypeAlias = NDArray[np.float64]

SAMPLE = 3_000
LEAST_NEIGHBORS = 10
_QUANTILE = 0.9  # of the distances to the tenth neighbor: the radius
_MOST_RADIUS = 0.5  # of the distance between two customers: who is farther apart is no neighbor
_MOST_ANCHORS = 8
_REACHED = 0.95  # of a group's customers lie within the reach, before the radius is added


@dataclass(frozen=True, slots=True)
class Density:
    """Row 0 of the centers are the outliers; then one row per dense group.

    centers  (k, d) means
    anchors  (m, d)
    owner    (m,) int64 row of the centers that an anchor stands for, 1 .. k - 1
    reach    > 0 distance from an anchor beyond which a customer is an outlier
    """

    centers: Matrix
    anchors: Matrix
    owner: NDArray[np.int64]
    reach: float

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the parts fit together."""
        k, d = self.centers.shape
        if self.anchors.shape != (len(self.owner), d):
            raise ShapeError(f"anchors are {self.anchors.shape}, owners {self.owner.shape}")
        require(0 < self.reach < np.inf, "0 < reach < infinity")
        require(set(self.owner.tolist()) == set(range(1, k)), "every group has an anchor")

    @property
    def unit(self) -> float:
        """The reach, in which distances are told."""
        return 1.0

    def distances(self, points: Matrix) -> Matrix:
        """Return (n, k): 1 to the outliers; to a group, that to its nearest anchor over the reach.

        >>> one = Density(np.array([[9.0], [0.0]]), np.zeros((1, 1)), np.array([1]), 2.0)
        >>> one.distances(np.array([[1.0], [4.0]]))
        array([[1. , 0.5],
               [1. , 2. ]])
        """
        found = np.ones((len(points), len(self.centers)))
        to_anchors = np.sqrt(squared_distances(points, self.anchors)) / self.reach
        for group in range(1, len(self.centers)):
            found[:, group] = to_anchors[:, self.owner == group].min(axis=1)
        return found

    def strangeness(self, distances: Matrix) -> NDArray[np.float64]:
        """Return (n,) the distance to the nearest group over the reach; > 1 = outlier."""
        nearest: NDArray[np.float64] = distances[:, 1:].min(axis=1)
        return nearest

    def reordered(self, order: NDArray[np.int64]) -> Self:
        """Return the same geometry with its rows in another order; row 0 stays first."""
        place = np.argsort(order)
        return replace(self, centers=self.centers[order], owner=place[self.owner])

    def arrays(self) -> Arrays:
        """Return what `read` needs besides the centers."""
        return {"anchors": self.anchors, "owner": self.owner, "reach": np.array([self.reach])}

    @classmethod
    def read(cls, centers: Matrix, arrays: Arrays) -> Self:
        """Return the geometry of these arrays; raise ShapeError or DomainError."""
        m = len(np.atleast_1d(arrays.get("owner", np.zeros(0))))
        owner = vector(arrays, "owner", m).astype(np.int64)
        anchors = matrix(arrays, "anchors", (m, centers.shape[1]))
        return cls(centers, anchors, owner, float(vector(arrays, "reach", 1)[0]))


def fit_dbscan(points: Matrix, rng: np.random.Generator) -> Density | None:
    """Return the dense groups of a sample; None where all of it is noise, or all alike.

    points  (n, d), n >= 30
    Source  Ester, Kriegel, Sander & Xu (1996), "A density-based algorithm for discovering
            clusters"; the radius is the 90 % quantile of the distance to the tenth neighbor, and
            half the usual distance between two customers at most
    """
    from sklearn.cluster import DBSCAN, KMeans  # noqa: PLC0415 - only a fit pays for this import

    sample = points
    if len(points) > SAMPLE:
        sample = points[rng.choice(len(points), SAMPLE, replace=False)]
    radius = _radius(sample)
    if radius <= 0:
        return None
    labels = DBSCAN(eps=radius, min_samples=LEAST_NEIGHBORS).fit_predict(sample)
    groups = labels.max() + 1
    if groups == 0:
        return None
    anchors, owner, near = [], [], []
    for group in range(groups):
        members = sample[labels == group]
        size = max(1, min(_MOST_ANCHORS, len(members) // LEAST_NEIGHBORS))
        seed = int(rng.integers(2**31))
        size = min(size, len(np.unique(members, axis=0)))
        found = KMeans(n_clusters=size, n_init=3, random_state=seed).fit(members).cluster_centers_
        anchors.append(found)
        owner += [group + 1] * size
        near.append(np.sqrt(squared_distances(members, found).min(axis=1)))
    noise = labels < 0
    outliers = sample[noise].mean(axis=0) if noise.any() else sample.mean(axis=0)
    means = [sample[labels == group].mean(axis=0) for group in range(groups)]
    reach = float(np.quantile(np.concatenate(near), _REACHED)) + radius
    return Density(np.vstack([outliers, *means]), np.vstack(anchors), np.array(owner), reach)


def _radius(sample: Matrix) -> float:
    """Return how near a neighbor is; 0 where all are alike."""
    usual = float(np.sqrt(2 * sample.var(axis=0).sum()))
    radius = float(np.quantile(_to_neighbor(sample, LEAST_NEIGHBORS), _QUANTILE))
    if radius <= 0 < usual:  # most are alike: they are a group, and others near it belong to it
        radius = float(np.median(_to_neighbor(np.unique(sample, axis=0), 2))) / 2
    return min(radius, _MOST_RADIUS * usual)


def _to_neighbor(points: Matrix, nth: int) -> NDArray[np.float64]:
    """Return (n,) the distance to the nth nearest, oneself included."""
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - only a fit pays for this import

    neighbors = NearestNeighbors(n_neighbors=min(nth, len(points))).fit(points)
    found: NDArray[np.float64] = neighbors.kneighbors(points)[0][:, -1]
    return found
