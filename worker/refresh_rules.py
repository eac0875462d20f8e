"""What refreshing and training depend on besides profiles and models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from integrations.material import DeadBands
from worker.currencies import Rates
from worker.feedback import NO_HOLDOUT, Holdout
from worker.store.refreshing import Stream

if TYPE_CHECKING:
    from models.segments.settling import Policy


class Division(NamedTuple):
    """How customers are to be divided; what is not set is chosen.

    algorithm  key of `models.segments.fit.ALGORITHMS`, "" = not set
    k          number of segments, 0 = not set
    height     at which AGNES cuts its tree, None = into k
    """

    algorithm: str = ""
    k: int = 0
    height: float | None = None


#: Customers with an order from which forecasts are trained: level 1 leans on other shops.
FORECASTS_FROM: Final = 10


class RefreshRules(NamedTuple):
    """What refresh depends on besides profiles and models.

    batch_size    customers computed together
    interval_s    a customer without events is refreshed after so long
    destinations  who gets what changed
    streams       who gets transitions, each as an event
    holdout       who gets no recommendations
    service_items  ids or patterns of what is no product
    min_customers  who have bought, below which no segments and recommendations are trained
    horizons_days  of forecasts, beside 30 and 90
    rates         the newest exchange rates; None = none but the reporting currency is known
    dead_bands    how far a forecast may drift before anybody is told
    division      how a training divides the customers
    policy        when a customer moves to another segment; None = as shipped
    similarity    by which a training compares customers
    processes     that refresh, on all machines
    """

    batch_size: int
    interval_s: int
    time_zone: str
    currency: str
    similar_customers: int
    recommendations: int
    min_customers: int
    destinations: tuple[str, ...]
    streams: tuple[Stream, ...] = ()
    holdout: Holdout = NO_HOLDOUT
    service_items: tuple[str, ...] = ()
    horizons_days: tuple[int, ...] = ()
    rates: Callable[[], Rates] | None = None
    dead_bands: DeadBands = DeadBands()
    division: Division = Division()
    policy: Policy | None = None
    similarity: str = "cosine"
    processes: int = 1

    def exchange(self) -> Rates:
        """The exchange rates as they are now."""
        return Rates(self.currency) if self.rates is None else self.rates()
