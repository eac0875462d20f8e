"""A segmentation as arrays and JSON, and back."""

from collections.abc import Mapping, Sequence

import numpy as np

from models.artifact import JSON, Arrays, Meta, integer, matrix, number, text, texts, vector
from models.checks import DomainError, require
from models.features import COLUMNS, FeatureSet, Value
from models.forecast.beta_geometric import MBGNBD
from models.forecast.gamma_gamma import GammaGamma
from models.segments.density import Density
from models.segments.favorites import from_meta, to_meta
from models.segments.geometry import Centroids, Geometry
from models.segments.labels import Label
from models.segments.mixture import Mixture
from models.segments.model import SegmentModel
from models.segments.rfm_rules import Quintiles
from models.segments.scaling import Scaling

GEOMETRIES: dict[str, type[Geometry]] = {
    "kmeans": Centroids,
    "minibatch": Centroids,
    "gaussian_mixture": Mixture,
    "agnes": Centroids,
    "dbscan": Density,
    "rfm_rules": Quintiles,
}
_BTYD = ("r", "alpha", "a", "b", "unit_days")
_LABEL = ("key", "suffix", "number", "levels", "failed")


def to_state(model: SegmentModel) -> tuple[Arrays, Meta]:
    """Return arrays and JSON from which `from_state` builds an equal model.

    >>> from models.segments.examples import on_a_line
    >>> from_state(*to_state(on_a_line(0.0, 2.0))).names
    ('Champions', 'Loyal')
    """
    value, money, horizon = model.features.value, np.zeros(3), 0
    btyd = np.zeros(len(_BTYD))
    if value is not None:
        btyd = np.array([getattr(value.btyd, name) for name in _BTYD])
        horizon = value.horizon_days
        if value.money is not None:
            money = np.array([value.money.p, value.money.q, value.money.v])
    arrays: Arrays = {
        "center": model.scaling.center,
        "spread": model.scaling.spread,
        "weights": model.features.weights,
        "btyd": btyd,
        "money": money,
        "ids": model.ids,
        "population": model.population,
        "centers": model.geometry.centers,
        **model.geometry.arrays(),
    }
    meta: Meta = {
        "algorithm": model.algorithm,
        "features": model.features.name,
        "horizon_days": horizon,
        "labels": [_entry(label) for label in model.labels],
        "next_id": model.next_id,
        "inertia": model.inertia,
        "step": model.step,
        "notes": list(model.notes),
        "favorites": to_meta(model.favorites),
    }
    return arrays, meta


def from_state(arrays: Arrays, meta: Meta) -> SegmentModel:
    """Return the model that `to_state` described; raise ShapeError or DomainError."""
    features = _features(arrays, meta)
    labels, algorithm = _labels(meta), text(meta, "algorithm")
    require(algorithm in GEOMETRIES, f"{algorithm!r} is an algorithm")
    d, k = len(features.columns), len(labels)
    return SegmentModel(
        algorithm=algorithm,
        features=features,
        scaling=Scaling(vector(arrays, "center", d), vector(arrays, "spread", d)),
        geometry=GEOMETRIES[algorithm].read(matrix(arrays, "centers", (k, d)), arrays),
        ids=vector(arrays, "ids", k).astype(np.int64),
        labels=labels,
        next_id=integer(meta, "next_id"),
        population=matrix(arrays, "population", (2, d)),
        inertia=number(meta, "inertia"),
        step=integer(meta, "step"),
        notes=texts(meta, "notes"),
        favorites=from_meta(meta.get("favorites", [])),
    )


def _features(arrays: Arrays, meta: Meta) -> FeatureSet:
    name, horizon_days = text(meta, "features"), integer(meta, "horizon_days")
    require(name in COLUMNS, f"{name!r} is a feature set")
    btyd, money = vector(arrays, "btyd", len(_BTYD)), vector(arrays, "money", 3)
    value = None
    if horizon_days:
        gamma_gamma = GammaGamma(*money.tolist()) if money.any() else None
        value = Value(MBGNBD(*btyd.tolist()), gamma_gamma, horizon_days)
    return FeatureSet(name, vector(arrays, "weights", len(COLUMNS[name])), value)


def _entry(label: Label) -> JSON:
    return {name: getattr(label, name) for name in _LABEL} | {"levels": list(label.levels)}


def _labels(meta: Meta) -> tuple[Label, ...]:
    entries = meta.get("labels")
    if isinstance(entries, str) or not isinstance(entries, Sequence):
        raise DomainError("labels is not a list")
    return tuple(_label(entry) for entry in entries)


def _label(entry: JSON) -> Label:
    if not isinstance(entry, Mapping):
        raise DomainError("a label is not an object")
    levels = entry.get("levels")
    if isinstance(levels, str) or not isinstance(levels, Sequence) or len(levels) != 3:
        raise DomainError("levels are not three")
    scores = {str(at): level for at, level in enumerate(levels)}
    return Label(
        key=text(entry, "key"),
        suffix=text(entry, "suffix"),
        number=integer(entry, "number"),
        levels=(integer(scores, "0"), integer(scores, "1"), integer(scores, "2")),
        failed=integer(entry, "failed"),
    )
