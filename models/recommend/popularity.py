"""Popularity: what everybody buys these days."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import finite, require, same_shape
from models.recommend.interactions import Interactions, decay

Floats: TypeAlias = NDArray[np.float64]

HALF_LIFE_DAYS = 30.0


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
