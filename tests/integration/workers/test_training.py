"""Trainings by real workers: requests at once become two at most, and a kill publishes nothing."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier

import pytest
from celery import Celery

from tests.builders import T0, order
from tests.servers import Server, eventually
from worker.app import queue
from worker.bootstrap import Runtime
from worker.route import route
from worker.serve import broker_url
from worker.settings import Settings
from worker.shadow import LEAST_SCORED
from worker.store.door import Arrival
from worker.store.models import KINDS
from worker.store.shadows import Shadowed, ShadowStore
from worker.store.verdicts import Verdict

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(180)]

BUYERS = 40
LEASE_S = 2
DAY_S = 86_400


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "server", aof=True) as running:
        yield running


@pytest.fixture
def runtime(server):
    runtime = Runtime(Settings(redis_url=server.url), server.url)
    runtime.door.emit(
        Arrival(
            order(f"c-{n}", f"o-{n}-{k}", f"e-{n}-{k}", at_s, revenue="9", items={f"i{n % 5}": 1})
        )
        for n in range(BUYERS)
        for k, at_s in enumerate((T0 + n * DAY_S, T0 + (n + 30) * DAY_S))
    )
    route(runtime.intake, runtime.settings.shards)
    runtime.ingest.drain()
    return runtime


def surroundings(server, **settings):
    return {
        **os.environ,
        "CRM_REFLEX_REDIS_URL": server.url,
        "CRM_REFLEX_TRAINING_LEASE_S": str(LEASE_S),
        "CRM_REFLEX_LOG_LEVEL": "WARNING",
        **{f"CRM_REFLEX_{name.upper()}": str(value) for name, value in settings.items()},
    }


@contextmanager
def trainer(server, flag, fault="stop", number=0, **settings):
    command = [sys.executable, "-m", "tests.integration.workers.patched_worker"]
    process = subprocess.Popen(
        [*command, fault, str(flag), "training", str(number)],
        env=surroundings(server, **settings), start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def send(server, runtime, name, *args):
    with Celery(broker=broker_url(runtime.settings, server.url)) as client:
        client.send_task(name, args, queue=queue(runtime.settings, "training"))


def newest(runtime):
    return {kind: max((v for v, _ in runtime.models.versions(kind)), default=0) for kind in KINDS}


def test_twenty_requests_at_once_are_one_running_and_one_waiting(server, runtime, tmp_path):
    flag = tmp_path / "stop"
    flag.write_text("fit segments")
    training = queue(runtime.settings, "training")
    with trainer(server, flag), trainer(server, flag, number=1):
        send(server, runtime, "models.retrain", ["segments"], "the first")
        eventually(flag.with_suffix(".started").exists, within_s=60)
        with ThreadPoolExecutor(20) as clients:
            gate = Barrier(20)

            def ask(number):
                gate.wait()
                send(server, runtime, "models.retrain", ["segments"], f"message {number}")

            list(clients.map(ask, range(20)))
        # One at most lies with the worker that trains: it has asked for its next order already.
        eventually(
            lambda: sum(len(one.reasons) for one in runtime.desk.waiting()) >= 19, within_s=60
        )
        (running,), (waiting,) = runtime.desk.running(), runtime.desk.waiting()
        assert (running.kind, running.reasons, running.alive) == ("segments", ("the first",), True)
        assert waiting.kind == "segments"
        assert newest(runtime)["segments"] == 0
        flag.unlink()
        eventually(lambda: newest(runtime)["segments"] >= 2, within_s=60)
        eventually(lambda: not runtime.client.llen(training), within_s=60)
        eventually(lambda: not (runtime.desk.running() or runtime.desk.wanted()), within_s=60)
    made = newest(runtime)["segments"]
    triggers = [
        runtime.models.head("segments", version)["trigger"] for version in range(1, made + 1)
    ]
    assert triggers[0] == "the first"
    assert triggers[1].count("message") >= 19
    assert made <= 3, "a third one only for what the training worker had taken before it began"


def test_two_beats_are_one_schedule(server, runtime):
    long_ago_s = runtime.clock.now_s() - 40 * DAY_S
    for kind in KINDS:
        runtime.models.publish(kind, {}, {"customers": BUYERS}, long_ago_s)

    def slots():
        return len(list(runtime.client.scan_iter(runtime.keys.lock("tick:[0-9]*"))))

    def ordered():
        queued = runtime.client.lrange(queue(runtime.settings, "training"), 0, -1)
        return Counter(json.loads(one)["headers"]["task"] for one in queued)

    environment = surroundings(server, tick_interval_s=1)
    cli = [sys.executable, "-m", "worker.cli"]
    commands = [[*cli, "beat"], [*cli, "beat"], [*cli, "worker", "-q", "ingest"]]
    processes = [subprocess.Popen(one, env=environment, start_new_session=True) for one in commands]
    try:
        eventually(lambda: slots() >= 6, within_s=90)
        assert [one.poll() for one in processes] == [None] * 3
    finally:
        for one in processes:
            kill(one)
    found = ordered()
    assert found["models.retrain"] == 1
    assert set(found.values()) == {1}, "of every order one, though two beats rang each time"


@pytest.mark.parametrize("stage", ["fit forecasts", "publish"])
def test_a_killed_trainer_publishes_nothing_and_another_begins_anew(
    server, runtime, tmp_path, stage
):
    flag = tmp_path / "stop"
    flag.write_text(stage)
    with trainer(server, flag) as first:
        send(server, runtime, "models.retrain", None, "check")
        eventually(flag.with_suffix(".started").exists, within_s=60)
        assert {run.stage for run in runtime.desk.running()} == {stage}
        kill(first)
    assert newest(runtime) == dict.fromkeys(KINDS, 0)
    eventually(lambda: runtime.desk.wanted() == sorted(KINDS), within_s=20)
    flag.unlink()
    with trainer(server, flag):
        send(server, runtime, "models.train")
        eventually(lambda: newest(runtime) == dict.fromkeys(KINDS, 1), within_s=60)
        eventually(lambda: not runtime.desk.running(), within_s=20)
    assert runtime.models.read("forecasts", 1).meta["trigger"] == "check"


@pytest.mark.parametrize(
    ("stage", "promotion"), [("evaluate forecasts", "automatic"), ("publish", "manual")]
)
def test_a_trainer_killed_while_versions_are_judged_or_stored_leaves_what_lives(
    server, runtime, tmp_path, stage, promotion
):
    runtime.retrain.run(reason="first")
    before = runtime.models.current()
    flag = tmp_path / "stop"
    flag.write_text(stage)
    with trainer(server, flag, promotion=promotion) as first:
        send(server, runtime, "models.retrain", None, "check")
        eventually(flag.with_suffix(".started").exists, within_s=60)
        kill(first)
    assert runtime.models.current() == before
    assert newest(runtime) == dict.fromkeys(KINDS, 1)
    eventually(lambda: runtime.desk.wanted() == sorted(KINDS), within_s=20)
    flag.unlink()
    with trainer(server, flag, promotion=promotion):
        send(server, runtime, "models.train")
        eventually(lambda: newest(runtime) == dict.fromkeys(KINDS, 2), within_s=60)
        eventually(lambda: not runtime.desk.running(), within_s=20)
    assert runtime.desk.waiting() == []
    states = {kind: runtime.models.verdict(kind, 2).state for kind in KINDS}
    went_live = {kind for kind, state in states.items() if state == "promoted"}
    live = runtime.models.current().versions
    assert {kind: version for kind, version in live.items() if version == 2} == dict.fromkeys(
        went_live, 2
    )
    assert bool(went_live) == (promotion == "automatic")


def test_a_worker_killed_at_the_end_of_a_shadow_leaves_what_lives(server, runtime, tmp_path):
    runtime.retrain.run(reason="first")
    shadow = Verdict("shadow", (), 0)
    held = runtime.models.read("segments", 1)
    runtime.models.publish("segments", held.arrays, held.meta, 1, verdict=shadow)
    scored = Shadowed("segments", 2, 1, 0, 0, customers=LEAST_SCORED)
    ShadowStore(runtime.client, runtime.keys).put(scored)
    flag = tmp_path / "end"
    flag.touch()
    with trainer(server, flag, "end", shadow_days=1) as first:
        send(server, runtime, "models.shadow")
        eventually(flag.with_suffix(".started").exists, within_s=60)
        kill(first)
    assert runtime.models.current().versions["segments"] == 1
    assert runtime.models.verdict("segments", 2) == shadow
    flag.unlink()
    runtime.client.delete(runtime.keys.lock("shadow"))  # as it runs out
    with trainer(server, flag, "end", shadow_days=1):
        send(server, runtime, "models.shadow")
        eventually(lambda: runtime.models.current().versions["segments"] == 2, within_s=60)
    assert [one.version for one in runtime.models.log("segments")] == [2, 1]
