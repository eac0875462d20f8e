"""What all kinds of model are fitted on: every profile, cut at one instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from models.history import Histories
from models.recommend.filters import Attributes
from worker.live import Live
from worker.profile.codec import CodecError
from worker.refresh_rules import RefreshRules
from worker.store.models import TooFewError
from worker.store.population import Population, Watermark
from worker.telemetry import logger
from worker.training.memory import Guard
from worker.views import Calendar, View, histories, priced, view

log = logger(__name__)

#: (stage, part done from 0 to 1); raises to end the training
Progress = Callable[[str, float], None]


NO_CATALOG: Final[Mapping[str, Attributes]] = MappingProxyType({})


class TrainingData(NamedTuple):
    """What was known at one instant.

    at_s        nothing later counts
    today       the day of at_s
    views       all customers
    past        their purchase days, in the same order
    live        the models that speak now
    catalog     what is known of items
    watermarks  where each shard stood before it was read
    tell        hears what part of a fit is done, 0 to 1; raises to end it
    next_segment_id  the first that no version has given
    """

    at_s: int
    today: int
    views: list[View]
    past: Histories
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
    """Read every profile as of an instant.

    Raises TooFewError below `rules.min_customers` buyers, MemoryShortError, and what `progress`
    raises.
    """
    calendar = Calendar(rules.time_zone)
    views, marks, guard = [], [], Guard()
    for shard in range(population.shards):
        progress("read profiles", shard / population.shards)
        guard.look(shard / population.shards)
        marks.append(population.watermark(shard))
        for resident in population.residents(shard):
            try:
                views.append(view(resident.customer_id, resident.hot, resident.cold, at_s))
            except CodecError as error:
                log.warning("profile cannot be read", shard=shard, reason=str(error))
    views = priced(views, calendar, rules.exchange())
    past = histories(views, calendar, rules.currency)
    today = calendar.day(at_s)
    data = TrainingData(
        at_s, today, views, past, calendar, rules, discount_rate_year, live,
        watermarks=tuple(marks),
    )  # fmt: skip
    if data.buyers < rules.min_customers:
        raise TooFewError(f"{data.buyers} customers have bought; models need {rules.min_customers}")
    return data
