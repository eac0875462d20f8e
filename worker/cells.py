"""What is written in a cell of a table: an id, an instant, a number. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from integrations.money import decimal_of
from integrations.rejection import RejectionError

UNIX: Final = {"unix": 1, "unix_ms": 1000}
Instant = Callable[[Any], datetime]
_PLACES: Final = Decimal(1).scaleb(-9)


def text_of(value: Any) -> str:
    """An id or a name: whole numbers as their digits, also where a table holds them as floats.

    >>> text_of(" a1 "), text_of(17850), text_of(17850.0), text_of(None), text_of(float("nan"))
    ('a1', '17850', '17850', '', '')
    """
    if type(value) is str:
        return value.strip()
    if value is None:
        return ""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip()


@lru_cache(maxsize=1 << 16, typed=True)
def number_of(value: Any) -> Decimal | None:
    """The number in a cell, None where it is empty.

    Raises RejectionError.

    >>> number_of(" -2.50 "), number_of("")
    (Decimal('-2.50'), None)
    """
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return decimal_of(value if isinstance(value, int | float) else str(value))


@lru_cache(maxsize=1 << 16, typed=True)
def size_text(value: Any) -> str | None:
    """The number in a cell without its sign, as events write it; None where it is empty.

    Raises RejectionError.

    >>> size_text(-12), size_text(" 1e2 "), size_text(None)
    ('12', '100', None)
    """
    number = number_of(value)
    return None if number is None else plain(abs(number))


def plain(number: Decimal) -> str:
    """A number as events write it: no exponent, at most nine decimals.

    >>> plain(Decimal("1E+2")), plain(Decimal("0.30000000000000004"))
    ('100', '0.300000000')
    """
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -9:
        number = number.quantize(_PLACES)
    return format(number, "f")


def is_negative(value: Any) -> bool:
    """Does a cell hold a number below zero? What cannot be read is none."""
    if value is None:
        return False
    if type(value) is str:
        return value.lstrip()[:1] == "-" and value.strip("-0. ") != ""
    return bool(value < 0)


def instant_reader(zone: tzinfo | None, form: str | None) -> Instant:
    """A function that reads instants, in UTC.

    zone   of times that say none; None = those are refused
    form   of texts, as strptime writes it, or "unix", "unix_ms"; None = ISO 8601

    The function raises RejectionError: bad_time, naive_time, missing_field.

    >>> instant_reader(None, None)("2026-03-01T10:00:00+01:00").isoformat()
    '2026-03-01T09:00:00+00:00'
    """

    def read(value: Any) -> datetime:
        moment = _moment(value, form)
        if moment.tzinfo is None:
            if zone is None:
                raise RejectionError("naive_time", "at")
            moment = moment.replace(tzinfo=zone)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            raise RejectionError("time_out_of_range", "at") from None

    return read


def _moment(value: Any, form: str | None) -> datetime:
    if isinstance(value, str):
        value = value.strip()
    if value is None or value == "":
        raise RejectionError("missing_field", "at")
    try:
        if form in UNIX:
            return datetime.fromtimestamp(float(value) / UNIX[form], UTC)
        if isinstance(value, datetime):
            return value
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day)  # noqa: DTZ001  the zone comes next
        if form is not None:
            return datetime.strptime(str(value), form)  # noqa: DTZ007  same
        if isinstance(value, str):
            return datetime.fromisoformat(value)
    except (ValueError, TypeError, OverflowError, OSError):
        pass
    raise RejectionError("bad_time", "at")
