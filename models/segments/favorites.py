"""What the customers of a segment buy most: for those of whom nothing else is known."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import JSON, integer, number, texts
from models.checks import DomainError, require
from models.recommend.interactions import Interactions, decay
from models.segments.lifecycle import BROWSING, INTEREST_DAYS, LEAD, NEWCOMER

Ids: TypeAlias = NDArray[np.int64]

MOST_FAVORITES: Final = 50
HALF_LIFE_DAYS: Final = 60.0


class Favorites(NamedTuple):
    """Item ids, best first, and their decayed weights > 0."""

    items: tuple[str, ...]
    scores: tuple[float, ...]


def fit_favorites(
    interactions: Interactions, items: tuple[str, ...], segment: Ids, today: int
) -> dict[int, Favorites]:
    """Find the items of the highest decayed weight among the customers of each segment.

    Of who has not bought the looks count: of the last 30 days for who is browsing, older ones for
    leads. Newcomers get what customers bought on their first day.

    segment  (n,) of each customer, as the model says; of who has not bought it is not asked
    Raises   DomainError

    >>> events = Interactions(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([90, 95, 98]),
    ...                       np.array([1.0, 1.0, 0.1]))
    >>> found = fit_favorites(events, ("tea", "cup"), np.array([3, 3]), 100)
    >>> {one: list(favorites.items) for one, favorites in found.items()}
    {3: ['cup', 'tea'], -3: ['cup'], -4: ['tea']}
    """
    customer, item, day, weight = interactions
    require((customer >= 0) & (customer < len(segment)), "0 <= customer < customers")
    bought = weight >= 1
    buyer = np.zeros(len(segment), dtype=np.bool_)
    buyer[customer[bought]] = True
    first = np.full(len(segment), np.iinfo(np.int64).max)
    np.minimum.at(first, customer[bought], day[bought])
    late = today - day <= INTEREST_DAYS
    groups = {int(one): buyer[customer] & (segment[customer] == one) for one in np.unique(segment)}
    groups |= {
        BROWSING: ~buyer[customer] & late,
        LEAD: ~buyer[customer] & ~late,
        NEWCOMER: bought & (day == first[customer]),
    }
    decayed = weight * decay(day, today, HALF_LIFE_DAYS)
    found = {}
    for one, inside in groups.items():
        score = np.bincount(item[inside], weights=decayed[inside], minlength=len(items))
        best = np.argsort(-score, kind="stable")[:MOST_FAVORITES]
        best = best[score[best] > 0]
        if len(best):
            names = tuple(items[column] for column in best.tolist())
            found[one] = Favorites(names, tuple(score[best].tolist()))
    return found


def to_meta(favorites: Mapping[int, Favorites]) -> list[JSON]:
    """Favorites as JSON; `from_meta` reads them."""
    return [
        {"id": one, "items": list(found.items), "scores": list(found.scores)}
        for one, found in favorites.items()
    ]


def from_meta(told: JSON) -> dict[int, Favorites]:
    """Favorites that `to_meta` wrote; raise DomainError."""
    if isinstance(told, str) or not isinstance(told, Sequence):
        raise DomainError("favorites is not a list")
    return dict(_read(one) for one in told)


def _read(told: JSON) -> tuple[int, Favorites]:
    if not isinstance(told, Mapping):
        raise DomainError("favorites of a segment are not an object")
    items, scores = texts(told, "items"), told.get("scores")
    if not isinstance(scores, list | tuple) or len(scores) != len(items):
        raise DomainError("favorites: as many scores as items")
    values = tuple(number({"score": one}, "score") for one in scores)
    return integer(told, "id"), Favorites(items, values)
