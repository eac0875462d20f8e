"""The language of rule segments, as data (docs/segments.md has a table of it).

A condition is one mapping: `all`, `any` or `not` over others, or a subject (`trait`, `consent`,
`count`, `spend`, `days_since`, `forecast`, `segment`) with what it is compared to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    PositiveInt,
    StrictBool,
    StrictInt,
    Tag,
    model_validator,
)

ID: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
MOST_CONDITIONS: Final = 200
DEEPEST: Final = 12
MOST_DAYS: Final = 36_500


def _number(given: Any) -> int | float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise ValueError("should be a finite number")
    return given


def _scalar(given: Any) -> bool | float | str:
    return given if isinstance(given, bool | str) else _number(given)


Scalar: TypeAlias = Annotated[bool | int | float | str, PlainValidator(_scalar)]
Number: TypeAlias = Annotated[int | float, PlainValidator(_number)]
Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=200)]
Days: TypeAlias = Annotated[PositiveInt, Field(le=MOST_DAYS)]

ForecastName: TypeAlias = Literal[
    "p_alive",
    "churn_probability",
    "purchase_probability_30d",
    "purchase_probability_90d",
    "expected_orders_90d",
    "predicted_number_of_orders",
    "expected_spend_90d",
    "clv_12m",
    "predicted_clv",
    "total_clv",
]
FORECASTS: Final[tuple[str, ...]] = get_args(ForecastName)


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class _Numeric(_Node):
    """What a number is compared to; every bound that is given holds."""

    is_: Number | None = Field(None, alias="is")
    at_least: Number | None = None
    at_most: Number | None = None
    above: Number | None = None
    below: Number | None = None

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        given = (self.is_, self.at_least, self.at_most, self.above, self.below)
        if all(bound is None for bound in given):
            raise ValueError("needs `is`, `at_least`, `at_most`, `above` or `below`")
        low = [one for one in (self.at_least, self.above, self.is_) if one is not None]
        high = [one for one in (self.at_most, self.below, self.is_) if one is not None]
        if low and high:
            least, most = max(low), min(high)
            open_end = least in (self.above, self.below) and least == most
            if least > most or open_end:
                raise ValueError(f"no number lies between {least} and {most}")
        return self


class All(_Node):
    """Every condition holds."""

    all: tuple[Condition, ...] = Field(min_length=1)


class AnyOf(_Node):
    """At least one condition holds."""

    any: tuple[Condition, ...] = Field(min_length=1)


class Not(_Node):
    """The condition is known and does not hold."""

    not_: Condition = Field(alias="not")


class Trait(_Node):
    """A trait: equal to a value, one of several, there at all, or within bounds."""

    trait: Text
    is_: Scalar | None = Field(None, alias="is")
    in_: tuple[Scalar, ...] | None = Field(None, alias="in", min_length=1)
    exists: StrictBool | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    above: Number | None = None
    below: Number | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set - {"trait"}:
            raise ValueError("needs `is`, `in`, `exists` or a bound")
        if any(getattr(self, name) is None for name in self.model_fields_set):
            raise ValueError("null is no value: use `exists: false`")
        if self.is_ is not None and self.in_ is not None:
            raise ValueError("takes `is` or `in`, not both")
        kinds = {isinstance(value, bool) for value in self.in_ or ()}
        if len(kinds) > 1:
            raise ValueError(
                "`in` mixes yes/no with other values: quote them (YAML reads a bare no as false)"
            )
        return self


class Consent(_Node):
    """Consent to a channel, as last told."""

    consent: Text
    is_: StrictBool = Field(True, alias="is")


class Count(_Numeric):
    """How many counted orders, or signals of a name; of an item, within a window."""

    count: Text
    item: Text | None = None
    within_days: Days | None = None
    within_weeks: Days | None = None

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.count == "orders" and self.within_weeks is not None:
            raise ValueError("orders are counted `within_days`")
        if self.count != "orders" and self.within_days is not None:
            raise ValueError("signals are kept by week: use `within_weeks`")
        return self


class Spend(_Numeric):
    """Money of counted orders in the reporting currency, in major units."""

    spend: Literal["total", "average"]
    within_days: Days | None = None


class DaysSince(_Numeric):
    """Days since the first or last order, since the customer was first or last seen, or since a
    signal of a name.
    """

    days_since: Text


class Forecast(_Numeric):
    """A forecast of the insight; not known where it abstains."""

    forecast: ForecastName


class InSegment(_Node):
    """The customer is in one of these segments, by id."""

    segment: Annotated[
        tuple[StrictInt, ...],
        Field(min_length=1),
        BeforeValidator(lambda given: [given] if isinstance(given, int) else given),
    ]


_NODES: Final[Mapping[str, type[_Node]]] = {
    "all": All,
    "any": AnyOf,
    "not": Not,
    "trait": Trait,
    "consent": Consent,
    "count": Count,
    "spend": Spend,
    "days_since": DaysSince,
    "forecast": Forecast,
    "segment": InSegment,
}
SUBJECTS: Final = tuple(_NODES)


def tag(name: str) -> str:
    """How pydantic names a kind of condition in the place of a mistake."""
    return f"<{name}>"


def _kind(given: Any) -> str | None:
    if isinstance(given, _Node):
        return next(tag(name) for name, node in _NODES.items() if isinstance(given, node))
    if not isinstance(given, Mapping):
        return None
    found = [name for name in _NODES if name in given]
    return tag(found[0]) if len(found) == 1 else None


Condition: TypeAlias = Annotated[
    Annotated[All, Tag("<all>")]
    | Annotated[AnyOf, Tag("<any>")]
    | Annotated[Not, Tag("<not>")]
    | Annotated[Trait, Tag("<trait>")]
    | Annotated[Consent, Tag("<consent>")]
    | Annotated[Count, Tag("<count>")]
    | Annotated[Spend, Tag("<spend>")]
    | Annotated[DaysSince, Tag("<days_since>")]
    | Annotated[Forecast, Tag("<forecast>")]
    | Annotated[InSegment, Tag("<segment>")],
    Discriminator(
        _kind,
        custom_error_type="condition",
        custom_error_message=f"should be a mapping with exactly one of {', '.join(_NODES)}",
    ),
]

for _node in (All, AnyOf, Not):
    _node.model_rebuild()


class Rule(_Node):
    """A rule segment.

    id           for ever: what insights and transitions name
    name         for people; the id if not given
    name_zh      the same in Chinese
    when         who is in it
    """

    id: str = Field(pattern=ID)
    name: Text | None = None
    name_zh: Text | None = None
    description: Annotated[str, Field(max_length=1_000)] = ""
    when: Condition

    @model_validator(mode="after")
    def _is_small(self) -> Self:
        sizes = list(_depths(self.when))
        if len(sizes) > MOST_CONDITIONS:
            raise ValueError(f"has {len(sizes)} conditions; at most {MOST_CONDITIONS}")
        if max(sizes) > DEEPEST:
            raise ValueError(f"conditions lie {max(sizes)} deep; at most {DEEPEST}")
        return self

    @property
    def title(self) -> str:
        """The name, or the id."""
        return self.name or self.id


def conditions(of: Condition) -> Iterator[Condition]:
    """A condition and all within it."""
    yield of
    for inner in _inner(of):
        yield from conditions(inner)


def uses_models(rule: Rule) -> bool:
    """Whether a new model can move anybody in or out of it."""
    return any(isinstance(one, Forecast | InSegment) for one in conditions(rule.when))


def _depths(of: Condition, depth: int = 1) -> Iterator[int]:
    yield depth
    for inner in _inner(of):
        yield from _depths(inner, depth + 1)


def _inner(of: Condition) -> tuple[Condition, ...]:
    if isinstance(of, All):
        return of.all
    if isinstance(of, AnyOf):
        return of.any
    return (of.not_,) if isinstance(of, Not) else ()
