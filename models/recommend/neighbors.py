"""Similar customers: exact cosine over sparse rows that may change one at a time.

Rows live in a base (compressed, with postings item -> customers) and in an overlay of the rows that
changed since: changing a row appends it to the overlay and marks the old one dead, so it costs the
length of that row. When the overlay has grown, both are merged into a new base. Base and overlay
add up a score over rising items, so that equal rows score equal to the last bit wherever they live.
"""

from collections.abc import Iterable, Sequence
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from models.checks import DomainError, ShapeError, require
from models.recommend.interactions import ItemTable
from models.recommend.overlay import EMPTY, Row, RowLog

Floats: TypeAlias = NDArray[np.float64]

DECIMALS = 9  # scores nearer than this are ties: rounding noise must not rank customers
_LEAST_OVERLAY = 1_000
_OVERLAY_SHARE = 0.05
_QUERY_BLOCK = 64  # queries at once: bounds the memory of a batch


class NeighborIndex:
    """Top-k cosine neighbors over idf-weighted rows, identical to a full recompute.

    >>> index = NeighborIndex.build(["a", "b"], ItemTable(["tea"]), csr_array([[1.0], [2.0]]))
    >>> index.update("c", ["tea", "cup"], [1.0, 1.0])
    >>> index.similar(["a"], 2)
    [[('b', 1.0), ('c', 0.707106781)]]
    """

    def __init__(self, items: ItemTable, idf: Floats, idf_unseen: float) -> None:
        """Start without customers; `build` is the usual way in."""
        require(np.isfinite(idf) & (idf > 0), "idf is finite and > 0")
        require(0 < idf_unseen < np.inf, "0 < idf_unseen < infinity")
        self.items = items
        self._idf = np.append(idf, idf_unseen)
        self._set_base([], csr_array((0, len(items)), dtype=np.float64))

    @classmethod
    def build(
        cls,
        customers: Sequence[str],
        items: ItemTable,
        matrix: csr_array,
        idf: Floats | None = None,
        *,
        idf_unseen: float | None = None,
    ) -> Self:
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
        most = float(known.max(initial=0.0)) or 1.0
        index = cls(items, known, most if idf_unseen is None else idf_unseen)
        rows = csr_array(matrix, dtype=np.float64, copy=True)
        rows.sum_duplicates()
        rows.eliminate_zeros()
        index._set_base(list(customers), rows)
        return index

    def __len__(self) -> int:
        """Number of customers with a row."""
        return len(self._slot)

    def __contains__(self, customer_id: object) -> bool:
        """Whether the customer has a row."""
        return customer_id in self._slot

    def update(self, customer_id: str, item_ids: Sequence[str], weights: Sequence[float]) -> None:
        """Replace the whole row of a customer; an empty row removes the customer.

        item_ids  distinct; unknown ones join the item table
        weights   raw, finite, >= 0; 0 = the customer does not have the item
        Raises    ShapeError, DomainError: then nothing has changed
        """
        values = np.asarray(weights, dtype=np.float64)
        if values.shape != (len(item_ids),):
            raise ShapeError(f"{len(item_ids)} items, weights {values.shape}")
        if len(set(item_ids)) != len(item_ids):
            raise DomainError("item ids of a row are distinct")
        require(np.isfinite(values) & (values >= 0), "weights are finite and >= 0")
        held = np.flatnonzero(values > 0)
        wanted = item_ids if len(held) == len(item_ids) else [item_ids[i] for i in held.tolist()]
        columns = np.array(self.items.add_all(wanted), dtype=np.int32)
        order = np.argsort(columns)
        old = self._slot.pop(customer_id, None)
        if old is not None:
            self._live[old] = False
        if len(held):
            columns, values = columns[order], values[held[order]]
            unit, _ = self._at_unit_length(columns, values, np.zeros(len(held), dtype=np.int64), 1)
            self._slot[customer_id] = len(self._ids)
            self._live[len(self._ids)] = True
            self._ids.append(customer_id)
            self._overlay.append(Row(columns, values, unit))
        if len(self._ids) == len(self._live):
            self._merge()

    def rows(self, customer_ids: Iterable[str]) -> csr_array:
        """Return the raw rows, (number of ids, len(items)); an empty row for who has none."""
        count, late = self._base.shape[0], self._overlay
        slots = np.array([self._slot.get(who, -1) for who in customer_ids], dtype=np.int64)
        lately, before = slots >= count, (slots >= 0) & (slots < count)
        spans = np.zeros((2, len(slots)), dtype=np.int32)
        spans[:, before] = self._base.indptr[slots[before]], self._base.indptr[slots[before] + 1]
        spans[:, lately] = late.spans(slots[lately] - count)
        starts = np.zeros(len(slots) + 1, dtype=np.int32)
        np.cumsum(spans[1] - spans[0], out=starts[1:])
        old, new = (self._base.indices, self._base.data), late.entries()
        columns, weights = [EMPTY.columns], [EMPTY.weights]
        for is_new, start, end in zip(lately.tolist(), *spans.tolist(), strict=True):
            column, weight = new if is_new else old
            columns.append(column[start:end])
            weights.append(weight[start:end])
        parts = (np.concatenate(weights), np.concatenate(columns), starts)
        return csr_array(parts, shape=(len(slots), len(self.items)))

    def similar(self, customer_ids: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
        """Return up to k nearest customers of each, with their cosine.

        k        >= 0
        Returns  per customer (id, score) by falling score, equal scores by id; scores in (0, 1],
                 rounded to 9 decimals; never the customer itself; [] for who has no row
        """
        require(k >= 0, "k >= 0")
        answers: list[list[tuple[str, float]]] = []
        for start in range(0, len(customer_ids), _QUERY_BLOCK):
            answers += self._similar_block(customer_ids[start : start + _QUERY_BLOCK], k)
        return answers

    def _similar_block(self, customer_ids: Sequence[str], k: int) -> list[list[tuple[str, float]]]:
        m = len(self.items)
        rows = [self._row(customer_id) for customer_id in customer_ids]
        queries = _stack(rows, [row.unit for row in rows], m)
        if self._postings.shape[0] < m:  # items that came after the base have no postings in it
            self._postings.resize((m, self._postings.shape[1]))
        base = queries @ self._postings
        late = (self._overlay.units(m) @ queries.T.tocsr()).T.tocsr()
        offset = self._base.shape[0]
        answers = []
        for number, customer_id in enumerate(customer_ids):
            here = slice(base.indptr[number], base.indptr[number + 1])
            there = slice(late.indptr[number], late.indptr[number + 1])
            slots = np.concatenate((base.indices[here], late.indices[there] + offset))
            scores = np.concatenate((base.data[here], late.data[there]))
            answers.append(self._best(self._slot.get(customer_id, -1), slots, scores, k))
        return answers

    def _best(
        self, own: int, slots: NDArray[np.integer], scores: Floats, k: int
    ) -> list[tuple[str, float]]:
        """Pick the k best of one customer's scores, ties by customer id."""
        usable = self._live[slots] & (slots != own)
        slots, scores = slots[usable], scores[usable]
        if 0 < k < len(scores):
            near = scores >= _kth_largest(scores, k) - 2 * 10.0**-DECIMALS
            slots, scores = slots[near], scores[near]
        rounded = np.minimum(scores.round(DECIMALS), 1.0).tolist()
        pairs = zip(rounded, slots.tolist(), strict=True)
        ranked = sorted((-score, self._ids[slot]) for score, slot in pairs if score > 0)
        return [(customer_id, -score) for score, customer_id in ranked[:k]]

    def _row(self, customer_id: str) -> Row:
        raw = self._raw(customer_id)
        if raw.unit is not raw.weights or raw is EMPTY:
            return raw
        norm = self._norm[self._slot[customer_id]]
        return raw._replace(unit=raw.weights * self._idf_of(raw.columns) / norm)

    def _raw(self, customer_id: str) -> Row:
        """The row, for one of the base with `unit` still to be computed: it is the raw weights."""
        slot = self._slot.get(customer_id)
        if slot is None:
            return EMPTY
        late = slot - self._base.shape[0]
        if late >= 0:
            return self._overlay.row(late)
        start, end = self._base.indptr[slot], self._base.indptr[slot + 1]
        weights = self._base.data[start:end]
        return Row(self._base.indices[start:end], weights, weights)

    def _idf_of(self, columns: NDArray[np.integer]) -> Floats:
        idf: Floats = self._idf[np.minimum(columns, len(self._idf) - 1)]
        return idf

    def _at_unit_length(
        self,
        columns: NDArray[np.integer],
        weights: Floats,
        row: NDArray[np.int64],
        rows: int,
    ) -> tuple[Floats, Floats]:
        """Return idf-weighted entries over their row's norm, and the norms (rows,)."""
        scaled = weights * self._idf_of(columns)
        norm = np.sqrt(np.bincount(row, weights=scaled * scaled, minlength=rows))
        return scaled / norm[row], norm

    def _set_base(self, ids: list[str], rows: csr_array) -> None:
        """Index these rows afresh; the overlay begins empty."""
        lengths = np.diff(rows.indptr)
        row = np.repeat(np.arange(len(ids)), lengths)
        unit, self._norm = self._at_unit_length(rows.indices, rows.data, row, len(ids))
        units = csr_array((unit, rows.indices, rows.indptr), shape=rows.shape)
        self._base, self._postings = rows, units.T.tocsr()
        self._ids = ids
        self._slot = {ids[i]: i for i in np.flatnonzero(lengths).tolist()}
        self._overlay = RowLog()
        room = max(_LEAST_OVERLAY, int(_OVERLAY_SHARE * len(ids)))
        self._live = np.concatenate((lengths > 0, np.zeros(room, dtype=np.bool_)))

    def _merge(self) -> None:
        """Make one base of the living rows of base and overlay."""
        m, count = len(self.items), self._base.shape[0]
        self._base.resize((count, m))
        live = np.flatnonzero(self._live[: len(self._ids)])
        everything = vstack((self._base, self._overlay.weights(m)), format="csr")
        self._set_base([self._ids[slot] for slot in live.tolist()], everything[live])


def _kth_largest(scores: Floats, k: int) -> float:
    """Return the k-th largest of more than k scores; the k-th of some bounds that of all."""
    some = scores[::8]
    if len(some) > k:
        scores = scores[scores >= np.partition(some, len(some) - k)[len(some) - k]]
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def _stack(rows: Sequence[Row], values: Sequence[Floats], items: int) -> csr_array:
    """Stack sparse rows into a (len(rows), items) matrix."""
    starts = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row.columns) for row in rows], out=starts[1:])
    columns = np.concatenate([EMPTY.columns, *(row.columns for row in rows)])
    data = np.concatenate([EMPTY.weights, *values])
    return csr_array((data, columns, starts), shape=(len(rows), items))
