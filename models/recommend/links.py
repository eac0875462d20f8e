"""Weighted links from items to items or terms."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.artifact import Arrays, matrix
from models.checks import DomainError, ShapeError

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
    """Rows without a link.

    >>> len(no_links(2).starts)
    3
    """
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
