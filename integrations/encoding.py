"""Bytes of an insight, and the digest that tells whether a change is worth sending."""

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final

from integrations.insight import MONEY_FIELDS, CustomerInsight

_PROBABILITIES: Final = (
    "churn_probability",
    "purchase_probability_30d",
    "purchase_probability_90d",
    "p_alive",
)
_COUNTS: Final = ("predicted_number_of_orders", "expected_orders_90d")


def canonical_json(meaning: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8 with sorted keys.

    >>> canonical_json({"b": 1, "a": "é"}).decode()
    '{"a":"é","b":1}'
    """
    return json.dumps(meaning, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def insight_payload(insight: CustomerInsight) -> bytes:
    """Compact JSON, fields in the order of the contract: equal insights, equal bytes."""
    return insight.__pydantic_serializer__.to_json(insight)


def material(insight: CustomerInsight) -> bytes:
    """16 bytes over `material_view`: equal digests mean that nothing worth sending changed."""
    return blake2b(canonical_json(material_view(insight)), digest_size=16).digest()


def material_view(insight: CustomerInsight) -> dict[str, Any]:
    """What a receiver would act on, rounded so that daily drift alone sends nothing.

    Probabilities to 2 decimals, money to whole major units, expected orders to 1 decimal, days
    between orders to whole days, dates to weeks, lists as ids without scores, counts exactly;
    without as_of, insight_version, through_event_id and model versions.
    """
    window = insight.next_order_window
    view: dict[str, Any] = {
        "segment": insight.segment and insight.segment.id,
        "similar": [each.customer_id for each in insight.similar_customers],
        "buy_again": [each.item_id for each in insight.buy_again],
        "new_for_you": [each.item_id for each in insight.new_for_you],
        "currency": insight.currency,
        "orders": insight.historic_number_of_orders,
        "days_between": _rounded(insight.average_days_between_orders, 0),
        "next": _week(insight.expected_date_of_next_order),
        "window": window and [_week(window.p10), _week(window.p50), _week(window.p90)],
        "reliability": insight.forecast_reliability,
        "abstained": insight.abstained,
    }
    if insight.audiences:
        view["audiences"] = [each.id for each in insight.audiences]
    if insight.horizons:
        view["horizons"] = {
            name: [
                round(one.purchase_probability, 2),
                round(one.expected_orders, 1),
                None if one.expected_spend is None else round(one.expected_spend),
            ]
            for name, one in insight.horizons.items()
        }
    for name in _PROBABILITIES:
        view[name] = _rounded(getattr(insight, name), 2)
    for name in _COUNTS:
        view[name] = _rounded(getattr(insight, name), 1)
    for name in MONEY_FIELDS:
        amount: Decimal | None = getattr(insight, name)
        view[name] = None if amount is None else round(amount)
    return view


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0


def _week(day: date | None) -> int | None:
    return None if day is None else day.toordinal() // 7
