"""What recommendations of one shop are made with: idf, popularity and the weights of the blend."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.artifact import Arrays, Meta, integer, matrix, number, texts
from models.checks import ShapeError, require
from models.recommend.interactions import (
    Interactions,
    interaction_matrix,
    inverse_document_frequency,
)
from models.recommend.popularity import item_popularity

Floats: TypeAlias = NDArray[np.float64]

HALF_LIFE_DAYS = 90.0
K_NEIGHBORS = 100


class Blend(NamedTuple):
    """Weights >= 0 of the members of one list."""

    own: float
    neighbors: float
    popularity: float


class Weights(NamedTuple):
    """The blends of the two lists."""

    buy_again: Blend = Blend(own=1.0, neighbors=0.2, popularity=0.1)
    new_for_you: Blend = Blend(own=0.0, neighbors=1.0, popularity=0.7)


@dataclass(frozen=True)
class Recommender:
    """What recommendations of one shop need; it holds no customer.

    half_life_days  of the weights in customers' rows
    t0_day          the day at which an event weighs its own weight
    items           m distinct item ids: column j of the arrays is items[j]
    idf             (m,) > 0, for `NeighborIndex.build`
    popularity      (m,) >= 0
    weights         of the members of each list
    k_neighbors     similar customers to ask, >= 1
    """

    half_life_days: float
    t0_day: int
    items: tuple[str, ...]
    idf: Floats
    popularity: Floats
    weights: Weights = field(default_factory=Weights)
    k_neighbors: int = K_NEIGHBORS

    def __post_init__(self) -> None:
        """Raise ShapeError or DomainError unless the parts fit together."""
        if self.idf.shape != (len(self.items),) or self.popularity.shape != self.idf.shape:
            sizes = f"idf is {self.idf.shape}, popularity {self.popularity.shape}"
            raise ShapeError(f"{len(self.items)} items, {sizes}")
        require(0 < self.half_life_days < np.inf, "0 < half_life_days < infinity")
        require(len(set(self.items)) == len(self.items), "item ids are distinct")
        require(np.isfinite(self.idf) & (self.idf > 0), "idf is finite and > 0")
        require(np.isfinite(self.popularity) & (self.popularity >= 0), "0 <= popularity < infinity")
        blends = np.array(self.weights)
        require((np.isfinite(blends) & (blends >= 0)).all(axis=1), "blend weights are >= 0")
        require(blends.sum(axis=1) > 0, "a blend has a weight > 0")
        require(self.k_neighbors >= 1, "k_neighbors >= 1")

    @cached_property
    def by_popularity(self) -> NDArray[np.int64]:
        """Columns of the items with popularity > 0, most popular first, ties by item id."""
        ids = np.array(self.items, dtype=np.str_) if self.items else np.zeros(0, dtype=np.str_)
        order = np.lexsort((ids, -self.popularity))
        return order[self.popularity[order] > 0]

    @cached_property
    def popularity_or_zero(self) -> Floats:
        """(m + 1,) popularity, and a zero for every item beyond m."""
        return np.append(self.popularity, 0.0)


def fit_recommender(
    interactions: Interactions,
    items: Sequence[str],
    customers: int,
    *,
    as_of_day: int,
    half_life_days: float = HALF_LIFE_DAYS,
    weights: Weights | None = None,
) -> Recommender:
    """Fit idf and popularity on all interactions up to `as_of_day`, which becomes t0.

    interactions  e events; columns index `items`, customers count from 0
    items         m distinct ids
    customers     number of customers, also those without an event
    Raises        ShapeError, DomainError

    >>> zero, one = np.zeros(2, dtype=np.int64), np.ones(2, dtype=np.int64)
    >>> events = Interactions(np.arange(2), zero, np.array([70, 100]), 1.0 * one)
    >>> shop = fit_recommender(events, ["tea", "cup"], 2, as_of_day=100)
    >>> shop.popularity, shop.idf.round(3)
    (array([1.5, 0. ]), array([1.   , 2.099]))
    """
    known = interactions.day <= as_of_day
    past = Interactions(
        interactions.customer[known],
        interactions.item[known],
        interactions.day[known],
        interactions.weight[known],
    )
    rows = interaction_matrix(
        past, customers, len(items), t0_day=as_of_day, half_life_days=half_life_days
    )
    return Recommender(
        half_life_days=half_life_days,
        t0_day=as_of_day,
        items=tuple(items),
        idf=inverse_document_frequency(rows),
        popularity=item_popularity(past, len(items), as_of_day=as_of_day),
        weights=weights or Weights(),
    )


def to_state(recommender: Recommender) -> tuple[Arrays, Meta]:
    """Return arrays and JSON from which `from_state` builds an equal recommender."""
    arrays: Arrays = {
        "idf": recommender.idf,
        "popularity": recommender.popularity,
        "weights": np.array(recommender.weights, dtype=np.float64),
    }
    meta: Meta = {
        "half_life_days": recommender.half_life_days,
        "t0_day": recommender.t0_day,
        "items": list(recommender.items),
        "k_neighbors": recommender.k_neighbors,
    }
    return arrays, meta


def from_state(arrays: Arrays, meta: Meta) -> Recommender:
    """Return the recommender that `to_state` described; raise ShapeError or DomainError."""
    items = texts(meta, "items")
    again, fresh = matrix(arrays, "weights", (2, len(Blend._fields))).tolist()
    return Recommender(
        half_life_days=number(meta, "half_life_days"),
        t0_day=integer(meta, "t0_day"),
        items=items,
        idf=matrix(arrays, "idf", (len(items),)),
        popularity=matrix(arrays, "popularity", (len(items),)),
        weights=Weights(Blend(*again), Blend(*fresh)),
        k_neighbors=integer(meta, "k_neighbors"),
    )
