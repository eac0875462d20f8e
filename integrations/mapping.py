"""Which value of an insight goes to which field of a CRM: pure functions over a few rules.

`mapped` is what a destination should hold of a customer; `changed` is what must be sent so that it
does. Both know only JSON values. A value that is null in the insight is None: the field is cleared.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, model_validator

from integrations.insight_fields import Kind, kind_of, steps_of, value_at

JSON = Any
"""What a JSON document can hold."""

Type = Literal["text", "number", "integer", "boolean", "date", "datetime", "list"]
_NUMERIC: Final = ("number", "integer")
#: What each type can be made from, besides itself; a text can be made from anything.
_FROM: Final[dict[str, tuple[str, ...]]] = {
    "number": _NUMERIC,
    "integer": _NUMERIC,
    "boolean": ("boolean",),
    "date": ("date", "datetime"),
    "datetime": ("datetime",),
}
Value = str | int | float | bool


class Condition(BaseModel):
    """When a field is sent; all that is given must hold, and a null value holds none of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    among: tuple[Value, ...] | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_values(cls, given: Any) -> Any:
        """One value, or a list of values, is short for `among`."""
        if isinstance(given, Mapping):
            return given
        return {"among": given if isinstance(given, list | tuple) else [given]}

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.among, self.at_least, self.at_most) == (None, None, None):
            raise ValueError("should say among, at_least or at_most")
        return self

    def holds(self, value: JSON) -> bool:
        """Does a value of the insight meet it? Of a list, any."""
        if isinstance(value, list):
            return any(self.holds(one) for one in value)
        if value is None or (self.among is not None and value not in self.among):
            return False
        if self.at_least is None and self.at_most is None:
            return True
        if not isinstance(value, int | float):
            return False
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


class MappedField(BaseModel):
    """One rule: a value of the insight becomes the value of a CRM field.

    source     path into the insight (`integrations.insight_fields`)
    target     the field's name at the destination
    type       of the value that is sent; left out: what the source is, a list becomes text
    label      what people see where the field is created; left out: made of the target
    round      decimals that a number is rounded to, half to even
    dead_band  a change of a number by less than this is not sent
    max_items  so many of a list, the first ones
    join       what stands between the values of a list that becomes text
    only_if    conditions by path; all must hold
    otherwise  when they do not: clear the field, or keep what the destination has
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    target: str = Field(min_length=1, max_length=128)
    type: Type = "text"
    label: str = ""
    round: int | None = Field(None, ge=0, le=9)
    dead_band: NonNegativeFloat = 0.0
    max_items: int | None = Field(None, ge=1, le=100)
    join: str = Field(", ", max_length=8)
    only_if: Mapping[str, Condition] = {}
    otherwise: Literal["clear", "keep"] = "clear"

    @model_validator(mode="before")
    @classmethod
    def _infer_type(cls, given: Any) -> Any:
        if (
            not isinstance(given, dict)
            or "type" in given
            or not isinstance(given.get("source"), str)
        ):
            return given
        kind = kind_of(given["source"])
        return given | {"type": "text" if kind.is_list else kind.scalar}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        kind = kind_of(self.source)
        if not _can_be(kind, self.type):
            made = "a list" if kind.is_list else f"a {kind.scalar}"
            raise ValueError(f"{self.source!r} is {made}, which cannot become a {self.type}")
        numeric = self.type in _NUMERIC
        if self.dead_band and not numeric:
            raise ValueError(f"dead_band is for numbers, and {self.target!r} is a {self.type}")
        if self.round is not None and self.type != "number":
            raise ValueError(f"round is for numbers, and {self.target!r} is a {self.type}")
        if self.max_items and not kind.is_list:
            raise ValueError(f"max_items is for lists, and {self.source!r} is none")
        for path in self.only_if:
            kind_of(path)
        return self

    @property
    def shown_as(self) -> str:
        """The label, or one that is made of the target.

        >>> MappedField(source="p_alive", target="reflex_p_alive").shown_as
        'Reflex p alive'
        """
        return self.label or self.target.strip("_").replace("_", " ").capitalize()


class Fields(Protocol):
    """What has rules: a destination."""

    @property
    def fields(self) -> tuple[MappedField, ...]:
        """The rules, no target twice."""
        ...


def mapped(insight: Mapping[str, JSON], destination: Fields) -> dict[str, JSON]:
    """What the destination should hold of a customer: target -> value, None to clear it.

    insight  as read from JSON
    A target is absent only where its condition does not hold and the rule says to keep.
    """
    wanted: dict[str, JSON] = {}
    for rule in destination.fields:
        if rule.only_if and not _applies(rule, insight):
            if rule.otherwise == "clear":
                wanted[rule.target] = None
            continue
        wanted[rule.target] = _converted(value_at(insight, steps_of(rule.source)), rule)
    return wanted


def changed(
    before: Mapping[str, JSON] | None, after: Mapping[str, JSON], destination: Fields
) -> dict[str, JSON]:
    """What must be sent so that a destination that holds `before` holds `after`.

    before  what was last acknowledged; None: unknown, everything is sent, what is to be cleared too
    after   of `mapped`
    Returns targets whose value differs, of numbers by at least the dead-band; None clears. A field
            that the mapping no longer names, or keeps, is left as it is.
    """
    if before is None:
        return dict(after)
    return {
        rule.target: after[rule.target]
        for rule in destination.fields
        if rule.target in after and _differs(before.get(rule.target), after[rule.target], rule)
    }


def _applies(rule: MappedField, insight: Mapping[str, JSON]) -> bool:
    return all(
        condition.holds(value_at(insight, steps_of(path)))
        for path, condition in rule.only_if.items()
    )


def _differs(old: JSON, new: JSON, rule: MappedField) -> bool:
    if old == new:
        return False
    if not rule.dead_band or not _is_number(old) or not _is_number(new):
        return True
    return bool(round(abs(new - old), 9) >= rule.dead_band)  # 0.52 - 0.5 is a hair above 0.02


def _is_number(value: JSON) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _can_be(kind: Kind, wanted: Type) -> bool:
    if wanted == "text":
        return True
    if kind.is_list or wanted == "list":
        return kind.is_list and wanted == "list"
    return kind.scalar in _FROM[wanted]


def _converted(value: JSON, rule: MappedField) -> JSON:
    if value is None:
        return None
    if isinstance(value, list):
        values = value[: rule.max_items]
        if rule.type == "list":
            return values
        return rule.join.join(_text(one) for one in values if one is not None) or None
    if rule.type == "number":
        # adding 0.0 turns -0.0 into 0.0
        return float(value) if rule.round is None else round(float(value), rule.round) + 0.0
    make = _MAKE.get(rule.type)
    return value if make is None else make(value)


def _text(value: JSON) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


_MAKE: Final[dict[str, Callable[[JSON], JSON]]] = {
    "integer": round,
    "date": lambda value: value[:10],
    "text": _text,
}


def duplicates(rules: Sequence[MappedField]) -> tuple[str, ...]:
    """Targets that more than one rule writes."""
    targets = [rule.target for rule in rules]
    return tuple(dict.fromkeys(one for one in targets if targets.count(one) > 1))
