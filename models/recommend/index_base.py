"""The base of a neighbor index: all rows and their postings in plain arrays that never change.

A slot is the place of a customer among the sorted ids. Postings hold idf-weighted values divided by
a power of two of the row's own, so that float32 neither overflows nor loses a row, however far from
t0 its days are; no cosine and no correlation can see that factor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError, require
from models.recommend import row_kernels
from models.recommend.customer_rows import Days, Rows
from models.recommend.index_ids import SortedIds

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Base:
    """n rows over m items, e entries, and spare slots for the rows of an overlay.

    ids         n customer ids: slot i is ids[i]
    row_start   (n + 1,) int64; row_item (e,) int32 rising within a row; row_weight (e,) float64 raw
    row_first, row_last  (e,) int16 first and last day of purchase, 0 = never bought
    post_start  (m + 1,) int64; post_slot (e,) int32; post_value (e,) float32
    norm        (slots,) float64 of the idf-weighted row
    inv         (slots,) float32 1 / norm of a row's values, 0 = no row
    total       (slots,) float32 sum of a row's values
    exponent    (slots,) int16: value = weight * idf / 2 ** exponent
    threshold   (n,) float32 least score of the customer's list, infinite = not known: the one array
                that changes, and that processes share; it only tells who is told of changes
    """

    ids: SortedIds
    row_start: NDArray[np.int64]
    row_item: NDArray[np.int32]
    row_weight: Floats
    row_first: Days
    row_last: Days
    post_start: NDArray[np.int64]
    post_slot: NDArray[np.int32]
    post_value: NDArray[np.float32]
    norm: Floats
    inv: NDArray[np.float32]
    total: NDArray[np.float32]
    exponent: NDArray[np.int16]
    threshold: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(one.nbytes for one in arrays_of(self).values())


def arrays_of(base: Base) -> dict[str, NDArray[np.generic]]:
    """All arrays of a base by name; `from_arrays` makes an equal base of them."""
    found = {one.name: getattr(base, one.name) for one in fields(base) if one.name != "ids"}
    return {"id_block": base.ids.block, "id_ends": base.ids.ends, **found}


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Base:
    """Make a base of its arrays, without a copy; raise KeyError where one is missing."""
    names = [one.name for one in fields(Base) if one.name != "ids"]
    ids = SortedIds(arrays["id_block"], arrays["id_ends"])
    return Base(ids, **{name: arrays[name] for name in names})


def build(ids: Sequence[str], rows: Rows, idf: Floats, spare: int) -> Base:
    """Index the rows of customers.

    ids    n, ascending
    rows   (n, m); an empty one is no customer
    idf    at least (m,) > 0
    spare  slots for the overlay, >= 0
    Raises ShapeError, DomainError

    >>> from scipy.sparse import csr_array
    >>> from models.recommend.customer_rows import Bought
    >>> rows = Rows(csr_array([[1.0, 0.0], [1.0, 2.0]]), Bought.always(3))
    >>> base = build(["a", "b"], rows, np.ones(2), spare=0)
    >>> base.post_slot.tolist(), base.norm.round(3).tolist()
    ([0, 1, 1], [1.0, 2.236])
    """
    weights, (first, last) = rows
    n, m = weights.shape
    if len(ids) != n or len(idf) < m or len(last) != weights.nnz:
        raise ShapeError(f"{len(ids)} ids and idf {idf.shape} for rows {weights.shape}")
    require(spare >= 0, "spare >= 0")
    start, item = weights.indptr.astype(np.int64), weights.indices.astype(np.int32)
    weight = np.asarray(weights.data, dtype=np.float64)
    value, exponent = _scaled(weight * idf[item], start)
    inv, total = np.zeros((2, n + spare), dtype=np.float32)
    norm = np.zeros(n + spare)
    held = np.flatnonzero(np.diff(start))
    inv[held] = 1 / np.sqrt(np.add.reduceat(value * value, start[held])) if len(held) else 0
    total[held] = np.add.reduceat(value, start[held]) if len(held) else 0
    exponents = np.zeros(n + spare, dtype=np.int16)
    exponents[:n] = exponent
    if len(held):
        norm[held] = np.sqrt(np.add.reduceat(value * value, start[held]))
        norm[:n] = np.ldexp(norm[:n], exponent)
    post_start = np.zeros(m + 1, dtype=np.int64)
    post_slot, post_value = np.zeros_like(item), np.zeros(len(item), dtype=np.float32)
    row_kernels.count_sort(start, item, value.astype(np.float32), post_start, post_slot, post_value)
    return Base(
        SortedIds.of(ids), start, item, weight, first, last, post_start, post_slot, post_value,
        norm, inv, total, exponents, np.full(n, np.inf, dtype=np.float32),
    )  # fmt: skip


def _scaled(value: Floats, start: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int16]]:
    """Divide each row by a power of two, so that its largest value is in [0.5, 1)."""
    lengths = np.diff(start)
    held = np.flatnonzero(lengths)
    exponent = np.zeros(len(lengths), dtype=np.int16)
    if len(held):
        exponent[held] = np.frexp(np.maximum.reduceat(value, start[held]))[1]
    return np.ldexp(value, -np.repeat(exponent, lengths)), exponent
