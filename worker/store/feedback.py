"""Which recommended items customers were shown, and which they clicked: a log a shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgpack

from worker.store.keys import Keys
from worker.store.scripts import Client

#: Touches that are kept of one shard; older ones go first.
MOST_KEPT: Final = 200_000
_READ: Final = 1_000


class Touched(NamedTuple):
    """An item that was shown or clicked; see `integrations.inbound.feedback.Touch`.

    at_s      of the event, Unix s
    event     identity of the event: the same event may be told twice
    """

    customer_id: str
    at_s: int
    event: str
    clicked: bool
    item_id: str
    rec_id: str
    list: str
    position: int
    version: int = 0


class FeedbackStore:
    """Ingest appends, at least once; who reads drops repeats by event and item."""

    def __init__(self, client: Client, keys: Keys, *, most_kept: int = MOST_KEPT) -> None:
        self._client = client
        self._keys = keys
        self._most_kept = most_kept

    def put(self, touched: Mapping[int, Sequence[Touched]]) -> None:
        """Append what happened, by shard."""
        pipeline = self._client.pipeline(transaction=False)
        for shard, rows in touched.items():
            for one in rows:
                fields = {"touch": msgpack.packb(tuple(one))}
                key = self._keys.feedback(shard)
                pipeline.xadd(key, fields, maxlen=self._most_kept, approximate=True)
        pipeline.execute()

    def read(self, shard: int) -> Iterator[Touched]:
        """What happened to the customers of a shard, each once, as it came in."""
        seen: set[tuple[str, str]] = set()
        start = "-"
        while found := self._client.xrange(self._keys.feedback(shard), start, "+", count=_READ):
            for _, fields in found:
                one = Touched(*msgpack.unpackb(fields[b"touch"]))
                if (one.event, one.item_id) not in seen:
                    seen.add((one.event, one.item_id))
                    yield one
            start = "(" + found[-1][0].decode()
