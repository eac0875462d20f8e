"""Profiles as the arrays that fits read: a profile is let go as soon as its rows are taken."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.history import Histories, joined
from models.recommend.filters import ServiceItems
from models.recommend.interactions import Interactions, ItemTable
from worker.index import triplets
from worker.refresh_rules import RefreshRules
from worker.views import Calendar, View, histories, priced


class Columns(NamedTuple):
    """What is known of n customers.

    key     (n,) uint64 hash of each customer's id
    past    their purchase days
    bought  their interactions with items, by column of `items`
    items   ids
    orders  how many were counted
    """

    key: NDArray[np.uint64]
    past: Histories
    bought: Interactions
    items: Sequence[str]
    orders: int


class Reader:
    """Takes customers some at a time, in any sequence."""

    def __init__(self, rules: RefreshRules) -> None:
        self._calendar = Calendar(rules.time_zone)
        self._currency = rules.currency
        self._rates = rules.exchange()
        self._services = ServiceItems(rules.service_items)
        self._items = ItemTable()
        self._parts: list[Columns] = []
        self._count = 0

    def take(self, views: Sequence[View]) -> None:
        """Some more customers, as they were at the instant of all."""
        told = priced(views, self._calendar, self._rates)
        bought = triplets(told, self._items, self._calendar, self._services)
        key = np.array([zlib.crc32(one.customer_id.encode()) for one in told], dtype=np.uint64)
        self._parts.append(
            Columns(
                key,
                histories(told, self._calendar, self._currency),
                bought._replace(customer=bought.customer + self._count),
                (),
                sum(len(one.orders) for one in told),
            )
        )
        self._count += len(told)

    def columns(self) -> Columns:
        """All that were taken, in their sequence."""
        if not self._parts:
            self.take(())
        parts = self._parts
        bought = zip(*(one.bought for one in parts), strict=True)
        return Columns(
            np.concatenate([one.key for one in parts]),
            joined([one.past for one in parts]),
            Interactions(*map(np.concatenate, bought)),
            self._items.ids,
            sum(one.orders for one in parts),
        )
