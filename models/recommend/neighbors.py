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
from models.recommend.bought_together import BoughtTogether, Items
from models.recommend.cooccurrence import K_COMPANIONS, Companions
from models.recommend.customer_rows import Bought, Decay, Row, Rows, heaviest, taken
from models.recommend.index_base import Base
from models.recommend.index_rows import Columns, IndexRows, spare_slots
from models.recommend.interactions import ItemTable
from models.recommend.links import no_links
from models.recommend.popularity import Popularity
from models.recommend.similarity import DECIMALS, Nearest, Query, Similarity, TwoStage

__all__ = ["DECIMALS", "MOST_ITEMS", "Items", "Near", "NeighborIndex", "Similarity", "TwoStage"]

Floats: TypeAlias = NDArray[np.float64]

#: Items that a row keeps: its heaviest by weight * idf. Bounds what one customer can cost.
MOST_ITEMS: Final = 1_000
#: Customers beside the asked one whose list an update may be found to change.
MOST_NUDGES: Final = 50


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
        self,
        items: ItemTable,
        base: Base,
        idf: Floats,
        idf_unseen: float,
        *,
        decay: Decay = Decay(),  # noqa: B008  immutable
        watched: int = 10,
    ) -> None:
        """Search a base; `build` makes one.

        decay    how its rows were weighed; popularity depends on it
        watched  the length of lists that `take_nudges` is about
        """
        require(np.isfinite(idf) & (idf > 0), "idf is finite and > 0")
        require(0 < idf_unseen < np.inf, "0 < idf_unseen < infinity")
        self.items = items
        self.watched = watched
        self.two_stage: TwoStage | None = None
        self.similarity = Similarity.COSINE
        self._rows = IndexRows(base, idf, idf_unseen, len(items))
        self._nearest = Nearest(self._rows)
        self._decay = decay
        self.popularity = Popularity(len(self._rows.idf), decay)
        self.popularity.count(Row(base.row_item, base.row_weight, base.row_first, base.row_last))
        self.companions = Companions(no_links(0), np.zeros(0, dtype=np.int32))
        self._before: dict[str, tuple[Columns, Floats]] = {}
        self._found: dict[str, NDArray[np.int32]] = {}
        self._together = BoughtTogether(self._rows, self.popularity)

    @classmethod
    def build(
        cls,
        customers: Sequence[str],
        items: ItemTable,
        matrix: csr_array,
        idf: Floats | None = None,
        *,
        bought: Bought | None = None,
        decay: Decay = Decay(),  # noqa: B008  immutable
        idf_unseen: float | None = None,
    ) -> NeighborIndex:
        """Index the rows of many customers.

        customers   n distinct ids
        items       at least m ids; the index adds to it when `update` brings new ones
        matrix      (n, m) raw weights >= 0; an empty row is no customer
        idf         (m,) > 0, None = 1 for all; fixed for the life of the index
        bought      of the stored entries, which then are distinct, rising and > 0; None = always
        decay       how the weights were decayed
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
        rows = csr_array(matrix, dtype=np.float64, copy=True)
        if bought is None:
            rows.sum_duplicates()
            rows.eliminate_zeros()
            bought = Bought.always(rows.nnz)
        order = sorted(range(len(customers)), key=customers.__getitem__)
        ids = [customers[i] for i in order]
        some = heaviest(
            taken(Rows(rows, bought), np.array(order, dtype=np.int64)), known, MOST_ITEMS
        )
        base = index_base.build(ids, some, known, spare_slots(len(ids)))
        unseen = most if idf_unseen is None else idf_unseen
        return cls(items, base, known, unseen, decay=decay)

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
        own += self.popularity.nbytes + self.companions.nbytes
        return rows.base.nbytes, own + self._together.nbytes

    @property
    def lists_nbytes(self) -> int:
        """Bytes of what is known of customers' lists, for `take_nudges`; part of the others."""
        return sum(one.nbytes for one in self._rows.threshold)

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
        return arrays, {"idf_unseen": rows.idf_unseen, "decay": list(self._decay)}

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
        t0_day, half_life_days = meta["decay"]
        decay = Decay(int(t0_day), float(half_life_days))
        return cls(items, base, idf, float(meta["idf_unseen"]), decay=decay, watched=watched)

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
        row = Row(columns[order], values[order], *Bought.always(len(order)))
        self.put(customer_id, row, watch=watch)

    def put(self, customer_id: str, row: Row, *, watch: bool = False) -> None:
        """Replace the whole row of a customer, by columns of `items`; see `update`."""
        self._widen()
        if len(row.columns) > MOST_ITEMS:
            weight = row.weights * self._rows.idf[row.columns]
            kept = np.sort(np.argsort(-weight, kind="stable")[:MOST_ITEMS])
            row = Row._make(part[kept] for part in row)
        old = self._rows.row(self._rows.slot(customer_id))
        self.popularity.swap(old, row)
        if watch and customer_id not in self._before:
            self._before[customer_id] = old.columns.copy(), old.weights.copy()
        self._rows.put(customer_id, row)

    def remove(self, customer_id: str, *, watch: bool = False) -> None:
        """Forget a customer (erasure)."""
        self.update(customer_id, (), (), watch=watch)

    def add(self, customer_id: str, item_ids: Sequence[str], weights: Sequence[float]) -> None:
        """Add to a customer's weights; negative ones subtract, and what reaches 0 is gone.

        Raises  ShapeError; DomainError where less than nothing would be left
        """
        columns, held = self._rows.row(self._rows.slot(customer_id))[:2]
        total = {self.items.ids[c]: w for c, w in zip(columns.tolist(), held.tolist(), strict=True)}
        for item, weight in zip(item_ids, weights, strict=True):
            before = total.get(item, 0.0)
            after = before + weight
            total[item] = 0.0 if abs(after) <= 1e-12 * max(before, abs(weight)) else after
        self.update(customer_id, list(total), list(total.values()))

    def rows(self, customer_ids: Iterable[str]) -> csr_array:
        """Return the raw rows, (number of ids, len(items)); an empty row for who has none."""
        slots = self._rows.slots(customer_ids)
        found, _ = self._rows.gather(slots)
        found.resize((len(slots), len(self.items)))
        return found

    def similar(
        self,
        customer_ids: Sequence[str],
        k: int,
        by: Similarity | None = None,
        *,
        two_stage: TwoStage | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Return up to k nearest customers of each, with their similarity.

        k          >= 0
        by         None = as `self.similarity` says
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
        by: Similarity | None = None,
        *,
        two_stage: TwoStage | None = None,
    ) -> list[Near]:
        """`similar` without names: good until the next change of the index."""
        require(k >= 0, "k >= 0")
        chosen, by = two_stage or self.two_stage, self.similarity if by is None else by
        self._nearest.items = len(self.items)
        answers = []
        for customer_id in customer_ids:
            slot = self._rows.slot(customer_id)
            if by is Similarity.COSINE:
                slots, scores = self._nearest.cosines(slot, k, chosen)
            else:
                slots, scores = self._nearest.nearest(self._nearest.query(slot), k, by, chosen)
            if slot >= 0 and by is Similarity.COSINE and k >= self.watched:
                full = len(scores) >= self.watched
                self._rows.set_threshold(slot, float(scores[self.watched - 1]) if full else _ANY)
            if customer_id in self._before:
                self._found[customer_id] = slots[: self.watched]
            answers.append(Near(slots, scores))
        return answers

    def two_stage_recall(self, customer_ids: Sequence[str], k: int) -> float:
        """Share of the exact k nearest that two stages find too; who ties with the last counts."""
        stages, self.two_stage = self.two_stage or TwoStage(), None
        exact, found = self.near(customer_ids, k), self.near(customer_ids, k, two_stage=stages)
        self.two_stage = stages
        hits = sum(
            min(int((b.scores >= a.scores[-1]).sum()), len(a.scores))
            for a, b in zip(exact, found, strict=True)
            if len(a.scores)
        )
        return hits / max(sum(len(one.scores) for one in exact), 1)

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
        `similar` put him on the updated one's. By another similarity than the cosine nothing is
        known of anybody's list, and the nearest of who is erased are named. At most `limit` for
        each update, and never one of those that were updated.
        """
        found: dict[str, None] = {}
        for customer_id, old in self._before.items():
            by_cosine = self.similarity is Similarity.COSINE
            slots = (self._crossed if by_cosine else self._alike)(customer_id, old, limit)
            found.update(dict.fromkeys(self._rows.names(slots)))
        names = [name for name in found if name not in self._before]
        self._before.clear()
        self._found.clear()
        return names

    def _crossed(
        self, customer_id: str, old: tuple[Columns, Floats], limit: int
    ) -> NDArray[np.int32]:
        """Whose list the owner of a changed row enters or leaves; the nearest of unknown lists."""
        slot = self._rows.slot(customer_id)
        slots = self._nearest.crossed(self._nearest.query(slot), old)
        order = np.argsort(-self._rows.thresholds(slots), kind="stable")[:limit]
        near = self._found.get(customer_id, slots[:0])
        unknown = near[np.isinf(self._rows.thresholds(near))]
        return np.concatenate((unknown, slots[order]))[:limit]

    def _alike(
        self, customer_id: str, old: tuple[Columns, Floats], limit: int
    ) -> NDArray[np.int32]:
        """Whom the owner of a changed row is nearest to, or was before being erased.

        Thresholds are cosines: by another similarity nothing tells whose list changes.
        """
        near = self._found.get(customer_id)
        if near is None or not len(near):
            was = Query(-1, old[0], old[1] * self._rows.idf[old[0]])
            near, _ = self._nearest.nearest(was, limit, self.similarity)
        return near[:limit]

    def liked(self, near: Near, *, power: float = 1.0) -> Items:
        """What similar customers hold: their rows at unit length times score ** power, added up."""
        rows, scores = self._rows, near.scores if power == 1.0 else near.scores**power
        return Items(
            *row_kernels.spread(
                near.slots, scores, rows.base_rows, rows.overlay.rows, self._nearest.place
            )
        )

    def together(self, item_ids: Sequence[str], count: int) -> Items:
        """Return what goes well with some items: the cosine of buyers, added up over the items.

        The asked items themselves are left out. Best first, ties by column, at most `count`.
        """
        self._widen()
        asked = [column for column in map(self.items.column, item_ids) if column is not None]
        return self._together.goes_with(list(dict.fromkeys(asked)), count)

    def companions_of(self, column: int, count: int = K_COMPANIONS) -> tuple[Columns, Floats]:
        """The items of the highest cosine of their buyers with an item's; see `together`."""
        self._widen()
        return self._together.best(column, count)

    def renew_companions(self, columns: NDArray[np.integer]) -> None:
        """Count the companions of some items anew, if their buyers changed since they were."""
        self.companions.renew(columns, self.popularity.buyers, self.companions_of)

    def _widen(self) -> None:
        """Make room for items that joined the table since."""
        if self._rows.widen(len(self.items)):
            self.popularity.widen(len(self._rows.idf))


_ANY: Final = 1e-30  # the threshold of a list that is not full: whoever is alike enters
