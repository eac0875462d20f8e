"""What ingest reads and writes: entries after the cursor, profiles, and the commit of a batch."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from redis.exceptions import ResponseError

from worker.store import capacity
from worker.store.entries import EVENT, opened
from worker.store.heads import takes_keys_of_all_shards
from worker.store.keys import Keys
from worker.store.scripts import Ahead, Call, Client, Command, Scripts

START: Final = "0-0"
STAGE: Final = "ingest"
_COUNTERS: Final = (
    "seq", "covered", "applied", "duplicates", "quarantined", "overflowed", "echoes"
)  # fmt: skip


class Entry(NamedTuple):
    """One entry of a shard's stream."""

    id: str
    at_s: int  # when the server took it, Unix s
    kind: str
    event: bytes
    quiet: bool


class Position(NamedTuple):
    """Where a shard stands: what a commit compares and what it counts on."""

    epoch: bytes
    cursor: str
    seq: int
    covered: int
    applied: int
    duplicates: int
    quarantined: int
    overflowed: int
    echoes: int = 0


class Batch(NamedTuple):
    """A leased shard and the entries behind its cursor.

    tries  how often a batch was begun from this cursor, this time included
    left   entries still to be read one by one, because a batch ended its process
    """

    shard: int
    token: str
    tries: int
    position: Position
    entries: list[Entry]
    left: int = 0


class Stored(NamedTuple):
    """A customer's stored values; None where there is none, or it was not asked for."""

    profile: bytes | None
    memory: bytes | None
    cold: bytes | None


class Write(NamedTuple):
    """One value to write: the whole (`offset` None), or from an offset on."""

    part: str  # "cold", "memory" or "profile": the order in which a customer's are written
    customer_id: str
    offset: int | None
    data: bytes


class Refused(NamedTuple):
    """An entry for the quarantine."""

    entry_id: str
    reason: str
    path: str
    detail: str
    event: bytes
    quiet: bool = False


class Commit(NamedTuple):
    """All that one batch changes."""

    batch: Batch
    position: Position
    loud: list[str]
    quiet: list[str]
    new: list[tuple[str, int]]
    refused: list[Refused]
    writes: list[Write]
    delta: bytes
    trim_below: str
    left: int = 0


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


class Line:
    """The calls of one round, sent ahead over one connection: made by `IngestStore.line`.

    `begin`, `load` for each of its batches while they come, `loaded` as often in the same order,
    `commit` behind it, `results` at the end.
    """

    def __init__(self, store: IngestStore, ahead: Ahead, keys: Keys, lease_ms: int) -> None:
        self._store = store
        self._ahead = ahead
        self._keys = keys
        self._lease_ms = lease_ms
        self._begun: deque[Any] = deque()
        self._values: deque[Any] = deque()
        self._answers: deque[Any] = deque()
        self._coming: deque[deque[Any]] = deque()  # where each reply that comes belongs
        self._loading: deque[Mapping[str, bool]] = deque()
        self._commits: list[Commit] = []

    def begin(self, shards: Sequence[int], limits: Sequence[int]) -> Iterator[Batch]:
        """Lease shards and read what waits there; without those that others hold or that are dry.

        One shard ahead: a server answers the first of several calls when it has done the last.

        limits   entries to read at the 1st, 2nd .. try from one cursor; the last one holds on
        """
        token = secrets.token_hex(8)
        calls = deque(self._begin_of(shard, token, limits) for shard in shards)
        if calls:
            self._send(calls.popleft(), self._begun)
        for shard in shards:
            reply = self._take(self._begun)
            if calls:
                self._send(calls.popleft(), self._begun)
            if not reply:
                continue
            tries, left, epoch, rows, *meta = reply
            position = _position(epoch, meta)
            self._store.moved(shard, position.cursor)
            entries = [_entry(*row) for row in rows]
            batch = Batch(shard, token, int(tries), position, entries, int(left))
            if entries:
                yield batch
            else:
                self._store.release(batch)

    def load(self, shard: int, customers: Mapping[str, bool]) -> None:
        """Ask for profiles and memories; for the cold part where the value is True."""
        k = self._keys
        names = [k.profile(shard, c) for c in customers] + [k.memory(shard, c) for c in customers]
        names += [k.cold(shard, c) for c, cold in customers.items() if cold]
        if names:
            self._send(Command(["MGET", *names]), self._values)
        self._loading.append(customers)

    def loaded(self) -> dict[str, Stored]:
        """What the oldest `load` asked for."""
        customers = self._loading.popleft()
        values = self._take(self._values) if customers else []
        n = len(customers)
        cold = iter(values[2 * n :])
        return {
            customer: Stored(values[i], values[n + i], next(cold) or b"" if with_cold else None)
            for i, (customer, with_cold) in enumerate(customers.items())
        }

    def commit(self, commit: Commit) -> None:
        """Send a batch's commit: one script. What the server has answered by now is read before it:
        a long reply does not fit into the socket, and its rest would come behind the commit.
        """
        while self._coming:
            self._receive()
        self._send(Call("commit", *commit_arguments(self._keys, commit)), self._answers)
        self._commits.append(commit)

    def results(self) -> list[int]:
        """What became of each commit: 1 applied, 2 was applied before, 0 refused.

        Raises the server's first error when all commits are answered.
        """
        results: list[int] = []
        errors: list[ResponseError] = []
        for commit in self._commits:
            try:
                results.append(int(self._take(self._answers)))
            except ResponseError as error:
                errors.append(error)
                continue
            if results[-1]:
                self._store.moved(commit.batch.shard, commit.position.cursor)
            else:
                self._store.release(commit.batch)
        if errors:
            raise errors[0]
        return results

    def _begin_of(self, shard: int, token: str, limits: Sequence[int]) -> Call:
        k = self._keys
        keys = [
            k.lease(shard, STAGE), k.tries(shard), k.meta(shard), k.epoch(shard), k.events(shard),
        ]  # fmt: skip
        return Call("begin", keys, [token, self._lease_ms, *limits])

    def _send(self, call: Call | Command, answers: deque[Any]) -> None:
        self._ahead.send(call)
        self._coming.append(answers)

    def _take(self, answers: deque[Any]) -> Any:
        """The oldest of these answers; what comes before it is kept. Server errors are raised."""
        while not answers:
            self._receive()
        found = answers.popleft()
        if isinstance(found, ResponseError):
            raise found
        return found

    def _receive(self) -> None:
        belongs = self._coming.popleft()
        try:
            belongs.append(self._ahead.reply())
        except ResponseError as error:
            belongs.append(error)


def commit_arguments(k: Keys, commit: Commit) -> tuple[list[str], list[Any]]:
    """Keys and arguments of the script `commit`."""
    shard = commit.batch.shard
    part = {"cold": k.cold, "memory": k.memory, "profile": k.profile}
    keys = [
        k.meta(shard), k.epoch(shard), k.lease(shard, STAGE), k.tries(shard), k.events(shard),
        k.dirty(shard), k.quiet(shard), k.customers(shard), k.due(shard), k.deltas(shard),
        k.quarantine(shard), *(part[w.part](shard, w.customer_id) for w in commit.writes),
    ]  # fmt: skip
    position = commit.position
    meta = [x for name in _COUNTERS for x in (name, getattr(position, name))]
    args: list[Any] = [
        position.epoch, commit.batch.position.cursor, position.cursor, commit.batch.token,
        commit.trim_below, commit.delta, len(meta), len(commit.loud), len(commit.quiet),
        len(commit.new), len(commit.refused), position.seq, commit.left,
        *meta, *commit.loud, *commit.quiet,
    ]  # fmt: skip
    for pair in commit.new:
        args += pair
    for refused in commit.refused:
        args += refused[:-1]
        args.append("1" if refused.quiet else "")
    for write in commit.writes:
        args.append(_offset(write))
        args.append(write.data)
    return keys, [len(args) + 1, *args]


def _offset(write: Write) -> int:
    """Where the script writes; -1 a profile, -2 another whole value."""
    if write.offset is None:
        return -1 if write.part == "profile" else -2
    return write.offset


def _position(epoch: bytes, meta: Sequence[bytes]) -> Position:
    fields = {meta[i].decode(): meta[i + 1] for i in range(0, len(meta), 2)}
    counts = (int(fields.get(name, 0)) for name in _COUNTERS)
    return Position(epoch, fields.get("cursor", START.encode()).decode(), *counts)


def _entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    at_s = int(entry_id[: entry_id.index(b"-")]) // 1000
    if len(fields) == 2 and fields[0] == b"event":
        return Entry(entry_id.decode(), at_s, EVENT, fields[1], False)
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    return Entry(entry_id.decode(), at_s, *opened(named))
