"""What an order event says: which order, its value, its lines."""

from decimal import Decimal
from typing import Final, NamedTuple

from integrations.inbound.names import Kind
from integrations.inbound.segment import Line, OrderProperties
from integrations.money import (
    EXACT,
    MINOR_DIGITS,
    amount_of,
    currency_code,
    decimal_of,
    minor_units,
    quantity_milli,
    to_minor,
)
from integrations.rejection import RejectionError

_ZERO: Final = Decimal(0)


class OrderFact(NamedTuple):
    """The order fields of a fact."""

    order_id: str
    currency: str
    amount_minor: int | None
    lines: tuple[tuple[str, int], ...]


def order_fact(
    kind: Kind, properties: OrderProperties, nameless_id: str, default_currency: str
) -> OrderFact:
    """Read an order event; `nameless_id` stands in for an absent order_id.

    Raises  RejectionError with the path of the field
    """
    order_id = properties.get("order_id")
    named = str(order_id) if order_id else ""
    currency = _currency(properties.get("currency") or default_currency)
    amount: int | None = None
    lines: tuple[tuple[str, int], ...] = ()
    if kind is not Kind.CANCEL:
        lines = order_lines(properties.get("products") or [])
        amount = order_value(properties, MINOR_DIGITS[currency])
    whole = not lines and amount is None
    if not named and (kind in {Kind.ORDER_UPDATE, Kind.CANCEL} or (kind is Kind.REFUND and whole)):
        raise RejectionError("missing_order", "properties.order_id")
    return OrderFact(named or nameless_id, currency, amount, lines)


def order_lines(products: list[Line]) -> tuple[tuple[str, int], ...]:
    """(item, quantity in thousandths), merged by item and sorted; no quantity means one piece."""
    lines: dict[str, int] = {}
    for position, product in enumerate(products):
        item = product.get("product_id") or product.get("sku")
        if not item:
            raise RejectionError("missing_item", f"properties.products.{position}")
        if type(item) is not str:
            item = str(item)
        quantity = product.get("quantity")
        milli = 1000
        if quantity is not None and quantity != 1.0:
            milli = _milli(position, quantity)
        lines[item] = lines.get(item, 0) + milli
    return tuple(sorted(lines.items()))


def order_value(properties: OrderProperties, digits: int) -> int | None:
    """Minor units: revenue, else subtotal, else total - tax - shipping, else the priced lines.

    None if the event says nothing about money, or if one of its lines has no price.
    """
    revenue = properties.get("revenue")
    if revenue is not None:
        return _minor("properties.revenue", revenue, digits)
    subtotal = properties.get("subtotal")
    if subtotal is not None:
        return _minor("properties.subtotal", subtotal, digits)
    value = _amount("properties.total", properties.get("total"))
    less: tuple[Decimal | None, ...]
    if value is not None:
        less = (
            _amount("properties.tax", properties.get("tax")),
            _amount("properties.shipping", properties.get("shipping")),
        )
    else:
        value = _priced(properties.get("products") or [])
        less = (_amount("properties.discount", properties.get("discount")),)
    if value is None:
        return None
    for part in less:
        value = EXACT.subtract(value, part or _ZERO)
    if value < 0:
        raise RejectionError("negative_amount", "properties")
    return to_minor(value, digits)


def _priced(products: list[Line]) -> Decimal | None:
    """Exact sum of price times quantity; None if there are no lines or one has no price."""
    total = _ZERO
    for position, product in enumerate(products):
        price = _amount(f"properties.products.{position}.price", product.get("price"))
        if price is None:
            return None
        quantity = product.get("quantity")
        times = Decimal(1) if quantity is None else decimal_of(quantity)
        total = EXACT.add(total, EXACT.multiply(price, times))
    return total if products else None


def _currency(text: str) -> str:
    try:
        return currency_code(text)
    except RejectionError as error:
        raise error.at("properties.currency") from None


def _milli(position: int, quantity: float | str) -> int:
    try:
        return quantity_milli(quantity)
    except RejectionError as error:
        raise error.at(f"properties.products.{position}.quantity") from None


def _minor(path: str, value: float | str, digits: int) -> int:
    try:
        return minor_units(value, digits)
    except RejectionError as error:
        raise error.at(path) from None


def _amount(path: str, value: float | str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        return amount_of(value)
    except RejectionError as error:
        raise error.at(path) from None
