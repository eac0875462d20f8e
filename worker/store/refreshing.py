"""What refresh reads and writes: marks, profiles and insights."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from integrations.destinations import TOLD_REASONS
from worker.store.envelope import read_envelope
from worker.store.heads import Heads
from worker.store.keys import Keys
from worker.store.scripts import Call, Client, Scripts

STAGE: Final = "refresh"
#: Transitions are kept this long.
TRANSITIONS_S: Final = 400 * 86_400
_SEPARATOR: Final = b"\x1e"  # JSON escapes it


class Mark(NamedTuple):
    """A customer to refresh.

    seq     None: by the clock, or because of somebody else's event
    loud    what changed is pushed
    nudged  because of somebody else's event
    stale   because another model version became live
    """

    shard: int
    customer_id: str
    seq: int | None
    loud: bool
    nudged: bool = False
    stale: bool = False

    @property
    def by_event(self) -> bool:
        """Whether an event of the customer that was not quiet marked it."""
        return self.loud and self.seq is not None


class Push(StrEnum):
    """Who hears of a new insight."""

    NOBODY = ""
    KNOWN = "known"  # destinations that have heard of the customer before
    ALL = "1"
    KNOWN_LATER = "known later"  # the same, but the customer's own news go first
    ALL_LATER = "later"


class Held(NamedTuple):
    """The newest insight, as far as the next one needs it; version 0 = there is none.

    state  what the next one goes on from and nobody is told: the customer's standing
    told   the figures that were material last (`integrations.material`)
    """

    version: int = 0
    seq: int = 0
    generation: int = 0
    as_of_s: int = 0
    material: str = ""
    json: bytes = b""
    state: str = ""
    told: str = ""


class Known(NamedTuple):
    """What is stored of a customer: `hot` None where there is no profile."""

    seq: int
    through_event_id: str
    hot: bytes | None
    cold: bytes
    held: Held


class Stream(NamedTuple):
    """A destination of events.

    reasons  of transitions that it is told
    """

    name: str
    reasons: frozenset[str] = frozenset(TOLD_REASONS)


class Transition(NamedTuple):
    """A customer's move (JSON), and why: `event`, `clock` or `model`."""

    reason: str
    json: bytes


class Refreshed(NamedTuple):
    """One insight to write. `json` b"" keeps the one that is there and only answers the mark.

    transitions  in the sequence in which they came about
    not_before   when destinations may be told, Unix ms; "" = at once
    scored       generation of the models when all of them spoke; 0 = one could not be read
    """

    mark: Mark
    expected_version: int
    seq: int
    generation: int
    as_of_s: int
    material: str
    json: bytes
    push: Push
    transitions: tuple[Transition, ...]
    next_due_s: int
    state: str = ""
    not_before: str = ""
    scored: int = 0
    told: str = ""


class RefreshStore:
    """The refresh side of a server."""

    def __init__(self, client: Client, keys: Keys, *, lease_ms: int) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)
        self._heads = Heads(client)
        self._lease_ms = lease_ms
        self._tokens: dict[int, str] = {}

    def marked(self, limit: int) -> list[Mark]:
        """Customers with a loud mark, at most `limit` a shard."""
        return self._marks(self._keys.dirty, limit, loud=True)

    def quiet(self, limit: int) -> list[Mark]:
        """Customers with a quiet mark, at most `limit` a shard."""
        return self._marks(self._keys.quiet, limit, loud=False)

    def due(self, now_s: int, limit: int) -> list[Mark]:
        """Customers whose clock refresh is due, at most `limit` a shard."""
        keys = [self._keys.due(shard) for shard in range(self._keys.shards)]
        found = self._heads.read(keys, [limit] * len(keys), now_s)
        return [Mark(shard, customer, None, loud=True) for shard, customer, _ in found]

    def lease(self, marks: Sequence[Mark]) -> list[Mark]:
        """The marks of the shards that could be leased here."""
        token = secrets.token_hex(8)
        shards = list(dict.fromkeys(mark.shard for mark in marks))
        pipeline = self._client.pipeline(transaction=False)
        for shard in shards:
            key = self._keys.lease(shard, STAGE)
            pipeline.set(key, token, nx=True, px=self._lease_ms, get=True)
        holders = zip(shards, pipeline.execute(), strict=True)
        mine = {shard for shard, before in holders if before in (None, token.encode())}
        self._tokens.update(dict.fromkeys(mine, token))
        return [mark for mark in marks if mark.shard in mine]

    def release(self, shards: Iterable[int]) -> None:
        """Give leases back where there was nothing to commit; a commit gives back its own."""
        calls = [
            Call("unlock", [self._keys.lease(shard, STAGE)], [self._tokens.pop(shard)])
            for shard in shards
        ]
        if calls:
            self._scripts.run_all(calls)

    def load(self, customers: Sequence[tuple[int, str]]) -> list[Known]:
        """Profiles and insights of customers (shard, id)."""
        k = self._keys
        pipeline = self._client.pipeline(transaction=False)
        for shard, customer in customers:
            names = (key(shard, customer) for key in (k.profile, k.cold, k.insight))
            pipeline.execute_command("MGET", *names)  # redis-py refuses `mget` on a Cluster
        return [_known(*values) for values in pipeline.execute()]

    def commit(
        self,
        refreshed: Sequence[Refreshed],
        destinations: Sequence[str],
        streams: Sequence[Stream] = (),
    ) -> list[bool]:
        """Write insights, one script a shard; False where somebody else was faster or newer.

        destinations  who gets insights      streams  who gets transitions
        """
        by_shard: dict[int, list[int]] = {}
        for index, one in enumerate(refreshed):
            by_shard.setdefault(one.mark.shard, []).append(index)
        calls = [
            self._call(shard, [refreshed[i] for i in indices], destinations, streams)
            for shard, indices in by_shard.items()
        ]
        written = [False] * len(refreshed)
        for indices, replies in zip(by_shard.values(), self._scripts.run_all(calls), strict=True):
            for index, reply in zip(indices, replies, strict=True):
                written[index] = reply == 1
        return written

    def forget(self, marks: Sequence[Mark]) -> None:
        """Drop marks and due times of customers that have no profile."""
        pipeline = self._client.pipeline(transaction=False)
        for mark in marks:
            for key in (self._keys.dirty, self._keys.quiet, self._keys.due):
                pipeline.zrem(key(mark.shard), mark.customer_id)
        pipeline.execute()

    def customers(self) -> int:
        """How many customers there are."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(self._keys.shards):
            pipeline.scard(self._keys.customers(shard))
        return int(sum(pipeline.execute()))

    def _marks(self, key: Callable[[int], str], limit: int, *, loud: bool) -> list[Mark]:
        keys = [key(shard) for shard in range(self._keys.shards)]
        found = self._heads.read(keys, [limit] * len(keys))
        return [Mark(shard, customer, seq, loud) for shard, customer, seq in found]

    def _call(
        self,
        shard: int,
        rows: Sequence[Refreshed],
        destinations: Sequence[str],
        streams: Sequence[Stream],
    ) -> Call:
        k = self._keys
        keys = [
            k.lease(shard, STAGE), k.dirty(shard), k.quiet(shard), k.due(shard),
            k.transitions(shard), k.refresh_stats(shard), k.delivered(shard),
            k.stale(shard), *(k.outbox(shard, name) for name in destinations),
            *(k.outbox(shard, one.name) for one in streams),
        ]  # fmt: skip
        for row in rows:
            customer = row.mark.customer_id
            keys.append(k.insight(shard, customer))
            keys += (k.lane(shard, one.name, customer) for one in streams)
        oldest_s = max(row.as_of_s for row in rows) - TRANSITIONS_S
        args: list[object] = [
            self._tokens.get(shard, ""), oldest_s, len(destinations), len(streams),
            min(row.scored for row in rows), *destinations,
        ]  # fmt: skip
        for row in rows:
            args += (
                row.mark.customer_id, row.expected_version, row.seq, row.generation, row.as_of_s,
                _value(row), row.push,
                _SEPARATOR.join(_addressed(one, streams) for one in row.transitions),
                row.next_due_s,
                "" if row.mark.seq is None else row.seq, row.not_before,
            )  # fmt: skip
        return Call("insights", keys, args)


def _addressed(one: Transition, streams: Sequence[Stream]) -> bytes:
    """The transition behind a 1 for each stream that it goes to, a 0 for the others."""
    who = "".join(str(int(one.reason in stream.reasons)) for stream in streams)
    return who.encode() + b"|" + one.json


def _value(row: Refreshed) -> bytes:
    if not row.json:
        return b""
    numbers = f"{row.expected_version + 1}|{row.seq}|{row.generation}|{row.as_of_s}"
    return f"{numbers}|{row.material}|{row.state}|{row.told}\n".encode() + row.json


def read_insight(value: bytes | None) -> Held:
    """Header and JSON of a stored insight."""
    if not value:
        return Held()
    head, _, body = value.partition(b"\n")
    version, seq, generation, as_of_s, material, *state = head.decode().split("|", 6)
    numbers = (int(version), int(seq), int(generation), int(as_of_s))
    return Held(*numbers, material, body, *state)


def _known(profile: bytes | None, cold: bytes | None, insight: bytes | None) -> Known:
    held = read_insight(insight)
    if profile is None:
        return Known(0, "", None, b"", held)
    envelope = read_envelope(profile)
    return Known(envelope.seq, envelope.through_event_id, envelope.hot, cold or b"", held)
