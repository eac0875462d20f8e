"""Events, entries and a shard without a server: what the proofs of the core are made of."""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgpack
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ResponseError

from integrations.facts import EventFact, Reading, Rejected, customer_of, read_events
from integrations.outbound.contract import (
    Capabilities,
    HttpCall,
    Matching,
    Outcome,
    Response,
    Verdict,
)
from tests.servers import eventually
from worker import batch as batches
from worker.batch import Rules
from worker.delivery.channel import Channel
from worker.delivery.engine import Deliver
from worker.ingest import Ingest
from worker.profile import codec, fold
from worker.profile.ledger import Profile
from worker.profile.memory import Limits, records
from worker.refresh_rules import RefreshRules
from worker.store.commits import START, Batch, Commit, Entry, Position, Stored, Write
from worker.store.delivering import DeliverStore
from worker.store.destinations import Destinations
from worker.store.door import Door
from worker.store.envelope import Envelope, unpack
from worker.store.ingesting import IngestStore
from worker.store.keys import Keys
from worker.store.quarantine import Quarantine

DAY_S = 86_400
WEEK_S = 7 * DAY_S
#: A Monday, 00:00 UTC: the time that stories of these tests begin at.
T0 = 1_704_067_200
#: When the first entry of a story reaches the server: later than every event.
ENTERED_S = T0 + 20 * WEEK_S


def iso(at_s: int) -> str:
    """An instant as events carry it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def event(kind: str, customer: str, event_id: str, at_s: int | None, **fields) -> bytes:
    """One call in Segment's JSON."""
    call = {"type": kind, "userId": customer, "messageId": event_id, **fields}
    if at_s is not None:
        call["timestamp"] = iso(at_s)
    return json.dumps(call).encode()


def track(customer: str, name: str, event_id: str, at_s: int | None = T0, **properties) -> bytes:
    """A `track` call."""
    return event("track", customer, event_id, at_s, event=name, properties=properties)


def viewed(customer: str, item: str, event_id: str, at_s: int | None = T0) -> bytes:
    """A product was looked at."""
    return track(customer, "Product Viewed", event_id, at_s, product_id=item)


def lines(quantities: Mapping[str, int]) -> list[dict[str, object]]:
    """Order lines: item id -> pieces."""
    return [{"product_id": item, "quantity": n, "price": "5.00"} for item, n in quantities.items()]


def order(
    customer: str, order_id: str, event_id: str, at_s: int = T0, *, name="Order Completed", **more
) -> bytes:
    """An order event; `items` maps item ids to pieces, `revenue` is in major units."""
    items = more.pop("items", None)
    properties = {"order_id": order_id, "currency": "EUR", **more}
    if items:
        properties["products"] = lines(items)
    if not order_id:
        del properties["order_id"]
    return track(customer, name, event_id, at_s, **properties)


def refund(customer: str, order_id: str, event_id: str, at_s: int = T0, **more) -> bytes:
    """A refund: full without `revenue` and `items`; a return without `order_id`."""
    return order(customer, order_id, event_id, at_s, name="Order Refunded", **more)


def identify(customer: str, event_id: str, at_s: int = T0, **traits) -> bytes:
    """Traits of a customer."""
    return event("identify", customer, event_id, at_s, traits=traits)


def rules(
    shards: int = 1,
    *,
    window_s: int = 30 * DAY_S,
    records: int = 4096,
    retention_s: int = 7 * DAY_S,
) -> Rules:
    """What folding depends on."""
    return Rules(shards, Reading(), Limits(window_s, records), retention_s)


def entries(events: Iterable[bytes], *, first_s: int = ENTERED_S, after: int = 0) -> list[Entry]:
    """Stream entries, one a second; `after` numbers on from an earlier call."""
    return [
        Entry(f"{(first_s + after + n) * 1000}-0", first_s + after + n, "event", raw, quiet=False)
        for n, raw in enumerate(events, 1)
    ]


def facts(events: Sequence[bytes], entry_s: int = ENTERED_S) -> list[EventFact]:
    """What the events say; all must be readable."""
    found = read_events(events, [entry_s] * len(events), Reading())
    assert all(isinstance(one, EventFact) for one in found), found
    return found


def folded(told: Iterable[EventFact]) -> Profile:
    """The profile of distinct facts, folded without any store."""
    profile = Profile()
    for fact in told:
        fold.apply(profile, fact)
    return profile


def refusing(event_id: str, error: BaseException):
    """A `fold.apply` that cannot apply one event."""
    apply = fold.apply

    def picky(profile, fact):
        if fact.event_id == event_id:
            raise error
        return apply(profile, fact)

    return picky


class DictShard:
    """A shard whose store is a dict: applies batches as the commit script does."""

    def __init__(self, rules_: Rules, shard: int = 0) -> None:
        self.rules = rules_
        self.shard = shard
        self.values: dict[tuple[str, str], bytes] = {}
        self.position = Position(b"epoch", START, 0, 0, 0, 0, 0, 0)
        self.commits: list[Commit] = []

    def apply(self, found: Sequence[Entry], tries: int = 1) -> Commit:
        """Fold one batch and keep what it writes."""
        batch = Batch(self.shard, "token", tries, self.position, list(found))
        read = batches.read(batch, self.rules)
        stored = {
            customer: Stored(
                self.values.get(("profile", customer)),
                self.values.get(("memory", customer)),
                self.values.get(("cold", customer), b"") if cold else None,
            )
            for customer, cold in batches.wants_cold(read).items()
        }
        for customer in batches.late(read.by_customer, stored):
            cold = self.values.get(("cold", customer), b"")
            stored[customer] = stored[customer]._replace(cold=cold)
        commit = batches.build(batch, read, stored, self.rules)
        for write in commit.writes:
            self._write(write)
        self.position = commit.position
        self.commits.append(commit)
        return commit

    def run(self, batches_: Iterable[Sequence[Entry]]) -> "DictShard":
        """Several batches."""
        for found in batches_:
            if found:
                self.apply(found)
        return self

    def _write(self, write: Write) -> None:
        key = (write.part, write.customer_id)
        if write.offset is None:
            self.values[key] = write.data
        elif write.data:  # SETRANGE: pads with zeros, keeps what lies behind
            held = self.values.get(key, b"").ljust(write.offset, b"\0")
            self.values[key] = (
                held[: write.offset] + write.data + held[write.offset + len(write.data) :]
            )

    @property
    def customers(self) -> set[str]:
        """Who has a profile."""
        return {customer for part, customer in self.values if part == "profile"}

    @property
    def refused(self) -> list[tuple[str, bytes]]:
        """(reason, event) of everything quarantined, in order."""
        return [(one.reason, one.event) for commit in self.commits for one in commit.refused]

    def envelope(self, customer: str) -> Envelope:
        """The stored value's envelope."""
        return unpack(self.values["profile", customer])

    def profile(self, customer: str) -> Profile:
        """A stored profile, decoded with its cold part."""
        return codec.decode(self.envelope(customer).hot, self.values.get(("cold", customer), b""))

    def memory(self, customer: str) -> bytes:
        """A customer's id memory, as far as it counts."""
        return self.values["memory", customer][: self.envelope(customer).memory_len]

    def canonical(self) -> dict[str, bytes]:
        """The bytes of every profile."""
        return {c: codec.canonical(self.profile(c)) for c in sorted(self.customers)}


class Installation:
    """A small installation on a real server, with stages made anew for each call.

    Entries get explicit ids, one a second from `ENTERED_S` on, so that two runs can be compared.
    """

    def __init__(self, client, *, shards: int = 2, lease_ms: int = 1, rules_: Rules | None = None):
        self.client = client
        self.keys = Keys("t", shards)
        self.rules = rules_ or rules(shards)
        self.lease_ms = lease_ms
        self._entered = 0

    def create(self) -> "Installation":
        """Give every shard the same epoch in every run."""
        for shard in range(self.keys.shards):
            self.client.set(self.keys.epoch(shard), "epoch")
        return self

    def store(self, **options) -> IngestStore:
        """The ingest side; `lease_ms` as the installation says."""
        return IngestStore(self.client, self.keys, **{"lease_ms": self.lease_ms, **options})

    def ingest(self, *, lease_ms: int | None = None, **options) -> Ingest:
        """A drainer of its own, in one thread."""
        store = self.store(lease_ms=lease_ms or self.lease_ms)
        return Ingest(store, self.rules, **options)

    def put(self, events: Iterable[bytes], shard: int | None = None, **fields) -> list[str]:
        """Append events to a shard; without one, to their customers' (0 where none is named)."""
        ids = []
        for raw in events:
            self._entered += 1
            entry_id = f"{(ENTERED_S + self._entered) * 1000}-0"
            to = self.shard_of(raw) if shard is None else shard
            self.client.xadd(self.keys.events(to), {"event": raw, **fields}, id=entry_id)
            ids.append(entry_id)
        return ids

    def wait(self, seconds: int) -> None:
        """Let time pass between two entries."""
        self._entered += seconds

    def shard_of(self, raw: bytes) -> int:
        """Where an event belongs."""
        customer = customer_of(raw)
        return 0 if isinstance(customer, Rejected) else self.keys.shard(customer)

    def drain(self, **options) -> None:
        """Apply all that waits; leases that a crash left behind are waited for."""
        ingest = self.ingest(**options)

        def done() -> bool:
            ingest.round(range(self.keys.shards))
            return not self.lag()

        eventually(done, every_s=0.001)

    def lag(self) -> int:
        """Entries behind the cursors."""
        return sum(lag.entries for lag in Door(self.client, self.keys).lag())

    def profiles(self) -> dict[str, bytes]:
        """The canonical bytes of every customer's profile."""
        found = {}
        for shard in range(self.keys.shards):
            for name in self.client.smembers(self.keys.customers(shard)):
                customer = name.decode()
                value = self.client.get(self.keys.profile(shard, customer))
                cold = self.client.get(self.keys.cold(shard, customer)) or b""
                found[customer] = codec.canonical(codec.decode(unpack(value).hot, cold))
        return found

    def remembered(self) -> dict[str, list[tuple[bytes, int, int]]]:
        """Every customer's id memory, as far as it counts."""
        found = {}
        for customer in self.profiles():
            shard = self.keys.shard(customer)
            length = unpack(self.client.get(self.keys.profile(shard, customer))).memory_len
            held = self.client.get(self.keys.memory(shard, customer))[:length]
            found[customer] = [(one.id_hash, one.cell, one.digest) for one in records(held)]
        return found

    def quarantined(self) -> list[tuple[int, str, str, bytes]]:
        """(shard, reason, path, event) of all that is held, sorted."""
        held = Quarantine(self.client, self.keys).list()
        return sorted((one.shard, one.reason, one.path, one.event) for one in held)

    def counters(self) -> dict[str, int]:
        """What the commits counted, over all shards."""
        total: dict[str, int] = {}
        for shard in range(self.keys.shards):
            for name, value in self.client.hgetall(self.keys.meta(shard)).items():
                if name != b"cursor":
                    total[name.decode()] = total.get(name.decode(), 0) + int(value)
        return total

    def changed(self, shard: int) -> set[str]:
        """The customers that the deltas of a shard name."""
        rows = self.client.xrange(self.keys.deltas(shard))
        return {one[0] for _, row in rows for one in msgpack.unpackb(row[b"changed"])}


def dump(client, *, without: Sequence[str] = ()) -> dict[str, object]:
    """Every key's type and value; `without` are endings of names that do not count."""
    return {
        name.decode(): _value(client, name, client.type(name))
        for name in sorted(client.scan_iter(count=1000))
        if not name.decode().endswith(tuple(without) or ("\0",))
    }


def _value(client, name: bytes, kind: bytes) -> object:
    if kind == b"stream":
        info = client.xinfo_stream(name)
        return client.xrange(name), info["last-generated-id"], info["entries-added"]
    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return read[kind](name)


_WRITES = "ZADD|SADD|SREM|XADD|XTRIM|SET|MSET|SETRANGE|DEL|HSET|HDEL|HINCRBY|ZREM|ZREMRANGEBYSCORE"


def failing(text: str, at: int) -> str:
    """A script that raises an error as soon as it has done its `at`-th write."""
    first, _, rest = text.partition("\n")
    prelude = (
        "local done = 0\n"
        "local function after(reply) done = done + 1"
        f" if done == {at} then error('injected') end return reply end\n"
        "local function CALL(...) return after(redis.call(...)) end\n"
        "local function PCALL(...) return after(redis.pcall(...)) end\n"
    )
    rest = re.sub(rf"redis\.call\('({_WRITES})'", r"CALL('\1'", rest)
    rest = re.sub(rf"redis\.pcall\('({_WRITES})'", r"PCALL('\1'", rest)
    return f"{first}\n{prelude}{rest}"


class Crash(BaseException):
    """The process ends here: nothing of ours may catch it."""


class CrashPlan:
    """Ends the process at its n-th command: behind it (the server got it), or in front of it.

    at      number of the command, from 1; 0 = never
    behind  the server has done the command when the process ends
    """

    def __init__(self, at: int = 0, *, behind: bool = True) -> None:
        self.at = at
        self.behind = behind
        self.sent = 0
        self.last: list[bytes] = []


class CrashingConnection(UnixDomainSocketConnection):
    """Sends one command at a time, also of a pipeline, and ends the process where its plan says."""

    def __init__(self, *, plan: CrashPlan, **options) -> None:
        super().__init__(**options)
        self._plan = plan
        self._armed = False

    def connect_check_health(self, *args, **options):
        self._armed = False  # the handshake is not ours
        super().connect_check_health(*args, **options)
        self._armed = True

    def pack_commands(self, commands):
        return _Commands(self.pack_command(*command) for command in commands)

    def send_packed_command(self, command, check_health=True):
        if not self._sock:
            self.connect()
        parts = command if isinstance(command, _Commands) else [command]
        for number, part in enumerate(parts):
            if not self._armed:
                super().send_packed_command(part, check_health=False)
                continue
            self._plan.sent += 1
            ends = self._plan.sent == self._plan.at
            if ends and not self._plan.behind:
                self._end(number)
            super().send_packed_command(part, check_health=False)
            if ends:
                self._end(number + 1)

    def _end(self, replies: int) -> None:
        """Wait until the server has done what was sent, then be gone."""
        for _ in range(replies):
            with contextlib.suppress(ResponseError):
                self.read_response()
        raise Crash


class _Commands(list):
    """The commands of a pipeline, each packed on its own."""


class FakeCrm:
    """A destination that takes everything: adapter, transport and contacts in one.

    calls   (delivery id, row) in the order of arrival
    rows    the last row of each customer
    """

    name = "crm"
    capabilities = Capabilities(1, 1_000_000, Matching.ALL_OR_NOTHING)

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict]] = []
        self.rows: dict[str, dict] = {}

    def encode(self, rows, *, credentials, at_s):
        (row,) = rows
        return HttpCall(self.name, "POST", "", {"id": row.delivery_id}, row.body)

    def classify(self, rows, response, *, at_s):
        return (Outcome(Verdict.OK),) * len(rows)

    def send(self, call):
        row = json.loads(call.body)
        self.calls.append((call.headers["id"], row))
        self.rows[row["customer_id"]] = row
        return Response(200, {}, b"")


def refresher(client, keys: Keys, clock, *, lease_ms: int = 1, **rules: int):
    """A refresh stage that pushes to `FakeCrm`."""
    from worker.index import InteractionIndex  # scipy: only where it is used
    from worker.live import LiveModels
    from worker.nudging import Nudging
    from worker.refresh import Refresh
    from worker.store.models import ModelStore
    from worker.store.nudges import Nudges
    from worker.store.population import Population
    from worker.store.refreshing import RefreshStore

    return Refresh(
        RefreshStore(client, keys, lease_ms=lease_ms),
        LiveModels(ModelStore(client, keys), clock),
        InteractionIndex(Population(client, keys), "UTC"),
        RULES._replace(**rules),
        clock,
        Nudging(Nudges(client, keys), clock),
    )


@dataclass(frozen=True)
class BriefChannel(Channel):
    """A channel whose leases end soon, so that tests need not wait for them."""

    lease: int = 20

    @property
    def lease_ms(self) -> int:
        return self.lease

    @property
    def longest_ms(self) -> int:
        return self.lease + 20


def channel(crm, **options) -> Channel:
    """The channel of an adapter that is its own transport."""
    return BriefChannel(**{"name": "crm", "adapter": crm, "transport": crm, **options})


def deliverer(client, keys: Keys, clock, crm, *, max_attempts=3, rng=None, **options) -> Deliver:
    """A deliver stage with one destination."""
    return Deliver(
        DeliverStore(client, keys),
        Destinations(client, keys),
        [channel(crm, **options)],
        clock,
        shards=keys.shards,
        max_attempts=max_attempts,
        rng=rng,
    )


RULES = RefreshRules(100, DAY_S, "UTC", "EUR", 3, 3, 30, ("crm",))
