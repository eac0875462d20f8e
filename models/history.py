"""Purchase days of many customers as flat arrays, and the statistics that the forecasts read."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError, of_rank, require, same_shape

Days: TypeAlias = NDArray[np.int32]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


class Refunds(NamedTuple):
    """Money given back to n customers; rows sorted by customer, then day.

    starts        (n + 1,) int64  rows of customer i are starts[i]:starts[i + 1]
    day           (rows,)  int32  day of the refund, days since 1970-01-01
    amount_minor  (rows,)  int64  minor units of the reporting currency, >= 0
    """

    starts: Ints
    day: Days
    amount_minor: Ints


class Histories(NamedTuple):
    """Purchase days of n customers; rows sorted by customer, then day; one row per both.

    starts        (n + 1,) int64  rows of customer i are starts[i]:starts[i + 1]
    day           (rows,)  int32  days since 1970-01-01 in the tenant's time zone
    orders        (rows,)  int32  counted orders of that day, >= 1
    amount_minor  (rows,)  int64  net money in the reporting currency, >= 0; 0 where unknown
    paid          (rows,)  int32  orders of that day with a known positive amount
    items         (rows,)  int32  distinct items of that day
    refunds       refunds with a day of their own; None where amount_minor has them already
    """

    starts: Ints
    day: Days
    orders: NDArray[np.int32]
    amount_minor: Ints
    paid: NDArray[np.int32]
    items: NDArray[np.int32]
    refunds: Refunds | None = None


class Window(NamedTuple):
    """What n customers did in a window of days.

    orders       (n,) float64  purchase days
    spend_minor  (n,) float64  minor units, net of refunds, >= 0
    next_day     (n,) int64    first purchase day at or after the window's start; -1 without one
    """

    orders: Floats
    spend_minor: Floats
    next_day: Ints


class PurchaseStats(NamedTuple):
    """What the purchase models need of n customers as of one day.

    frequency        (n,) float64  purchase days after the first, >= 0
    recency          (n,) float64  days from the first to the last purchase day
    age              (n,) float64  days from the first purchase day to the as-of day, >= recency
    orders           (n,) int64    counted orders; 0 = no purchase yet, then all else is 0 too
    paid_orders      (n,) int64    orders with a known positive amount; 0 where all was given back
    mean_paid_minor  (n,) float64  minor units per paid order, 0 without one
    total_minor      (n,) int64    minor units, net of what was given back by then, >= 0
    """

    frequency: Floats
    recency: Floats
    age: Floats
    orders: Ints
    paid_orders: Ints
    mean_paid_minor: Floats
    total_minor: Ints


def check_histories(histories: Histories) -> None:
    """Raise ShapeError or DomainError unless the arrays are what `Histories` promises."""
    starts = histories.starts
    of_rank(1, starts=starts, day=histories.day)
    same_shape(
        day=histories.day,
        orders=histories.orders,
        amount_minor=histories.amount_minor,
        paid=histories.paid,
        items=histories.items,
    )
    rows = len(histories.day)
    if len(starts) == 0 or starts[0] != 0 or starts[-1] != rows:
        raise ShapeError(f"starts must begin with 0 and end with {rows}, the number of rows")
    require(np.diff(starts) >= 0, "starts never fall")
    rises = np.diff(histories.day.astype(np.int64)) > 0
    first = starts[1:-1]
    rises[first[(first > 0) & (first < rows)] - 1] = True  # a new customer may start earlier
    require(rises, "the days of a customer rise")
    require(histories.orders >= 1, "orders >= 1")
    require(histories.amount_minor >= 0, "amount_minor >= 0")
    require((histories.paid >= 0) & (histories.paid <= histories.orders), "0 <= paid <= orders")
    require(histories.items >= 0, "items >= 0")
    if histories.refunds is not None:
        back = histories.refunds
        same_shape(day=back.day, amount_minor=back.amount_minor)
        if len(back.starts) != len(starts) or back.starts[-1] != len(back.day):
            raise ShapeError("refunds must have the rows of as many customers")
        require(back.amount_minor >= 0, "refunds >= 0")


def from_orders(
    customers: int,
    customer: NDArray[np.integer],
    day: NDArray[np.integer],
    amount_minor: NDArray[np.integer],
    items: NDArray[np.integer] | None = None,
) -> Histories:
    """Merge orders, in any sequence, into purchase days.

    customers     n, number of customers
    customer      (orders,) index of the customer, 0 <= customer < n
    day           (orders,) days since 1970-01-01
    amount_minor  (orders,) net minor units; <= 0 = unknown or free, counted but not paid
    items         (orders,) items that no other order of the same customer and day has; None = 0
    Raises        ShapeError, DomainError

    >>> from_orders(2, np.array([1, 1, 1]), np.array([9, 3, 9]), np.array([100, 50, 20])).day
    array([3, 9], dtype=int32)
    """
    new_items = np.zeros(len(day), dtype=np.int32) if items is None else items
    same_shape(customer=customer, day=day, amount_minor=amount_minor, items=new_items)
    require((customer >= 0) & (customer < customers), "0 <= customer < customers")
    order = np.lexsort((day, customer))
    who, when = customer[order].astype(np.int64), day[order].astype(np.int64)
    new = np.ones(len(who), dtype=np.bool_)
    new[1:] = (who[1:] != who[:-1]) | (when[1:] != when[:-1])
    row = np.cumsum(new) - 1
    money = np.maximum(amount_minor[order], 0).astype(np.int64)
    starts = np.zeros(customers + 1, dtype=np.int64)
    np.cumsum(np.bincount(who[new], minlength=customers), out=starts[1:])

    def per_row(values: NDArray[np.integer]) -> Ints:
        total = np.zeros(int(new.sum()), dtype=np.int64)
        np.add.at(total, row, values)
        return total

    return Histories(
        starts=starts,
        day=when[new].astype(np.int32),
        orders=per_row(np.ones(len(who), dtype=np.int64)).astype(np.int32),
        amount_minor=per_row(money),
        paid=per_row((money > 0).astype(np.int64)).astype(np.int32),
        items=per_row(new_items[order].astype(np.int64)).astype(np.int32),
    )


def with_refunds(
    histories: Histories,
    customer: NDArray[np.integer],
    day: NDArray[np.integer],
    amount_minor: NDArray[np.integer],
) -> Histories:
    """Add refunds, in any sequence; each counts on its own day, negative amounts by their size.

    Raises  ShapeError, DomainError

    >>> h = from_orders(1, np.array([0]), np.array([3]), np.array([50]))
    >>> window(with_refunds(h, np.array([0]), np.array([4]), np.array([-20])), 0, 30).spend_minor
    array([30.])
    """
    same_shape(customer=customer, day=day, amount_minor=amount_minor)
    customers = len(histories.starts) - 1
    require((customer >= 0) & (customer < customers), "0 <= customer < customers")
    order = np.lexsort((day, customer))
    starts = np.zeros(customers + 1, dtype=np.int64)
    np.cumsum(np.bincount(customer, minlength=customers), out=starts[1:])
    size = np.abs(amount_minor[order].astype(np.int64))
    return histories._replace(refunds=Refunds(starts, day[order].astype(np.int32), size))


def joined(parts: Sequence[Histories]) -> Histories:
    """Put customers behind each other; at least one part.

    >>> h = from_orders(1, np.array([0]), np.array([3]), np.array([50]))
    >>> joined([h, h]).starts
    array([0, 1, 2])
    """
    rows = (np.concatenate(column) for column in zip(*(one[1:-1] for one in parts), strict=True))
    starts, back = _joined_starts([one.starts for one in parts]), None
    if any(one.refunds is not None for one in parts):
        backs = [_refunds_of(one) for one in parts]
        back = Refunds(
            _joined_starts([one.starts for one in backs]),
            np.concatenate([one.day for one in backs]),
            np.concatenate([one.amount_minor for one in backs]),
        )
    return Histories._make((starts, *rows, back))


def cut(histories: Histories, day: int) -> Histories:
    """Return the histories with only the rows before `day` (what was known when it began).

    >>> h = from_orders(1, np.array([0, 0]), np.array([3, 9]), np.array([50, 70]))
    >>> cut(h, 9).day
    array([3], dtype=int32)
    """
    keep = histories.day < day
    back = histories.refunds
    if back is not None:
        early = back.day < day
        known = np.concatenate(([0], np.cumsum(early)))
        back = Refunds(known[back.starts], back.day[early], back.amount_minor[early])
    if keep.all():
        return histories._replace(refunds=back)
    kept = np.concatenate(([0], np.cumsum(keep)))
    return Histories(
        starts=kept[histories.starts],
        day=histories.day[keep],
        orders=histories.orders[keep],
        amount_minor=histories.amount_minor[keep],
        paid=histories.paid[keep],
        items=histories.items[keep],
        refunds=back,
    )


def select(histories: Histories, customer: NDArray[np.integer]) -> Histories:
    """Return the histories of some customers, in the order given.

    >>> h = from_orders(2, np.array([0, 1]), np.array([3, 9]), np.array([50, 70]))
    >>> select(h, np.array([1])).day
    array([9], dtype=int32)
    """
    starts, rows = _picked(histories.starts, customer)
    back = histories.refunds
    if back is not None:
        back_starts, of = _picked(back.starts, customer)
        back = Refunds(back_starts, back.day[of], back.amount_minor[of])
    return Histories(
        starts=starts,
        day=histories.day[rows],
        orders=histories.orders[rows],
        amount_minor=histories.amount_minor[rows],
        paid=histories.paid[rows],
        items=histories.items[rows],
        refunds=back,
    )


def window(histories: Histories, first_day: int, days: int) -> Window:
    """Return what happened on the days first_day .. first_day + days - 1.

    days     >= 1
    Raises   DomainError

    >>> h = from_orders(1, np.array([0, 0]), np.array([3, 9]), np.array([50, 70]))
    >>> window(h, 3, 6)
    Window(orders=array([1.]), spend_minor=array([50.]), next_day=array([3]))
    """
    require(days >= 1, "days >= 1")
    inside = (histories.day >= first_day) & (histories.day < first_day + days)
    later = histories.day >= first_day
    spent = _sums(histories.amount_minor * inside, histories.starts)
    back = histories.refunds
    if back is not None:
        then = (back.day >= first_day) & (back.day < first_day + days)
        spent = spent - _sums(back.amount_minor * then, back.starts)
    skipped = _sums((~later).astype(np.int64), histories.starts)
    row = histories.starts[:-1] + skipped
    any_later = row < histories.starts[1:]
    padded = np.append(histories.day.astype(np.int64), -1)
    return Window(
        orders=_sums(inside.astype(np.int64), histories.starts).astype(np.float64),
        spend_minor=np.maximum(spent, 0).astype(np.float64),
        next_day=np.where(any_later, padded[np.where(any_later, row, len(padded) - 1)], -1),
    )


def purchase_stats(histories: Histories, as_of_day: int) -> PurchaseStats:
    """Return the statistics of all rows with day <= `as_of_day`.

    Raises  ShapeError, DomainError
    Source  frequency, recency, age as x, t_x, T in Fader, Hardie & Lee (2005), on whole days

    >>> h = from_orders(1, np.array([0, 0]), np.array([3, 9]), np.array([50, 70]))
    >>> stats = purchase_stats(h, 13)
    >>> stats.frequency, stats.recency, stats.age, stats.mean_paid_minor
    (array([1.]), array([6.]), array([10.]), array([60.]))
    """
    check_histories(histories)
    known = cut(histories, as_of_day + 1)
    low, high = known.starts[:-1], known.starts[1:]
    any_order = high > low
    frequency = np.maximum(high - low - 1, 0).astype(np.float64)
    days = np.append(known.day.astype(np.int64), as_of_day)  # so that an empty slice can index
    first = np.where(any_order, days[low], as_of_day)
    last = np.where(any_order, days[np.maximum(high - 1, 0)], as_of_day)
    paid, total = _sums(known.paid, known.starts), _sums(known.amount_minor, known.starts)
    if known.refunds is not None:
        total = np.maximum(total - _sums(known.refunds.amount_minor, known.refunds.starts), 0)
        paid = np.where(total > 0, paid, 0)
    mean = np.divide(total, paid, out=np.zeros(len(low)), where=paid > 0)
    return PurchaseStats(
        frequency=frequency,
        recency=(last - first).astype(np.float64),
        age=(as_of_day - first).astype(np.float64),
        orders=_sums(known.orders, known.starts),
        paid_orders=paid,
        mean_paid_minor=mean,
        total_minor=total,
    )


def median_gap_days(histories: Histories) -> float | None:
    """Return the median of the days between two purchase days of one customer; None without any.

    >>> median_gap_days(from_orders(1, np.zeros(3, int), np.array([3, 9, 19]), np.ones(3, int)))
    8.0
    """
    gaps = np.diff(histories.day.astype(np.int64))
    inner = np.ones(len(gaps), dtype=np.bool_)
    first = histories.starts[1:-1]
    inner[first[(first > 0) & (first < len(histories.day))] - 1] = False
    return float(np.median(gaps[inner])) if inner.any() else None


def _refunds_of(histories: Histories) -> Refunds:
    none = np.zeros(0, dtype=np.int64)
    empty = Refunds(np.zeros_like(histories.starts), none.astype(np.int32), none)
    return empty if histories.refunds is None else histories.refunds


def _joined_starts(parts: Sequence[Ints]) -> Ints:
    """Return the starts of all rows when the parts are put behind each other."""
    sizes = np.concatenate([np.diff(one) for one in parts])
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))


def _picked(starts: Ints, customer: NDArray[np.integer]) -> tuple[Ints, Ints]:
    """Return the starts of these customers' rows when put together, and where the rows are."""
    sizes = starts[1:][customer] - starts[:-1][customer]
    ends = np.concatenate(([0], np.cumsum(sizes)))
    rows = np.arange(ends[-1]) + np.repeat(starts[:-1][customer] - ends[:-1], sizes)
    return ends, rows


def _sums(values: NDArray[np.integer], starts: Ints) -> Ints:
    """Return the exact integer sum of every slice starts[i]:starts[i + 1], empty ones too."""
    running = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=running[1:])
    return running[starts[1:]] - running[starts[:-1]]
