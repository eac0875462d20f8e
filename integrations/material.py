"""What of an insight is worth sending: a digest that stays while a receiver has nothing to act on.

A forecast decays a little each day. A grid would be crossed by somebody every day, whatever its
width; so each figure has a dead band around the value that was material last, and the digest is a
function of what is known exactly and of those values. They are stored beside the insight.
"""

from __future__ import annotations

from datetime import date
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from integrations.encoding import canonical_json
from integrations.insight import CustomerInsight

_LEAST_ORDERS: Final = 0.1
_LEAST_MONEY: Final = 1.0  # major units


class DeadBands(NamedTuple):
    """How far a forecast may be from what was material last.

    probability  absolute
    relative     of orders and money: a part of the value (at least 0.1 orders, 1 major unit)
    days         of dates, at least; else as many days as the window of the next order is wide
    """

    probability: float = 0.06
    relative: float = 0.25
    days: int = 7


class Material(NamedTuple):
    """The digest, and the figures that it holds: empty where nothing was material yet."""

    digest: str = ""
    told: str = ""


DEAD_BANDS: Final = DeadBands()
NOTHING: Final = Material()

#: Values of one kind: probabilities, orders, money, dates as ordinals.
_Figures = tuple[tuple[float | None, ...], ...]


def material(
    insight: CustomerInsight, before: Material = NOTHING, bands: DeadBands = DEAD_BANDS
) -> Material:
    """What is material now: `before` itself where nothing worth sending changed since.

    Once anything is worth sending, all figures are told anew.
    """
    exact, now = canonical_json(exact_view(insight)), _figures(insight)
    if before.told and _near(now, _read(before.told), bands):
        same = Material(_digest(exact, before.told), before.told)
        if same == before:
            return before
    told = _written(now)
    return Material(_digest(exact, told), told)


def exact_view(insight: CustomerInsight) -> dict[str, Any]:
    """What a receiver acts on however little of it changes: no clock moves it without a reason.

    Lists are ids without scores; without as_of, insight_version, through_event_id, model versions
    and forecasts.
    """
    view: dict[str, Any] = {
        "segment": insight.segment and insight.segment.id,
        "similar": [each.customer_id for each in insight.similar_customers],
        "buy_again": [each.item_id for each in insight.buy_again],
        "new_for_you": [each.item_id for each in insight.new_for_you],
        "currency": insight.currency,
        "orders": insight.historic_number_of_orders,
        "days_between": insight.average_days_between_orders,
        "reliability": insight.forecast_reliability,
        "abstained": insight.abstained,
    }
    for name in ("historic_clv", "average_order_value"):
        amount = getattr(insight, name)
        view[name] = None if amount is None else str(amount)
    if insight.audiences:
        view["audiences"] = [each.id for each in insight.audiences]
    return view


def _figures(insight: CustomerInsight) -> _Figures:
    further = [insight.horizons[name] for name in sorted(insight.horizons)]
    window = insight.next_order_window
    ends = (window.p10, window.p50, window.p90) if window else (None, None, None)
    probabilities = (
        insight.churn_probability,
        insight.purchase_probability_30d,
        insight.purchase_probability_90d,
        insight.p_alive,
        *(one.purchase_probability for one in further),
    )
    orders = (
        insight.predicted_number_of_orders,
        insight.expected_orders_90d,
        *(one.expected_orders for one in further),
    )
    money = (
        insight.predicted_clv,
        insight.total_clv,
        insight.expected_spend_90d,
        insight.clv_12m,
        *(one.expected_spend for one in further),
    )
    return (
        probabilities,
        orders,
        tuple(None if amount is None else float(amount) for amount in money),
        tuple(map(_ordinal, (*ends, insight.expected_date_of_next_order))),
    )


def _near(now: _Figures, told: _Figures, bands: DeadBands) -> bool:
    """Whether every figure is within its dead band; one that comes or goes is not."""
    p10, _, p90, _ = told[3]
    width = (p90 or 0.0) - (p10 or 0.0)
    leasts = (bands.probability, _LEAST_ORDERS, _LEAST_MONEY, max(bands.days, width))
    parts = (0.0, bands.relative, bands.relative, 0.0)
    for values, others, least, part in zip(now, told, leasts, parts, strict=True):
        if len(values) != len(others):
            return False
        for value, other in zip(values, others, strict=True):
            if value == other:
                continue
            if value is None or other is None:
                return False
            if abs(value - other) > max(least, part * abs(other)):
                return False
    return True


def _digest(exact: bytes, told: str) -> str:
    return blake2b(exact + told.encode(), digest_size=16).hexdigest()


def _written(figures: _Figures) -> str:
    """The figures as text without separators of its neighbors.

    >>> _written(((0.25, None), (1.5,), (), (739000.0,)))
    '0.25,;1.5;;739000'
    """
    return ";".join(
        ",".join("" if one is None else f"{one:.15g}" for one in values) for values in figures
    )


def _read(told: str) -> _Figures:
    """The figures that `_written` described.

    >>> _read("0.25,;1.5;;739000")
    ((0.25, None), (1.5,), (None,), (739000.0,))
    """
    return tuple(
        tuple(float(one) if one else None for one in values.split(","))
        for values in told.split(";")
    )


def _ordinal(day: date | None) -> float | None:
    return None if day is None else float(day.toordinal())
