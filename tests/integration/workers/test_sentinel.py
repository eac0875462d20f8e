"""Sentinels watch over the server: a worker goes on with the replica when the primary has died."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from celery import Celery
from redis import Redis, RedisError

from tests.builders import T0, viewed
from tests.integration.workers.test_training import kill
from tests.servers import Server, binary, eventually, free_port
from worker.app import queue
from worker.bootstrap import Runtime
from worker.serve import broker_url
from worker.settings import Settings
from worker.store.door import Arrival

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(180)]


@contextmanager
def sentinel(folder, primary_port):
    """One Sentinel, quick to judge; its port."""
    folder.mkdir()
    port, config = free_port(), folder / "sentinel.conf"
    lines = [
        f"port {port}",
        f"dir {folder}",
        f"sentinel monitor reflex 127.0.0.1 {primary_port} 1",
        "sentinel down-after-milliseconds reflex 1000",
        "sentinel failover-timeout reflex 5000",
    ]
    config.write_text("\n".join(lines))
    process = subprocess.Popen(
        [binary(), str(config), "--sentinel"], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield port
    finally:
        kill(process)


@contextmanager
def ingest_worker(url, flag):
    command = [sys.executable, "-m", "tests.integration.workers.patched_worker", "hang", str(flag)]
    process = subprocess.Popen(
        [*command, "ingest", "0"],
        env={**os.environ, "CRM_REFLEX_REDIS_URL": url, "CRM_REFLEX_LOG_LEVEL": "ERROR"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)


def test_a_worker_follows_its_primary(tmp_path):
    never = tmp_path / "never"
    with Server(tmp_path / "a", tcp=True) as primary:
        follows = {"replicaof": f"127.0.0.1 {primary.port}"}
        with (
            Server(tmp_path / "b", tcp=True, settings=follows) as replica,
            sentinel(tmp_path / "s", primary.port) as port,
        ):
            url = f"sentinel://127.0.0.1:{port}/reflex"
            settings = Settings(redis_url=url)
            runtime = Runtime(settings, url)
            eventually(lambda: knows_replica(port), within_s=60, every_s=0.1)
            with ingest_worker(url, never):
                assert applied_of(runtime, "before") == 1
                eventually(lambda: has_applied(runtime, replica), within_s=30)
                primary.kill()  # what was not copied yet would be lost with it
                eventually(lambda: tried(lambda: is_primary(replica)), within_s=60, every_s=0.1)
                assert applied_of(runtime, "after") == 2


def has_applied(runtime, replica):
    with replica.client() as client:
        return client.hget(runtime.keys.meta(runtime.keys.shard("ann")), "applied") == b"1"


def applied_of(runtime, name):
    """Have an event applied; how many are."""
    event = viewed("ann", "tea", name, T0)
    shard = runtime.keys.shard("ann")
    eventually(lambda: tried(lambda: runtime.door.emit([Arrival(event)])), within_s=60, every_s=0.2)

    def is_applied():
        send_pump(runtime)
        return not runtime.door.unrouted() and not any(one.entries for one in runtime.door.lag())

    eventually(lambda: tried(is_applied), within_s=60, every_s=0.5)
    return int(runtime.client.hget(runtime.keys.meta(shard), "applied"))


def tried(call):
    try:
        return call()
    except (RedisError, OSError):
        return None


def knows_replica(port):
    with Redis(port=port) as client:
        return tried(lambda: client.sentinel_slaves("reflex"))


def send_pump(runtime):
    """As a producer that runs Celery reaches a broker behind Sentinels."""
    broker = broker_url(runtime.settings, runtime.url)
    with Celery(broker=broker) as client:
        client.conf.broker_transport_options = {"master_name": "reflex"}
        client.send_task("ingest.pump", (0,), queue=queue(runtime.settings, "ingest"))


def is_primary(server):
    with server.client() as client:
        return client.info("replication")["role"] == "master"
