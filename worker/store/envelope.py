"""The stored value of a profile: what depends on arrival, before what the events decide."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct(">BQiIH")
_FORMAT: Final = 1


class NewerEnvelopeError(ValueError):
    """A newer release wrote the value."""


class Envelope(NamedTuple):
    """A profile's place in its shard.

    seq               number of the commit that changed it last
    open_week         week of the open block: older events need the cold part
    memory_len        bytes of the id memory that count
    through_event_id  id of the event that was applied last, in stream order
    hot               hot part of the profile (`worker.profile.codec`)
    """

    seq: int
    open_week: int
    memory_len: int
    through_event_id: str
    hot: bytes


def pack(envelope: Envelope) -> bytes:
    """The stored value."""
    event_id = envelope.through_event_id.encode()
    header = _HEADER.pack(
        _FORMAT, envelope.seq, envelope.open_week, envelope.memory_len, len(event_id)
    )
    return header + event_id + envelope.hot


def open_week_of(value: bytes) -> int:
    """The open week of a stored value, without reading the rest; -1 where it cannot be told."""
    return int(_HEADER.unpack_from(value)[2]) if len(value) >= _HEADER.size else -1


def read_envelope(value: bytes) -> Envelope:
    """Read a stored value to look at it only: damaged ones get an empty, unreadable hot part."""
    try:
        return unpack(value)
    except ValueError:
        return Envelope(0, -1, 0, "", b"")


def unpack(value: bytes) -> Envelope:
    """Read a stored value.

    Raises ValueError when it is damaged, NewerEnvelopeError when it is of a newer release.
    """
    if value and value[0] > _FORMAT:
        raise NewerEnvelopeError(f"envelope format {value[0]}; this release reads up to {_FORMAT}")
    try:
        form, seq, open_week, memory_len, length = _HEADER.unpack_from(value)
    except struct.error:
        raise ValueError("the profile's envelope is damaged") from None
    end = _HEADER.size + length
    if form != _FORMAT or len(value) < end:
        raise ValueError("the profile's envelope is damaged")
    return Envelope(seq, open_week, memory_len, value[_HEADER.size : end].decode(), value[end:])
