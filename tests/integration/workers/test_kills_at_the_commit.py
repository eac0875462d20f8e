"""kill -9 of a worker's child, and of its parent, right before, during and after a commit call."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress

import pytest
from celery import Celery

from benchmarks import oracle
from tests.builders import T0, order, refund, viewed
from tests.integration.workers.test_training import kill
from tests.servers import Server, eventually
from worker.app import queue
from worker.bootstrap import Runtime
from worker.pump import lock_name
from worker.serve import broker_url
from worker.settings import Settings

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(180)]

SHARDS = 1
POINTS = ("before", "during", "after")


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "server", aof=True) as running:
        yield running


@pytest.fixture
def shop(server, tmp_path):
    return Shop(server, tmp_path / "point")


class Shop:
    """Events, told to the server and to a replay in one thread, and the point to stop at."""

    def __init__(self, server, flag):
        self.server, self.flag = server, flag
        self.runtime = Runtime(Settings(redis_url=server.url, shards=SHARDS), server.url)
        self.replay = oracle.Replay(self.runtime.rules)
        self.told = 0
        self.token = None

    def pump(self):
        """Have a pump run that is not the one before, as the tick sees to."""
        last, lock = self.token, self.runtime.keys.lock(lock_name("ingest", 0))
        name = queue(self.runtime.settings, "ingest")
        with Celery(broker=broker_url(self.runtime.settings, self.server.url)) as client:

            def runs():
                self.token = self.runtime.client.get(lock)
                if self.token is None:
                    client.send_task("ingest.pump", (0,), queue=name)
                return self.token not in {None, last}

            eventually(runs, within_s=60, every_s=0.2)

    def stop_next(self, point):
        """Let the next commit stop at a point; tell three customers' events, one of them twice."""
        for name in ("pid", "go"):
            self.flag.with_suffix(f".{name}").unlink(missing_ok=True)
        self.flag.write_text(f"{point} {self.server.pid}")
        events = []
        for who in ("ann", "bob", "cem"):
            name = f"{point}-{who}"
            events.append((who, order(who, name, name, T0, revenue="9", items={"tea": 1})))
            events.append((who, viewed(who, "cup", f"v-{name}", T0 + 3600)))
            events.append((who, refund(who, name, f"r-{name}", T0 + 7200, revenue="2")))
        events.append(events[1])
        together = self.runtime.client.pipeline()  # none comes while the server stands still
        for _, event in events:
            together.xadd(self.runtime.keys.events(0), {"event": event})
        for (who, event), entry_id in zip(events, together.execute(), strict=True):
            self.replay.apply(who, event, int(entry_id.partition(b"-")[0]))
        self.told += len(events)

    def stopped_child(self):
        """The child that stands at the point."""
        pid = self.flag.with_suffix(".pid")
        return int(eventually(lambda: pid.exists() and pid.read_text(), within_s=60))

    def go(self):
        """Whoever stands at the point may go on."""
        self.flag.with_suffix(".go").touch()

    def applied(self):
        """Is all applied that was told, each event once?"""
        meta = self.runtime.client.hgetall(self.runtime.keys.meta(0))
        return int(meta.get(b"covered", 0)) == self.told

    def check(self):
        """What is stored is what one thread makes of it."""
        eventually(self.applied, within_s=60)
        found = oracle.stored_profiles(self.runtime)
        assert oracle.compare(found, self.replay.profiles()) == (0, 0, 0)
        meta = self.runtime.client.hgetall(self.runtime.keys.meta(0))
        assert int(meta[b"applied"]) + int(meta[b"duplicates"]) == self.told
        assert int(meta[b"duplicates"]) == self.told // 10


@contextmanager
def worker(shop):
    environment = {
        **os.environ,
        "CRM_REFLEX_REDIS_URL": shop.server.url,
        "CRM_REFLEX_SHARDS": str(SHARDS),
        "CRM_REFLEX_LEASE_S": "1",
        "CRM_REFLEX_LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "tests.integration.workers.patched_worker", "commit"]
    process = subprocess.Popen(
        [*command, str(shop.flag), "ingest", "0"], env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        kill(process)


def test_a_child_that_is_killed_at_a_commit_loses_and_doubles_nothing(shop):
    with worker(shop) as process:
        shop.pump()
        for point in POINTS:
            shop.stop_next(point)
            child = shop.stopped_child()
            os.kill(child, signal.SIGKILL)
            shop.server.thaw()
            shop.pump()
            shop.check()
            assert child != process.pid
            assert process.poll() is None, "the parent starts another child"


def test_a_parent_that_is_killed_at_a_commit_loses_and_doubles_nothing(shop):
    """Its child lives on as an orphan, and finishes what it had begun behind the back of others."""
    with ExitStack() as workers:
        process = workers.enter_context(worker(shop))
        shop.pump()
        for point in POINTS:
            shop.stop_next(point)
            orphan = shop.stopped_child()
            process.kill()
            process.wait()
            shop.server.thaw()
            process = workers.enter_context(worker(shop))
            shop.pump()
            shop.check()
            shop.go()
            eventually(lambda pid=orphan: gone(pid), within_s=60)
            shop.check()


def gone(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True
