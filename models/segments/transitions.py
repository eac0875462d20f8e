"""Who moved where between two days, and what the segments hold."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import same_shape

Ids: TypeAlias = NDArray[np.int64]
Counts: TypeAlias = NDArray[np.int64]


class Transitions(NamedTuple):
    """Customers by their segment before (rows) and after (columns).

    ids      (k,) int64 rising: every segment of either day; NOBODY = in none
    counts   (k, k) int64
    """

    ids: Ids
    counts: Counts

    @property
    def shares(self) -> NDArray[np.float64]:
        """(k, k) of a row's customers that went to each column; rows without customers are 0."""
        total = self.counts.sum(axis=1, keepdims=True)
        shares: NDArray[np.float64] = np.divide(
            self.counts, total, out=np.zeros(self.counts.shape), where=total > 0
        )
        return shares

    @property
    def moved(self) -> int:
        """Customers who changed their segment."""
        return int(self.counts.sum() - np.trace(self.counts))


def transitions(before: Ids, after: Ids) -> Transitions:
    """Count the moves of n customers.

    before, after  (n,) int64 segment ids, row by row of the same customers
    Raises         ShapeError

    >>> moves = transitions(np.array([1, 1, 2, -1]), np.array([1, 2, 2, 1]))
    >>> moves.ids, moves.counts.tolist(), moves.moved
    (array([-1,  1,  2]), [[0, 1, 0], [0, 1, 1], [0, 0, 1]], 2)
    """
    same_shape(before=before, after=after)
    ids = np.unique(np.concatenate((before, after))).astype(np.int64)
    k = len(ids)
    cell = np.searchsorted(ids, before) * k + np.searchsorted(ids, after)
    return Transitions(ids, np.bincount(cell, minlength=k * k).reshape(k, k).astype(np.int64))
