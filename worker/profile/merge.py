"""Join two profiles: merge(profile(X), profile(Y)) = profile(X with Y), also with shared events.

Orders, registers and times are sets and maxima, so sharing cannot double them. Signal counts are
sums: an event that both memories hold was counted twice, and its cells are lowered again by one.
Sharing is therefore exact as far as the memories reach (`dedup_window_s`).
"""

from __future__ import annotations

from collections import Counter

from worker.profile import memory as id_memory
from worker.profile.block import Block
from worker.profile.codec import pack_record, settle, thaw, unpack_record
from worker.profile.fold import state
from worker.profile.ledger import NEVER, OrderRecord, Profile, order_at, week_of


def merge(
    left: Profile, left_memory: bytes, right: Profile, right_memory: bytes
) -> tuple[Profile, bytes]:
    """The profile of both event sets, and the memory of both. Neither argument is used afterwards.

    Both cold parts must be loaded (CodecError otherwise).
    """
    thaw(left)
    _join_times(left, right)
    _join_orders(left, right)
    _join_signals(left, right, _shared(left_memory, right_memory))
    settle(left)
    joined = dict.fromkeys((*id_memory.records(left_memory), *id_memory.records(right_memory)))
    seen: dict[tuple[bytes, int], id_memory.Record] = {}
    for record in sorted(joined, key=lambda one: (one.entry_s, one.id_hash, one.cell)):
        seen.setdefault((record.id_hash, record.cell), record)
    return left, id_memory.pack(seen.values())


def _join_times(left: Profile, right: Profile) -> None:
    known = [at_s for at_s in (left.first_s, right.first_s) if at_s != NEVER]
    left.first_s = min(known, default=NEVER)
    left.last_s = max(left.last_s, right.last_s)
    for name, register in right.registers.items():
        held = left.registers.get(name)
        if held is None or (held[0], held[1]) < (register[0], register[1]):
            left.registers[name] = register
    for code, at_s in right.last_signals.items():
        left.last_signals[code] = max(left.last_signals.get(code, at_s), at_s)


def _join_orders(left: Profile, right: Profile) -> None:
    blocks = thaw(left)
    held: dict[str, OrderRecord] = {}
    for block in blocks.values():
        held |= {order_id: unpack_record(packed) for order_id, packed in block.orders.items()}
        block.orders.clear()
    for block in thaw(right).values():
        for order_id, packed in block.orders.items():
            mine = held.setdefault(order_id, [[], [], []])
            for part, statements in zip(mine, unpack_record(packed), strict=True):
                for statement in statements:
                    state(part, statement)
    for order_id, record in held.items():
        blocks.setdefault(week_of(order_at(record)), Block()).orders[order_id] = pack_record(record)


def _join_signals(left: Profile, right: Profile, shared: Counter[int]) -> None:
    blocks = thaw(left)
    for week, block in thaw(right).items():
        counts = blocks.setdefault(week, Block()).signals
        for key, count in block.signals.items():
            counts[key] = counts.get(key, 0) + count
    for week, block in blocks.items():
        for key in list(block.signals):
            block.signals[key] -= shared.get(id_memory.cell_hash(week, key), 0)
            if block.signals[key] <= 0:
                del block.signals[key]


def _shared(left_memory: bytes, right_memory: bytes) -> Counter[int]:
    """How many events of both sides raised each cell."""

    def cells(memory: bytes) -> set[tuple[bytes, int]]:
        return {(one.id_hash, one.cell) for one in id_memory.records(memory)}

    return Counter(cell for _, cell in cells(left_memory) & cells(right_memory) if cell)
