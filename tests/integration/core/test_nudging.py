"""How much of a refresh process's time customers take whose lists others' events changed."""

import pytest

from tests.builders import Installation
from worker.clock import ManualClock
from worker.nudging import IDLE_AFTER_S, IDLE_SHARE, SHARE, Nudging
from worker.store.nudges import Nudges
from worker.store.refreshing import Mark

NAMES = [f"c-{n}" for n in range(6)]
EVENT = Mark(0, "c-9", 7, loud=True)


@pytest.fixture
def clock():
    return ManualClock(1_000)


@pytest.fixture
def nudging(redis_client, clock):
    installation = Installation(redis_client, shards=1).create()
    redis_client.sadd(installation.keys.customers(0), *NAMES)
    found = Nudging(Nudges(redis_client, installation.keys), clock)
    found.put(NAMES)
    return found


def spend(nudging, clock, spent_s, *others):
    """Answer one nudged customer in a batch of so long; seconds until the next ones are found."""
    start = clock.monotonic()
    marks = nudging.find(1)
    assert len(marks) == 1, "those who wait longest, and no more than asked for"
    clock.advance(spent_s)
    nudging.answer(marks)
    nudging.rest([*marks, *others], start)
    rested_s = 0.0
    while not nudging._nudges.waiting(1) or clock.monotonic() < nudging._next:
        clock.advance(0.01)
        rested_s += 0.01
    return rested_s


@pytest.mark.parametrize(("quiet_s", "share"), [(0.0, SHARE), (IDLE_AFTER_S + 1, IDLE_SHARE)])
def test_they_take_their_share_of_the_time_and_more_where_no_events_come(
    nudging, clock, quiet_s, share
):
    nudging.rest([EVENT], clock.monotonic())
    clock.advance(quiet_s)
    rested_s = spend(nudging, clock, 0.3)
    assert 0.3 / (0.3 + rested_s) == pytest.approx(share, abs=0.01)


def test_of_a_batch_with_others_only_their_part_counts(nudging, clock):
    rested_s = spend(nudging, clock, 0.3, EVENT, EVENT)
    assert 0.1 / (0.1 + rested_s) == pytest.approx(SHARE, abs=0.01)


def test_who_is_named_again_while_he_is_answered_is_looked_at_once_more(nudging, clock):
    marks = nudging.find(6)
    clock.advance(0.001)
    nudging.put([marks[0].customer_id])
    nudging.answer(marks)
    clock.advance(1)
    assert [one.customer_id for one in nudging.find(6)] == [marks[0].customer_id]


def test_events_that_name_the_same_customers_ask_four_times_a_second(nudging, clock):
    nudging.answer(nudging.find(6))
    clock.advance(1)
    nudging.gather(["c-1"])
    nudging.gather(["c-2"])
    assert [one.customer_id for one in nudging.find(6)] == ["c-1"], "the second still gathers"
    clock.advance(0.25)
    nudging.gather(["c-2"])
    clock.advance(0.25)
    assert sorted(one.customer_id for one in nudging.find(6)) == ["c-1", "c-2"]


def test_who_is_named_again_keeps_his_place(nudging, clock):
    clock.advance(5)
    nudging.put(["c-7", *NAMES[:3]])
    assert [one.customer_id for one in nudging.find(2)] == NAMES[3:5]
    clock.advance(1)
    assert {one.customer_id for one in nudging.find(6)} == {*NAMES}
