"""A customer's row of an index: what each item weighs, and when it was bought."""

from typing import NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.checks import require, same_shape
from models.recommend.interactions import MOST_HALF_LIVES, Interactions
from models.recommend.row_kernels import sum_rows

Floats: TypeAlias = NDArray[np.float64]
Days: TypeAlias = NDArray[np.int16]

ALWAYS = 1  # the day of purchases of which no day is told


class Decay(NamedTuple):
    """How rows were weighed: at t0 an event weighs its own weight, a half-life later twice that."""

    t0_day: int = 0
    half_life_days: float = 60.0


class Bought(NamedTuple):
    """First and last day of purchase, (e,) int16 each, since 1970-01-01; 0 = never bought."""

    first: Days
    last: Days

    @classmethod
    def always(cls, count: int) -> Self:
        """Purchases of which no day is told."""
        days = np.full(count, ALWAYS, dtype=np.int16)
        return cls(days, days)


class Row(NamedTuple):
    """One customer: distinct items, rising.

    columns      (c,) int32
    weights      (c,) float64 > 0, decayed but without idf
    first, last  (c,) int16, see `Bought`
    """

    columns: NDArray[np.int32]
    weights: Floats
    first: Days
    last: Days


class Rows(NamedTuple):
    """Rows of many customers, (n, m), and when each of their entries was bought."""

    weights: csr_array
    bought: Bought


def row_of(
    columns: NDArray[np.integer], days: NDArray[np.integer], weights: Floats, decay: Decay
) -> Row:
    """Sum one customer's interactions by item.

    columns, days, weights  (e,) rising by column, then day; weight >= 1 = bought on that day

    >>> row_of(np.array([3, 3]), np.array([40, 100]), np.array([0.5, 1.0]), Decay(100, 60.0))[1:]
    (array([1.25]), array([100], dtype=int16), array([100], dtype=int16))
    """
    owner = np.zeros(len(columns), dtype=np.int64)
    return Row._make(_summed(owner, columns, days, weights, decay)[1:])


def rows_of(interactions: Interactions, customers: int, items: int, decay: Decay) -> Rows:
    """Sum the interactions of many customers.

    Returns  rows without a stored zero, items rising
    Raises   ShapeError, DomainError

    >>> one = Interactions(*np.zeros((2, 2), int), np.array([0, 60]), np.ones(2))
    >>> found = rows_of(one, 1, 2, Decay(60, 60.0))
    >>> found.weights.toarray(), found.bought.last
    (array([[1.5, 0. ]]), array([60], dtype=int16))
    """
    customer, item, day, weight = interactions
    same_shape(customer=customer, item=item, day=day, weight=weight)
    require(np.isfinite(weight) & (weight >= 0), "event weights are finite and >= 0")
    require((customer >= 0) & (customer < customers), f"0 <= row < {customers}")
    require((item >= 0) & (item < items), f"0 <= item < {items}")
    order = np.lexsort((day, item, customer))
    events = Interactions._make(part[order] for part in interactions)
    owner, column, values, first, last = _summed(*events, decay)
    starts = np.searchsorted(owner, np.arange(customers + 1))
    return Rows(csr_array((values, column, starts), shape=(customers, items)), Bought(first, last))


def taken(rows: Rows, order: NDArray[np.integer]) -> Rows:
    """The rows in another sequence."""
    weights, bought = rows
    starts, lengths = weights.indptr[order], np.diff(weights.indptr)[order]
    ends = np.cumsum(lengths)
    take = np.repeat(starts - (ends - lengths), lengths) + np.arange(weights.nnz)
    parts = weights.data[take], weights.indices[take], np.append(0, ends)
    return Rows(
        csr_array(parts, shape=weights.shape), Bought(bought.first[take], bought.last[take])
    )


def heaviest(rows: Rows, idf: Floats, most: int) -> Rows:
    """Cut rows to the `most` items that weigh most by idf."""
    weights, bought = rows
    lengths = np.diff(weights.indptr)
    if lengths.max(initial=0) <= most:
        return rows
    kept = np.ones(weights.nnz, dtype=np.bool_)
    for i in np.flatnonzero(lengths > most).tolist():
        span = slice(weights.indptr[i], weights.indptr[i + 1])
        weight = weights.data[span] * idf[weights.indices[span]]
        light = np.argsort(-weight, kind="stable")[most:]
        kept[weights.indptr[i] + light] = False
    starts = np.concatenate(([0], np.cumsum(kept)))[weights.indptr]
    parts = weights.data[kept], weights.indices[kept], starts
    return Rows(
        csr_array(parts, shape=weights.shape), Bought(bought.first[kept], bought.last[kept])
    )


def _summed(
    owner: NDArray[np.integer],
    columns: NDArray[np.integer],
    days: NDArray[np.integer],
    weights: Floats,
    decay: Decay,
) -> tuple[NDArray[np.int64], NDArray[np.int32], Floats, Days, Days]:
    e = len(columns)
    out = (
        np.empty(e, dtype=np.int64),
        np.empty(e, dtype=np.int32),
        np.empty(e),
        np.empty(e, dtype=np.int16),
        np.empty(e, dtype=np.int16),
    )
    found = sum_rows(owner, columns, days, weights, *decay, MOST_HALF_LIVES, out)
    owners, items, sums, first, last = out
    return owners[:found], items[:found], sums[:found], first[:found], last[:found]
