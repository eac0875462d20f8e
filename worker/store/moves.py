"""Who is in which segment, and who moved: read-only, shard by shard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from worker.store.keys import Keys
from worker.store.refreshing import Held, read_insight
from worker.store.scripts import Client

_PAGE: Final = 500


class Moved(NamedTuple):
    """A recorded transition: when its insight was written, and what it says."""

    at_s: int
    fields: dict[str, Any]


class Moves:
    """Insights and transitions of all customers."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self._keys.shards

    def insights(self, shard: int) -> Iterator[tuple[str, Held]]:
        """The customers of a shard who have an insight, and it."""
        ids = self._client.sscan_iter(self._keys.customers(shard), count=_PAGE)
        customers = sorted({one.decode() for one in ids})
        for start in range(0, len(customers), _PAGE):
            page = customers[start : start + _PAGE]
            values = self._client.mget([self._keys.insight(shard, who) for who in page])
            for customer, value in zip(page, values, strict=True):
                if value:
                    yield customer, read_insight(value)

    def transitions(self, shard: int, since_s: int) -> list[Moved]:
        """The transitions of a shard from an instant on, a customer's in their sequence."""
        rows = self._client.zrangebyscore(
            self._keys.transitions(shard), since_s, "+inf", withscores=True
        )
        found = [Moved(int(at_s), json.loads(member)) for member, at_s in rows]
        return sorted(found, key=lambda one: (one.at_s, one.fields.get("insight_version", 0)))
