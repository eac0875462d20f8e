"""Where events enter: appended to a shard or to the intake, refused while there is no room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from worker.store import capacity
from worker.store.entries import MIGRATE, fields_of, opened
from worker.store.keys import Keys
from worker.store.scripts import Call, Client, Scripts

START: Final = "0-0"


class BusyError(RuntimeError):
    """The installation takes no events now: try again later, nothing was accepted."""


class Lag(NamedTuple):
    """How far ingest is behind in a shard: entries not yet applied, and the age of the oldest."""

    shard: int
    entries: int
    age_ms: int


class Arrival(NamedTuple):
    """An event for the door: bytes as they came; `quiet` pushes nothing to the CRM."""

    event: bytes
    quiet: bool = False


class Door:
    """Appends events. `accepted` means that the server has taken them.

    lag_limit      entries that may wait, those in the intake included; beyond, the door refuses
    memory_ratio   part of the server's `maxmemory` that may be used; beyond, the door refuses
    """

    def __init__(
        self, client: Client, keys: Keys, *, lag_limit: int = 100_000, memory_ratio: float = 0.7
    ) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)
        self._lag_limit = lag_limit
        self._memory_ratio = memory_ratio

    def emit(self, arrivals: Iterable[Arrival]) -> int:
        """Append events to the intake; the router brings each to its shard. How many were taken.

        Raises BusyError before anything is taken when there is no room.
        """
        self.check()
        return self._append(arrivals)

    def take(self, arrivals: Iterable[Arrival]) -> int:
        """Append events whose producer cannot be refused, whatever waits. How many were taken.

        Raises BusyError before anything is taken while the server's memory is nearly used up.
        """
        self._check_memory()
        return self._append(arrivals)

    def _append(self, arrivals: Iterable[Arrival]) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for arrival in arrivals:
            pipeline.xadd(self._keys.intake(), fields_of(arrival.event, quiet=arrival.quiet))
        pipeline.rpush(self._keys.bell("ingest"), b"1")
        pipeline.ltrim(self._keys.bell("ingest"), -1, -1)
        return len(pipeline.execute()) - 2

    def put(self, shard: int, arrivals: Sequence[Arrival]) -> int:
        """Append events of one shard's customers to its stream: the caller chose the shard."""
        pipeline = self._client.pipeline(transaction=False)
        for arrival in arrivals:
            pipeline.xadd(self._keys.events(shard), fields_of(arrival.event, quiet=arrival.quiet))
        return len(pipeline.execute())

    def migrate(self, shard: int, customers: Sequence[str]) -> int:
        """Have profiles of a shard written anew in the current format.

        Raises BusyError before anything is taken when there is no room.
        """
        self.check()
        pipeline = self._client.pipeline(transaction=False)
        for customer in customers:
            fields = fields_of(customer.encode(), quiet=False, kind=MIGRATE)
            pipeline.xadd(self._keys.events(shard), fields)
        return len(pipeline.execute())

    def check(self) -> None:
        """Raise BusyError while too much waits, or the server's memory is nearly used up."""
        self._check_memory()
        waiting = self.unrouted() + sum(lag.entries for lag in self.lag())
        if waiting > self._lag_limit:
            raise BusyError(f"{waiting} events wait to be applied (limit {self._lag_limit})")

    def _check_memory(self) -> None:
        used, limit = self.memory()
        if limit and used > self._memory_ratio * limit:
            raise BusyError(f"the server uses {used / limit:.0%} of its memory")

    def memory(self) -> tuple[int, int]:
        """Bytes used and `maxmemory` (0 = no limit); of a cluster, the fullest node's."""
        return capacity.memory(self._client)

    def unrouted(self) -> int:
        """Entries of the intake that no shard has yet; the last one that was routed stays in it."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xlen(self._keys.intake())
        pipeline.get(self._keys.intake_cursor())
        pipeline.xrange(self._keys.intake(), count=1)
        length, cursor, first = pipeline.execute()
        return int(length) - bool(first and first[0][0] == cursor)

    def lag(self, now_ms: int | None = None) -> list[Lag]:
        """The lag of every shard. Ages are 0 without `now_ms`.

        Counted from `entries-added` and what commits covered, which survives restarts and trimming;
        a stream with nothing behind the cursor has no lag, whatever was deleted from it by hand.
        """
        k = self._keys
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(k.shards):
            pipeline.hmget(k.meta(shard), "cursor", "covered")
        cursors = [((c or START.encode()).decode(), int(n or 0)) for c, n in pipeline.execute()]
        for shard, (cursor, _) in enumerate(cursors):
            pipeline.xrange(k.events(shard), min="(" + cursor, count=1)
        first = pipeline.execute()
        behind = [shard for shard, rows in enumerate(first) if rows]
        for shard in behind:
            pipeline.xinfo_stream(k.events(shard))
        found = {shard: Lag(shard, 0, 0) for shard in range(k.shards)}
        for shard, info in zip(behind, pipeline.execute() if behind else [], strict=True):
            added_ms = int(first[shard][0][0].split(b"-")[0])
            entries = max(1, int(info["entries-added"]) - cursors[shard][1])
            found[shard] = Lag(shard, entries, max(0, now_ms - added_ms) if now_ms else 0)
        return list(found.values())


class IntakeEntry(NamedTuple):
    """An entry of the intake stream."""

    id: str
    kind: str
    event: bytes
    quiet: bool


class Intake:
    """The router's side of the intake stream."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def read(self, limit: int) -> list[IntakeEntry]:
        """Entries that no shard has yet, oldest first."""
        cursor = (self._client.get(self._keys.intake_cursor()) or START.encode()).decode()
        rows = self._client.xrange(self._keys.intake(), min="(" + cursor, count=limit)
        return [IntakeEntry(entry_id.decode(), *opened(fields)) for entry_id, fields in rows]

    def route(self, by_shard: dict[int, list[IntakeEntry]]) -> int:
        """Append entries to their shards, each once; how many were new there."""
        calls = [
            Call(
                "route",
                [self._keys.events(shard), self._keys.routed(shard)],
                [x for e in entries for x in (e.id, "1" if e.quiet else "", e.event)],
            )
            for shard, entries in by_shard.items()
        ]
        return sum(int(added) for added in self._scripts.run_all(calls))

    def advance(self, entry_id: str, refused: Sequence[tuple[IntakeEntry, str, str, str]]) -> None:
        """All up to `entry_id` is in its shard, or refused: move on, and drop what is behind."""
        call = Call(
            "advance",
            [self._keys.intake_cursor(), self._keys.intake_quarantine(), self._keys.intake()],
            [
                entry_id,
                *(x for e, *why in refused for x in (e.id, *why, e.event, "1" if e.quiet else "")),
            ],
        )
        self._scripts.run_all([call])
