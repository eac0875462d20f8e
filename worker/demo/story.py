"""One customer in words: what they did last, and why the CRM now says what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worker.customer import find, record
from worker.why import explain

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

_ITEMS = 3


def story(active: Runtime, customer_id: str) -> list[tuple[str, str]]:
    """Headed lines about a customer who has a full insight."""
    found = find(active, customer_id)
    insight, told = found.insight or {}, explain(active, found)
    profile = record(active, found)["profile"]
    lines = (
        [("last order", _order(profile["recent_orders"][0]))] if profile["recent_orders"] else []
    )
    if segment := insight.get("segment"):
        lines += [("segment", _segment(segment)), ("because", _because(told["features"]))]
    lines += [
        ("buy again" if at == 0 else "", f"{one['item_id']}: {one['reason']}")
        for at, one in enumerate(insight.get("buy_again", [])[:_ITEMS])
    ]
    lines += [
        ("new for you" if at == 0 else "", f"{one['item_id']}: {one['reason']}")
        for at, one in enumerate(insight.get("new_for_you", [])[:_ITEMS])
    ]
    if insight.get("purchase_probability_30d") is not None:
        lines += [("forecast", text) for text in [_forecast(insight)]]
    delivery = told["delivery"]
    lines.append(("CRM", f"{delivery['why']} (delivery {delivery['delivery_id']})"))
    return lines


def _order(order: dict[str, Any]) -> str:
    items = list(order["items"])
    more = f" and {len(items) - _ITEMS} more" if len(items) > _ITEMS else ""
    amount = "" if order["amount"] is None else f", {order['amount']:.2f} {order['currency']}"
    return f"{order['at']}{amount}: {', '.join(items[:_ITEMS])}{more}"


def _segment(segment: dict[str, Any]) -> str:
    before = segment.get("previous_id")
    came = f", came from segment {before}" if before is not None else ""
    return f"{segment['name']} (segment {segment['id']}) since {segment['since']}{came}"


def _because(features: dict[str, Any]) -> str:
    text = (
        f"bought on {features['frequency_days']} days for {features['money']:,.2f}"
        f" {features['currency']}, last {features['recency_days']:.0f} days ago"
    )
    others = [one for one in features["nearest_segments"] if not one["chosen"]]
    chosen = [one for one in features["nearest_segments"] if one["chosen"]]
    if others and chosen:
        text += (
            f"; distance to the centroid {chosen[0]['distance']:.2f},"
            f" to {others[0]['name']!r} {others[0]['distance']:.2f}"
        )
    return text


def _forecast(insight: dict[str, Any]) -> str:
    parts = [f"buys within 30 days with {insight['purchase_probability_30d']:.0%}"]
    if window := insight.get("next_order_window"):
        parts.append(f"next order {window['p10']} to {window['p90']}, median {window['p50']}")
    if insight.get("clv_12m") is not None:
        parts.append(f"{insight['clv_12m']:,.2f} {insight['currency']} within 12 months")
    return "; ".join(parts)
