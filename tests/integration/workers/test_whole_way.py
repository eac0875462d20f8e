"""Real worker processes, a real server, a CRM on loopback: short versions of the benchmarks."""

import json
import random
import time

import pytest

from benchmarks import latency, pipeline, replay_check, shop
from benchmarks.fleet import Crm, fleet
from tests.servers import Server, eventually
from worker.bootstrap import Runtime
from worker.settings import Settings

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(300)]


def test_a_bare_xadd_reaches_the_crm_signed(tmp_path):
    crm = Crm()
    with Server(tmp_path, aof=True) as server:
        runtime = Runtime(Settings(redis_url=server.url), server.url)
        with fleet(server.url, crm) as running:
            running.wait_ready(runtime.reports)
            who = shop.customer(7)
            event = shop.event(who, "m-1", int(time.time()), random.Random(1), is_order=True)
            runtime.client.xadd(runtime.keys.intake(), {"event": event})
            eventually(lambda: who in crm.contacts, within_s=30)
            runtime.client.xadd(runtime.keys.intake(), {"event": event})
            runtime.client.xadd(runtime.keys.intake(), {"event": b"{"})
            eventually(lambda: runtime.quarantine.count() == 1, within_s=30)
    receipt = crm.contacts[who]
    assert receipt.through_event_id == "m-1"
    assert receipt.insight["historic_number_of_orders"] == 1
    assert crm.refused == 0
    assert len(crm.receipts) == 1  # the event that came twice sent nothing more


def test_kills_lose_and_double_nothing():
    found = replay_check.run(seed=7, events=4_000, worker_kills=4, server_kills=1)
    errors = {name: found[name] for name in found if name.startswith(("lost", "doubled", "wrong"))}
    assert errors == dict.fromkeys(errors, 0)
    assert found["settled"]
    assert found["worker_kills"] == 4
    assert found["server_kills"] == 1


def test_the_latency_benchmark_receives_all_that_it_sends(tmp_path):
    out = tmp_path / "latency.json"
    assert latency.main(["--rate", "50", "--seconds", "2", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["received"] == found["sent"] == 100
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_the_pipeline_benchmark_runs_both_sides(tmp_path):
    out = tmp_path / "pipeline.json"
    arguments = ["--events", "5000", "--rounds", "1", "--baseline-seconds", "2"]
    assert pipeline.main([*arguments, "--customers", "300", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["ingest"]["ratio"] > 1
    assert found["reaction"]["300"] > 0
    assert found["bytes_per_customer"] > 0
