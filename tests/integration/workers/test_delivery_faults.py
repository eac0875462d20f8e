"""Worker processes that are killed, a vendor that does harm: nothing lost, nothing doubled.

The vendor counts by arrival: calls in every window, rows under way, versions that go back.
"""

import random
import time

import pytest

from benchmarks.delivery import HUBSPOT, WEBHOOK, installation
from tests.servers import Server
from tests.vendors.faults import Fault, fullest_window, running

WORKERS, KILLS, ROUNDS, CUSTOMERS = 4, 2, 10, 160
ANYBODY = {
    Fault.AFTER_COMMIT_500: 0.06, Fault.RESET: 0.05, Fault.AFTER_COMMIT_RESET: 0.05,
    Fault.DRIP: 0.02,
}  # fmt: skip
HARM = {
    "webhook": ANYBODY,
    "hubspot": ANYBODY
    | {Fault.MIX: 0.12, Fault.EMPTY: 0.05, Fault.BARE_429: 0.03, Fault.HINTED_429: 0.02},
    "salesforce": ANYBODY | {Fault.MIX: 0.12, Fault.EXPIRED_401: 0.08},
}
SALESFORCE = """
[destinations.vendor]
adapter = "salesforce"
allow_private = true
timeout_s = 2
reserve = 0.0
coalesce_s = {coalesce_s}
{limits}
fields = [ {{ source = "insight_version", target = "version" }} ]
[destinations.vendor.options]
login_url = "{url}"
external_id_field = "Reflex_Id__c"
client_id = "client"
client_secret = {{ env = "BENCH_SECRET" }}
"""
WINDOW_S = 1.0


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "state") as running_server:
        yield running_server


@pytest.mark.parametrize(
    ("dialect", "text", "limit", "customers"),
    [
        ("hubspot", HUBSPOT, 8, CUSTOMERS),
        ("webhook", WEBHOOK, 60, CUSTOMERS // 2),
        ("salesforce", SALESFORCE, 8, CUSTOMERS),
    ],
)
def test_nothing_is_lost_or_doubled_and_no_limit_exceeded(server, dialect, text, limit, customers):
    rng = random.Random(7)
    people = [f"customer-{n}" for n in range(customers)]
    limits = f"requests_per = [{{ requests = {limit}, window_s = {WINDOW_S} }}]"
    with (
        running(dialect, faults=HARM[dialect], limits=[(limit, WINDOW_S)], seed=3) as vendor,
        installation(
            server.url, vendor, text, workers=WORKERS, limits=limits, coalesce_s=0.2
        ) as made,
    ):
        made.start()
        active = made._runtime
        deaths = set(rng.sample(range(2, ROUNDS), KILLS))
        made.change(people, rng)
        made.wait(lambda: bool(vendor.arrivals()))
        for number in range(ROUNDS):
            made.change(rng.sample(people, customers // 4), rng)
            if number in deaths:
                made.kill_one(rng)
            time.sleep(0.3)
        vendor.calm()
        time.sleep(2.5)  # what still is under way comes to its end

        def is_done():
            active.destination_store.resume("vendor")
            rows = [row for row, _ in active.deliver_store.waiting(["vendor"])]
            active.deliver_store.hasten(rows)
            return not rows

        seconds = made.wait(is_done, each_s=0.5)
        assert made.behind() == 0, f"after {seconds:.0f} s"
        assert vendor.regressions == 0
        assert vendor.doubled == 0
        assert vendor.met["over_limit"] == 0
        assert fullest_window(vendor.arrivals(), WINDOW_S) <= limit
        assert len(set(vendor.met) - {"none"}) >= 2, "there was harm"
        assert active.letters.find() == []
