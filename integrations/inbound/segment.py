"""Segment Spec JSON: track, identify, alias, page, screen, group.

Sources: https://segment.com/docs/connections/spec/ (common fields, each call),
https://segment.com/docs/connections/spec/ecommerce/v2/ (properties of the e-commerce events).

The models name only what is read; other fields pass unseen. `null` means absent. They are typed
dicts: pydantic checks a batch of them in a third of the time that model instances take.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Required

from pydantic import ConfigDict, Discriminator, Field, Tag
from typing_extensions import TypedDict

from integrations.inbound.names import ORDER_KINDS, RETRAIN_REQUESTED, canonical_name

CALLS: Final = frozenset({"track", "identify", "alias", "page", "screen", "group"})
MAX_ID: Final = 200
MAX_NAME: Final = 100
NO_CONTROL: Final = r"^[^\u0000-\u001F\u007F-\u009F]*$"
MODELS: Final = ("segments", "recommendations", "forecasts")
"""Names of the models that can be trained."""

Id = Annotated[
    Annotated[str, Field(max_length=MAX_ID, pattern=NO_CONTROL)]
    | Annotated[int, Field(ge=0, lt=2**63)],
    Field(union_mode="left_to_right"),
]
"""A string without control characters, or a whole number that is read as its digits."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=NO_CONTROL)]

Amount = Annotated[
    Annotated[float, Field(allow_inf_nan=False)]
    | Annotated[str, Field(max_length=32, pattern=r"^[+-]?[0-9]{1,15}(\.[0-9]{1,9})?$")],
    Field(union_mode="left_to_right"),
]
"""A decimal in major units: a JSON number, or a string such as "22.50"."""

Time = Annotated[str, Field(max_length=64)]

_STRICT: Final = ConfigDict(strict=True)


class Consent(TypedDict, total=False):
    """`context.consent`: what the customer agreed to, by category."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    categoryPreferences: dict[Name, bool] | None


class Context(TypedDict, total=False):
    """The part of `context` that is read."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    consent: Consent | None
    integration: Any  # what passed the event on; anything but an object with a name is no name
    library: Any  # what made it, likewise


class Common(TypedDict, total=False):
    """Fields of every call."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    messageId: Id | None
    userId: Id | None
    anonymousId: Id | None
    timestamp: Time | None
    originalTimestamp: Time | None
    context: Context | None


class Item(TypedDict, total=False):
    """A product that was looked at, added, shared ..."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    product_id: Id | None
    sku: Id | None


class Line(Item, total=False):
    """A line of an order."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    price: Amount | None
    quantity: Amount | None


class SignalProperties(Item, total=False):
    """Properties of every track event that is not an order, and of page and screen."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    products: list[Item] | None
    items: Any
    categories: Any
    categoryPreferences: Any


class OrderProperties(TypedDict, total=False):
    """Properties of Order Completed, Updated, Refunded and Cancelled."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    order_id: Id | None
    currency: Annotated[str, Field(max_length=8)] | None
    revenue: Amount | None
    subtotal: Amount | None
    total: Amount | None
    tax: Amount | None
    shipping: Amount | None
    discount: Amount | None
    products: list[Line] | None


class Order(Common, total=False):
    """An order: `track` under one of the four order names."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Required[Literal["track"]]
    event: Required[Name]
    properties: OrderProperties | None


class Track(Common, total=False):
    """Any other `track`: behavior, engagement, consent."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Required[Literal["track"]]
    event: Required[Name]
    properties: SignalProperties | None


class RetrainProperties(TypedDict, total=False):
    """Properties of Model Retrain Requested: without `models`, all of them."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    models: (
        Annotated[
            list[Literal["segments", "recommendations", "forecasts"]],
            Field(min_length=1, max_length=len(MODELS)),
        ]
        | None
    )
    reason: Annotated[str, Field(max_length=MAX_ID, pattern=NO_CONTROL)] | None


class RetrainRequest(Common, total=False):
    """Model Retrain Requested: models shall be trained. It becomes part of no profile."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Required[Literal["track"]]
    event: Required[Name]
    properties: RetrainProperties | None


class Page(Common, total=False):
    """`page`: a page of a site was seen."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Required[Literal["page"]]
    properties: SignalProperties | None


class Screen(Common, total=False):
    """`screen`: a screen of an app was seen."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Required[Literal["screen"]]
    properties: SignalProperties | None


class Identify(Common, total=False):
    """`identify`: traits of the customer."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Required[Literal["identify"]]
    traits: dict[str, Any] | None


class Alias(Common, total=False):
    """`alias`: previousId and userId are the same customer."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Required[Literal["alias"]]
    previousId: Required[Id]


class Group(Common, total=False):
    """`group`: the customer belongs to a group, such as a company."""

    __pydantic_config__ = _STRICT  # type: ignore[misc]
    type: Required[Literal["group"]]
    groupId: Required[Id]


_TAGS: Final[dict[str, str]] = {**dict.fromkeys(ORDER_KINDS, "order"), RETRAIN_REQUESTED: "retrain"}


def tag_of(event: Mapping[str, Any]) -> str | None:
    """Which model reads the event: its type, or "order" and "retrain" for names of track events."""
    kind = event.get("type")
    if kind == "track":
        name = event.get("event")
        return _TAGS.get(canonical_name(name), "track") if isinstance(name, str) else "track"
    return kind if isinstance(kind, str) and kind in CALLS else None


CustomerEvent = Annotated[
    Annotated[Order, Tag("order")]
    | Annotated[RetrainRequest, Tag("retrain")]
    | Annotated[Track, Tag("track")]
    | Annotated[Identify, Tag("identify")]
    | Annotated[Alias, Tag("alias")]
    | Annotated[Page, Tag("page")]
    | Annotated[Screen, Tag("screen")]
    | Annotated[Group, Tag("group")],
    Discriminator(tag_of),
]
"""The event contract in, discriminated by `type` (and, for track, by some of its names)."""
