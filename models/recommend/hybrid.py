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

    columns   (c,) rising
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
        self._allowed = allowed
        trends = np.zeros((width, len(Trends._fields)))
        m = min(width, len(shop.trends.week))
        trends[:m] = np.column_stack([part[:m] for part in shop.trends])
        self._trends = trends
        self._follower = Follower(width)
        self._terms = Follower(len(shop.content.items.starts) - 1)
        self._value = np.zeros(width)
        self._place = np.full(width, -1, dtype=np.int64)
        self._popular = self._most_popular()

    def _most_popular(self) -> Columns:
        trends = self._trends
        if self._allowed is not None:
            trends = np.where(self._allowed[:, None], trends, 0.0)
        best = np.argsort(-trends, axis=0, kind="stable")[:MOST_POPULAR]
        sold = np.take_along_axis(trends, best, axis=0) > 0
        return np.unique(best[sold]).astype(np.int64)

    def collect(self, own: OwnItems, liked: Liked, today: int) -> Candidates:
        """Unite what the members name, and ask each of them about everything."""
        profile, weights = _profile(own)
        every = self._follower.follow(self._shop.companions, profile, np.ones(len(profile)))
        recent = self._follower.follow(self._shop.companions, profile, weights)
        content = self._alike(profile, weights)
        similar = liked.columns.astype(np.int64), liked.scores
        columns = np.unique(
            np.concatenate(
                (
                    self._best(*similar, MOST_SIMILAR),
                    self._best(*every, MOST_TOGETHER),
                    self._best(*recent, MOST_TOGETHER),
                    self._best(*content, MOST_CONTENT),
                    self._popular,
                    self._permitted(own.columns),
                )
            )
        )
        features = np.zeros((len(columns), len(FEATURES)))
        place = self._lookup(own.columns, columns)
        mine = place >= 0
        count = np.zeros(len(columns), dtype=np.int64)
        count[mine] = own.times[place[mine]]
        said = repeat_features(own, self._shop.habits, today)
        features[mine, :7] = said[place[mine]]
        due = np.ones(len(columns), dtype=np.bool_)
        due[mine] = due_items(own, self._shop.habits, today)[place[mine]]
        features[:, 7] = count > 0
        features[mine, 8] = own.looked[place[mine]]
        features[:, SIMILAR] = self._at(*similar, columns)
        holders = self._at(similar[0], liked.holders.astype(np.float64), columns)
        features[:, SIMILAR + 1] = holders
        features[:, TOGETHER] = self._at(*every, columns)
        features[:, TOGETHER + 1] = self._at(*recent, columns)
        features[:, POPULAR] = self._trends[columns]
        features[:, CONTENT] = self._at(*content, columns)
        return Candidates(columns, features, count > 0, due, place, holders.astype(np.int64))

    def _alike(self, profile: Columns, weights: Floats) -> tuple[Columns, Floats]:
        """Items whose terms are like those of the profile: their cosine."""
        content = self._shop.content
        terms, weight = self._terms.follow(content.terms, profile, weights)
        if len(terms) > _MOST_TERMS:
            kept = np.argpartition(weight, len(weight) - _MOST_TERMS)[-_MOST_TERMS:]
            terms, weight = terms[kept], weight[kept]
        norm = np.sqrt(weight @ weight)
        return self._follower.follow(content.items, terms, weight / norm if norm > 0 else weight)

    def _permitted(self, columns: Columns) -> Columns:
        return columns if self._allowed is None else columns[self._allowed[columns]]

    def usable(self, columns: Columns, hidden: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which candidates may be listed; `hidden` columns may not."""
        allowed = (
            np.ones(len(columns), np.bool_) if self._allowed is None else self._allowed[columns]
        )
        return allowed & ~np.isin(columns, hidden) if len(hidden) else allowed

    def _best(self, columns: Columns, scores: Floats, most: int) -> Columns:
        """The columns of the `most` highest scores that are allowed."""
        if self._allowed is not None:
            usable = self._allowed[columns]
            columns, scores = columns[usable], scores[usable]
        if len(columns) <= most:
            return columns
        return columns[np.argpartition(scores, len(scores) - most)[-most:]]

    def _at(self, columns: Columns, scores: Floats, wanted: Columns) -> Floats:
        """The scores of the wanted columns, 0 for those that have none."""
        self._value[columns] = scores
        found = self._value[wanted]
        self._value[columns] = 0.0
        return found

    def _lookup(self, columns: Columns, wanted: Columns) -> Columns:
        self._place[columns] = np.arange(len(columns))
        found = self._place[wanted]
        self._place[columns] = -1
        return found


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


def contributions(inputs: Floats, weights: Floats) -> Floats:
    """What each member adds to the utility.

    inputs   (c, 2 f) of `expanded`
    weights  (2 f,)
    Returns  (c, len(MEMBERS)); the sum over members is the utility
    """
    f = len(FEATURES)
    product = inputs * weights
    both = product[:, :f] + product[:, f:]
    result = np.zeros((len(inputs), len(MEMBERS)))
    for member in range(len(MEMBERS)):
        result[:, member] = both[:, member == MEMBER_OF].sum(axis=1)
    return result
