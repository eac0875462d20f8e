"""What `benchmarks.neighbors` holds against the index: a recompute of everything, without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from benchmarks.neighbor_shop import Shop
from models.recommend.neighbors import NeighborIndex
from models.recommend.seeds import similarities
from models.recommend.similarity import Similarity

K = 50
TIE = 1e-6

Near = list[tuple[str, float]]


def check(
    made: Shop,
    index: NeighborIndex,
    held: dict[str, dict[str, float]],
    sample: Sequence[str],
    ask: Callable[[str], Near],
) -> dict[str, float]:
    """Compare answers with a recompute of everything: error of scores, mismatches, recall."""
    names, scaled = _recomputed(made, index, held)
    norm = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    unit = csr_array(diags_array(1 / norm) @ scaled)
    place = {name: n for n, name in enumerate(names)}
    wrong, worst, recalls = 0, 0.0, []
    for customer in sample:
        found = ask(customer)
        if customer not in place:
            wrong += len(found)
            continue
        scores = np.asarray((unit @ unit[[place[customer]]].T).todense()).ravel()
        scores[place[customer]] = 0
        true = np.sort(scores[scores > 5e-10])[::-1][:K]
        least = true[-1] if len(true) else 0.0
        mine = [scores[place[name]] for name, _ in found]
        worst = max([worst, *(abs(a - b) for a, (_, b) in zip(mine, found, strict=True))])
        good = sum(score >= least - TIE for score in mine)
        wrong += len(found) - good + max(0, len(true) - len(found))
        recalls.append(min(good / len(true), 1.0) if len(true) else 1.0)
    return {
        "sampled": len(sample),
        "max_abs_score_error": float(worst),
        "topk_mismatch": int(wrong),
        "recall": float(np.mean(recalls)),
    }


def _recomputed(
    made: Shop, index: NeighborIndex, held: dict[str, dict[str, float]]
) -> tuple[list[str], csr_array]:
    """All rows as they are now, idf-weighted."""
    items = {item: n for n, item in enumerate(index.items.ids)}
    stay = np.array([name not in held for name in made.customers])
    old = made.rows[stay].tocoo()
    late = [(name, row) for name, row in held.items() if row]
    names = [name for name, kept in zip(made.customers, stay, strict=True) if kept]
    cells = [
        (len(names) + n, items[i], w) for n, (_, row) in enumerate(late) for i, w in row.items()
    ]
    row, column, weight = (np.array(one) for one in zip(*cells, strict=True))
    everything = csr_array(
        (
            np.concatenate((old.data, weight)),
            (np.concatenate((old.coords[0], row)), np.concatenate((old.coords[1], column))),
        ),
        shape=(len(names) + len(late), len(items)),
    )
    idf = np.full(len(items), made.idf.max())
    idf[: len(made.idf)] = made.idf
    return names + [name for name, _ in late], csr_array(everything @ diags_array(idf))


def others_than_cosine(
    made: Shop, index: NeighborIndex, held: dict[str, dict[str, float]], sample: Sequence[str]
) -> list[dict[str, Any]]:
    """The same check of the other similarities, against those of dense rows; and their search."""
    names, scaled = _recomputed(made, index, held)
    place = {name: n for n, name in enumerate(names)}
    asked = [one for one in sample if one in place]
    own = np.array([place[one] for one in asked])
    found = []
    for by in (Similarity.PEARSON, Similarity.EUCLIDEAN):
        true = similarities(scaled, own, by.name.lower())
        true[np.arange(len(own)), own] = -1.0
        wrong, worst, took = 0, 0.0, []
        for one, scores in zip(asked, true, strict=True):
            start = time.thread_time()
            (near,) = index.near([one], K, by)
            took.append(time.thread_time() - start)
            least = max(np.partition(scores, len(scores) - K)[len(scores) - K], 5e-10)
            told = index.named(near)
            mine = [scores[place[name]] for name, _ in told]
            wrong += sum(score < least - TIE for score in mine)
            wrong += max(0, int((scores > least + TIE).sum()) - len(told))
            worst = max([worst, *(abs(a - b) for a, (_, b) in zip(mine, told, strict=True))])
        checked = {"max_abs_score_error": float(worst), "topk_mismatch": int(wrong)}
        times = percentiles(np.array(took))
        row = {"variant": f"{by.name.lower()}, search alone", "sampled": len(asked)}
        found.append({**row, **times, **checked})
    return found


def share(stored: Near, true: Near) -> float:
    """How much of the true list a stored one has; who ties with the last counts."""
    if not true:
        return 1.0
    score = dict(true)
    least = true[-1][1]
    kept = sum(name in score or abs(old - least) <= TIE for name, old in stored)
    return min(kept / len(true), 1.0)


def percentiles(seconds: NDArray[np.float64]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    ms = seconds * 1e3
    return {
        "p50_ms": round(float(np.median(ms)), 3),
        "p95_ms": round(float(np.percentile(ms, 95)), 3),
    }
