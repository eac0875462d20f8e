"""What recommendations of one shop are made with; it holds no customer."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, Meta, integer, matrix, number, text, texts
from models.checks import DomainError, ShapeError, require
from models.recommend.customer_rows import Decay
from models.recommend.hybrid import FEATURES
from models.recommend.links import Links, links_from_arrays, links_to_arrays, no_links
from models.recommend.repeats import RepeatHabits
from models.recommend.similarity import Similarity
from models.recommend.tuning import RIDGE

Floats: TypeAlias = NDArray[np.float64]

HALF_LIFE_DAYS = 60.0
K_NEIGHBORS = 100
#: Weights before a shop has taught its own: on the scores, then on their square roots.
_BASIC: Final = {
    "own_weight": (1.0, 0.5),
    "own_fast": (0.5, 0.5),
    "own_count": (0.5, 0.5),
    "own_recency": (0.5, 0.0),
    "own_repeat_share": (0.5, 0.0),
    "own_looked": (1.0, 0.5),
    "similar": (1.0, 1.0),
    "together": (0.5, 0.5),
    "together_recent": (0.5, 0.5),
    "popular_week": (0.5, 0.5),
    "popular_fortnight": (0.5, 0.5),
    "popular_first": (0.5, 0.5),
    "content": (0.5, 0.5),
}


def basic_weights() -> Floats:
    """Weights that a shop starts from, (2 f,).

    >>> int((basic_weights() < 0).sum())
    0
    """
    pairs = np.array([_BASIC.get(name, (0.0, 0.0)) for name, _ in FEATURES])
    return np.concatenate((pairs[:, 0], pairs[:, 1]))


class Params(NamedTuple):
    """Settings of a fit, as shipped unless said otherwise.

    half_life_days  of the weights in customers' rows
    k_neighbors     similar customers to ask
    ridge           draws weights to the basic ones
    """

    half_life_days: float = HALF_LIFE_DAYS
    k_neighbors: int = K_NEIGHBORS
    ridge: float = RIDGE


class Weights(NamedTuple):
    """Weights of the lists, each (2 f,): see `hybrid.expanded`.

    everything   one list of what was bought before and what was not
    buy_again    of what was bought before
    new_for_you  of what never was
    """

    everything: Floats
    buy_again: Floats
    new_for_you: Floats


LISTS: Final = Weights._fields


def _basic() -> Weights:
    return Weights(basic_weights(), basic_weights(), basic_weights())


@dataclass(frozen=True, eq=False)
class Recommender:
    """What recommendations of one shop need; it holds no customer.

    half_life_days  of the weights in customers' rows
    t0_day          the day at which an event weighs its own weight
    items           m distinct item ids: column j of the arrays is items[j]
    idf             (m,) > 0, for `NeighborIndex.build`
    habits          how items are bought again, (m,) each
    companions      item -> items that the same customers bought
    buyers          (m,) int32 how many customers had bought each item then
    weights         of the lists
    k_neighbors     similar customers to ask, >= 1
    similarity      how alike customers are
    ridge           drew the weights to the basic ones, > 0
    """

    half_life_days: float
    t0_day: int
    items: tuple[str, ...]
    idf: Floats
    habits: RepeatHabits
    companions: Links
    buyers: NDArray[np.int32]
    weights: Weights = field(default_factory=_basic)
    k_neighbors: int = K_NEIGHBORS
    similarity: Similarity = Similarity.COSINE
    ridge: float = RIDGE

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the parts fit together."""
        m = len(self.items)
        parts = (self.idf, self.buyers, self.habits.repeat_share, self.habits.gap_days)
        if any(part.shape != (m,) for part in parts) or len(self.companions.starts) != m + 1:
            raise ShapeError(f"{m} items, arrays are {[part.shape for part in parts]}")
        require(0 < self.half_life_days < np.inf, "0 < half_life_days < infinity")
        require(len(set(self.items)) == m, "item ids are distinct")
        require(np.isfinite(self.idf) & (self.idf > 0), "idf is finite and > 0")
        require(self.buyers >= 0, "buyers >= 0")
        require(self.habits.gap_days > 0, "gap_days > 0")
        if any(part.shape != (2 * len(FEATURES),) for part in self.weights):
            raise ShapeError(f"weights {[part.shape for part in self.weights]}")
        require(np.isfinite(np.array(self.weights)).all(axis=1), "weights are finite")
        require(self.k_neighbors >= 1, "k_neighbors >= 1")
        require(0 < self.ridge < np.inf, "0 < ridge < infinity")

    @property
    def params(self) -> Params:
        """The settings of the fit."""
        return Params(self.half_life_days, self.k_neighbors, self.ridge)

    @property
    def decay(self) -> Decay:
        """How rows are weighed."""
        return Decay(self.t0_day, self.half_life_days)

    @cached_property
    def column(self) -> dict[str, int]:
        """Column of each item id."""
        return {item: column for column, item in enumerate(self.items)}


def empty_recommender(
    items: tuple[str, ...], *, half_life_days: float = HALF_LIFE_DAYS
) -> Recommender:
    """A recommender of a shop where nothing was bought yet."""
    m = len(items)
    return Recommender(
        half_life_days,
        0,
        items,
        np.ones(m),
        RepeatHabits(np.full(m, 0.5), np.full(m, 30.0), 0.5, 30.0),
        no_links(m),
        np.zeros(m, dtype=np.int32),
    )


def to_state(recommender: Recommender) -> tuple[Arrays, Meta]:
    """Return arrays and JSON from which `from_state` builds an equal recommender."""
    habits = recommender.habits
    arrays: Arrays = {
        "idf": recommender.idf,
        "buyers": recommender.buyers,
        "repeat_share": habits.repeat_share,
        "gap_days": habits.gap_days,
        "weights": np.array(recommender.weights, dtype=np.float64),
        **links_to_arrays(recommender.companions, "companion"),
    }
    meta: Meta = {
        "half_life_days": recommender.half_life_days,
        "t0_day": recommender.t0_day,
        "items": list(recommender.items),
        "k_neighbors": recommender.k_neighbors,
        "similarity": recommender.similarity.name.lower(),
        "ridge": recommender.ridge,
        "shop_repeat": habits.shop_repeat,
        "shop_gap": habits.shop_gap,
        "features": [name for name, _ in FEATURES],
    }
    return arrays, meta


def from_state(arrays: Arrays, meta: Meta) -> Recommender:
    """Return the recommender that `to_state` described; raise ShapeError or DomainError."""
    items = texts(meta, "items")
    m = len(items)
    if texts(meta, "features") != tuple(name for name, _ in FEATURES):
        raise ShapeError("weights are of other features: train anew")
    return Recommender(
        half_life_days=number(meta, "half_life_days"),
        t0_day=integer(meta, "t0_day"),
        items=items,
        idf=matrix(arrays, "idf", (m,)),
        habits=RepeatHabits(
            matrix(arrays, "repeat_share", (m,)),
            matrix(arrays, "gap_days", (m,)),
            number(meta, "shop_repeat"),
            number(meta, "shop_gap"),
        ),
        companions=links_from_arrays(arrays, "companion", m),
        buyers=matrix(arrays, "buyers", (m,)).astype(np.int32),
        weights=Weights(*matrix(arrays, "weights", (len(LISTS), 2 * len(FEATURES)))),
        k_neighbors=integer(meta, "k_neighbors"),
        similarity=_similarity(meta),
        ridge=number(meta, "ridge") if "ridge" in meta else RIDGE,
    )


def _similarity(meta: Meta) -> Similarity:
    """As it was named; versions of before there was a choice have the cosine."""
    name = text(meta, "similarity") if "similarity" in meta else "cosine"
    if name.upper() not in Similarity.__members__:
        raise DomainError("similarity is one of cosine, pearson, euclidean")
    return Similarity[name.upper()]
