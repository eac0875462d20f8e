"""Who is nearest to a row: candidates by float32 postings, then exact scores of those alone.

The float32 sums have a known error, so that nobody who may be among the nearest is left out; the
candidates are scored in float64 from their rows. Beyond `SCAN_LIMIT` postings, and in two stages,
the most held items take no part in finding candidates: then a near customer can be missed.
"""

from __future__ import annotations

from enum import IntEnum
from math import frexp
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend import crossing_kernels, score_kernels, search_kernels
from models.recommend.index_rows import Columns, IndexRows, difference

Floats: TypeAlias = NDArray[np.float64]
Slots: TypeAlias = NDArray[np.int32]

DECIMALS = 9  # scores nearer than this are ties: rounding noise must not rank customers
#: Postings that one query may read: bounds the cost of who holds thousands of common items.
SCAN_LIMIT: Final = 20_000_000


class Similarity(IntEnum):
    """How alike two idf-weighted rows are; each in (0, 1], more is nearer.

    COSINE     of the angle between them
    PEARSON    correlation over all items, those that neither holds included; negative = not alike
    EUCLIDEAN  1 / (1 + distance)
    """

    COSINE = score_kernels.COSINE
    PEARSON = score_kernels.PEARSON
    EUCLIDEAN = score_kernels.EUCLIDEAN


class TwoStage(NamedTuple):
    """Find candidates by a row's rarer items only, for very many customers.

    skipped     share of the row's squared norm that its most held items may have and take no part:
                whoever is more alike than its root shares one of the others, by Cauchy and Schwarz
    candidates  how many are scored exactly
    """

    skipped: float = 0.02
    candidates: int = 300


class Query(NamedTuple):
    """A row that asks: items rising, idf-weighted values; and its slot, -1 if it has none."""

    slot: int
    items: Columns
    values: Floats


class Nearest:
    """Searches the rows of one index. One search at a time: it has one set of scratch arrays.

    >>> from scipy.sparse import csr_array
    >>> from models.recommend import index_base
    >>> matrix = csr_array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> from models.recommend.customer_rows import Bought, Rows
    >>> rows = Rows(matrix, Bought.always(4))
    >>> base = index_base.build(["a", "b", "c"], rows, np.ones(2), spare=1)
    >>> nearest = Nearest(IndexRows(base, np.ones(2), 1.0, items=2))
    >>> slots, scores = nearest.nearest(nearest.query(1), 2, Similarity.COSINE)
    >>> slots.tolist(), scores.round(4).tolist()
    ([0, 2], [0.7071, 0.7071])
    """

    def __init__(self, rows: IndexRows) -> None:
        self._rows = rows
        self._acc, self._place = np.zeros(0, np.float32), np.zeros(0, np.int32)
        self._fit()

    @property
    def place(self) -> NDArray[np.int32]:
        """Zeros, one an item: for whoever leaves them so."""
        self._fit()
        return self._place

    def _fit(self) -> None:
        """Size the scratch arrays to the slots and items that there are."""
        slots, items = len(self._rows.inv), len(self._rows.idf)
        if len(self._acc) == slots and len(self._place) == items:
            return
        self._acc = np.zeros(slots, dtype=np.float32)
        self._other = np.zeros(slots, dtype=np.float32)
        self._keys = np.zeros(slots, dtype=np.float32)
        self._touched = np.zeros(slots, dtype=np.int32)
        self._crossing = np.zeros(slots, dtype=np.int32)
        self._place = np.zeros(items, dtype=np.int32)

    @property
    def nbytes(self) -> int:
        """Bytes of the scratch arrays."""
        return sum(one.nbytes for one in vars(self).values() if isinstance(one, np.ndarray))

    def query(self, slot: int) -> Query:
        """The row of a slot, as it asks."""
        items, weights = self._rows.row(slot)[:2]
        return Query(slot, items, weights * self._rows.idf[items])

    def nearest(
        self, query: Query, k: int, similarity: Similarity, two_stage: TwoStage | None = None
    ) -> tuple[Slots, Floats]:
        """Slots of the k nearest, best first, equal scores by customer id; scores, rounded.

        Fewer than k where fewer have a score > 0.
        """
        if not len(query.items) or k == 0:
            return self._touched[:0], np.zeros(0)
        scaled, exponent, found = self._scan(query, two_stage)
        wanted = k if two_stage is None else max(k, two_stage.candidates)
        slots = self._select(query, scaled, exponent, found, wanted, similarity)
        scores = self._score(query, slots, similarity)
        return self._rank(slots, scores, k)

    def cosines(self, slot: int, k: int, two_stage: TwoStage | None = None) -> tuple[Slots, Floats]:
        """`nearest` of a slot by cosine, in one compiled call where that can tell."""
        rows = self._rows
        if slot < 0 or k == 0:
            return self._touched[:0], np.zeros(0)
        self._fit()
        slots, scores = np.empty(k, dtype=np.int32), np.empty(k)
        found = search_kernels.nearest_cosines(
            slot, (0.0, 0) if two_stage is None else tuple(two_stage), SCAN_LIMIT,
            (rows.base_postings, rows.overlay.postings),
            rows.inv, (rows.base_rows, rows.overlay.rows), rows.norm, rows.idf, rows.late_places,
            (self._acc, self._touched, self._keys, self._place), slots, scores,
        )  # fmt: skip
        if found < 0:
            return self.nearest(self.query(slot), k, Similarity.COSINE, two_stage)
        return slots[:found], scores[:found]

    def crossed(self, query: Query, old: tuple[Columns, Floats]) -> Slots:
        """Slots whose list the query's owner enters or leaves, now that the row is no longer `old`.

        A list is known by its threshold, the cosine of its last; who has none is left out.
        old  items, rising, and raw weights of the row before
        """
        before = old[0], old[1] * self._rows.idf[old[0]]
        items, was, now = difference(before, (query.items, query.values))
        if not len(items):
            return self._crossing[:0]
        scaled, exponent, found = (
            self._scan(query, None) if len(query.items) else (query.values, 0, 0)
        )
        earlier = np.ldexp(before[1], -exponent)
        norms = np.zeros(2)
        norms[0] = 1 / np.sqrt(scaled @ scaled) if len(scaled) else 0.0
        norms[1] = 1 / np.sqrt(earlier @ earlier) if len(earlier) else 0.0
        change = items, np.ldexp(was - now, -exponent).astype(np.float32)
        rows = self._rows
        count = crossing_kernels.moved(
            change, self._acc, self._touched, found, query.slot, norms, rows.inv, rows.threshold,
            rows.base_postings, rows.overlay.postings, self._other, self._crossing,
        )  # fmt: skip
        self._acc[self._touched[:found]] = 0
        return self._crossing[:count]

    def _scan(self, query: Query, two_stage: TwoStage | None) -> tuple[Floats, int, int]:
        """Sum the postings of the query's items into `_acc`.

        Returns  the query's values over a power of two, that power, how many slots were touched
        """
        rows = self._rows
        self._fit()
        exponent = frexp(float(query.values.max()))[1]
        scaled = np.ldexp(query.values, -exponent)
        items, values = query.items, scaled.astype(np.float32)
        held = self._held(items)
        if two_stage is not None:
            common = np.argsort(-held, kind="stable")
            share = np.cumsum(scaled[common] ** 2) / (scaled @ scaled)
            rest = common[np.count_nonzero(share <= two_stage.skipped) :]
            items, values, held = items[rest], values[rest], held[rest]
        if held.sum() > SCAN_LIMIT:
            order = np.argsort(held, kind="stable")
            order = order[: max(1, int(np.searchsorted(np.cumsum(held[order]), SCAN_LIMIT)))]
            items, values = items[order], values[order]
        found = search_kernels.accumulate(
            items, values, rows.base_postings, rows.overlay.postings, self._acc, self._touched
        )
        return scaled, exponent, found

    def _held(self, items: Columns) -> NDArray[np.int64]:
        """How long the postings of items are."""
        start = self._rows.base.post_start
        held: NDArray[np.int64] = self._rows.overlay.postings[1][items].astype(np.int64)
        known = int(np.searchsorted(items, len(start) - 1))  # items rise: later ones are newer
        held[:known] += start[items[:known] + 1] - start[items[:known]]
        return held

    def _select(
        self, query: Query, scaled: Floats, exponent: int, found: int, k: int, by: Similarity
    ) -> Slots:
        """Slots that may be among the k nearest; zeroes `_acc`."""
        rows = self._rows
        slack = search_kernels.relative_error(len(query.items))
        own2 = float(scaled @ scaled)
        common: tuple[Any, ...] = self._acc, self._touched, found, query.slot, rows.inv
        if by is Similarity.COSINE:
            kept = search_kernels.select_cosine(*common, k, slack, self._keys)
        elif by is Similarity.PEARSON:
            own_inv, own1 = 1 / np.sqrt(own2), float(scaled.sum())
            count = max(1, self.items)
            kept = search_kernels.select_centered(
                *common, rows.total, own1, own_inv, count, np.zeros(k), slack
            )
        else:
            norm2 = float(query.values @ query.values)
            kept = search_kernels.select_near(
                self._acc,
                self._touched,
                query.slot,
                rows.inv,
                rows.exponent,
                norm2,
                exponent,
                np.zeros(k),
                slack,
            )
        return self._touched[:kept]

    def _score(self, query: Query, slots: Slots, by: Similarity) -> Floats:
        rows, scores = self._rows, np.zeros(len(slots))
        if by is Similarity.COSINE:
            unit = query.values / rows.norm[query.slot]
            score_kernels.cosines(
                slots, query.items, unit, self._place, rows.idf, rows.norm, rows.base_rows,
                rows.overlay.rows, scores,
            )  # fmt: skip
            return np.minimum(scores.round(DECIMALS), 1.0)
        score_kernels.rescore(
            slots, int(by), query.items, query.values, max(1, self.items), self._place, rows.idf,
            rows.base_rows, rows.overlay.rows, scores,
        )  # fmt: skip
        return np.minimum(scores.round(DECIMALS), 1.0)

    #: Number of items that there are, for Pearson; the owner of the rows keeps it.
    items = 0

    def _rank(self, slots: Slots, scores: Floats, k: int) -> tuple[Slots, Floats]:
        """The k best, ties by customer id. Base slots are in the sequence of ids."""
        if len(scores) > k:
            least = np.partition(scores, len(scores) - k)[len(scores) - k]
            better, equal = slots[scores > least], slots[scores == least]
            base = len(self._rows.base.ids)
            early = np.sort(equal[equal < base])[:k]
            chosen = np.concatenate((better, early, equal[equal >= base]))
            scores = np.concatenate(
                (scores[scores > least], np.full(len(chosen) - len(better), least))
            )
            slots = chosen
        places = self._rows.places(slots)
        order = np.lexsort((places, -scores))[:k]
        order = order[: np.count_nonzero(scores[order] > 0)]
        slots, scores, places = slots[order], scores[order], places[order]
        if ((np.diff(scores) == 0) & (np.diff(places) == 0)).any():  # new ones between the same two
            names = self._rows.names(slots)
            order = np.array(sorted(range(len(slots)), key=lambda i: (-scores[i], names[i])))
            slots, scores = slots[order], scores[order]
        return slots, scores
