"""Real workers: an event of one customer changes the lists of others at the CRM within seconds."""

import os
import time

import pytest

from benchmarks.fleet import Crm, fleet
from tests.builders import order
from tests.servers import Server, eventually
from worker.bootstrap import Runtime
from worker.settings import Settings

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(300)]

#: From the event to the CRM: it takes 1.7 s, of which 1.5 wait behind the customer's own news; and
#: so many times as long where more programs want to run than there are processors, as in CI.
WITHIN_S, BUSY = 5.0, 2.0
NAMES = [f"customer-{n}" for n in range(40)]


def test_others_lists_change_within_seconds_and_all_map_one_snapshot(tmp_path):
    crm, now_s = Crm(), int(time.time())
    folder = tmp_path / "snapshots"
    with Server(tmp_path, aof=True) as server:
        settings = Settings(redis_url=server.url, snapshot_dir=folder)
        runtime = Runtime(settings, server.url)

        def tell(who, number, items):
            told = f"{who}-{number}"
            event = order(who, told, told, now_s - 86_400 + number, revenue="9", items=items)
            runtime.client.xadd(runtime.keys.intake(), {"event": event})

        options = {"refresh_concurrency": "2", "coalesce_s": "0.1", "snapshot_dir": str(folder)}
        with fleet(server.url, crm, similar_customers="3", **options) as running:
            running.wait_ready(runtime.reports)
            for n, who in enumerate(NAMES):
                tell(who, 0, {f"i{n % 5}": 1, f"i{n % 7}": 1})
            tell("ann", 0, {"rare": 1, "i0": 1})
            tell("bob", 0, {"i4": 1})
            eventually(lambda: "similar_customers" in insight(crm, "ann"), within_s=60)
            runtime.retrain.run(("recommendations",), reason="test")
            eventually(lambda: similar(crm, "ann") and similar(crm, "bob"), within_s=60)
            eventually((folder / "g000000000001").is_dir, within_s=60)
            eventually(lambda: not any(waiting(runtime)), within_s=60)
            assert "bob" not in similar(crm, "ann")
            start = time.monotonic()
            tell("bob", 1, {"rare": 1, "i0": 1})
            tell("bob", 2, {"rare": 1, "i0": 1})
            eventually(lambda: similar(crm, "ann")[:1] == ["bob"], within_s=30)
            took_s = time.monotonic() - start
    assert took_s < WITHIN_S * (BUSY if os.getloadavg()[0] > (os.cpu_count() or 1) else 1)


def insight(crm, who):
    return crm.contacts[who].insight if who in crm.contacts else {}


def similar(crm, who):
    return [one["customer_id"] for one in insight(crm, who).get("similar_customers") or []]


def waiting(runtime):
    store = runtime.refresh_store
    return store.marked(1), store.quiet(1), store.due(int(time.time()), 1)
