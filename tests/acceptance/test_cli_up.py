"""`up` with its embedded server, real workers and beat; and the supervisor by itself."""

import signal
import sys
import threading
import time

import psutil
import pytest

from tests.acceptance.cli import Cli, json_lines, order_event
from tests.servers import eventually
from worker.supervise import Supervisor

ECHO = "import sys, time; print('ready', flush=True); time.sleep(60)"


def family(pid):
    """A process and all that descend from it."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def living(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def home(tmp_path):
    """A command line over the embedded server of a folder that ends with the test."""
    cli = Cli(tmp_path, tick_interval_s=0.2, shards=4)
    started = []

    def up():
        process = cli.start("up", log=tmp_path / "up.log")
        started.append(process)
        return process

    cli.up = up
    yield cli
    for process in started:
        for one in living(family(process.pid)):
            one.kill()
        process.wait()
    cli.run("status")  # joins whatever server was left behind, and is its last user


def test_up_takes_an_event_to_an_insight_and_stops_without_a_trace(home, tmp_path):
    home.run("emit", "-", stdin=json_lines(order_event("c-1", "o-1", int(time.time()) - 60)))
    process = home.up()

    def insight():
        shown = home._call(["customer", "show", "c-1", "--json"], home.env, b"")
        return '"insight_version": 1' in shown.out

    eventually(insight, within_s=40, every_s=0.2)
    everybody = family(process.pid)
    assert len(everybody) > 5  # up, three workers with their pools, beat
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert living(everybody) == []
    assert not (tmp_path / ".crm-reflex" / "valkey" / "url").exists()  # the server stopped too
    log = (tmp_path / "up.log").read_text()
    assert "ingest   | " in log
    assert "Traceback" not in log


def test_a_worker_that_dies_is_replaced_and_none_outlives_a_killed_supervisor(home):
    process = home.up()

    def workers():
        return {p.pid for p in living(psutil.Process(process.pid).children())}

    first = eventually(lambda: len(workers()) == 4 and workers(), within_s=20)
    psutil.Process(min(first)).kill()
    eventually(lambda: len(workers() - first) == 1, within_s=20)
    everybody = family(process.pid)[1:]
    time.sleep(1.0)  # also a worker that has only just begun must notice
    process.kill()
    process.wait()
    eventually(lambda: not living(everybody), within_s=25)


class Told:
    """What a supervisor tells."""

    def __init__(self):
        self.lines, self.events = [], []

    def supervisor(self, **programs):
        commands = {name: [sys.executable, "-c", text] for name, text in programs.items()}
        return Supervisor(
            commands,
            env={},
            on_line=lambda *line: self.lines.append(line),
            on_event=lambda *event: self.events.append(event),
        )


def test_a_job_that_ends_starts_again_after_a_growing_pause():
    told = Told()
    supervisor = told.supervisor(bad="print('x'); raise SystemExit(3)")
    supervisor.start()
    try:
        eventually(lambda: supervisor.poll() or len(told.events) >= 2, within_s=15)
    finally:
        assert supervisor.stop()
    assert told.events[0] == ("bad", "ended with exit code 3; starts again in 1 s")
    assert told.events[1] == ("bad", "ended with exit code 3; starts again in 2 s")
    assert told.lines[:2] == [("bad", "x")] * 2


def test_stopping_is_asked_for_and_then_enforced():
    told = Told()
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + ECHO
    supervisor = told.supervisor(mild=ECHO, stubborn=stubborn)
    supervisor.start()
    eventually(lambda: len(told.lines) == 2)
    pids = supervisor.pids()
    assert not supervisor.stop(grace_s=0.3)
    assert told.events == [("stubborn", "did not stop in time: killed")]
    assert supervisor.pids() == {}
    assert not any(psutil.pid_exists(pid) for pid in pids.values())


def test_haste_ends_the_patience():
    told = Told()
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + ECHO
    supervisor = told.supervisor(stubborn=stubborn)
    supervisor.start()
    eventually(lambda: told.lines)
    hurry = threading.Event()
    threading.Timer(0.2, hurry.set).start()
    begun = time.monotonic()
    assert not supervisor.stop(hurry=hurry.is_set)
    assert time.monotonic() - begun < 10


def test_what_a_job_leaves_behind_ends_with_it():
    told = Told()
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    supervisor = told.supervisor(parent=parent)
    supervisor.start()
    eventually(lambda: told.lines)
    child = psutil.Process(int(told.lines[0][1]))
    psutil.Process(supervisor.pids()["parent"]).kill()
    eventually(lambda: supervisor.poll() or told.events)
    supervisor.stop()
    eventually(lambda: not living([child]))
    assert "was ended by SIGKILL" in told.events[0][1]
