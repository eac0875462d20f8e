"""Compiled heaps: the highest of many values, the least of them on top.

>>> heap = np.array([1.0, 2.0, 5.0])
>>> sift(heap, 3, 4.0), heap.tolist()
(3, [2.0, 4.0, 5.0])
>>> least_of(np.array([3.0, 1.0, 3.0, 9.0]), 2)
(3.0, 1)
"""

import numpy as np

from models.recommend.kernels import compiled


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
    heap, size = np.empty(most), 0
    for q in range(len(values)):
        if size < most or values[q] > heap[0]:
            size = sift(heap, size, values[q])
    ties = 0
    for q in range(size):
        ties += heap[q] == heap[0]
    return heap[0], ties
