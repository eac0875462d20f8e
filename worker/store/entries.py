"""Entries of the event streams: how they are written, and what is made of anything else.

event   the event, bytes as they came; of another kind what it is about
quiet   present: pushes nothing to the CRM
kind    absent: an event; migrate: the profile of the customer named in `event` is written anew, in
        the current format, and nothing else changes
intake  the id that the entry had in the intake
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

EVENT: Final = "event"
MIGRATE: Final = "migrate"
#: Kind of an entry without the field `event`: no producer can name it.
MISNAMED: Final = ""

_OURS: Final = frozenset((b"kind", b"quiet", b"intake"))


class Opened(NamedTuple):
    """What an entry holds."""

    kind: str
    event: bytes
    quiet: bool


def fields_of(event: bytes, *, quiet: bool, kind: str = EVENT) -> dict[bytes | str, bytes | str]:
    """The fields of an entry."""
    fields: dict[bytes | str, bytes | str] = {"event": event}
    if quiet:
        fields["quiet"] = "1"
    if kind != EVENT:
        fields["kind"] = kind
    return fields


def opened(fields: Mapping[bytes, bytes]) -> Opened:
    """Read an entry. What has no field `event` keeps all that the producer wrote instead."""
    event = fields.get(b"event")
    kind = fields[b"kind"].decode(errors="replace") if b"kind" in fields else EVENT
    if event is None:
        kind = kind if b"kind" in fields else MISNAMED
        event = _all_of(fields)
    return Opened(kind, event, b"quiet" in fields)


def refusal(kind: str) -> tuple[str, str]:
    """Why an entry of this kind is refused: reason and detail."""
    if kind == MISNAMED:
        return "missing_event_field", "The entry has no field `event`."
    if kind == MIGRATE:
        return "wrong_shard", "The customer to migrate does not live in this shard."
    return "unknown_kind", f"entry kind {kind[:40]!r}"


def _all_of(fields: Mapping[bytes, bytes]) -> bytes:
    r"""A single field's bytes, so that they can be replayed as the event; else all as JSON.

    >>> _all_of({b"data": b"{}"}), _all_of({b"a": b"1", b"b": bytes([255])})
    (b'{}', b'{"a": "1", "b": "\\udcff"}')
    """
    theirs = {name: value for name, value in fields.items() if name not in _OURS}
    if len(theirs) == 1:
        return next(iter(theirs.values()))
    texts = {_text(name): _text(value) for name, value in theirs.items()}
    return json.dumps(texts).encode() if texts else b""


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
