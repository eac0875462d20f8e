"""What deliver reads and writes in the shards: outbox rows, claims, what destinations hold."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from worker.store.heads import NOW, Heads
from worker.store.keys import Keys
from worker.store.refreshing import Held, read_insight
from worker.store.scripts import Call, Client, Scripts

SEPARATOR: Final = "\x1f"


class Policy(Protocol):
    """What the store has to know of a destination."""

    @property
    def name(self) -> str:
        """As in rows."""
        ...

    @property
    def is_stream(self) -> bool:
        """It takes events, one after the other; else the newest insight."""
        ...

    @property
    def lease_ms(self) -> int:
        """Longer than twice the whole time that an attempt may take."""
        ...

    @property
    def coalesce_ms(self) -> int:
        """After a delivery, further changes of the customer wait this long."""
        ...

    @property
    def coalesce_max_ms(self) -> int:
        """But no longer than this, however often the customer changes."""
        ...


class Row(NamedTuple):
    """An outbox row: a customer changed for a destination."""

    shard: int
    destination: str
    customer_id: str

    @property
    def name(self) -> str:
        """The row as stored."""
        return self.destination + SEPARATOR + self.customer_id


class Sent(NamedTuple):
    """What a call carries, or carried, of a customer.

    fields     target field -> value; empty where the whole insight goes, or an event
    vendor_id  the vendor's id of the record: None not known, "" known to be gone
    """

    fields: Mapping[str, Any] = {}
    vendor_id: str | None = None


class Claim(NamedTuple):
    """A delivery under way.

    delivery_id  empty until its first attempt is prepared
    first_ms     when it began
    part         rows of one part go alone: their call was refused as a whole
    doubt        of a row that was refused: once the destination has taken rows by so many calls,
                 another refusal is the row's own fault; 0: it was not refused
    """

    token: str
    attempts: int = 0
    delivery_id: str = ""
    version: int = 0
    first_ms: int = 0
    part: str = ""
    sent: Sent = Sent()
    doubt: int = 0


class Delivered(NamedTuple):
    """What a destination holds of a customer; version 0 = not known."""

    version: int = 0
    sent_ms: int = 0
    digest: str = ""
    delivery_id: str = ""
    sent: Sent = Sent()


class Event(NamedTuple):
    """An event in a lane; `digest` names the entry."""

    digest: str = ""
    put_ms: int = 0
    as_of_s: int = 0
    json: bytes = b""


class Claimed(NamedTuple):
    """A row that is ours to send for the length of the lease: an insight, or an event."""

    row: Row
    claim: Claim
    insight: Held
    event: Event
    delivered: Delivered


class Settled(NamedTuple):
    """How an attempt ended.

    outcome  ok, unchanged, dead; others keep the claim: retry, split, accepted, unsent
    holds    what the destination holds now, where it is ok
    """

    row: Row
    claim: Claim
    outcome: str
    holds: Delivered
    wait_ms: int
    code: str
    detail: str
    event: Event = Event()


class DeliverStore:
    """The deliver side of a server."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)
        self._heads = Heads(client)

    def due(self, limits: Mapping[str, int]) -> dict[str, list[Row]]:
        """Rows that may be sent, by destination; at most its limit a shard."""
        found: dict[str, list[Row]] = {name: [] for name in limits}
        places = [(shard, name) for shard in range(self._keys.shards) for name in limits]
        keys = [self._keys.outbox(shard, name) for shard, name in places]
        most = [limits[name] for _, name in places]
        for place, customer, _ in self._heads.read(keys, most, NOW):
            shard, name = places[place]
            found[name].append(Row(shard, name, customer))
        return found

    def claim(self, policy: Policy, rows: Sequence[Row]) -> list[Claimed]:
        """Take rows of one destination for sending; those that others took are left out."""
        k, token = self._keys, secrets.token_hex(8)
        by_shard = _by_shard(rows)
        options = [
            token, policy.name, policy.lease_ms, policy.coalesce_ms, policy.coalesce_max_ms,
            "1" if policy.is_stream else "",
        ]  # fmt: skip
        calls = [
            Call(
                "claim",
                [
                    k.outbox(s, policy.name), k.claimed(s), k.delivered(s),
                    *(self._content_key(policy, row) for row in mine),
                ],
                [*options, *(row.customer_id for row in mine)],
            )
            for s, mine in by_shard.items()
        ]  # fmt: skip
        return [
            _claimed(policy, shard, *reply)
            for shard, replies in zip(by_shard, self._scripts.run_all(calls), strict=True)
            for reply in replies
        ]

    def hold(self, claims: Sequence[tuple[Row, Claim]]) -> list[bool]:
        """Store what is about to be sent with its claims; False where a claim was lost."""
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

    def settle(self, policy: Policy, settled: Sequence[Settled]) -> list[bool]:
        """Record the ends of attempts; False where a claim was lost."""
        by_shard = _by_shard([one.row for one in settled])
        replies = self._scripts.run_all(self.settle_calls(policy, settled))
        done: dict[Row, bool] = {}
        for rows, reply in zip(by_shard.values(), replies, strict=True):
            done.update(zip(rows, (one == 1 for one in reply), strict=True))
        return [done[one.row] for one in settled]

    def settle_calls(self, policy: Policy, settled: Sequence[Settled]) -> list[Call]:
        """The scripts of `settle`, one a shard; to be run with others in one round trip."""
        k = self._keys
        by_row = {one.row: one for one in settled}
        options = [policy.name, policy.coalesce_ms, "1" if policy.is_stream else ""]
        return [
            Call(
                "settle",
                [
                    k.outbox(s, policy.name), k.claimed(s), k.delivered(s), k.dead(s),
                    k.delivery_log(s), k.delivery_stats(s),
                    *(self._content_key(policy, row) for row in rows),
                ],
                [*options, *(x for row in rows for x in _settle_args(policy, by_row[row]))],
            )
            for s, rows in _by_shard(list(by_row)).items()
        ]  # fmt: skip

    def find(self, row: Row) -> tuple[Claim | None, Delivered]:
        """What is under way to a destination, and what it holds, of a customer."""
        pipeline = self._client.pipeline(transaction=False)
        for key in (self._keys.claimed(row.shard), self._keys.delivered(row.shard)):
            pipeline.hget(key, row.name)
        claim, delivered = pipeline.execute()
        return read_claim(claim) if claim else None, read_delivered(delivered or b"")

    def waiting(self, destinations: Sequence[str]) -> list[tuple[Row, int]]:
        """Every outbox row and when it may be sent (Unix ms), soonest first."""
        places = [(s, name) for s in range(self._keys.shards) for name in destinations]
        pipeline = self._client.pipeline(transaction=False)
        for shard, name in places:
            pipeline.zrange(self._keys.outbox(shard, name), 0, -1, withscores=True)
        rows = [
            (Row(shard, name, customer.decode()), int(score))
            for (shard, name), reply in zip(places, pipeline.execute(), strict=True)
            for customer, score in reply
        ]
        return sorted(rows, key=lambda pair: pair[1])

    def hasten(self, rows: Sequence[Row]) -> int:
        """Let rows of one destination that wait go now, all but those under way; how many."""
        calls = [
            Call(
                "hasten",
                [self._keys.outbox(shard, mine[0].destination), self._keys.claimed(shard)],
                [mine[0].destination, *(row.customer_id for row in mine)],
            )
            for shard, mine in _by_shard(rows).items()
        ]
        return int(sum(self._scripts.run_all(calls))) if calls else 0

    def send_again(self, rows: Sequence[Row], now_ms: int) -> int:
        """Put rows into the outbox: the newest insight is sent, whole, under a new delivery id.

        What the destination holds is not known then; a delivery's id is made from that too. A row
        that is under way goes again when it has ended.
        """
        k = self._keys
        places: dict[tuple[int, str], list[str]] = {}
        for shard, name, customer in rows:
            places.setdefault((shard, name), []).append(customer)
        calls = [
            Call(
                "resync",
                [k.outbox(shard, name), k.claimed(shard), k.delivered(shard), k.dead(shard)],
                [name, now_ms, *customers],
            )
            for (shard, name), customers in places.items()
        ]
        return int(sum(self._scripts.run_all(calls))) if calls else 0

    def _content_key(self, policy: Policy, row: Row) -> str:
        if policy.is_stream:
            return self._keys.lane(row.shard, row.destination, row.customer_id)
        return self._keys.insight(row.shard, row.customer_id)


def pack(claim: Claim) -> bytes:
    """A claim as stored."""
    head = (
        claim.token, claim.attempts, claim.delivery_id, claim.version, claim.first_ms, claim.part,
        *([claim.doubt] if claim.doubt else []),
    )  # fmt: skip
    return "|".join(map(str, head)).encode() + b"\n" + _pack_sent(claim.sent)


def read_claim(value: bytes) -> Claim:
    """A stored claim."""
    head, _, sent = value.partition(b"\n")
    token, attempts, delivery_id, version, first_ms, part, *doubt = head.decode().split("|")
    return Claim(
        token, int(attempts), delivery_id, int(version), int(first_ms), part, _read_sent(sent),
        int(doubt[0]) if doubt else 0,
    )  # fmt: skip


def read_delivered(value: bytes) -> Delivered:
    """A stored record of what a destination holds."""
    if not value:
        return Delivered()
    head, _, sent = value.partition(b"\n")
    version, sent_ms, digest, delivery_id = head.decode().split("|")
    return Delivered(int(version), int(sent_ms), digest, delivery_id, _read_sent(sent))


def read_event(entry: bytes) -> Event:
    """An entry of a lane."""
    if not entry:
        return Event()
    put_ms, as_of_s, body = entry.split(b"|", 2)
    digest = hashlib.sha1(entry, usedforsecurity=False).hexdigest()  # as Lua can
    return Event(digest, int(put_ms), int(as_of_s), body)


def _pack_held(holds: Delivered) -> bytes:
    """What `settle` writes behind version and time."""
    return f"{holds.digest}|{holds.delivery_id}\n".encode() + _pack_sent(holds.sent)


def _pack_sent(sent: Sent) -> bytes:
    if sent == Sent():
        return b""
    return json.dumps([dict(sent.fields), sent.vendor_id], ensure_ascii=False).encode()


def _read_sent(value: bytes) -> Sent:
    return Sent(*json.loads(value)) if value else Sent()


def _claimed(
    policy: Policy, shard: int, customer: bytes, claim: bytes, content: bytes, delivered: bytes
) -> Claimed:
    return Claimed(
        Row(shard, policy.name, customer.decode()),
        read_claim(claim),
        Held() if policy.is_stream else read_insight(content),
        read_event(content) if policy.is_stream else Event(),
        read_delivered(delivered),
    )


def _by_shard(rows: Sequence[Row]) -> dict[int, list[Row]]:
    by_shard: dict[int, list[Row]] = {}
    for row in rows:
        by_shard.setdefault(row.shard, []).append(row)
    return by_shard


def _settle_args(policy: Policy, one: Settled) -> tuple[object, ...]:
    claim = one.claim
    kept = claim if one.outcome == "accepted" else claim._replace(token="")
    detail = one.detail.replace("\n", " ")[:300]
    return (
        one.row.customer_id, claim.token, one.outcome,
        one.event.digest if policy.is_stream else claim.version, claim.delivery_id,
        _pack_held(one.holds), one.wait_ms, pack(kept), _letter_name(policy, one), _letter(one),
        detail,
    )  # fmt: skip


def _letter_name(policy: Policy, one: Settled) -> str:
    """Of an insight one letter a customer; of events each has its own."""
    return one.row.name + (SEPARATOR + one.claim.delivery_id if policy.is_stream else "")


def _letter(one: Settled) -> str:
    """What `Letters` reads of a delivery that was given up."""
    if one.outcome != "dead":
        return ""
    claim, event = one.claim, one.event
    fields = {
        "destination": one.row.destination,
        "customer_id": one.row.customer_id,
        "code": one.code,
        "detail": one.detail[:300],
        "delivery_id": claim.delivery_id,
        "attempts": claim.attempts,
        "version": claim.version,
        "first_ms": claim.first_ms,
        "event": f"{event.as_of_s}|{event.json.decode()}" if event.json else "",
    }
    return json.dumps(fields, ensure_ascii=False)
