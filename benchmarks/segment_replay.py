"""A shop's customers day by day, and what a full refit would find on a day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.cluster import KMeans

from benchmarks.segment_shops import Shop
from models.features import feature_matrix, fit_features
from models.history import cut
from models.segments.fit import fit_matrix

CHECK_DAYS = 28


class Day(NamedTuple):
    """Customers who had bought before a day began."""

    who: np.ndarray
    table: np.ndarray
    points: np.ndarray
    active: np.ndarray


class Replay:
    """Features of a shop's customers, day by day, on the scale of the first day's model."""

    def __init__(self, shop: Shop, features: str, k: int, days: int) -> None:
        self.shop = shop
        known = cut(shop.past, shop.start)
        self.features = fit_features(features, known, shop.start)
        self.k = k
        table = self._table(shop.start)[1]
        self.model = fit_matrix(table, self.features, rng=np.random.default_rng(0), k=k)
        self.days = min(days, shop.days - shop.start - 1)
        self.rows = [self._day(shop.start + day) for day in range(self.days + 1)]

    def _table(self, today: int) -> tuple[np.ndarray, np.ndarray]:
        table = feature_matrix(self.features, cut(self.shop.past, today), today)
        who = np.flatnonzero(table[:, 1] > 0)
        return who, table[who]

    def _day(self, today: int) -> Day:
        who, table = self._table(today)
        customer = np.repeat(
            np.arange(len(self.shop.past.starts) - 1), np.diff(self.shop.past.starts)
        )
        bought = customer[self.shop.past.day == today - 1]
        return Day(who, table, self.model.points(table), np.flatnonzero(np.isin(who, bought)))

    @property
    def checks(self) -> list[int]:
        """Days on which everything is compared with a refit."""
        return [*range(CHECK_DAYS, self.days, CHECK_DAYS), self.days]

    def references(self) -> dict[int, Sequence[Any]]:
        """Centers and inertia of the better of a cold and a warm refit on each check day."""
        live = self.model.geometry.centers
        found = {}
        for day in self.checks:
            *found[day], live = refit(self.rows[day].points, live, day)
        return found


def refit(points: np.ndarray, live: np.ndarray, seed: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Centers and inertia of the better of a cold and a warm refit, and centers of the warm one."""
    cold = KMeans(len(live), n_init=10, random_state=seed).fit(points)
    warm = KMeans(len(live), init=live, n_init=1).fit(points)
    best = min(cold, warm, key=lambda one: one.inertia_)
    return best.cluster_centers_, best.inertia_ / len(points), warm.cluster_centers_
