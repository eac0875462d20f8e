"""Two lists per customer: what to buy again, and what is new; each item says why it is there."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError, require
from models.recommend.filters import NO_RULES, Rules, diverse, within_share
from models.recommend.hybrid import (
    MEMBERS,
    Candidates,
    Collector,
    Liked,
    ranked,
)
from models.recommend.hybrid_kernels import CONTENT, POPULAR, SIMILAR
from models.recommend.model import Recommender, empty_recommender, from_state, to_state
from models.recommend.reasons import habit, novelty
from models.recommend.repeats import OwnItems, own_items

__all__ = [
    "LIST_LENGTH",
    "Asked",
    "Liked",
    "OwnItems",
    "Recommendations",
    "Recommender",
    "Suggestion",
    "empty_recommender",
    "from_state",
    "own_items",
    "recommend",
    "to_state",
]

Floats: TypeAlias = NDArray[np.float64]


LIST_LENGTH = 10
FEW_EVENTS = 3  # up to so many, taste is read from content and popularity alone
_LEAST_SCORE = 1e-6


class Asked(NamedTuple):
    """One customer and the day.

    customer_id
    own      the customer's items
    liked    what similar customers hold; where there are none, what the segment buys
    today    days since 1970-01-01
    hidden   columns that rest: shown often and never clicked, or capped
    segment  name of the segment that stands in for similar customers
    """

    customer_id: str
    own: OwnItems
    liked: Liked
    today: int
    hidden: NDArray[np.integer]
    segment: str | None = None


class Suggestion(NamedTuple):
    """One item of a list.

    score   how likely its choice is beside that of the list's best, in (0, 1]
    reason  in words to the customer
    parts   what each member adds to its utility, by falling size; their sum tells the ranking
    """

    item_id: str
    score: float
    reason: str
    parts: tuple[tuple[str, float], ...]


class Recommendations(NamedTuple):
    """Both lists, best first, equal utilities by item id; no item is in both."""

    buy_again: list[Suggestion]
    new_for_you: list[Suggestion]


def recommend(
    recommender: Recommender,
    collector: Collector,
    item_ids: Sequence[str],
    asked: Asked,
    *,
    count: int = LIST_LENGTH,
    categories: Sequence[str] = (),
    rules: Rules = NO_RULES,
) -> Recommendations:
    """Recommend to one customer; without own items and neighbors, what is popular.

    collector   made of what all customers share and what is allowed
    item_ids    ids by column, of all columns; begins with `recommender.items`
    categories  by column, where the rules bound a category
    rules       what bounds a list; which items are allowed at all the collector knows
    Raises      ShapeError, DomainError

    >>> shop = empty_recommender(("tea", "cup"))
    >>> days = np.array([50, 73, 96])
    >>> own = own_items(np.zeros(3, int), days, np.ones(3), half_life_days=60.0)
    >>> nobody = Liked(np.zeros(0, int), np.zeros(0), np.zeros(0, int))
    >>> asked = Asked("c-1", own, nobody, 118, np.zeros(0, int))
    >>> from models.recommend.content import NO_CONTENT
    >>> from models.recommend.cooccurrence import Companions
    >>> from models.recommend.hybrid import Shop
    >>> from models.recommend.popularity import Popularity
    >>> sold = Popularity.of(np.zeros((2, 4)))
    >>> shared = Shop(sold, Companions(shop.companions, shop.buyers), shop.habits, NO_CONTENT)
    >>> recommend(shop, Collector(shared, 2), shop.items, asked).buy_again[0].reason
    'you buy it every 23 days'
    """
    if not len(recommender.items) <= len(item_ids) <= collector.width:
        raise ShapeError(f"{len(item_ids)} item ids, the collector serves {collector.width}")
    require(count >= 0, "count >= 0")
    own = asked.own
    found = collector.collect(own, asked.liked, asked.today)
    if 0 < own.events <= FEW_EVENTS and found.features[:, CONTENT].any():
        found.features[:, SIMILAR:POPULAR] = 0.0
    again, new = found.bought & found.due, ~found.bought
    if len(asked.hidden):
        shown = ~np.isin(found.columns, asked.hidden)
        again, new = again & shown, new & shown
    lists = (recommender.weights.buy_again, again), (recommender.weights.new_for_you, new)
    made = []
    bounded = rules.item_share < 1 or rules.most_per_category > 0
    for weights, chosen in lists:
        wanted = len(chosen) if bounded else count
        places, utility, parts = ranked(
            found.features, chosen, weights, wanted, first=asked.segment is not None
        )
        columns = found.columns[places]
        ids = [item_ids[column] for column in columns.tolist()]
        best = _pick(utility.tolist(), ids, columns, count, asked.customer_id, categories, rules)
        why = _reason(found, own, places[best], parts[best], asked)
        made.append(_suggestions([ids[one] for one in best], utility[best], parts[best], why))
    return Recommendations(*made)


def _pick(
    utility: Sequence[float],
    ids: Sequence[str],
    columns: NDArray[np.int64],
    count: int,
    customer_id: str,
    categories: Sequence[str],
    rules: Rules,
) -> list[int]:
    """Places by falling utility, ties by item id, as far as the bounds of a list allow."""
    ranks = sorted(range(len(ids)), key=lambda place: (-utility[place], ids[place]))
    if rules.item_share < 1:
        ranks = [one for one in ranks if within_share(customer_id, ids[one], rules.item_share)]
    kinds = [categories[c] for c in columns.tolist()] if rules.most_per_category else []
    return diverse(ranks, kinds, rules.most_per_category, count)


def _reason(
    found: Candidates, own: OwnItems, places: NDArray[np.int64], parts: Floats, asked: Asked
) -> Callable[[int], str]:
    mine, holders = found.own[places].tolist(), found.holders[places].tolist()
    said = parts.tolist()

    def why(i: int) -> str:
        at = mine[i]
        if at >= 0 and own.times[at]:
            first, last = int(own.first_day[at]), int(own.last_day[at])
            return habit(int(own.times[at]), first, last, asked.today)
        looked = at >= 0 and bool(own.looked[at])
        return novelty(said[i], holders=holders[i], looked=looked, segment=asked.segment)

    return why


def _suggestions(
    ids: Sequence[str], utility: Floats, parts: Floats, why: Callable[[int], str]
) -> list[Suggestion]:
    if not ids:
        return []
    odds = np.maximum(np.exp(utility - utility[0]), _LEAST_SCORE).tolist()
    made = []
    for i, row in enumerate(parts.round(4).tolist()):
        said = [pair for pair in zip(MEMBERS, row, strict=True) if pair[1]]
        said.sort(key=_loudness, reverse=True)
        made.append(Suggestion(ids[i], odds[i], why(i), tuple(said)))
    return made


def _loudness(part: tuple[str, float]) -> float:
    return abs(part[1])
