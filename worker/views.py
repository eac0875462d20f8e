"""From ledgers to arrays: purchase days in the tenant's time zone, and weighted interactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from models.history import Histories, from_orders, with_refunds
from models.recommend.filters import ServiceItems
from models.recommend.interactions import ItemTable
from worker.currencies import Rates
from worker.profile import codec, derive
from worker.profile.derive import Order, SignalCount
from worker.profile.ledger import NEVER, Register

DAY_S: Final = 86_400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

#: What an interaction weighs beside a purchase day, which weighs 1. Signals that are not here are
#: no sign of interest in an item.
SIGNAL_WEIGHTS: Final[Mapping[str, float]] = {
    "v": 0.1,  # Product Viewed
    "k": 0.1,  # Product Clicked
    "a": 0.3,  # Product Added
    "w": 0.3,  # Product Added to Wishlist
    "z": 0.3,  # Wishlist Product Added to Cart
    "e": 0.2,  # Product Reviewed
    "h": 0.2,  # Product Shared
    "K": 0.1,  # Recommendation Clicked
}


#: What the signals of one item and week weigh at most: less than a purchase, however many.
MOST_OF_A_WEEK: Final = 0.9
#: Lines of orders, and signals of an item and week, that a customer's interactions are read from:
#: the latest. Bounds what one customer can cost.
MOST_READ: Final = 50_000

#: Where nothing is left out.
NO_SERVICES: Final = ServiceItems()

_DAY_BITS: Final = 24
_DAY_ZERO: Final = 1 << (_DAY_BITS - 1)
_DAY_MASK: Final = (1 << _DAY_BITS) - 1


class View(NamedTuple):
    """A customer as the models and the rules see one.

    orders        counted orders, oldest first
    signals       weekly counts
    registers     traits, consent and the like: `trait:country` -> what was told last
    last_signals  signal code -> latest event time, Unix s
    first_s       earliest event time, Unix s; NEVER before the first
    last_s        latest event time, Unix s
    """

    customer_id: str
    orders: list[Order]
    signals: list[SignalCount]
    registers: Mapping[str, Register] = _NOTHING
    last_signals: Mapping[str, int] = _NOTHING
    first_s: int = NEVER
    last_s: int = NEVER


class Calendar:
    """Days of a time zone."""

    def __init__(self, time_zone: str) -> None:
        self._zone = ZoneInfo(time_zone)
        self._utc = time_zone == "UTC"
        self._offset_s = lru_cache(maxsize=1 << 14)(self._offset_at)

    def day(self, at_s: int) -> int:
        """Days since 1970-01-01 of the local date at an instant.

        >>> Calendar("Asia/Shanghai").day(20 * 3600)
        1
        """
        if self._utc:
            return at_s // DAY_S
        quarter = at_s // 900  # offsets change on quarter hours
        return (at_s + self._offset_s(quarter)) // DAY_S

    def _offset_at(self, quarter: int) -> int:
        moment = _EPOCH + timedelta(seconds=quarter * 900)
        offset = moment.astimezone(self._zone).utcoffset()
        return int(offset.total_seconds()) if offset is not None else 0


def view(customer_id: str, hot: bytes, cold: bytes, before_s: int | None = None) -> View:
    """Decode a profile; with `before_s`, its orders as they stood before that instant.

    Raises CodecError.
    """
    profile = codec.decode(hot, cold)
    found, signals = derive.orders_and_signals(profile, before_s)
    orders = [one for one in found if not one.cancelled]
    if before_s is not None:
        last_week = (before_s // DAY_S + 3) // 7
        signals = [one for one in signals if one.week < last_week]
    return View(
        customer_id,
        orders,
        signals,
        profile.registers,
        profile.last_signals,
        profile.first_s,
        profile.last_s,
    )


def priced(views: Sequence[View], calendar: Calendar, rates: Rates) -> list[View]:
    """The views with their money in the reporting currency, where a rate of its day is known.

    Orders are converted at the rate of their day, refunds at that of theirs, at most what was left.
    What has no rate stays in its currency: no sum counts it, and `unpriced` tells whose it is.
    """
    if not rates:
        return list(views)
    return [
        one
        if all(order.currency == rates.currency for order in one.orders)
        else one._replace(orders=[_priced(order, calendar, rates) for order in one.orders])
        for one in views
    ]


def _priced(order: Order, calendar: Calendar, rates: Rates) -> Order:
    if order.currency == rates.currency or order.amount_minor is None:
        return order
    paid = order.amount_minor + sum(given for _, given in order.refunded)
    left = rates.convert(paid, order.currency, calendar.day(order.at_s))
    back = [rates.convert(g, order.currency, calendar.day(at_s)) for at_s, g in order.refunded]
    if left is None or None in back:
        return order
    refunded = []
    for (at_s, _), worth in zip(order.refunded, back, strict=True):
        given = min(worth or 0, left)
        left -= given
        refunded.append((at_s, given))
    return order._replace(currency=rates.currency, amount_minor=left, refunded=tuple(refunded))


def histories(views: Sequence[View], calendar: Calendar, currency: str) -> Histories:
    """Purchase days of many customers; money counts in the reporting currency only: see `priced`.

    Money given back counts on the day it was given back. An order that is still in another currency
    is a purchase day without money.
    """
    customer, day, amount, items = [], [], [], []
    back: list[tuple[int, int, int]] = []
    for row, one in enumerate(views):
        for order in one.orders:
            customer.append(row)
            day.append(calendar.day(order.at_s))
            money = order.amount_minor if order.currency == currency else None
            if money is not None and order.refunded:
                money += sum(given for _, given in order.refunded)
                back += [(row, calendar.day(at_s), given) for at_s, given in order.refunded]
            amount.append(money or 0)
            items.append(len(order.lines))
    columns = (np.array(column, dtype=np.int64) for column in (customer, day, amount, items))
    bought = from_orders(len(views), *columns)
    if not back:
        return bought
    return with_refunds(bought, *np.array(back, dtype=np.int64).T)


def unpriced(views: Sequence[View], currency: str) -> list[bool]:
    """Of each customer, whether a counted order has money that cannot be told in `currency`.

    Such a customer's sums would miss it, so that no sum may be told.
    """
    return [
        any(order.currency != currency and order.amount_minor for order in one.orders)
        for one in views
    ]


class Interacted(NamedTuple):
    """A customer's interactions with items, rising by column, then day.

    columns  (e,) int64 of an item table
    days     (e,) int64 since 1970-01-01
    weights  (e,) float64: 1 for each day the item was bought, less for weaker signals
    """

    columns: NDArray[np.int64]
    days: NDArray[np.int64]
    weights: NDArray[np.float64]


def interacted(
    one: View, calendar: Calendar, items: ItemTable, services: ServiceItems = NO_SERVICES
) -> Interacted:
    """The days on which each item was bought, and the weeks in which it was looked at.

    Of more than `MOST_READ` lines the latest orders count, and of more signals the latest weeks.

    items     what it does not know joins it
    services  what is no product, and left out
    """
    ids: list[str] = []
    days: list[int] = []
    for order in reversed(one.orders):
        if len(ids) >= MOST_READ:
            break
        bought_then = [item for item, _ in order.lines]
        if services:
            bought_then = [item for item in bought_then if item not in services]
        ids += bought_then
        days += [calendar.day(order.at_s)] * len(bought_then)
    bought = _keys(items.add_all(ids), days)
    bought.sort()
    if len(bought):
        bought = bought[np.concatenate(([True], bought[1:] != bought[:-1]))]
    looked: dict[tuple[int, int], float] = {}
    for week, code, item, times, _ in one.signals[-MOST_READ:]:
        weight = SIGNAL_WEIGHTS.get(code)
        if weight is not None and item and item not in services:
            place = items.add(item), 7 * week
            looked[place] = min(looked.get(place, 0.0) + weight * times, MOST_OF_A_WEEK)
    keys, weights = bought, np.ones(len(bought))
    if looked:
        columns, weeks = zip(*looked, strict=True)
        keys = np.concatenate((bought, _keys(columns, weeks)))
        weights = np.concatenate((weights, list(looked.values())))
        rising = np.argsort(keys, kind="stable")
        keys, weights = keys[rising], weights[rising]
    return Interacted(keys >> _DAY_BITS, (keys & _DAY_MASK) - _DAY_ZERO, weights)


def _keys(columns: Sequence[int], days: Sequence[int]) -> NDArray[np.int64]:
    """One number for column and day, in the order of both."""
    return (np.array(columns, dtype=np.int64) << _DAY_BITS) + np.array(days, np.int64) + _DAY_ZERO
