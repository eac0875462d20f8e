"""The calls of one round of ingest, sent ahead: the server works while the caller thinks."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from worker.store.commits import (
    COUNTERS,
    STAGE,
    START,
    Batch,
    Commit,
    Entry,
    Position,
    Stored,
    commit_arguments,
)
from worker.store.entries import EVENT, opened
from worker.store.keys import Keys
from worker.store.scripts import Ahead, Call, Command

if TYPE_CHECKING:
    from worker.store.ingesting import IngestStore


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
        profile, memory, cold = k.profile(shard, ""), k.memory(shard, ""), k.cold(shard, "")
        names = [profile + c for c in customers] + [memory + c for c in customers]
        names += [cold + c for c, with_cold in customers.items() if with_cold]
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


def _position(epoch: bytes, meta: Sequence[bytes]) -> Position:
    fields = {meta[i].decode(): meta[i + 1] for i in range(0, len(meta), 2)}
    counts = (int(fields.get(name, 0)) for name in COUNTERS)
    return Position(epoch, fields.get("cursor", START.encode()).decode(), *counts)


def _entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    at_s = int(entry_id[: entry_id.index(b"-")]) // 1000
    if len(fields) == 2 and fields[0] == b"event":
        return Entry(entry_id.decode(), at_s, EVENT, fields[1], False)
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    return Entry(entry_id.decode(), at_s, *opened(named))
