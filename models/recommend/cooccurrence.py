"""Item co-occurrence: of every item the items that the same customers hold."""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from models.checks import ShapeError, require
from models.recommend.links import Links

Floats: TypeAlias = NDArray[np.float64]

K_COMPANIONS: Final = 30
_BLOCK: Final = 256  # items at once: bounds the memory of the products
_MOST_HOLDERS: Final = 20_000  # customers that are asked, evenly spread over all


def fit_companions(rows: csr_array, k: int = K_COMPANIONS) -> Links:
    """Link each item with the k items of highest cosine of their holders.

    rows     (n, m), an entry > 0 = the customer holds the item; with very many customers a part
             that is evenly spread stands for all
    Returns  best first within an item, equal scores by rising column; the item itself is left out
    Raises   ShapeError, DomainError
    Source   Sarwar et al. (2001), "Item-based collaborative filtering", WWW10

    >>> links = fit_companions(csr_array(np.array([[1.0, 1.0], [1.0, 0.0]])))
    >>> links.columns, links.scores.round(4)
    (array([1, 0], dtype=int32), array([0.7071, 0.7071]))
    """
    if rows.ndim != 2:
        raise ShapeError(f"rows {rows.shape}")
    require(k >= 1, "k >= 1")
    step = -(-rows.shape[0] // _MOST_HOLDERS) or 1
    held = csr_array(rows[::step], dtype=np.float64, copy=True)
    held.eliminate_zeros()
    held.data[:] = 1.0
    holders = np.bincount(held.indices, minlength=rows.shape[1])
    unit = csr_array(held @ diags_array(1.0 / np.sqrt(np.maximum(holders, 1))))
    by_item = csr_array(unit.T)
    parts: list[tuple[NDArray[np.int32], Floats]] = []
    lengths = [0]
    for start in range(0, rows.shape[1], _BLOCK):
        both = csr_array(by_item[start : start + _BLOCK] @ unit)
        for row in range(both.shape[0]):
            span = slice(both.indptr[row], both.indptr[row + 1])
            columns, scores = both.indices[span], both.data[span]
            other = columns != start + row
            columns, scores = columns[other], scores[other]
            if len(scores) > k:
                near = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
                columns, scores = columns[near], scores[near]
            best = np.lexsort((columns, -scores))[:k]
            parts.append((columns[best].astype(np.int32), scores[best]))
            lengths.append(len(best))
    return Links(
        np.cumsum(np.array(lengths, dtype=np.int64)),
        np.concatenate([np.zeros(0, dtype=np.int32), *(part[0] for part in parts)]),
        np.concatenate([np.zeros(0), *(part[1] for part in parts)]),
    )
