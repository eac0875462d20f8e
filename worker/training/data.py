"""What all kinds of model are fitted on: every profile, cut at one instant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.history import Histories
from models.recommend.filters import Attributes
from models.recommend.interactions import Interactions
from worker.live import Live
from worker.profile.codec import CodecError
from worker.refresh_rules import RefreshRules
from worker.store.models import TooFewError
from worker.store.population import Population, Resident, Watermark
from worker.telemetry import logger
from worker.training.columns import Reader
from worker.training.memory import Guard
from worker.views import Calendar, View, view

log = logger(__name__)

#: (stage, part done from 0 to 1); raises to end the training
Progress = Callable[[str, float], None]


#: Profiles that are held at once.
AT_ONCE: Final = 2_000
NO_CATALOG: Final[Mapping[str, Attributes]] = MappingProxyType({})


class TrainingData(NamedTuple):
    """What was known at one instant.

    at_s        nothing later counts
    today       the day of at_s
    past        purchase days of all customers
    key         (n,) uint64 hash of each customer's id, in the same order
    bought      their interactions, by column of `items`
    orders      how many were counted
    live        the models that speak now
    catalog     what is known of items
    watermarks  where each shard stood before it was read
    tell        hears what part of a fit is done, 0 to 1; raises to end it
    next_segment_id  the first that no version has given
    """

    at_s: int
    today: int
    past: Histories
    key: NDArray[np.uint64]
    bought: Interactions
    items: Sequence[str]
    orders: int
    calendar: Calendar
    rules: RefreshRules
    discount_rate_year: float
    live: Live
    catalog: Mapping[str, Attributes] = NO_CATALOG
    watermarks: tuple[Watermark, ...] = ()
    tell: Callable[[float], None] = lambda _: None
    next_segment_id: int = 1

    @property
    def buyers(self) -> int:
        """How many customers have bought."""
        return int((np.diff(self.past.starts) > 0).sum())


def collect(
    population: Population,
    live: Live,
    rules: RefreshRules,
    at_s: int,
    progress: Progress,
    *,
    discount_rate_year: float,
) -> TrainingData:
    """Read every profile as of an instant; some at a time, so that only arrays are held.

    Raises TooFewError below `rules.min_customers` buyers, MemoryShortError, and what `progress`
    raises.
    """
    reader, marks, guard = Reader(rules), [], Guard()
    for shard in range(population.shards):
        progress("read profiles", shard / population.shards)
        guard.look(shard / population.shards)
        marks.append(population.watermark(shard))
        residents = population.residents(shard)
        while some := list(islice(residents, AT_ONCE)):
            reader.take(_views(some, shard, at_s))
    calendar, found = Calendar(rules.time_zone), reader.columns()
    data = TrainingData(
        at_s, calendar.day(at_s), found.past, found.key, found.bought, found.items, found.orders,
        calendar, rules, discount_rate_year, live, watermarks=tuple(marks),
    )  # fmt: skip
    if data.buyers < rules.min_customers:
        raise TooFewError(f"{data.buyers} customers have bought; models need {rules.min_customers}")
    return data


def _views(residents: Iterable[Resident], shard: int, at_s: int) -> list[View]:
    found = []
    for one in residents:
        try:
            found.append(view(one.customer_id, one.hot, one.cold, at_s))
        except CodecError as error:
            log.warning("profile cannot be read", shard=shard, reason=str(error))
    return found
