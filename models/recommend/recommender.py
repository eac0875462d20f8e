"""Two lists per customer: what to buy again, and what is new; each item says why it is there."""

from collections.abc import Sequence
from math import exp
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ShapeError, require
from models.recommend.filters import NO_RULES, Rules, diverse, within_share
from models.recommend.hybrid import MEMBER_OF, MEMBERS, Collector, Liked
from models.recommend.hybrid_kernels import CONTENT, POPULAR, SIMILAR, listed
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
    offered = found.columns, found.features, found.own, found.holders
    mine = own.times, own.first_day, own.last_day, own.looked
    made = []
    bounded = rules.item_share < 1 or rules.most_per_category > 0
    for weights, chosen in lists:
        wanted = len(chosen) if bounded else count
        facts, utility, parts, loudest = listed(
            offered, mine, chosen, weights, wanted, asked.segment is not None, MEMBER_OF,
            len(MEMBERS),
        )  # fmt: skip
        told = [Told._make(row) for row in facts.tolist()]
        ids = [item_ids[one.column] for one in told]
        values = utility.tolist()
        best = _pick(values, ids, told, count, asked.customer_id, categories, rules)
        spoken = parts.tolist(), loudest.tolist()
        made.append(_suggestions(best, ids, values, told, spoken, asked))
    return Recommendations(*made)


class Told(NamedTuple):
    """What is known of an item of a list.

    holders           similar customers who bought it
    times, first_day, last_day  days of the customer's purchases
    looked            whether the customer did at least look
    """

    column: int
    holders: int
    times: int
    first_day: int
    last_day: int
    looked: int


def _pick(
    utility: Sequence[float],
    ids: Sequence[str],
    told: Sequence[Told],
    count: int,
    customer_id: str,
    categories: Sequence[str],
    rules: Rules,
) -> list[int]:
    """Places by falling utility, ties by item id, as far as the bounds of a list allow."""
    ranks = sorted(range(len(ids)), key=lambda place: (-utility[place], ids[place]))
    if rules.item_share < 1:
        ranks = [one for one in ranks if within_share(customer_id, ids[one], rules.item_share)]
    kinds = [categories[one.column] for one in told] if rules.most_per_category else []
    return diverse(ranks, kinds, rules.most_per_category, count)


def _suggestions(
    best: Sequence[int],
    ids: Sequence[str],
    utility: Sequence[float],
    told: Sequence[Told],
    spoken: tuple[list[list[float]], list[list[int]]],
    asked: Asked,
) -> list[Suggestion]:
    """The chosen of the ranked items, best first.

    spoken  of each item what every member adds, and the members by how much that is
    """
    made = []
    parts, loudest = spoken
    for i in best:
        one, said = told[i], parts[i]
        if one.times:
            why = habit(one.times, one.first_day, one.last_day, asked.today)
        else:
            looked, segment = bool(one.looked), asked.segment
            why = novelty(said, holders=one.holders, looked=looked, segment=segment)
        odds = max(exp(utility[i] - utility[best[0]]), _LEAST_SCORE)
        members = tuple([(MEMBERS[j], said[j]) for j in loudest[i] if said[j]])
        made.append(Suggestion(ids[i], odds, why, members))
    return made
