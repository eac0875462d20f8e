"""Whom an insight is written of, and what it depends on besides the models."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from models.segments.settling import DEFAULT, Policy
from worker.currencies import Rates
from worker.feedback import NO_HOLDOUT, Holdout
from worker.insights.shelf import Shelf
from worker.insights.standing import NOWHERE, Opening, Place, opening
from worker.views import Interacted, View

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Previous(NamedTuple):
    """What the next insight takes over from the one before; version 0 = there is none.

    place         where it put the customer, called `segment_name`
    opened        where the customer stood when that insight's day began
    audiences     rule segment -> the day since when the customer is in it (ISO 8601)
    versions      the models that spoke: `ModelVersions` as told
    as_of_s       when it was written
    orders        the counted orders that it knew
    """

    version: int = 0
    place: Place = NOWHERE
    segment_name: str | None = None
    opened: Opening | None = None
    audiences: Mapping[str, str] = _NOTHING
    versions: Mapping[str, Any] = _NOTHING
    as_of_s: int = 0
    orders: int = 0

    @property
    def segment_id(self) -> int | None:
        """The segment, None without one."""
        return None if self.place == NOWHERE else self.place.segment_id

    def opening(self, today: int) -> Opening:
        """Where the customer stood when today began."""
        return opening(self.opened, self.place, today)


class Subject(NamedTuple):
    """A customer to write an insight of.

    interacted  by column of the index that the insight is written with; None = read from the view
    """

    view: View
    through_event_id: str
    previous: Previous
    interacted: Interacted | None = None


class Options(NamedTuple):
    """What an insight depends on besides the customer and the models.

    shelf    what may be recommended; None = whatever was bought
    holdout  who gets no recommendations
    horizons_days  of forecasts, beside 30 and 90
    rates    into the currency; None = no money of another one is known
    policy   when a customer moves to another segment
    """

    currency: str
    similar_customers: int
    recommendations: int
    shelf: Shelf | None = None
    holdout: Holdout = NO_HOLDOUT
    horizons_days: tuple[int, ...] = ()
    rates: Rates | None = None
    policy: Policy = DEFAULT
