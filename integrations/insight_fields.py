"""Which values an insight offers to a mapping: dotted paths, and the kind of value at their end.

Read off the contract (`CustomerInsight`): a field that is added there can be mapped at once.

path                    | value
----------------------- | -----------------------------------------------
`p_alive`               | a field
`segment.name`          | a field of a part
`buy_again.0.item_id`   | of the first part of a list (absent: null)
`buy_again.item_id`     | of every part of a list: a list of values
`abstained.p_alive`     | a value of a table with free names
`horizons.180d.expected_orders` | a field of a part in such a table
"""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel

from integrations.insight import CustomerInsight

Scalar = Literal["text", "number", "integer", "boolean", "date", "datetime"]

_SCALARS: Final[tuple[tuple[type, Scalar], ...]] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (Decimal, "number"),
    (datetime, "datetime"),
    (date, "date"),
    (str, "text"),
)


class Kind(NamedTuple):
    """What stands at the end of a path."""

    scalar: Scalar
    is_list: bool = False


class NoSuchPathError(ValueError):
    """The insight has no such value; the text says what is near."""


@cache
def kind_of(path: str) -> Kind:
    """The kind of value at a path; raise NoSuchPathError, which names the nearest path."""
    if path not in _known():
        steps = path.split(".")
        found = _walk(CustomerInsight, steps)
        if found is None:
            raise NoSuchPathError(_complaint(path))
        return found
    return _known()[path]


def paths() -> tuple[str, ...]:
    """Every path without an index, in the order of the contract."""
    return tuple(_known())


def value_at(insight: Any, steps: tuple[str | int, ...]) -> Any:
    """The value at a path in an insight that was read from JSON; None where a part is absent.

    >>> value_at({"segment": None}, ("segment", "name")) is None
    True
    >>> value_at({"buy_again": [{"item_id": "a"}, {"item_id": "b"}]}, ("buy_again", "item_id"))
    ['a', 'b']
    """
    value = insight
    for at, step in enumerate(steps):
        if isinstance(value, list | tuple):
            if not isinstance(step, int):
                return [value_at(part, steps[at:]) for part in value]
            value = value[step] if step < len(value) else None
        elif isinstance(value, Mapping):
            value = value.get(step)
        if value is None:
            return None
    return value


@cache
def steps_of(path: str) -> tuple[str | int, ...]:
    """A path as `value_at` takes it.

    >>> steps_of("buy_again.0.item_id")
    ('buy_again', 0, 'item_id')
    """
    return tuple(int(part) if part.isdecimal() else part for part in path.split("."))


@cache
def _known() -> dict[str, Kind]:
    return dict(_leaves(CustomerInsight, "", is_list=False))


def _leaves(model: type[BaseModel], prefix: str, *, is_list: bool) -> list[tuple[str, Kind]]:
    found: list[tuple[str, Kind]] = []
    for name, field in model.model_fields.items():
        inner, repeated = _inner(field.annotation)
        many = is_list or repeated
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _leaves(inner, f"{prefix}{name}.", is_list=many)
        elif (scalar := _scalar(inner)) is not None:
            found.append((prefix + name, Kind(scalar, many)))
    return found


def _walk(annotation: Any, steps: list[str]) -> Kind | None:
    """The kind at the end of a path that holds an index or a free name."""
    is_list = False
    for step in steps:
        inner, repeated = _inner(annotation)
        if repeated and step.isdecimal():
            annotation = inner
            continue
        is_list = is_list or repeated
        if get_origin(inner) is dict:
            annotation = get_args(inner)[1]
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            if step not in inner.model_fields:
                return None
            annotation = inner.model_fields[step].annotation
        else:
            return None
    inner, repeated = _inner(annotation)
    scalar = _scalar(inner)
    return scalar and Kind(scalar, is_list or repeated)


def _inner(annotation: Any) -> tuple[Any, bool]:
    """An annotation without metadata and None; and whether it is of many values."""
    if get_origin(annotation) is Annotated and annotation is not AwareDatetime:
        return _inner(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        left = [one for one in get_args(annotation) if one is not NoneType]
        return _inner(left[0]) if len(left) == 1 else (annotation, False)
    if get_origin(annotation) in {tuple, list}:
        return _inner(get_args(annotation)[0])[0], True
    return annotation, False


def _scalar(annotation: Any) -> Scalar | None:
    if annotation is AwareDatetime:
        return "datetime"
    if get_origin(annotation) is Literal:
        annotation = type(get_args(annotation)[0])
    if not isinstance(annotation, type):
        return None
    return next((kind for base, kind in _SCALARS if issubclass(annotation, base)), None)


def _complaint(path: str) -> str:
    inside = [known for known in _known() if known.startswith(path + ".")]
    if inside:
        return f"{path!r} has parts: choose one, such as {inside[0]!r}"
    near = get_close_matches(path, list(_known()), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"an insight has no {path!r}{hint}"
