"""The rows of a neighbor index: a base that never changes, and an overlay of what changed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ldexp
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.recommend import index_base, row_kernels
from models.recommend.customer_rows import Bought, Row, Rows
from models.recommend.index_base import Base
from models.recommend.overlay import Overlay

Floats: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = NDArray[np.int32]

#: Slots for changed rows: these many, and this share of the base.
LEAST_SPARE: Final = 1_000
SPARE_SHARE: Final = 0.2
_FAR: Final = 30  # powers of two that a changed row's values may leave their first range by
_CACHED: Final = 100_000
NO_ROW: Final = Row(np.zeros(0, dtype=np.int32), np.zeros(0), *Bought.always(0))


def spare_slots(customers: int) -> int:
    """How many slots a base of so many customers keeps for changed rows."""
    return max(LEAST_SPARE, int(SPARE_SHARE * customers))


class IndexRows:
    """Customers' rows by slot: base slots by customer id, then those of the overlay.

    base        the rows as they were when it was made
    idf         (items,) > 0; every item beyond has `idf_unseen`
    idf_unseen  > 0
    """

    def __init__(self, base: Base, idf: Floats, idf_unseen: float, items: int) -> None:
        self.idf_unseen = idf_unseen
        self._known = idf
        self.idf = idf.copy()
        self._take(base)
        self.widen(items)

    def _take(self, base: Base) -> None:
        """Begin anew over a base, without anything that changed."""
        self.base = base
        # As kernels take the base's rows and postings.
        self.base_rows = (
            base.row_start,
            base.row_item,
            base.row_weight,
            base.row_first,
            base.row_last,
        )
        self.base_postings = base.post_start, base.post_slot, base.post_value
        self.norm, self.inv, self.total = base.norm, base.inv, base.total
        self.exponent = base.exponent
        count = len(base.ids)
        self._number: dict[str, int] = {}
        self._names: list[str] = []
        self._place = np.zeros(len(base.inv) - count)
        self._threshold = np.full(len(self._place), np.inf, dtype=np.float32)
        self._free = list(range(len(base.inv) - count))[::-1]
        self._seen: dict[str, int] = {}
        self._known_names: dict[int, str] = {}
        self._living = self._based = int(np.count_nonzero(base.inv))
        self.overlay = Overlay(len(base.inv) - count, len(self.idf), count)

    def __len__(self) -> int:
        """How many customers have a row."""
        return self._living

    @property
    def differs(self) -> bool:
        """Whether anything changed since the base was made."""
        return bool(self._names) or self._living != self._based

    @property
    def known_idf(self) -> Floats:
        """The idf of the items that had one when the index was made."""
        return self._known

    def widen(self, items: int) -> bool:
        """Make room for so many items; whether there was none."""
        if items <= len(self.idf) == len(self.overlay.postings[0]):
            return False
        room = max(items + items // 8 + 64, len(self.idf))
        more = room - len(self.idf)
        self.idf = np.append(self.idf, np.full(more, self.idf_unseen))
        self.overlay.widen(room)
        return True

    def slot(self, customer_id: str) -> int:
        """The slot of a customer, -1 for who has no row."""
        number = self._number.get(customer_id)
        if number is not None:
            return len(self.base.ids) + number
        slot = self._in_base(customer_id)
        return slot if slot >= 0 and self.inv[slot] > 0 else -1

    def slots(self, customer_ids: Iterable[str]) -> NDArray[np.int64]:
        """The slots of customers, -1 for who has no row."""
        count, number, seen = len(self.base.ids), self._number, self._seen
        found = []
        for one in customer_ids:
            slot = number.get(one, -1)
            if slot >= 0:
                slot += count
            else:
                slot = seen.get(one, -2)
                if slot == -2:
                    slot = self._in_base(one)
            found.append(slot)
        slots = np.array(found, dtype=np.int64)
        slots[self.inv[slots] == 0] = -1
        return slots

    def _in_base(self, customer_id: str) -> int:
        """Where the base has a customer, -1 if nowhere. Whoever was found will be asked again."""
        slot = self._seen.get(customer_id)
        if slot is None:
            if len(self._seen) >= _CACHED:
                self._seen.clear()
            slot = self._seen[customer_id] = self.base.ids.find(customer_id)
        return slot

    def names(self, slots: NDArray[np.integer]) -> list[str]:
        """The customers of slots."""
        count, found = len(self.base.ids), []
        text, ends, known = self.base.ids.text, self.base.ids.bounds, self._known_names
        if len(known) + len(slots) > _CACHED:
            known.clear()
        for slot in slots.tolist():
            if slot >= count:
                found.append(self._names[slot - count])
                continue
            one = known.get(slot)
            if one is None:
                one = known[slot] = str(text[ends[slot - 1] if slot else 0 : ends[slot]], "utf-8")
                self._seen[one] = slot
            found.append(one)
        return found

    @property
    def late_places(self) -> Floats:
        """Where the customers of the overlay's slots are among the base's ids."""
        return self._place

    def places(self, slots: NDArray[np.integer]) -> Floats:
        """Where the customers of slots are among the base's ids, sorted; between two if new."""
        base = len(self.base.ids)
        found = slots.astype(np.float64)
        late = slots >= base
        if late.any():
            found[late] = self._place[slots[late] - base]
        return found

    @property
    def threshold(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The least scores of lists, of base slots and of the others.

        Other processes write those of the base too; of who moved from it they are read from there.
        """
        places = self._place[: len(self._names)]
        moved = np.flatnonzero(places == np.floor(places))
        if len(self.base.ids):
            self._threshold[moved] = self.base.threshold[places[moved].astype(np.int64)]
        return self.base.threshold, self._threshold

    def thresholds(self, slots: NDArray[np.integer]) -> NDArray[np.float32]:
        """The least scores of the lists of some slots, infinite where not known."""
        base, late = self.threshold
        known = np.full(len(slots), np.inf, dtype=np.float32)
        early = slots < len(base)
        known[early] = base[slots[early]]
        known[~early] = late[slots[~early] - len(base)]
        return known

    def set_threshold(self, slot: int, score: float) -> None:
        """Note the least score of a slot's list."""
        number = slot - len(self.base.ids)
        if number >= 0:
            self._threshold[number] = score
            place = float(self._place[number])
            slot = int(place) if place.is_integer() else -1
        if slot >= 0:
            self.base.threshold[slot] = score

    def inherit(self, before: IndexRows, *, private: bool) -> None:
        """Take over what another index knows of customers' lists and this one does not.

        private  nobody shared that one's base; else only those who are not in it are looked at
        """
        count = 0 if private else len(before.base.ids)
        names = [(one, slot) for one, slot in before.customers() if slot >= count]
        slots = np.array([slot for _, slot in names], dtype=np.int64)
        here = self.slots(one for one, _ in names)
        known = before.thresholds(slots)
        wanted = np.isfinite(known) & (here >= 0)
        wanted[wanted] = ~np.isfinite(self.thresholds(here[wanted]))
        for slot, score in zip(here[wanted].tolist(), known[wanted].tolist(), strict=True):
            self.set_threshold(slot, score)

    def customers(self) -> Iterator[tuple[str, int]]:
        """All customers with a row, and their slots."""
        count = len(self.base.ids)
        for slot in np.flatnonzero(self.inv[:count] > 0).tolist():
            yield self.base.ids[slot], slot
        for customer_id, number in self._number.items():
            yield customer_id, count + number

    def row(self, slot: int) -> Row:
        """The row of a slot; empty for slot -1. Views: copy to keep."""
        count, base = len(self.base.ids), self.base
        if slot >= count:
            return self.overlay.row(slot - count)
        if slot < 0:
            return NO_ROW
        span = slice(int(base.row_start[slot]), int(base.row_start[slot + 1]))
        return Row(
            base.row_item[span], base.row_weight[span], base.row_first[span], base.row_last[span]
        )

    def put(self, customer_id: str, row: Row) -> None:
        """Replace the row of a customer.

        row  of columns for which there is room (`widen`); an empty one removes the customer
        """
        number = self._number.get(customer_id)
        if not len(row.columns):
            self._drop(customer_id, number)
            return
        if number is None:
            number = self._new_number(customer_id)
            old = NO_ROW
        else:
            old = self.overlay.row(number)
        slot = len(self.base.ids) + number
        held = int(self.exponent[slot])
        exponent, norm, total, changed, posted, stays = row_kernels.weigh(
            *row[:2], self.idf, *old[:2], held, _FAR
        )
        if exponent != held and len(old.columns):
            self._clear(number)
        self.exponent[slot], self.total[slot] = exponent, total
        self.norm[slot], self.inv[slot] = ldexp(norm, exponent), 1 / norm
        self.overlay.put(number, row, posted, changed, stays)

    def _new_number(self, customer_id: str) -> int:
        """Move a customer into the overlay, out of the base if it is there."""
        if not self._free:
            self.compact()
        slot, number = self.slot(customer_id), self._free.pop()
        if number == len(self._names):
            self._names.append(customer_id)
        else:
            self._names[number] = customer_id
        self._number[customer_id] = number
        self._threshold[number] = np.inf
        place = self._in_base(customer_id)
        self._place[number] = place if place >= 0 else self.base.ids.place(customer_id) - 0.5
        if slot >= 0:
            self.inv[slot] = 0
        else:
            self._living += 1
        return number

    def _clear(self, number: int) -> None:
        """Take a row of the overlay out of its postings."""
        gone = self.overlay.row(number).columns.copy()
        nothing = np.zeros(len(gone), dtype=np.float32)
        kept = np.zeros(len(gone), dtype=np.bool_)
        self.overlay.put(number, NO_ROW, nothing, gone, kept)

    def _drop(self, customer_id: str, number: int | None) -> None:
        slot = self.slot(customer_id)
        if slot < 0:
            return
        self.inv[slot] = 0
        self._living -= 1
        if number is not None:
            self._clear(number)
            del self._number[customer_id]
            self._free.append(number)

    def compact(self) -> None:
        """Make one base of all that lives."""
        self._take(self.merged())

    def merged(self) -> Base:
        """A new base of all that lives, as a full recompute makes it."""
        living = sorted(self.customers())
        slots = np.array([slot for _, slot in living], dtype=np.int64)
        rows = self.gather(slots)
        names = [name for name, _ in living]
        base = index_base.build(names, rows, self.idf, spare_slots(len(names)))
        base.threshold[:] = self.thresholds(slots)
        return base

    def gather(self, slots: NDArray[np.int64]) -> Rows:
        """The rows of slots, (number of slots, items with room); -1 is an empty row."""
        starts = np.zeros(len(slots) + 1, dtype=np.int64)
        base, overlay = self.base_rows, self.overlay.rows
        row_kernels.row_ends(slots, base, overlay, starts)
        columns, weights = np.zeros(starts[-1], dtype=np.int32), np.zeros(starts[-1])
        first, last = np.zeros((2, starts[-1]), dtype=np.int16)
        row_kernels.copy_rows(slots, base, overlay, starts, (columns, weights, first, last))
        ends = starts.astype(np.int32) if starts[-1] < np.iinfo(np.int32).max else starts
        shape = len(slots), len(self.idf)
        return Rows(csr_array((weights, columns, ends), shape=shape), Bought(first, last))


def difference(
    old: tuple[Columns, Floats], new: tuple[Columns, Floats]
) -> tuple[Columns, Floats, Floats]:
    """Where two rows differ: items, the value in the old one, in the new one (0 = not there).

    >>> row = np.array([3, 5], dtype=np.int32), np.array([1.0, 4.0])
    >>> items, before, after = difference(row, (row[0][1:], row[1][1:]))
    >>> items.tolist(), before.tolist(), after.tolist()
    ([3], [1.0], [0.0])
    """
    most = len(old[0]) + len(new[0])
    items, before, after = np.zeros(most, dtype=np.int32), np.zeros(most), np.zeros(most)
    found = row_kernels.difference(*old, *new, items, before, after)
    return items[:found], before[:found], after[:found]
