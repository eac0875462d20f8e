"""A vendor that takes batches, and an engine behind insights as refresh writes them."""

import json
import time
from collections import Counter

from integrations.outbound.abilities import Progress
from integrations.outbound.contract import (
    Capabilities,
    HttpCall,
    Matching,
    Outcome,
    Response,
    Verdict,
)
from tests.builders import deliverer
from worker.clock import ManualClock
from worker.store.delivering import DeliverStore
from worker.store.destinations import Destinations
from worker.store.keys import Keys
from worker.store.letters import Letters
from worker.store.refreshing import Mark, Push, Refreshed, RefreshStore, Stream, Transition

KEYS = Keys("t", 4)
OK = Outcome(Verdict.OK)


class Vendor:
    """A CRM that takes batches: adapter, transport and contacts in one.

    calls   the rows of every call, in the order of arrival
    held    key -> fields
    ends    what befalls the next calls, in turn: an error to raise, or a Verdict for all rows
    refuse  keys that make it refuse a call as a whole
    bad     keys that it refuses alone
    """

    name = "vendor"

    def __init__(self, max_rows=100, **capabilities):
        options = {"max_rows": max_rows, "max_bytes": 1_000_000, "matching": Matching.KEY}
        self.capabilities = Capabilities(**{**options, **capabilities})
        self.calls = []
        self.held = {}
        self.ends = []
        self.refuse = set()
        self.bad = set()

    def encode(self, rows, *, credentials, at_s):
        sent = [[row.key, dict(row.fields), row.delivery_id, row.body.decode()] for row in rows]
        return HttpCall("vendor", "POST", "", {}, json.dumps(sent).encode())

    def send(self, call):
        rows = json.loads(call.body)
        self.calls.append(rows)
        end = self.ends.pop(0) if self.ends else None
        if isinstance(end, Exception):
            raise end
        if end is not None:
            return Response(400, {}, end.encode())
        keys = {row[0] for row in rows}
        if keys & self.refuse:
            return Response(400, {}, b"split")
        for key, fields, _, _ in rows:
            if key not in self.bad:
                self.held.setdefault(key, {}).update(fields)
        return Response(200, {}, b"")

    def classify(self, rows, response, *, at_s):
        if response.status == 400:
            return (Outcome(Verdict(response.body.decode()), "http_400"),) * len(rows)
        return tuple(
            Outcome(Verdict.PERMANENT, "bad_row") if row.key in self.bad else OK for row in rows
        )


class Shop:
    """Insights as refresh writes them, and the engine behind them."""

    def __init__(self, client):
        self.client = client
        self.store = DeliverStore(client, KEYS)
        self.destinations = Destinations(client, KEYS)
        self.letters = Letters(client, KEYS)
        self.refresh = RefreshStore(client, KEYS, lease_ms=1)
        self.versions = Counter()

    def tell(self, customer, names=("crm",), streams=(), moves=(), **fields):
        """A new insight of a customer, with its outbox rows and events."""
        version = self.versions[customer]
        self.versions[customer] += 1
        body = json.dumps({"customer_id": customer, "n": version + 1, **fields}).encode()
        row = Refreshed(
            mark=Mark(KEYS.shard(customer), customer, version + 1, loud=True),
            expected_version=version, seq=version + 1, generation=1, as_of_s=1000 + version,
            material=f"m{version}", json=body, push=Push.ALL,
            transitions=tuple(
                Transition("event", json.dumps({"id": one, "kind": "segment"}).encode())
                for one in moves
            ),
            next_due_s=5000,
        )  # fmt: skip
        assert self.refresh.commit([row], names, tuple(map(Stream, streams))) == [True]

    def deliver(self, vendor, *, clock=None, **options):
        """Everything that is due now; the engine is ended afterwards."""
        stage = deliverer(
            self.client, KEYS, clock or ManualClock(time.time()), vendor, lease=5000, **options
        )
        stage.drain()
        stage.close()
        return stage

    def let_go(self, name="crm"):
        """Waits are over."""
        for shard in range(KEYS.shards):
            for customer in self.client.zrange(KEYS.outbox(shard, name), 0, -1):
                self.client.zadd(KEYS.outbox(shard, name), {customer: 0})
        self.destinations.resume(name)

    def finish_jobs(self, vendor):
        """Let the times of jobs pass, with a worker of its own for each look."""
        for _ in range(3):
            for job in self.client.zrange(KEYS.jobs("crm"), 0, -1):
                self.client.zadd(KEYS.jobs("crm"), {job: 0})
            self.deliver(vendor)

    def waiting(self, name="crm"):
        return {row.customer_id for row, _ in self.store.waiting([name])}


class Lookups(Vendor):
    """It must be asked for its id of a record before it is written."""

    def __init__(self, **options):
        super().__init__(**options)
        self.ids = {}
        self.asked = []

    def lookup(self, rows, *, credentials):
        body = json.dumps([row.key for row in rows]).encode()
        return HttpCall("vendor", "GET", "", {}, body)

    def send(self, call):
        if call.method == "GET":
            keys = json.loads(call.body)
            self.asked.append(keys)
            return Response(200, {}, json.dumps([self.ids.get(key, "") for key in keys]).encode())
        return super().send(call)

    def read_lookup(self, rows, response, *, at_s):
        return tuple(Outcome(Verdict.OK, vendor_id=one) for one in json.loads(response.body))

    def classify(self, rows, response, *, at_s):
        ends = super().classify(rows, response, at_s=at_s)
        for row in rows:
            known = self.ids.get(row.key, "")
            assert row.vendor_id == known, "a record that is there is not created again"
            self.ids[row.key] = known or f"id-{row.key}"
        return tuple(
            Outcome(end.verdict, vendor_id=self.ids[row.key])
            for end, row in zip(ends, rows, strict=True)
        )


class Working(Vendor):
    """It takes calls as jobs; a job ends when it has been asked about twice."""

    def __init__(self, **options):
        super().__init__(is_job=True, **options)
        self.jobs = {}
        self.asked = Counter()

    def classify(self, rows, response, *, at_s):
        job = f"job-{len(self.calls)}"
        self.jobs[job] = [row.key for row in rows]
        return (Outcome(Verdict.ACCEPTED, job=job),) * len(rows)

    def poll(self, job, *, credentials):
        return HttpCall("vendor", "GET", "", {}, job.encode())

    def send(self, call):
        if call.method == "GET":
            return Response(200, {}, call.body)
        return super().send(call)

    def read_poll(self, job, rows, response, *, at_s):
        self.asked[job] += 1
        if self.asked[job] < 2:
            return Progress(None, job, 0.0)
        assert [row.key for row in rows] == self.jobs[job]
        return Progress(
            tuple(Outcome(Verdict.PERMANENT, "bad") if row.key in self.bad else OK for row in rows)
        )
