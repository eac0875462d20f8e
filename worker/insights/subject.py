"""Whom an insight is written of, and what it depends on besides the models."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from worker.views import View

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Previous(NamedTuple):
    """What the next insight takes over from the one before.

    audiences   rule segment -> the day since when the customer is in it (ISO 8601)
    versions    the models that spoke: `ModelVersions` as told
    as_of_s     when it was written; 0 before the first
    segment_name  what the segment was called
    """

    version: int
    segment_id: int | None
    segment_since: str | None
    previous_segment_id: int | None
    segments_version: int | None
    audiences: Mapping[str, str] = _NOTHING
    versions: Mapping[str, Any] = _NOTHING
    as_of_s: int = 0
    segment_name: str | None = None


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
