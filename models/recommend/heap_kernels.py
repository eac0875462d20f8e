"""Compiled choice of the highest of many values, by a heap or digit by digit.

>>> heap = np.array([1.0, 2.0, 5.0])
>>> sift(heap, 3, 4.0), heap.tolist()
(3, [2.0, 4.0, 5.0])
>>> least_of(np.array([3.0, 1.0, 3.0, 9.0]), 2)
(3.0, 1)
"""

from typing import Final

import numpy as np

from models.recommend.kernels import compiled

_DIGITS: Final = 256


@compiled
def sift(heap, size, value):
    """Put a value in place of the least of a full min-heap, or behind those of another."""
    if size < len(heap):
        at = size
        while at > 0 and heap[(at - 1) >> 1] > value:
            heap[at] = heap[(at - 1) >> 1]
            at = (at - 1) >> 1
        heap[at] = value
        return size + 1
    at, child = 0, 1
    while child < size:
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at, child = child, 2 * child + 1
    heap[at] = value
    return size


@compiled
def least_of(values, most):
    """The least of the `most` highest values, and how many of those equal it; 0 if all are."""
    if len(values) <= most:
        return 0.0, 0
    return _by_digits(values[values >= reached(values, most)], most)


@compiled
def reached(values, most):
    """What at least so many values reach: each of so many groups has a highest one that does."""
    groups = 2 * most
    if len(values) < 2 * groups:
        return -np.inf
    highest = values[:groups].copy()
    for first in range(groups, len(values) - groups + 1, groups):
        some = values[first : first + groups]  # so that a step of the processor compares several
        for g in range(groups):
            highest[g] = max(highest[g], some[g])
    return _by_digits(highest.astype(np.float64), most)[0]


@compiled
def _by_digits(values, most):
    """`least_of` without branches that cannot be foreseen, of which a heap has one a comparison.

    Values are counted by eight bits of their order, and only those of the digit that the wanted
    one has are looked at again.
    """
    left = values + 0.0  # no -0.0, which would have an order of its own
    size, wanted = len(left), most
    count = np.empty(_DIGITS, dtype=np.int64)
    while True:
        keys = _ordered(left[:size])
        low, spread, shift = keys.min(), keys.max() - keys.min(), np.uint64(0)
        if spread == 0:
            return left[0], wanted
        while spread >> shift >= _DIGITS:
            shift += np.uint64(1)
        count[:] = 0
        for q in range(size):
            keys[q] = (keys[q] - low) >> shift
            count[keys[q]] += 1
        digit = _DIGITS - 1
        while count[digit] < wanted:
            wanted -= count[digit]
            digit -= 1
        size = 0
        for q in range(len(keys)):
            left[size] = left[q]
            size += keys[q] == digit


@compiled
def _ordered(values):
    """Integers in the sequence of the values."""
    keys = values.view(np.uint64).copy()
    sign = np.uint64(1) << np.uint64(63)
    for q in range(len(keys)):
        keys[q] ^= sign if keys[q] < sign else ~np.uint64(0)
    return keys
