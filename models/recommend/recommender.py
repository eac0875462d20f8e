"""Two lists per customer: what to buy again, and what is new; each item says why it is there."""

from collections.abc import Sequence
from math import exp
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError, require
from models.recommend.candidate_kernels import CONTENT, POPULAR, SIMILAR
from models.recommend.filters import NO_RULES, Rules, diverse, within_share
from models.recommend.hybrid import MEMBER_OF, MEMBERS, Collector, Liked
from models.recommend.listing_kernels import listed
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
#: A candidate of a list, as `listing_kernels.listed` tells of it.
Ranked: TypeAlias = tuple[list[int], list[float]]

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
    bounded = rules.item_share < 1 or rules.most_per_category > 0
    weights, mine = recommender.weights, (own.times, own.first_day, own.last_day, own.looked)
    first, told, said = listed(
        tuple(found), mine, asked.hidden, (weights.buy_again, weights.new_for_you),
        len(found.columns) if bounded else count, asked.segment is not None, MEMBER_OF,
        len(MEMBERS),
    )  # fmt: skip
    ranked = list(zip(told.tolist(), said.tolist(), strict=True))
    picked = [
        _pick(one, item_ids, count, asked, categories, rules)
        for one in (ranked[:first], ranked[first:])
    ]
    return Recommendations(*(_suggestions(best, item_ids, asked) for best in picked))


def _pick(
    ranked: list[Ranked],
    item_ids: Sequence[str],
    count: int,
    asked: Asked,
    categories: Sequence[str],
    rules: Rules,
) -> list[Ranked]:
    """Some by falling utility, ties by item id, as far as the bounds of a list allow."""
    if len({said[0] for _, said in ranked}) < len(ranked):
        ranked = sorted(ranked, key=lambda one: (-one[1][0], item_ids[one[0][0]]))
    if rules.item_share < 1:
        who, share = asked.customer_id, rules.item_share
        ranked = [one for one in ranked if within_share(who, item_ids[one[0][0]], share)]
    if not rules.most_per_category:
        return ranked[:count]
    kinds = [categories[told[0]] for told, _ in ranked]
    places = diverse(range(len(ranked)), kinds, rules.most_per_category, count)
    return [ranked[place] for place in places]


def _suggestions(best: list[Ranked], item_ids: Sequence[str], asked: Asked) -> list[Suggestion]:
    """The chosen of the ranked items, best first."""
    made, today, segment = [], asked.today, asked.segment
    for (column, holders, times, first_day, last_day, looked, other, *loudest), said in best:
        utility, *parts = said
        if times:
            why = habit(times, first_day, last_day, today)
        else:
            why = novelty(other, holders=holders, looked=looked > 0, segment=segment)
        odds = max(exp(utility - best[0][1][0]), _LEAST_SCORE)
        adds = zip(loudest, parts)  # noqa: B905  both have one a member, and strict takes time
        members = tuple([(MEMBERS[j], part) for j, part in adds if part])
        made.append(Suggestion(item_ids[column], odds, why, members))
    return made
