"""Canonical bytes of a profile: equal sets of events give equal bytes.

Hot part   msgpack [version, first_s, last_s, cold_len, registers, last_signals, week, orders,
           signals], the last two of the open week, encoded on their own (`worker.profile.block`);
           in format 1 they were maps
Cold part  the closed weeks, oldest first: week (u16), length (u32), msgpack [orders, signals]
Orders     order id -> msgpack of its record, as bytes: decoded only when that order is looked at
Signals    cell -> count

Maps are written with sorted keys. A profile written by an older release is read by its own decoder
and is rewritten in the current form by the next commit; one of a newer release is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack

from worker.profile.block import Block, in_order
from worker.profile.block import CodecError as CodecError  # noqa: PLC0414 - raised here too
from worker.profile.ledger import OrderRecord, Profile

VERSION: Final = 2
_HEADER: Final = struct.Struct(">HI")
_BEFORE_BLOCK: Final = (int, int, int, int, dict, dict, int)
#: Types of the fields, by format.
_TYPES: Final = {1: (*_BEFORE_BLOCK, dict, dict), 2: (*_BEFORE_BLOCK, bytes, str)}
_pack: Final = msgpack.Packer(use_bin_type=True).pack


class NewerFormatError(CodecError):
    """A newer release wrote the profile: this worker must not touch it."""


class ColdWrite(NamedTuple):
    """Bytes to write into the stored cold part, from `offset` on; nothing behind them counts."""

    offset: int
    data: bytes


class Encoded(NamedTuple):
    """A profile as stored: the whole hot part and what is new of the cold one."""

    hot: bytes
    cold: ColdWrite | None


def decode(hot: bytes | None, cold: bytes | None = b"") -> Profile:
    """Read a profile. `cold` None leaves the cold part unloaded; `hot` None is a new customer.

    Raises CodecError when `hot` is damaged, or was written by a newer release.
    """
    if hot is None:
        return Profile()
    try:
        fields: list[Any] = msgpack.unpackb(hot, strict_map_key=False, use_list=True)
        version = int(fields[0])
    except (ValueError, TypeError, LookupError, OverflowError, msgpack.UnpackException) as error:
        raise CodecError(f"the profile cannot be decoded: {type(error).__name__}") from None
    if version > VERSION:
        raise NewerFormatError(f"profile format {version}; this release reads up to {VERSION}")
    if version not in DECODERS:
        raise CodecError(f"there is no profile format {version}")
    return DECODERS[version](fields, cold)


def version_of(hot: bytes) -> int:
    """The format of a stored profile.

    Raises CodecError when the bytes are none.
    """
    try:
        unpacker = msgpack.Unpacker()
        unpacker.feed(hot)
        unpacker.read_array_header()
        return int(unpacker.unpack())
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"the profile cannot be read: {type(error).__name__}") from None


def _decode(fields: list[Any], cold: bytes | None) -> Profile:
    if tuple(map(type, fields)) != _TYPES[fields[0]]:
        raise CodecError("the profile's fields are damaged")
    _, first_s, last_s, cold_len, registers, last_signals, week, orders, signals = fields
    if cold is not None and len(cold) < cold_len:
        raise CodecError(f"the cold part has {len(cold)} bytes of {cold_len}")
    if cold is None:
        held = None if cold_len else b""
    else:
        held = cold if len(cold) == cold_len else cold[:cold_len]
    block = Block(orders, signals)
    return Profile(first_s, last_s, registers, last_signals, week, block, held, cold_len)


#: Readers of every format that was ever released.
DECODERS: Final[dict[int, Callable[[list[Any], bytes | None], Profile]]] = {
    1: _decode,
    2: _decode,
}


def encode(profile: Profile) -> Encoded:
    """The canonical bytes of a profile, and what of its cold part has to be written."""
    cold, cold_len = None, profile.cold_len
    if profile.blocks is not None or profile.spilled:
        cold = _cold_write(profile)
        cold_len = cold.offset + len(cold.data) if cold else cold_len
    block = profile.block
    hot = _pack(
        [
            VERSION,
            profile.first_s,
            profile.last_s,
            cold_len,
            in_order(profile.registers),
            in_order(profile.last_signals),
            profile.open_week,
            block.encoded_orders(),
            block.encoded_signals(),
        ]
    )
    return Encoded(hot, cold)


def canonical(profile: Profile) -> bytes:
    """Hot and cold part in one: what "the same profile" means. The cold part must be loaded."""
    encoded = encode(profile)
    cold = (profile.cold or b"")[: encoded.cold.offset if encoded.cold else None]
    return encoded.hot + cold + (encoded.cold.data if encoded.cold else b"")


def pack_record(record: OrderRecord) -> bytes:
    """One order as bytes."""
    packed: bytes = _pack(record)
    return packed


def unpack_record(packed: bytes) -> OrderRecord:
    """Read one order.

    Raises CodecError when the bytes are damaged.
    """
    try:
        record: OrderRecord = msgpack.unpackb(packed)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"an order is damaged: {type(error).__name__}") from None
    return record


def thaw(profile: Profile) -> dict[int, Block]:
    """Decode the cold part, so that any block can change; `settle` puts the newest on top again."""
    if profile.blocks is None:
        if profile.cold is None:
            raise CodecError("the cold part of the profile was not loaded")
        profile.blocks = dict(iter_blocks(profile.cold + profile.spilled))
        if profile.block:
            profile.blocks[profile.open_week] = profile.block
    return profile.blocks


def settle(profile: Profile) -> None:
    """After a change of thawed blocks: drop empty ones, and open the newest."""
    blocks = thaw(profile)
    for week in [week for week, block in blocks.items() if not block]:
        del blocks[week]
    profile.open_week = max(blocks, default=-1)
    profile.block = blocks.get(profile.open_week) or Block()


def spill(profile: Profile) -> None:
    """Close the open block: its bytes go behind the cold part."""
    profile.spilled += encode_block(profile.open_week, profile.block)
    profile.block = Block()


def iter_blocks(cold: bytes) -> list[tuple[int, Block]]:
    """The closed blocks of a cold part, oldest first.

    Raises CodecError when the bytes are damaged.
    """
    found, offset = [], 0
    try:
        while offset < len(cold):
            week, length = _HEADER.unpack_from(cold, offset)
            offset += _HEADER.size + length
            orders, signals = msgpack.unpackb(cold[offset - length : offset])
            found.append((week, Block(orders, signals)))
    except (ValueError, struct.error, msgpack.UnpackException) as error:
        raise CodecError(f"the cold part is damaged: {type(error).__name__}") from None
    return found


def encode_block(week: int, block: Block) -> bytes:
    """One closed week as bytes."""
    body: bytes = _pack([in_order(block.orders), in_order(block.signals)])
    return _HEADER.pack(week, len(body)) + body


def _cold_write(profile: Profile) -> ColdWrite | None:
    if profile.blocks is None:
        return ColdWrite(profile.cold_len, profile.spilled) if profile.spilled else None
    weeks = sorted(week for week in profile.blocks if week != profile.open_week)
    new = b"".join(encode_block(week, profile.blocks[week]) for week in weeks)
    old = profile.cold or b""
    if new == old:
        return None
    same = _common_prefix(old, new)
    return ColdWrite(same, new[same:])


def _common_prefix(a: bytes, b: bytes) -> int:
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
