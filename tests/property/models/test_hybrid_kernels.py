"""The hybrid's compiled loops do what the plain arrays would."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.recommend.candidate_kernels import name_all, name_best
from models.recommend.heap_kernels import least_of
from models.recommend.hybrid import FEATURES, MEMBER_OF, MEMBERS, expanded
from models.recommend.listing_kernels import rank
from models.recommend.repeats import own_items

F = len(FEATURES)


def ranked(features, chosen, weights, count, *, first=False):
    return rank(features, chosen, weights, count, first, MEMBER_OF, len(MEMBERS))


SCORES = st.sampled_from([0.0, 0.25, 1.0, 1.0, 3.5]) | st.floats(0, 1e6)


@settings(deadline=None)  # the first call compiles
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(F)), elements=SCORES),
    arrays.arrays(np.float64, 2 * F, elements=st.floats(-5, 5)),
    st.data(),
)
def test_utilities_are_the_weighted_inputs_and_members_add_up_to_them(features, weights, data):
    chosen = data.draw(st.lists(st.booleans(), min_size=len(features), max_size=len(features)))
    count = data.draw(st.integers(1, 13))
    places, utility, parts = ranked(features, np.array(chosen, dtype=bool), weights, count)
    all_places = np.flatnonzero(chosen)
    inputs = expanded(features[all_places])
    true = dict(zip(all_places.tolist(), (inputs @ weights).tolist(), strict=True))
    assert np.allclose(utility, [true[one] for one in places.tolist()], rtol=1e-12, atol=2e-9)
    assert utility.tolist() == sorted(utility.tolist(), reverse=True)
    assert len(places) >= min(count, len(true))
    left = [value for one, value in true.items() if one not in places]
    assert not left or max(left) <= utility[min(count, len(utility)) - 1] + 2e-9
    both = dict(zip(all_places.tolist(), inputs * weights, strict=True))
    for member in range(len(MEMBERS)):
        mine = np.tile(member == MEMBER_OF, 2)
        wanted = [both[one][mine].sum() for one in places.tolist()]
        assert np.allclose(parts[:, member], wanted, atol=1e-9)


def test_what_similar_customers_hold_goes_first_where_it_has_to():
    features = np.zeros((3, F))
    features[:, FEATURES.index(("popular_week", "popular"))] = 3.0, 2.0, 1.0
    features[2, FEATURES.index(("similar", "similar"))] = 0.1
    weights = np.zeros(2 * F)
    weights[FEATURES.index(("popular_week", "popular"))] = 1.0
    every = np.ones(3, dtype=bool)
    assert ranked(features, every, weights, 3)[0].tolist() == [0, 1, 2]
    assert ranked(features, every, weights, 3, first=True)[0].tolist() == [2, 0, 1]


@settings(deadline=None)  # the first call compiles
@given(
    arrays.arrays(np.float64, st.integers(1, 60), elements=SCORES),
    st.integers(1, 20),
    st.data(),
)
def test_the_best_allowed_columns_are_named_once(scores, most, data):
    width = len(scores)
    some = st.lists(st.integers(0, width - 1), unique=True, max_size=width)
    columns, before = np.array(data.draw(some), np.int32), np.array(data.draw(some), np.int64)
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=width, max_size=width)))
    place, out = np.zeros(width, np.int16), np.zeros(width, np.int64)
    named = name_all(before, place, allowed, out, 0)
    assert out[:named].tolist() == [one for one in before if allowed[one]]
    first = out[:named].tolist()
    named = name_best(columns, scores[columns], most, allowed, place, out, named)
    usable = [one for one in columns if allowed[one] and scores[one] > 0]
    best = sorted((scores[one] for one in usable), reverse=True)[:most]
    told = out[:named].tolist()
    assert len(set(told)) == named
    assert place[told].tolist() == list(range(1, named + 1))
    added = [one for one in usable if one in told]
    new = [one for one in told if one not in first]
    assert set(new) <= set(usable)
    if best:
        assert {one for one in usable if scores[one] > best[-1]} <= set(added)
        assert all(scores[one] >= best[-1] for one in new)
        assert len(new) <= len(best)


MIXED = SCORES | SCORES.map(lambda one: -one) | st.sampled_from([1e-300, 1e300, 2.0**-1074])


@settings(deadline=None)  # the first call compiles
@given(st.lists(MIXED, min_size=2, max_size=90), st.integers(1, 89))
def test_the_least_of_the_highest_is_found_with_its_ties(values, most):
    least, ties = least_of(np.array(values), most)
    best = sorted(values, reverse=True)[:most]
    every = len(values) <= most
    assert (least, ties) == ((0.0, 0) if every else (best[-1], best.count(best[-1])))


EVENTS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 400), st.sampled_from([1.0, 0.3])),
    min_size=1, max_size=40, unique_by=lambda event: event[:2],
)  # fmt: skip


@settings(deadline=None)  # the first call compiles
@given(EVENTS, st.randoms())
def test_own_items_are_gathered_in_any_sequence(events, random):
    def gathered(told):
        columns, days, weights = (np.array(part) for part in zip(*told, strict=True))
        return own_items(columns, days, weights.astype(np.float64), half_life_days=60.0)

    shuffled = list(events)
    random.shuffle(shuffled)
    own, again = gathered(events), gathered(shuffled)
    assert all(a.tolist() == b.tolist() for a, b in zip(own[:-1], again[:-1], strict=True))
    newest = max(day for _, day, _ in events)
    trips = sorted({day for _, day, weight in events if weight >= 1})
    for at, column in enumerate(own.columns.tolist()):
        bought = sorted(day for one, day, weight in events if one == column and weight >= 1)
        seen = [day for one, day, weight in events if one == column and weight < 1]
        assert own.times[at] == len(bought)
        assert own.first_day[at] == (bought[0] if bought else 0)
        assert own.last_day[at] == (bought[-1] if bought else 0)
        assert np.isclose(own.weight[at], sum(2 ** ((day - newest) / 60) for day in bought))
        later = [sum(trip > day for trip in trips) for day in bought]
        assert np.isclose(own.fast[at], sum(0.85**count for count in later))
        assert np.isclose(own.looked[at], sum(0.3 * 2 ** ((day - newest) / 60) for day in seen))
