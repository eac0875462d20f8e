"""Events of an invented shop: 70 % behavior, 30 % orders of three lines, any customer alike."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

#: Events of one second of shop time: a busy shop, so that a run stays within some days.
PER_SECOND = 4
ITEMS = 5_000
BEHAVIOR = ("Product Viewed", "Product Viewed", "Product Added", "Product Added to Wishlist")


def customer(number: int) -> str:
    """The id of a customer."""
    return f"customer-{number:07d}"


def events(
    count: int, *, customers: int, end_s: int, seed: int, name: str = "e", orders: float = 0.3
) -> Iterator[tuple[str, bytes]]:
    """(customer id, event as JSON), `count` of them, the last one at `end_s`; no id comes twice."""
    rng = random.Random(seed)
    for i in range(count):
        who = customer(rng.randrange(customers))
        at_s = end_s - (count - 1 - i) // PER_SECOND
        yield who, event(who, f"{name}-{seed}-{i}", at_s, rng, is_order=rng.random() < orders)


def event(
    who: str,
    event_id: str,
    at_s: int,
    rng: random.Random,
    *,
    is_order: bool,
    items: Sequence[int] = (),
) -> bytes:
    """One event of a customer; an order is of some items, any three if none is named."""
    if is_order:
        products = [
            {
                "product_id": f"SKU-{item:05d}",
                "price": rng.randrange(100, 9900) / 100,
                "quantity": 1,
            }
            for item in items or rng.sample(range(ITEMS), 3)
        ]
        properties = {
            "order_id": f"order-{event_id}",
            "revenue": round(sum(product["price"] for product in products), 2),  # type: ignore[misc]
            "currency": "USD",
            "products": products,
        }
        name = "Order Completed"
    else:
        properties = {"product_id": f"SKU-{rng.randrange(ITEMS):05d}", "price": 19.99}
        name = rng.choice(BEHAVIOR)
    fields = {
        "type": "track",
        "event": name,
        "messageId": event_id,
        "userId": who,
        "timestamp": datetime.fromtimestamp(at_s, UTC).isoformat(),
        "properties": properties,
    }
    return json.dumps(fields, separators=(",", ":")).encode()
