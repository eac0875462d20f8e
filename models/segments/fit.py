"""Fit segments on all customers who have bought: one way in for every algorithm."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import DomainError, require
from models.features import FeatureSet, feature_matrix, fit_features
from models.history import Histories
from models.segments.density import Density, fit_dbscan
from models.segments.geometry import Centroids, Geometry
from models.segments.hierarchy import fit_agnes
from models.segments.kmeans import fit_kmeans
from models.segments.labels import Label
from models.segments.matching import Matched, match_centroids
from models.segments.minibatch import fit_minibatch
from models.segments.mixture import fit_mixture
from models.segments.model import FIRST_ID, OUTLIERS, SegmentModel
from models.segments.naming import label_segments
from models.segments.rfm_rules import KEYS, Quintiles, fit_rfm_rules
from models.segments.scaling import Scaling, check_features, far_beyond, fit_scaling, rescale, scale

Matrix: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]

ALGORITHMS = ("kmeans", "minibatch", "gaussian_mixture", "agnes", "dbscan", "rfm_rules")
DEFAULT_K = 6
LEAST_CUSTOMERS = 30
CUSTOMERS_PER_SEGMENT = 10
_NO_GROUP = "DBSCAN found no group that is dense enough: all customers are one segment."


def fit_segments(
    histories: Histories,
    as_of_day: int,
    *,
    rng: np.random.Generator,
    algorithm: str = "kmeans",
    k: int | None = None,
    feature_set: str = "shipped",
    horizon_days: int = 90,
    height: float | None = None,
    previous: SegmentModel | None = None,
    anew: bool = False,
    first_id: int = FIRST_ID,
) -> SegmentModel:
    """Fit segments on everything that happened up to and with `as_of_day`.

    histories     customers without a purchase are left out
    rng           chooses starts and samples
    algorithm     one of ALGORITHMS
    k             number of segments; None = that of `previous`, else DEFAULT_K; there are never
                  more than one per 10 customers, nor more than distinct customers (see `notes`);
                  DBSCAN and the rules choose their own
    height        AGNES only: cut the tree at this height rather than into k
    feature_set   key of `models.features.COLUMNS`
    horizon_days  that the value columns look ahead, >= 1
    previous      the live model: its centers start the search, its ids and labels live on; so do
                  its scaling and the parameters of its value columns, as new ones would move
                  customers who did nothing
    anew          scaling and parameters are fitted all the same
    first_id      that no segment of any version has had; what `previous` knows counts too
    Raises        ShapeError, DomainError (fewer than 30 customers have bought), NumericError

    >>> from models.history import from_orders
    >>> who = np.concatenate((np.arange(60), np.repeat(np.arange(60, 90), 9)))
    >>> day = np.concatenate((np.arange(60) % 9, np.arange(270) % 99 + 100))
    >>> shop = from_orders(90, who, day, np.full(len(who), 500))
    >>> model = fit_segments(shop, 200, rng=np.random.default_rng(0), k=2)
    >>> model.ids, model.features.columns[:3]
    (array([1, 2]), ('recency_days', 'purchase_days', 'money_minor'))
    """
    scaling = None
    if previous is not None and not anew and _reads(previous, feature_set, horizon_days):
        features, scaling = previous.features, previous.scaling
    else:
        features = fit_features(feature_set, histories, as_of_day, horizon_days=horizon_days)
    table = feature_matrix(features, histories, as_of_day)
    return fit_matrix(
        table[table[:, 1] > 0],
        features,
        rng=rng,
        algorithm=algorithm,
        k=k,
        height=height,
        previous=previous,
        scaling=scaling,
        first_id=first_id,
    )


def fit_matrix(
    table: Matrix,
    features: FeatureSet,
    *,
    rng: np.random.Generator,
    algorithm: str = "kmeans",
    k: int | None = None,
    height: float | None = None,
    previous: SegmentModel | None = None,
    scaling: Scaling | None = None,
    first_id: int = FIRST_ID,
) -> SegmentModel:
    """Fit segments on the rows of a feature matrix; arguments as `fit_segments`.

    table    (n, d) >= 0, n >= 30, columns as `features.columns`; in any sequence
    scaling  to keep; None = fitted on the table

    >>> lapsed, loyal = np.tile([300.0, 1.0, 900.0], (40, 1)), np.tile([3.0, 20.0, 9e5], (20, 1))
    >>> table, features = np.vstack((lapsed, loyal)), FeatureSet("rfm", np.ones(3))
    >>> model = fit_matrix(table, features, k=2, rng=np.random.default_rng(0))
    >>> sorted(model.names), model.next_id
    (['Champions', 'Lapsed'], 3)
    """
    check_features(table)
    require(len(table) >= LEAST_CUSTOMERS, f"at least {LEAST_CUSTOMERS} customers")
    require(k is None or k >= 1, "k >= 1")
    if algorithm not in ALGORITHMS:
        raise DomainError(f"no algorithm {algorithm!r}: {', '.join(ALGORITHMS)}")
    table = table[np.lexsort(table.T)]
    if scaling is None:
        scaling = fit_scaling(table)
    points = scale(scaling, table) * features.weights
    asked = k or (DEFAULT_K if previous is None else len(previous.ids))
    size, notes = _size(points, asked)
    notes += _constant(points, features) + _whales(table, features, scaling)
    live = _live_centers(previous, features, scaling)
    geometry = _search(algorithm, points, size, height, None if live is None else live[1], rng)
    if geometry is None:
        geometry, algorithm = Centroids(points.mean(axis=0, keepdims=True)), "kmeans"
        notes += (_NO_GROUP,) if np.ptp(points, axis=0).any() else ()
    matched = _identify(geometry, live, previous, first_id)
    return _labeled(algorithm, features, scaling, geometry, matched, points, previous, notes)


def _search(
    algorithm: str,
    points: Matrix,
    k: int,
    height: float | None,
    live: Matrix | None,
    rng: np.random.Generator,
) -> Geometry | None:
    if algorithm == "kmeans":
        return Centroids(fit_kmeans(points, k, rng, live))
    if algorithm == "minibatch":
        return Centroids(fit_minibatch(points, k, rng))
    if algorithm == "agnes":
        return Centroids(fit_agnes(points, k, rng, height))
    if algorithm == "gaussian_mixture":
        return fit_mixture(points, k, rng)
    if algorithm == "dbscan":
        return fit_dbscan(points, rng)
    return fit_rfm_rules(points)


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


def _constant(points: Matrix, features: FeatureSet) -> tuple[str, ...]:
    same = points.min(axis=0) == points.max(axis=0)
    if same.all() or not same.any():
        return ()
    names = ", ".join(np.array(features.columns)[same].tolist())
    return (f"All customers have the same {names}: it tells nobody apart.",)


def _whales(table: Matrix, features: FeatureSet, scaling: Scaling) -> tuple[str, ...]:
    far = far_beyond(scaling, table)[:, :3]  # recency, frequency, money
    if not far.any():
        return ()
    names = ", ".join(np.array(features.columns[:3])[far.any(axis=0)].tolist())
    return (f"{far.any(axis=1).sum()} of the customers lie far beyond all others in {names}.",)


def _reads(model: SegmentModel, feature_set: str, horizon_days: int) -> bool:
    value = model.features.value
    return model.features.name == feature_set and (
        value is None or value.horizon_days == horizon_days
    )


def _live_centers(
    previous: SegmentModel | None, features: FeatureSet, scaling: Scaling
) -> tuple[Ids, Matrix] | None:
    """Return live ids and centers on the new scale; None if they lie in other columns."""
    if previous is None or previous.features.name != features.name:
        return None
    groups = previous.ids != OUTLIERS
    unweighted = previous.geometry.centers[groups] / previous.features.weights
    centers = rescale(unweighted, previous.scaling, scaling) * features.weights
    return previous.ids[groups], centers


def _identify(
    geometry: Geometry,
    live: tuple[Ids, Matrix] | None,
    previous: SegmentModel | None,
    first_id: int,
) -> Matched:
    """Return an id for every row of the geometry; outliers always have theirs."""
    first = 1 if isinstance(geometry, Density) else 0
    centers = geometry.centers[first:]
    start = max(first_id, FIRST_ID if previous is None else previous.next_id)
    if previous is not None and live is not None:
        if isinstance(geometry, Quintiles) and isinstance(previous.geometry, Quintiles):
            return Matched(previous.ids[np.argsort(previous.geometry.rules)], start)
        matched = match_centroids(centers, live[1], live[0], start)
    else:
        matched = Matched(start + np.arange(len(centers)), start + len(centers))
    return Matched(np.append([OUTLIERS] * first, matched.ids).astype(np.int64), matched.next_id)


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
    ordered = geometry.reordered(order)
    z = (ordered.centers - mean) / np.where(spread > 0, spread, 1.0)
    return SegmentModel(
        algorithm=algorithm,
        features=features,
        scaling=scaling,
        geometry=ordered,
        ids=ids,
        labels=label_segments(z, [kept.get(one) for one in ids.tolist()], _fixed_keys(ordered)),
        next_id=matched.next_id,
        population=np.vstack((mean, spread)),
        inertia=float((geometry.distances(points).min(axis=1) ** 2).mean()),
        notes=notes,
    )


def _fixed_keys(geometry: Geometry) -> dict[int, str]:
    """Return the names, by row, that do not depend on where a segment lies."""
    if isinstance(geometry, Quintiles):
        return {row: KEYS[rule] for row, rule in enumerate(geometry.rules.tolist())}
    if len(geometry.centers) == 1:
        return {0: "everyone"}
    return {0: "outliers"} if isinstance(geometry, Density) else {}
