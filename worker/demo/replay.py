"""Send the live events at an even rate, as a shop's own services would: XADD to the shard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from worker.demo.journey import LiveEvent
from worker.demo.reactions import Reactions
from worker.store.door import Arrival, Door
from worker.store.keys import shard_of
from worker.store.signals import Bells

_EVERY_S: Final = 0.01


def replay(
    events: Sequence[LiveEvent],
    seconds: float,
    *,
    door: Door,
    bells: Bells,
    shards: int,
    reactions: Reactions,
    poll: Callable[[], None],
) -> None:
    """Send all events within some seconds, or as soon after as this machine can.

    poll  called between two sendings
    """
    started = time.monotonic()
    sent = 0
    while sent < len(events):
        now = time.monotonic()
        until = min(len(events), int(len(events) * (now - started) / seconds) + 1)
        for event in events[sent:until]:
            reactions.sent(event.customer_id, event.event_id, time.monotonic())
            door.put(shard_of(event.customer_id, shards), [Arrival(event.body)])
        if until > sent:
            bells.ring("ingest")
        sent = until
        poll()
        time.sleep(_EVERY_S)
