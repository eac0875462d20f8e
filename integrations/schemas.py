"""The two wire contracts: CustomerEvent comes in, CustomerInsight goes out.

`CustomerEvent` is Segment Spec JSON (see `integrations.inbound.segment`), or the same call in a
CloudEvents envelope (see `integrations.inbound.cloudevents`); docs/events.md tells producers.
`integrations.facts.read_events` reads it. `CustomerInsight` is what adapters send.
"""

from typing import Any, Final

from pydantic import TypeAdapter

from integrations.inbound.cloudevents import CloudEvent
from integrations.inbound.segment import (
    Alias,
    CustomerEvent,
    Group,
    Identify,
    Order,
    Page,
    RetrainRequest,
    Screen,
    Track,
)
from integrations.insight import (
    CustomerInsight,
    ModelVersions,
    NextOrderWindow,
    Recommendation,
    Segment,
    SimilarCustomer,
)

__all__ = [
    "Alias",
    "CloudEvent",
    "CustomerEvent",
    "CustomerInsight",
    "Group",
    "Identify",
    "ModelVersions",
    "NextOrderWindow",
    "Order",
    "Page",
    "Recommendation",
    "RetrainRequest",
    "Screen",
    "Segment",
    "SimilarCustomer",
    "Track",
    "customer_event_schema",
    "customer_insight_schema",
]

_EVENT: Final[TypeAdapter[Any]] = TypeAdapter(CustomerEvent)


def customer_event_schema() -> dict[str, Any]:
    """JSON Schema of what producers send."""
    return _EVENT.json_schema()


def customer_insight_schema() -> dict[str, Any]:
    """JSON Schema of what receivers get in `data`."""
    return CustomerInsight.model_json_schema(mode="serialization")
