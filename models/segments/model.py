"""A segmentation at rest and at work: segments with ids and labels; the nearest one wins.

NumPy alone: a process that only assigns need not import scikit-learn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError, require
from models.features import FeatureSet, feature_matrix
from models.history import Histories
from models.segments.favorites import Favorites
from models.segments.geometry import Geometry
from models.segments.labels import LANGUAGES, LONGEST_NAME, Label, numbered
from models.segments.lifecycle import LIFECYCLE
from models.segments.scaling import Scaling, scale

Matrix: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]

NOBODY = -1  # the id of no segment: not assigned yet
OUTLIERS = 0  # the id of the customers that DBSCAN leaves out
FIRST_ID = 1


@dataclass(frozen=True, slots=True)
class SegmentModel:
    """k segments over d features, sorted by id.

    algorithm  key of `models.segments.fit.ALGORITHMS`
    features   the d columns, their weights, and what the value columns are computed with
    scaling    of the d columns
    geometry   how far a point is from each segment
    ids        (k,) int64 rising; an id is never given again to another segment
    labels     k labels with distinct names
    next_id    the first id that was never used, > all ids
    population (2, d) mean and standard deviation of the scaled features when it was fitted
    inertia    mean squared distance of a customer to the nearest segment when it was fitted, >= 0
    step       minor version: how often the centers followed the customers since that fit, >= 0
    notes      sentences that tell what was not done as asked, and why
    favorites  what the customers of a segment buy most, by its id, those of who has not bought too
    """

    algorithm: str
    features: FeatureSet
    scaling: Scaling
    geometry: Geometry
    ids: Ids
    labels: tuple[Label, ...]
    next_id: int
    population: Matrix
    inertia: float
    step: int = 0
    notes: tuple[str, ...] = ()
    favorites: Mapping[int, Favorites] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the parts fit together."""
        d, k = len(self.features.columns), len(self.ids)
        sizes = (len(self.scaling.center), self.geometry.centers.shape, len(self.labels))
        if sizes != (d, (k, d), k) or self.population.shape != (2, d):
            raise ShapeError(f"scaling, centers, labels are {sizes}, columns and ids {(d, k)}")
        require(np.isfinite(self.population).all(axis=1), "population is finite")
        require(np.diff(self.ids) > 0, "ids rise")
        require(self.ids[0] >= OUTLIERS and self.ids[-1] < self.next_id, "0 <= ids < next_id")
        require(len(set(self.names)) == k, "names are distinct")
        require(min(self.inertia, self.step) >= 0, "inertia, step >= 0")
        require(np.isfinite(self.inertia), "inertia is finite")

    @property
    def is_settled(self) -> bool:
        """Whether the centers are where Lloyd's algorithm ends, so that inertia tells of change."""
        return self.algorithm in {"kmeans", "minibatch"}

    @property
    def names(self) -> tuple[str, ...]:
        """The k names in English."""
        return tuple(label.name() for label in self.labels)

    def matrix(self, histories: Histories, as_of_day: int) -> Matrix:
        """Return the features (n, d) that this model reads, in natural units."""
        return feature_matrix(self.features, histories, as_of_day)

    def points(self, features: Matrix) -> Matrix:
        """Return features (n, d) >= 0 on the scale on which distances are taken."""
        return scale(self.scaling, features) * self.features.weights

    def label(self, segment_id: int) -> Label:
        """Return the label of a segment; raise DomainError for an unknown id."""
        require(segment_id in self.ids, f"segment {segment_id} exists")
        return self.labels[int(np.searchsorted(self.ids, segment_id))]


class Assignment(NamedTuple):
    """Segments of n customers.

    ids        (n,) int64 nearest segment; the lower id where two are as near
    distance   (n,) float64 to it, >= 0; with DBSCAN, > 1 never: an outlier is at 1
    runner_up  (n,) int64 second nearest segment; with one segment, the same
    margin     (n,) float64 in [0, 1]: 1 - distance / distance to the runner-up
    outlier    (n,) float64 >= 0 distance to the nearest center over the median distance of the
               centers; with DBSCAN, distance to the nearest group over its reach, > 1 = outlier
    """

    ids: Ids
    distance: NDArray[np.float64]
    runner_up: Ids
    margin: NDArray[np.float64]
    outlier: NDArray[np.float64]


def assign(model: SegmentModel, features: Matrix) -> Assignment:
    """Assign every customer to the nearest segment; a row's answer depends on that row alone.

    features  (n, d) >= 0
    Raises    ShapeError, DomainError

    >>> from models.segments.examples import on_a_line
    >>> found = assign(on_a_line(0.0, 2.0), np.expm1(np.array([[0.0], [1.5]])).repeat(3, axis=1))
    >>> found.ids, found.distance.round(3), found.runner_up, found.margin.round(3)
    (array([1, 2]), array([0.   , 0.866]), array([2, 1]), array([1.   , 0.667]))
    """
    distance = model.geometry.distances(model.points(features))
    outlier = model.geometry.strangeness(distance)
    rows = np.arange(len(distance))
    nearest = distance.argmin(axis=1)
    best = distance[rows, nearest]
    if len(model.ids) > 1:
        distance[rows, nearest] = np.inf
        second = distance.argmin(axis=1)
        far = distance[rows, second]
    else:
        second, far = nearest, best
    ratio = np.divide(best, far, out=np.ones(len(rows)), where=far > 0)
    return Assignment(model.ids[nearest], best, model.ids[second], 1.0 - ratio, outlier)


def nearest_ids(model: SegmentModel, features: Matrix) -> Ids:
    """Return the ids of `assign` (n,), and nothing else: for many customers at once."""
    found: Ids = model.ids[model.geometry.distances(model.points(features)).argmin(axis=1)]
    return found


def with_names(model: SegmentModel, names: Mapping[int, str]) -> SegmentModel:
    """Return the model with the operator's names by id, and no others of theirs.

    Where two segments have the same name, the lower id keeps it; a name of ours that is also one of
    theirs gets a number.

    >>> from models.segments.examples import on_a_line
    >>> with_names(on_a_line(0.0, 2.0), {2: "Champions"}).names
    ('Champions (2)', 'Champions')
    """
    labels, taken = [], set()
    for segment, label in zip(model.ids.tolist(), model.labels, strict=True):
        own = names.get(segment, "")
        labels.append(replace(label, own="" if own in taken else own))
        taken |= {own} - {""}
    for at, label in enumerate(labels):
        if not label.own:
            others = {one.name(lang) for one in labels if one is not label for lang in LANGUAGES}
            labels[at] = numbered(label, others)
    return replace(model, labels=tuple(labels))


def check_name(model: SegmentModel, segment_id: int, name: str) -> None:
    """Raise DomainError: unknown id, more than 80 characters, another segment's name, also of those
    who have not bought.

    >>> from models.segments.examples import on_a_line
    >>> check_name(on_a_line(0.0, 2.0), 2, "Champions")
    Traceback (most recent call last):
    models.checks.DomainError: breaks: 'Champions' is the name of no other segment
    """
    model.label(segment_id)
    require(len(name) <= LONGEST_NAME, f"at most {LONGEST_NAME} characters")
    taken = {
        label.name(language)
        for label, other in zip(model.labels, model.ids.tolist(), strict=True)
        for language in LANGUAGES
        if other != segment_id
    }
    taken |= {one.name(language) for one in LIFECYCLE.values() for language in LANGUAGES}
    require(name not in taken, f"{name!r} is the name of no other segment")
