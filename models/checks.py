"""Errors of the models, and the guards that raise them.

ModelError
  ShapeError    arrays that should agree in length or rank do not
  DomainError   a value outside the domain of a formula; names the first bad row
  NumericError  a formula left the finite numbers; never a NaN in a result
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_RANKS = {0: "a scalar", 1: "a vector", 2: "a matrix"}


class ModelError(Exception):
    """Base of all that a model may raise."""


class ShapeError(ModelError):
    """Arrays that should agree in length or rank do not."""


class DomainError(ModelError):
    """A value lies outside the domain of a formula."""


class NumericError(ModelError):
    """A formula left the finite numbers."""


def same_shape(**arrays: NDArray[np.generic]) -> None:
    """Raise ShapeError unless all arrays have one shape.

    >>> same_shape(frequency=np.zeros(2), age=np.zeros(3))
    Traceback (most recent call last):
    models.checks.ShapeError: shapes differ: frequency (2,), age (3,)
    """
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ShapeError(f"shapes differ: {shapes}")


def of_rank(rank: int, **arrays: NDArray[np.generic]) -> None:
    """Raise ShapeError unless every array has this rank.

    >>> of_rank(1, day=np.zeros((2, 2)))
    Traceback (most recent call last):
    models.checks.ShapeError: day is (2, 2), not a vector
    """
    for name, array in arrays.items():
        if array.ndim != rank:
            raise ShapeError(f"{name} is {array.shape}, not {_RANKS[rank]}")


def require(ok: ArrayLike, rule: str) -> None:
    """Raise DomainError naming the rule and the first row that breaks it.

    >>> require(np.array([True, False]), "0 <= recency")
    Traceback (most recent call last):
    models.checks.DomainError: row 1 breaks: 0 <= recency
    """
    good = np.asarray(ok, dtype=np.bool_)
    if good.all():
        return
    if good.ndim == 0:
        raise DomainError(f"breaks: {rule}")
    raise DomainError(f"row {int(np.argwhere(~good)[0][0])} breaks: {rule}")


def finite(values: NDArray[np.float64], what: str = "result") -> NDArray[np.float64]:
    """Return the values; raise NumericError if one of them is not finite.

    >>> finite(np.array([1.0, np.nan]), "p_alive")
    Traceback (most recent call last):
    models.checks.NumericError: p_alive is not finite in row 1
    """
    bad = ~np.isfinite(values)
    if bad.any():
        raise NumericError(f"{what} is not finite in row {int(np.argwhere(bad)[0][0])}")
    return values
