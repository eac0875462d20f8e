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
    _check(recommender, item_ids, own, neighbor_rows, similarities)
    require(count >= 0, "count >= 0")
    liked = _liked(neighbor_rows, similarities)
    bought = own.purchase_days > 0
    owned = own.columns[bought]
    popular = recommender.by_popularity[: count + len(owned)]
    others = np.union1d(np.union1d(liked.columns, popular), own.columns)
    others = np.setdiff1d(others, owned, assume_unique=True)
    again = _candidates(recommender, owned, own, liked)
    fresh = _candidates(recommender, others, own, liked)
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


class _Liked(NamedTuple):
    """What similar customers have: rising columns, score, number of holders."""

    columns: Columns
    score: Floats
    holders: NDArray[np.int64]


class _Candidates(NamedTuple):
    """Items of one list with the members' scores, each divided by its maximum."""

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
) -> None:
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
    require(len(np.unique(own.columns)) == len(own.columns), "own items are distinct")
    require(np.isfinite(own.weights) & (own.weights >= 0), "own weights are finite and >= 0")
    require(np.isfinite(similarities) & (similarities >= 0), "similarities are finite and >= 0")
    require(np.isfinite(neighbor_rows.data), "weights of neighbors are finite")


def _liked(rows: csr_array, similarities: Floats) -> _Liked:
    """Sum the neighbors' rows, each at unit length, times their similarity."""
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    norm = np.sqrt(np.bincount(row, weights=rows.data**2, minlength=rows.shape[0]))
    factor = np.divide(similarities, norm, out=np.zeros(len(norm)), where=norm > 0)
    columns, place = np.unique(rows.indices.astype(np.int64), return_inverse=True)
    score = np.zeros(len(columns))
    np.add.at(score, place, rows.data * factor[row])
    return _Liked(columns, score, np.bincount(place, minlength=len(columns)))


def _candidates(
    recommender: Recommender, columns: Columns, own: OwnItems, liked: _Liked
) -> _Candidates:
    """Look up the members' scores of these items."""
    known = np.minimum(columns, len(recommender.items))
    popularity = np.append(recommender.popularity, 0.0)[known]
    order = np.argsort(own.columns)
    return _Candidates(
        columns,
        _normalized(_at(columns, own.columns[order], own.weights[order])),
        _normalized(_at(columns, liked.columns, liked.score)),
        _normalized(popularity),
        _at(columns, liked.columns, liked.holders).astype(np.int64),
    )


def _at(columns: Columns, keys: Columns, values: NDArray[np.number]) -> Floats:
    """Return the value of each column, 0 where `keys` (rising) has none."""
    if len(keys) == 0:
        return np.zeros(len(columns))
    place = np.minimum(np.searchsorted(keys, columns), len(keys) - 1)
    return np.where(keys[place] == columns, values[place], 0.0).astype(np.float64)


def _normalized(scores: Floats) -> Floats:
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
    columns, values = candidates.columns.tolist(), score.tolist()
    ranked = sorted((-values[i], item_ids[columns[i]], i) for i in near.tolist() if values[i] > 0)
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
