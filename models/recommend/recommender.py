"""Two lists per customer, blended of own history, similar customers and popularity.

Each member is divided by its maximum over the candidates of the list, weighted, and added; the
score is that sum over the sum of the weights. Every item says why it is there.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from models.checks import ShapeError, require, same_shape
from models.recommend.model import (
    Blend,
    Recommender,
    Weights,
    fit_recommender,
    from_state,
    to_state,
)

__all__ = [
    "LIST_LENGTH",
    "Blend",
    "OwnItems",
    "Recommendations",
    "Recommender",
    "Suggestion",
    "Weights",
    "fit_recommender",
    "from_state",
    "recommend",
    "to_state",
]

Floats: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = NDArray[np.int64]

LIST_LENGTH = 10
DECIMALS = 6  # scores nearer than this are ties


class OwnItems(NamedTuple):
    """The items of one customer, in any sequence, each once.

    columns        (w,) int64 column of the item
    weights        (w,) decayed weight, >= 0
    purchase_days  (w,) days on which it was bought, 0 = only looked at
    last_day       (w,) last of these days, days since 1970-01-01 (ignored where never bought)
    """

    columns: Columns
    weights: Floats
    purchase_days: NDArray[np.integer]
    last_day: NDArray[np.integer]


class Suggestion(NamedTuple):
    """One item of a list: score in (0, 1], and the reason in words to the customer."""

    item_id: str
    score: float
    reason: str


class Recommendations(NamedTuple):
    """Both lists, best first, equal scores by item id; no item is in both."""

    buy_again: list[Suggestion]
    new_for_you: list[Suggestion]


def recommend(
    recommender: Recommender,
    item_ids: Sequence[str],
    own: OwnItems,
    neighbor_rows: csr_array,
    similarities: Floats,
    as_of_day: int,
    *,
    count: int = LIST_LENGTH,
) -> Recommendations:
    """Recommend to one customer; without own items and neighbors, what is popular.

    item_ids       ids by column, of all columns; begins with `recommender.items`
    own            the customer's items
    neighbor_rows  (k, columns) raw rows of the similar customers: `NeighborIndex.rows`
    similarities   (k,) their cosine, >= 0
    as_of_day      days since 1970-01-01, for the reasons
    count          length of each list, >= 0
    Raises         ShapeError, DomainError

    >>> shop = Recommender(90.0, 0, ("tea", "cup"), np.ones(2), np.array([1.0, 2.0]))
    >>> one = np.ones(1, dtype=np.int64)
    >>> own = OwnItems(0 * one, np.ones(1), 7 * one, 88 * one)
    >>> none = csr_array((0, 2), dtype=np.float64)
    >>> recommend(shop, shop.items, own, none, np.zeros(0), 100).buy_again[0].reason
    'you bought it 7 times, last 12 days ago'
    """
    place = np.empty(len(item_ids), dtype=np.int64)
    _check(recommender, item_ids, own, neighbor_rows, similarities, place)
    require(count >= 0, "count >= 0")
    bought = own.purchase_days > 0
    owned = own.columns[bought]
    popular = recommender.by_popularity[: count + len(owned)]
    found = _candidates(recommender, popular, own, neighbor_rows, similarities, place)
    others = np.ones(len(found.columns), dtype=np.bool_)
    others[place[owned]] = False
    again, fresh = _normalized(found, place[owned]), _normalized(found, np.flatnonzero(others))
    days, last = own.purchase_days[bought].tolist(), own.last_day[bought].tolist()
    weights = recommender.weights
    return Recommendations(
        buy_again=_best(
            again,
            weights.buy_again,
            item_ids,
            count,
            lambda i: _habit(days[i], as_of_day - last[i]),
        ),
        new_for_you=_best(
            fresh, weights.new_for_you, item_ids, count, lambda i: _novelty(fresh, weights, i)
        ),
    )


class _Candidates(NamedTuple):
    """Distinct items in any sequence, and what each member says of them."""

    columns: Columns
    own: Floats
    neighbors: Floats
    popularity: Floats
    holders: NDArray[np.int64]


def _check(
    recommender: Recommender,
    item_ids: Sequence[str],
    own: OwnItems,
    neighbor_rows: csr_array,
    similarities: Floats,
    place: Columns,
) -> None:
    """Raise unless the arguments fit together; `place` (m,) is scratch."""
    m = len(item_ids)
    if m < len(recommender.items):
        raise ShapeError(f"{m} item ids, the recommender has {len(recommender.items)}")
    if neighbor_rows.shape[1] > m or similarities.shape != (neighbor_rows.shape[0],):
        raise ShapeError(f"neighbors {neighbor_rows.shape}, {m} items, {similarities.shape}")
    same_shape(
        columns=own.columns,
        weights=own.weights,
        purchase_days=own.purchase_days,
        last_day=own.last_day,
    )
    require((own.columns >= 0) & (own.columns < m), f"0 <= own column < {m}")
    number = np.arange(len(own.columns))
    place[own.columns] = number
    require((place[own.columns] == number).all(), "own items are distinct")
    require(np.isfinite(own.weights) & (own.weights >= 0), "own weights are finite and >= 0")
    require(np.isfinite(similarities) & (similarities >= 0), "similarities are finite and >= 0")
    require(np.isfinite(neighbor_rows.data), "weights of neighbors are finite")


def _liked(rows: csr_array, similarities: Floats) -> Floats:
    """Each entry of the neighbors' rows at unit length, times their similarity."""
    lengths = np.diff(rows.indptr)
    row = np.repeat(np.arange(rows.shape[0]), lengths)
    norm = np.sqrt(np.bincount(row, weights=rows.data**2, minlength=rows.shape[0]))
    factor = np.divide(similarities, norm, out=np.zeros(len(norm)), where=norm > 0)
    liked: Floats = rows.data * np.repeat(factor, lengths)
    return liked


def _candidates(
    recommender: Recommender,
    popular: Columns,
    own: OwnItems,
    neighbor_rows: csr_array,
    similarities: Floats,
    place: Columns,
) -> _Candidates:
    """Unite the items of all members; `place` (m,) then has the place of each among them.

    Nothing here costs the number of all items: of `place` only what was written is read.
    """
    columns = np.concatenate((neighbor_rows.indices, popular, own.columns)).astype(np.int64)
    number = np.arange(len(columns))
    place[columns] = number
    columns = columns[place[columns] == number]
    count = len(columns)
    place[columns] = number[:count]
    held = place[neighbor_rows.indices]
    weights = np.zeros(count)
    weights[place[own.columns]] = own.weights
    liked = _liked(neighbor_rows, similarities)
    likes: Floats = np.bincount(held, weights=liked, minlength=count).astype(np.float64, copy=False)
    return _Candidates(
        columns,
        weights,
        likes,
        recommender.popularity_or_zero[np.minimum(columns, len(recommender.items))],
        np.bincount(held, minlength=count),
    )


def _normalized(found: _Candidates, chosen: NDArray[np.int64]) -> _Candidates:
    """Keep the chosen candidates, each member's scores divided by their maximum."""
    return _Candidates(
        found.columns[chosen],
        _unit(found.own[chosen]),
        _unit(found.neighbors[chosen]),
        _unit(found.popularity[chosen]),
        found.holders[chosen],
    )


def _unit(scores: Floats) -> Floats:
    most = scores.max(initial=0.0)
    return scores / most if most > 0 else scores


def _best(
    candidates: _Candidates,
    blend: Blend,
    item_ids: Sequence[str],
    count: int,
    reason: Callable[[int], str],
) -> list[Suggestion]:
    """Return the `count` best, ties by item id."""
    score = candidates.own * blend.own + candidates.neighbors * blend.neighbors
    score = ((score + candidates.popularity * blend.popularity) / sum(blend)).round(DECIMALS)
    near = np.arange(len(score))
    if 0 < count < len(score):
        near = np.flatnonzero(score >= np.partition(score, len(score) - count)[-count])
    near = near[score[near] > 0]
    best = zip(score[near].tolist(), candidates.columns[near].tolist(), near.tolist(), strict=True)
    ranked = sorted((-value, item_ids[column], i) for value, column, i in best)
    return [Suggestion(item_id, -value, reason(i)) for value, item_id, i in ranked[:count]]


def _novelty(candidates: _Candidates, weights: Weights, i: int) -> str:
    """Name the member that speaks loudest for an item that was never bought."""
    blend = weights.new_for_you
    seen = candidates.own[i] * blend.own
    like_you = candidates.neighbors[i] * blend.neighbors
    if max(seen, like_you) < candidates.popularity[i] * blend.popularity:
        return "popular this month"
    if seen > like_you:
        return "you looked at it"
    holders = int(candidates.holders[i])
    return f"chosen by {holders} customer{'s' if holders > 1 else ''} like you"


def _habit(times: int, days_ago: int) -> str:
    """Say how often and when the customer bought an item.

    >>> _habit(1, 1), _habit(2, 30)
    ('you bought it yesterday', 'you bought it twice, last 30 days ago')
    """
    when = {0: "today", 1: "yesterday"}.get(max(days_ago, 0), f"{days_ago} days ago")
    if times == 1:
        return f"you bought it {when}"
    return f"you bought it {'twice' if times == 2 else f'{times} times'}, last {when}"
