"""Lost replies, and a server that is killed: what clients repeat must not count twice."""

import contextlib
import itertools
import json
import os
import threading
import time

import pytest
from redis.exceptions import RedisError

from tests.builders import (
    T0,
    WEEK_S,
    FakeCrm,
    Installation,
    deliverer,
    order,
    refresher,
    viewed,
)
from tests.proxy import Fault, Proxy
from tests.servers import Server, eventually
from worker.clock import ManualClock
from worker.route import route
from worker.store.connection import connect
from worker.store.door import Arrival, Door, Intake
from worker.store.quarantine import Quarantine

EVENTS = [
    *(viewed(f"c{n % 4}", f"i{n % 3}", f"v{n}", T0 + (n % 3) * WEEK_S) for n in range(12)),
    *(order(f"c{n}", f"o{n}", f"o{n}", T0, revenue="3", items={"tea": 1}) for n in range(3)),
    b'{"type": "track", "userId": "c1", "event": "Order Updated", "messageId": "bad"}',
]


class DropNth(Proxy):
    """Swallows the n-th reply and closes: the server has done what was asked."""

    def __init__(self, url):
        super().__init__(url)
        self.seen, self.at = 0, 0

    def _strikes(self, fault):
        if fault is not Fault.DROP_REPLY:
            return super()._strikes(fault)
        with self._lock:
            self.seen += 1
            return self.seen == self.at


def orders_of(crm):
    """What the CRM knows of each customer."""
    return {name: row["historic_number_of_orders"] for name, row in crm.rows.items()}


@pytest.fixture
def proxy(valkey):
    with DropNth(valkey.url) as proxy:
        yield proxy


def work(client, lease_ms=10):
    """Everything from the door to the CRM; and a look into the quarantine and back."""
    shop = Installation(client, lease_ms=lease_ms)
    shop.store().prepare()
    Door(client, shop.keys).emit(map(Arrival, EVENTS))
    intake = Intake(client, shop.keys)
    while route(intake, 2, limit=6):
        pass
    shop.drain(batch_size=4)
    quarantine = Quarantine(client, shop.keys)
    quarantine.replay(quarantine.list())
    while route(intake, 2):
        pass
    shop.drain()
    clock, crm = ManualClock(time.time() + 60), FakeCrm()
    refresh = refresher(client, shop.keys, clock, lease_ms=lease_ms)
    deliver = deliverer(client, shop.keys, clock, crm)

    def done():
        refresh.drain()
        deliver.drain()
        mailboxes = [
            key for s in (0, 1) for key in (shop.keys.dirty(s), shop.keys.outbox(s, "crm"))
        ]
        return not any(map(client.zcard, mailboxes))

    eventually(done, every_s=0.001)
    deliver.close()
    return shop, crm


def test_any_reply_may_be_lost_once(valkey, proxy, redis_client):
    """redis-py repeats the command, or the whole pipeline, on a new connection."""
    shop, crm = work(redis_client)
    expected = shop.profiles(), shop.counters()["applied"], orders_of(crm)
    held = {(reason, raw) for _, reason, _, raw in shop.quarantined()}
    for at in itertools.count(1):
        redis_client.flushall()
        proxy.seen, proxy.at = 0, at
        client = connect(proxy.url, timeout_s=5)
        _, crm = work(client)
        client.close()
        assert (shop.profiles(), shop.counters()["applied"], orders_of(crm)) == expected, at
        assert len({delivery_id for delivery_id, _ in crm.calls}) == 4, at
        assert {(reason, raw) for _, reason, _, raw in shop.quarantined()} == held, at
        if proxy.seen < at:
            break
    assert at > 25


def test_a_server_killed_while_draining_and_restarted_is_drained_to_the_same_end(tmp_path, valkey):
    """What its log lost of the last second is done again; what it kept is not."""
    events = [viewed(f"c{n % 9}", "tea", f"e{n}", T0 + n % 5 * WEEK_S) for n in range(400)]
    with valkey.client() as client:
        client.flushall()
        reference = Installation(client).create()
        reference.put(events)
        reference.drain()
        expected = reference.profiles()
    with Server(tmp_path, aof=True) as server:
        shop = Installation(connect(server.url, retries=0)).create()
        shop.put(events)
        (log,) = tmp_path.glob("appendonlydir/*.incr.aof")
        entered = log.stat().st_size
        for lost in (0.0, 0.4, 0.7):
            killer = threading.Thread(target=_kill_in_the_middle, args=(server,))
            killer.start()
            with contextlib.suppress(RedisError):
                while killer.is_alive():
                    shop.ingest(batch_size=2).round([0, 1])
            killer.join()
            size = log.stat().st_size
            assert size > entered
            os.truncate(log, size - int(lost * (size - entered)))
            server.start()
        assert 0 < shop.lag() < 400
        shop.drain()
        assert shop.profiles() == expected
        assert shop.counters()["applied"] == 400
        shop.client.close()


def _kill_in_the_middle(server):
    """Once some more of it is applied."""
    with server.client() as client:
        mine = Installation(client)
        before = mine.lag()
        eventually(lambda: mine.lag() < max(1, before - 60), every_s=0.001)
    server.kill()


def test_a_frozen_server_is_an_error_after_the_timeout_and_no_harm(tmp_path):
    with Server(tmp_path) as server:
        client = connect(server.url, retries=0, timeout_s=0.2)
        shop = Installation(client).create()
        shop.put(EVENTS[:5])
        server.freeze()
        with pytest.raises(RedisError):
            shop.ingest().round([0, 1])
        server.thaw()
        shop.drain()
        assert shop.counters()["applied"] == 5
        assert json.loads(EVENTS[0])["userId"] in shop.profiles()
        client.close()
