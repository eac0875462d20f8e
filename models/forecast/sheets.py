"""Training rows: features, the purchase model's expectation beside them, and labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from models.checks import DomainError
from models.forecast.btyd import (
    MBGNBD,
    PRIOR,
    Prior,
    expected_purchases,
    fit_mbg_nbd,
    p_alive,
    purchase_probability,
)
from models.forecast.families.base import Target
from models.forecast.gamma_gamma import GammaGamma, expected_value, fit_gamma_gamma
from models.forecast.snapshot import NAMES, WINDOWS, Snapshot, outcome, take
from models.history import Histories, PurchaseStats

Rows: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]

LEAST_PAID_ORDERS: Final = 10  # in the whole shop: below, money abstains
EXPECTATION: Final = (
    "expected_chance",
    "expected_orders",
    "expected_alive",
    "expected_value",
    "expected_spend",
)
_LEAST_HISTORY_DAYS: Final = 56
_MOST_SNAPSHOTS: Final = 6


class Floor(NamedTuple):
    """Level 1 as of one day.

    btyd            purchase days
    value           money per order; None = too few paid orders
    orders_per_day  orders per purchase day, >= 1
    """

    btyd: MBGNBD
    value: GammaGamma | None
    orders_per_day: float = 1.0


class Expected(NamedTuple):
    """What level 1 expects in one horizon; all (n,)."""

    buy: Rows
    orders: Rows
    spend: Rows
    alive: Rows
    value: Rows


class Sheet(NamedTuple):
    """One snapshot, what level 1 expected, and what came (all (n,) but the snapshot)."""

    snapshot: Snapshot
    floor: Floor
    expected: Expected
    labels: dict[Target, Rows]
    next_day: NDArray[np.int64]


def fit_floor(stats: PurchaseStats, prior: Prior | None = PRIOR) -> Floor:
    """Fit level 1 on everyone who has bought.

    Raises  ShapeError, DomainError, NumericError
    """
    bought = stats.orders > 0
    history = (stats.frequency[bought], stats.recency[bought], stats.age[bought])
    value = None
    if int(stats.paid_orders.sum()) >= LEAST_PAID_ORDERS:
        value = fit_gamma_gamma(stats.paid_orders.astype(np.float64), stats.mean_paid_minor)
    days = float(stats.frequency[bought].sum() + bought.sum())
    per_day = float(stats.orders.sum()) / days if days else 1.0
    return Floor(fit_mbg_nbd(*history, prior=prior), value, per_day)


def expect(floor: Floor, stats: PurchaseStats, horizon_days: float) -> Expected:
    """Return level 1's expectation; purchase days, not orders."""
    history = (stats.frequency, stats.recency, stats.age)
    orders = expected_purchases(floor.btyd, horizon_days, *history)
    value = np.zeros(len(orders))
    if floor.value is not None:
        paid = stats.paid_orders.astype(np.float64)
        per_order = expected_value(floor.value, paid, stats.mean_paid_minor)
        value = per_order * floor.orders_per_day
    return Expected(
        buy=purchase_probability(floor.btyd, horizon_days, *history),
        orders=orders,
        spend=orders * value,
        alive=p_alive(floor.btyd, *history),
        value=value,
    )


def expectation_columns(expected: Expected) -> Matrix:
    """Return (n, 5) what a supervised model sees of level 1, in the order of EXPECTATION."""
    return np.column_stack(
        (
            logit(np.clip(expected.buy, 1e-6, 1.0 - 1e-6)),
            np.log(np.maximum(expected.orders, 1e-6)),
            expected.alive,
            np.log1p(expected.value),
            np.log1p(expected.spend),
        )
    )


@dataclass
class Sheets:
    """The sheets of one shop and horizon, each built once.

    histories     all customers
    horizon_days  >= 1
    key           (customers,) hash of each customer's id: decides who is sampled
    """

    histories: Histories
    horizon_days: int
    key: NDArray[np.uint64]
    prior: Prior | None = PRIOR
    _known: dict[int, Sheet] = field(default_factory=dict)

    @property
    def first_day(self) -> int:
        """The first day with a purchase."""
        if not len(self.histories.day):
            raise DomainError("no purchase at all")
        return int(self.histories.day.min())

    @property
    def earliest(self) -> int:
        """The first day at which a snapshot has history enough."""
        return self.first_day + max(_LEAST_HISTORY_DAYS, min(self.horizon_days, 90))

    def at(self, day: int) -> Sheet:
        """Return the sheet of the snapshot at `day`; its labels are what is known of the window."""
        if day not in self._known:
            snapshot = take(self.histories, day)
            floor = fit_floor(snapshot.stats, self.prior)
            came = outcome(self.histories, snapshot, self.horizon_days)
            labels: dict[Target, Rows] = {
                "buy": (came.orders > 0).astype(np.float64),
                "orders": came.orders,
                "spend": came.spend_minor,
            }
            expected = expect(floor, snapshot.stats, float(self.horizon_days))
            self._known[day] = Sheet(snapshot, floor, expected, labels, came.next_day)
        return self._known[day]

    def closed_before(self, day: int) -> list[int]:
        """Return the days of the training snapshots whose windows end by `day`, oldest first."""
        step = max(14, min(30, self.horizon_days // 2))
        days = range(day - self.horizon_days, self.earliest - 1, -step)
        return list(days[:_MOST_SNAPSHOTS])[::-1]

    def windows(self, day: int, most: int) -> list[int]:
        """Return the days of the backtest windows that are closed at `day`, newest first.

        They start at least 14 days apart, reach back as far as `most` of them can, and each has
        a training snapshot that was closed before it.
        """
        newest, oldest = day - self.horizon_days, self.earliest + self.horizon_days
        if newest < oldest:
            return []
        apart = max(14, min(self.horizon_days, (newest - oldest) // max(most - 1, 1)))
        return list(range(newest, oldest - 1, -apart)[:most])


def usable(first_day: int, oldest_snapshot: int) -> NDArray[np.int64]:
    """Return the columns that mean the same at every snapshot: windows within the history."""
    span = oldest_snapshot - first_day
    short = {f"{what}_{days}d" for what in ("orders", "spend") for days in WINDOWS if days > span}
    return np.array([i for i, name in enumerate(NAMES) if name not in short], dtype=np.int64)


def design(sheet: Sheet, columns: NDArray[np.int64], *, stacked: bool) -> Matrix:
    """Return the features of a sheet, with the purchase model's expectation when stacked."""
    plain = sheet.snapshot.features[:, columns]
    return np.hstack((plain, expectation_columns(sheet.expected))) if stacked else plain


def sample(key: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
    """Return at most `most` rows, those of the lowest keys, in the order of the keys.

    >>> sample(np.array([30, 10, 20], dtype=np.uint64), 2)
    array([1, 2])
    """
    return np.argsort(key, kind="stable")[:most]
