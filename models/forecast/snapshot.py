"""Features of all buyers as of one day, and what they did next: the rows of training and scoring.

A snapshot at T knows the days before T; its window is [T, T + horizon). All features are counts,
days or money, >= 0.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.history import Histories, PurchaseStats, Window, cut, purchase_stats, select, window

Rows: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]

WINDOWS: Final = (7, 14, 30, 60, 90, 180, 365)
HALF_LIVES: Final = (14, 45, 180)
NAMES: Final = (
    "silence",
    "age",
    "purchase_days",
    "recency",
    "mean_gap",
    "gap_variation",
    "silence_in_gaps",
    "last_gap",
    "rate",
    "total",
    "mean_day",
    "last_amount",
    "first_amount",
    "largest_amount",
    "amount_variation",
    "orders_per_day",
    "items_per_day",
    *(f"orders_{days}d" for days in WINDOWS),
    *(f"spend_{days}d" for days in WINDOWS),
    *(f"pace_{days}d" for days in HALF_LIVES),
    *(f"spend_pace_{days}d" for days in HALF_LIVES),
    "refunds",
    "refund_share",
)


class Snapshot(NamedTuple):
    """Everyone with a purchase before day T.

    day        T
    row        (n,) index of the customer in the histories
    stats      their purchase statistics as of the end of day T - 1
    features   (n, len(NAMES)) as NAMES
    """

    day: int
    row: NDArray[np.int64]
    stats: PurchaseStats
    features: Matrix

    @property
    def history(self) -> tuple[Rows, Rows, Rows]:
        """Frequency, recency and age, as the purchase models take them."""
        return self.stats.frequency, self.stats.recency, self.stats.age


def take(histories: Histories, day: int) -> Snapshot:
    """Return the snapshot at `day`: nothing of that day or later counts.

    Raises  ShapeError, DomainError

    >>> from models.history import from_orders
    >>> h = from_orders(2, np.array([0, 0, 1]), np.array([3, 9, 9]), np.array([50, 70, 10]))
    >>> take(h, 9).row, take(h, 9).stats.age
    (array([0]), array([5.]))
    """
    known = cut(histories, day)
    row = np.flatnonzero(np.diff(known.starts) > 0)
    if len(row) < len(known.starts) - 1:
        known = select(known, row)
    stats = purchase_stats(known, day - 1)
    return Snapshot(day, row, stats, features(known, stats, day))


def outcome(histories: Histories, snapshot: Snapshot, horizon_days: int) -> Window:
    """Return what the customers of a snapshot did in [T, T + horizon)."""
    found = window(histories, snapshot.day, horizon_days)
    return Window._make(column[snapshot.row] for column in found)


def sample(key: NDArray[np.uint64], most: int) -> NDArray[np.int64]:
    """Return at most `most` rows, those of the lowest keys, in the order of the keys.

    >>> sample(np.array([30, 10, 20], dtype=np.uint64), 2)
    array([1, 2])
    """
    return np.argsort(key, kind="stable")[:most]


def features(known: Histories, stats: PurchaseStats, day: int) -> Matrix:
    """Return the features of customers with at least one purchase each, all before `day`.

    Returns  (n, len(NAMES)) float64, finite, >= 0
    """
    starts, first_row, last_row = known.starts, known.starts[:-1], known.starts[1:] - 1
    n = len(first_row)
    when = known.day.astype(np.float64)
    money = known.amount_minor.astype(np.float64)
    days = np.diff(starts).astype(np.float64)
    ago = day - when
    silence, age = ago[last_row], ago[first_row]
    total = _sum(money, starts)
    columns = [
        silence,
        age,
        days,
        stats.recency,
        *_rhythm(when, starts, age, silence),
        days / np.maximum(age, 1.0),
        total,
        total / days,
        money[last_row],
        money[first_row],
        np.maximum.reduceat(money, first_row) if n else np.zeros(0),
        _variation(money, total / days, days, starts),
        stats.orders / days,
        _sum(known.items.astype(np.float64), starts) / days,
    ]
    recent = [ago <= length for length in WINDOWS]
    columns += [_sum(inside.astype(np.float64), starts) for inside in recent]
    columns += [_sum(money * inside, starts) for inside in recent]
    kernels = [0.5 ** (ago / half_life) for half_life in HALF_LIVES]
    columns += [_sum(kernel, starts) for kernel in kernels]
    columns += [_sum(kernel * money, starts) for kernel in kernels]
    if known.refunds is None:
        columns += [np.zeros(n), np.zeros(n)]
    else:
        back = known.refunds
        given = _sum(back.amount_minor.astype(np.float64), back.starts)
        columns += [np.diff(back.starts).astype(np.float64), given / np.maximum(total, 1.0)]
    return np.column_stack(columns) if n else np.zeros((0, len(NAMES)))


def _rhythm(when: Rows, starts: NDArray[np.int64], age: Rows, silence: Rows) -> list[Rows]:
    """Return mean gap, its variation, silence in mean gaps, last gap."""
    gap = np.diff(when, prepend=0.0)
    gap[starts[:-1]] = 0.0
    gaps = np.diff(starts) - 1.0
    own = np.maximum(gaps, 1.0)
    mean = _sum(gap, starts) / own
    spread = np.sqrt(np.maximum(_sum(gap * gap, starts) / own - mean * mean, 0.0))
    usual = np.where(gaps > 0, mean, age)
    variation = np.where(gaps > 1, spread / np.maximum(mean, 0.5), 1.0)
    return [usual, variation, silence / np.maximum(usual, 0.5), gap[starts[1:] - 1]]


def _variation(money: Rows, mean: Rows, days: Rows, starts: NDArray[np.int64]) -> Rows:
    variance = _sum(money * money, starts) / days - mean * mean
    return np.sqrt(np.maximum(variance, 0.0)) / np.maximum(mean, 1e-9) * (mean > 0)


def _sum(values: Rows, starts: NDArray[np.int64]) -> Rows:
    """Return the sum of every slice; no slice is empty unless all is."""
    if not len(values):
        return np.zeros(len(starts) - 1)
    if np.diff(starts).min(initial=1) > 0:
        sums: Rows = np.add.reduceat(values, starts[:-1])
        return sums
    running = np.concatenate(([0.0], np.cumsum(values)))
    found: Rows = np.maximum(running[starts[1:]] - running[starts[:-1]], 0.0)
    return found
