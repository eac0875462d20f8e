"""The index says what a dense recompute says, after any updates, removals and new items."""

from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from scipy.sparse import csr_array

from models.recommend import index_rows
from models.recommend.interactions import ItemTable
from models.recommend.neighbors import DECIMALS, NeighborIndex

CUSTOMERS = [f"c{i}" for i in range(8)]
ITEMS = [f"i{j}" for j in range(7)]
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 1e-60, 1e60])
ROWS = st.dictionaries(st.sampled_from(ITEMS), WEIGHTS, max_size=7)


def dense_neighbors(rows, idf, unseen, customer, k):
    """Recompute all cosines from scratch, with another sequence of sums."""
    matrix = np.array([[row.get(item, 0.0) for item in ITEMS] for row in rows.values()])
    scaled = matrix * np.array([idf.get(item, unseen) for item in ITEMS])
    norm = np.linalg.norm(scaled, axis=1)
    ids = list(rows)
    me = ids.index(customer)
    if norm[me] == 0:
        return []
    unit = scaled / np.where(norm > 0, norm, 1.0)[:, None]
    scores = (unit @ unit[me]).round(DECIMALS)
    found = [
        (customer_id, min(score, 1.0))
        for customer_id, score in zip(ids, scores.tolist(), strict=True)
        if customer_id != customer and score > 0
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]


class Index(RuleBasedStateMachine):
    """Random lives of an index whose overlay is merged every few updates."""

    @initialize(
        rows=st.lists(st.lists(WEIGHTS, min_size=3, max_size=3), max_size=8),
        idf=st.lists(st.sampled_from([1.0, 1.7, 4.0]), min_size=3, max_size=3),
    )
    def build(self, rows, idf):
        patch = mock.patch.object(index_rows, "LEAST_SPARE", 3)
        patch.start()
        self.stop = patch.stop
        customers = CUSTOMERS[: len(rows)]
        self.idf, self.unseen = dict(zip(ITEMS, idf, strict=False)), 2.5
        self.rows = {
            customer: dict(zip(ITEMS, row, strict=False))
            for customer, row in zip(customers, rows, strict=True)
        }
        matrix = csr_array(np.array(rows, dtype=float).reshape(len(rows), 3))
        self.index = NeighborIndex.build(
            customers, ItemTable(ITEMS[:3]), matrix, np.array(idf), idf_unseen=self.unseen
        )

    @rule(customer=st.sampled_from(CUSTOMERS), row=ROWS)
    def update(self, customer, row):
        self.rows[customer] = row
        self.index.update(customer, list(row), list(row.values()))

    @rule(customer=st.sampled_from(CUSTOMERS))
    def remove(self, customer):
        self.rows.pop(customer, None)
        self.index.update(customer, [], [])

    @rule(k=st.integers(0, 9))
    def ask(self, k):
        ids = [*self.rows, "nobody"]
        expected = [dense_neighbors(self.rows, self.idf, self.unseen, c, k) for c in self.rows]
        assert self.index.similar(ids, k) == [*expected, []]

    @invariant()
    def rows_are_what_was_written(self):
        if hasattr(self, "index"):
            held = {c for c, row in self.rows.items() if any(row.values())}
            assert len(self.index) == len(held)
            stored = self.index.rows(self.rows).toarray()
            table = self.index.items.ids
            for row, found in zip(self.rows.values(), stored, strict=True):
                assert dict(zip(table, found, strict=True)) == {i: row.get(i, 0.0) for i in table}

    def teardown(self):
        if hasattr(self, "stop"):
            self.stop()


TestIndex = Index.TestCase
TestIndex.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


@given(st.lists(ROWS, min_size=2, max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_similarity_is_symmetric_and_blind_to_the_sequence_of_updates(rows, random):
    customers = CUSTOMERS[: len(rows)]
    answers = []
    for _ in range(2):
        order = list(range(len(rows)))
        random.shuffle(order)
        index = NeighborIndex.build([], ItemTable(ITEMS), csr_array((0, 7), dtype=float))
        for i in order:
            items = list(rows[i])
            random.shuffle(items)
            index.update(customers[i], items, [rows[i][item] for item in items])
        answers.append(index.similar(customers, 8))
    assert answers[0] == answers[1]
    score = {(a, b): s for a, found in zip(customers, answers[0], strict=True) for b, s in found}
    assert all(score[b, a] == s for (a, b), s in score.items())
