"""Read a ledger: its orders net of updates, refunds and returns, and its signal counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from worker.profile.block import Block
from worker.profile.codec import iter_blocks, unpack_record
from worker.profile.ledger import OrderRecord, Profile, Statement, order_at
from worker.profile.signals import split_cell


class Order(NamedTuple):
    """An order as it stands: restated by updates, lowered by refunds.

    amount_minor   money left, >= 0; None while it is not known
    lines          item id and quantity left in thousandths, > 0; sorted by item
    cancelled      cancelled, or refunded in full: not counted
    refunded       when money was given back and how much, minor units: `amount_minor` is without it
    """

    order_id: str
    at_s: int
    currency: str
    amount_minor: int | None
    lines: tuple[tuple[str, int], ...]
    cancelled: bool
    refunded: tuple[tuple[int, int], ...] = ()


_BY_AGE: Final = attrgetter("at_s", "order_id")


class SignalCount(NamedTuple):
    """How often a signal came for an item ("" = none) in a UTC week.

    weekday  0 = Monday, of what was recommended; 6 where it is not told
    """

    week: int
    code: str
    item: str
    times: int
    weekday: int = 6


def blocks(profile: Profile, until_week: int | None = None) -> Iterator[tuple[int, Block]]:
    """The blocks of a profile, oldest first. The cold part must be loaded."""
    if profile.blocks is not None:
        found = sorted(profile.blocks.items())
    else:
        found = iter_blocks((profile.cold or b"") + profile.spilled)
        if profile.block:
            found.append((profile.open_week, profile.block))
    for week, block in found:
        if until_week is None or week <= until_week:
            yield week, block


def orders(profile: Profile, before_s: int | None = None) -> list[Order]:
    """The orders of a profile, oldest first; with `before_s`, as they stood before that instant.

    A refund that names no known order is a return: it is taken from the newest earlier lines of
    its items.
    """
    return _orders([block for _, block in blocks(profile)], before_s)


def signals(profile: Profile) -> list[SignalCount]:
    """The signal counts of a profile, by week."""
    return _signals(list(blocks(profile)))


def orders_and_signals(
    profile: Profile, before_s: int | None = None
) -> tuple[list[Order], list[SignalCount]]:
    """Both `orders` and `signals`, at the price of decoding the blocks once."""
    found = list(blocks(profile))
    return _orders([block for _, block in found], before_s), _signals(found)


def _orders(dated: Sequence[Block], before_s: int | None) -> list[Order]:
    found: list[Order] = []
    returns: list[Statement] = []
    for block in dated:
        for order_id, packed in block.orders.items():
            record = unpack_record(packed)
            as_of = record if before_s is None else _cut(record, before_s)
            if as_of[0]:
                found.append(_net(order_id, as_of))
            elif order_id.startswith("#"):
                returns += as_of[1]
    found.sort(key=_BY_AGE)
    for back in sorted(returns, key=lambda one: (one[0], one[1])):
        _take_back(found, back)
    return found


def _signals(dated: Sequence[tuple[int, Block]]) -> list[SignalCount]:
    return [
        SignalCount(week, code, item, count, weekday)
        for week, block in dated
        for key, count in block.signals.items()
        for code, item, weekday in (split_cell(key),)
    ]


def _cut(record: OrderRecord, before_s: int) -> OrderRecord:
    return [[entry for entry in part if entry[0] < before_s] for part in record]


def _lines(flat: list[str | int]) -> dict[str, int]:
    return dict(zip(map(str, flat[::2]), map(int, flat[1::2]), strict=True))


def _net(order_id: str, record: OrderRecord) -> Order:
    versions, refunds, cancels = record
    stated_s, _, _, currency, amount, flat = versions[-1]
    if len(versions) == 1 and not refunds and not cancels:  # most are: lines are merged and sorted
        kept = tuple(zip(flat[::2], flat[1::2], strict=True))
        if not flat or min(flat[1::2]) > 0:
            return Order(order_id, stated_s, currency, amount, kept, cancelled=False)
    lines = _lines(flat)
    cancelled = bool(cancels)
    at_s = stated_s if len(versions) == 1 else order_at(record)
    given_back: list[tuple[int, int]] = []
    for back_s, _, refund_currency, refunded, back in refunds:
        if refunded is None and not back:
            cancelled = True
        elif refunded is not None and amount is not None and refund_currency in ("", currency):
            given_back.append((back_s, min(amount, refunded)))
            amount = max(0, amount - refunded)
            cancelled = cancelled or (amount == 0 and refunded > 0)
        for item, quantity in _lines(back).items():
            lines[item] = lines.get(item, 0) - quantity
    left = tuple(sorted(line for line in lines.items() if line[1] > 0))
    if flat and not left:
        cancelled = True
    return Order(order_id, at_s, currency, amount, left, cancelled, tuple(given_back))


def _take_back(found: list[Order], back: Statement) -> None:
    at_s, _, currency, amount, flat = back
    wanted = _lines(flat)
    for index in range(len(found) - 1, -1, -1):
        order = found[index]
        if order.at_s > at_s or order.cancelled:
            continue
        taken = {item: min(wanted.get(item, 0), quantity) for item, quantity in order.lines}
        if not any(taken.values()):
            continue
        for item, quantity in taken.items():
            wanted[item] = wanted.get(item, 0) - quantity
        left = tuple((item, have - taken[item]) for item, have in order.lines if have > taken[item])
        money = order.amount_minor
        if money is not None and amount and currency in ("", order.currency):
            given = (*order.refunded, (at_s, min(money, amount)))
            money, amount = max(0, money - amount), max(0, amount - money)
            order = order._replace(refunded=given)
        found[index] = order._replace(lines=left, amount_minor=money, cancelled=not left)
