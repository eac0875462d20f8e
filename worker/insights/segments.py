"""The part of an insight that places the customer in a segment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np

from integrations.insight import Segment
from models.history import Histories
from models.segments.settling import settle, unsettled
from worker.insights.figures import NO_MODEL, NO_ORDER, to_date
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
    current = [-1 if one.segment_id is None else one.segment_id for one in previous]
    standing = unsettled(len(current))._replace(ids=np.array(current, dtype=np.int64))
    ids = settle(live.segments, features, standing, today).ids
    names = dict(zip(live.segments.ids.tolist(), live.segments.names, strict=True))
    for i, (part, before) in enumerate(zip(parts, previous, strict=True)):
        if features[i, 1] == 0:
            part["abstained"]["segment"] = NO_ORDER
            continue
        segment = int(ids[i])
        stays = before.segment_id == segment and before.segment_since is not None
        part["segment"] = Segment(
            id=segment,
            name=names[segment],
            since=date.fromisoformat(before.segment_since or "") if stays else to_date(today),
            previous_id=before.previous_segment_id if stays else before.segment_id,
        )
