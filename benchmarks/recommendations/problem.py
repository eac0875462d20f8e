"""One slice as arrays: what every method is given, and what it is judged by."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array

from benchmarks.recommendations.data import Slice

Matrix = csr_array
MODES = ("any", "new", "again")


class Problem:
    """Customers and items of the train part as indices.

    user, item, day, from_end  (e,) one interaction per user, basket and item; `from_end` counts
                               the user's baskets from the last, which is 0
    judged                     users with truth
    """

    def __init__(self, part: Slice, text: dict[str, str], min_buyers: int) -> None:
        train = part.train
        buyers = train.groupby("item").user.nunique()
        self.item_ids = np.sort(np.array(buyers[buyers >= min_buyers].index.tolist()))
        item_at = pd.Series(np.arange(len(self.item_ids)), index=self.item_ids)
        train = train[train["item"].isin(item_at.index)]
        self.user_ids = np.sort(train.user.unique())
        user_at = pd.Series(np.arange(len(self.user_ids)), index=self.user_ids)
        self.users, self.items = len(self.user_ids), len(self.item_ids)
        self.user = user_at[train.user].to_numpy()
        self.item = item_at[train["item"]].to_numpy()
        self.day = train.day.to_numpy(dtype=np.float64)
        self.basket = train.basket.to_numpy()
        self.from_end, self.baskets = self._count_from_end()
        self.last_day = np.full(self.users, -np.inf)
        np.maximum.at(self.last_day, self.user, self.day)
        self.end = float(self.day.max())
        truth = part.truth
        truth = truth[truth["item"].isin(item_at.index) & truth.user.isin(user_at.index)]
        truth = truth[["user", "item"]].drop_duplicates()
        self.truth = self._rows(
            user_at[truth.user].to_numpy(), item_at[truth["item"]].to_numpy(), 1.0
        )
        self.judged = np.flatnonzero(np.diff(self.truth.indptr) > 0)
        self.text = [text.get(str(one), "") for one in self.item_ids.tolist()]
        self.counts = self._rows(self.user, self.item, 1.0)
        self.held = self.counts.copy()
        self.held.data[:] = 1.0
        self.decayed = lru_cache(maxsize=12)(self._decayed)

    def _count_from_end(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pairs = pd.DataFrame({"user": self.user, "basket": self.basket})
        each = pairs.drop_duplicates().sort_values(["user", "basket"])
        each["from_end"] = each.groupby("user").cumcount(ascending=False)
        count = each.groupby("user").size().reindex(range(self.users), fill_value=0)
        merged = pairs.merge(each, on=["user", "basket"], how="left")
        return merged.from_end.to_numpy(), count.to_numpy()

    def _rows(
        self, user: NDArray[np.int64], item: NDArray[np.int64], weight: float | NDArray[np.float64]
    ) -> Matrix:
        values = np.broadcast_to(np.asarray(weight, dtype=np.float32), user.shape)
        rows = csr_array((values, (user, item)), shape=(self.users, self.items))
        rows.sum_duplicates()
        return rows

    def weighted(self, weight: NDArray[np.float64]) -> Matrix:
        """User x item sums of a weight per interaction."""
        rows = self._rows(self.user, self.item, weight)
        rows.eliminate_zeros()
        return rows

    def _decayed(
        self,
        half_life: float | None = None,
        rate: float | None = None,
        last: int | None = None,
        *,
        shared_clock: bool = False,
    ) -> Matrix:
        """Weights by age in days since the user's own last one, or by baskets since then."""
        weight = np.ones(len(self.user))
        if half_life is not None:
            now = self.end if shared_clock else self.last_day[self.user]
            weight *= 0.5 ** ((now - self.day) / half_life)
        if rate is not None:
            weight *= rate**self.from_end
        if last is not None:
            weight *= self.from_end < last
        return self.weighted(weight)

    def sample(self, most: int, seed: int = 5) -> NDArray[np.int64]:
        """At most so many of the judged users."""
        if len(self.judged) <= most:
            return self.judged
        return np.sort(np.random.RandomState(seed).choice(self.judged, most, replace=False))


def candidates(problem: Problem, users: NDArray[np.int64], mode: str) -> tuple[Matrix, Matrix]:
    """The truth of a mode, and the items that are in ("again") or out ("new") of the candidates."""
    truth, held = problem.truth[users], problem.held[users]
    if mode == "any":
        return truth, held
    again = csr_array(truth.multiply(held))
    again.eliminate_zeros()
    if mode == "again":
        return again, held
    fresh = csr_array(truth - again)
    fresh.eliminate_zeros()
    return fresh, held
