"""Compiled sums over purchases: what each customer adds to each item's trends.

>>> row = np.zeros(1, np.int32), np.ones(1), *np.full((2, 1), 100, np.int16)
>>> sums, buyers = np.zeros((1, 2)), np.zeros(1, np.int32)
>>> count_rows(row, (100, 60.0), np.array([7.0, 30.0]), sums, buyers)
>>> sums, buyers
(array([[1., 1.]]), array([1], dtype=int32))
"""

from typing import Final

import numpy as np

from models.recommend.kernels import compiled

FORTNIGHT: Final = 1


@compiled
def add_entry(sign, at, row, decay, half_lives, sums, buyers):
    """Add (or with sign -1 take away) one entry of a row; no trend falls below 0 by rounding."""
    columns, weights, first, last = row
    if last[at] == 0:
        return
    t0, half_life = decay
    column = columns[at]
    bought = weights[at] * 2.0 ** min(max((t0 - last[at]) / half_life, -400.0), 400.0)
    buyers[column] += sign
    for j in range(len(half_lives)):
        newest = j == len(half_lives) - 1
        day, value = (first[at], 1.0) if newest else (last[at], bought)
        value *= 2.0 ** min(max((day - t0) / half_lives[j], -400.0), 400.0)
        before = sums[column, j]
        after = before + sign * value
        sums[column, j] = after if after > 1e-12 * before and buyers[column] > 0 else 0.0


@compiled
def count_rows(row, decay, half_lives, sums, buyers):
    """Add the entries of many rows."""
    for at in range(len(row[0])):
        add_entry(1, at, row, decay, half_lives, sums, buyers)


@compiled
def swap_rows(old, new, decay, half_lives, sums, buyers, since, trends):
    """Replace one row by another where they differ, and tell the trends of what changed.

    since    (trends,) what each trend of a day has left of its sum
    Returns  the columns that changed
    """
    changed = np.empty(len(old[0]) + len(new[0]), dtype=np.int64)
    a, b, found = 0, 0, 0
    while a < len(old[0]) or b < len(new[0]):
        one = old[0][a] if a < len(old[0]) else np.int32(2**31 - 1)
        two = new[0][b] if b < len(new[0]) else np.int32(2**31 - 1)
        same = one == two and old[1][a] == new[1][b]
        if not (same and old[2][a] == new[2][b] and old[3][a] == new[3][b]):
            if one <= two:
                add_entry(-1, a, old, decay, half_lives, sums, buyers)
            if two <= one:
                add_entry(1, b, new, decay, half_lives, sums, buyers)
            changed[found] = min(one, two)
            tell(changed[found], sums, since, trends)
            found += 1
        a, b = a + int(one <= two), b + int(two <= one)
    return changed[:found]


@compiled
def tell(column, sums, since, trends):
    """The trends of an item on a day; the one of a fortnight as log(1 + it)."""
    for j in range(len(since)):
        value = sums[column, j] * since[j]
        trends[column, j] = np.log1p(value) if j == FORTNIGHT else value


@compiled
def tell_all(sums, since, trends):
    """The trends of all items."""
    for column in range(len(sums)):
        tell(column, sums, since, trends)


@compiled
def relisted(listed, least, changed, trends, allowed):
    """The popular columns after some trends changed: who rose joins, who sold out leaves.

    listed  distinct columns; the same array where nothing changed
    least   of each trend, what its best are above
    """
    gone = False
    for column in changed:
        if column >= len(allowed):
            continue
        sold, rose = False, False
        for j in range(len(least)):
            sold = sold or trends[column, j] > 0.0
            rose = rose or trends[column, j] > least[j]
        gone = gone or not sold
        if rose and allowed[column] and not (listed == column).any():
            listed = np.append(listed, column)
    if not gone:
        return listed
    kept = np.array([trends[column].any() for column in listed])
    return listed[kept]
