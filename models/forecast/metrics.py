"""How good forecasts were: losses per customer and figures of a whole window."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Rows: TypeAlias = NDArray[np.float64]

_LEAST_P: Final = 1e-5
_LEAST_MEAN: Final = 1e-3
ECE_BINS: Final = 15


def log_losses(bought: Rows, probability: Rows) -> Rows:
    """Return each customer's log loss; probabilities are held 1e-5 away from 0 and 1.

    >>> log_losses(np.array([1.0, 0.0]), np.array([0.5, 0.5])).round(3)
    array([0.693, 0.693])
    """
    p = np.clip(probability, _LEAST_P, 1.0 - _LEAST_P)
    return -(bought * np.log(p) + (1.0 - bought) * np.log1p(-p))


def poisson_deviances(count: Rows, mean: Rows) -> Rows:
    """Return each customer's Poisson deviance; means are held above 0.001.

    >>> poisson_deviances(np.array([2.0, 0.0]), np.array([2.0, 1.0]))
    array([0., 2.])
    """
    m = np.maximum(mean, _LEAST_MEAN)
    log_ratio = np.log(np.where(count > 0, count, 1.0) / m)
    return 2.0 * (np.where(count > 0, count * log_ratio, 0.0) - (count - m))


def tweedie_deviances(spend: Rows, mean: Rows) -> Rows:
    """Return each customer's Tweedie deviance of power 1.5, in means of the spend.

    Source  Jorgensen (1987), "Exponential Dispersion Models"

    >>> tweedie_deviances(np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    array([0., 0.])
    """
    unit = max(float(spend.mean()), 1e-9)
    y, m = spend / unit, np.maximum(mean / unit, 1e-4)
    return 4.0 * (np.sqrt(y) - np.sqrt(m)) ** 2 / np.sqrt(m)


def auc(bought: Rows, probability: Rows) -> float:
    """Return the area under the ROC curve; 0.5 where all did the same.

    >>> auc(np.array([0.0, 1.0]), np.array([0.2, 0.7]))
    1.0
    """
    positives = float(bought.sum())
    negatives = len(bought) - positives
    if not positives or not negatives:
        return 0.5
    ranks = rankdata(probability)
    above = float(ranks[bought > 0].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def calibration(bought: Rows, probability: Rows) -> tuple[Rows, Rows, Rows]:
    """Return size, mean forecast and mean outcome of 15 bins of equal count, lowest first."""
    order = np.argsort(probability, kind="stable")
    bins = [part for part in np.array_split(order, ECE_BINS) if len(part)]
    size = np.array([float(len(part)) for part in bins])
    said = np.array([probability[part].mean() for part in bins])
    return size, said, np.array([bought[part].mean() for part in bins])


def ece(bought: Rows, probability: Rows) -> float:
    """Return the expected calibration error over 15 bins of equal count.

    >>> ece(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    0.0
    """
    size, said, came = calibration(bought, probability)
    return float(size @ np.abs(said - came) / max(size.sum(), 1.0))


def ece_floor(probability: Rows, rng: np.random.Generator, draws: int = 200) -> float:
    """Return the mean ECE of labels drawn from the forecast itself: what chance alone leaves."""
    p = np.sort(probability)
    parts = np.array_split(np.arange(len(p)), min(ECE_BINS, max(len(p), 1)))
    starts = np.array([part[0] for part in parts if len(part)], dtype=np.int64)
    if not len(starts):
        return 0.0
    errors = []
    for _ in range(draws):
        off = (rng.random(len(p)) < p) - p
        errors.append(float(np.abs(np.add.reduceat(off, starts)).sum()) / len(p))
    return float(np.mean(errors))


def bias(actual: Rows, forecast: Rows) -> float:
    """Return the relative error of the sum, forecast over actual - 1; 0 where nothing came.

    >>> bias(np.array([1.0, 1.0]), np.array([2.0, 1.0]))
    0.5
    """
    total = float(actual.sum())
    return float(forecast.sum()) / total - 1.0 if total else 0.0


def gini_share(actual: Rows, forecast: Rows) -> float:
    """Return the Gini of the actual ranked by the forecast over that of the perfect ranking.

    >>> gini_share(np.array([1.0, 3.0, 2.0]), np.array([1.0, 3.0, 2.0]))
    1.0
    """
    perfect = _gini(actual, actual)
    return _gini(actual, forecast) / perfect if perfect else 0.0


def _gini(actual: Rows, by: Rows) -> float:
    total = actual.sum()
    if not total:
        return 0.0
    shares = np.cumsum(actual[np.argsort(-by, kind="stable")]) / total
    return float(2.0 * shares.mean() - 1.0)


def clustered_error(difference: Rows, customer: NDArray[np.int64]) -> float:
    """Return the standard error of the mean difference when a customer's rows go together.

    Source  Cameron & Miller (2015), "A Practitioner's Guide to Cluster-Robust Inference": the
            limit of the bootstrap over customers

    >>> round(clustered_error(np.array([1.0, -1.0]), np.array([0, 1])), 3)
    0.707
    """
    _, who = np.unique(customer, return_inverse=True)
    sums = np.bincount(who, difference - difference.mean())
    return float(np.sqrt((sums**2).sum()) / len(difference))
