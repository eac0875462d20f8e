"""Fit segments on all customers who have bought: one way in for every algorithm."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import DomainError, of_rank, require
from models.features import FeatureSet, feature_matrix, fit_features
from models.history import Histories
from models.segments.geometry import Centroids, Geometry
from models.segments.kmeans import fit_kmeans
from models.segments.labels import Label
from models.segments.matching import Matched, match_centroids
from models.segments.model import FIRST_ID, SegmentModel
from models.segments.naming import label_segments
from models.segments.scaling import Scaling, fit_scaling, rescale, scale

Matrix: TypeAlias = NDArray[np.float64]

ALGORITHMS = ("kmeans",)
DEFAULT_K = 6
LEAST_CUSTOMERS = 30
CUSTOMERS_PER_SEGMENT = 10


def fit_segments(
    histories: Histories,
    as_of_day: int,
    *,
    rng: np.random.Generator,
    algorithm: str = "kmeans",
    k: int | None = None,
    feature_set: str = "shipped",
    horizon_days: int = 90,
    previous: SegmentModel | None = None,
) -> SegmentModel:
    """Fit segments on everything that happened up to and with `as_of_day`.

    histories     customers without a purchase are left out
    rng           chooses starts and samples
    algorithm     one of ALGORITHMS
    k             number of segments; None = that of `previous`, else DEFAULT_K; there are never
                  more than one per 10 customers, nor more than distinct customers (see `notes`)
    feature_set   key of `models.features.COLUMNS`
    horizon_days  that the value columns look ahead, >= 1
    previous      the live model: its centers start the search, its ids and labels live on
    Raises        ShapeError, DomainError (fewer than 30 customers have bought), NumericError
    """
    features = fit_features(feature_set, histories, as_of_day, horizon_days=horizon_days)
    table = feature_matrix(features, histories, as_of_day)
    return fit_matrix(
        table[table[:, 1] > 0], features, rng=rng, algorithm=algorithm, k=k, previous=previous
    )


def fit_matrix(
    table: Matrix,
    features: FeatureSet,
    *,
    rng: np.random.Generator,
    algorithm: str = "kmeans",
    k: int | None = None,
    previous: SegmentModel | None = None,
    scaling: Scaling | None = None,
) -> SegmentModel:
    """Fit segments on the rows of a feature matrix; arguments as `fit_segments`.

    table    (n, d) >= 0, n >= 30, columns as `features.columns`
    scaling  to keep; None = fitted on the table

    >>> lapsed, loyal = np.tile([300.0, 1.0, 900.0], (40, 1)), np.tile([3.0, 20.0, 9e5], (20, 1))
    >>> table, features = np.vstack((lapsed, loyal)), FeatureSet("rfm", np.ones(3))
    >>> model = fit_matrix(table, features, k=2, rng=np.random.default_rng(0))
    >>> sorted(model.names), model.next_id
    (['Champions', 'Lapsed'], 3)
    """
    of_rank(2, table=table)
    require(len(table) >= LEAST_CUSTOMERS, f"at least {LEAST_CUSTOMERS} customers")
    require(k is None or k >= 1, "k >= 1")
    if algorithm not in ALGORITHMS:
        raise DomainError(f"no algorithm {algorithm!r}: {', '.join(ALGORITHMS)}")
    if scaling is None:
        scaling = fit_scaling(table)
    points = scale(scaling, table) * features.weights
    asked = k or (DEFAULT_K if previous is None else len(previous.ids))
    size, notes = _size(points, asked)
    live = _live_centers(previous, features, scaling)
    geometry: Geometry = Centroids(fit_kmeans(points, size, rng, live))
    matched = _identify(geometry.centers, live, previous)
    return _labeled(algorithm, features, scaling, geometry, matched, points, previous, notes)


def _size(points: Matrix, asked: int) -> tuple[int, tuple[str, ...]]:
    """Return how many segments there can be, and why not more."""
    distinct = len(np.unique(points, axis=0))
    most = min(distinct, max(1, len(points) // CUSTOMERS_PER_SEGMENT))
    if asked <= most:
        return asked, ()
    if distinct == 1:
        return 1, ("All customers are alike: they are one segment.",)
    why = f"{len(points)} customers, {distinct} of them distinct"
    return most, (f"{asked} segments were asked for; {why}, make {most}.",)


def _live_centers(
    previous: SegmentModel | None, features: FeatureSet, scaling: Scaling
) -> Matrix | None:
    """Return the live centers on the new scale; None if they lie in other columns."""
    if previous is None or previous.features.name != features.name:
        return None
    unweighted = previous.geometry.centers / previous.features.weights
    return rescale(unweighted, previous.scaling, scaling) * features.weights


def _identify(centers: Matrix, live: Matrix | None, previous: SegmentModel | None) -> Matched:
    if previous is None:
        return Matched(FIRST_ID + np.arange(len(centers)), FIRST_ID + len(centers))
    if live is None:
        fresh = previous.next_id + np.arange(len(centers))
        return Matched(fresh, previous.next_id + len(centers))
    return match_centroids(centers, live, previous.ids, previous.next_id)


def _labeled(
    algorithm: str,
    features: FeatureSet,
    scaling: Scaling,
    geometry: Geometry,
    matched: Matched,
    points: Matrix,
    previous: SegmentModel | None,
    notes: tuple[str, ...],
) -> SegmentModel:
    order = np.argsort(matched.ids)
    ids = matched.ids[order]
    kept: dict[int, Label] = {}
    if previous is not None:
        kept = dict(zip(previous.ids.tolist(), previous.labels, strict=True))
    mean, spread = points.mean(axis=0), points.std(axis=0)
    centers = geometry.centers[order]
    z = (centers - mean) / np.where(spread > 0, spread, 1.0)
    return SegmentModel(
        algorithm=algorithm,
        features=features,
        scaling=scaling,
        geometry=Centroids(centers),
        ids=ids,
        labels=label_segments(z, [kept.get(one) for one in ids.tolist()]),
        next_id=matched.next_id,
        population=np.vstack((mean, spread)),
        notes=notes,
    )
