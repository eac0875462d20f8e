"""A pump works while it holds its slot and has budget, and naps when there is nothing to do."""

import pytest

from worker import pump
from worker.clock import ManualClock


class Slot:
    """The lock of one slot; `holder` is who has it."""

    def __init__(self, holder=None):
        self.holder = holder
        self.renewed = 0

    def take(self, name, token, ttl_ms):
        if self.holder is None:
            self.holder = token
        return self.holder == token

    def renew(self, name, token, ttl_ms):
        self.renewed += 1
        return self.holder == token


@pytest.fixture
def clock():
    return ManualClock()


def run(clock, lock, work, wait=lambda: None, **options):
    options = {"token": "me", "ttl_ms": 4_000, "budget_s": 2.0, **options}
    return pump.run(work, wait, lock=lock, name="pump:ingest:0", clock=clock, **options)


def test_it_works_until_the_budget_is_spent_and_asks_to_go_on(clock):
    rounds = []

    def work():
        rounds.append(clock.monotonic())
        clock.advance(0.5)
        return 1

    lock = Slot()
    assert run(clock, lock, work) is True
    assert rounds == [0.0, 0.5, 1.0, 1.5]
    assert lock.holder == "me", "the successor with the same token goes on with the lock"


def test_it_naps_only_when_a_round_did_nothing(clock):
    did, naps = iter([3, 0, 1, 0, 0]), []

    def work():
        clock.advance(0.3)
        return next(did)

    def nap():
        naps.append(clock.monotonic())
        clock.advance(0.2)

    assert run(clock, Slot(), work, nap) is True
    assert naps == [0.6, 1.4, 1.9]


def test_a_slot_that_another_holds_is_left_to_it(clock):
    assert run(clock, Slot("other"), lambda: pytest.fail("no work without the slot")) is False


def test_it_stops_where_it_is_when_the_slot_is_lost(clock):
    lock, rounds = Slot(), []

    def work():
        rounds.append(1)
        clock.advance(1.5)
        if len(rounds) == 2:
            lock.holder = "other"
        return 1

    assert run(clock, lock, work, budget_s=60.0) is False
    assert len(rounds) == 2
    assert lock.holder == "other"


def test_a_slot_lost_in_the_last_round_is_not_asked_for_again(clock):
    lock = Slot()

    def work():
        clock.advance(2.0)
        lock.holder = None
        return 1

    assert run(clock, lock, work) is False


def test_it_renews_well_before_the_lock_ends(clock):
    lock = Slot()

    def work():
        clock.advance(0.1)
        return 1

    run(clock, lock, work, budget_s=10.0)
    assert 9 <= lock.renewed <= 12
