"""Item co-occurrence: of every item the items that the same customers buy; kept as they buy."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from models.checks import ShapeError, require
from models.recommend.cooccurrence_kernels import most_changed, patch
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


#: An item's companions stay as they were counted while its buyers change by no larger share.
STALE_SHARE: Final = 0.2

Counter: TypeAlias = Callable[[int], tuple[NDArray[np.int32], Floats]]


class Companions:
    """Links of a fit, and those of items that sold since: counted anew when they are asked for.

    What is counted anew for one item is told to its companions too, since cosines have no
    direction: so an item that nobody knew is found from what it was bought with.

    >>> links = Links(np.array([0, 0, 0]), np.zeros(0, np.int32), np.zeros(0))
    >>> known = Companions(links, np.zeros(2, dtype=np.int32))
    >>> both = np.array([1], dtype=np.int32), np.array([0.5])
    >>> known.renew(np.array([0]), np.array([1, 1]), lambda column: both)
    >>> known.of(0), known.of(1)
    (([1], [0.5]), ([0], [0.5]))
    """

    def __init__(self, links: Links, buyers: NDArray[np.int32]) -> None:
        """Begin with the links of a fit, and how many bought each item then."""
        self._links = links
        self._counted = buyers.astype(np.int64)
        self._place = np.full(len(buyers), -1, dtype=np.int32)
        self._late = 0
        self._width = max(K_COMPANIONS, int(np.diff(links.starts).max(initial=0)))
        self._pool = self._empty(64)

    def _empty(self, rows: int) -> tuple[NDArray[np.int32], Floats, NDArray[np.int32]]:
        shape = rows, self._width
        return np.zeros(shape, np.int32), np.zeros(shape), np.zeros(rows, np.int32)

    def _make_room(self, rows: int) -> None:
        kept = slice(0, self._late)
        columns, scores, lengths = self._empty(rows)
        columns[kept], scores[kept], lengths[kept] = (one[kept] for one in self._pool)
        self._pool = columns, scores, lengths

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept beside the links of the fit."""
        return sum(one.nbytes for one in (*self._pool, self._place, self._counted))

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Links as kernels take them: starts, columns, scores; place of late rows (-1 = none), and
        their columns, scores and lengths.
        """
        return *self._links, self._place, *self._pool

    def of(self, column: int) -> tuple[list[int], list[float]]:
        """The companions of an item, and their scores."""
        place = int(self._place[column]) if column < len(self._place) else -1
        if place >= 0:
            columns, scores = self._pool[0][place], self._pool[1][place]
            span = slice(0, int(self._pool[2][place]))
        elif column < len(self._links.starts) - 1:
            _, columns, scores = self._links
            span = slice(*self._links.starts[column : column + 2].tolist())
        else:
            return [], []
        return columns[span].tolist(), scores[span].tolist()

    def renew(
        self, columns: NDArray[np.integer], buyers: NDArray[np.integer], count: Counter
    ) -> None:
        """Count that item anew whose buyers differ most from those that were counted, if they do.

        columns  distinct items of one customer; the others' turns come with the next asking
        buyers   one an item, as they are now
        count    companions of an item and their cosines, best first
        """
        more = len(buyers) - len(self._counted)
        if more > 0:
            self._counted = np.append(self._counted, np.zeros(more, dtype=np.int64))
            self._place = np.append(self._place, np.full(more, -1, dtype=np.int32))
        column = most_changed(columns, buyers, self._counted, STALE_SHARE)
        if column < 0:
            return
        others, scores = count(column)
        if self._late + len(others) + 1 > len(self._pool[2]):
            self._make_room(2 * (self._late + len(others) + 1))
        self._late = patch(
            column, others[: self._width], scores, tuple(self._links), self._place, self._pool,
            self._late,
        )  # fmt: skip
        self._counted[column] = buyers[column]
