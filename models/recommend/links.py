"""Weighted links from items to items or terms, and the loop that follows them. Compiled."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.artifact import Arrays, matrix
from models.checks import DomainError, ShapeError
from models.recommend.kernels import compiled

Floats: TypeAlias = NDArray[np.float64]


class Links(NamedTuple):
    """Weighted links from rows to columns, one row behind another.

    starts   (rows + 1,) int64
    columns  (e,) int32
    scores   (e,) float64 > 0
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    scores: Floats


def no_links(rows: int) -> Links:
    """Rows without a link."""
    return Links(np.zeros(rows + 1, np.int64), np.zeros(0, np.int32), np.zeros(0))


def links_of(rows: csr_array) -> Links:
    """The stored entries of a matrix as links."""
    rows.sort_indices()
    return Links(rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data)


def links_to_arrays(links: Links, name: str) -> Arrays:
    """Arrays of an artifact; `links_from_arrays` reads them."""
    return {
        f"{name}_starts": links.starts.astype(np.float64),
        f"{name}_columns": links.columns,
        f"{name}_scores": links.scores.astype(np.float32),
    }


def links_from_arrays(arrays: Arrays, name: str, rows: int) -> Links:
    """Links that were written by `links_to_arrays`; raise ShapeError or DomainError."""
    starts = matrix(arrays, f"{name}_starts", (rows + 1,)).astype(np.int64)
    end = int(starts[-1])
    if starts[0] != 0 or (np.diff(starts) < 0).any():
        raise DomainError(f"{name}_starts do not rise from 0")
    columns = arrays.get(f"{name}_columns")
    if columns is None or columns.shape != (end,) or columns.dtype != np.int32:
        raise ShapeError(f"{name}_columns are not ({end},) int32")
    if end and (columns.min() < 0 or columns.max() >= rows):
        raise DomainError(f"0 <= {name}_columns < {rows}")
    return Links(starts, columns, matrix(arrays, f"{name}_scores", (end,)))


@compiled
def _follow(rows, weights, starts, columns, scores, total, touched):
    found = 0
    for q in range(len(rows)):
        row = rows[q]
        if row >= len(starts) - 1 or weights[q] <= 0:
            continue
        for at in range(starts[row], starts[row + 1]):
            column = columns[at]
            if total[column] == 0.0:
                touched[found] = column
                found += 1
            total[column] += weights[q] * scores[at]
    return found


class Follower:
    """Follows links from weighted rows; holds the scratch arrays of one width."""

    def __init__(self, width: int) -> None:
        """Make room for columns below `width`."""
        self._total = np.zeros(width)
        self._touched = np.zeros(width, dtype=np.int64)

    def follow(
        self, links: Links, rows: NDArray[np.int64], weights: Floats
    ) -> tuple[NDArray[np.int64], Floats]:
        """Add up the links of some rows, each times its weight; columns in any sequence.

        >>> two = Links(np.array([0, 1, 2]), np.array([1, 1], np.int32), np.array([0.5, 0.2]))
        >>> Follower(2).follow(two, np.array([0, 1]), np.array([1.0, 2.0]))
        (array([1]), array([0.9]))
        """
        found = _follow(rows, weights, *links, self._total, self._touched)
        columns = self._touched[:found].copy()
        scores = self._total[columns]
        self._total[columns] = 0.0
        return columns, scores
