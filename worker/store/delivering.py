"""What deliver reads and writes: outbox rows, claims, what destinations hold, dead letters."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.store.keys import Keys
from worker.store.refreshing import Held, read_insight
from worker.store.scripts import Call, Client, Scripts

SEPARATOR: Final = "\x1f"
DISABLED: Final = -1


class Row(NamedTuple):
    """An outbox row: a customer changed for a destination."""

    shard: int
    destination: str
    customer_id: str

    @property
    def name(self) -> str:
        """The row as stored."""
        return self.destination + SEPARATOR + self.customer_id


class Claim(NamedTuple):
    """A delivery under way. `body` is empty until its first attempt is prepared."""

    token: str
    attempts: int
    delivery_id: str
    version: int
    first_ms: int
    body: bytes


class Delivered(NamedTuple):
    """What a destination holds of a customer; version 0 = nothing yet."""

    version: int = 0
    sent_ms: int = 0
    digest: str = ""
    delivery_id: str = ""


class Claimed(NamedTuple):
    """A row that is ours to send for the length of the lease."""

    row: Row
    claim: Claim
    insight: Held
    delivered: Delivered


class Settled(NamedTuple):
    """How an attempt ended: ok, unchanged, retry or dead."""

    row: Row
    claim: Claim
    outcome: str
    digest: str
    wait_ms: int
    detail: str


class DeadLetter(NamedTuple):
    """A delivery that was given up."""

    row: Row
    at_ms: int
    detail: str
    claim: Claim


class DeliverStore:
    """The deliver side of a server.

    lease_ms     longer than twice the whole time an attempt may take
    coalesce_ms  after a delivery, further changes of the customer wait this long
    """

    def __init__(self, client: Client, keys: Keys, *, lease_ms: int, coalesce_ms: int) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)
        self.lease_ms = lease_ms
        self._coalesce_ms = coalesce_ms

    def due(self, now_ms: int, limit: int) -> list[Row]:
        """Rows that may be sent, at most `limit` a shard, the longest due first."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.zrangebyscore(self._keys.outbox(shard), "-inf", now_ms, start=0, num=limit)
        return [
            _row(shard, name) for shard, reply in enumerate(pipeline.execute()) for name in reply
        ]

    def claim(self, rows: Sequence[Row]) -> list[Claimed]:
        """Take rows for sending; those that others took are left out."""
        k, token = self._keys, secrets.token_hex(8)
        by_shard = _by_shard(rows)
        calls = [
            Call(
                "claim",
                [
                    k.outbox(s),
                    k.claimed(s),
                    k.delivered(s),
                    *(k.insight(s, r.customer_id) for r in mine),
                ],
                [token, self.lease_ms, self._coalesce_ms, *(row.name for row in mine)],
            )
            for s, mine in by_shard.items()
        ]
        found = []
        for shard, replies in zip(by_shard, self._scripts.run_all(calls), strict=True):
            for name, claim, insight, delivered in replies:
                found.append(
                    Claimed(
                        _row(shard, name),
                        _claim(claim),
                        read_insight(insight),
                        _delivered(delivered),
                    )
                )
        return found

    def hold(self, claims: Sequence[tuple[Row, Claim]]) -> list[bool]:
        """Store the prepared bodies with their claims; False where a claim was lost."""
        by_shard = _by_shard([row for row, _ in claims])
        claim_of = dict(claims)
        calls = [
            Call(
                "hold",
                [self._keys.claimed(shard)],
                [x for row in rows for x in (row.name, claim_of[row].token, pack(claim_of[row]))],
            )
            for shard, rows in by_shard.items()
        ]
        held: dict[Row, bool] = {}
        for rows, replies in zip(by_shard.values(), self._scripts.run_all(calls), strict=True):
            held.update(zip(rows, (reply == 1 for reply in replies), strict=True))
        return [held[row] for row, _ in claims]

    def settle(self, settled: Sequence[Settled]) -> list[bool]:
        """Record the ends of attempts; False where a claim was lost."""
        k = self._keys
        by_row = {one.row: one for one in settled}
        by_shard = _by_shard([one.row for one in settled])
        calls = [
            Call(
                "settle",
                [
                    k.outbox(s), k.claimed(s), k.delivered(s), k.dead(s), k.delivery_log(s),
                    k.delivery_stats(s), *(k.insight(s, row.customer_id) for row in rows),
                ],
                [self._coalesce_ms, *(x for row in rows for x in _settle_args(by_row[row]))],
            )
            for s, rows in by_shard.items()
        ]  # fmt: skip
        done: dict[Row, bool] = {}
        for rows, replies in zip(by_shard.values(), self._scripts.run_all(calls), strict=True):
            done.update(zip(rows, (reply == 1 for reply in replies), strict=True))
        return [done[one.row] for one in settled]

    def pause(self, destination: str, wait_ms: int) -> None:
        """Keep every worker from a destination for a while: it asked for that."""
        self._client.set(self._keys.lock("pause:" + destination), "1", px=max(1, wait_ms))

    def disable(self, destination: str) -> None:
        """Send nothing to a destination until somebody resumes it."""
        self._client.set(self._keys.lock("pause:" + destination), "disabled")

    def resume(self, destination: str) -> bool:
        """End a pause; False if there was none."""
        return bool(self._client.delete(self._keys.lock("pause:" + destination)))

    def paused_ms(self, destination: str) -> int:
        """How long a destination stays paused: 0 = it is not, DISABLED = until it is resumed."""
        left_ms = int(self._client.pttl(self._keys.lock("pause:" + destination)))
        return DISABLED if left_ms == -1 else max(0, left_ms)

    def dead_letters(self) -> list[DeadLetter]:
        """Everything that was given up, newest first."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.hgetall(self._keys.dead(shard))
        letters = [
            _dead(shard, name, value)
            for shard, reply in enumerate(pipeline.execute())
            for name, value in reply.items()
        ]
        return sorted(letters, key=lambda letter: -letter.at_ms)

    def waiting(self) -> list[tuple[Row, int]]:
        """Every outbox row and when it may be sent (Unix ms), soonest first."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.zrange(self._keys.outbox(shard), 0, -1, withscores=True)
        rows = [
            (_row(shard, name), int(score))
            for shard, reply in enumerate(pipeline.execute())
            for name, score in reply
        ]
        return sorted(rows, key=lambda pair: pair[1])

    def find(self, row: Row) -> tuple[Claim | None, Delivered, DeadLetter | None]:
        """All that is known of a customer at a destination."""
        k = self._keys
        pipeline = self._client.pipeline(transaction=False)
        for key in (k.claimed(row.shard), k.delivered(row.shard), k.dead(row.shard)):
            pipeline.hget(key, row.name)
        claim, delivered, dead = pipeline.execute()
        return (
            _claim(claim) if claim else None,
            _delivered(delivered or b""),
            _dead(row.shard, row.name.encode(), dead) if dead else None,
        )

    def replay(self, rows: Sequence[Row], now_ms: int) -> int:
        """Put rows back into the outbox: the newest insight is sent, under a new delivery id.

        What the destination holds is set to "something, as of now": no content equals that, and a
        delivery's id is made from it too.
        """
        pipeline = self._client.pipeline(transaction=False)
        for row in rows:
            pipeline.hset(self._keys.delivered(row.shard), row.name, f"0|{now_ms}||")
            pipeline.zadd(self._keys.outbox(row.shard), {row.name: now_ms}, nx=True)
            pipeline.hdel(self._keys.dead(row.shard), row.name)
        pipeline.execute()
        return len(rows)


def pack(claim: Claim) -> bytes:
    """A claim as stored."""
    head = f"{claim.token}|{claim.attempts}|{claim.delivery_id}|{claim.version}|{claim.first_ms}\n"
    return head.encode() + claim.body


def _claim(value: bytes) -> Claim:
    head, _, body = value.partition(b"\n")
    token, attempts, delivery_id, version, first_ms = head.decode().split("|")
    return Claim(token, int(attempts), delivery_id, int(version), int(first_ms), body)


def _delivered(value: bytes) -> Delivered:
    if not value:
        return Delivered()
    version, sent_ms, digest, delivery_id = value.decode().split("|")
    return Delivered(int(version), int(sent_ms), digest, delivery_id)


def _dead(shard: int, name: bytes, value: bytes) -> DeadLetter:
    head, _, claim = value.partition(b"\n")
    at_ms, _, detail = head.decode().partition("|")
    return DeadLetter(_row(shard, name), int(at_ms), detail, _claim(claim))


def _row(shard: int, name: bytes) -> Row:
    destination, _, customer = name.decode().partition(SEPARATOR)
    return Row(shard, destination, customer)


def _by_shard(rows: Sequence[Row]) -> dict[int, list[Row]]:
    by_shard: dict[int, list[Row]] = {}
    for row in rows:
        by_shard.setdefault(row.shard, []).append(row)
    return by_shard


def _settle_args(one: Settled) -> tuple[object, ...]:
    claim = one.claim
    return (
        one.row.name, claim.token, one.outcome, claim.version, one.digest, claim.delivery_id,
        one.wait_ms, pack(claim._replace(token="")), one.detail.replace("\n", " ")[:300],
    )  # fmt: skip
