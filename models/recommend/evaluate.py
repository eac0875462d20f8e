"""How good ranked lists are: every item is a candidate, nothing is sampled."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.checks import ShapeError, require

Floats: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = NDArray[np.int64]

NONE = -1  # a place of a list that holds no item


class Quality(NamedTuple):
    """Figures per customer with at least one item of truth, each (n,) float64 in [0, 1]."""

    ndcg: Floats
    recall: Floats
    average_precision: Floats


def top_items(scores: NDArray[np.floating], k: int) -> Columns:
    """Return the k best columns of each row, best first, equal scores by rising column.

    scores   (n, m); -inf = no candidate
    Returns  (n, k) int64, -1 where candidates ran out
    Raises   ShapeError

    >>> top_items(np.array([[1.0, 3.0, 3.0, -np.inf]]), 4)
    array([[ 1,  2,  0, -1]])
    """
    if scores.ndim != 2 or k < 1:
        raise ShapeError(f"scores {scores.shape}, k {k}")
    n, m = scores.shape
    best = np.full((n, k), NONE, dtype=np.int64)
    if m == 0:
        return best
    some = min(k, m)
    least = np.partition(scores, m - some, axis=1)[:, m - some]
    for row in range(n):
        line = scores[row]
        near = np.flatnonzero((line >= least[row]) & (line > -np.inf))
        found = near[np.argsort(-line[near], kind="stable")[:some]]
        best[row, : len(found)] = found
    return best


def quality(best: Columns, truth: csr_array) -> Quality:
    """Compare lists with what was bought.

    best     (n, k) columns, -1 = none
    truth    (n, m), stored entries are the items; rows without any are left out of the answer
    Returns  NDCG of binary gain, ideal min(|truth|, k); hits over |truth|; precision at each hit
             over min(|truth|, k)
    Source   Järvelin & Kekäläinen (2002), ACM TOIS 20(4)

    >>> two = csr_array(np.array([[1.0, 0.0, 1.0]]))
    >>> [float(each[0].round(4)) for each in quality(np.array([[0, 1]]), two)]
    [0.6131, 0.5, 0.5]
    """
    n, k = best.shape
    if truth.shape[0] != n:
        raise ShapeError(f"{n} lists, truth {truth.shape}")
    hit = np.zeros((n, k), dtype=np.float64)
    for row in range(n):
        bought = truth.indices[truth.indptr[row] : truth.indptr[row + 1]]
        hit[row] = np.isin(best[row], bought) & (best[row] != NONE)
    count = np.diff(truth.indptr)
    judged = count > 0
    hit, count = hit[judged], count[judged]
    most = np.minimum(count, k)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    precision = hit.cumsum(axis=1) / np.arange(1, k + 1)
    return Quality(
        hit @ discount / discount.cumsum()[most - 1],
        hit.sum(axis=1) / count,
        (precision * hit).sum(axis=1) / most,
    )


def coverage(best: Columns, items: int) -> float:
    """Share of the catalog that is in anybody's list, 0 to 1."""
    if items < 1:
        return 0.0
    return float(len(np.unique(best[best != NONE]))) / items


def bootstrap_mean(
    values: Floats, rng: np.random.Generator, *, samples: int = 2_000, level: float = 0.95
) -> tuple[float, float]:
    """Return a percentile interval of the mean; of differences, it compares two methods.

    values   (n,), n >= 1
    Raises   ShapeError, DomainError
    Source   Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13
    """
    if values.ndim != 1 or not len(values):
        raise ShapeError(f"values {values.shape}")
    require(0 < level < 1, "0 < level < 1")
    n = len(values)
    means = np.empty(samples)
    for start in range(0, samples, 200):
        count = min(200, samples - start)
        means[start : start + count] = values[rng.integers(0, n, (count, n))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
