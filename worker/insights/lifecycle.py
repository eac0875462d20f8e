"""Where customers stand who have not bought: what `models.segments.lifecycle` asks of a view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from models.segments.lifecycle import BROWSING, LEAD, NEVER, NEWCOMER, lifecycle_ids
from worker.profile.signals import code_of
from worker.views import Calendar, View

LIFECYCLE: Final = (LEAD, BROWSING, NEWCOMER)

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


def lifecycle(views: Sequence[View], calendar: Calendar, today: int) -> list[int]:
    """The segments of customers without an order."""
    first = [_day(view.first_s, calendar, today) for view in views]
    looked = [_day(_last_look(view), calendar, today) for view in views]
    ids = lifecycle_ids(np.array(first, np.int64), np.array(looked, np.int64), today)
    return [int(one) for one in ids]


def days_since(view: View, calendar: Calendar, today: int) -> tuple[int | None, int | None]:
    """Days since the newest look at a product, and since the first event; None without one."""
    days = (_day(at_s, calendar, today) for at_s in (_last_look(view), view.first_s))
    looked, came = (None if day == NEVER else today - day for day in days)
    return looked, came


def _last_look(view: View) -> int:
    return max((view.last_signals.get(code, NEVER) for code in _LOOKS), default=NEVER)


def _day(at_s: int, calendar: Calendar, today: int) -> int:
    """The day of an instant, NEVER without one; what a fast clock dated ahead is today's."""
    return NEVER if at_s < 0 else min(calendar.day(at_s), today)
