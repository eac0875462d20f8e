"""Why a forecast is what it is, in words: per customer, and per model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.forecast.families.base import Matrix
from models.forecast.sheets import EXPECTATION
from models.forecast.snapshot import NAMES
from models.history import Histories, purchase_stats

if TYPE_CHECKING:
    from models.forecast.backtest import Member

Rows: TypeAlias = NDArray[np.float64]

_LONG: Final = 1.5  # times the usual gap: silence that is worth a word
_REGULAR_DAYS: Final = 3  # purchase days before a gap is "usual"
_NEW_DAYS: Final = 30


def describe(histories: Histories, as_of_day: int) -> list[tuple[str, ...]]:
    """Return for each customer up to three reasons in words; none for who has not bought.

    >>> from models.history import from_orders
    >>> days = np.array([0, 10, 20])
    >>> describe(from_orders(1, 0 * days, days, 100 + days), 50)
    [('silent 3.0x longer than usual', '3 purchase days', 'buys about every 10 days')]
    """
    stats = purchase_stats(histories, as_of_day)
    silence = stats.age - stats.recency
    found: list[tuple[str, ...]] = []
    for i, orders in enumerate(stats.orders.tolist()):
        if not orders:
            found.append(())
            continue
        frequency, quiet = int(stats.frequency[i]), float(silence[i])
        words = []
        if frequency:
            gap = max(float(stats.recency[i]) / frequency, 1.0)
            if quiet > _LONG * gap:
                words.append(f"silent {quiet / gap:.1f}x longer than usual")
            elif frequency >= _REGULAR_DAYS - 1:
                words.append("within the usual rhythm")
            words.append(f"{frequency + 1} purchase days")
            words.append(f"buys about every {gap:.0f} days")
        else:
            new = quiet <= _NEW_DAYS
            words.append("a first purchase only" if new else "never came back after the first")
            words.append(f"silent for {quiet:.0f} days")
        found.append(tuple(words[:3]))
    return found


def member_drivers(member: Member, features: Matrix, expectation: Matrix) -> dict[str, float]:
    """Return the features that move a candidate most: mean size of what each adds, largest first.

    features     (n, len(NAMES));  expectation  (n, len(EXPECTATION))
    """
    plain = features[:, member.columns]
    seen = np.hstack((plain, expectation)) if member.stacked else plain
    names = [NAMES[i] for i in member.columns] + list(EXPECTATION) * member.stacked
    size = np.abs(member.family.drivers(member.state, seen)).mean(axis=0)
    order = np.argsort(-size, kind="stable")[:5]
    return {names[i]: round(float(size[i]), 4) for i in order}
