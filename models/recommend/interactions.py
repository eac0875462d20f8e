"""Interactions of customers with items, weighted by age, as sparse rows.

Forward decay: a weight is set once, relative to a fixed day t0, and grows with the date instead of
shrinking with age. Ageing then multiplies a whole row by one factor, which no cosine can see.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from models.checks import DomainError, ShapeError, finite, of_rank, require, same_shape

Floats: TypeAlias = NDArray[np.float64]

MOST_HALF_LIVES = 400.0  # so that a squared weight stays within float64


class Interactions(NamedTuple):
    """e dated interactions: customer and item as indices, day, event weight >= 0."""

    customer: NDArray[np.integer]
    item: NDArray[np.integer]
    day: NDArray[np.integer]
    weight: Floats


class ItemTable:
    """Item ids and their column indices: grows, never renumbers.

    >>> items = ItemTable(["tea", "cup"])
    >>> items.add("pot"), items.add("tea"), len(items), items.ids[2]
    (2, 0, 3, 'pot')
    """

    __slots__ = ("_column", "_ids")

    def __init__(self, ids: Iterable[str] = ()) -> None:
        """Number the ids in their sequence; raise DomainError if one occurs twice."""
        self._ids = list(ids)
        self._column = {item: column for column, item in enumerate(self._ids)}
        if len(self._column) != len(self._ids):
            raise DomainError("item ids are distinct")

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Sequence[str]:
        """Item ids by column; a live view that grows with the table."""
        return self._ids

    def add(self, item: str) -> int:
        """Return the column of an item, a new one if it has none."""
        column = self._column.setdefault(item, len(self._ids))
        if column == len(self._ids):
            self._ids.append(item)
        return column

    def add_all(self, items: Sequence[str]) -> list[int]:
        """Return the columns of items; those that have none get new ones, in their sequence."""
        found = [self._column.get(item, -1) for item in items]
        if -1 in found:
            found = [self.add(item) for item in items]
        return found

    def column(self, item: str) -> int | None:
        """Return the column of an item, None if it has none."""
        return self._column.get(item)


def decay(days: ArrayLike, t0_day: int, half_life_days: float) -> Floats:
    """Forward-decay factor of each day: 2 ** ((day - t0) / half-life).

    days            (e,) days since 1970-01-01
    half_life_days  > 0
    Returns         (e,) float64, > 0; cut at 400 half-lives on either side of t0
    Source          Cormode et al. (2009), "Forward Decay", ICDE

    >>> decay(np.array([100, 190]), 100, 90.0)
    array([1., 2.])
    """
    require(0 < half_life_days < np.inf, "0 < half_life_days < infinity")
    halves = (np.asarray(days, dtype=np.float64) - t0_day) / half_life_days
    return np.exp2(np.clip(halves, -MOST_HALF_LIVES, MOST_HALF_LIVES))


def item_weight(
    days: ArrayLike, event_weights: ArrayLike, *, t0_day: int, half_life_days: float
) -> float:
    """Weight of one item for one customer: the sum of its events' decayed weights.

    days           (e,) days since 1970-01-01
    event_weights  (e,) >= 0: 1 per purchase day, less for weaker signals
    Returns        >= 0, the same for any sequence of the events but for rounding
    Raises         ShapeError, DomainError

    >>> item_weight([100, 190], [1.0, 0.5], t0_day=100, half_life_days=90.0)
    2.0
    """
    weights = np.asarray(event_weights, dtype=np.float64)
    factors = decay(days, t0_day, half_life_days)
    same_shape(days=factors, event_weights=weights)
    require(np.isfinite(weights) & (weights >= 0), "event weights are finite and >= 0")
    return float(factors @ weights)


def interaction_matrix(
    interactions: Interactions,
    customers: int,
    items: int,
    *,
    t0_day: int,
    half_life_days: float,
) -> csr_array:
    """Sum decayed interactions into sparse rows.

    Returns  (customers, items) float64, columns of a row rising, no stored zero
    Raises   ShapeError, DomainError

    >>> one = Interactions(*np.zeros((3, 2), dtype=int), np.array([1.0, 2.0]))
    >>> interaction_matrix(one, 1, 2, t0_day=0, half_life_days=90.0).toarray()
    array([[3., 0.]])
    """
    customer, item, day, weight = interactions
    of_rank(1, customer=customer)
    same_shape(customer=customer, item=item, day=day, weight=weight)
    require(np.isfinite(weight) & (weight >= 0), "event weights are finite and >= 0")
    values = decay(day, t0_day, half_life_days) * weight
    return sparse_rows(customer, item, values, (customers, items))


def sparse_rows(
    row: NDArray[np.integer], item: NDArray[np.integer], weight: Floats, shape: tuple[int, int]
) -> csr_array:
    """Build sparse rows from (row, item, weight) triplets; equal cells add up.

    Raises  ShapeError, DomainError
    """
    same_shape(row=row, item=item, weight=weight)
    require((row >= 0) & (row < shape[0]), f"0 <= row < {shape[0]}")
    require((item >= 0) & (item < shape[1]), f"0 <= item < {shape[1]}")
    matrix = csr_array((weight, (row, item)), shape=shape, dtype=np.float64)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def inverse_document_frequency(matrix: csr_array) -> Floats:
    """How telling each item is: log((1 + n) / (1 + its holders)) + 1.

    matrix   (n, m) without stored zeros
    Returns  (m,) float64 >= 1; `unseen_idf(n)` for an item without a holder
    Source   Spaerck Jones (1972), smoothed as scikit-learn's TfidfTransformer does

    >>> inverse_document_frequency(csr_array(np.array([[1.0, 0.0], [1.0, 2.0]]))).round(4)
    array([1.    , 1.4055])
    """
    holders = np.bincount(matrix.indices, minlength=matrix.shape[1])
    return finite(np.log((1.0 + matrix.shape[0]) / (1.0 + holders)) + 1.0, "idf")


def unseen_idf(customers: int) -> float:
    """The inverse document frequency of an item that nobody holds yet."""
    if customers < 0:
        raise ShapeError("customers >= 0")
    return float(np.log1p(customers)) + 1.0
