"""An append-only log of sparse rows, readable as one sparse matrix at any time."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = NDArray[np.int32]


class Row(NamedTuple):
    """One customer's row: rising item columns, raw weights, and the weights at unit length."""

    columns: Columns
    weights: Floats
    unit: Floats


EMPTY = Row(np.zeros(0, dtype=np.int32), np.zeros(0), np.zeros(0))


class RowLog:
    """Rows in the sequence of their arrival; appending one costs its length, amortized.

    >>> log = RowLog()
    >>> log.append(Row(np.array([1], dtype=np.int32), np.array([4.0]), np.array([1.0])))
    >>> log.weights(2).toarray()
    array([[0., 4.]])
    """

    __slots__ = ("_columns", "_rows", "_starts", "_unit", "_weights")

    def __init__(self) -> None:
        """Start empty."""
        self._rows = 0
        self._starts = np.zeros(64, dtype=np.int32)
        self._columns = np.zeros(1024, dtype=np.int32)
        self._weights = np.zeros(1024)
        self._unit = np.zeros(1024)

    def __len__(self) -> int:
        return self._rows

    def append(self, row: Row) -> None:
        """Append one row."""
        start = int(self._starts[self._rows])
        end = start + len(row.columns)
        if self._rows + 2 > len(self._starts):
            self._starts = np.resize(self._starts, 2 * len(self._starts))
        if end > len(self._columns):
            room = 2 * end
            self._columns = np.resize(self._columns, room)
            self._weights = np.resize(self._weights, room)
            self._unit = np.resize(self._unit, room)
        self._columns[start:end] = row.columns
        self._weights[start:end] = row.weights
        self._unit[start:end] = row.unit
        self._rows += 1
        self._starts[self._rows] = end

    def row(self, number: int) -> Row:
        """Return one row, as views."""
        span = slice(int(self._starts[number]), int(self._starts[number + 1]))
        return Row(self._columns[span], self._weights[span], self._unit[span])

    def spans(self, numbers: NDArray[np.int64]) -> tuple[Columns, Columns]:
        """Where the entries of some rows start and end."""
        return self._starts[numbers], self._starts[numbers + 1]

    def entries(self) -> tuple[Columns, Floats]:
        """Return columns and raw weights of all rows, one behind another, as views."""
        end = int(self._starts[self._rows])
        return self._columns[:end], self._weights[:end]

    def weights(self, items: int) -> csr_array:
        """Return the raw rows as a (rows, items) matrix."""
        return self._matrix(self._weights, items)

    def units(self, items: int) -> csr_array:
        """Return the unit rows as a (rows, items) matrix."""
        return self._matrix(self._unit, items)

    def _matrix(self, values: Floats, items: int) -> csr_array:
        starts = self._starts[: self._rows + 1]
        end = int(starts[-1])
        return csr_array((values[:end], self._columns[:end], starts), shape=(self._rows, items))
