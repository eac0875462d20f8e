"""Which column of a table means what: given by the person, else guessed from common names. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

Field = Literal[
    "customer_id", "order_id", "at", "item", "quantity", "price", "amount", "total", "currency",
    "event",
]  # fmt: skip
Columns = Mapping[Field, str]
"""Column name by field."""

FIELDS: Final[tuple[Field, ...]] = get_args(Field)
MEANING: Final[Mapping[Field, str]] = {
    "customer_id": "who bought",
    "order_id": "which order; rows of one order belong together",
    "at": "when",
    "item": "what was bought",
    "quantity": "how many; negative = a return",
    "price": "of one piece",
    "amount": "of the row: price times quantity, or the order where a row is an order",
    "total": "of the whole order, repeated on each of its rows",
    "currency": "ISO 4217 code",
    "event": "name of the event (with --kind events)",
}

#: Common names of exports, as `_plain` writes them. The first that the table has is taken.
_NAMES: Final[Mapping[Field, str]] = {
    "customer_id": "customerid userid clientid contactid buyerid accountid memberid householdid"
    " customer user client buyer customeremail useremail email",
    "order_id": "orderid invoiceno invoiceid invoicenumber ordernumber orderno transactionid"
    " basketid receiptid checkoutid order invoice basket transaction receipt",
    "at": "timestamp transactiontimestamp orderedat createdat purchasedat paidat processedat"
    " invoicedate orderdate purchasedate transactiondate datetime ts time date at day",
    "item": "productid itemid sku stockcode variantid articleid product item article lineitemsku"
    " productname itemname lineitemname description",
    "quantity": "quantity qty units pieces lineitemquantity count",
    "price": "unitprice price itemprice lineitemprice priceperunit",
    "amount": "amount lineamount linetotal salesvalue revenue lineitemtotal sales",
    "total": "ordertotal orderamount ordervalue invoicetotal grandtotal",
    "currency": "currency currencycode",
    "event": "event eventname eventtype action",
}
#: Of the row or of the order? Only where a row is an order that makes no difference.
_EITHER: Final = frozenset({"total", "totalprice", "value", "subtotal"})


class ColumnsError(ValueError):
    """The columns cannot be told apart; the text lists them and says what to type."""


def parse_map(text: str) -> dict[Field, str]:
    """The columns that a person gave.

    Raises ColumnsError on another form or an unknown field.

    >>> parse_map("customer_id=user, at=ts")
    {'customer_id': 'user', 'at': 'ts'}
    """
    given: dict[Field, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, column = (word.strip() for word in part.partition("="))
        field = next((field for field in FIELDS if field == name), None)
        if not equals or not column:
            raise ColumnsError(f"--map: {part!r} should be FIELD=COLUMN, as in customer_id=user")
        if field is None:
            raise ColumnsError(f"--map: {name!r} is no field; there are {', '.join(FIELDS)}")
        given[field] = column
    return given


def resolve(columns: Sequence[str], given: Columns, needed: Sequence[Field]) -> dict[Field, str]:
    """All fields that the table has: the given ones, and guesses for the others.

    columns  the table's, in its order
    needed   fields without which nothing can be read

    Raises ColumnsError when a given column is not there, or a needed one cannot be guessed.

    >>> sorted(resolve(["CustomerID", "InvoiceDate", "Total"], {}, ["customer_id", "at"]).items())
    [('amount', 'Total'), ('at', 'InvoiceDate'), ('customer_id', 'CustomerID')]
    """
    for field, column in given.items():
        if column not in columns:
            raise ColumnsError(
                f"--map {field}={column}: there is no such column.\n{_listed(columns)}"
            )
    found: dict[Field, str] = dict(given)
    for field in FIELDS:
        taken = set(found.values())
        free = {_plain(column): column for column in reversed(columns) if column not in taken}
        if field not in found:
            name = next((name for name in _NAMES[field].split() if name in free), None)
            if name is not None:
                found[field] = free[name]
    _guess_money(columns, found)
    if missing := [field for field in needed if field not in found]:
        told = "\n".join(f"  {field}: {MEANING[field]}" for field in missing)
        example = ",".join(f"{field}=COLUMN" for field in missing)
        raise ColumnsError(
            f"cannot tell which column is\n{told}\n{_listed(columns)}\nName them: --map {example}"
        )
    return found


def _guess_money(columns: Sequence[str], found: dict[Field, str]) -> None:
    if {"price", "amount", "total"} & found.keys():
        return
    either = next((column for column in columns if _plain(column) in _EITHER), None)
    if either is None or either in found.values():
        return
    if "item" in found:
        raise ColumnsError(
            f"is {either!r} the amount of the row or of the whole order? Say which:"
            f" --map amount={either} (of the row), or --map total={either} (of the order)"
        )
    found["amount"] = either


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.lower())


def _listed(columns: Sequence[str]) -> str:
    return "The columns are: " + ", ".join(columns)
