"""What a catalog says of an item: a `Product Updated` event's properties, or a row of a file.

Source: Segment Spec, product fields, https://segment.com/docs/connections/spec/ecommerce/v2/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from integrations.inbound.reading import Reading, parse, unwrap
from integrations.money import MINOR_DIGITS, minor_units
from integrations.rejection import RejectionError

PRODUCT_UPDATED: Final = "Product Updated"

_IDS: Final = ("product_id", "productId", "item_id", "id", "sku")
_NAMES: Final = ("name", "title", "product_name")
_CATEGORIES: Final = ("category", "product_category", "product_type")
_BRANDS: Final = ("brand", "vendor")
_YES: Final = frozenset({"1", "true", "yes", "y", "in stock", "in_stock", "available", "active"})
_NO: Final = frozenset(
    {"0", "false", "no", "n", "out of stock", "out_of_stock", "unavailable", "sold out", "inactive"}
)
_LONGEST: Final = 256
_LONGEST_TEXT: Final = 1_000


class Product(NamedTuple):
    """An item as the catalog states it; None = it does not say.

    category    levels from the root, "/" between them
    price_minor, cost_minor  of the shop's reporting currency
    """

    item_id: str
    name: str = ""
    category: str = ""
    brand: str = ""
    price_minor: int | None = None
    cost_minor: int | None = None
    available: bool = True
    deleted: bool = False


def product_of(fields: Mapping[str, Any], currency: str) -> Product:
    """Read one item; fields that are not known are ignored.

    currency  ISO 4217; an amount in another one is not taken
    Raises    RejectionError: no id, an amount below zero, a state that is neither yes nor no

    >>> product_of({"sku": "t-1", "name": "Tea", "price": "3.50", "in_stock": "no"}, "EUR")[:5]
    ('t-1', 'Tea', '', '', 350)
    """
    item_id = item_id_of(fields)
    if not item_id:
        raise RejectionError("missing_field", "product_id")
    if len(item_id) > _LONGEST or not item_id.isprintable():
        raise RejectionError("too_long" if len(item_id) > _LONGEST else "control_character")
    other = fields.get("currency") not in (None, "", currency)
    return Product(
        item_id,
        _text(fields, _NAMES),
        _path(_text(fields, _CATEGORIES)),
        _text(fields, _BRANDS),
        None if other else _minor(fields, "price", currency),
        None if other else _minor(fields, "cost", currency),
        _available(fields),
        _flag(fields, "deleted", default=False),
    )


def item_id_of(fields: Mapping[str, Any]) -> str:
    """The id that an object names an item by; "" if it names none."""
    given = next((fields[name] for name in _IDS if fields.get(name) not in (None, "")), None)
    return str(given).strip() if isinstance(given, str | int) and given is not True else ""


def product_in(raw: bytes, reading: Reading) -> Product:
    """The item that a `Product Updated` event states; raise RejectionError if it states none."""
    call = parse(raw, reading)
    if "specversion" in call:
        call, _ = unwrap(call)
    fields = call.get("properties")
    if not isinstance(fields, dict):
        raise RejectionError("missing_field", "properties")
    try:
        return product_of(fields, reading.default_currency)
    except RejectionError as error:
        path = error.rejected.path
        raise RejectionError(
            error.rejected.reason, f"properties.{path}" if path else "properties"
        ) from None


def _text(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    found = next((fields[name] for name in names if fields.get(name) not in (None, "")), "")
    if isinstance(found, list):
        found = "/".join(str(one) for one in found)
    words = " ".join(str(found).split())
    return "".join(c for c in words if c.isprintable())[:_LONGEST_TEXT]


def _path(category: str) -> str:
    levels = category.replace(" > ", "/").split("/")
    return "/".join(level.strip() for level in levels if level.strip())


def _minor(fields: Mapping[str, Any], name: str, currency: str) -> int | None:
    value = fields.get(name)
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        amount = value if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        raise RejectionError("bad_amount", name) from None
    try:
        return minor_units(amount, MINOR_DIGITS[currency])
    except RejectionError as error:
        raise RejectionError(error.rejected.reason, name) from None


def _available(fields: Mapping[str, Any]) -> bool:
    stock = fields.get("inventory_quantity")
    if isinstance(stock, int | float) and not isinstance(stock, bool):
        return stock > 0
    for name in ("available", "in_stock", "availability"):
        if fields.get(name) not in (None, ""):
            return _flag(fields, name, default=True)
    return True


def _flag(fields: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = fields.get(name)
    if value is None or value == "":
        return default
    text = str(value).strip().lower()
    if text in _YES:
        return True
    if text in _NO:
        return False
    raise RejectionError("wrong_type", name)
