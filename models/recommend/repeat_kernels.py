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
def gather(column, day, weight, half_life, rate, out_column, times, first, last, sums):
    """Gather a customer's interactions by item.

    column, day, weight  (e,) rising by column, then day; weight >= 1 = bought on that day
    rate                 what an item's weight shrinks by with every later day of purchases
    sums                 (3, e) out: decayed, by days of purchases, of other signals
    Returns              the number of items; days of purchases plus other interactions
    """
    newest, count = day[0], 0
    trips = np.empty(len(day), dtype=np.int64)
    for q in range(len(day)):
        newest = max(newest, day[q])
        if weight[q] >= 1:
            trips[count] = day[q]
            count += 1
    trips = np.sort(trips[:count])
    distinct = 0
    for q in range(count):
        if q == 0 or trips[q] != trips[q - 1]:
            trips[distinct] = trips[q]
            distinct += 1
    trips = trips[:distinct]
    powers = np.ones(distinct + 1)
    for q in range(1, len(powers)):
        powers[q] = powers[q - 1] * rate
    found = -1
    for q in range(len(column)):
        if q == 0 or column[q] != column[q - 1]:
            found += 1
            out_column[found] = column[q]
        decayed = weight[q] * 2.0 ** ((day[q] - newest) / half_life)
        if weight[q] >= 1:
            if times[found] == 0:
                first[found] = day[q]
            times[found] += 1
            last[found] = day[q]
            sums[0, found] += decayed
            later = distinct - 1 - np.searchsorted(trips, day[q])
            sums[1, found] += powers[max(later, 0)]
        else:
            sums[2, found] += decayed
    return found + 1, distinct + len(day) - count
