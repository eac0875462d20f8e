"""The part of an insight that is fact: orders and money so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from models.history import Histories, purchase_stats
from worker.insights.figures import CURRENCY_UNKNOWN, major

_MONEY: Final = ("historic_clv", "average_order_value")


def add_history(
    parts: Sequence[dict[str, Any]],
    past: Histories,
    today: int,
    currency: str,
    unknown: Sequence[bool],
) -> None:
    """What the customer did: facts, no model.

    unknown  whose money is in part of an unknown currency: no sum is told
    """
    stats = purchase_stats(past, today)
    for i, part in enumerate(parts):
        orders, paid = int(stats.orders[i]), int(stats.paid_orders[i])
        frequency = float(stats.frequency[i])
        part["historic_number_of_orders"] = orders
        part["historic_clv"] = None
        if unknown[i]:
            part["abstained"] |= dict.fromkeys(_MONEY, CURRENCY_UNKNOWN)
        elif paid:
            part["currency"] = currency
            part["historic_clv"] = major(int(stats.total_minor[i]), currency)
            part["average_order_value"] = major(float(stats.mean_paid_minor[i]), currency)
        if frequency > 0:
            part["average_days_between_orders"] = round(float(stats.recency[i]) / frequency, 2)
