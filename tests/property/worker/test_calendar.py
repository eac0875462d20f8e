"""Days begin and end where the tenant lives, also when the clocks change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.views import DAY_S, Calendar

ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Africa/Monrovia",
]  # fmt: skip
EPOCH = date(1970, 1, 1)
CALENDARS = {zone: Calendar(zone) for zone in ZONES}


def day_of(at_s, zone):
    """By the standard library alone."""
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at_s)).astimezone(ZoneInfo(zone))
    return (local.date() - EPOCH).days


@given(st.sampled_from(ZONES), st.integers(10 * 365 * DAY_S, 4_000_000_000))
def test_a_day_is_the_local_date(zone, at_s):
    assert CALENDARS[zone].day(at_s) == day_of(at_s, zone)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("start", ["2011-12-29", "2024-03-09", "2024-03-30", "2024-10-26"])
def test_every_minute_around_a_change_of_clocks_and_a_skipped_day(zone, start):
    first_s = int(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp())
    calendar = Calendar(zone)
    for at_s in range(first_s, first_s + 3 * DAY_S, 60):
        assert calendar.day(at_s) == day_of(at_s, zone)


@pytest.mark.parametrize(
    ("change", "hours"), [("2024-03-31", 23), ("2024-10-27", 25), ("2024-05-05", 24)]
)
def test_a_day_of_a_change_has_23_or_25_hours(change, hours):
    calendar = Calendar("Europe/Berlin")
    start = datetime.fromisoformat(change).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    day = calendar.day(int(start.timestamp()))
    seconds = range(int(start.timestamp()) - 3600, int(start.timestamp()) + 30 * 3600, 900)
    assert sum(calendar.day(at_s) == day for at_s in seconds) == 4 * hours
