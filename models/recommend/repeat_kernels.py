"""Compiled loops over one customer's own items: gathered from interactions, and what they say.

>>> bool(usual_days(2, 10, 100, 30.0) == (90 + 2 * 30.0) / 3)
True
"""

from typing import Final

import numpy as np

from models.recommend.kernels import compiled

#: A just-bought item comes back after this share of its usual interval.
EARLIEST: Final = 0.2
_RECENT_DAYS: Final = 60.0
_RATE_DAYS: Final = 30.0  # added to the span, so that one purchase is no rate of one a day
UNORDERED, IMPOSSIBLE = -1, -2
_GAP_WEIGHT: Final = 2.0  # gaps of the item that count beside the customer's own


@compiled
def usual_days(times, first, last, gap_days):
    """Days after which an item is bought again: the customer's gaps, drawn to the item's."""
    return (last - first + _GAP_WEIGHT * gap_days) / (max(times - 1, 0) + _GAP_WEIGHT)


@compiled
def repeats(own, shares, gaps, shop_share, shop_gap, today, said, due):
    """Write what the customer's repeats say of each own item, and whether its time has come.

    own          column, times, first and last day, weight, fast, looked of each item
    shares, gaps  of the items of the fit; the shop's are for those that came later
    said         (w, 7) out, 0 where an item was never bought; due (w,) out
    """
    columns, times, first, last, weight, fast, _ = own
    newest = 0
    for q in range(len(columns)):
        newest = max(newest, last[q])
    for q in range(len(columns)):
        known = columns[q] < len(gaps)
        usual = usual_days(times[q], first[q], last[q], gaps[columns[q]] if known else shop_gap)
        due[q] = times[q] == 0 or today - last[q] >= EARLIEST * usual
        if times[q] == 0:
            said[q, :] = 0.0
            continue
        ratio = max(max(today - last[q], 0) / usual, 0.05)
        said[q, 0] = weight[q]
        said[q, 1] = fast[q]
        said[q, 2] = times[q]
        said[q, 3] = 2.0 ** ((last[q] - newest) / _RECENT_DAYS)
        said[q, 4] = shares[columns[q]] if known else shop_share
        said[q, 5] = min(ratio, 1.0 / ratio)
        said[q, 6] = times[q] / (max(today - first[q], 7) + _RATE_DAYS)


@compiled
def gather(column, day, weight, half_life, rate):
    """Gather a customer's interactions by item.

    column, day, weight  (e,) weight >= 1 = bought on that day
    rate     what an item's weight shrinks by with every later day of purchases
    Returns  of each item: column, days of purchases, the first and the last of them, weight decayed
             by days, by days of purchases, of other signals; then days of purchases plus other
             interactions: UNORDERED unless they rise by column, then day; IMPOSSIBLE where a weight
             is not >= 0 and finite
    """
    e = len(column)
    item, times, first, last = np.empty((4, e), dtype=np.int64)
    decayed, fast, looked = np.empty((3, e))
    trips, powers = _trips(day, weight, rate)
    newest = day.max() if e else 0
    found, others = -1, 0
    for q in range(e):
        if not 0.0 <= weight[q] < np.inf:
            return item, times, first, last, decayed, fast, looked, IMPOSSIBLE
    for q in range(e):
        new = q == 0 or column[q] != column[q - 1]
        if q > 0 and (column[q] < column[q - 1] or (not new and day[q] < day[q - 1])):
            return item, times, first, last, decayed, fast, looked, UNORDERED
        if new:
            found += 1
            item[found] = column[q]
            times[found], first[found], last[found] = 0, 0, 0
            decayed[found], fast[found], looked[found] = 0.0, 0.0, 0.0
        value = weight[q] * 2.0 ** ((day[q] - newest) / half_life)
        if weight[q] >= 1:
            if times[found] == 0:
                first[found] = day[q]
            times[found] += 1
            last[found] = day[q]
            decayed[found] += value
            later = len(trips) - 1 - np.searchsorted(trips, day[q])
            fast[found] += powers[later]
        else:
            others += 1
            looked[found] += value
    w = found + 1
    events = len(trips) + others
    return (
        item[:w], times[:w], first[:w], last[:w], decayed[:w], fast[:w], looked[:w], events,
    )  # fmt: skip


@compiled
def _trips(day, weight, rate):
    """The days of purchases, rising, and powers of the rate, one more than they are."""
    trips, count = np.empty(len(day), dtype=np.int64), 0
    for q in range(len(day)):
        if weight[q] >= 1:
            trips[count] = day[q]
            count += 1
    trips = np.sort(trips[:count])
    distinct = 0
    for q in range(count):
        if q == 0 or trips[q] != trips[q - 1]:
            trips[distinct] = trips[q]
            distinct += 1
    powers = np.ones(distinct + 1)
    for q in range(1, len(powers)):
        powers[q] = powers[q - 1] * rate
    return trips[:distinct], powers
