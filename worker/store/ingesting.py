"""The ingest side of a server: shards that wait, their customers' values, and commits."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from worker.store import capacity
from worker.store.commits import STAGE, START, Batch, Commit, Stored
from worker.store.heads import takes_keys_of_all_shards
from worker.store.keys import Keys
from worker.store.line import Line
from worker.store.scripts import Client, Scripts


class IngestStore:
    """The ingest side of a server. One object per process; `prepare` first."""

    def __init__(self, client: Client, keys: Keys, *, lease_ms: int) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)
        self._lease_ms = lease_ms
        self._cursors = dict.fromkeys(range(keys.shards), START)

    def prepare(self) -> None:
        """Give every shard an epoch, if it has none: an emptied server begins a new one."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.set(self._keys.epoch(shard), secrets.token_hex(8), nx=True)
        pipeline.execute()

    def memory_ratio(self) -> float:
        """How much of the server's `maxmemory` is used, 0 without a limit."""
        used, limit = capacity.memory(self._client)
        return used / limit if limit else 0.0

    def waiting(self) -> list[int]:
        """The shards that hold entries behind the cursor last seen here."""
        if takes_keys_of_all_shards(self._client):
            after = {self._keys.events(shard): at for shard, at in self._cursors.items()}
            reply = self._client.xread(after, count=1)
            there = {stream for stream, _ in reply}
            return [shard for shard, name in enumerate(after) if name.encode() in there]
        pipeline = self._client.pipeline(transaction=False)
        for shard, cursor in self._cursors.items():
            pipeline.xrange(self._keys.events(shard), min="(" + cursor, count=1)
        replies = pipeline.execute()
        return [shard for shard, reply in zip(self._cursors, replies, strict=True) if reply]

    @contextmanager
    def line(self) -> Iterator[Line]:
        """One round over several shards: the server works on its calls while the caller thinks."""
        with self._scripts.ahead() as ahead:
            yield Line(self, ahead, self._keys, self._lease_ms)

    def begin(self, shards: Sequence[int], limits: Sequence[int]) -> list[Batch]:
        """`Line.begin`, read to its end."""
        with self.line() as line:
            return list(line.begin(shards, limits))

    def load(self, shard: int, customers: Mapping[str, bool]) -> dict[str, Stored]:
        """Profiles and memories of a shard's customers; the cold part where the value is True."""
        with self.line() as line:
            line.load(shard, customers)
            return line.loaded()

    def load_cold(self, wanted: Iterable[tuple[int, str]]) -> dict[tuple[int, str], bytes]:
        """The cold parts of some customers."""
        pairs = list(wanted)
        pipeline = self._client.pipeline(transaction=False)
        for shard, customer in pairs:
            pipeline.get(self._keys.cold(shard, customer))
        return {pair: value or b"" for pair, value in zip(pairs, pipeline.execute(), strict=True)}

    def commit(self, commits: Iterable[Commit]) -> list[int]:
        """Commit batches, each by one script: 1 applied, 2 was applied before, 0 refused."""
        with self.line() as line:
            for commit in commits:
                line.commit(commit)
            return line.results()

    def moved(self, shard: int, cursor: str) -> None:
        """Look for entries of a shard behind this cursor from now on."""
        self._cursors[shard] = cursor

    def release(self, batch: Batch) -> None:
        """Give a lease back without a commit."""
        k = self._keys
        self._scripts.run(
            "release", [k.lease(batch.shard, STAGE), k.tries(batch.shard)], [batch.token]
        )
