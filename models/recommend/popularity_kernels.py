"""Compiled sums over purchases: what each customer adds to each item's trends.

>>> row = np.zeros(1, np.int32), np.ones(1), *np.full((2, 1), 100, np.int16)
>>> sums, buyers = np.zeros((1, 2)), np.zeros(1, np.int32)
>>> count_rows(row, (100, 60.0), np.array([7.0, 30.0]), sums, buyers)
>>> sums, buyers
(array([[1., 1.]]), array([1], dtype=int32))
"""

import numpy as np

from models.recommend.kernels import compiled


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
def swap_rows(old, new, decay, half_lives, sums, buyers, changed):
    """Replace one row by another, where they differ; how many columns changed."""
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
            found += 1
        a, b = a + int(one <= two), b + int(two <= one)
    return found
