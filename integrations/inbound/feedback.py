"""What a shop tells about recommendations: `Recommendation Shown` and `Recommendation Clicked`.

An event names items in `items`, each an id or an object with `item_id`, `rec_id`, `list`,
`position` and `version`; what an object does not say, the event's properties say for all of them.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from integrations.inbound.products import item_id_of
from integrations.inbound.reading import Reading, parse, unwrap

SHOWN: Final = "Recommendation Shown"
CLICKED: Final = "Recommendation Clicked"
LISTS: Final = ("buy_again", "new_for_you")
_MOST_NUMBER: Final = 10_000
_SHARED: Final = ("rec_id", "list", "position", "version")


class Touch(NamedTuple):
    """One item that was shown or clicked.

    rec_id    of the insight's list; "" = the event does not say
    list      one of `LISTS`, "" = it does not say
    position  from 1; 0 = it does not say
    version   of the recommendations model, from 1; 0 = it does not say
    """

    item_id: str
    rec_id: str
    list: str
    position: int
    version: int = 0


def touches_in(raw: bytes, reading: Reading) -> list[Touch]:
    """The items of such an event; raise RejectionError if it cannot be parsed."""
    call = parse(raw, reading)
    if "specversion" in call:
        call, _ = unwrap(call)
    properties = call.get("properties")
    if not isinstance(properties, dict):
        return []
    items = properties.get("items") or properties.get("products") or [properties]
    rows = items if isinstance(items, list) else [items]
    found = []
    for row in rows:
        fields = row if isinstance(row, dict) else {"item_id": row}
        item_id = item_id_of(fields)
        if item_id:
            found.append(_touch(item_id, {**_shared(properties), **fields}))
    return found


def _shared(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: properties[name] for name in _SHARED if name in properties}


def _touch(item_id: str, fields: dict[str, Any]) -> Touch:
    named, rec_id = fields.get("list"), fields.get("rec_id")
    return Touch(
        item_id,
        rec_id[:64] if isinstance(rec_id, str) else "",
        named if named in LISTS else "",
        _number(fields.get("position")),
        _number(fields.get("version")),
    )


def _number(given: object) -> int:
    told = given if isinstance(given, int) and not isinstance(given, bool) else 0
    return told if 0 < told < _MOST_NUMBER else 0
