"""Popularity and buyers after any changes of rows are what a recompute says; companions follow."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from models.recommend.cooccurrence import Companions
from models.recommend.customer_rows import Decay, Row, row_of
from models.recommend.interactions import ItemTable
from models.recommend.links import no_links
from models.recommend.neighbors import NeighborIndex
from models.recommend.popularity import HALF_LIVES_DAYS

DECAY = Decay(100, 60.0)
ITEMS = 5
EVENTS = st.lists(
    st.tuples(st.integers(0, ITEMS - 1), st.integers(20, 140), st.sampled_from([1.0, 0.3])),
    max_size=8, unique_by=lambda event: event[:2],
)  # fmt: skip


def row(events):
    columns, days, weights = np.array(sorted(events), dtype=float).reshape(len(events), 3).T
    return row_of(columns.astype(int), days.astype(int), weights, DECAY)


def index_of(rows):
    index = NeighborIndex.build(
        [], ItemTable(f"i{j}" for j in range(ITEMS)), csr_array((0, ITEMS)), decay=DECAY
    )
    for customer, one in rows:
        index.put(customer, one)
    return index


def trends(events, today):
    """What one customer adds, from the definitions."""
    found = np.zeros((ITEMS, 4))
    for item in {item for item, _, weight in events if weight >= 1}:
        days = [day for one, day, weight in events if one == item and weight >= 1]
        weight = sum(w * 2 ** ((day - max(days)) / 60) for one, day, w in events if one == item)
        age = today - np.array([max(days)] * 3 + [min(days)])
        found[item] = np.array([weight] * 3 + [1.0]) * 2.0 ** (-age / HALF_LIVES_DAYS)
    return found


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.tuples(st.sampled_from("abc"), EVENTS), max_size=8), st.integers(100, 160))
def test_trends_are_those_of_the_rows_that_there_are(changes, today):
    """Purchases, refunds, looks, repeats and erasures are all a row in place of another."""
    index = index_of([(customer, row(events)) for customer, events in changes])
    index.popularity.look(today)
    rows = dict(changes)
    expected = sum((trends(events, today) for events in rows.values()), np.zeros((ITEMS, 4)))
    expected[:, 1] = np.log1p(expected[:, 1])
    np.testing.assert_allclose(index.popularity.trends[:ITEMS], expected, rtol=1e-9, atol=1e-9)
    bought = [{i for i, _, w in events if w >= 1} for events in rows.values()]
    buyers = [sum(item in one for one in bought) for item in range(ITEMS)]
    assert index.popularity.buyers[:ITEMS].tolist() == buyers
    again, _ = index.to_state()
    restored = NeighborIndex.from_state(again, {"idf_unseen": 1.0, "decay": list(DECAY)})
    restored.popularity.look(today)
    np.testing.assert_allclose(
        restored.popularity.trends[:ITEMS], index.popularity.trends[:ITEMS], rtol=1e-9, atol=1e-9
    )
    for item in range(ITEMS):
        others, scores = index.companions_of(item)
        for other, score in zip(others.tolist(), scores.tolist(), strict=True):
            both = sum({item, other} <= one for one in bought)
            assert np.isclose(score, both / np.sqrt(buyers[item] * buyers[other]))
        assert len(others) == sum(
            any({item, other} <= one for one in bought) for other in range(ITEMS) if other != item
        )


def test_a_new_item_is_a_companion_of_what_it_was_bought_with_at_once():
    index = index_of([(f"c{n}", row([(0, 90 + n, 1.0), (1, 90, 1.0)])) for n in range(6)])
    index.companions = Companions(no_links(2), np.array([6, 6], dtype=np.int32))
    index.put("c0", row([(0, 90, 1.0), (1, 90, 1.0), (4, 99, 1.0)]))
    index.renew_companions(np.array([0, 1, 4]))
    assert index.companions.of(4) == ([0, 1], [1 / np.sqrt(6)] * 2)
    assert index.companions.of(0) == ([4], [1 / np.sqrt(6)])
    index.put("c0", row([(0, 90, 1.0), (1, 90, 1.0)]))
    index.renew_companions(np.array([0, 1, 4]))
    assert index.companions.of(4) == ([], []), "what was given back goes with nothing"


def test_looks_count_no_buyers():
    index = index_of([("a", row([(0, 90, 1.0), (1, 90, 0.3)])), ("b", row([(0, 91, 1.0)]))])
    assert index.popularity.buyers[:2].tolist() == [2, 0]
    assert index.companions_of(0)[0].tolist() == []
    assert index.together(["i0"], 5).columns.tolist() == []
    (near,) = index.near(["b"], 5)
    liked = index.liked(near)
    assert dict(zip(liked.columns.tolist(), liked.holders.tolist(), strict=True)) == {0: 1, 1: 0}


def test_a_row_says_when_each_item_was_bought():
    found = row([(2, 50, 1.0), (2, 90, 1.0), (3, 60, 0.3)])
    assert (found.first.tolist(), found.last.tolist()) == ([50, 0], [90, 0])
    assert isinstance(found, Row)
