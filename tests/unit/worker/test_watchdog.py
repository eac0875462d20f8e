"""The watchdog ends a worker that has work and does nothing, and no other."""

import threading

import pytest

from worker import watchdog
from worker.watchdog import Look, StallDetector

HUNG = Look(servers_answer=True, order_waits=True, received=7, running=False)


def stalls(looks, *, every=10.0, stall_s=30.0):
    detector = StallDetector(stall_s=stall_s)
    return [detector.stalled(look, every * n) for n, look in enumerate(looks)]


def test_a_worker_that_hangs_is_ended_after_the_time_and_not_before():
    assert stalls([HUNG] * 5) == [False, False, False, True, True]


@pytest.mark.parametrize(
    "well",
    [
        HUNG._replace(servers_answer=False),
        HUNG._replace(order_waits=False),
        HUNG._replace(running=True),
        HUNG._replace(received=8),
    ],
    ids=["server down", "idle", "at work", "received"],
)
def test_one_sign_of_life_begins_the_time_anew(well):
    after = HUNG._replace(received=well.received)
    assert stalls([HUNG, HUNG, HUNG, well, after, after, after]) == [False] * 7
    assert stalls([HUNG, HUNG, HUNG, well, after, after, after, after])[-1]


@pytest.mark.parametrize("sign", ["servers_answer", "order_waits", "running"])
def test_a_lasting_reason_never_ends_a_worker(sign):
    look = HUNG._replace(**{sign: sign == "running"})
    assert not any(stalls([look] * 50))


def test_steady_progress_never_ends_a_worker():
    assert not any(stalls([HUNG._replace(received=n) for n in range(50)]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_thread_ends_the_process_and_survives_a_look_that_fails(monkeypatch):
    monkeypatch.setattr(watchdog, "LOOK_EVERY_S", 0.001)
    ended, looks = threading.Event(), []

    def look():
        looks.append(1)
        if len(looks) == 1:
            raise OSError("no file descriptors left")
        return HUNG

    def end():
        ended.set()
        raise SystemExit  # ends the thread as it would end the process

    thread = watchdog.watch(look, StallDetector(stall_s=0.01), end)
    assert ended.wait(10)
    thread.join(10)
    assert not thread.is_alive()
    assert len(looks) > 2
