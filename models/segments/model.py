"""A segmentation at rest and at work: centroids with ids and names; the nearest one wins.

NumPy alone: a process that only assigns need not import scikit-learn.
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, Meta, integer, matrix, texts
from models.checks import ShapeError, of_rank, require
from models.segments.scaling import Scaling, scale

Matrix: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]

MARGIN = 0.1  # a customer moves only to a centroid that is nearer by this share


@dataclass(frozen=True, slots=True)
class SegmentModel:
    """k segments over d features, sorted by id.

    scaling    of the d features
    centroids  (k, d) float64, scaled
    ids        (k,) int64 rising; an id is never given again to another segment
    names      k distinct names
    next_id    the first id that was never used, > all ids
    """

    scaling: Scaling
    centroids: Matrix
    ids: Ids
    names: tuple[str, ...]
    next_id: int

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the parts fit together."""
        of_rank(2, centroids=self.centroids)
        k, d = self.centroids.shape
        sizes = (len(self.scaling.center), len(self.ids), len(self.names))
        if sizes != (d, k, k):
            raise ShapeError(f"features, ids, names are {sizes}, centroids {(k, d)}")
        require(k > 0, "at least one segment")
        require(np.isfinite(self.centroids).all(axis=1), "centroids are finite")
        require(np.diff(self.ids) > 0, "ids rise")
        require(self.ids[0] >= 0 and self.ids[-1] < self.next_id, "0 <= ids < next_id")
        require(len(set(self.names)) == k, "names are distinct")


class Assignment(NamedTuple):
    """Segments of n customers.

    ids        (n,) int64 nearest segment; the lower id where two are as near
    distance   (n,) float64 to its centroid, scaled, >= 0
    runner_up  (n,) int64 second nearest segment; with one segment, the same
    margin     (n,) float64 in [0, 1]: 1 - distance / distance to the runner-up
    """

    ids: Ids
    distance: NDArray[np.float64]
    runner_up: Ids
    margin: NDArray[np.float64]


def assign(model: SegmentModel, features: Matrix) -> Assignment:
    """Assign every customer to the nearest centroid; a row's answer depends on that row alone.

    features  (n, d) >= 0
    Raises    ShapeError, DomainError

    >>> line = Scaling(center=np.zeros(1), spread=np.ones(1))
    >>> two = SegmentModel(line, np.array([[0.0], [2.0]]), np.array([3, 5]), ("a", "b"), 6)
    >>> assign(two, np.array([[0.0], [np.exp(1.5) - 1]]))
    Assignment(ids=array([3, 5]), distance=array([0. , 0.5]), runner_up=array([5, 3]), \
margin=array([1.        , 0.66666667]))
    """
    distance = _distances(model, features)
    rows = np.arange(len(distance))
    nearest = distance.argmin(axis=1)
    best = distance[rows, nearest]
    others = distance.copy()
    others[rows, nearest] = np.inf
    second = others.argmin(axis=1) if len(model.ids) > 1 else nearest
    far = others[rows, second]
    ratio = np.divide(best, far, out=np.ones(len(rows)), where=far > 0)
    return Assignment(model.ids[nearest], best, model.ids[second], 1.0 - ratio)


def settle(
    model: SegmentModel, features: Matrix, current_ids: Ids, *, margin: float = MARGIN
) -> Ids:
    """Assign, but leave a customer where it is unless the nearest centroid is clearly nearer.

    features     (n, d) >= 0
    current_ids  (n,) the segments that the customers are in; an unknown id (say -1) just moves
    margin       in [0, 1): move if distance < (1 - margin) * distance to the current centroid
    Returns      (n,) int64 segment ids
    Raises       ShapeError, DomainError

    >>> line = Scaling(center=np.zeros(1), spread=np.ones(1))
    >>> two = SegmentModel(line, np.array([[0.0], [2.0]]), np.array([3, 5]), ("a", "b"), 6)
    >>> settle(two, np.full((3, 1), np.exp(1.04) - 1), np.array([3, 5, -1]))
    array([3, 5, 5])
    """
    require(0 <= margin < 1, "0 <= margin < 1")
    if current_ids.shape != (len(features),):
        raise ShapeError(f"current_ids is {current_ids.shape}, features {features.shape}")
    distance = _distances(model, features)
    rows = np.arange(len(distance))
    nearest = distance.argmin(axis=1)
    place = np.searchsorted(model.ids, current_ids).clip(0, len(model.ids) - 1)
    known = model.ids[place] == current_ids
    stay = known & ~(distance[rows, nearest] < (1.0 - margin) * distance[rows, place])
    return np.where(stay, current_ids, model.ids[nearest]).astype(np.int64)


def to_state(model: SegmentModel) -> tuple[Arrays, Meta]:
    """Return arrays and JSON from which `from_state` builds an equal model."""
    arrays: Arrays = {
        "center": model.scaling.center,
        "spread": model.scaling.spread,
        "centroids": model.centroids,
        "ids": model.ids,
    }
    return arrays, {"names": list(model.names), "next_id": model.next_id}


def from_state(arrays: Arrays, meta: Meta) -> SegmentModel:
    """Return the model that `to_state` described; raise ShapeError or DomainError."""
    names = texts(meta, "names")
    d = len(np.atleast_1d(arrays.get("center", np.zeros(0))))
    ids = matrix(arrays, "ids", (len(names),))
    return SegmentModel(
        scaling=Scaling(matrix(arrays, "center", (d,)), matrix(arrays, "spread", (d,))),
        centroids=matrix(arrays, "centroids", (len(names), d)),
        ids=ids.astype(np.int64),
        names=names,
        next_id=integer(meta, "next_id"),
    )


def _distances(model: SegmentModel, features: Matrix) -> Matrix:
    """(n, k) Euclidean distances, summed per row so that no batch size changes a bit."""
    points = scale(model.scaling, features)
    squares = ((points[:, None, :] - model.centroids[None, :, :]) ** 2).sum(axis=2)
    distances: Matrix = np.sqrt(squares)
    return distances
