"""What one UTC week of a ledger holds: orders and counts, each encoded until it is looked at.

Most events change one of the two: the other goes from stored bytes to stored bytes as it is, and
a count is raised without decoding those beside it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

import msgpack

#: Between the cells of encoded counts, and between a cell and its count. The door refuses names and
#: ids that hold them, and they sort before all that cells hold: lines are in the order of cells.
_LINE: Final = "\x1e"
_COUNT: Final = "\x1d"
_pack: Final = msgpack.Packer(use_bin_type=True).pack


class CodecError(ValueError):
    """The bytes are no profile of this or an older release."""


class Block:
    """The orders and signal counts of a week. An empty part is encoded as nothing."""

    __slots__ = ("_orders", "_signals")

    def __init__(
        self, orders: dict[str, bytes] | bytes = b"", signals: dict[str, int] | str = ""
    ) -> None:
        self._orders = orders
        self._signals = signals

    def __bool__(self) -> bool:
        return bool(self._orders or self._signals)

    @property
    def orders(self) -> dict[str, bytes]:
        """Order id -> its record, encoded (`codec.pack_record`): most events change none.

        Raises CodecError when the bytes are damaged.
        """
        if isinstance(self._orders, bytes):
            self._orders = _orders_in(self._orders)
        return self._orders

    @property
    def signals(self) -> dict[str, int]:
        """Cell -> count.

        Raises CodecError when the text is damaged.
        """
        if isinstance(self._signals, str):
            self._signals = _signals_in(self._signals)
        return self._signals

    def count(self, cell: str) -> None:
        """Raise the count of a cell by one."""
        if isinstance(self._signals, str):
            self._signals = _raised(self._signals, cell)
        else:
            self._signals[cell] = self._signals.get(cell, 0) + 1

    def encoded_orders(self) -> bytes:
        """The msgpack map of the orders, by order id."""
        if isinstance(self._orders, bytes):
            return self._orders
        packed: bytes = _pack(in_order(self._orders)) if self._orders else b""
        return packed

    def encoded_signals(self) -> str:
        r"""A line for each cell, in order: cell, 0x1d, count; between lines 0x1e.

        >>> Block(signals={"v": 2, "a": 1}).encoded_signals()
        'a\x1d1\x1ev\x1d2'
        """
        if isinstance(self._signals, str):
            return self._signals
        return _LINE.join(sorted([f"{cell}{_COUNT}{n}" for cell, n in self._signals.items()]))


def in_order(mapping: dict[str, Any]) -> Mapping[str, Any]:
    """The map with its keys in order; most are already."""
    if len(mapping) < 2:
        return mapping
    keys = list(mapping)
    ordered = sorted(keys)
    return mapping if keys == ordered else {key: mapping[key] for key in ordered}


def _orders_in(packed: bytes) -> dict[str, bytes]:
    try:
        found = msgpack.unpackb(packed) if packed else {}
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CodecError(f"orders are damaged: {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise CodecError("orders are damaged")
    return found


def _signals_in(text: str) -> dict[str, int]:
    if not text:
        return {}
    parts = [line.partition(_COUNT) for line in text.split(_LINE)]
    try:
        return {cell: int(count) for cell, _, count in parts}
    except ValueError:
        raise CodecError("counts are damaged") from None


def _raised(text: str, cell: str) -> str:
    lines = text.split(_LINE) if text else []
    start = cell + _COUNT
    at = bisect_left(lines, start)
    if at < len(lines) and lines[at].startswith(start):
        try:
            lines[at] = f"{start}{int(lines[at][len(start) :]) + 1}"
        except ValueError:
            raise CodecError("counts are damaged") from None
    else:
        lines.insert(at, start + "1")
    return _LINE.join(lines)
