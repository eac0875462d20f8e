"""Whom an insight is written of, and what it depends on besides the models."""

from __future__ import annotations

from typing import NamedTuple

from worker.views import View


class Previous(NamedTuple):
    """What the next insight takes over from the one before."""

    version: int
    segment_id: int | None
    segment_since: str | None
    previous_segment_id: int | None
    segments_version: int | None


class Subject(NamedTuple):
    """A customer to write an insight of."""

    view: View
    through_event_id: str
    previous: Previous


class Options(NamedTuple):
    """What an insight depends on besides the customer and the models."""

    currency: str
    similar_customers: int
    recommendations: int
