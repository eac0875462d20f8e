import time

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.checks import DomainError, ShapeError
from models.recommend import index_rows
from models.recommend.interactions import (
    Interactions,
    ItemTable,
    decay,
    interaction_matrix,
    inverse_document_frequency,
    item_weight,
    sparse_rows,
    unseen_idf,
)
from models.recommend.neighbors import NeighborIndex


def index_of(rows, idf=None):
    names = [f"i{j}" for j in range(rows.shape[1])]
    customers = [f"c{i}" for i in range(rows.shape[0])]
    return NeighborIndex.build(customers, ItemTable(names), csr_array(rows), idf)


def test_ageing_changes_no_similarity():
    day, today = np.array([90, 40, 80, 10]), (0, 5000)
    found = []
    for t0 in today:
        events = Interactions(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), day, np.ones(4))
        rows = interaction_matrix(events, 2, 2, t0_day=t0, half_life_days=30.0)
        found.append(index_of(rows).similar(["c0"], 1))
    assert found[0] == found[1]


def test_weights_halve_over_a_half_life_and_overflow_nothing():
    assert item_weight([0, 90], [4.0, 1.0], t0_day=90, half_life_days=90.0) == 3.0
    assert np.isfinite(decay([10**6, -(10**6)], 0, 1.0) ** 2).all()
    with pytest.raises(DomainError):
        item_weight([0], [-1.0], t0_day=0, half_life_days=90.0)


def test_idf_counts_holders():
    rows = csr_array(np.array([[5.0, 0.0], [1.0, 1.0]]))
    assert inverse_document_frequency(rows)[0] == 1.0
    assert inverse_document_frequency(csr_array((7, 1), dtype=float))[0] == unseen_idf(7)


def test_ties_break_by_customer_id_and_self_is_excluded():
    index = index_of(np.ones((4, 1)))
    assert index.similar(["c2"], 2) == [[("c0", 1.0), ("c1", 1.0)]]
    index.update("a", ["i0"], [9.0])
    assert index.similar(["c2"], 2) == [[("a", 1.0), ("c0", 1.0)]]


def test_a_row_is_replaced_removed_and_comes_back():
    index = index_of(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    index.update("c1", ["i1"], [3.0])
    assert index.similar(["c0", "c2"], 5) == [[], [("c1", 1.0)]]
    index.update("c1", [], [])
    assert "c1" not in index
    assert index.similar(["c1", "c2"], 5) == [[], []]
    index.update("c1", ["i0", "i1"], [0.0, 2.0])
    assert index.similar(["c2"], 5) == [[("c1", 1.0)]]
    assert index.rows(["c1", "nobody"]).toarray().tolist() == [[0, 2], [0, 0]]


def test_who_is_erased_leaves_the_lists_of_those_who_are_nudged_for_it():
    index = index_of(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))
    index.similar(["c0", "c1", "c2"], index.watched)
    index.remove("c1", watch=True)
    assert sorted(index.take_nudges()) == ["c0", "c2"]
    assert index.similar(["c0", "c2"], index.watched) == [[], []]


def test_a_new_item_joins_the_table_and_has_the_idf_of_the_unseen():
    index = NeighborIndex.build(
        ["a", "b"], ItemTable(["x"]), csr_array(np.ones((2, 1))), np.array([1.0]), idf_unseen=2.0
    )
    index.update("a", ["x", "new"], [1.0, 1.0])
    assert index.items.ids == ["x", "new"]
    assert index.similar(["b"], 1) == [[("a", round(1 / np.sqrt(5), 9))]]
    index.update("b", ["new"], [1.0])
    assert index.similar(["b"], 1) == [[("a", round(2 / np.sqrt(5), 9))]]


def test_a_refused_update_changes_nothing():
    index = index_of(np.ones((2, 1)))
    before = index.similar(["c0"], 5)
    for items, weights, error in (
        (["z"], [1.0, 2.0], ShapeError),
        (["z", "z"], [1.0, 2.0], DomainError),
        (["z"], [-1.0], DomainError),
        (["z"], [np.nan], DomainError),
    ):
        with pytest.raises(error):
            index.update("c0", items, weights)
    assert index.similar(["c0"], 5) == before
    assert len(index.items) == 1


def test_the_overlay_merges_into_the_base_without_a_trace(monkeypatch):
    monkeypatch.setattr(index_rows, "LEAST_SPARE", 3)
    rng = np.random.default_rng(0)
    index, rows = index_of(np.zeros((0, 6))), {}
    for step in range(50):
        customer, row = f"c{rng.integers(0, 9)}", rng.integers(0, 3, 6 + step // 10)
        rows[customer] = row
        index.update(customer, [f"i{j}" for j in range(len(row))], row.tolist())
    assert len(index) == sum(row.any() for row in rows.values())
    fresh = index_of(np.zeros((0, 6)))
    for customer, row in rows.items():
        fresh.update(customer, [f"i{j}" for j in range(len(row))], row.tolist())
    assert index.similar(sorted(rows), 5) == fresh.similar(sorted(rows), 5)


def test_a_hundred_queries_among_many_customers_are_fast():
    """Generous limit: usually 40 ms of CPU for 100 queries among 30,000 customers."""
    rng = np.random.default_rng(0)
    n, m, each = 30_000, 20_000, 30
    item = np.minimum((rng.pareto(0.7, n * each) * 20).astype(int), m - 1)
    rows = sparse_rows(np.repeat(np.arange(n), each), item, np.ones(n * each), (n, m))
    index = index_of(rows, inverse_document_frequency(rows))
    start = time.process_time()
    found = index.similar([f"c{i}" for i in range(100)], 100)
    assert time.process_time() - start < 1.0
    assert len(found) == 100
    start = time.process_time()
    for i in range(500):
        index.update(f"c{i}", ["i0", "i7"], [1.0, 2.0])
    assert time.process_time() - start < 0.5
