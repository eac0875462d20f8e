"""Teams that already run Celery: their task reaches the intake, whatever stands in its way."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from celery.exceptions import Reject

from tests.builders import T0, viewed
from tests.integration.workers.test_training import kill
from tests.servers import Server, eventually
from worker import tasks
from worker.bootstrap import Runtime
from worker.route import route
from worker.settings import Settings
from worker.store.door import BusyError

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(180)]

#: What a producer has: Celery, a URL and the name of the queue. None of our code.
PRODUCER = """
import json, sys
from celery import Celery
with Celery(broker=sys.argv[1]) as app:
    for args, kwargs in json.load(sys.stdin):
        app.send_task("events.emit", args, kwargs, queue="reflex.ingest")
"""


@pytest.fixture
def broker(tmp_path):
    with Server(tmp_path / "broker", tcp=True) as running:
        yield running


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "server", aof=True) as running:
        yield running


@pytest.fixture
def runtime(server):
    return Runtime(Settings(redis_url=server.url, lag_limit=1), server.url)


@contextmanager
def ingest_worker(server, broker, tmp_path):
    environment = {
        **os.environ,
        "CRM_REFLEX_REDIS_URL": server.url,
        "CRM_REFLEX_BROKER_URL": broker.url,
        "CRM_REFLEX_LAG_LIMIT": "1",
        "CRM_REFLEX_LOG_LEVEL": "WARNING",
    }
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.integration.workers.patched_worker"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "hang", str(tmp_path / "never"), "ingest", "0"],
            env=environment, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        yield log
        assert process.poll() is None, log.read_text()
    finally:
        kill(process)


def send(broker, *calls):
    told = json.dumps([[args, kwargs] for args, kwargs in calls]).encode()
    subprocess.run([sys.executable, "-c", PRODUCER, broker.url], input=told, check=True)


def event(name):
    return json.loads(viewed("ann", "tea", name, T0))


def taken(runtime):
    return runtime.client.xlen(runtime.keys.intake())


def test_nothing_that_a_celery_client_sends_is_lost(server, broker, runtime, tmp_path):
    half = {"type": "track", "event": "\ud800", "userId": "ann"}
    with ingest_worker(server, broker, tmp_path) as log:
        send(broker, ([event("m0")], {}), ([[event("m1"), half, event("m2")]], {}))
        send(broker, ([], {"event": event("m3")}), ([event("m4"), 42, "text"], {}))
        send(broker, ([{"type": "track"}], {}), ([{"type": "deed", "userId": "ann"}], {}))
        with broker.client() as client:
            client.lpush("reflex.ingest", broken(b'[[{"type": "track"'), broken(b"[5, {}, {}]"))
        eventually(lambda: taken(runtime) == 12, within_s=60)

        assert taken(runtime) > runtime.settings.lag_limit, "a message that is sent is sent"
        used = runtime.client.info("memory")["used_memory"]
        runtime.client.config_set("maxmemory", int(used / 0.75))
        send(broker, ([event("m5")], {}))
        eventually(lambda: "of its memory" in log.read_text(), within_s=30)
        runtime.client.config_set("maxmemory", 0)
        eventually(lambda: taken(runtime) == 13, within_s=30)

        server.kill()
        send(broker, ([event("m6")], {}))
        eventually(lambda: log.read_text().count("events wait") > 1, within_s=30)
        server.start()
        eventually(lambda: taken(runtime) == 14, within_s=30)
    while route(runtime.intake, runtime.settings.shards, reading=runtime.reading):
        runtime.ingest.drain()
    (position,) = (p for p in positions(runtime) if p)
    assert position == 7, "m0 to m6, each once"
    held = {one.event: one.reason for one in runtime.quarantine.list()}
    assert held == {
        json.dumps(half, ensure_ascii=False).encode(errors="surrogatepass"): "not_json",
        b"42": "not_an_object",
        b'"text"': "not_an_object",
        b'{"type": "track"}': "missing_customer",
        b'{"type": "deed", "userId": "ann"}': "unknown_type",
        b'[[{"type": "track"': "not_json",
        b"[5, {}, {}]": "not_an_object",
    }


def test_a_copy_that_the_broker_does_not_take_leaves_the_message_where_it_is(monkeypatch):
    class Full:
        def take(self, arrivals):
            raise BusyError

    class FullRuntime:
        door = Full()

    def fails(**_):
        raise Reject("no broker", requeue=False)

    monkeypatch.setattr(tasks, "runtime", FullRuntime)
    monkeypatch.setattr(tasks.emit, "retry", fails)
    with pytest.raises(Reject) as caught:
        tasks.emit.run({})
    assert caught.value.requeue


def broken(body):
    """A message for the task with such a body."""
    return json.dumps(
        {
            "body": body.decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"id": "1", "task": "events.emit"},
            "properties": {
                "delivery_tag": os.urandom(8).hex(),
                "delivery_info": {"exchange": "", "routing_key": "reflex.ingest"},
            },
        }
    )


def positions(runtime):
    """Events applied, by shard."""
    pipeline = runtime.client.pipeline()
    for shard in range(runtime.settings.shards):
        pipeline.hget(runtime.keys.meta(shard), "applied")
    return [int(applied or 0) for applied in pipeline.execute()]
