"""Figures that contradict each other are projected, and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from models.forecast.outlook import Outlook

_SLACK = 1e-9


def project(outlooks: dict[int, Outlook]) -> tuple[dict[int, Outlook], NDArray[np.bool_]]:
    """Make the outlooks of all horizons agree.

    P(buy), orders and spend never fall as the horizon grows; P(buy) <= orders; low <= mean <= high.
    Returns  the outlooks, and (n,) of whom a mean had to move

    >>> from models.forecast.outlook import Outlook
    >>> month, quarter = (Outlook(*np.full((7, 1), value)) for value in (0.4, 0.3))
    >>> agreed, moved = project({30: month, 90: quarter})
    >>> agreed[90].buy, moved
    (array([0.4]), array([ True]))
    """
    found: dict[int, Outlook] = {}
    previous: Outlook | None = None
    moved = np.zeros(0, dtype=np.bool_)
    for horizon in sorted(outlooks):
        one = outlooks[horizon]
        buy = np.minimum(one.buy, 1.0)
        orders, spend = one.orders, one.spend_minor
        if previous is not None:
            buy = np.maximum(buy, previous.buy)
            orders = np.maximum(orders, previous.orders)
            spend = np.maximum(spend, previous.spend_minor)
        orders = np.maximum(orders, buy)
        off = (buy > one.buy + _SLACK) | (orders > one.orders + _SLACK)
        off |= spend > one.spend_minor * (1.0 + _SLACK)
        moved = off if not len(moved) else moved | off
        previous = found[horizon] = one._replace(
            buy=buy,
            orders=orders,
            orders_low=np.minimum(one.orders_low, np.floor(orders)),
            orders_high=np.maximum(one.orders_high, np.ceil(orders)),
            spend_minor=spend,
            spend_low_minor=np.minimum(one.spend_low_minor, spend),
            spend_high_minor=np.maximum(one.spend_high_minor, spend),
        )
    return found, moved
