"""Every adapter in the engine, on a real server: what its vendor holds is what is wanted."""

import json
from collections import Counter

import pytest

from integrations.mapping import MappedField
from integrations.outbound.abilities import Authorizing
from tests.builders import deliverer
from tests.contract.kinds import KINDS
from tests.servers import eventually
from worker.clock import SystemClock
from worker.store.delivering import DeliverStore
from worker.store.keys import Keys
from worker.store.letters import Letters
from worker.store.refreshing import Mark, Push, Refreshed, RefreshStore

KEYS = Keys("t", 4)
CUSTOMERS = 60
CRMS = sorted(
    name for name, kind in KINDS.items() if kind.fields and "alive" in str(kind.fields).lower()
)
TARGETS = {
    "salesforce": ("Segment__c", "Alive__c"),
    "zoho": ("Segment", "Alive"),
}


class Bench:
    """Insights as refresh writes them, an engine behind them, and the vendor of one adapter."""

    def __init__(self, client, name, vendor, sender):
        self.client, self.name, self.kind, self.vendor = client, name, KINDS[name], vendor
        self.segment, self.alive = TARGETS.get(name, ("segment", "alive"))
        self.refresh = RefreshStore(client, KEYS, lease_ms=1)
        self.store = DeliverStore(client, KEYS)
        self.adapter = self.kind.adapter(vendor.url)
        self.sender = sender
        self.versions = Counter()
        self.wanted = {}

    def tell(self, n, segment, alive):
        customer, version = f"c{n}", self.versions[n]
        self.versions[n] += 1
        fields = {
            "customer_id": customer,
            "key": self.kind.key(n),
            "segment": segment and {"name": segment},
            "p_alive": alive,
        }
        row = Refreshed(
            mark=Mark(KEYS.shard(customer), customer, version + 1, loud=True),
            expected_version=version, seq=version + 1, generation=1, as_of_s=1000 + version,
            material=f"m{version}", json=json.dumps(fields).encode(), push=Push.ALL,
            transitions=(), next_due_s=5000,
        )  # fmt: skip
        assert self.refresh.commit([row], ("crm",), ()) == [True]
        values = {self.segment: segment, self.alive: alive}
        self.wanted[self.kind.key(n)] = {k: v for k, v in values.items() if v is not None}

    def deliver(self):
        """Run the engine until nothing waits."""
        deliver = deliverer(
            self.client, KEYS, SystemClock(), self.adapter, transport=self.sender,
            key=("key",), lease=60_000, timeout_s=5.0,
            fields=(
                MappedField(source="segment.name", target=self.segment),
                MappedField(source="p_alive", target=self.alive, round=2),
            ),
        )  # fmt: skip

        def is_over():
            deliver.drain()
            return not self.store.waiting(["crm"])

        try:
            eventually(is_over, within_s=40)
        finally:
            deliver.close()

    def held(self):
        """What the vendor keeps of our two fields."""
        ours = {self.segment, self.alive}
        return {
            key: {name: _number(value) for name, value in fields.items() if name in ours}
            for key, fields in self.vendor.contacts.items()
        }


def _number(value):
    """HubSpot keeps every value as text."""
    try:
        return float(value)
    except ValueError:
        return value


@pytest.fixture(params=CRMS)
def bench(request, redis_client, sender):
    kind = KINDS[request.param]
    with kind.vendor() as vendor:
        bench = Bench(redis_client, request.param, vendor, sender)
        if request.param == "klaviyo":
            vendor.asks = 1  # five seconds lie between two questions
        if request.param in TARGETS:  # whose contacts need a name to be created
            for n in range(CUSTOMERS):
                vendor.contacts[kind.key(n)] = {"LastName": "Li"}
        yield bench


def test_what_the_vendor_holds_is_what_is_wanted(bench):
    for n in range(CUSTOMERS):
        bench.tell(n, "VIP", round(n / CUSTOMERS, 2))
    bench.deliver()
    if bench.adapter.capabilities.is_digest:
        (message,) = bench.vendor.messages
        assert f"segment → VIP: {CUSTOMERS}" in message
        return
    assert bench.held() == bench.wanted
    if isinstance(bench.adapter, Authorizing):
        bench.vendor.expire()
    before = len(bench.vendor.requests)
    for n in range(0, CUSTOMERS, 3):
        bench.tell(n, None, 0.5)
    bench.deliver()
    assert bench.held() == bench.wanted
    assert Letters(bench.client, KEYS).find() == []
    most = bench.adapter.capabilities.max_rows
    assert most == 1 or len(bench.vendor.requests) - before <= 8


def test_a_contact_that_was_deleted_comes_back_with_all_its_fields(redis_client, sender):
    kind = KINDS["bottlecrm"]
    with kind.vendor() as vendor:
        bench = Bench(redis_client, "bottlecrm", vendor, sender)
        bench.tell(0, "VIP", 0.5)
        bench.deliver()
        vendor.delete(kind.key(0))
        bench.tell(0, "VIP", 0.7)
        bench.deliver()
        assert bench.held() == bench.wanted == {kind.key(0): {"segment": "VIP", "alive": 0.7}}
