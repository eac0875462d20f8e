"""Popularity: what sells these days, and what wins new buyers; kept as customers' rows change."""

from typing import Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend.customer_rows import Decay, Row
from models.recommend.popularity_kernels import count_rows, swap_rows, tell_all

Floats: TypeAlias = NDArray[np.float64]

#: Half-lives of the trends: what sold in a week, a fortnight, a quarter; whom items won in a month.
HALF_LIVES_DAYS: Final = np.array([7.0, 14.0, 60.0, 30.0])
_MOST_RISEN: Final = 256


class Popularity:
    """Sums over all customers, the same after any changes of their rows but for rounding.

    To each of the first trends a customer adds an item's weight as it was on the day of the last
    purchase, decayed since; to the last one 1, decayed since the first purchase.

    trends  (items with room, 4) float64 >= 0, as of the day of the last `look`
    buyers  (items with room,) int32 customers who bought the item
    risen   columns that changed, in their sequence; another list when everything did

    >>> sold = Popularity(2, Decay(100, 60.0))
    >>> days = np.full(1, 93, dtype=np.int16)
    >>> one = Row(np.zeros(1, dtype=np.int32), np.ones(1), days, days)
    >>> sold.count(one)
    >>> sold.look(100)
    >>> sold.trends[0].round(3), sold.buyers
    (array([0.542, 0.569, 1.   , 0.851]), array([1, 0], dtype=int32))
    """

    def __init__(self, items: int, decay: Decay) -> None:
        """Begin without a customer."""
        self._decay = decay
        self._day = decay.t0_day
        self._sums = np.zeros((items, len(HALF_LIVES_DAYS)))
        self.trends = np.zeros_like(self._sums)
        self.buyers = np.zeros(items, dtype=np.int32)
        self.risen: list[int] = []
        self._since = np.ones(len(HALF_LIVES_DAYS))

    @classmethod
    def of(cls, trends: Floats) -> Self:
        """Fixed trends, (items, 4)."""
        made = cls(len(trends), Decay())
        made.trends = trends
        return made

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self._sums.nbytes + self.trends.nbytes + self.buyers.nbytes

    def widen(self, items: int) -> None:
        """Make room for more items."""
        more = items - len(self.buyers)
        if more > 0:
            none = np.zeros((more, len(HALF_LIVES_DAYS)))
            self._sums = np.concatenate((self._sums, none))
            self.trends = np.concatenate((self.trends, none))
            self.buyers = np.append(self.buyers, np.zeros(more, dtype=np.int32))

    def count(self, rows: Row) -> None:
        """Add the entries of many rows, one behind another."""
        count_rows(tuple(rows), tuple(self._decay), HALF_LIVES_DAYS, self._sums, self.buyers)
        self._retell()

    def swap(self, old: Row, new: Row) -> None:
        """Take one row of a customer away and add another."""
        changed = swap_rows(
            tuple(old), tuple(new), tuple(self._decay), HALF_LIVES_DAYS, self._sums, self.buyers,
            self._since, self.trends,
        )  # fmt: skip
        if len(changed):
            self.risen += changed.tolist()
            if len(self.risen) > _MOST_RISEN:
                self.risen = []

    def look(self, today: int) -> None:
        """Let the trends be those of a day."""
        if today != self._day:
            self._day = today
            self._retell()

    def _retell(self) -> None:
        halves = (self._decay.t0_day - self._day) / HALF_LIVES_DAYS
        self._since = np.exp2(np.clip(halves, -400, 400))
        if self._sums.any():
            tell_all(self._sums, self._since, self.trends)
            self.risen = []
