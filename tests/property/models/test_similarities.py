"""Each similarity, nudges and a mapped copy say what a dense recompute says, after any events."""

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from scipy.sparse import csr_array

from models.recommend import index_rows
from models.recommend.interactions import ItemTable
from models.recommend.neighbors import NeighborIndex, Similarity, TwoStage
from worker.store.snapshots import Snapshots

CUSTOMERS = [f"c{i}" for i in range(9)]
ITEMS = [f"i{j}" for j in range(8)]
KNOWN = 4  # items that the index begins with; the others come later
IDF = np.array([1.0, 1.7, 4.0, 2.2])
UNSEEN = 2.5
WEIGHTS = st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0])
SIMILARITIES = st.sampled_from(Similarity)
TOLERANCE = 5e-9


def dense(rows, known):
    """Customers and their idf-weighted rows over the items that the index knows."""
    idf = np.append(IDF, np.full(len(known) - KNOWN, UNSEEN))
    held = sorted(customer for customer, row in rows.items() if row)
    matrix = np.array([[rows[c].get(item, 0.0) for item in known] for c in held])
    return held, matrix.reshape(len(held), len(known)) * idf


def scores_of(matrix, me, by):
    """The similarity of one row to all, straight from the definitions."""
    if by is Similarity.EUCLIDEAN:
        return 1 / (1 + np.sqrt(((matrix - matrix[me]) ** 2).sum(axis=1)))
    if by is Similarity.PEARSON:
        matrix = matrix - matrix.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(matrix, axis=1)
    flat = norm <= 1e-6
    found = (matrix @ matrix[me]) / np.where(flat, 1.0, norm) / (norm[me] if norm[me] > 1e-6 else 1)
    return np.where(flat | flat[me], 0.0, found)


class Events(RuleBasedStateMachine):
    """Purchases, refunds, repeated events, erasures and new items, in any sequence."""

    @initialize(rows=st.lists(st.lists(WEIGHTS | st.just(0.0), min_size=4, max_size=4), max_size=6))
    def build(self, rows):
        patch = mock.patch.object(index_rows, "LEAST_SPARE", 4)
        patch.start()
        self.stop = patch.stop
        self.rows = {
            customer: {item: w for item, w in zip(ITEMS, row, strict=False) if w}
            for customer, row in zip(CUSTOMERS, rows, strict=False)
        }
        matrix = csr_array(np.array(rows, dtype=float).reshape(len(rows), KNOWN))
        self.index = NeighborIndex.build(
            CUSTOMERS[: len(rows)], ItemTable(ITEMS[:KNOWN]), matrix, IDF, idf_unseen=UNSEEN
        )

    @rule(customer=st.sampled_from(CUSTOMERS), item=st.sampled_from(ITEMS), weight=WEIGHTS)
    def buys(self, customer, item, weight):
        row = self.rows.setdefault(customer, {})
        row[item] = row.get(item, 0.0) + weight
        self.index.add(customer, [item], [weight])

    @rule(customer=st.sampled_from(CUSTOMERS), whole=st.booleans(), data=st.data())
    def gives_back(self, customer, whole, data):
        row = self.rows.get(customer)
        if not row:
            return
        item = data.draw(st.sampled_from(sorted(row)))
        back = row[item] if whole else row[item] / 2
        row[item] -= back
        if whole:
            del row[item]
        self.index.add(customer, [item], [-back])

    @rule(customer=st.sampled_from(CUSTOMERS))
    def is_told_twice(self, customer):
        row = self.rows.get(customer, {})
        self.index.update(customer, list(row), list(row.values()))

    @rule(customer=st.sampled_from(CUSTOMERS))
    def is_erased(self, customer):
        self.rows.pop(customer, None)
        self.index.remove(customer)

    @rule()
    def is_mapped_from_a_snapshot(self):
        with tempfile.TemporaryDirectory() as folder:
            snapshots = Snapshots(Path(folder))
            _, arrays, meta = snapshots.read(snapshots.publish(*self.index.to_state()))
            self.index = NeighborIndex.from_state(arrays, meta)

    @rule(by=SIMILARITIES, k=st.integers(1, 9))
    def is_asked(self, by, k):
        held, matrix = dense(self.rows, list(self.index.items.ids))
        assert sorted(self.index.customers()) == held
        for me, answer in enumerate(self.index.similar(held, k, by)):
            true = scores_of(matrix, me, by)
            true[me] = 0
            expected = np.sort(true[true > TOLERANCE])[::-1][:k]
            found = np.array([score for _, score in answer])
            assert len(found[found > TOLERANCE]) == len(expected)
            np.testing.assert_allclose(found[: len(expected)], expected, rtol=0, atol=TOLERANCE)
            for name, score in answer:
                assert abs(true[held.index(name)] - score) <= TOLERANCE
            assert answer == sorted(answer, key=lambda pair: (-pair[1], pair[0]))

    def teardown(self):
        if hasattr(self, "stop"):
            self.stop()


TestEvents = Events.TestCase
TestEvents.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def shop(seed, customers=60, items=12, each=4):
    rng = np.random.default_rng(seed)
    rows = np.zeros((customers, items))
    for row in rows:
        row[rng.choice(items, rng.integers(1, each + 1), replace=False)] = rng.choice([0.3, 1, 2.1])
    names = [f"c{n:02d}" for n in range(customers)]
    idf = rng.uniform(1, 4, items)
    table = ItemTable(f"i{j}" for j in range(items))
    return names, rows, NeighborIndex.build(names, table, csr_array(rows), idf)


@given(st.integers(0, 10**6), st.data())
@settings(max_examples=60, deadline=None)
def test_nudges_name_whoever_gained_or_lost_the_changed_customer(seed, data):
    names, rows, index = shop(seed)
    index.watched = 5
    before = dict(zip(names, index.similar(names, 5), strict=True))
    changed = data.draw(st.sampled_from(names))
    row = {f"i{j}": w for j, w in enumerate(rows[names.index(changed)]) if w}
    if data.draw(st.booleans()):
        row.pop(min(row))
    else:
        row[f"i{data.draw(st.integers(0, 13))}"] = 2.0
    index.update(changed, list(row), list(row.values()), watch=True)
    nudged = set(index.take_nudges(limit=len(names)))
    after = dict(zip(names, index.similar(names, 5), strict=True))
    assert changed not in nudged
    assert index.take_nudges() == [], "told once"
    for name in set(names) - {changed}:
        old, new = (dict(one[name]) for one in (before, after))
        if old.keys() == new.keys():
            continue
        least = min(*old.values(), *new.values()) if old and new else 0
        score = new.get(changed, old.get(changed, 0.0))
        assert name in nudged or abs(score - least) <= 1e-5 * max(score, least)


def test_of_unknown_lists_those_of_the_nearest_are_nudged():
    names, _, index = shop(5)
    index.watched = 5
    index.update("c03", ["i1", "i2"], [1.0, 2.0], watch=True)
    ((*near,),) = index.similar(["c03"], 9)
    assert index.take_nudges() == [name for name, _ in near[:5]]
    index.update("c03", ["i1"], [1.0], watch=True)
    assert index.take_nudges() == [], "and whom nobody asked about are not known"
    other = shop(5)[2]
    other.similar(names, 10)
    index.inherit(other, private=True)
    index.update("c03", ["i7"], [1.0], watch=True)
    assert index.take_nudges()


@pytest.mark.parametrize("similarity", [Similarity.PEARSON, Similarity.EUCLIDEAN])
def test_by_another_similarity_the_nearest_are_nudged_whatever_cosines_told(similarity):
    names, _, index = shop(5)
    index.watched = 5
    index.similar(names, 5)  # by cosine, as before a training with another similarity
    index.similarity = similarity
    index.update("c03", ["i1", "i2"], [1.0, 2.0], watch=True)
    ((*near,),) = index.similar(["c03"], 9)
    assert index.take_nudges() == [name for name, _ in near[:5]]
    index.remove("c03", watch=True)
    assert index.take_nudges(limit=3) == [name for name, _ in near[:3]]


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_two_stages_miss_nobody_when_candidates_suffice(seed):
    names, _, index = shop(seed)
    every = TwoStage(skipped=0.0, candidates=3)
    assert index.similar(names, 5, two_stage=every) == index.similar(names, 5)
    few = index.similar(names, 5, two_stage=TwoStage(skipped=0.3, candidates=60))
    exact = [dict(one) for one in index.similar(names, 60)]
    for answer, true in zip(few, exact, strict=True):
        assert all(true[name] == score for name, score in answer), "scores are exact"
        near = {name for name, score in list(true.items())[:5] if score > np.sqrt(0.3) + 1e-6}
        assert near <= dict(answer).keys(), "nobody nearer than the bound is missed"


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_what_goes_together_is_the_cosine_of_holders(seed):
    names, rows, index = shop(seed)
    for name in names[:7]:
        index.remove(name)
    held = rows[7:] > 0
    shared = held.T.astype(float) @ held
    found = index.together(["i3"], 12)
    count = np.diag(shared)
    for column, score, holders in zip(*found, strict=True):
        assert column != 3
        assert holders == shared[3, column]
        assert score <= shared[3, column] / np.sqrt(count[3] * count[column]) + 1e-9
    assert set(found.columns.tolist()) == {j for j in np.flatnonzero(shared[3]).tolist() if j != 3}
