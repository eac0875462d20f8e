"""The part of an insight that places the customer in a segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from integrations.insight import Segment
from models.history import Histories
from models.segments.model import NOBODY
from models.segments.settling import settle
from worker.insights.figures import NO_MODEL, NO_ORDER, to_date
from worker.insights.standing import Place, place, standing
from worker.insights.subject import Previous
from worker.live import Live


def add_segments(
    parts: Sequence[dict[str, Any]],
    live: Live,
    past: Histories,
    today: int,
    previous: Sequence[Previous],
) -> None:
    """The segment that the customer is in, since when, and the one before."""
    if live.segments is None:
        for part in parts:
            part["abstained"]["segment"] = NO_MODEL
        return
    features = live.segments.matrix(past, today)
    opened = [one.opening(today).place for one in previous]
    settled = settle(live.segments, features, standing(opened), today)
    names = dict(zip(live.segments.ids.tolist(), live.segments.names, strict=True))
    for i, (part, before) in enumerate(zip(parts, opened, strict=True)):
        if features[i, 1] == 0:
            part["abstained"]["segment"] = NO_ORDER
            continue
        now = place(settled, i, before)
        part["segment"] = _segment(now, names[now.segment_id])


def _segment(now: Place, name: str) -> Segment:
    waits = now.pending_id != NOBODY
    return Segment(
        id=now.segment_id,
        name=name,
        since=to_date(now.since_day),
        previous_id=None if now.previous_id == NOBODY else now.previous_id,
        pending_id=now.pending_id if waits else None,
        pending_since=to_date(now.pending_since_day) if waits else None,
    )
