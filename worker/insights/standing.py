"""Where a customer stands among the segments, by calendar days.

A day's refreshes all go on from where the customer stood when the day began, not from each other:
so one refresh of ten events says what ten refreshes say, and a second one changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from models.segments.model import NOBODY
from models.segments.settling import Standing


class Place(NamedTuple):
    """One customer's standing: the segment and since what day; another that may follow, since when.

    Ids are NOBODY and days 0 where there is none.
    """

    segment_id: int = NOBODY
    since_day: int = 0
    pending_id: int = NOBODY
    pending_since_day: int = 0
    previous_id: int = NOBODY


NOWHERE: Final = Place()


class Opening(NamedTuple):
    """Where the customer stood when a day began."""

    day: int
    place: Place


def opening(held: Opening | None, now: Place, today: int) -> Opening:
    """The opening of today: the one that an earlier refresh of today began with, else `now`.

    >>> monday = opening(None, Place(3, 19_700), 19_723)
    >>> monday.place.segment_id, opening(monday, Place(5, 19_723), 19_723) == monday
    (3, True)
    >>> opening(monday, Place(5, 19_723), 19_724).place.segment_id
    5
    """
    return held if held is not None and held.day == today else Opening(today, now)


def encode(opened: Opening) -> str:
    """The opening as text without separators of its neighbors.

    >>> encode(Opening(19_723, Place(3, 19_700)))
    '19723,3,19700,-1,0,-1'
    """
    return ",".join(str(number) for number in (opened.day, *opened.place))


def decode(state: str) -> Opening | None:
    """The opening that `encode` described; None for "".

    >>> decode(encode(Opening(19_723, NOWHERE))) == Opening(19_723, NOWHERE)
    True
    """
    if not state:
        return None
    day, *place = (int(number) for number in state.split(","))
    return Opening(day, Place(*place))


def standing(places: Sequence[Place]) -> Standing:
    """The places as the model wants them."""
    table = np.array([place[:4] for place in places], dtype=np.int64).reshape(len(places), 4)
    return Standing(*table.T.copy())


def moved(before: Place, segment_id: int, today: int) -> Place:
    """A customer's place in a segment that nothing has to be waited for.

    >>> moved(Place(3, 19_700), 5, 19_723)
    Place(segment_id=5, since_day=19723, pending_id=-1, pending_since_day=0, previous_id=3)
    """
    if segment_id == before.segment_id:
        return before._replace(pending_id=NOBODY, pending_since_day=0)
    return Place(segment_id, today, previous_id=before.segment_id)


def place(settled: Standing, at: int, before: Place) -> Place:
    """A customer's place after settling, with the segment that came before it."""
    segment_id = int(settled.ids[at])
    return Place(
        segment_id,
        int(settled.since_day[at]),
        int(settled.pending_ids[at]),
        int(settled.pending_since_day[at]),
        before.previous_id if segment_id == before.segment_id else before.segment_id,
    )
