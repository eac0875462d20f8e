"""The season: what the same weeks of last year made of what level 1 expected of them.

Level 1 knows no calendar. A year later it misses the same weeks by much the same factor: so the
window that begins at T is worth more or fewer ordinary days, as the window at T - 364 was. A year
ago counts only where the shop then had half a year of history: with less, level 1's own level is
off because every customer looks new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import NumericError
from models.forecast.btyd import Prior, expected_purchases, purchase_probability
from models.forecast.level1 import ORDINARY, Floor, Season, expect, fit_floor
from models.forecast.snapshot import sample
from models.history import Histories, PurchaseStats, cut, purchase_stats, window

Rows: TypeAlias = NDArray[np.float64]

YEAR_DAYS: Final = 364  # whole weeks: the same days of the week
LEAST_HISTORY_DAYS: Final = 180
LEAST_CUSTOMERS: Final = 100
LEAST_ORDERS: Final = 100  # in the window of last year
AHEAD_DAYS: Final = (0, 14, 28, 42, 56)  # days after the fit for which the season is measured
WEIGHTS: Final = (0.0, 0.5, 1.0)
UNTRIED: Final = 0.5  # weight while no closed window has a year before it
MOST_LOG: Final = 1.0  # of a factor's logarithm
_ROWS: Final = 10_000
_STEPS: Final = 30


class Calendar(NamedTuple):
    """The season of windows that begin on a few days, and how much of it counts.

    days     rising first days of windows; none = no year is known
    seasons  one per day
    weight   in [0, 1]
    """

    days: tuple[int, ...] = ()
    seasons: tuple[Season, ...] = ()
    weight: float = 0.0

    def at(self, day: int) -> Season:
        """Return the season of the window that begins on `day`: between two days, in proportion.

        >>> Calendar((0, 10), (Season(), Season(0.2, 0.4, 0.0)), 0.5).at(5)
        Season(buy=0.05, orders=0.1, value=0.0)
        """
        if not self.days or not self.weight:
            return ORDINARY
        table = np.array(self.seasons)
        return Season(
            *(self.weight * float(np.interp(day, self.days, column)) for column in table.T)
        )


def a_year_ago(
    histories: Histories,
    day: int,
    horizon_days: int,
    prior: Prior | None,
    key: NDArray[np.uint64] | None = None,
) -> Season | None:
    """Return the season of the window at `day`, from the one a year before.

    Only what happened before `day` is read. None where the year before is not known: the shop had
    less than 180 days of history, 100 customers or 100 orders, or the window has not closed.
    key     (customers,) hashes of their ids, which decide who is sampled; None = the rows' numbers
    Raises  ShapeError, DomainError, NumericError
    """
    then = day - YEAR_DAYS
    if not len(histories.day) or horizon_days > YEAR_DAYS:
        return None
    if then - int(histories.day.min()) < LEAST_HISTORY_DAYS:
        return None
    stats = purchase_stats(cut(histories, then), then - 1)
    row = np.flatnonzero(stats.orders > 0)
    came = window(histories, then, horizon_days)
    if len(row) < LEAST_CUSTOMERS or came.orders[row].sum() < LEAST_ORDERS:
        return None
    floor = fit_floor(stats, prior)
    some = row[sample(row.astype(np.uint64) if key is None else key[row], _ROWS)]
    few = PurchaseStats._make(column[some] for column in stats)
    orders, spend = came.orders[some], came.spend_minor[some]
    return Season(
        buy=_stretch(_chance(floor, few, horizon_days), float((orders > 0).sum())),
        orders=_stretch(_count(floor, few, horizon_days), float(orders.sum())),
        value=_value(floor, few, horizon_days, float(spend.sum()), float(orders.sum())),
    )


def measure(
    histories: Histories,
    day: int,
    horizon_days: int,
    prior: Prior | None,
    weight: float,
    key: NDArray[np.uint64] | None = None,
    ahead_days: Sequence[int] = AHEAD_DAYS,
) -> Calendar:
    """Return the seasons of the windows that begin at `day` and in the weeks after it.

    Raises  as `a_year_ago`
    """
    found = {}
    for ahead in ahead_days:
        if day + ahead - YEAR_DAYS + horizon_days <= day:  # closed when the fit is made
            season = a_year_ago(histories, day + ahead, horizon_days, prior, key)
            if season is not None:
                found[day + ahead] = season
    return Calendar(tuple(found), tuple(found.values()), weight) if found else Calendar()


def _chance(floor: Floor, stats: PurchaseStats, horizon_days: int) -> Callable[[float], float]:
    history = (stats.frequency, stats.recency, stats.age)
    return lambda factor: float(
        purchase_probability(floor.btyd, horizon_days * factor, *history).sum()
    )


def _count(floor: Floor, stats: PurchaseStats, horizon_days: int) -> Callable[[float], float]:
    history = (stats.frequency, stats.recency, stats.age)
    return lambda factor: float(
        expected_purchases(floor.btyd, horizon_days * factor, *history).sum()
    )


def _stretch(expected: Callable[[float], float], came: float) -> float:
    """Return the logarithm of the factor on the horizon at which what came was to be expected."""
    low, high = -MOST_LOG, MOST_LOG
    at_low, at_high = expected(float(np.exp(low))) - came, expected(float(np.exp(high))) - came
    if at_low >= 0 or at_high <= 0:
        return low if at_low >= 0 else high
    for _ in range(_STEPS):  # regula falsi, Illinois variant
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        off = expected(float(np.exp(middle))) - came
        if abs(off) <= 1e-4 * came:
            return float(middle)
        if off > 0:
            high, at_high, at_low = middle, off, at_low / 2
        else:
            low, at_low, at_high = middle, off, at_high / 2
    raise NumericError("the season does not converge")


def _value(
    floor: Floor, stats: PurchaseStats, horizon_days: int, spend: float, orders: float
) -> float:
    """Return the logarithm of money per order over what was expected of it."""
    expected = expect(floor, stats, float(horizon_days))
    whole, count = float(expected.spend.sum()), float(expected.orders.sum())
    if spend <= 0 or whole <= 0 or count <= 0:
        return 0.0
    return float(np.clip(np.log(spend / orders * count / whole), -MOST_LOG, MOST_LOG))
