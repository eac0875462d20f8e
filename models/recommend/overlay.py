"""Rows that changed since the base was made, with postings of their own: small and private."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend import row_kernels
from models.recommend.customer_rows import Row

Columns: TypeAlias = NDArray[np.int32]


class Overlay:
    """Rows by number and postings by item; to change a row costs where it changes.

    >>> from models.recommend.customer_rows import Bought
    >>> overlay = Overlay(slots=2, items=3, first_slot=10)
    >>> row = Row(np.array([0, 2], dtype=np.int32), np.array([1.0, 4.0]), *Bought.always(2))
    >>> overlay.put(1, row, np.array([0.5, 1.0], dtype=np.float32), row.columns, row.weights > 0)
    >>> overlay.row(1)[1].tolist(), overlay.postings[1].tolist()
    ([1.0, 4.0], [1, 0, 1])
    """

    def __init__(self, slots: int, items: int, first_slot: int) -> None:
        """Start empty. `first_slot` is the slot of row 0 in the postings."""
        self._first_slot = first_slot
        self._start = np.zeros(slots, dtype=np.int64)
        self._length = np.zeros(slots, dtype=np.int32)
        self._room = np.zeros(slots, dtype=np.int32)
        self._item = np.zeros(256, dtype=np.int32)
        self._weight = np.zeros(256)
        self._first = np.zeros(256, dtype=np.int16)
        self._last = np.zeros(256, dtype=np.int16)
        self._row_end = 0
        self._post_start = np.zeros(items, dtype=np.int64)
        self._post_length = np.zeros(items, dtype=np.int32)
        self._post_room = np.zeros(items, dtype=np.int32)
        self._post_slot = np.zeros(256, dtype=np.int32)
        self._post_value = np.zeros(256, dtype=np.float32)
        self._post_end = 0

    @property
    def rows(self) -> tuple[Any, ...]:
        """The rows as kernels take them: start, length, item, weight, first and last day."""
        return self._start, self._length, self._item, self._weight, self._first, self._last

    @property
    def postings(self) -> tuple[Any, ...]:
        """The postings as kernels take them: start, length, slot, value."""
        return self._post_start, self._post_length, self._post_slot, self._post_value

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(one.nbytes for one in vars(self).values() if isinstance(one, np.ndarray))

    def widen(self, items: int) -> None:
        """Make room for the postings of more items."""
        more = items - len(self._post_start)
        if more > 0:
            self._post_start = np.append(self._post_start, np.zeros(more, dtype=np.int64))
            self._post_length = np.append(self._post_length, np.zeros(more, dtype=np.int32))
            self._post_room = np.append(self._post_room, np.zeros(more, dtype=np.int32))

    def row(self, number: int) -> Row:
        """Return a row, as views that the next `put` may change."""
        first = int(self._start[number])
        span = slice(first, first + int(self._length[number]))
        return Row(self._item[span], self._weight[span], self._first[span], self._last[span])

    def put(
        self,
        number: int,
        row: Row,
        values: NDArray[np.float32],
        changed: Columns,
        kept: NDArray[np.bool_],
    ) -> None:
        """Replace a row, and its postings where they change.

        row              the new one
        changed, values  whose posting changes, and to which value
        kept             which of `changed` still are in the row
        """
        self._write_row(number, row)
        slot = self._first_slot + number
        part = slot, changed, values, kept
        end = row_kernels.put_postings(*part, self.postings, self._post_room, self._post_end)
        if end < 0:
            self._post_slot = np.resize(self._post_slot, -2 * end)
            self._post_value = np.resize(self._post_value, -2 * end)
            end = row_kernels.put_postings(*part, self.postings, self._post_room, self._post_end)
        self._post_end = end

    def _write_row(self, number: int, row: Row) -> None:
        count = len(row.columns)
        if count > self._room[number]:
            room = count + count // 2 + 4
            self._start[number], self._room[number] = self._row_end, room
            self._row_end += room
            if self._row_end > len(self._item):
                room = 2 * self._row_end
                self._item, self._weight = (
                    np.resize(self._item, room),
                    np.resize(self._weight, room),
                )
                self._first, self._last = np.resize(self._first, room), np.resize(self._last, room)
        first = int(self._start[number])
        span = slice(first, first + count)
        self._item[span], self._weight[span], self._first[span], self._last[span] = row
        self._length[number] = count
