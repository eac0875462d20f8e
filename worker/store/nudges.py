"""Nudges: customers whose list somebody else's event may have changed. A mailbox of refresh.

Refresh puts them for customers of any shard, and takes them by compare-and-delete; whoever is
refreshed because of a nudge nudges nobody. A lost nudge is repaired by the clock's daily look.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.store.heads import Heads
from worker.store.keys import Keys
from worker.store.scripts import Call, Client, Scripts

#: Nudged customers that may wait in a shard; more are left to the clock.
MOST_WAITING: Final = 1_000


class Nudge(NamedTuple):
    """A customer to look at again, and since when; a millisecond later each time he is named."""

    shard: int
    customer_id: str
    at_ms: int


class Nudges:
    """The nudges of all shards."""

    def __init__(self, client: Client, keys: Keys, *, most_waiting: int = MOST_WAITING) -> None:
        self._keys = keys
        self._scripts = Scripts(client)
        self._heads = Heads(client)
        self._most_waiting = most_waiting

    def put(self, customer_ids: Sequence[str], at_ms: int) -> int:
        """Nudge customers; how many of them wait now. To repeat it costs another look at most."""
        by_shard: dict[int, list[str]] = {}
        for customer in customer_ids:
            by_shard.setdefault(self._keys.shard(customer), []).append(customer)
        calls = [
            Call(
                "nudge",
                [self._keys.nudges(shard), self._keys.customers(shard)],
                [self._most_waiting, at_ms, *customers],
            )
            for shard, customers in by_shard.items()
        ]
        return sum(self._scripts.run_all(calls)) if calls else 0

    def waiting(self, limit: int) -> list[Nudge]:
        """Nudged customers, those who wait longest first, at most `limit` a shard."""
        keys = [self._keys.nudges(shard) for shard in range(self._keys.shards)]
        return [Nudge(*one) for one in self._heads.read(keys, [limit] * len(keys))]

    def take(self, nudges: Sequence[Nudge]) -> None:
        """Drop nudges that were answered; one that came again meanwhile stays."""
        by_shard: dict[int, list[object]] = {}
        for shard, customer, at_ms in nudges:
            by_shard.setdefault(shard, []).extend((customer, at_ms))
        calls = [
            Call("take_nudges", [self._keys.nudges(shard)], args)
            for shard, args in by_shard.items()
        ]
        if calls:
            self._scripts.run_all(calls)
