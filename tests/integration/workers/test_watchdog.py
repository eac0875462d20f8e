"""The watchdog on real worker processes: who hangs is ended, who waits or works is not."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from celery import Celery

from tests.servers import Server, eventually
from worker.app import queue
from worker.bootstrap import Runtime
from worker.serve import broker_url
from worker.settings import Settings
from worker.watchdog import EXIT_CODE

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(180)]

STALL_S = 4


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "server", aof=True) as running:
        yield running


@pytest.fixture
def runtime(server):
    return Runtime(Settings(redis_url=server.url), server.url)


@contextmanager
def worker(server, fault, flag, stage, number=0):
    environment = {
        **os.environ,
        "CRM_REFLEX_REDIS_URL": server.url,
        "CRM_REFLEX_WATCHDOG_STALL_S": str(STALL_S),
        "CRM_REFLEX_LOG_LEVEL": "WARNING",
    }
    command = [sys.executable, "-m", "tests.integration.workers.patched_worker"]
    process = subprocess.Popen(
        [*command, fault, str(flag), stage, str(number)], env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def reports(runtime):
    return runtime.reports.all()


def test_a_worker_that_hangs_is_ended_beside_one_that_is_well(server, runtime, tmp_path):
    flag, never = tmp_path / "hang", tmp_path / "never"
    with (
        worker(server, "hang", flag, "refresh", 0) as hung,
        worker(server, "hang", never, "refresh", 1) as well,
    ):
        eventually(lambda: len(reports(runtime)) == 2, within_s=40)
        flag.touch()
        start = time.monotonic()
        assert hung.wait(timeout=45) == EXIT_CODE
        assert time.monotonic() - start < STALL_S + 15
        assert well.poll() is None
        before = reports(runtime)
        name = next(node for node in before if node.startswith("refresh-1"))
        eventually(lambda: reports(runtime)[name]["received"] > before[name]["received"])
        assert well.poll() is None


def test_no_worker_is_ended_while_the_server_does_not_answer(server, runtime, tmp_path):
    with worker(server, "hang", tmp_path / "never", "refresh") as process:
        eventually(lambda: reports(runtime), within_s=40)
        server.freeze()
        deadline = time.monotonic() + 3 * STALL_S
        while time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.1)
        server.thaw()
        (name,) = reports(runtime)
        received = reports(runtime)[name]["received"]
        eventually(lambda: reports(runtime)[name]["received"] > received, within_s=60)
        assert process.poll() is None


def test_no_worker_is_ended_while_the_server_refuses_connections(server, runtime, tmp_path):
    with worker(server, "hang", tmp_path / "never", "refresh") as process:
        eventually(lambda: reports(runtime), within_s=40)
        server.kill()
        deadline = time.monotonic() + 3 * STALL_S
        while time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.1)
        server.start()
        (name,) = reports(runtime)
        received = reports(runtime)[name]["received"]
        eventually(lambda: reports(runtime)[name]["received"] > received, within_s=60)
        assert process.poll() is None


def test_no_worker_is_ended_while_a_training_runs(server, runtime, tmp_path):
    flag = tmp_path / "training"
    flag.touch()
    with worker(server, "train", flag, "training") as process:
        eventually(lambda: reports(runtime), within_s=40)
        with Celery(broker=broker_url(runtime.settings, server.url)) as client:
            client.send_task("models.train", queue=queue(runtime.settings, "training"))
        eventually(flag.with_suffix(".started").exists, within_s=20)
        deadline = time.monotonic() + 3 * STALL_S
        while time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.1)
        flag.unlink()
        (name,) = reports(runtime)
        received = reports(runtime)[name]["received"]
        eventually(lambda: reports(runtime)[name]["received"] > received, within_s=30)
        assert process.poll() is None
