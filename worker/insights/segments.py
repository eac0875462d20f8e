"""The part of an insight that places the customer in a segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from integrations.insight import Segment
from models.features import rfm
from models.history import Histories
from models.segments.lifecycle import lifecycle_label
from models.segments.model import NOBODY
from models.segments.settling import Policy, settle
from worker.insights.figures import NO_MODEL, to_date
from worker.insights.lifecycle import lifecycle
from worker.insights.standing import Place, moved, place, standing
from worker.insights.subject import Subject
from worker.live import Live
from worker.views import Calendar


def add_segments(
    parts: Sequence[dict[str, Any]],
    live: Live,
    subjects: Sequence[Subject],
    past: Histories,
    calendar: Calendar,
    today: int,
    policy: Policy,
) -> None:
    """The segment that the customer is in, since when, and the one before: who has bought is where
    the model says, who has not where their life with the shop stands, for which there need be none.
    """
    features = rfm(past, today) if live.segments is None else live.segments.matrix(past, today)
    opened = [one.previous.opening(today).place for one in subjects]
    without = [i for i in range(len(subjects)) if features[i, 1] == 0]
    lives = lifecycle([subjects[i].view for i in without], calendar, today)
    for i, stage in zip(without, lives, strict=True):
        now = moved(opened[i], stage, today)
        parts[i]["segment"] = _segment(now, lifecycle_label(stage).name())
    bought = [i for i in range(len(subjects)) if features[i, 1] > 0]
    if live.segments is None:
        for i in bought:
            parts[i]["abstained"]["segment"] = NO_MODEL
        return
    settled = settle(live.segments, features, standing(opened), today, policy)
    names = dict(zip(live.segments.ids.tolist(), live.segments.names, strict=True))
    for i in bought:
        now = place(settled, i, opened[i])
        parts[i]["segment"] = _segment(now, names[now.segment_id])


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
