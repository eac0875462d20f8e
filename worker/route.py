"""Route: events of producers that chose no shard go to the shard of their customer."""

from __future__ import annotations

from integrations.facts import DEFAULT_READING, Reading, Rejected, customer_of
from worker.store.door import Intake, IntakeEntry
from worker.store.entries import EVENT, refusal
from worker.store.keys import shard_of


def route(
    intake: Intake, shards: int, *, reading: Reading = DEFAULT_READING, limit: int = 1000
) -> int:
    """Move one batch of the intake on; how many entries it had.

    Any number of routers may run side by side, and a router may die anywhere: a shard takes an
    entry only if its intake id is greater than the last one it took.
    """
    entries = intake.read(limit)
    if not entries:
        return 0
    by_shard: dict[int, list[IntakeEntry]] = {}
    refused = []
    for entry in entries:
        if entry.kind != EVENT:
            reason, detail = refusal(entry.kind)
            refused.append((entry, reason, "", detail))
            continue
        customer = customer_of(entry.event, reading)
        if isinstance(customer, Rejected):
            refused.append((entry, *customer))
        else:
            by_shard.setdefault(shard_of(customer, shards), []).append(entry)
    if by_shard:
        intake.route(by_shard)
    intake.advance(entries[-1].id, refused)
    return len(entries)
