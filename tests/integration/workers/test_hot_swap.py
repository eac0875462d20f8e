"""Running refresh workers take new versions without a restart."""

import json
import subprocess
import sys

import pytest

from models.segments.examples import on_a_line
from models.segments.state import to_state
from tests.builders import T0, order
from tests.integration.workers.test_training import kill, server, surroundings  # noqa: F401
from tests.servers import eventually
from worker.app import app
from worker.bootstrap import Runtime
from worker.route import route
from worker.session import order as send_order
from worker.settings import Settings
from worker.store.door import Arrival
from worker.store.refreshing import read_insight

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(180)]

CUSTOMERS = 300


def test_two_refresh_workers_swap_versions_while_they_run(server):  # noqa: F811
    runtime = Runtime(Settings(redis_url=server.url, shards=4), server.url)
    keys, client = runtime.keys, runtime.client

    def publish(kind, *centers):
        arrays, state = to_state(on_a_line(*centers))
        return runtime.models.publish(kind, arrays, {"model": dict(state)}, 1)

    def buy(number):
        runtime.door.emit(
            Arrival(order(f"c{n}", f"{number}-{n}", f"e{number}-{n}", T0 + number, revenue="5"))
            for n in range(CUSTOMERS)
        )
        while route(runtime.intake, 4):
            pass
        runtime.ingest.drain()

    def insights():
        names = [f"c{n}" for n in range(CUSTOMERS)]
        held = [client.get(keys.insight(keys.shard(name), name)) for name in names]
        return [json.loads(found.json) for found in map(read_insight, held) if found.version]

    def versions():
        return [one["model_versions"]["segments"] for one in insights()]

    publish("segments", 0.0, 2.0)
    buy(0)
    environment = surroundings(server, shards=4, rescore_per_s=1_000)
    cli = [sys.executable, "-m", "worker.cli", "worker", "-q", "refresh", "--number"]
    workers = [
        subprocess.Popen([*cli, str(number)], env=environment, start_new_session=True)
        for number in range(2)
    ]
    try:
        app._after_fork()  # its connections may be those of another test, whose server is gone
        for slot in range(2):
            send_order(runtime, "refresh.pump", slot)
        eventually(lambda: versions() == [1] * CUSTOMERS, within_s=90)
        for version, centers in ((2, (50.0, 90.0)), (3, (7.0, 11.0))):
            assert publish("segments", *centers) == version
            buy(version)
            eventually(lambda: versions() == [version] * CUSTOMERS, within_s=90)  # noqa: B023
        assert [one.poll() for one in workers] == [None, None]
    finally:
        for one in workers:
            kill(one)
