"""What versions are compared on: ledgers of a uniform sample, cut at any instant that is asked for.

Whoever compares cuts them, not the version: what a version was fitted on plays no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import numpy as np

from models.history import Histories
from models.recommend.filters import Attributes
from worker.refresh_rules import RefreshRules
from worker.store.population import Population, Resident
from worker.training.data import NO_CATALOG
from worker.training.sample import cut_at, drawn
from worker.views import DAY_S, Calendar, View, histories, priced

#: So many customers tell one version from another; what it costs does not grow beyond.
SIZE: Final = 6_000
#: Of a day's begin, which is at most so far from that of UTC.
_FAR_S: Final = 15 * 3_600
_QUARTER_S: Final = 900


class Evidence:
    """The same customers, in the same sequence, as of any day.

    today  the day of the instant that versions are compared at; windows end before it
    """

    def __init__(
        self,
        residents: Iterable[Resident],
        rules: RefreshRules,
        at_s: int,
        catalog: Mapping[str, Attributes] = NO_CATALOG,
    ) -> None:
        self._residents = tuple(residents)
        self._rates = rules.exchange()
        self.rules = rules
        self.calendar = Calendar(rules.time_zone)
        self.catalog = catalog
        self.today = self.calendar.day(at_s)
        self.seed = at_s % 2**32
        views = self._views(at_s)
        self._ids = [one.customer_id for one in views]
        self.now = histories(views, self.calendar, rules.currency)
        self.past = lru_cache(maxsize=16)(self._before)

    @property
    def customer_ids(self) -> list[str]:
        """Who they are."""
        return self._ids

    def views(self, day: int) -> list[View]:
        """Everybody as the ledgers stood when a day began."""
        return self._views(begin_s(self.calendar, day))

    def _before(self, day: int) -> Histories:
        return self._past(begin_s(self.calendar, day))

    def _past(self, at_s: int) -> Histories:
        return histories(self._views(at_s), self.calendar, self.rules.currency)

    def _views(self, at_s: int) -> list[View]:
        return priced(cut_at(self._residents, at_s), self.calendar, self._rates)


def gather(
    population: Population,
    rules: RefreshRules,
    at_s: int,
    catalog: Mapping[str, Attributes] = NO_CATALOG,
    *,
    size: int = SIZE,
) -> Evidence:
    """Read the profiles of a sample: the same customers, as long as there are no others."""
    return Evidence(drawn(population, size, np.random.default_rng(0)), rules, at_s, catalog)


def begin_s(calendar: Calendar, day: int) -> int:
    """The first instant of a day, Unix s.

    >>> begin_s(Calendar("Asia/Shanghai"), 1)
    57600
    """
    at_s = day * DAY_S - _FAR_S
    while calendar.day(at_s) < day:  # offsets change on quarter hours
        at_s += _QUARTER_S
    return at_s
