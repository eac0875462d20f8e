"""The part of an insight that recommends: similar customers and two lists of items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        seen = subject.interacted or interacted(view, calendar, index.items)
        lists = lists_of(
            view, near, recommender, index, shelf, seen, today,
            count=options.recommendations, segment=segment and (segment.id, segment.name),
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
    segment: tuple[int, str] | None = None,
) -> Recommendations:
    """The lists of one customer.

    near     similar customers as the index gave them
    found    the view's interactions by column of the index
    segment  id and name, for who is not like anybody yet
    """
    collector = shelf.collector(recommender, index)
    own = own_items(*found, half_life_days=recommender.half_life_days)
    index.renew_companions(own.columns)
    liked, stand_in = Liked(*index.liked(near)), None
    if not len(liked.columns) and segment is not None and segment[0] in recommender.favorites:
        columns, scores = recommender.favorites[segment[0]]
        liked, stand_in = Liked(columns, scores, np.ones(len(columns), dtype=np.int64)), segment[1]
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
            stand_in,
        ),
        count=count,
        categories=shelf.categories(),
        rules=shelf.rules,
    )
