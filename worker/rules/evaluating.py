"""Whether a condition holds for a customer: yes, no, or not known. Pure.

What is not known (a trait that never came, a forecast that abstains) makes a comparison neither
true nor false, and its negation too: only who certainly fulfills a condition is in the segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any, Final, TypeAlias

from integrations.inbound.names import canonical_name
from integrations.money import MINOR_DIGITS
from worker.profile.ledger import NEVER, week_of
from worker.profile.signals import code_of
from worker.rules.language import (
    All,
    AnyOf,
    Condition,
    Consent,
    Count,
    DaysSince,
    Forecast,
    InSegment,
    Not,
    Spend,
    Trait,
)
from worker.views import Calendar, View

Verdict: TypeAlias = bool | None

_ORDER_DAYS: Final = ("first_order", "last_order")
_SEEN: Final = ("first_seen", "last_seen")


class Known:
    """What is known of one customer at an instant.

    view    traits, consent, orders and signals
    fields  forecasts and segment, as the insight's fields
    """

    def __init__(
        self,
        view: View,
        fields: Mapping[str, Any],
        calendar: Calendar,
        now_s: int,
        currency: str,
    ) -> None:
        self.view = view
        self.fields = fields
        self.calendar = calendar
        self.today = calendar.day(now_s)
        self.week = week_of(now_s)
        self.currency = currency

    @cached_property
    def order_days(self) -> list[int]:
        """The day of each order, in the sequence of `view.orders`."""
        return [self.calendar.day(order.at_s) for order in self.view.orders]

    def told(self, register: str) -> Any:
        """The newest value of a register, None without one."""
        found = self.view.registers.get(register)
        return None if found is None else found[2]


def holds(condition: Condition, known: Known) -> Verdict:
    """True, False, or None where what the condition asks for is not known."""
    return _BY_TYPE[type(condition)](condition, known)


def _all(condition: All, known: Known) -> Verdict:
    answer: Verdict = True
    for inner in condition.all:
        verdict = holds(inner, known)
        if verdict is False:
            return False
        answer = None if verdict is None else answer
    return answer


def _any(condition: AnyOf, known: Known) -> Verdict:
    answer: Verdict = False
    for inner in condition.any:
        verdict = holds(inner, known)
        if verdict:
            return True
        answer = None if verdict is None else answer
    return answer


def _not(condition: Not, known: Known) -> Verdict:
    inner = holds(condition.not_, known)
    return None if inner is None else not inner


def _trait(condition: Trait, known: Known) -> Verdict:
    value = known.told("trait:" + condition.trait)
    if condition.exists is not None and (value is not None) is not condition.exists:
        return False
    if value is None:
        return None if condition.model_fields_set - {"trait", "exists"} else True
    wanted = condition.in_ or (() if condition.is_ is None else (condition.is_,))
    if wanted and not any(_same(value, one) for one in wanted):
        return False
    bounds = (condition.at_least, condition.at_most, condition.above, condition.below)
    if all(bound is None for bound in bounds):
        return True
    number = _as_number(value)
    return None if number is None else _within(number, *bounds)


def _consent(condition: Consent, known: Known) -> Verdict:
    told = known.told("consent:" + condition.consent)
    return None if told is None else bool(told) is condition.is_


def _in_segment(condition: InSegment, known: Known) -> Verdict:
    segment = known.fields.get("segment")
    return None if segment is None else segment.id in condition.segment


def _same(value: Any, wanted: Any) -> bool:
    """Equal, of one kind: 1 is not yes, and "3.5" is 3.5, since profiles keep no floats."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(wanted, str):
        return str(value) == wanted
    return _as_number(value) == _exact(wanted)


def _as_number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    try:
        number = Decimal(value)
    except (ArithmeticError, ValueError, TypeError):
        return None
    return number if number.is_finite() else None


def _counted(condition: Count, known: Known) -> Verdict:
    return _between(_count(condition, known), condition)


def _spent(condition: Spend, known: Known) -> Verdict:
    return _between(_spend(condition, known), condition)


def _silent(condition: DaysSince, known: Known) -> Verdict:
    return _between(_days_since(condition.days_since, known), condition)


def _foretold(condition: Forecast, known: Known) -> Verdict:
    return _between(known.fields.get(condition.forecast), condition)


def _count(condition: Count, known: Known) -> int:
    if condition.count == "orders":
        return sum(
            condition.item is None or any(item == condition.item for item, _ in order.lines)
            for order, day in zip(known.view.orders, known.order_days, strict=True)
            if _recent(day, known.today, condition.within_days)
        )
    code = code_of(canonical_name(condition.count))
    return sum(
        one.times
        for one in known.view.signals
        if one.code == code
        and (condition.item is None or one.item == condition.item)
        and _recent(one.week, known.week, condition.within_weeks)
    )


def _recent(unit: int, now: int, within: int | None) -> bool:
    """Does it lie among the last so many days or weeks, today's included?"""
    return within is None or unit > now - within


def _spend(condition: Spend, known: Known) -> Decimal | None:
    recent = [
        order
        for order, day in zip(known.view.orders, known.order_days, strict=True)
        if order.amount_minor is not None and _recent(day, known.today, condition.within_days)
    ]
    if any(order.amount_minor and order.currency != known.currency for order in recent):
        return None  # no rate is known: a sum without it would be too small
    paid = [order.amount_minor or 0 for order in recent]
    total = Decimal(sum(paid)).scaleb(-MINOR_DIGITS[known.currency])
    if condition.spend == "total":
        return total
    return total / len(paid) if paid else None


def _days_since(what: str, known: Known) -> int | None:
    if what in _ORDER_DAYS:
        days = known.order_days
        day = (min(days) if what == "first_order" else max(days)) if days else None
    elif what in _SEEN:
        at_s = known.view.first_s if what == "first_seen" else known.view.last_s
        day = None if at_s == NEVER else known.calendar.day(at_s)
    else:
        last_s = known.view.last_signals.get(code_of(canonical_name(what)))
        day = None if last_s is None else known.calendar.day(last_s)
    return None if day is None else max(0, known.today - day)


def _between(number: Any, bounds: Count | Spend | DaysSince | Forecast) -> Verdict:
    if number is None:
        return None
    if bounds.is_ is not None and _exact(number) != _exact(bounds.is_):
        return False
    return _within(number, bounds.at_least, bounds.at_most, bounds.above, bounds.below)


def _within(number: Any, at_least: Any, at_most: Any, above: Any, below: Any) -> bool:
    exact = _exact(number)
    return (
        (at_least is None or exact >= _exact(at_least))
        and (at_most is None or exact <= _exact(at_most))
        and (above is None or exact > _exact(above))
        and (below is None or exact < _exact(below))
    )


@lru_cache(maxsize=4096)
def _exact(number: float | Decimal) -> Decimal:
    """The number as it is written: 100.1 is at most 100.1, be one of them a decimal."""
    return Decimal(str(number))


_BY_TYPE: Final[Mapping[type, Callable[[Any, Known], Verdict]]] = {
    All: _all,
    AnyOf: _any,
    Not: _not,
    Trait: _trait,
    Consent: _consent,
    Count: _counted,
    Spend: _spent,
    DaysSince: _silent,
    Forecast: _foretold,
    InSegment: _in_segment,
}
