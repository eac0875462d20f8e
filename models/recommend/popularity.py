"""Popularity: what everybody buys these days, and what people buy for the first time."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import finite, require, same_shape
from models.recommend.interactions import Interactions, decay

Floats: TypeAlias = NDArray[np.float64]

HALF_LIFE_DAYS = 30.0
WEEK, FORTNIGHT, QUARTER = 7.0, 14.0, 60.0


class Trends(NamedTuple):
    """What sells, each (m,) float64 >= 0, one an item.

    week       decayed weight at a half-life of 7 days
    fortnight  log(1 + that at 14 days)
    quarter    that at 60 days
    first      weight of customers' first purchases of the item at 30 days: what wins new buyers
    """

    week: Floats
    fortnight: Floats
    quarter: Floats
    first: Floats


def item_popularity(
    interactions: Interactions,
    items: int,
    *,
    as_of_day: int,
    half_life_days: float = HALF_LIFE_DAYS,
) -> Floats:
    """Decayed weight of every item over all customers; days after `as_of_day` do not count.

    Returns  (items,) float64 >= 0
    Raises   ShapeError, DomainError

    >>> two = Interactions(np.arange(2), np.arange(2), np.array([70, 100]), np.ones(2))
    >>> item_popularity(two, 3, as_of_day=100)
    array([0.5, 1. , 0. ])
    """
    _, item, day, weight = interactions
    same_shape(item=item, day=day, weight=weight)
    require((item >= 0) & (item < items), f"0 <= item < {items}")
    require(np.isfinite(weight) & (weight >= 0), "event weights are finite and >= 0")
    known = day <= as_of_day
    values = decay(day[known], as_of_day, half_life_days) * weight[known]
    total: Floats = np.bincount(item[known], weights=values, minlength=items).astype(np.float64)
    return finite(total, "item_popularity")


def fit_trends(interactions: Interactions, items: int, *, as_of_day: int) -> Trends:
    """Learn what sells as of a day.

    Raises  ShapeError, DomainError

    >>> two = Interactions(np.zeros(2, int), np.zeros(2, int), np.array([70, 100]), np.ones(2))
    >>> fit_trends(two, 1, as_of_day=100).first
    array([0.5])
    """

    def at(half_life_days: float) -> Floats:
        return item_popularity(
            interactions, items, as_of_day=as_of_day, half_life_days=half_life_days
        )

    return Trends(
        at(WEEK),
        np.log1p(at(FORTNIGHT)),
        at(QUARTER),
        item_popularity(first_purchases(interactions), items, as_of_day=as_of_day),
    )


def first_purchases(interactions: Interactions) -> Interactions:
    """Of each customer and item the first purchase; weights below 1 are no purchases."""
    bought = np.flatnonzero(interactions.weight >= 1)
    customer, item, day = (part[bought] for part in interactions[:3])
    order = np.lexsort((day, item, customer))
    again = np.zeros(len(order), dtype=np.bool_)
    again[1:] = (np.diff(customer[order]) == 0) & (np.diff(item[order]) == 0)
    first = bought[order[~again]]
    return Interactions._make(part[first] for part in interactions)
