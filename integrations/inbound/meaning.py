"""What each kind of call means: the part of a fact that does not depend on who and when."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from integrations.inbound import segment
from integrations.inbound.echo import is_passed_on, is_told_back
from integrations.inbound.names import (
    CONSENT_UPDATED,
    ITEM_LISTS,
    ORDER_KINDS,
    PAGE_VIEWED,
    RETRAIN_REQUESTED,
    SCREEN_VIEWED,
    Kind,
    canonical_name,
)
from integrations.inbound.orders import order_fact
from integrations.inbound.reading import Reading, checked_id
from integrations.inbound.registers import Register, consents, track_registers, trait_registers
from integrations.rejection import RejectionError

_NO_ORDER: Final[tuple[str, str, int | None, tuple[tuple[str, int], ...]]] = ("", "", None, ())
_NOTHING: Final[Mapping[str, Any]] = {}


Meaning = tuple[
    Kind,
    str,
    tuple[str, ...],
    str,
    str,
    int | None,
    tuple[tuple[str, int], ...],
    tuple[Register, ...],
]
"""(kind, signal, items, order_id, currency, amount_minor, lines, registers): the last fields of
`integrations.facts.EventFact`, as a bare tuple because one is made per event."""

_ECHO: Final[Meaning] = (Kind.ECHO, "", (), *_NO_ORDER, ())


def _track(event: segment.Track, _id_hash: bytes, reading: Reading) -> Meaning:
    signal = canonical_name(event["event"])
    if not signal:
        raise RejectionError("missing_field", "event")
    if is_passed_on(event, signal, reading):
        return _ECHO
    properties = event.get("properties") or _NOTHING
    registers = track_registers(signal, event, properties)
    kind = Kind.REGISTERS if signal == CONSENT_UPDATED else Kind.SIGNAL
    items = touched_items(signal, properties)
    return (kind, signal, items, *_NO_ORDER, registers)


def _page(event: segment.Page, _id_hash: bytes, _reading: Reading) -> Meaning:
    items = touched_items(PAGE_VIEWED, event.get("properties") or _NOTHING)
    return (Kind.SIGNAL, PAGE_VIEWED, items, *_NO_ORDER, consents(event))


def _screen(event: segment.Screen, _id_hash: bytes, _reading: Reading) -> Meaning:
    items = touched_items(SCREEN_VIEWED, event.get("properties") or _NOTHING)
    return (Kind.SIGNAL, SCREEN_VIEWED, items, *_NO_ORDER, consents(event))


def _order(event: segment.Order, id_hash: bytes, reading: Reading) -> Meaning:
    signal = canonical_name(event["event"])
    kind = ORDER_KINDS[signal]
    order = order_fact(
        kind, event.get("properties") or {}, f"#{id_hash.hex()}", reading.default_currency
    )
    return (kind, signal, (), *order, consents(event))


def _retrain(_event: segment.RetrainRequest, _id_hash: bytes, _reading: Reading) -> Meaning:
    return (Kind.SIGNAL, RETRAIN_REQUESTED, (), *_NO_ORDER, ())


def _identify(event: segment.Identify, _id_hash: bytes, reading: Reading) -> Meaning:
    found = trait_registers(event.get("traits") or _NOTHING, reading.traits)
    found |= consents(event)
    if is_told_back(event, reading, is_kept=bool(found)):
        return _ECHO
    return (Kind.REGISTERS, "", (), *_NO_ORDER, tuple(sorted(found.items())))


def _alias(event: segment.Alias, _id_hash: bytes, _reading: Reading) -> Meaning:
    previous = event["previousId"]
    if not previous:
        raise RejectionError("missing_field", "previousId")
    registers = (("alias:" + str(previous), True), *consents(event))
    return (Kind.REGISTERS, "", (), *_NO_ORDER, registers)


def _group(event: segment.Group, _id_hash: bytes, _reading: Reading) -> Meaning:
    group = event["groupId"]
    if not group:
        raise RejectionError("missing_field", "groupId")
    registers = (*consents(event), ("group", str(group)))
    return (Kind.REGISTERS, "", (), *_NO_ORDER, registers)


READERS: Final[dict[str, Callable[[Any, bytes, Reading], Meaning]]] = {
    "track": _track,
    "order": _order,
    "retrain": _retrain,
    "page": _page,
    "screen": _screen,
    "identify": _identify,
    "alias": _alias,
    "group": _group,
}
"""Tag of `segment.tag_of` -> reader."""


def touched_items(signal: str, properties: Mapping[str, Any]) -> tuple[str, ...]:
    """Distinct item ids, in the order in which the event names them."""
    item = properties.get("product_id") or properties.get("sku")
    products = properties.get("products")
    if signal not in ITEM_LISTS and not products:
        return (str(item),) if item else ()
    found = [item, *(each.get("product_id") or each.get("sku") for each in products or ())]
    if signal in ITEM_LISTS:
        found += _listed_items(properties.get("items"))
    return tuple(dict.fromkeys(str(each) for each in found if each))


def _listed_items(listed: Any) -> list[str | int]:
    """`items` of a recommendation event: ids, or objects with product_id or sku."""
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise RejectionError("wrong_type", "properties.items")
    found: list[str | int] = []
    for position, each in enumerate(listed):
        item = each.get("product_id") or each.get("sku") if isinstance(each, dict) else each
        if item is not None:
            found.append(checked_id(item, f"properties.items.{position}"))
    return found
