"""What bounds the neighbor index, and what happens where it cannot be compiled."""

import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.recommend import kernels, preparing, search_kernels, similarity
from models.recommend.interactions import ItemTable
from models.recommend.neighbors import MOST_ITEMS, NeighborIndex
from worker import serve
from worker.settings import Settings


def shop(customers=2_000, items=5_000, each=20):
    rng = np.random.default_rng(1)
    rows = csr_array(
        (np.ones(customers * each), rng.integers(0, items, customers * each),
         np.arange(0, customers * each + 1, each)),
        shape=(customers, items),
    )  # fmt: skip
    names = [f"c{n:05d}" for n in range(customers)]
    return NeighborIndex.build(names, ItemTable(f"i{j}" for j in range(items)), rows)


def test_a_customer_with_a_hundred_thousand_interactions_costs_what_a_thousand_do():
    """Generous limits: usually 60 ms for the update, most of it for naming the new items."""
    index = shop()
    ids = [f"i{j}" for j in range(100_000)]
    weights = [1.0 + j % 977 for j in range(100_000)]
    index.update("heavy", ids, weights)  # once for the items that are new
    start = time.process_time()
    index.update("heavy", ids, weights, watch=True)
    (near,) = index.near(["heavy"], 50)
    index.liked(near)
    index.take_nudges()
    assert time.process_time() - start < 1.0
    row = index.rows(["heavy"])
    assert row.nnz == MOST_ITEMS
    assert row.data.min() >= 960, "the heaviest stay"


def test_beyond_so_many_postings_the_common_items_find_nobody(monkeypatch):
    index = shop(items=50)
    exact = dict(index.similar(["c00007"], 2_000)[0])
    monkeypatch.setattr(similarity, "SCAN_LIMIT", 500)
    some = index.similar(["c00007"], 2_000)[0]
    assert 0 < len(some) < len(exact)
    assert all(exact[name] == score for name, score in some)


def test_what_similar_customers_hold_is_the_sum_of_their_rows_by_their_score():
    rows = np.array([[1.0, 0, 0, 0], [1.0, 1.0, 0, 0], [1.0, 1.0, 2.0, 0], [0, 0, 0, 1.0]])
    index = NeighborIndex.build(list("abcd"), ItemTable("wxyz"), csr_array(rows))
    (near,) = index.near(["a"], 3)
    score = dict(index.named(near))
    b, c = score["b"] / np.sqrt(2), score["c"] / np.sqrt(6)
    found = index.liked(near)
    assert found.columns.tolist() == [0, 1, 2]
    assert found.scores == pytest.approx([b + c, b + c, 2 * c], rel=1e-12)
    assert found.holders.tolist() == [2, 2, 1]


def test_kernels_that_were_compiled_before_are_ready_within_five_seconds():
    """Usually two of CPU, most of it for imports."""
    preparing.prepare()
    told = "import time; from models.recommend.preparing import prepare; prepare()"
    command = [sys.executable, "-c", f"{told}; print(time.process_time())"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5


def test_a_worker_that_cannot_compile_says_so_and_ends(monkeypatch):
    def broken(*_):
        raise OSError("no compiler for this processor")

    monkeypatch.setattr(search_kernels, "nearest_cosines", broken)
    with pytest.raises(kernels.KernelError, match="no compiler for this processor"):
        preparing.prepare()
    monkeypatch.setattr(serve, "configure", lambda *_: None)
    monkeypatch.setattr(serve, "configure_logs", lambda *_: None)
    settings = Settings(redis_url="redis://localhost:1")
    assert serve.run_worker(settings, "redis://localhost:1", "refresh") == 1


def test_without_a_folder_to_write_to_loops_are_compiled_for_this_process(monkeypatch):
    real = kernels.numba.njit

    def without_cache(*, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(kernels.numba, "njit", without_cache)
    assert kernels.compiled(lambda x: x + 1)(2) == 3
