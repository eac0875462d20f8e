"""The part of an insight that recommends: similar customers and two lists of items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from models.recommend.neighbors import Near, NeighborIndex
from models.recommend.recommender import (
    Asked,
    Liked,
    Recommendations,
    Recommender,
    Suggestion,
    recommend,
)
from models.recommend.repeats import own_items
from worker.feedback import RecId, in_holdout, rec_id_of, resting
from worker.insights.figures import NO_MODEL
from worker.insights.shelf import Shelf
from worker.insights.subject import Options, Subject
from worker.live import Live
from worker.views import Calendar, Interacted, View, interacted

_HELD_OUT = "the customer is in the holdout group, which gets no pushed recommendations"


def add_lists(
    parts: Sequence[dict[str, Any]],
    live: Live,
    index: NeighborIndex | None,
    subjects: Sequence[Subject],
    calendar: Calendar,
    today: int,
    options: Options,
) -> None:
    """Whom the customer is like, what to buy again, and what is new to the customer."""
    recommender = live.recommendations
    if recommender is None or index is None:
        for part in parts:
            part["abstained"]["recommendations"] = NO_MODEL
        return
    shelf = options.shelf or Shelf()
    asked = max(options.similar_customers, recommender.k_neighbors)
    nearest = index.near([subject.view.customer_id for subject in subjects], asked)
    version = live.version("recommendations") or 0
    speakers: dict[int, StandIn | None] = {}
    for part, subject, near in zip(parts, subjects, nearest, strict=True):
        view = subject.view
        part["similar_customers"] = [
            {"customer_id": customer, "score": round(score, 4)}
            for customer, score in index.named(near, options.similar_customers)
        ]
        if in_holdout(view.customer_id, options.holdout):
            part["abstained"]["recommendations"] = _HELD_OUT
            continue
        segment = part.get("segment")
        if segment and segment.id not in speakers:
            speakers[segment.id] = stand_in(live, index, segment.id, segment.name)
        seen = subject.interacted or interacted(view, calendar, index.items)
        lists = lists_of(
            view, near, recommender, index, shelf, seen, today,
            count=options.recommendations,
            stand_in=segment and speakers[segment.id],
        )  # fmt: skip
        for name, found in zip(Recommendations._fields, lists, strict=True):
            part[name] = [
                {
                    "item_id": one.item_id,
                    "score": round(one.score, 4),
                    "reason": one.reason,
                    "members": dict(one.parts),
                    "rec_id": rec_id_of(
                        RecId(name, _loudest(one), position, version),
                        view.customer_id,
                        one.item_id,
                    ),
                }
                for position, one in enumerate(found, 1)
            ]


def _loudest(one: Suggestion) -> str:
    """The member that adds most to an item's utility."""
    return max(one.parts, key=lambda part: part[1])[0] if one.parts else "popular"


class StandIn(NamedTuple):
    """What the customers of a segment buy most, and its name."""

    liked: Liked
    segment: str


def stand_in(live: Live, index: NeighborIndex, segment_id: int, name: str) -> StandIn | None:
    """Who speaks for a customer of a segment who is like nobody; None where nothing is known."""
    found = live.segments.favorites.get(segment_id) if live.segments is not None else None
    if found is None:
        return None
    told = zip(found.items, found.scores, strict=True)
    known = {index.items.column(item): score for item, score in told}
    known.pop(None, None)
    columns = np.array(list(known), dtype=np.int32)
    scores = np.array(list(known.values()), dtype=np.float64)
    return StandIn(Liked(columns, scores, np.ones(len(known), dtype=np.int32)), name)


def lists_of(
    view: View,
    near: Near,
    recommender: Recommender,
    index: NeighborIndex,
    shelf: Shelf,
    found: Interacted,
    today: int,
    *,
    count: int,
    stand_in: StandIn | None = None,
) -> Recommendations:
    """The lists of one customer.

    near     similar customers as the index gave them
    found    the view's interactions by column of the index
    stand_in  speaks for who is not like anybody yet
    """
    collector = shelf.collector(recommender, index)
    own = own_items(*found, half_life_days=recommender.half_life_days)
    index.renew_companions(own.columns)
    liked, segment = Liked(*index.liked(near)), None
    if not len(liked.columns) and stand_in is not None:
        liked, segment = stand_in
    hidden = [index.items.column(item) for item in resting(view.signals, today)]
    return recommend(
        recommender,
        collector,
        index.items.ids,
        Asked(
            view.customer_id,
            own,
            liked,
            today,
            np.array([column for column in hidden if column is not None], dtype=np.int64),
            segment,
        ),
        count=count,
        categories=shelf.categories(),
        rules=shelf.rules,
    )
