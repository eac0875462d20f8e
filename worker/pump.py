"""A pump: one work order that looks at all shards of its stage, works, and queues itself anew.

Bare XADDs from any language are noticed within a nap; stages of ours ring a bell and are heard at
once. A pump that vanishes loses its slot's lock after a few seconds, and `tick` starts another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from worker.clock import Clock


class SlotLock(Protocol):
    """The lock of a pump slot."""

    def take(self, name: str, token: str, ttl_ms: int) -> bool:
        """Take it; False while another pump holds it."""

    def renew(self, name: str, token: str, ttl_ms: int) -> bool:
        """Keep it; False if it is lost."""


def lock_name(stage: str, slot: int) -> str:
    """The lock of a slot."""
    return f"pump:{stage}:{slot}"


def run(
    work: Callable[[], int],
    wait: Callable[[], None],
    *,
    lock: SlotLock,
    name: str,
    token: str,
    ttl_ms: int,
    budget_s: float,
    clock: Clock,
) -> bool:
    """Work until the budget is spent.

    work    does one round, and returns how much it did
    wait    naps until the next look, when there was nothing to do
    token   names this pump; a successor that gets the same token goes on with its lock
    Returns True when the pump still holds its slot and has to be queued again.
    """
    if not (lock.renew(name, token, ttl_ms) or lock.take(name, token, ttl_ms)):
        return False
    start = renewed = clock.monotonic()
    while (now := clock.monotonic()) - start < budget_s:
        if (now - renewed) * 1000 > ttl_ms / 4:
            if not lock.renew(name, token, ttl_ms):
                return False
            renewed = now
        if not work():
            wait()
    return lock.renew(name, token, ttl_ms)
