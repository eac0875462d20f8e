"""Rows of a table as events: rows of one order become one Order Completed. Pure.

The same file under the same options gives the same events in the same order, so a backfill that was
interrupted goes on where it stopped, and one that is repeated changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from integrations.rejection import Rejected, RejectionError, rejected
from worker.cells import Instant, is_negative, number_of, plain, size_text, text_of
from worker.columns import Field
from worker.distinct import Distinct
from worker.tables import Piece

#: Cells that an order is made of, in the order in which `Grouper.add` takes them.
ORDER_FIELDS: Final[tuple[Field, ...]] = (
    "customer_id", "order_id", "at", "item", "quantity", "price", "amount", "total", "currency",
)  # fmt: skip
EVENT_FIELDS: Final[tuple[Field, ...]] = ("customer_id", "at", "event", "item")
_SCATTERED: Final = (
    "Rows of this order stand far apart in the file, those before are sent: sort the file by order."
)


class Made(NamedTuple):
    """What one row or group of rows became: an event as bytes, or the reason why it is none.

    line  of the file, from 1: where the group begins
    """

    line: int
    event: bytes | Rejected


class Shape(NamedTuple):
    """What events depend on besides the rows.

    source    name of the origin, part of every event's id
    currency  of orders whose row names none; "" = the installation's
    instant   reads a time
    """

    source: str
    currency: str
    instant: Instant


@dataclass(slots=True)
class _Open:
    """An order whose rows are still coming."""

    line: int
    touched: int
    customer: str
    order: str
    at: Any
    currency: Any
    rows: list[tuple[int, Any, Any, Any, Any, Any]] = field(default_factory=list)


class Grouper:
    """Collects the rows of orders. An order ends when a whole piece of the file has no row of it.

    Rows without an order id belong together when customer and time are the same; rows with a
    negative quantity or amount are a return, apart from the order that they are in.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._open: dict[tuple[str, Any, bool], _Open] = {}
        self._ended = Distinct()
        self._pieces = 0

    def add(self, piece: Piece) -> Iterator[Made]:
        """Take the rows of a piece; what has ended before it comes out."""
        self._pieces += 1
        yield from _refused(piece)
        opened = self._open
        for line, customer, order, at, item, quantity, price, amount, total, currency in zip(
            piece.lines, *piece.columns, strict=True
        ):
            who = customer if type(customer) is str else text_of(customer)
            if not who:
                yield Made(line, rejected("missing_customer", "customer_id"))
                continue
            which = order if type(order) is str else text_of(order)
            back = is_negative(quantity) or is_negative(amount) or is_negative(total)
            key = (who, which or at, back)
            group = opened.get(key)
            if group is None:
                if _name(key) in self._ended:
                    yield Made(line, rejected("missing_order", "order_id", _SCATTERED))
                    continue
                group = opened[key] = _Open(line, 0, who.strip(), which.strip(), at, currency)
            group.touched = self._pieces
            group.rows.append((line, item, quantity, price, amount, total))
        yield from self._end(self._pieces - 1)

    def close(self) -> Iterator[Made]:
        """The orders that are left: the file has ended."""
        yield from self._end(self._pieces)

    def _end(self, until: int) -> Iterator[Made]:
        ended = [(key, one) for key, one in self._open.items() if one.touched <= until]
        for key, one in ended:
            del self._open[key]
            self._ended.add(_name(key))
            yield _made(one.line, self._shape, _order, one, key[2])


def events_of(piece: Piece, shape: Shape) -> Iterator[Made]:
    """Each row as one event with a name."""
    yield from _refused(piece)
    for line, *cells in zip(piece.lines, *piece.columns, strict=True):
        yield _made(line, shape, _behavior, cells)


def _refused(piece: Piece) -> Iterator[Made]:
    for line, why in piece.refused:
        yield Made(line, why)


def _name(key: tuple[str, Any, bool]) -> str:
    return f"{key[0]}\x1f{key[1]}\x1f{key[2]:d}"


def _made(line: int, shape: Shape, build: Any, *what: Any) -> Made:
    try:
        call = build(shape, *what)
        body = json.dumps(call, separators=(",", ":"), ensure_ascii=False).encode()
    except RejectionError as error:
        return Made(line, error.rejected)
    except UnicodeEncodeError:
        return Made(line, rejected("not_json", "", "A text of the row is not Unicode."))
    name = blake2b(shape.source.encode() + b"\x1f" + body, digest_size=16).hexdigest()
    return Made(line, b'{"messageId":"%b",%b' % (name.encode(), body[1:]))


def _order(shape: Shape, one: _Open, back: bool) -> dict[str, Any]:
    at = shape.instant(one.at).isoformat()
    properties: dict[str, Any] = {}
    if one.order and not back:
        properties["order_id"] = one.order
    if currency := text_of(one.currency) or shape.currency:
        properties["currency"] = currency
    products, worth = _lines(one.rows)
    if worth is not None:
        properties["revenue"] = plain(worth)
    if products:
        properties["products"] = products
    name = "Order Refunded" if back else "Order Completed"
    return {
        "type": "track", "event": name, "userId": one.customer, "timestamp": at,
        "properties": properties,
    }  # fmt: skip


def _lines(
    rows: Sequence[tuple[int, Any, Any, Any, Any, Any]],
) -> tuple[list[dict[str, str]], Decimal | None]:
    """Products, and what the order was worth as far as rows say so; without signs."""
    products = []
    amounts: list[Decimal | None] = []
    worth = None
    for line, item, quantity, price, amount, total in rows:
        path = "quantity"
        try:
            many = size_text(quantity)
            path = "price"
            each = number_of(price)
            path = "amount"
            amounts.append(number_of(amount))
            path = "total"
            worth = worth if total is None else number_of(total)
        except RejectionError as error:
            told = f"{error.rejected.detail} (line {line})"
            raise RejectionError(error.rejected.reason, path, told) from None
        if what := text_of(item):
            product = {"product_id": what}
            if many is not None:
                product["quantity"] = many
            if each is not None:
                product["price"] = size_text(price) or "" if each >= 0 else plain(each)
            products.append(product)
    if worth is None and amounts and None not in amounts:
        worth = sum((abs(amount) for amount in amounts if amount is not None), Decimal(0))
    return products, None if worth is None else abs(worth)


def _behavior(shape: Shape, cells: Sequence[Any]) -> dict[str, Any]:
    customer, name, item = text_of(cells[0]), text_of(cells[2]), text_of(cells[3])
    if not customer:
        raise RejectionError("missing_customer", "customer_id")
    call: dict[str, Any] = {
        "type": "track", "event": name, "userId": customer,
        "timestamp": shape.instant(cells[1]).isoformat(),
    }  # fmt: skip
    if item:
        call["properties"] = {"product_id": item}
    return call
