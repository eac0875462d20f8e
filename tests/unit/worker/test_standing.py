"""Where a customer stands: a day has one opening; lives before the first order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.segments.lifecycle import BROWSING, LEAD, NEWCOMER, lifecycle_label
from tests.builders import DAY_S, T0, facts, folded, identify, order, viewed
from worker.insights.lifecycle import LIFECYCLE, lifecycle
from worker.insights.previous import previous
from worker.insights.standing import NOWHERE, Opening, Place, decode, encode, moved, opening
from worker.profile import codec
from worker.store.refreshing import Held, Mark, Push, Refreshed, _value, read_insight
from worker.views import Calendar, view

DAYS = st.integers(0, 40_000)
PLACES = st.builds(
    Place, st.integers(-1, 2_000_000), DAYS, st.integers(-1, 99), DAYS, st.integers(-1, 99)
)


@given(st.one_of(st.none(), st.builds(Opening, DAYS, PLACES)))
def test_an_opening_is_stored_and_read(opened):
    state = "" if opened is None else encode(opened)
    assert not set(state) & set("|\n")
    assert decode(state) == opened


@given(st.builds(Opening, DAYS, PLACES), PLACES, DAYS)
def test_a_day_has_one_opening_however_often_it_is_asked_for(held, now, today):
    first = opening(held, now, today)
    assert first.day == today
    assert opening(first, moved(first.place, 7, today), today) == first
    assert opening(first, now, today + 1).place == now


def test_the_state_travels_in_the_header_and_older_headers_are_read():
    opened = Opening(19_723, Place(3, 19_700))
    row = Refreshed(
        mark=Mark(0, "ann", 1, loud=True), expected_version=4, seq=9, generation=2, as_of_s=77,
        material="ab", json=b'{"a":1}', push=Push.ALL, transitions=(), next_due_s=0,
        state=encode(opened), told="0.25;1;;",
    )  # fmt: skip
    held = read_insight(_value(row))
    assert (held.version, held.seq, held.as_of_s, held.json) == (5, 9, 77, b'{"a":1}')
    assert decode(held.state) == opened
    assert held.told == "0.25;1;;"
    assert read_insight(b'5|9|2|77|ab\n{"a":1}') == held._replace(state="", told="")


def test_what_the_next_insight_goes_on_from():
    assert previous(Held()).place == NOWHERE
    told = (
        b'{"segment":{"id":3,"name":"Loyal","since":"2024-01-01","previous_id":2,"pending_id":5,'
        b'"pending_since":"2024-01-03"},"audiences":[{"id":"vip","name":"V","since":"2024-01-02"}],'
        b'"model_versions":{"segments":1},"historic_number_of_orders":4}'
    )
    found = previous(Held(7, 1, 1, 99, "m", told, ""))
    assert found.place == Place(3, 19_723, 5, 19_725, 2)
    assert (found.segment_id, found.segment_name, found.orders) == (3, "Loyal", 4)
    assert found.audiences == {"vip": "2024-01-02"}
    assert found.opening(19_726) == Opening(19_726, found.place)


def seen(*events):
    stored = codec.encode(folded(facts(events)))
    return view("ann", stored.hot, stored.cold.data if stored.cold else b"")


@pytest.mark.parametrize(
    ("events", "day", "segment"),
    [
        ([identify("ann", "i", T0, country="DE")], 0, NEWCOMER),
        ([identify("ann", "i", T0, country="DE")], 7, NEWCOMER),
        ([identify("ann", "i", T0, country="DE")], 8, LEAD),
        ([viewed("ann", "tea", "v", T0)], 6, BROWSING),
        ([viewed("ann", "tea", "v", T0)], 7, BROWSING),
        ([viewed("ann", "tea", "v", T0)], 30, BROWSING),
        ([viewed("ann", "tea", "v", T0)], 31, LEAD),
        ([identify("ann", "i", T0), viewed("ann", "a", "v", T0 + 50 * DAY_S)], 60, BROWSING),
        (
            [order("ann", "o", "e", T0, revenue="5"),
             order("ann", "o", "c", T0 + DAY_S, name="Order Cancelled")],
            40,
            LEAD,
        ),
    ],
)  # fmt: skip
def test_lives_before_the_first_order(events, day, segment):
    assert lifecycle([seen(*events)], Calendar("UTC"), T0 // DAY_S + day) == [segment]


def test_lives_have_names_in_both_languages():
    names = {lifecycle_label(one).name(language) for one in LIFECYCLE for language in ("en", "zh")}
    assert len(names) == 6
