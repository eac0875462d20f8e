"""What a family of models is: fit arrays, predict from them, describe what drove a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]
State: TypeAlias = Mapping[str, NDArray[Any]]
Target: TypeAlias = Literal["buy", "orders", "spend"]

TARGETS: tuple[Target, ...] = ("buy", "orders", "spend")


class Family(NamedTuple):
    """One way to forecast from features; the state it fits is plain arrays.

    name       as in the tables of candidates
    targets    which it can forecast: buy in [0, 1], orders >= 0, spend >= 0
    most_rows  a fit gets at most so many rows
    fit        (features (n, d), outcome (n,), target, seed) -> state
    predict    (state, features (n, d), target) -> (n,) finite, in the target's range
    describe   (state, features (n, d)) -> (n, d) what each feature adds on the model's own scale
               (log odds, log mean or the outcome's unit), against an average customer
    has_trees  a refresh walks trees: its price counts (`heads.steps`)

    >>> TARGETS
    ('buy', 'orders', 'spend')
    """

    name: str
    targets: frozenset[Target]
    most_rows: int
    fit: Callable[[Matrix, Rows, Target, int], dict[str, NDArray[Any]]]
    predict: Callable[[State, Matrix, Target], Rows]
    describe: Callable[[State, Matrix], Matrix]
    has_trees: bool = False
