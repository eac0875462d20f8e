"""What a full recompute takes with libraries that are made for it."""

from __future__ import annotations

import importlib
import time
from typing import Any

import numpy as np
from scipy.sparse import csr_array, csr_matrix, diags_array

from benchmarks.neighbor_checks import K
from benchmarks.neighbor_shop import Shop


def peers(made: Shop) -> list[dict[str, Any]]:
    """What a full recompute takes with libraries that are made for it; parts are extrapolated."""
    customers = len(made.customers)
    scaled = csr_array(made.rows @ diags_array(made.idf))
    norm = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    unit = csr_array(diags_array(1 / norm) @ scaled).astype(np.float32)
    part = min(customers, max(100, 2 * 10**7 // customers))
    rows = []
    for name, seconds in (("sparse_dot_topn", _dot_topn), ("implicit", _implicit)):
        try:
            took = seconds(unit, part)
        except ImportError as error:
            rows.append({"variant": f"{name}, full recompute", "note": f"not installed: {error}"})
            continue
        variant = {"variant": f"{name}, full recompute", "customers": customers}
        note = "not run: it computes everything at once, which takes minutes"
        rows.append(variant | ({"note": note} if took is None else {"cpu_s": took}))
    return rows


def _dot_topn(unit: csr_array, part: int) -> float:
    library = importlib.import_module("sparse_dot_topn")
    some, every = csr_matrix(unit[:part]), csr_matrix(unit.T)
    start = time.process_time()
    library.sp_matmul_topn(some, every, top_n=K + 1, n_threads=1)
    return round((time.process_time() - start) * unit.shape[0] / part, 1)


def _implicit(unit: csr_array, _part: int) -> float | None:
    """It only computes everything: left out where that takes minutes."""
    if unit.shape[0] > 20_000:
        return None
    library = importlib.import_module("implicit.nearest_neighbours")
    model = library.CosineRecommender(K=K + 1, num_threads=1)
    start = time.process_time()
    model.fit(csr_matrix(unit.T, dtype=np.float64), show_progress=False)
    return round(time.process_time() - start, 1)
