"""Rule segments, whatever people write: conditions survive storage, and logic is logic."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import T0
from worker.profile.derive import Order, SignalCount
from worker.rules.definitions import Definitions, from_meta, plain, to_meta
from worker.rules.evaluating import Known, holds
from worker.rules.language import FORECASTS
from worker.rules.reading import parse
from worker.views import Calendar, View

NUMBERS = st.one_of(st.integers(-5, 400), st.floats(-5, 400).map(lambda x: round(x, 2)))
BOUNDS = st.builds(
    lambda name, bound: {name: bound},
    st.sampled_from(["is", "at_least", "at_most", "above", "below"]),
    NUMBERS,
)
LEAVES = st.one_of(
    st.builds(
        lambda value: {"trait": "country", "is": value},
        st.one_of(st.booleans(), NUMBERS, st.sampled_from(["DE", "NO"])),
    ),
    st.builds(lambda told: {"trait": "city", "exists": told}, st.booleans()),
    st.builds(lambda told: {"consent": "email", "is": told}, st.booleans()),
    st.builds(lambda bound: {"count": "orders", "within_days": 30, **bound}, BOUNDS),
    st.builds(lambda bound: {"count": "Product Viewed", **bound}, BOUNDS),
    st.builds(lambda kind, b: {"spend": kind, **b}, st.sampled_from(["total", "average"]), BOUNDS),
    st.builds(lambda bound: {"days_since": "last_order", **bound}, BOUNDS),
    st.builds(lambda name, bound: {"forecast": name, **bound}, st.sampled_from(FORECASTS), BOUNDS),
    st.builds(lambda ids: {"segment": ids}, st.lists(st.integers(-4, 9), min_size=1, max_size=3)),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda one: {"not": one}, inner),
        st.builds(
            lambda word, several: {word: several},
            st.sampled_from(["all", "any"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
    ),
    max_leaves=6,
)
ORDERS = st.lists(
    st.builds(
        Order,
        st.text("abc", min_size=1, max_size=3),
        st.integers(T0, T0 + 90 * 86_400),
        st.sampled_from(["EUR", "USD"]),
        st.one_of(st.none(), st.integers(0, 10**6)),
        st.just((("tea", 1000),)),
        st.just(False),
    ),
    max_size=4,
)
REGISTERS = st.dictionaries(
    st.sampled_from(["trait:country", "trait:city", "consent:email"]),
    st.one_of(st.booleans(), st.integers(-5, 400), st.sampled_from(["DE", "3.5"])).map(
        lambda value: [T0, b"", value]
    ),
)
FIELDS = st.dictionaries(st.sampled_from(FORECASTS), st.one_of(st.none(), NUMBERS))


@st.composite
def customers(draw):
    signals = [SignalCount(2_800, "v", "tea", draw(st.integers(0, 5)))]
    view = View("ann", draw(ORDERS), signals, draw(REGISTERS))
    return Known(view, draw(FIELDS), Calendar("UTC"), T0 + 91 * 86_400, "EUR")


def rule(when):
    (found,) = parse({"segments": [{"id": "r", "when": when}]})
    return found


@given(CONDITIONS)
def test_what_is_written_is_what_is_stored_and_read(when):
    found = rule(when)
    assert plain(found)["when"] == when
    held = Definitions().put([found], 3)
    assert from_meta(json.loads(json.dumps(to_meta(held)))) == held
    assert held.put([rule(when)], 4) == held


@given(st.lists(CONDITIONS, min_size=1, max_size=3), customers())
def test_not_all_is_any_not_also_where_something_is_not_known(several, customer):
    nots = [{"not": one} for one in several]
    assert holds(rule({"not": {"all": several}}).when, customer) is holds(
        rule({"any": nots}).when, customer
    )
    assert holds(rule({"not": {"any": several}}).when, customer) is holds(
        rule({"all": nots}).when, customer
    )


@given(CONDITIONS, customers())
def test_nobody_fulfills_a_condition_and_its_opposite(when, customer):
    assert holds(rule({"all": [when, {"not": when}]}).when, customer) in {False, None}
    assert holds(rule({"not": {"not": when}}).when, customer) is holds(rule(when).when, customer)
