"""Clocks: the system's agrees with itself, the manual one moves only when told."""

import time

import pytest

from worker.clock import ManualClock, SystemClock


def test_the_system_clock_is_unix_time():
    clock = SystemClock()
    assert abs(clock.now_s() - time.time()) < 2
    assert abs(clock.now_ms() - clock.now_s() * 1000) < 3000
    assert clock.monotonic() <= clock.monotonic()


def test_a_manual_clock_stands_still_and_does_not_go_back():
    clock = ManualClock(start_s=10)
    assert (clock.now_s(), clock.now_s()) == (10, 10)
    clock.advance(0.999)
    assert (clock.now_s(), clock.now_ms()) == (10, 10_999)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
