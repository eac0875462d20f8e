"""The hybrid: candidates of all members, what each member says of them, and the weighted sum.

A customer's utility of an item is linear in the members' scores and their square roots, each over
its maximum among the list's candidates; weights are learned per shop (`tuning`). Under the model
of choice that they are learned with, exp(difference of utilities) is how much likelier one item is
than another.
"""

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend.content import Content
from models.recommend.hybrid_kernels import (
    follow_twice,
    name_all,
    name_best,
    parts_of,
    take,
    utilities,
)
from models.recommend.links import Follower, Links
from models.recommend.popularity import Trends
from models.recommend.repeats import OwnItems, RepeatHabits, due_items, repeat_features

Floats: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = NDArray[np.int64]

MEMBERS: Final = ("own", "similar", "together", "popular", "content")
#: What is said of an item, and by which member.
FEATURES: Final = (
    ("own_weight", "own"),
    ("own_fast", "own"),
    ("own_count", "own"),
    ("own_recency", "own"),
    ("own_repeat_share", "own"),
    ("own_due", "own"),
    ("own_rate", "own"),
    ("own_held", "own"),
    ("own_looked", "own"),
    ("similar", "similar"),
    ("similar_holders", "similar"),
    ("together", "together"),
    ("together_recent", "together"),
    ("popular_week", "popular"),
    ("popular_fortnight", "popular"),
    ("popular_quarter", "popular"),
    ("popular_first", "popular"),
    ("content", "content"),
)
SIMILAR, TOGETHER, CONTENT = 9, 11, 17
POPULAR = slice(13, 17)
MEMBER_OF: Final = np.array([MEMBERS.index(member) for _, member in FEATURES])

MOST_SIMILAR: Final = 250  # candidates that one member may bring
MOST_TOGETHER: Final = 150
MOST_CONTENT: Final = 100
MOST_POPULAR: Final = 60  # of each trend
_MOST_TERMS: Final = 24  # of a customer's profile
_MOST_PROFILE: Final = 100  # items that together and content start from


class Liked(NamedTuple):
    """What similar customers hold.

    columns  (c,) distinct
    scores   (c,) float64 > 0
    holders  (c,) how many of them hold it
    """

    columns: NDArray[np.integer]
    scores: Floats
    holders: NDArray[np.integer]


class Candidates(NamedTuple):
    """Items that may be recommended to one customer.

    columns   (c,) distinct
    features  (c, len(FEATURES)) float64 >= 0, as the members gave them
    bought    (c,) whether the customer has bought it
    due       (c,) its time to be bought again has come; True where it was never bought
    own       (c,) its place in `OwnItems`, -1 if it is not among them
    holders   (c,) similar customers that hold it
    """

    columns: Columns
    features: Floats
    bought: NDArray[np.bool_]
    due: NDArray[np.bool_]
    own: Columns
    holders: NDArray[np.int64]


class Shop(NamedTuple):
    """What all customers share; arrays over the m items of a fit."""

    trends: Trends
    habits: RepeatHabits
    companions: Links
    content: Content


class Collector:
    """Collects one customer's candidates at a time; holds scratch arrays, and what is popular."""

    def __init__(self, shop: Shop, width: int, allowed: NDArray[np.bool_] | None = None) -> None:
        """Serve columns below `width`.

        allowed  (width,) items that may be recommended at all; None = every one
        """
        self._shop = shop
        self.width = width
        self._may = np.ones(width, dtype=np.bool_) if allowed is None else allowed
        trends = np.zeros((width, len(Trends._fields)))
        m = min(width, len(shop.trends.week))
        trends[:m] = np.column_stack([part[:m] for part in shop.trends])
        self._trends = trends
        self._content = Follower(width)
        self._terms = Follower(len(shop.content.items.starts) - 1)
        self._every, self._recent, self._alike_to, self._liked, self._holders = np.zeros((5, width))
        self._place = np.full(width, -1, dtype=np.int64)
        self._touched = np.zeros(width, dtype=np.int64)
        self._named = np.zeros(width, dtype=np.int64)
        self._popular = self._most_popular()

    def _most_popular(self) -> Columns:
        trends = np.where(self._may[:, None], self._trends, 0.0)
        best = np.argsort(-trends, axis=0, kind="stable")[:MOST_POPULAR]
        sold = np.take_along_axis(trends, best, axis=0) > 0
        return np.unique(best[sold]).astype(np.int64)

    def collect(self, own: OwnItems, liked: Liked, today: int) -> Candidates:
        """Unite what the members name, and ask each of them about everything."""
        profile, weights = _profile(own)
        every, recent, place = self._every, self._recent, self._place
        links = self._shop.companions
        touched = follow_twice(profile, weights, *links, every, recent, self._touched)
        together = self._touched[:touched]
        alike, scores = self._alike(profile, weights)
        self._alike_to[alike] = scores
        self._liked[liked.columns], self._holders[liked.columns] = liked.scores, liked.holders
        out, may = self._named, self._may
        named = name_best(liked.columns, self._liked, MOST_SIMILAR, may, place, out, 0)
        named = name_best(together, every, MOST_TOGETHER, may, place, out, named)
        named = name_best(together, recent, MOST_TOGETHER, may, place, out, named)
        named = name_best(alike, self._alike_to, MOST_CONTENT, may, place, out, named)
        named = name_all(self._popular, may, place, out, named)
        named = name_all(own.columns, may, place, out, named)
        columns = out[:named].copy()
        found = self._features(columns, own, today)
        place[columns] = -1
        every[together], recent[together] = 0.0, 0.0
        self._alike_to[alike] = 0.0
        self._liked[liked.columns], self._holders[liked.columns] = 0.0, 0.0
        return found

    def _features(self, columns: Columns, own: OwnItems, today: int) -> Candidates:
        features = np.zeros((len(columns), len(FEATURES)))
        at = self._place[own.columns]
        here = np.flatnonzero(at >= 0)
        at = at[here]
        said = repeat_features(own, self._shop.habits, today)
        features[at, :7] = said[here]
        features[at, 7] = own.times[here] > 0
        features[at, 8] = own.looked[here]
        take(columns, self._liked, features, SIMILAR)
        take(columns, self._holders, features, SIMILAR + 1)
        take(columns, self._every, features, TOGETHER)
        take(columns, self._recent, features, TOGETHER + 1)
        features[:, POPULAR] = self._trends[columns]
        take(columns, self._alike_to, features, CONTENT)
        bought, due = np.zeros(len(columns), np.bool_), np.ones(len(columns), np.bool_)
        bought[at] = own.times[here] > 0
        due[at] = due_items(own, self._shop.habits, today)[here]
        mine = np.full(len(columns), -1, dtype=np.int64)
        mine[at] = here
        holders = features[:, SIMILAR + 1].astype(np.int64)
        return Candidates(columns, features, bought, due, mine, holders)

    def _alike(self, profile: Columns, weights: Floats) -> tuple[Columns, Floats]:
        """Items whose terms are like those of the profile: their cosine."""
        content = self._shop.content
        terms, weight = self._terms.follow(content.terms, profile, weights)
        if len(terms) > _MOST_TERMS:
            kept = np.argpartition(weight, len(weight) - _MOST_TERMS)[-_MOST_TERMS:]
            terms, weight = terms[kept], weight[kept]
        norm = np.sqrt(weight @ weight)
        return self._content.follow(content.items, terms, weight / norm if norm > 0 else weight)

    def usable(self, columns: Columns, hidden: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which candidates may be listed; `hidden` columns may not."""
        allowed: NDArray[np.bool_] = self._may[columns]
        return allowed & ~np.isin(columns, hidden) if len(hidden) else allowed


def _profile(own: OwnItems) -> tuple[Columns, Floats]:
    """The items that a customer's taste is read from, with their weights."""
    weight = own.weight + own.looked
    if len(weight) <= _MOST_PROFILE:
        return own.columns, weight
    kept = np.argpartition(weight, len(weight) - _MOST_PROFILE)[-_MOST_PROFILE:]
    return own.columns[kept], weight[kept]


def expanded(features: Floats) -> Floats:
    """What the weights of a list apply to: scores over their maximum, and the square roots.

    features  (c, f) >= 0 of the candidates of one list
    Returns   (c, 2 f) in [0, 1]

    >>> expanded(np.array([[4.0, 0.0], [1.0, 0.0]]))
    array([[1.  , 0.  , 1.  , 0.  ],
           [0.25, 0.  , 0.5 , 0.  ]])
    """
    most = features.max(axis=0, initial=0.0)
    unit = np.divide(features, most, out=np.zeros_like(features), where=most > 0)
    return np.concatenate((unit, np.sqrt(unit)), axis=1)


class Utilities(NamedTuple):
    """What some candidates are worth under a list's weights.

    utility  (c,)
    most     (f,) the maximum of each feature among them
    """

    utility: Floats
    most: Floats


def utilities_of(features: Floats, places: Columns, weights: Floats) -> Utilities:
    """`expanded(features[places]) @ weights`, without the arrays between.

    places   (c,) rows of features
    weights  (2 f,)
    """
    most, utility = np.zeros(features.shape[1]), np.zeros(len(places))
    utilities(features, places, weights, most, utility)
    return Utilities(utility, most)


def contributions(features: Floats, places: Columns, weights: Floats, most: Floats) -> Floats:
    """What each member adds to the utility of some candidates.

    most     of `utilities_of`
    Returns  (places, len(MEMBERS)); the sum over members is the utility
    """
    parts = np.zeros((len(places), len(MEMBERS)))
    parts_of(features, places, weights, most, MEMBER_OF, parts)
    return parts
