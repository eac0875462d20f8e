"""From views and live models to insights: vectorized over a batch. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from integrations.insight import CustomerInsight, ModelVersions
from models.recommend.neighbors import NeighborIndex
from worker.insights.audiences import add_audiences
from worker.insights.forecasts import add_forecasts
from worker.insights.history import add_history
from worker.insights.lists import add_lists
from worker.insights.segments import add_segments
from worker.insights.subject import Options, Subject
from worker.live import Live
from worker.views import Calendar, histories, priced, unpriced


def write(
    subjects: Sequence[Subject],
    live: Live,
    index: NeighborIndex | None,
    calendar: Calendar,
    now_s: int,
    options: Options,
) -> list[CustomerInsight]:
    """The insights of a batch of customers, as of now; in the order of features, forecasts,
    segments, recommendations, rule segments, so that none rests on a later one.
    """
    if options.rates:
        seen = priced([subject.view for subject in subjects], calendar, options.rates)
        subjects = [a._replace(view=b) for a, b in zip(subjects, seen, strict=True)]
    views = [subject.view for subject in subjects]
    today = calendar.day(now_s)
    past = histories(views, calendar, options.currency)
    parts: list[dict[str, Any]] = [{"abstained": {}} for _ in subjects]
    unknown = unpriced(views, options.currency)
    add_history(parts, past, today, options.currency, unknown)
    add_forecasts(parts, live, past, today, options, unknown)
    add_segments(parts, live, subjects, past, calendar, today, options.policy)
    add_lists(parts, live, index, subjects, calendar, today, options)
    add_audiences(parts, live, subjects, calendar, now_s, options.currency)
    as_of = datetime.fromtimestamp(now_s, UTC)
    versions = ModelVersions(**dict(live.versions), segments_minor=live.segments_minor)
    return [
        CustomerInsight(
            customer_id=subject.view.customer_id,
            insight_version=subject.previous.version + 1,
            as_of=as_of,
            through_event_id=subject.through_event_id or None,
            model_versions=versions,
            **part,
        )
        for subject, part in zip(subjects, parts, strict=True)
    ]
