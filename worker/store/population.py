"""All profiles, shard by shard, read without blocking anybody; and what changed since."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgpack

from worker.store.envelope import read_envelope
from worker.store.keys import Keys
from worker.store.scripts import Client

_SCAN = 500
_READ = 100  # profiles of one command: the server does nothing else meanwhile


class Resident(NamedTuple):
    """A customer's profile as stored."""

    customer_id: str
    seq: int
    hot: bytes
    cold: bytes


class Watermark(NamedTuple):
    """A shard's state when it was read: epoch, cursor, and the last delta that was there: its id
    and its sequence.
    """

    shard: int
    epoch: str
    cursor: str
    delta: str
    seq: int = 0


class Changed(NamedTuple):
    """One commit's delta: its sequence, the customers that it changed, and their items."""

    id: str
    seq: int
    customers: list[tuple[str, list[str]]]


class Population:
    """Reads every customer. Events that arrive meanwhile may be missed; deltas tell afterwards."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self._keys.shards

    def shard_of(self, customer_id: str) -> int:
        """The shard of a customer."""
        return self._keys.shard(customer_id)

    def count(self) -> int:
        """Number of customers."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.scard(self._keys.customers(shard))
        return int(sum(pipeline.execute()))

    def customer_ids(self, shard: int) -> list[str]:
        """The customers of a shard, sorted."""
        ids = self._client.sscan_iter(self._keys.customers(shard), count=_SCAN)
        return sorted({customer.decode() for customer in ids})

    def residents(self, shard: int) -> Iterator[Resident]:
        """The profiles of a shard, by customer id."""
        ids = self.customer_ids(shard)
        for start in range(0, len(ids), _READ):
            yield from self.read(shard, ids[start : start + _READ])

    def read(self, shard: int, customer_ids: Sequence[str]) -> list[Resident]:
        """Some profiles of a shard; customers without one are left out."""
        parts = range(0, len(customer_ids), _READ)
        return [one for at in parts for one in self._read(shard, customer_ids[at : at + _READ])]

    def _read(self, shard: int, customer_ids: Sequence[str]) -> Iterator[Resident]:
        k = self._keys
        names = [k.profile(shard, c) for c in customer_ids] + [
            k.cold(shard, c) for c in customer_ids
        ]
        values = self._client.mget(names)
        for i, customer in enumerate(customer_ids):
            if values[i] is not None:
                envelope = read_envelope(values[i])
                cold = values[len(customer_ids) + i] or b""
                yield Resident(customer, envelope.seq, envelope.hot, cold)

    def ripen(self, now_s: int, spread_s: int) -> int:
        """Let the clock refresh every customer within `spread_s`; how many there are.

        A customer whose turn comes sooner keeps it.
        """
        count = 0
        for shard in range(self._keys.shards):
            ids = self.customer_ids(shard)
            for start in range(0, len(ids), _SCAN):
                chunk = ids[start : start + _SCAN]
                turns = {who: now_s + zlib.crc32(who.encode()) % (spread_s + 1) for who in chunk}
                self._client.zadd(self._keys.due(shard), turns, lt=True)
            count += len(ids)
        return count

    def watermark(self, shard: int) -> Watermark:
        """Where a shard stands now."""
        k = self._keys
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(k.epoch(shard))
        pipeline.hget(k.meta(shard), "cursor")
        pipeline.xrevrange(k.deltas(shard), count=1)
        epoch, cursor, last = pipeline.execute()
        return Watermark(
            shard,
            (epoch or b"").decode(),
            (cursor or b"0-0").decode(),
            last[0][0].decode() if last else "0-0",
            int(last[0][1][b"seq"]) if last else 0,
        )

    def epochs(self) -> list[str]:
        """The epoch of each shard."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.get(self._keys.epoch(shard))
        return [(epoch or b"").decode() for epoch in pipeline.execute()]

    def behind(self, marks: Sequence[Watermark]) -> int:
        """How many deltas came behind the mark of the shard that had most of them."""
        pipeline = self._client.pipeline(transaction=False)
        for mark in marks:
            pipeline.hget(self._keys.meta(mark.shard), "seq")
        newest = zip(marks, pipeline.execute(), strict=True)
        return max((int(seq or 0) - mark.seq for mark, seq in newest), default=0)

    def applied(self) -> int:
        """Number of events that were ever applied."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.hget(self._keys.meta(shard), "applied")
        return sum(int(value or 0) for value in pipeline.execute())

    def newest(self, after: Mapping[str, str], limit: int) -> tuple[list[str], dict[str, str]]:
        """Customers that the newest `limit` commits of each shard changed; and the last of these.

        after  as answered before, by shard: nothing up to it counts; of a shard that is not there
               only the last commit is told
        """
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            last = after.get(str(shard))
            least, count = ("-", 1) if last is None else ("(" + last, limit)
            pipeline.xrevrange(self._keys.deltas(shard), min=least, count=count)
        found: set[str] = set()
        seen = {}
        for shard, rows in enumerate(pipeline.execute()):
            last = after.get(str(shard))
            seen[str(shard)] = rows[0][0].decode() if rows else last or "0-0"
            for _, fields in rows if last is not None else ():
                found |= {str(customer) for customer, _ in msgpack.unpackb(fields[b"changed"])}
        return sorted(found), seen

    def deltas(self, after: Sequence[Watermark], limit: int = 200) -> list[list[Changed] | None]:
        """What changed in each shard behind a watermark; None where that is not known any more.

        It is not known when the shard began a new epoch, or its deltas were trimmed beyond the
        mark: then the shard has to be read anew.
        """
        pipeline = self._client.pipeline(transaction=False)
        for mark in after:
            pipeline.get(self._keys.epoch(mark.shard))
            pipeline.xrange(self._keys.deltas(mark.shard), min="(" + mark.delta, count=limit)
            pipeline.xrange(self._keys.deltas(mark.shard), count=1)
        replies = pipeline.execute()
        return [self._changed(mark, *replies[3 * i : 3 * i + 3]) for i, mark in enumerate(after)]

    def _changed(
        self, mark: Watermark, epoch: bytes | None, rows: list[Any], first: list[Any]
    ) -> list[Changed] | None:
        if (epoch or b"").decode() != mark.epoch:
            return None
        if first and _is_trimmed(mark, *first[0]):
            return None
        return [
            Changed(
                entry_id.decode(),
                int(fields[b"seq"]),
                [tuple(one) for one in msgpack.unpackb(fields[b"changed"])],
            )
            for entry_id, fields in rows
        ]


def _is_trimmed(mark: Watermark, first_id: bytes, first: dict[bytes, bytes]) -> bool:
    """Were deltas behind the mark dropped? The first delta of a shard has sequence 1."""
    if mark.delta == "0-0":
        return int(first[b"seq"]) > 1
    return _key(first_id) > _key(mark.delta.encode())


def _key(entry_id: bytes) -> tuple[int, int]:
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq)
