"""What the buyers of an item bought too, counted from the rows of the neighbor index."""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend.index_rows import Columns, IndexRows
from models.recommend.popularity import Popularity
from models.recommend.together_kernels import best_of, bought_with

Floats: TypeAlias = NDArray[np.float64]

#: Holders of an item that are asked, evenly spread over all: bounds its cost.
MOST_HOLDERS: Final = 2_000


class Items(NamedTuple):
    """Items with a score, in any sequence unless said otherwise.

    columns  (c,) int32 distinct
    scores   (c,) float64 > 0
    holders  (c,) int32 how many of the asked customers bought it
    """

    columns: Columns
    scores: Floats
    holders: NDArray[np.int32]


class BoughtTogether:
    """Counts for one index: rows and buyers are as they are when it is asked.

    >>> from scipy.sparse import csr_array
    >>> from models.recommend import index_base
    >>> from models.recommend.customer_rows import Bought, Decay, Row, Rows
    >>> rows = Rows(csr_array([[1.0, 1.0], [1.0, 0.0]]), Bought.always(3))
    >>> base = index_base.build(["a", "b"], rows, np.ones(2), spare=0)
    >>> sold = Popularity(2, Decay())
    >>> sold.count(Row(base.row_item, base.row_weight, base.row_first, base.row_last))
    >>> counted = BoughtTogether(IndexRows(base, np.ones(2), 1.0, items=2), sold)
    >>> counted.best(0, 5)[1].round(4)
    array([0.7071])
    """

    def __init__(self, rows: IndexRows, popularity: Popularity) -> None:
        self._rows = rows
        self._popularity = popularity
        self._both = self._touched = np.zeros(0, dtype=np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of the scratch arrays."""
        return self._both.nbytes + self._touched.nbytes

    def goes_with(self, columns: Sequence[int], count: int) -> Items:
        """What goes well with distinct items, which are left out; best first, ties by column."""
        total: dict[int, float] = {}
        holders: dict[int, int] = {}
        for column in columns:
            others, scores, both = self.of(column)
            told = zip(others.tolist(), scores.tolist(), both.tolist(), strict=True)
            for other, score, shared in told:
                total[other] = total.get(other, 0.0) + score
                holders[other] = holders.get(other, 0) + shared
        for column in columns:
            total.pop(column, None)
        best = sorted(total, key=lambda one: (-total[one], one))[:count]
        return Items(
            np.array(best, dtype=np.int32),
            np.array([total[one] for one in best], dtype=np.float64),
            np.array([holders[one] for one in best], dtype=np.int32),
        )

    def best(self, column: int, count: int) -> tuple[Columns, Floats]:
        """The items of the highest cosine of their buyers with an item's, ties by column."""
        others, scores, _ = self.of(column)
        columns, best = best_of(others, scores, count)
        return columns, best

    def of(self, column: int) -> tuple[Columns, Floats, NDArray[np.int64]]:
        """What the buyers of an item bought too: items, cosines, by how many."""
        rows, buyers = self._rows, self._popularity.buyers
        if len(self._both) != len(rows.idf):
            self._both, self._touched = np.zeros((2, len(rows.idf)), dtype=np.int32)
        others, scores, shared = bought_with(
            column, MOST_HOLDERS, rows.inv, (rows.base_postings, rows.overlay.postings),
            (rows.base_rows, rows.overlay.rows), buyers, self._both, self._touched,
        )  # fmt: skip
        return others, scores, shared
