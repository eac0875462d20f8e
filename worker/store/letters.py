"""Dead letters: deliveries that were given up, with the reason; found by filter and sent again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.store.delivering import DeliverStore, Row
from worker.store.keys import Keys
from worker.store.scripts import Client


class Letter(NamedTuple):
    """A delivery that was given up.

    name      as stored
    code      why, in the words of the adapter (`http_400`), for filters
    first_ms  when its first attempt began
    event     of a destination of events: as of [Unix s]|event; else empty
    """

    name: bytes
    row: Row
    at_ms: int
    code: str
    detail: str
    delivery_id: str
    attempts: int
    version: int
    first_ms: int
    event: str


class Filter(NamedTuple):
    """Which letters; what is None or empty holds for all.

    code      its beginning: `http_4` finds http_400 and http_404
    since_ms  given up at or after
    until_ms  given up before
    """

    destination: str | None = None
    customers: frozenset[str] = frozenset()
    code: str = ""
    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, letter: Letter) -> bool:
        """Is the letter meant?"""
        return (
            self.destination in {None, letter.row.destination}
            and (not self.customers or letter.row.customer_id in self.customers)
            and letter.code.startswith(self.code)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
            and (self.until_ms is None or letter.at_ms < self.until_ms)
        )


ALL: Final = Filter()


class Letters:
    """The dead letters of all shards."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._store = DeliverStore(client, keys)

    def find(self, wanted: Filter = ALL) -> list[Letter]:
        """Letters that a filter names, newest first."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.hgetall(self._keys.dead(shard))
        letters = [
            letter
            for shard, reply in enumerate(pipeline.execute())
            for name, value in reply.items()
            if wanted.holds(letter := _read(shard, name, value))
        ]
        return sorted(letters, key=lambda letter: -letter.at_ms)

    def replay(self, letters: Sequence[Letter], now_ms: int) -> int:
        """Send them again: the newest insight of each customer, or the very event under its id.

        An event goes to the end of its lane.
        """
        self._store.send_again([one.row for one in letters if not one.event], now_ms)
        events = sorted((one for one in letters if one.event), key=lambda one: one.first_ms)
        pipeline = self._client.pipeline(transaction=False)
        for one in events:
            shard, destination, customer = one.row
            entry = f"{now_ms}|{one.event}"
            pipeline.rpush(self._keys.lane(shard, destination, customer), entry)
            pipeline.zadd(self._keys.outbox(shard, destination), {customer: now_ms}, nx=True)
            pipeline.hdel(self._keys.dead(shard), one.name)
        if events:
            pipeline.execute()
        return len(letters)


def _read(shard: int, name: bytes, value: bytes) -> Letter:
    at_ms, _, text = value.partition(b"|")
    fields = json.loads(text)
    row = Row(shard, fields.pop("destination"), fields.pop("customer_id"))
    return Letter(name=name, row=row, at_ms=int(at_ms), **fields)
