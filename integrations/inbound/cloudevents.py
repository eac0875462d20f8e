"""CloudEvents 1.0, structured JSON: an envelope around Segment properties.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md and
.../formats/json-format.md, .../extensions/partitioning.md

CloudEvents             | read as
----------------------- | --------------------------------------------------------------
id, source              | messageId; the pair is the identity of the event
type                    | call and event name, see `call_of`
partitionkey or subject | userId
time                    | timestamp
data                    | properties (traits for identify)
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Required

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from integrations.inbound.names import CANONICAL, canonical_name
from integrations.inbound.segment import CALLS, MAX_ID, NO_CONTROL, Id, Name, Time
from integrations.rejection import Rejected, RejectionError

Source = Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=NO_CONTROL)]

OTHER_CALLS: Final = CALLS - {"track"}
OWN_PREFIX: Final = "com.crmreflex."
_VERSION: Final = re.compile(r"\.v[0-9]+$")

PATHS: Final[dict[str, str]] = {
    "messageId": "id",
    "event": "type",
    "userId": "subject",
    "timestamp": "time",
    "properties": "data",
    "traits": "data",
    "previousId": "data.previousId",
    "groupId": "data.groupId",
}
"""First step of a Segment path -> where the producer of a CloudEvent finds it."""


class CloudEvent(TypedDict, total=False):
    """The envelope; other attributes and extensions pass unseen."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]
    specversion: Required[Literal["1.0"]]
    id: Required[Source]
    source: Required[Source]
    type: Required[Name]
    subject: Id | None
    partitionkey: Id | None
    time: Time | None
    datacontenttype: str | None
    data: dict[str, Any] | None


@lru_cache(maxsize=4096)
def call_of(ce_type: str) -> tuple[str, str]:
    """Call and event name of a CloudEvents type.

    >>> call_of("com.crmreflex.order.completed.v1"), call_of("com.crmreflex.identify.v1")
    (('track', 'Order Completed'), ('identify', ''))
    >>> call_of("Order Completed"), call_of("org.example.badge.won")
    (('track', 'Order Completed'), ('track', 'org.example.badge.won'))
    """
    if ce_type.startswith(OWN_PREFIX):
        words = _VERSION.sub("", ce_type.removeprefix(OWN_PREFIX))
        name = canonical_name(words)
        if words in OTHER_CALLS:
            return words, ""
        return "track", name if name in CANONICAL else ce_type
    return (ce_type, "") if ce_type in OTHER_CALLS else ("track", canonical_name(ce_type))


def customer_in(envelope: Mapping[str, Any]) -> Any:
    """The attribute that names the customer: partitionkey, else subject."""
    return envelope.get("partitionkey") or envelope.get("subject")


def to_segment(envelope: CloudEvent) -> dict[str, Any]:
    """The Segment call that a valid envelope carries; raise RejectionError if it is not JSON."""
    content_type = (envelope.get("datacontenttype") or "application/json").partition(";")[0]
    subtype = content_type.strip().lower()
    if subtype != "application/json" and not subtype.endswith("+json"):
        raise RejectionError("bad_envelope", "datacontenttype")
    call, name = call_of(envelope["type"])
    data = envelope.get("data") or {}
    event: dict[str, Any] = {
        "type": call,
        "messageId": envelope["id"],
        "userId": customer_in(envelope),
        "timestamp": envelope.get("time"),
    }
    if call in {"track", "identify"}:
        event["context"] = {"integration": {"name": envelope["source"]}}
    if call == "track":
        event["event"] = name
    if call == "identify":
        event["traits"] = data
    elif call in {"alias", "group"}:
        event |= {key: data[key] for key in ("previousId", "groupId") if key in data}
    else:
        event["properties"] = data
    return event


def relocated(problem: Rejected) -> Rejected:
    """The same problem, its path told in CloudEvents attributes."""
    first, dot, rest = problem.path.partition(".")
    return problem._replace(path=PATHS.get(first, first) + dot + rest)
