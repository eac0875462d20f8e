"""What people ask about an installation: read-only, and bounded however large it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from worker.store.keys import Keys
from worker.store.scripts import Client

_REASONS_A_SHARD: Final = 100
_PAGE: Final = 500
_INGEST: Final = ("applied", "duplicates", "quarantined", "overflowed", "echoes")
_REFRESH: Final = ("written", "pushed", "transitions")
_DELIVER: Final = ("ok", "unchanged", "retry", "dead")


class Mailboxes(NamedTuple):
    """What waits in all shards. Ages are of the oldest, ms; 0 where nothing waits."""

    intake: int
    intake_age_ms: int
    marks: int
    quiet_marks: int
    nudged: int
    marks_age_ms: int
    overdue: int
    outbox: int
    outbox_due: int
    outbox_age_ms: int
    claimed: int
    dead: int


class Standing(NamedTuple):
    """Where a customer waits: scores of the mailboxes, None where there is none."""

    shard: int
    known: bool
    dirty_seq: int | None
    quiet_seq: int | None
    due_s: int | None
    outbox_ms: int | None


class Attempt(NamedTuple):
    """A line of the delivery log."""

    at_ms: int
    outcome: str
    delivery_id: str
    version: int
    detail: str


class Entered(NamedTuple):
    """An entry of a shard's stream."""

    entry_id: str
    at_ms: int
    event: bytes
    quiet: bool


class Sample(NamedTuple):
    """Memory of some customers' values, in bytes."""

    customers: int
    profiles: int
    ledgers: int
    memories: int
    insights: int

    @property
    def each(self) -> float:
        """Bytes per customer."""
        total = self.profiles + self.ledgers + self.memories + self.insights
        return total / self.customers if self.customers else 0.0


class Inspector:
    """Queries for `status`, `doctor`, `customer show` and `customer why`."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    # ---- the whole installation ---------------------------------------------------------------
    def installation(self) -> dict[str, int]:
        """Shards, format and creation time; empty where there is no installation."""
        fields = self._client.hgetall(self._keys.installation())
        return {name.decode(): int(value) for name, value in fields.items()}

    def shards_without_epoch(self) -> list[int]:
        """Shards that ingest never prepared, or that lost their data."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.exists(self._keys.epoch(shard))
        return [shard for shard, there in enumerate(pipeline.execute()) if not there]

    def counters(self) -> dict[str, dict[str, int]]:
        """Counters of ingest, refresh and deliver over all shards, since the beginning."""
        k = self._keys
        parts = {"ingest": _INGEST, "refresh": _REFRESH, "deliver": _DELIVER}
        key_of = {"ingest": k.meta, "refresh": k.refresh_stats, "deliver": k.delivery_stats}
        pipeline = self._client.pipeline(transaction=False)
        for stage, names in parts.items():
            for shard in range(k.shards):
                pipeline.hmget(key_of[stage](shard), names)
        replies = iter(pipeline.execute())
        found = {}
        for stage, names in parts.items():
            rows = [next(replies) for _ in range(k.shards)]
            found[stage] = {
                name: sum(int(row[at] or 0) for row in rows) for at, name in enumerate(names)
            }
        return found

    def mailboxes(self, now_ms: int, destinations: Sequence[str]) -> Mailboxes:
        """What waits, and how long; in the outboxes of some destinations."""
        k = self._keys
        pipeline = self._client.pipeline(transaction=False)
        for s in range(k.shards):
            pipeline.zcard(k.dirty(s))
            pipeline.zcard(k.quiet(s))
            pipeline.zcard(k.nudges(s))
            pipeline.zcount(k.due(s), "-inf", now_ms // 1000)
            pipeline.hlen(k.claimed(s))
            pipeline.hlen(k.dead(s))
        rest = pipeline.execute()
        columns = [rest[at::6] for at in range(6)]
        dirty, quiet, nudged, overdue, claimed, dead = (sum(column) for column in columns)
        outbox, due, first_due_ms = self._outboxes(now_ms, destinations)
        marked = [shard for shard, count in enumerate(columns[0]) if count]
        return Mailboxes(
            *self._intake(now_ms), dirty, quiet, nudged, self._marks_age_ms(marked, now_ms),
            overdue, outbox, due, max(0, now_ms - first_due_ms), claimed, dead,
        )  # fmt: skip

    def _outboxes(self, now_ms: int, destinations: Sequence[str]) -> tuple[int, int, int]:
        """Rows, rows that are due, and when the first one was due [Unix ms]."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            for name in destinations:
                key = self._keys.outbox(shard, name)
                pipeline.zcard(key)
                pipeline.zcount(key, "-inf", now_ms)
                pipeline.zrange(key, 0, 0, withscores=True)
        found = pipeline.execute() if destinations else []
        firsts = (int(row[0][1]) for row in found[2::3] if row)
        return sum(found[::3]), sum(found[1::3]), min(firsts, default=now_ms)

    def _intake(self, now_ms: int) -> tuple[int, int]:
        """Entries that no shard has yet, and the age of the oldest, ms.

        The router trims what is behind its cursor, but not the entry that the cursor names.
        """
        key = self._keys.intake()
        cursor = (self._client.get(self._keys.intake_cursor()) or b"0-0").decode()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.xlen(key)
        pipeline.xrange(key, max=cursor, count=1)
        pipeline.xrange(key, min="(" + cursor, count=1)
        length, behind, first = pipeline.execute()
        return length - len(behind), max(0, now_ms - _ms(first[0][0])) if first else 0

    def _marks_age_ms(self, shards: list[int], now_ms: int) -> int:
        """Age of the oldest mark: of the commit that set it, by that commit's delta."""
        k = self._keys
        pipeline = self._client.pipeline(transaction=False)
        for shard in shards:
            pipeline.zrange(k.dirty(shard), 0, 0, withscores=True)
            pipeline.hget(k.meta(shard), "seq")
        replies = pipeline.execute() if shards else []
        for shard, first, seq in zip(shards, replies[::2], replies[1::2], strict=True):
            behind = int(seq or 0) - int(first[0][1]) + 1 if first else 1
            pipeline.xrevrange(k.deltas(shard), count=max(1, min(behind, _PAGE)))
        rows = [reply[-1] for reply in (pipeline.execute() if shards else []) if reply]
        return max((now_ms - int(row[0].split(b"-")[0]) for row in rows), default=0)

    def quarantine_reasons(self) -> tuple[int, dict[str, int]]:
        """How many events are held; and how often each reason, among the newest of each shard."""
        k = self._keys
        streams = [k.intake_quarantine(), *map(k.quarantine, range(k.shards))]
        pipeline = self._client.pipeline(transaction=False)
        for stream in streams:
            pipeline.xlen(stream)
        lengths = pipeline.execute()
        held = [stream for stream, length in zip(streams, lengths, strict=True) if length]
        for stream in held:
            pipeline.xrevrange(stream, count=_REASONS_A_SHARD)
        reasons = Counter(
            fields.get(b"reason", b"").decode(errors="replace")
            for rows in (pipeline.execute() if held else [])
            for _, fields in rows
        )
        return sum(lengths), dict(reasons.most_common())

    def sample(self, most: int = 500) -> Sample:
        """Memory of the values of some customers, drawn from all shards."""
        k = self._keys
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(k.shards):
            pipeline.srandmember(k.customers(shard), max(1, -(-most // k.shards)))
        chosen = [
            (shard, customer.decode())
            for shard, reply in enumerate(pipeline.execute())
            for customer in reply
        ][:most]
        parts = (k.profile, k.cold, k.memory, k.insight)
        for part in parts:
            for shard, customer in chosen:
                pipeline.memory_usage(part(shard, customer), samples=0)
        used = [int(reply or 0) for reply in (pipeline.execute() if chosen else [])]
        n = len(chosen)
        return Sample(n, *(sum(used[at * n : (at + 1) * n]) for at in range(len(parts))))

    def last_tick_s(self, now_ms: int, interval_s: float, slots: int = 10) -> float | None:
        """Seconds since the newest slot that tick took; None when it is too long ago."""
        newest = int(now_ms / (1000 * interval_s))
        pipeline = self._client.pipeline(transaction=False)
        for slot in range(newest, newest - slots, -1):
            pipeline.exists(self._keys.lock(f"tick:{slot}"))
        for back, there in enumerate(pipeline.execute()):
            if there:
                return max(0.0, now_ms / 1000 - (newest - back) * interval_s)
        return None

    # ---- one customer -------------------------------------------------------------------------
    def standing(self, customer_id: str, destination: str) -> Standing:
        """Where a customer waits; in the outbox of one destination."""
        k, shard = self._keys, self._keys.shard(customer_id)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.sismember(k.customers(shard), customer_id)
        for key, member in (
            (k.dirty(shard), customer_id),
            (k.quiet(shard), customer_id),
            (k.due(shard), customer_id),
            (k.outbox(shard, destination), customer_id),
        ):
            pipeline.zscore(key, member)
        known, *scores = pipeline.execute()
        return Standing(shard, bool(known), *(None if s is None else int(s) for s in scores))

    def attempts(self, shard: int, row_name: str, most: int = 20) -> list[Attempt]:
        """The newest lines of the delivery log about a row, newest first."""
        wanted = row_name.encode()
        found = []
        for entry_id, fields in self._client.xrevrange(self._keys.delivery_log(shard)):
            if fields.get(b"row") == wanted:
                text = {
                    name.decode(): value.decode(errors="replace") for name, value in fields.items()
                }
                found.append(
                    Attempt(
                        _ms(entry_id), text["outcome"], text["delivery"],
                        int(text["version"] or 0), text["detail"],
                    )
                )  # fmt: skip
                if len(found) == most:
                    break
        return found

    def entries(self, shard: int, until_ms: int, most: int = 20_000) -> Iterator[Entered]:
        """Entries of a shard's stream, newest first from an instant on, at most `most`."""
        end = f"{until_ms}-18446744073709551615"
        for _ in range(0, most, _PAGE):
            rows = self._client.xrevrange(self._keys.events(shard), max=end, count=_PAGE)
            for entry_id, fields in rows:
                yield Entered(
                    entry_id.decode(), _ms(entry_id), fields.get(b"event", b""), b"quiet" in fields
                )
            if len(rows) < _PAGE:
                return
            end = "(" + rows[-1][0].decode()


def _ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])
