"""The interaction index of a process: every customer's weighted row, kept current by deltas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from models.recommend.interactions import Interactions, ItemTable, decay, interaction_matrix
from models.recommend.neighbors import NeighborIndex
from models.recommend.recommender import Recommender
from worker.profile.codec import CodecError
from worker.store.population import Population, Resident, Watermark
from worker.telemetry import logger
from worker.views import Calendar, View, interactions, view

log = logger(__name__)


class InteractionIndex:
    """Built from all profiles when it is first needed, then one row per changed customer.

    Deltas tell which customers changed; their rows are read from the profiles themselves, so that
    to apply a delta twice, or late, changes nothing.
    """

    def __init__(self, population: Population, time_zone: str) -> None:
        self._population = population
        self._calendar = Calendar(time_zone)
        self._neighbors: NeighborIndex | None = None
        self._recommender: Recommender | None = None
        self._marks: list[Watermark] = []

    def use(self, recommender: Recommender) -> NeighborIndex:
        """The index under a recommender's weights; built anew when another one is live."""
        if self._neighbors is None or self._recommender is not recommender:
            self._recommender = recommender
            self._marks = [self._population.watermark(s) for s in range(self._population.shards)]
            views = [
                one
                for shard in range(self._population.shards)
                for one in _views(self._population.residents(shard))
            ]
            self._neighbors = build(views, recommender, self._calendar)
        return self._neighbors

    @property
    def recommender(self) -> Recommender | None:
        """The recommender whose weights the rows have."""
        return self._recommender

    def put(self, one: View) -> None:
        """Set a customer's row from a view just read."""
        if self._neighbors is not None and self._recommender is not None:
            self._neighbors.update(one.customer_id, *row(one, self._recommender, self._calendar))

    def follow(self) -> int:
        """Apply the deltas of all shards; how many customers' rows were read."""
        if self._neighbors is None:
            return 0
        changed = 0
        for at, found in enumerate(self._population.deltas(self._marks)):
            shard = self._marks[at].shard
            if found is None:
                self._marks[at] = self._population.watermark(shard)
                changed += self._reread(self._population.residents(shard))
            elif found:
                ids = sorted({customer for one in found for customer, _ in one.customers})
                changed += self._reread(self._population.read(shard, ids))
                self._marks[at] = self._marks[at]._replace(delta=found[-1].id)
        return changed

    def _reread(self, residents: Iterable[Resident]) -> int:
        views = list(_views(residents))
        for one in views:
            self.put(one)
        return len(views)


def row(one: View, recommender: Recommender, calendar: Calendar) -> tuple[list[str], list[float]]:
    """A customer's interactions as item ids and decayed weights."""
    found = interactions(one, calendar)
    days = list({day for _, day, _ in found})
    factors = decay(np.array(days), recommender.t0_day, recommender.half_life_days).tolist()
    factor = dict(zip(days, factors, strict=True))
    total: dict[str, float] = {}
    for item, day, weight in found:
        total[item] = total.get(item, 0.0) + weight * factor[day]
    return list(total), list(total.values())


def triplets(views: Sequence[View], items: ItemTable, calendar: Calendar) -> Interactions:
    """The interactions of many customers as index arrays; new items join the table."""
    customer, item, day, weight = [], [], [], []
    for index, one in enumerate(views):
        for item_id, at_day, event_weight in interactions(one, calendar):
            customer.append(index)
            item.append(items.add(item_id))
            day.append(at_day)
            weight.append(event_weight)
    return Interactions(
        np.array(customer, dtype=np.int64),
        np.array(item, dtype=np.int64),
        np.array(day, dtype=np.int64),
        np.array(weight, dtype=np.float64),
    )


def build(views: Sequence[View], recommender: Recommender, calendar: Calendar) -> NeighborIndex:
    """An index over many customers; items unknown to the recommender count as its rarest."""
    items = ItemTable(recommender.items)
    found = triplets(views, items, calendar)
    matrix = interaction_matrix(
        found, len(views), len(items),
        t0_day=recommender.t0_day, half_life_days=recommender.half_life_days,
    )  # fmt: skip
    unseen = float(recommender.idf.max(initial=1.0))
    idf = np.full(len(items), unseen)
    idf[: len(recommender.items)] = recommender.idf
    ids = [one.customer_id for one in views]
    return NeighborIndex.build(ids, items, matrix, idf, idf_unseen=unseen)


def _views(residents: Iterable[Resident]) -> Iterator[View]:
    for resident in residents:
        try:
            yield view(resident.customer_id, resident.hot, resident.cold)
        except CodecError as error:  # one damaged profile must not keep all others from an index
            log.warning("profile cannot be read", reason=str(error))
