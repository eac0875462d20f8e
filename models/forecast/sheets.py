"""Training rows: features, the purchase model's expectation beside them, and labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from models.checks import DomainError
from models.forecast.btyd import PRIOR, Prior
from models.forecast.families.base import Target
from models.forecast.level1 import Expected, Floor, Season, expect, fit_floor
from models.forecast.season import a_year_ago
from models.forecast.snapshot import NAMES, WINDOWS, Snapshot, outcome, take
from models.history import Histories

Rows: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]

EXPECTATION: Final = (
    "expected_chance",
    "expected_orders",
    "expected_alive",
    "expected_value",
    "expected_spend",
)
_LEAST_HISTORY_DAYS: Final = 56
_MOST_SNAPSHOTS: Final = 6


class Sheet(NamedTuple):
    """One snapshot, what level 1 expected, and what came (all (n,) but the snapshot)."""

    snapshot: Snapshot
    floor: Floor
    expected: Expected
    labels: dict[Target, Rows]
    next_day: NDArray[np.int64]


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
    _seasons: dict[int, Season | None] = field(default_factory=dict)

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

    def season(self, day: int) -> Season | None:
        """Return the season of the window at `day` as the year before tells it; None if none does.

        Reads nothing of `day` or later.
        """
        if day not in self._seasons:
            self._seasons[day] = a_year_ago(
                self.histories, day, self.horizon_days, self.prior, self.key
            )
        return self._seasons[day]

    def leveled(self, day: int, weight: float) -> Expected:
        """Return what level 1 expects at `day` with a part of the season, where there is one."""
        sheet, season = self.at(day), self.season(day)
        if season is None or not weight:
            return sheet.expected
        part = Season(*(weight * one for one in season))
        return expect(sheet.floor, sheet.snapshot.stats, float(self.horizon_days), part)

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
    """Return the columns that mean the same at every snapshot: windows within the history.

    >>> sorted(set(NAMES) - {NAMES[column] for column in usable(0, 200)})
    ['orders_365d', 'spend_365d']
    """
    span = oldest_snapshot - first_day
    short = {f"{what}_{days}d" for what in ("orders", "spend") for days in WINDOWS if days > span}
    return np.array([i for i, name in enumerate(NAMES) if name not in short], dtype=np.int64)


def design(sheet: Sheet, columns: NDArray[np.int64], *, stacked: bool) -> Matrix:
    """Return the features of a sheet, with the purchase model's expectation when stacked."""
    plain = sheet.snapshot.features[:, columns]
    return np.hstack((plain, expectation_columns(sheet.expected))) if stacked else plain
