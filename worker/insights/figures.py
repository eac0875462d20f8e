"""Days and amounts as they leave the models."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from integrations.money import MINOR_DIGITS

_EPOCH: Final = date(1970, 1, 1)
_LAST_DAY: Final = 2_900_000
NO_MODEL: Final = "no model yet: it is trained when enough customers have bought"
CURRENCY_UNKNOWN: Final = "currency unknown"
NO_ORDER: Final = "the customer has not bought yet"


def major(minor: float, currency: str) -> Decimal:
    """Minor units as a decimal of major units.

    >>> major(1250, "EUR")
    Decimal('12.50')
    """
    return Decimal(round(minor)).scaleb(-MINOR_DIGITS[currency])


def to_day(date_text: str) -> int:
    """The day of a date in ISO 8601.

    >>> to_day("2022-01-08")
    19000
    """
    return (date.fromisoformat(date_text) - _EPOCH).days


def to_date(day: int) -> date:
    """The date of a day since 1970-01-01; what lies beyond the calendar is its end.

    >>> to_date(19_000)
    datetime.date(2022, 1, 8)
    """
    return _EPOCH + timedelta(days=min(day, _LAST_DAY))
