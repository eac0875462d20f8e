"""Centers that follow the customers between two fits: a minor version."""

from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import of_rank, require
from models.segments.geometry import Centroids, median_gap, squared_distances
from models.segments.model import SegmentModel

Matrix: TypeAlias = NDArray[np.float64]

RATE = 0.04  # share of the way to the customers' mean, per step
BOUND = 0.004  # of the median distance between centers: no center moves farther in one step
SAMPLE = 2_000  # customers that tell enough of where all of them are
_CAUTION = 5.0  # a segment that the sample holds so often moves half as far


class Followed(NamedTuple):
    """A minor version, and what it brought.

    model    ids, labels, scaling as before; `step` one more
    moved    (k,) float64 how far each center went, in median distances between centers
    before   mean squared distance of the sample to the old centers
    after    to the new ones
    """

    model: SegmentModel
    moved: NDArray[np.float64]
    before: float
    after: float


def follow(model: SegmentModel, table: Matrix, *, rate: float = RATE) -> Followed:
    """Move every center a step toward the customers it serves.

    Only a sample drawn uniformly from all customers tells where they are: those who had an event
    today are other people than those who did not. Models whose segments are no centers (DBSCAN,
    mixture, rules) come back as they are.

    table    (n, d) >= 0 features of a uniform sample, in natural units; n >= 0
    rate     in (0, 1]
    Raises   ShapeError, DomainError
    Source   Sculley (2010), "Web-scale k-means clustering", with a constant rate, so that the
             past fades

    >>> from models.segments.examples import on_a_line
    >>> found = follow(on_a_line(0.0, 2.0), np.expm1(np.full((95, 3), 2.1)))
    >>> found.model.geometry.centers[:, 0].round(4), found.model.step
    (array([0.    , 2.0038]), 1)
    """
    of_rank(2, table=table)
    require(0 < rate <= 1, "0 < rate <= 1")
    if not isinstance(model.geometry, Centroids) or len(table) == 0:
        nothing = np.zeros(len(model.ids))
        return Followed(model, nothing, 0.0, 0.0)
    points, centers = model.points(table), model.geometry.centers
    points = points[np.lexsort(points.T)]  # sums round in the sequence of the rows
    distances = squared_distances(points, centers)
    moved = follow_centers(points, centers, rate, distances)
    gap = median_gap(centers)
    steps = np.sqrt(((moved - centers) ** 2).sum(axis=1)) / (gap if gap > 0 else 1.0)
    return Followed(
        model=replace(model, geometry=Centroids(moved), step=model.step + 1),
        moved=steps,
        before=float(distances.min(axis=1).mean()),
        after=float(squared_distances(points, moved).min(axis=1).mean()),
    )


def follow_centers(
    points: Matrix, centers: Matrix, rate: float, distances: Matrix | None = None
) -> Matrix:
    """Return the centers (k, d) one bounded step nearer to the means of their points.

    >>> follow_centers(np.full((95, 1), 1.5), np.array([[0.0], [2.0]]), 0.1)
    array([[0.   ],
           [1.992]])
    """
    if distances is None:
        distances = squared_distances(points, centers)
    nearest = distances.argmin(axis=1)
    k = len(centers)
    count = np.bincount(nearest, minlength=k).astype(np.float64)
    total = np.stack(
        [np.bincount(nearest, column, k) for column in np.ascontiguousarray(points.T)], axis=1
    )
    mean = np.divide(total, count[:, None], out=centers.copy(), where=count[:, None] > 0)
    steps = (rate * count / (count + _CAUTION))[:, None] * (mean - centers)
    length = np.sqrt((steps**2).sum(axis=1, keepdims=True))
    most = BOUND * median_gap(centers) if k > 1 else np.inf
    shrink = np.minimum(1.0, np.divide(most, length, out=np.ones_like(length), where=length > 0))
    moved: Matrix = centers + shrink * steps
    return moved
