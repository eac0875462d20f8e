"""Codes of the known signals: one character in every ledger cell instead of the full name.

The codes are part of the stored format: add new ones, never change or reuse one.
"""

from __future__ import annotations

from typing import Final

CODES: Final[dict[str, str]] = {
    "Product Viewed": "v",
    "Product Clicked": "k",
    "Products Searched": "s",
    "Product List Viewed": "l",
    "Product List Filtered": "f",
    "Product Added": "a",
    "Product Removed": "r",
    "Cart Viewed": "c",
    "Checkout Started": "o",
    "Checkout Step Viewed": "p",
    "Checkout Step Completed": "q",
    "Payment Info Entered": "y",
    "Product Added to Wishlist": "w",
    "Product Removed from Wishlist": "x",
    "Wishlist Product Added to Cart": "z",
    "Product Reviewed": "e",
    "Product Shared": "h",
    "Cart Shared": "j",
    "Coupon Entered": "g",
    "Coupon Applied": "i",
    "Coupon Denied": "m",
    "Coupon Removed": "n",
    "Promotion Viewed": "b",
    "Promotion Clicked": "d",
    "Email Opened": "E",
    "Email Link Clicked": "L",
    "Email Delivered": "D",
    "Email Bounced": "B",
    "Unsubscribed": "U",
    "Signed Up": "S",
    "Signed In": "I",
    "Signed Out": "N",
    "Email Marked as Spam": "M",
    "Consent Updated": "A",
    "Product Updated": "u",
    "Page Viewed": "G",
    "Screen Viewed": "H",
    "Support Ticket Opened": "T",
    "Support Ticket Closed": "t",
    "Recommendation Shown": "R",
    "Recommendation Clicked": "K",
    "Order Completed": "O",
    "Order Updated": "P",
    "Order Refunded": "F",
    "Order Cancelled": "C",
}
NAMES: Final[dict[str, str]] = {code: name for name, code in CODES.items()}

#: Between the code and the item of a cell; the door refuses names and ids that hold it.
SEPARATOR: Final = "\x1f"
#: Recommendation Shown and Clicked: what rests does so by days.
DATED: Final = frozenset("RK")
_WEEKDAYS: Final = frozenset("0123456")


def code_of(name: str) -> str:
    """The code of a signal; an unknown one keeps its name behind a tilde."""
    return CODES.get(name) or "~" + name


def name_of(code: str) -> str:
    """The name of a code.

    >>> name_of(code_of("Product Viewed")), name_of(code_of("Quiz Finished"))
    ('Product Viewed', 'Quiz Finished')
    """
    return code[1:] if code.startswith("~") else NAMES.get(code, code)


def cell(code: str, item: str) -> str:
    """The key of a count within a week: signal and item ("" = no item)."""
    return code + SEPARATOR + item if item else code


def dated_cell(code: str, item: str, weekday: int) -> str:
    """`cell`, with the day of the week (0 = Monday) of those signals whose day matters.

    >>> split_cell(dated_cell("R", "tea", 2)), split_cell(dated_cell("v", "tea", 2))
    (('R', 'tea', 2), ('v', 'tea', 6))
    """
    key = cell(code, item)
    return f"{key}{SEPARATOR}{weekday}" if item and code in DATED else key


def split_cell(key: str) -> tuple[str, str, int]:
    """Signal code, item id ("" = none), and day of the week of a cell; 6 where it is not told."""
    code, _, item = key.partition(SEPARATOR)
    if code in DATED:
        name, separator, weekday = item.rpartition(SEPARATOR)
        if separator and weekday in _WEEKDAYS:
            return code, name, int(weekday)
    return code, item, 6
