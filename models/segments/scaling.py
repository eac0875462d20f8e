"""Scaling of skewed customer features: logarithm, then a robust z-score, then a clip."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError, of_rank, require

Matrix: TypeAlias = NDArray[np.float64]

LIMIT = 3.0
_LEAST_SPREAD = 1e-9  # less is rounding noise: the column counts as constant
_NORMAL_RANGE = 3.29  # the 5-95 % range of a normal distribution, in standard deviations


@dataclass(frozen=True, slots=True)
class Scaling:
    """Of each column of log1p(features): center (d,), spread (d,); below 1e-9 it scales to 0."""

    center: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the arrays are a scaling."""
        of_rank(1, center=self.center, spread=self.spread)
        if self.center.shape != self.spread.shape:
            raise ShapeError(f"center {self.center.shape}, spread {self.spread.shape}")
        ok = np.isfinite(self.center) & np.isfinite(self.spread) & (self.spread >= 0)
        require(ok, "center and spread are finite, spread >= 0")


def fit_scaling(features: Matrix) -> Scaling:
    """Fit center and spread: the median, and the 5-95 % range over that of a normal distribution.

    features  (n, d) >= 0, n >= 1
    Returns   spread = standard deviation where more than 90 % share one value, 0 where all do
    Raises    ShapeError, DomainError

    >>> fit_scaling(np.array([[0.0], [np.e - 1], [np.e**2 - 1]])).center
    array([1.])
    """
    logs = _logs(features)
    require(len(logs) > 0, "at least one row")
    low, center, high = np.percentile(logs, [5, 50, 95], axis=0)
    spread = np.where(high - low >= _LEAST_SPREAD, (high - low) / _NORMAL_RANGE, logs.std(axis=0))
    spread = np.where(spread >= _LEAST_SPREAD, spread, 0.0)
    return Scaling(center, spread)


def scale(scaling: Scaling, features: Matrix) -> Matrix:
    """Return the features on the common scale.

    features  (n, d) >= 0
    Returns   (n, d) float64 within [-LIMIT, LIMIT], non-decreasing in each feature
    Raises    ShapeError, DomainError

    >>> unit = Scaling(center=np.zeros(1), spread=np.ones(1))
    >>> scale(unit, np.array([[np.e - 1], [1e9]]))
    array([[1.],
           [3.]])
    """
    return np.clip(_unclipped(scaling, features), -LIMIT, LIMIT)


def far_beyond(scaling: Scaling, features: Matrix) -> NDArray[np.bool_]:
    """Return (n, d) whether a feature lies twice as far out as it can count.

    >>> unit = Scaling(center=np.zeros(1), spread=np.ones(1))
    >>> far_beyond(unit, np.array([[100.0], [1e9]])).ravel().tolist()
    [False, True]
    """
    return np.abs(_unclipped(scaling, features)) > 2 * LIMIT


def rescale(points: Matrix, old: Scaling, new: Scaling) -> Matrix:
    """Return points (k, d) of the old scale as points of the new scale.

    >>> one, two = Scaling(np.zeros(1), np.ones(1)), Scaling(np.ones(1), np.full(1, 2.0))
    >>> rescale(np.array([[3.0]]), one, two)
    array([[1.]])
    """
    logs = points * old.spread + old.center
    return np.clip((logs - new.center) * _inverse(new.spread), -LIMIT, LIMIT)


def unscale(scaling: Scaling, points: Matrix) -> Matrix:
    """Return features (n, d) that lie at these points; the inverse of `scale` within its limit.

    >>> unscale(Scaling(np.ones(1), np.ones(1)), np.array([[1.0]])).round(2)
    array([[6.39]])
    """
    features: Matrix = np.maximum(np.expm1(points * scaling.spread + scaling.center), 0.0)
    return features


def _unclipped(scaling: Scaling, features: Matrix) -> Matrix:
    logs = _logs(features)
    if logs.shape[1] != len(scaling.center):
        raise ShapeError(f"features are {logs.shape}, the scaling has {len(scaling.center)}")
    found: Matrix = (logs - scaling.center) * _inverse(scaling.spread)
    return found


def _inverse(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(1.0, spread, out=np.zeros(len(spread)), where=spread >= _LEAST_SPREAD)


def check_features(features: Matrix) -> None:
    """Raise ShapeError or DomainError, which names the first bad row, unless all are >= 0."""
    of_rank(2, features=features)
    require(np.isfinite(features).all(axis=1), "features are finite")
    require((features >= 0).all(axis=1), "features >= 0")


def _logs(features: Matrix) -> Matrix:
    check_features(features)
    logs: Matrix = np.log1p(features)
    return logs
