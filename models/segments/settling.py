"""Where customers stand: they move when another segment is clearly nearer, not at every flicker.

The state of a customer is dated by calendar days, and counts nothing: a second refresh on the same
day, or one that never ran, leaves no trace in it.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import require, same_shape
from models.segments.model import NOBODY, SegmentModel

Matrix: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]


class Standing(NamedTuple):
    """Where n customers stand.

    ids                (n,) int64 segment; NOBODY = none yet
    since_day          (n,) int64 the day on which they came into it
    pending_ids        (n,) int64 the segment that is nearer; NOBODY = none
    pending_since_day  (n,) int64 the day since when some other one has been; 0 without one
    """

    ids: Ids
    since_day: Ids
    pending_ids: Ids
    pending_since_day: Ids


class Policy(NamedTuple):
    """When a customer moves: where staying costs more than it is worth.

    patience    >= 0: the squared distance lost by staying, times the square root of the calendar
                days since another segment is nearer, over the model's inertia; a jump moves at
                once, a trifle after a while
    margin      in [0, 1): another segment must be nearer by this share
    dwell_days  >= 0: and have been so for so many calendar days; 0 = at once
    """

    patience: float = 1.47
    margin: float = 0.0
    dwell_days: int = 0


DEFAULT = Policy()


def unsettled(customers: int) -> Standing:
    """Return the standing of customers that no segment has been given yet.

    >>> unsettled(1).ids
    array([-1])
    """
    nobody, never = np.full(customers, NOBODY, np.int64), np.zeros(customers, np.int64)
    return Standing(nobody, never, nobody.copy(), never.copy())


def settle(
    model: SegmentModel,
    features: Matrix,
    standing: Standing,
    today: int,
    policy: Policy = DEFAULT,
) -> Standing:
    """Assign, but leave a customer in its segment unless another one is clearly nearer.

    features  (n, d) >= 0, as of the end of `today`
    standing  of the n customers; an id that the model does not have just moves
    today     days since 1970-01-01, not before any day of the standing
    Raises    ShapeError, DomainError

    >>> from models.segments.examples import on_a_line
    >>> past_halfway = np.expm1(np.full((1, 3), 1.3))
    >>> monday = settle(
    ...     on_a_line(0.0, 2.0), past_halfway, unsettled(1)._replace(ids=np.array([1])), 9
    ... )
    >>> monday
    Standing(ids=array([1]), since_day=array([0]), pending_ids=array([2]), \
pending_since_day=array([9]))
    >>> settle(on_a_line(0.0, 2.0), past_halfway, monday, 12).ids
    array([2])
    """
    require(0 <= policy.margin < 1, "0 <= margin < 1")
    require(min(policy.patience, policy.dwell_days) >= 0, "patience, dwell_days >= 0")
    same_shape(rows=np.empty(len(features)), **standing._asdict())
    distance = model.geometry.distances(model.points(features))
    rows = np.arange(len(distance))
    nearest = distance.argmin(axis=1)
    place = np.searchsorted(model.ids, standing.ids).clip(0, len(model.ids) - 1)
    known = model.ids[place] == standing.ids
    best, own = distance[rows, nearest], distance[rows, place]
    wanted = known & (best < (1.0 - policy.margin) * own)
    target = model.ids[nearest]
    waited = wanted & (standing.pending_ids != NOBODY)
    since = np.where(waited, standing.pending_since_day, today)
    loss = (own**2 - best**2) * np.sqrt(np.maximum(today - since, 0) + 1.0)
    enough = loss >= policy.patience * model.inertia
    moves = ~known | (wanted & enough & (today - since >= policy.dwell_days))
    waits = wanted & ~moves
    return Standing(
        ids=np.where(moves, target, standing.ids),
        since_day=np.where(moves, today, standing.since_day),
        pending_ids=np.where(waits, target, NOBODY),
        pending_since_day=np.where(waits, since, 0),
    )
