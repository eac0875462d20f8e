"""Similar customers, exact after every change, and what goes with what: one index for both.

Rows live in a base that never changes (so that processes may share it) and in an overlay of the
rows that changed since; both have postings item -> customers. To change a row costs its length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.checks import DomainError, ShapeError, require
from models.recommend import index_base, row_kernels
from models.recommend.index_base import Base
from models.recommend.index_rows import Columns, IndexRows, spare_slots
from models.recommend.interactions import ItemTable
from models.recommend.similarity import DECIMALS, Nearest, Similarity, TwoStage

__all__ = ["DECIMALS", "MOST_ITEMS", "Items", "Near", "NeighborIndex", "Similarity", "TwoStage"]

Floats: TypeAlias = NDArray[np.float64]

#: Items that a row keeps: its heaviest by weight * idf. Bounds what one customer can cost.
MOST_ITEMS: Final = 1_000
#: Holders of an item that `together` asks, evenly spread over all: bounds its cost.
MOST_HOLDERS: Final = 2_000
#: Customers beside the asked one whose list an update may be found to change.
MOST_NUDGES: Final = 50


class Items(NamedTuple):
    """Items with a score, in any sequence unless said otherwise.

    columns  (c,) int32 distinct
    scores   (c,) float64 > 0
    holders  (c,) int32 how many of the asked customers hold it
    """

    columns: Columns
    scores: Floats
    holders: NDArray[np.int32]


class Near(NamedTuple):
    """Nearest customers, best first.

    slots   (c,) int32 in the index, until it changes
    scores  (c,) float64 in (0, 1]
    """

    slots: NDArray[np.int32]
    scores: Floats


class NeighborIndex:
    """Top-k neighbors over idf-weighted rows, identical to a full recompute.

    >>> index = NeighborIndex.build(["a", "b"], ItemTable(["tea"]), csr_array([[1.0], [2.0]]))
    >>> index.update("c", ["tea", "cup"], [1.0, 1.0])
    >>> index.similar(["a"], 2)
    [[('b', 1.0), ('c', 0.707106781)]]
    """

    def __init__(
        self, items: ItemTable, base: Base, idf: Floats, idf_unseen: float, *, watched: int = 10
    ) -> None:
        """Search a base; `build` makes one. `watched` is the length of lists that `take_nudges` is
        about.
        """
        require(np.isfinite(idf) & (idf > 0), "idf is finite and > 0")
        require(0 < idf_unseen < np.inf, "0 < idf_unseen < infinity")
        self.items = items
        self.watched = watched
        self.two_stage: TwoStage | None = None
        self._rows = IndexRows(base, idf, idf_unseen, len(items))
        self._nearest = Nearest(self._rows)
        self._before: dict[str, tuple[Columns, Floats]] = {}
        self._found: dict[str, NDArray[np.int32]] = {}
        self._fit()

    @classmethod
    def build(
        cls,
        customers: Sequence[str],
        items: ItemTable,
        matrix: csr_array,
        idf: Floats | None = None,
        *,
        idf_unseen: float | None = None,
    ) -> NeighborIndex:
        """Index the rows of many customers.

        customers   n distinct ids
        items       at least m ids; the index adds to it when `update` brings new ones
        matrix      (n, m) raw weights >= 0; an empty row is no customer
        idf         (m,) > 0, None = 1 for all; fixed for the life of the index
        idf_unseen  of items beyond m, None = the largest of `idf`
        Raises      ShapeError, DomainError
        """
        known = np.ones(matrix.shape[1]) if idf is None else np.asarray(idf, dtype=np.float64)
        if matrix.shape != (len(customers), len(known)) or len(items) < len(known):
            sizes = f"{len(customers)} customers, {len(items)} items, idf {known.shape}"
            raise ShapeError(f"matrix is {matrix.shape}, {sizes}")
        require(len(set(customers)) == len(customers), "customer ids are distinct")
        require(np.isfinite(matrix.data) & (matrix.data >= 0), "weights are finite and >= 0")
        require(np.isfinite(known) & (known > 0), "idf is finite and > 0")
        most = float(known.max(initial=0.0)) or 1.0
        order = sorted(range(len(customers)), key=customers.__getitem__)
        rows = csr_array(matrix, dtype=np.float64, copy=True)
        rows.sum_duplicates()
        rows.eliminate_zeros()
        rows = _heaviest(rows[order], known)
        ids = [customers[i] for i in order]
        base = index_base.build(ids, rows, known, spare_slots(len(ids)))
        return cls(items, base, known, most if idf_unseen is None else idf_unseen)

    def __len__(self) -> int:
        """Number of customers with a row."""
        return len(self._rows)

    def __contains__(self, customer_id: str) -> bool:
        """Whether the customer has a row."""
        return self._rows.slot(customer_id) >= 0

    def customers(self) -> list[str]:
        """Return the ids of all customers with a row."""
        return [customer_id for customer_id, _ in self._rows.customers()]

    @property
    def nbytes(self) -> tuple[int, int]:
        """Bytes that processes may share, and bytes of this process alone."""
        rows = self._rows
        own = rows.overlay.nbytes + self._nearest.nbytes + 2 * rows.idf.nbytes
        return rows.base.nbytes, own + self._total.nbytes + self._holders.nbytes

    def to_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return vectors and JSON from which `from_state` makes an index of the same answers."""
        rows = self._rows
        base = rows.merged() if rows.differs else rows.base
        coded = [one.encode() for one in self.items.ids]
        arrays = {
            **index_base.arrays_of(base),
            "idf": rows.known_idf,
            "item_block": np.frombuffer(b"".join(coded), dtype=np.uint8),
            "item_ends": np.cumsum([len(one) for one in coded], dtype=np.int64),
        }
        return arrays, {"idf_unseen": rows.idf_unseen}

    @classmethod
    def from_state(
        cls, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any], *, watched: int = 10
    ) -> NeighborIndex:
        """Return an index over arrays that `to_state` made; they are used as they are, not copied.

        What changes later is kept beside them, but for marks in the small arrays of slots: mapped
        files are opened copy-on-write.
        Raises  KeyError, DomainError
        """
        ends, block = arrays["item_ends"].tolist(), arrays["item_block"].tobytes()
        starts = [0, *ends[:-1]] if ends else []
        items = ItemTable(block[a:b].decode() for a, b in zip(starts, ends, strict=True))
        base, idf = index_base.from_arrays(arrays), np.array(arrays["idf"])
        return cls(items, base, idf, float(meta["idf_unseen"]), watched=watched)

    def update(
        self,
        customer_id: str,
        item_ids: Sequence[str],
        weights: Sequence[float],
        *,
        watch: bool = False,
    ) -> None:
        """Replace the whole row of a customer; an empty row removes the customer.

        item_ids  distinct; unknown ones join the item table
        weights   raw, finite, >= 0; 0 = the customer does not have the item
        watch     remember the row as it was, for `take_nudges`
        Raises    ShapeError, DomainError: then nothing has changed
        """
        if len(weights) != len(item_ids):
            raise ShapeError(f"{len(item_ids)} items, {len(weights)} weights")
        if len(set(item_ids)) != len(item_ids):
            raise DomainError("item ids of a row are distinct")
        values = np.array(weights, dtype=np.float64)
        least = min(weights, default=1.0)
        if not (least > 0 and isfinite(sum(weights))):
            require(np.isfinite(values) & (values >= 0), "weights are finite and >= 0")
            held = np.flatnonzero(values)
            values, item_ids = values[held], [item_ids[i] for i in held.tolist()]
        columns = np.array(self.items.add_all(item_ids), dtype=np.int32)
        order = np.argsort(columns)
        self.put(customer_id, columns[order], values[order], watch=watch)

    def put(
        self, customer_id: str, columns: Columns, weights: Floats, *, watch: bool = False
    ) -> None:
        """Replace the whole row of a customer, by columns of `items`; see `update`.

        columns  distinct, rising
        weights  raw, finite, > 0
        """
        self._widen()
        if len(columns) > MOST_ITEMS:
            weight = weights * self._rows.idf[columns]
            kept = np.sort(np.argsort(-weight, kind="stable")[:MOST_ITEMS])
            columns, weights = columns[kept], weights[kept]
        if watch and customer_id not in self._before:
            items, old = self._rows.row(self._rows.slot(customer_id))
            self._before[customer_id] = items.copy(), old.copy()
        self._rows.put(customer_id, columns, weights)

    def remove(self, customer_id: str, *, watch: bool = False) -> None:
        """Forget a customer (erasure)."""
        self.update(customer_id, (), (), watch=watch)

    def add(self, customer_id: str, item_ids: Sequence[str], weights: Sequence[float]) -> None:
        """Add to a customer's weights; negative ones subtract, and what reaches 0 is gone.

        Raises  ShapeError; DomainError where less than nothing would be left
        """
        columns, held = self._rows.row(self._rows.slot(customer_id))
        total = {self.items.ids[c]: w for c, w in zip(columns.tolist(), held.tolist(), strict=True)}
        for item, weight in zip(item_ids, weights, strict=True):
            before = total.get(item, 0.0)
            after = before + weight
            total[item] = 0.0 if abs(after) <= 1e-12 * max(before, abs(weight)) else after
        self.update(customer_id, list(total), list(total.values()))

    def rows(self, customer_ids: Iterable[str]) -> csr_array:
        """Return the raw rows, (number of ids, len(items)); an empty row for who has none."""
        slots = self._rows.slots(customer_ids)
        found = self._rows.gather(slots)
        found.resize((len(slots), len(self.items)))
        return found

    def similar(
        self,
        customer_ids: Sequence[str],
        k: int,
        by: Similarity = Similarity.COSINE,
        *,
        two_stage: TwoStage | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Return up to k nearest customers of each, with their similarity.

        k          >= 0
        two_stage  find candidates by the rarer items only; None = as `self.two_stage` says
        Returns    per customer (id, score) by falling score, equal scores by id; scores in (0, 1],
                   rounded to 9 decimals; never the customer itself; [] for who has no row
        """
        nearest = self.near(customer_ids, k, by, two_stage=two_stage)
        return [self.named(one) for one in nearest]

    def near(
        self,
        customer_ids: Sequence[str],
        k: int,
        by: Similarity = Similarity.COSINE,
        *,
        two_stage: TwoStage | None = None,
    ) -> list[Near]:
        """`similar` without names: good until the next change of the index."""
        require(k >= 0, "k >= 0")
        chosen = two_stage or self.two_stage
        self._nearest.items = len(self.items)
        answers = []
        for customer_id in customer_ids:
            slot = self._rows.slot(customer_id)
            slots, scores = self._nearest.nearest(self._nearest.query(slot), k, by, chosen)
            if slot >= 0 and by is Similarity.COSINE and k >= self.watched:
                full = len(scores) >= self.watched
                self._rows.set_threshold(slot, float(scores[self.watched - 1]) if full else _ANY)
            if customer_id in self._before:
                self._found[customer_id] = slots[: self.watched]
            answers.append(Near(slots, scores))
        return answers

    def named(self, near: Near, count: int | None = None) -> list[tuple[str, float]]:
        """Ids and scores of the first `count`, None = all."""
        slots, scores = near.slots[:count], near.scores[:count]
        return list(zip(self._rows.names(slots), scores.tolist(), strict=True))

    def inherit(self, before: NeighborIndex, *, private: bool) -> None:
        """Take over what another index of these customers knows of their lists, for `take_nudges`.

        private  the other one's base was not shared, so that this one's cannot know it
        """
        self._rows.inherit(before._rows, private=private)

    def take_nudges(self, limit: int = MOST_NUDGES) -> list[str]:
        """Return customers whose `watched` nearest may have changed by updates since the last call.

        A customer is named when an updated one entered or left the list that `similar` last gave
        for him, here or in a process that shares the base; of whose list nothing is known, when
        `similar` put him on the updated one's. At most `limit` for each update, and never one of
        those that were updated.
        """
        found: dict[str, None] = {}
        for customer_id, old in self._before.items():
            slot = self._rows.slot(customer_id)
            slots = self._nearest.crossed(self._nearest.query(slot), old)
            order = np.argsort(-self._rows.thresholds(slots), kind="stable")[:limit]
            near = self._found.get(customer_id, slots[:0])
            unknown = near[np.isinf(self._rows.thresholds(near))]
            named = np.concatenate((unknown, slots[order]))[:limit]
            found.update(dict.fromkeys(self._rows.names(named)))
        names = [name for name in found if name not in self._before]
        self._before.clear()
        self._found.clear()
        return names

    def liked(self, near: Near, *, power: float = 1.0, by_idf: bool = False) -> Items:
        """What similar customers hold: their rows at unit length times score ** power, added up.

        by_idf   weigh the items of a row by their idf too
        """
        return self._spread(near.slots, near.scores**power, self._rows.norm if by_idf else _NO_NORM)

    def unseen(
        self, customer_id: str, similar: Sequence[tuple[str, float]], count: int
    ) -> list[tuple[str, float]]:
        """Return what similar customers hold and the customer does not: `liked` by idf.

        Returns  (item id, score > 0), best first, equal scores by column; at most `count`
        """
        rows, slots = self._rows, self._rows.slots(who for who, _ in similar)
        scores = np.array([score for _, score in similar], dtype=np.float64)
        own, _ = rows.row(rows.slot(customer_id))
        columns, best = np.zeros(count, dtype=np.int32), np.zeros(count)
        found = row_kernels.spread_best(
            slots[slots >= 0], scores[slots >= 0], rows.norm, rows.idf, own, rows.base_rows,
            rows.overlay.rows, self._total, self._holders, self._touched, columns, best,
        )  # fmt: skip
        ids = self.items.ids
        chosen = zip(columns[:found].tolist(), best[:found].tolist(), strict=True)
        return [(ids[column], score) for column, score in chosen]

    def together(self, item_ids: Sequence[str], count: int) -> Items:
        """Return what goes well with some items: the cosine of holders, added up over the items.

        Of an item with many holders `MOST_HOLDERS`, evenly spread, are asked. The asked items
        themselves are left out. Best first, ties by column, at most `count`.
        """
        self._widen()
        rows = self._rows
        total: dict[int, float] = {}
        holders: dict[int, int] = {}
        asked = [column for column in map(self.items.column, item_ids) if column is not None]
        out = np.zeros(MOST_HOLDERS, dtype=np.int64)
        for column in dict.fromkeys(asked):
            lists = rows.base_postings, rows.overlay.postings
            some, many = row_kernels.holders_of(column, rows.inv, *lists, out)
            if not some:
                continue
            found = self._spread(out[:some], np.ones(some), _NO_NORM)
            for other, both in zip(found.columns.tolist(), found.holders.tolist(), strict=True):
                shared = both * many / some
                score = shared / np.sqrt(many * max(self.holders(other), shared))
                total[other] = total.get(other, 0.0) + min(score, 1.0)
                holders[other] = holders.get(other, 0) + round(shared)
        for column in asked:
            total.pop(column, None)
        best = sorted(total, key=lambda one: (-total[one], one))[:count]
        return Items(
            np.array(best, dtype=np.int32),
            np.array([total[one] for one in best], dtype=np.float64),
            np.array([holders[one] for one in best], dtype=np.int32),
        )

    def holders(self, column: int) -> int:
        """How many rows hold an item; exact but for rows that left the base since it was made."""
        self._widen()
        start = self._rows.base.post_start
        base = int(start[column + 1] - start[column]) if column + 1 < len(start) else 0
        return base + int(self._rows.overlay.postings[1][column])

    def _spread(self, slots: NDArray[np.integer], scores: Floats, norm: Floats) -> Items:
        rows = self._rows
        found = row_kernels.spread_out(
            slots, scores, norm, rows.idf, rows.base_rows, rows.overlay.rows,
            self._total, self._holders, self._touched,
        )  # fmt: skip
        return Items(*found)

    def _widen(self) -> None:
        """Make room for items that joined the table since."""
        if self._rows.widen(len(self.items)):
            self._fit()

    def _fit(self) -> None:
        """Size the scratch arrays to the items that there is room for."""
        room = len(self._rows.idf)
        self._total = np.zeros(room)
        self._holders = np.zeros(room, dtype=np.int32)
        self._touched = np.zeros(room, dtype=np.int32)


_NO_NORM: Final = np.zeros(0)
_ANY: Final = 1e-30  # the threshold of a list that is not full: whoever is alike enters


def _heaviest(rows: csr_array, idf: Floats) -> csr_array:
    """Cut rows to their `MOST_ITEMS` heaviest items."""
    lengths = np.diff(rows.indptr)
    if lengths.max(initial=0) <= MOST_ITEMS:
        return rows
    kept = np.ones(len(rows.data), dtype=np.bool_)
    for i in np.flatnonzero(lengths > MOST_ITEMS).tolist():
        span = slice(rows.indptr[i], rows.indptr[i + 1])
        weight = rows.data[span] * idf[rows.indices[span]]
        light = np.argsort(-weight, kind="stable")[MOST_ITEMS:]
        kept[rows.indptr[i] + light] = False
    starts = np.concatenate(([0], np.cumsum(kept)))[rows.indptr]
    return csr_array((rows.data[kept], rows.indices[kept], starts), shape=rows.shape)
