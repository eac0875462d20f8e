"""The plain methods: similarities of dense rows, and the mean of the most similar users' history.

They stay for comparison: `NeighborIndex` finds the same neighbors from postings, and the blend of
`hybrid` recommends better.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.checks import DomainError, require

Floats: TypeAlias = NDArray[np.float64]

SIMILARITIES = ("cosine", "pearson", "euclidean")
METHODS = (
    "mean-of-similar-users",
    *(f"user-knn-{similarity}" for similarity in SIMILARITIES),
    "popularity",
)


def similarities(rows: csr_array, asked: NDArray[np.integer], by: str) -> Floats:
    """Similarity of some users with all, over all items, those that neither holds included.

    rows     (n, m) >= 0
    asked    (q,) row numbers
    by       cosine; pearson: correlation; euclidean: 1 / (1 + distance)
    Returns  (q, n) float64 in [-1, 1]; 0 where a row has no spread
    Raises   DomainError

    >>> two = csr_array(np.array([[3.0, 4.0], [3.0, 0.0], [4.0, 3.0]]))
    >>> similarities(two, np.array([0]), "cosine").round(2)
    array([[1.  , 0.6 , 0.96]])
    >>> similarities(two, np.array([0]), "euclidean").round(2)
    array([[1.  , 0.2 , 0.41]])
    """
    if by not in SIMILARITIES:
        raise DomainError(f"similarity is one of {', '.join(SIMILARITIES)}")
    m = rows.shape[1]
    product = np.asarray((rows[asked] @ rows.T.tocsr()).toarray(), dtype=np.float64)
    norm2 = np.asarray(rows.multiply(rows).sum(axis=1), dtype=np.float64).ravel()
    if by == "euclidean":
        apart = norm2[asked][:, None] + norm2[None] - 2 * product
        near: Floats = 1.0 / (1.0 + np.sqrt(np.maximum(apart, 0.0)))
        return near
    if by == "pearson":
        mean = np.asarray(rows.sum(axis=1), dtype=np.float64).ravel() / max(m, 1)
        product -= m * np.outer(mean[asked], mean)
        norm2 = np.maximum(norm2 - m * mean * mean, 0.0)
    scale = np.sqrt(np.outer(norm2[asked], norm2))
    alike: Floats = np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)
    return np.clip(alike, -1.0, 1.0)


def mean_of_similar_users(counts: csr_array, asked: NDArray[np.integer], k: int) -> Floats:
    """Mean history of the k users of highest Pearson correlation, the user left out.

    counts   (n, m) how often each user bought each item
    Returns  (q, m) float64 >= 0
    Raises   DomainError

    >>> rows = csr_array(np.array([[2.0, 0, 0], [1.0, 0, 0], [0, 1.0, 4.0]]))
    >>> mean_of_similar_users(rows, np.array([0]), 1)
    array([[1., 0., 0.]])
    """
    require(k >= 1, "k >= 1")
    alike = similarities(counts, asked, "pearson")
    q, n = alike.shape
    alike[np.arange(q), asked] = -np.inf
    k = min(k, n - 1)
    near = np.argsort(-alike, axis=1, kind="stable")[:, :k]
    where = (np.repeat(np.arange(q), k), near.ravel())
    mean = csr_array((np.full(q * k, 1.0 / max(k, 1)), where), shape=(q, n)) @ counts
    return np.asarray(mean.toarray(), dtype=np.float64)


def scores_by(method: str, rows: csr_array, asked: NDArray[np.integer], k: int = 100) -> Floats:
    """Score every item for some users by one of `METHODS`.

    popularity             how many users hold it
    user-knn-SIMILARITY    rows of the k most similar others, each times its similarity
    mean-of-similar-users  `mean_of_similar_users`: their mean, by Pearson
    rows     (n, m) >= 0: what each user bought, counted or decayed
    Returns  (q, m) float64 >= 0
    Raises   DomainError

    >>> rows = csr_array(np.array([[1.0, 0], [2.0, 0], [0, 1.0]]))
    >>> scores_by("popularity", rows, np.array([0]))
    array([[2., 1.]])
    >>> scores_by("user-knn-cosine", rows, np.array([0]), k=1)
    array([[2., 0.]])
    """
    if method not in METHODS:
        raise DomainError(f"method is one of {', '.join(METHODS)}")
    require(k >= 1, "k >= 1")
    if method == "popularity":
        held = np.bincount(rows.indices[rows.data > 0], minlength=rows.shape[1])
        return np.tile(held.astype(np.float64), (len(asked), 1))
    if method == "mean-of-similar-users":
        return mean_of_similar_users(rows, asked, k)
    alike = np.maximum(similarities(rows, asked, method.removeprefix("user-knn-")), 0.0)
    alike[np.arange(len(asked)), asked] = 0.0
    far = np.argsort(-alike, axis=1, kind="stable")[:, k:]
    np.put_along_axis(alike, far, 0.0, axis=1)
    summed: Floats = np.asarray(alike @ rows, dtype=np.float64)
    return summed
