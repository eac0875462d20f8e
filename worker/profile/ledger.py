"""The state of one customer: dated blocks of orders and signal counts, and last-writer-wins values.

A ledger is cut into blocks of one UTC week. The newest block is *open* and travels with the hot
part of the profile; the earlier ones are *cold*, encoded one behind another, and are read only when
an event needs them: an order whose id may already be there, or an event older than the open week.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from worker.profile.block import Block

#: One restated order: [at_s, id_hash, kind, currency, amount_minor | None, flat lines].
#: One refund: [at_s, id_hash, currency, amount_minor | None, flat lines].
#: One cancellation: [at_s, id_hash].
#: `flat lines` alternate item id and quantity in thousandths.
Statement = list[Any]

#: [versions, refunds, cancellations], each sorted, so that equal sets give equal bytes.
OrderRecord = list[list[Statement]]

#: [at_s, id_hash, value]: the greatest (at_s, id_hash) wins.
Register = list[Any]

NO_WEEK = -1
NEVER = -1
DAY_S = 86_400


def week_of(at_s: int) -> int:
    """Weeks since Monday 1969-12-29 UTC: the block that an instant belongs to."""
    return (at_s // DAY_S + 3) // 7


@dataclass(slots=True)
class Profile:
    """A decoded profile. `fold.apply` changes it in place; `codec.encode` gives it back as bytes.

    first_s, last_s   earliest and latest event time, Unix s; NEVER before the first
    registers         traits, consent, aliases: name -> [at_s, id_hash, value]
    last_signals      signal code -> latest event time, Unix s
    open_week         week of `block`, NO_WEEK while the ledger is empty
    cold              encoded earlier blocks; None when they were not loaded
    cold_len          bytes of `cold` that count (the stored value may be longer)
    spilled           blocks encoded behind `cold` since it was loaded
    blocks            every block by week, once the cold part had to be decoded
    """

    first_s: int = NEVER
    last_s: int = NEVER
    registers: dict[str, Register] = field(default_factory=dict)
    last_signals: dict[str, int] = field(default_factory=dict)
    open_week: int = NO_WEEK
    block: Block = field(default_factory=Block)
    cold: bytes | None = b""
    cold_len: int = 0
    spilled: bytes = b""
    blocks: dict[int, Block] | None = None


def order_at(record: OrderRecord) -> int:
    """The time of an order: its first completion, else first update, else first adjustment."""
    versions, refunds, cancels = record
    completed = [version[0] for version in versions if version[2] == 1]
    if completed:
        return int(min(completed))
    return int(min(entry[0] for entry in (versions or refunds or cancels)))
