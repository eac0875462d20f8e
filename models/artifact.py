"""What a fitted model looks like at rest: named arrays and a JSON object, never a pickle.

Every artifact module has `to_state(model) -> (arrays, meta)` and `from_state(arrays, meta)`.
`from_state` trusts nothing: a missing key or a wrong shape raises ShapeError, a value outside
its domain raises DomainError. The readers below turn one entry of `meta` into its Python type.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import DomainError, ShapeError

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"
Arrays: TypeAlias = dict[str, NDArray[Any]]
Meta: TypeAlias = dict[str, JSON]


def vector(arrays: Mapping[str, NDArray[Any]], name: str, size: int) -> NDArray[np.float64]:
    """Return `arrays[name]` as (size,) finite float64; raise ShapeError or DomainError.

    >>> vector({"btyd": np.ones(3)}, "btyd", 4)
    Traceback (most recent call last):
    models.checks.ShapeError: btyd is (3,), not (4,)
    """
    return matrix(arrays, name, (size,))


def matrix(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return `arrays[name]` as a finite float64 array of this shape; raise as `vector` does."""
    if name not in arrays:
        raise ShapeError(f"state lacks {name}")
    values = np.asarray(arrays[name], dtype=np.float64)
    if values.shape != shape:
        raise ShapeError(f"{name} is {values.shape}, not {shape}")
    if not np.isfinite(values).all():
        raise DomainError(f"{name} is not finite")
    return values


def number(meta: Mapping[str, JSON], name: str) -> float:
    """Return `meta[name]` as a finite float.

    >>> number({"half_life_days": 90}, "half_life_days")
    90.0
    """
    value = meta.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise DomainError(f"{name} is not a finite number")
    return float(value)


def integer(meta: Mapping[str, JSON], name: str) -> int:
    """Return `meta[name]` as an int; a float or a bool raises DomainError."""
    value = meta.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise DomainError(f"{name} is not an integer")
    return value


def text(meta: Mapping[str, JSON], name: str) -> str:
    """Return `meta[name]` as a str; anything else raises DomainError."""
    value = meta.get(name)
    if not isinstance(value, str):
        raise DomainError(f"{name} is not a string")
    return value


def texts(meta: Mapping[str, JSON], name: str) -> tuple[str, ...]:
    """Return `meta[name]` as a tuple of str.

    >>> texts({"items": ["a", "b"]}, "items")
    ('a', 'b')
    """
    value = meta.get(name)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DomainError(f"{name} is not a list of strings")
    if not all(isinstance(entry, str) for entry in value):
        raise DomainError(f"{name} is not a list of strings")
    return tuple(str(entry) for entry in value)
