"""Feature matrices of customers, read off their histories: what a segment is made of.

rfm            recency, frequency, money
rfm_behaviour  and how a customer buys: tenure, money per day, rhythm, activity, variety
shipped        and what is to be expected: the probability to buy again, and the money
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import DomainError, ShapeError, require
from models.forecast.beta_geometric import MBGNBD
from models.forecast.btyd import fit_mbg_nbd, purchase_probability
from models.forecast.gamma_gamma import GammaGamma, expected_value, fit_gamma_gamma
from models.history import Histories, PurchaseStats, cut, purchase_stats

Matrix: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.float64]

RFM = ("recency_days", "purchase_days", "money_minor")
BEHAVIOUR = (
    "age_days",
    "money_per_day_minor",
    "gap_variation",
    "purchase_days_90d",
    "items_per_day",
    "recency_over_gap",
)
VALUE = ("buys_again_percent", "expected_money_minor")
COLUMNS = {"rfm": RFM, "rfm_behaviour": RFM + BEHAVIOUR, "shipped": RFM + BEHAVIOUR + VALUE}

LEAST_PAID_ORDERS = 30
_RECENT_DAYS = 90
_LEAST_GAP_DAYS = 0.5
#: Chosen on one cutoff each of three shops: what comes next divides customers best, how they buy
#: less than when, how often and for how much.
_SHIPPED_WEIGHTS = (1.0,) * 3 + (0.5,) * 6 + (4.0, 0.5)


@dataclass(frozen=True, slots=True)
class Value:
    """What the value columns are computed with; it travels inside the segment version.

    btyd          the rate at which customers buy and leave
    money         money of a purchase day; None = too few paid orders, the money seen so far counts
    horizon_days  the window that is looked into, >= 1
    """

    btyd: MBGNBD
    money: GammaGamma | None
    horizon_days: int

    def __post_init__(self) -> None:
        """Raise DomainError for a horizon that is not in the future."""
        require(self.horizon_days >= 1, "horizon_days >= 1")


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Which columns there are, and how much each counts.

    name     key of COLUMNS
    weights  (d,) > 0, applied after scaling
    value    parameters of the value columns; None for a set without them
    """

    name: str
    weights: Rows
    value: Value | None = None

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the parts fit together."""
        if self.name not in COLUMNS:
            raise DomainError(f"no feature set {self.name!r}: {', '.join(COLUMNS)}")
        if self.weights.shape != (len(self.columns),):
            raise ShapeError(f"weights is {self.weights.shape}, columns {len(self.columns)}")
        require(np.isfinite(self.weights) & (self.weights > 0), "0 < weights < infinity")
        require((self.value is not None) == (self.name == "shipped"), "value columns have a value")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the d columns; the first three are recency, frequency, money."""
        return COLUMNS[self.name]


def fit_features(
    name: str, histories: Histories, as_of_day: int, *, horizon_days: int = 90
) -> FeatureSet:
    """Choose the columns, and fit what the value columns need on all that happened so far.

    name          key of COLUMNS
    horizon_days  of the value columns, >= 1
    Raises        ShapeError, DomainError, NumericError
    """
    if name not in COLUMNS:
        raise DomainError(f"no feature set {name!r}: {', '.join(COLUMNS)}")
    if name != "shipped":
        return FeatureSet(name, np.ones(len(COLUMNS[name])))
    stats = purchase_stats(histories, as_of_day)
    bought = stats.orders > 0
    money = None
    if stats.paid_orders.sum() >= LEAST_PAID_ORDERS:
        money = fit_gamma_gamma(*_paid(stats))
    btyd = fit_mbg_nbd(stats.frequency[bought], stats.recency[bought], stats.age[bought])
    return FeatureSet(name, np.array(_SHIPPED_WEIGHTS), Value(btyd, money, horizon_days))


def feature_matrix(features: FeatureSet, histories: Histories, as_of_day: int) -> Matrix:
    """Return the features of every customer as of the end of `as_of_day`.

    Returns  (n, d) float64 >= 0; a customer without a purchase is a row of zeros
    Raises   ShapeError, DomainError, NumericError

    >>> from models.history import from_orders
    >>> h = from_orders(1, np.array([0, 0]), np.array([3, 9]), np.array([50, 70]), np.array([2, 1]))
    >>> feature_matrix(FeatureSet("rfm_behaviour", np.ones(9)), h, 13).round(2)
    array([[  4.  ,   2.  , 120.  ,  10.  ,  60.  ,   1.  ,   2.  ,   1.5 ,
              0.67]])
    """
    stats = purchase_stats(histories, as_of_day)
    table = _rfm(stats)
    if features.name != "rfm":
        table = np.column_stack((table, _behaviour(histories, stats, as_of_day)))
    if features.value is not None:
        table = np.column_stack((table, _value(features.value, stats)))
    return table


def rfm(histories: Histories, as_of_day: int) -> Matrix:
    """Return recency, frequency and money of every customer.

    Returns  (n, 3) float64: days since the last purchase day, purchase days, total minor units;
             a customer without a purchase has 0 purchase days and is a row of zeros
    Raises   ShapeError, DomainError

    >>> from models.history import from_orders
    >>> h = from_orders(1, np.array([0, 0]), np.array([3, 9]), np.array([50, 70]))
    >>> rfm(h, 13)
    array([[  4.,   2., 120.]])
    """
    return _rfm(purchase_stats(histories, as_of_day))


def _rfm(stats: PurchaseStats) -> Matrix:
    days = np.where(stats.orders > 0, stats.frequency + 1, 0.0)
    return np.column_stack((stats.age - stats.recency, days, stats.total_minor.astype(np.float64)))


def _behaviour(histories: Histories, stats: PurchaseStats, as_of_day: int) -> Matrix:
    known = cut(histories, as_of_day + 1)
    n, days = len(stats.age), np.maximum(stats.frequency + 1, 1.0)
    bought = stats.orders > 0
    who = np.repeat(np.arange(n), np.diff(known.starts))
    inner = np.diff(who) == 0
    gaps = np.diff(known.day.astype(np.float64))[inner]
    squares = np.bincount(who[1:][inner], gaps**2, n)
    count = stats.frequency
    mean = np.divide(stats.recency, count, out=stats.age.copy(), where=count > 0)
    spread = np.sqrt(np.maximum(squares / np.maximum(count, 1.0) - mean**2, 0.0))
    floored = np.maximum(mean, _LEAST_GAP_DAYS)
    recent = np.bincount(who[known.day >= as_of_day - _RECENT_DAYS], minlength=n)
    columns = (
        stats.age,
        stats.total_minor / days,
        np.where(count > 1, spread / floored, 1.0),
        recent.astype(np.float64),
        np.bincount(who, known.items, n) / days,
        (stats.age - stats.recency) / floored,
    )
    return np.column_stack(columns) * bought[:, None]


def _value(value: Value, stats: PurchaseStats) -> Matrix:
    bought = (stats.orders > 0).astype(np.float64)
    history = (stats.frequency, stats.recency, stats.age)
    probability = purchase_probability(value.btyd, value.horizon_days, *history) * bought
    days, mean = _paid(stats)
    money = mean if value.money is None else expected_value(value.money, days, mean)
    return np.column_stack((100.0 * probability, probability * money * bought))


def _paid(stats: PurchaseStats) -> tuple[Rows, Rows]:
    """Return paid orders (n,) and the money of one (n,), 0 without."""
    return stats.paid_orders.astype(np.float64), stats.mean_paid_minor
