"""Segments of customers who have not bought: no model has to find them.

newcomer  first seen within the last 7 days
browsing  looked at products within the last 30 days
lead      neither
"""

from __future__ import annotations

from typing import Final

from models.segments.labels import Label
from worker.profile.ledger import NEVER
from worker.profile.signals import code_of
from worker.views import Calendar, View

NEW_DAYS: Final = 7
BROWSING_DAYS: Final = 30

#: Far above the ids of models, which count from 1.
LEAD: Final = 1_000_001
BROWSING: Final = 1_000_002
NEWCOMER: Final = 1_000_003
LIFECYCLE: Final[dict[int, Label]] = {
    LEAD: Label("lead"),
    BROWSING: Label("browsing"),
    NEWCOMER: Label("newcomer"),
}

_LOOKS: Final = tuple(
    code_of(name)
    for name in (
        "Product Viewed",
        "Product Clicked",
        "Products Searched",
        "Product List Viewed",
        "Product List Filtered",
        "Product Added",
        "Product Added to Wishlist",
        "Cart Viewed",
        "Checkout Started",
    )
)


def lifecycle(view: View, calendar: Calendar, today: int) -> int:
    """The segment of a customer without an order."""
    if view.first_s != NEVER and today - calendar.day(view.first_s) < NEW_DAYS:
        return NEWCOMER
    looks = [view.last_signals[code] for code in _LOOKS if code in view.last_signals]
    if looks and today - calendar.day(max(looks)) < BROWSING_DAYS:
        return BROWSING
    return LEAD
