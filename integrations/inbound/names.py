"""Names of track events: the canonical ones, and the aliases that mean the same.

Sources: Segment Spec, https://segment.com/docs/connections/spec/ecommerce/v2/ (the e-commerce
events and their older names), .../b2b-saas/ and .../email/ (lifecycle and engagement).
"""

import re
from enum import IntEnum
from functools import lru_cache
from typing import Final

from integrations.ours import ENTERED, EXITED


class Kind(IntEnum):
    """What an event means to a profile."""

    SIGNAL = 0
    ORDER = 1
    ORDER_UPDATE = 2
    REFUND = 3
    CANCEL = 4
    REGISTERS = 5
    ECHO = 6  # our own write, told back: it says nothing


ORDER_KINDS: Final[dict[str, Kind]] = {
    "Order Completed": Kind.ORDER,
    "Order Updated": Kind.ORDER_UPDATE,
    "Order Refunded": Kind.REFUND,
    "Order Cancelled": Kind.CANCEL,
}

CONSENT_UPDATED: Final = "Consent Updated"
UNSUBSCRIBED: Final = "Unsubscribed"
PAGE_VIEWED: Final = "Page Viewed"
SCREEN_VIEWED: Final = "Screen Viewed"
RETRAIN_REQUESTED: Final = "Model Retrain Requested"

ITEM_LISTS: Final = frozenset({"Recommendation Shown", "Recommendation Clicked"})
"""Events that name items in `items`."""

CANONICAL: Final[dict[str, tuple[str, ...]]] = {
    "Product Viewed": ("Viewed Product",),
    "Product Clicked": ("Clicked Product",),
    "Products Searched": ("Searched Products",),
    "Product List Viewed": ("Viewed Product Category", "Viewed Product List"),
    "Product List Filtered": ("Filtered Product List",),
    "Product Added": ("Added Product", "Added to Cart", "Product Added to Cart"),
    "Product Removed": ("Removed Product", "Product Removed from Cart"),
    "Cart Viewed": ("Viewed Cart",),
    "Checkout Started": ("Started Order", "Started Checkout"),
    "Checkout Step Viewed": ("Viewed Checkout Step",),
    "Checkout Step Completed": ("Completed Checkout Step",),
    "Payment Info Entered": ("Entered Payment Info",),
    "Order Completed": ("Completed Order",),
    "Order Updated": ("Updated Order",),
    "Order Refunded": ("Refunded Order",),
    "Order Cancelled": ("Order Canceled", "Cancelled Order", "Canceled Order"),
    "Coupon Entered": ("Entered Coupon",),
    "Coupon Applied": ("Applied Coupon",),
    "Coupon Denied": ("Denied Coupon",),
    "Coupon Removed": ("Removed Coupon",),
    "Product Added to Wishlist": ("Added Product to Wishlist", "Added to Wishlist"),
    "Product Removed from Wishlist": ("Removed Product from Wishlist", "Removed from Wishlist"),
    "Wishlist Product Added to Cart": ("Added Wishlist Product to Cart",),
    "Promotion Viewed": ("Viewed Promotion",),
    "Promotion Clicked": ("Clicked Promotion",),
    "Product Shared": ("Shared Product",),
    "Cart Shared": ("Shared Cart",),
    "Product Reviewed": ("Reviewed Product",),
    "Signed Up": ("User Signed Up",),
    "Signed In": ("User Signed In", "Logged In"),
    "Signed Out": ("User Signed Out", "Logged Out"),
    "Email Delivered": (),
    "Email Opened": ("Opened Email",),
    "Email Link Clicked": ("Clicked Email", "Email Clicked"),
    "Email Bounced": (),
    "Email Marked as Spam": (),
    UNSUBSCRIBED: ("Email Unsubscribed",),
    "Support Ticket Opened": ("Opened Support Ticket", "Support Ticket Created"),
    "Support Ticket Closed": ("Closed Support Ticket", "Support Ticket Solved"),
    "Recommendation Shown": ("Recommendation Viewed",),
    "Recommendation Clicked": (),
    CONSENT_UPDATED: ("Segment Consent Preference Updated", "Consent Preference Updated"),
    "Product Updated": (),
    ENTERED: (),
    EXITED: (),
    RETRAIN_REQUESTED: (),
    PAGE_VIEWED: ("Viewed Page",),
    SCREEN_VIEWED: ("Viewed Screen",),
}
"""Canonical name -> other names that are read as it."""

_SEPARATORS: Final = re.compile(r"[\s_.\-]+")


def _fold(name: str) -> str:
    return _SEPARATORS.sub(" ", name).strip().lower()


_BY_FOLDED: Final[dict[str, str]] = {
    _fold(spelled): name for name, aliases in CANONICAL.items() for spelled in (name, *aliases)
}


@lru_cache(maxsize=1 << 14)
def canonical_name(name: str) -> str:
    """The canonical name, or the name itself if it is not one of ours.

    Case and separators do not count: `order_completed` is `Order Completed`.
    """
    return _BY_FOLDED.get(_fold(name)) or name.strip()
