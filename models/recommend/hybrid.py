"""The hybrid: candidates of all members, what each member says of them, and the weighted sum.

A customer's utility of an item is linear in the members' scores and their square roots, each over
its maximum among the list's candidates; weights are learned per shop (`tuning`). Under the model
of choice that they are learned with, exp(difference of utilities) is how much likelier one item is
than another.
"""

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.recommend.candidate_kernels import collect
from models.recommend.content import Content
from models.recommend.cooccurrence import Companions
from models.recommend.heap_kernels import least_of
from models.recommend.popularity import Popularity
from models.recommend.popularity_kernels import relisted
from models.recommend.repeats import OwnItems, RepeatHabits

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
MEMBER_OF: Final = np.array([MEMBERS.index(member) for _, member in FEATURES])

MOST_SIMILAR: Final = 150  # candidates that one member may bring
MOST_TOGETHER: Final = 80
MOST_CONTENT: Final = 60
MOST_POPULAR: Final = 40  # of each trend
_MOST_TERMS: Final = 24  # of a customer's profile
_MOST_PROFILE: Final = 50  # items that together and content start from
_BOUNDS: Final = (MOST_SIMILAR, MOST_TOGETHER, MOST_CONTENT, _MOST_TERMS, _MOST_PROFILE)


class Liked(NamedTuple):
    """What similar customers hold.

    columns  (c,) distinct
    scores   (c,) float64 > 0
    holders  (c,) how many of them bought it
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
    holders   (c,) similar customers who bought it
    """

    columns: Columns
    features: Floats
    bought: NDArray[np.bool_]
    due: NDArray[np.bool_]
    own: Columns
    holders: NDArray[np.int64]


class Shop(NamedTuple):
    """What all customers share; popularity and companions follow the purchases."""

    popularity: Popularity
    companions: Companions
    habits: RepeatHabits
    content: Content


class Collector:
    """Collects one customer's candidates at a time; holds scratch arrays, and what is popular."""

    def __init__(self, shop: Shop, width: int, allowed: NDArray[np.bool_] | None = None) -> None:
        """Serve columns below `width`.

        allowed  (width,) items that may be recommended at all; None = every one
        """
        self.width = width
        self._may = np.ones(width, dtype=np.bool_) if allowed is None else allowed
        self._shop = shop
        terms = len(shop.content.items.starts) - 1
        self._scratch = (
            np.zeros(width),
            np.zeros(width, dtype=np.int16),
            (np.zeros(width + 1, dtype=np.int64), np.zeros(width + 1), np.zeros(width + 1)),
            *np.zeros((2, width), dtype=np.int64),
            np.zeros(terms),
            np.zeros(terms, dtype=np.int64),
        )
        self._risen: list[int] | None = None

    def _popular(self, today: int) -> Columns:
        """The best of each trend as of today, and what rose above their last since."""
        sold = self._shop.popularity
        sold.look(today)
        if self._risen is not sold.risen:
            self._risen, self._heard = sold.risen, len(sold.risen)
            self._listed, self._least = self._most_popular(sold.trends)
        elif self._heard < len(sold.risen):
            new = np.array(sold.risen[self._heard :], dtype=np.int64)
            self._heard = len(sold.risen)
            self._listed = relisted(self._listed, self._least, new, sold.trends, self._may)
        return self._listed

    def _most_popular(self, told: Floats) -> tuple[Columns, Floats]:
        """The columns, and the least value of each trend among its best."""
        count = min(self.width, len(told))
        found, least = [], np.zeros(told.shape[1])
        for number, trend in enumerate(told[:count].T):
            value = np.where(self._may[:count], trend, 0.0)
            least[number] = least_of(value, MOST_POPULAR)[0]
            near = np.flatnonzero((value >= least[number]) & (value > 0))
            found.append(near[np.argsort(-value[near], kind="stable")[:MOST_POPULAR]])
        return np.unique(np.concatenate(found)).astype(np.int64), least

    def collect(self, own: OwnItems, liked: Liked, today: int) -> Candidates:
        """Unite what the members name, and ask each of them about everything."""
        shop = self._shop
        popular = self._popular(today)
        shared = (
            shop.companions.arrays, shop.content.terms, shop.content.items, shop.popularity.trends,
            popular, *shop.habits,
        )  # fmt: skip
        found = collect(own[:-1], tuple(liked), shared, today, self._may, _BOUNDS, self._scratch)
        return Candidates(*found)

    def usable(self, columns: Columns) -> NDArray[np.bool_]:
        """Which items may be recommended at all."""
        allowed: NDArray[np.bool_] = self._may[columns]
        return allowed


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
