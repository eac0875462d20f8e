"""The limits of a destination, on a real server: whatever workers do, no window holds too much."""

import threading
import time
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import BriefChannel
from worker.store.destinations import (
    FAILURES,
    FOREVER,
    OPEN_MAX_MS,
    OPEN_MS,
    REFUSALS,
    Destinations,
    Ended,
)
from worker.store.keys import Keys

KEYS = Keys("t", 1)
SLACK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def limits(**options):
    """A destination without an adapter: only its limits are asked for."""
    return BriefChannel(**{"name": "crm", "adapter": None, "transport": None, **options})


def report(store, call, how="ok", **more):
    store.run([store.report("crm", Ended(call, how, **more))])


def most_in_a_window(arrivals, window_s):
    """The most arrivals in any half-open window of a length."""
    arrivals = sorted(arrivals)
    most = first = 0
    for at, arrival in enumerate(arrivals):
        while arrivals[first] <= arrival - window_s:
            first += 1
        most = max(most, at - first + 1)
    return most


WINDOWS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from([20, 50, 120])), min_size=1, max_size=3
)
WORKER = st.lists(
    # calls wanted, ms before the call arrives, ms until its answer is there, how it ends
    st.tuples(
        st.integers(1, 6),
        st.sampled_from([0, 0, 1, 9]),
        st.sampled_from([0, 1, 12]),
        st.sampled_from(["ok", "ok", "ok", "unused", "killed"]),
    ),
    min_size=1,
    max_size=6,
)


@SLACK
@given(windows=WINDOWS, workers=st.lists(WORKER, min_size=1, max_size=4), most=st.integers(1, 8))
def test_no_window_of_arrivals_holds_more_than_its_limit(redis_client, windows, workers, most):
    """A call arrives at any moment between its permit and its end; some senders are killed."""
    redis_client.flushall()
    policy = limits(windows=tuple(windows), concurrency=most, lease=300)
    arrivals, under_way, peak, lock = [], [0], [0], threading.Lock()

    def work(steps):
        store = Destinations(redis_client, KEYS)
        for wanted, before_ms, after_ms, how in steps:
            asked = time.monotonic()
            calls = store.permits(policy, wanted).calls
            assert len(calls) <= wanted
            for call in calls:
                if how == "unused" or time.monotonic() - asked > 0.2:  # too late to be made
                    report(store, call, "unused")
                    continue
                with lock:
                    under_way[0] += 1
                    peak[0] = max(peak[0], under_way[0])
                time.sleep(before_ms / 1000)
                arrivals.append(time.monotonic())
                time.sleep(after_ms / 1000)
                with lock:
                    under_way[0] -= 1
                if how == "ok":
                    report(store, call)

    threads = [threading.Thread(target=work, args=(steps,)) for steps in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for requests, window_ms in windows:
        assert most_in_a_window(arrivals, window_ms / 1000) <= requests
    assert peak[0] <= most


def test_a_full_window_is_used_to_the_last_call_and_again_when_it_has_passed(redis_client):
    store, policy = Destinations(redis_client, KEYS), limits(windows=((5, 200),), concurrency=99)
    calls = store.permits(policy, 9).calls
    assert len(calls) == 5
    for call in calls:
        report(store, call)
    refused = store.permits(policy, 1)
    assert (refused.calls, refused.why) == ((), "limit")
    assert 0 < refused.wait_ms <= 203
    time.sleep(refused.wait_ms / 1000 + 0.005)
    assert len(store.permits(policy, 9).calls) == 5


def test_a_call_that_is_slow_counts_until_its_window_has_passed_since_its_end(redis_client):
    store, policy = Destinations(redis_client, KEYS), limits(windows=((1, 60),), lease=10_000)
    (call,) = store.permits(policy, 1).calls
    time.sleep(0.08)
    assert store.permits(policy, 1).calls == ()
    report(store, call)
    assert store.permits(policy, 1).calls == ()
    time.sleep(0.07)
    assert store.permits(policy, 1).calls


def test_a_reply_that_was_lost_takes_no_second_call(redis_client, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda _: "name")
    store, policy = Destinations(redis_client, KEYS), limits(windows=((9, 60_000),), lease=60_000)
    assert store.permits(policy, 3).calls == store.permits(policy, 3).calls
    assert store.state("crm").under_way == 3
    assert store.state("crm").used == 3


def test_a_call_counts_while_its_maker_lives_and_is_lost_soon_after(redis_client):
    store, policy = Destinations(redis_client, KEYS), limits(concurrency=1, lease=80)
    (call,) = store.permits(policy, 1).calls
    for _ in range(4):
        time.sleep(0.05)
        store.keep()
        assert Destinations(redis_client, KEYS).permits(policy, 1).why == "concurrency"
    assert store.under_way == 1
    time.sleep(0.12)
    other = Destinations(redis_client, KEYS)
    (later,) = other.permits(policy, 1).calls
    store.keep()
    assert store.state("crm").under_way == 1, "what was taken for lost does not come back"
    report(store, call)
    report(other, later)
    assert store.under_way == other.under_way == 0
    assert store.state("crm").under_way == 0


def test_a_call_that_is_never_reported_is_not_kept_for_ever(redis_client):
    store, policy = Destinations(redis_client, KEYS), limits(concurrency=1, lease=10)
    assert store.permits(policy, 1).calls
    for _ in range(9):
        store.keep()
    assert store.under_way == 0
    time.sleep(0.05)
    assert store.permits(policy, 1).calls


def test_a_try_that_lasts_is_kept_too(redis_client):
    store, policy = Destinations(redis_client, KEYS), limits(lease=60)
    redis_client.hset(KEYS.control("crm"), "opened", 1)
    (probe,) = store.permits(policy, 1).calls
    for _ in range(3):
        time.sleep(0.04)
        store.keep()
    assert Destinations(redis_client, KEYS).permits(policy, 1).why == "probing"
    report(store, probe)
    assert not store.state("crm").is_open


def test_the_calls_of_a_day_are_capped_and_unused_ones_given_back(redis_client):
    store, policy = Destinations(redis_client, KEYS), limits(daily_cap=3, concurrency=9)
    calls = store.permits(policy, 9).calls
    assert len(calls) == 3
    refused = store.permits(policy, 1)
    assert (refused.calls, refused.why) == ((), "daily cap")
    assert 0 < refused.wait_ms <= 86_400_000
    report(store, calls[0], "unused")
    assert len(store.permits(policy, 9).calls) == 1
    yesterday = int(redis_client.hget(KEYS.control("crm"), "day")) - 1
    redis_client.hset(KEYS.control("crm"), "day", yesterday)
    for call in calls[1:]:
        report(store, call)
    assert len(store.permits(policy, 3).calls) == 3


class TestBreaker:
    def fail(self, store, policy, times):
        for _ in range(times):
            (call,) = store.permits(policy, 1).calls
            report(store, call, "failed", jitter=1.0)

    def let_pass(self, redis_client):
        """The breaker's time is over."""
        redis_client.hset(KEYS.control("crm"), "opened", 1)

    def test_failures_in_a_row_open_it_and_one_call_at_a_time_tries(self, redis_client):
        store, policy = Destinations(redis_client, KEYS), limits(concurrency=9, lease=5000)
        self.fail(store, policy, FAILURES - 1)
        assert not store.state("crm").is_open
        self.fail(store, policy, 1)
        refused = store.permits(policy, 4)
        assert (refused.calls, refused.why) == ((), "broken")
        assert OPEN_MS / 2 <= refused.wait_ms <= OPEN_MS
        self.let_pass(redis_client)
        (probe,) = store.permits(policy, 4).calls
        assert store.permits(policy, 4).why == "probing"
        report(store, probe)
        assert len(store.permits(policy, 4).calls) == 4
        assert store.state("crm").alarm == ""

    def test_each_failed_try_doubles_the_time_up_to_a_limit(self, redis_client):
        store, policy = Destinations(redis_client, KEYS), limits(concurrency=9)
        self.fail(store, policy, FAILURES)
        waits = []
        for _ in range(6):
            waits.append(store.state("crm").wait_ms)
            self.let_pass(redis_client)
            self.fail(store, policy, 1)
        for before, after in pairwise(waits):
            assert after == pytest.approx(min(2 * before, OPEN_MAX_MS), abs=60)
        assert waits[-1] == pytest.approx(OPEN_MAX_MS, abs=60)
        assert store.state("crm").alarm

    def test_half_of_many_failing_opens_it_too(self, redis_client):
        store, policy = Destinations(redis_client, KEYS), limits(concurrency=9)
        redis_client.hset(KEYS.control("crm"), "minute", int(redis_client.time()[0]) // 60)
        for n in range(30):
            calls = store.permits(policy, 1).calls
            if not calls:
                break
            report(store, calls[0], "failed" if n % 2 else "ok")
        assert store.state("crm").is_open
        assert n >= 19

    def test_one_that_dies_while_it_tries_is_followed_by_another(self, redis_client):
        store, policy = Destinations(redis_client, KEYS), limits(concurrency=9, lease=10)
        self.fail(store, policy, FAILURES)
        self.let_pass(redis_client)
        assert store.permits(policy, 1).calls
        assert store.permits(policy, 1).why == "probing"
        time.sleep(0.05)
        assert store.permits(policy, 1).calls

    def test_an_end_that_is_told_twice_counts_once(self, redis_client):
        store, policy = Destinations(redis_client, KEYS), limits(concurrency=9, lease=5000)
        (call,) = store.permits(policy, 1).calls
        for _ in range(FAILURES):
            report(store, call, "failed")
        assert not store.state("crm").is_open

    def test_an_old_call_that_ends_well_does_not_close_it(self, redis_client):
        store, policy = Destinations(redis_client, KEYS), limits(concurrency=9, lease=5000)
        (old,) = store.permits(policy, 1).calls
        self.fail(store, policy, FAILURES)
        report(store, old)
        assert store.permits(policy, 1).why == "broken"


def test_a_rest_holds_for_all_and_the_longest_counts(redis_client):
    one, other = Destinations(redis_client, KEYS), Destinations(redis_client, KEYS)
    policy = limits(concurrency=9)
    calls = one.permits(policy, 2).calls
    report(one, calls[0], rest_ms=50_000)
    report(one, calls[1], rest_ms=10_000)
    refused = other.permits(policy, 1)
    assert (refused.calls, refused.why) == ((), "asked")
    assert 40_000 < refused.wait_ms <= 50_000
    assert other.resume("crm")
    assert other.permits(policy, 1).calls


def test_who_pauses_decides_when_it_ends(redis_client):
    store, policy = Destinations(redis_client, KEYS), limits()
    store.pause("crm")
    assert store.permits(policy, 1) == ((), FOREVER, "operator")
    (call,) = (Destinations(redis_client, KEYS).resume("crm"), store.permits(policy, 1))[1].calls
    report(store, call, "gone", alarm="gone: http_410")
    assert store.permits(policy, 1).why == "gone"
    assert store.state("crm").alarm == "gone: http_410"


def test_calls_that_take_nothing_open_the_breaker_and_only_a_row_that_is_taken_closes_it(
    redis_client,
):
    store, policy = Destinations(redis_client, KEYS), limits(concurrency=99)

    def end(how):
        (call,) = store.permits(policy, 1).calls
        report(store, call, how, alarm="takes nothing: http_400" if how == "rejected" else "")
        return store.state("crm")

    for number in range(REFUSALS):
        assert not end("ok").is_open, f"after {number}"
        state = end("rejected")
    assert (state.is_open, state.alarm) == (True, "takes nothing: http_400")
    for how in ("ok", "rejected", "ok", "taken"):
        redis_client.hset(KEYS.control("crm"), "opened", 1)
        state = end(how)
        assert state.is_open == (how != "taken"), how
    assert state.alarm == ""
    assert store.taken("crm") == (1, 0)
