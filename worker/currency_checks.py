"""Whether money of other currencies can be converted today."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from worker.currencies import Rates, RatesError, read_rates
from worker.findings import Finding, Level

if TYPE_CHECKING:
    from worker.settings import Settings


class Coverage(NamedTuple):
    """What the table says of one currency.

    rate      the newest
    first, last   days of the first and the newest rate, since 1970-01-01
    gap_days  most days in a row within the table on which the rate before is too old
    known     whether money of today can be converted
    """

    currency: str
    rates: int
    rate: float
    first: int
    last: int
    gap_days: int
    known: bool


def coverage(rates: Rates, today: int) -> list[Coverage]:
    """What the table says of each currency.

    >>> from decimal import Decimal
    >>> from worker.currencies import Rate
    >>> table = Rates("EUR", [Rate(day, "USD", Decimal("0.9")) for day in (100, 120)], 7)
    >>> coverage(table, 125)
    [Coverage(currency='USD', rates=2, rate=0.9, first=100, last=120, gap_days=12, known=True)]
    """
    found = []
    for currency, (days, values) in rates.table.items():
        gaps = [after - day for day, after in pairwise(days)]
        gap = max(0, max(gaps, default=0) - rates.max_age_days - 1)
        known = rates.convert(1, currency, today) is not None
        row = (len(days), float(values[-1]), days[0], days[-1], gap, known)
        found.append(Coverage(currency, *row))
    return found


def day_of(settings: Settings, now_s: int) -> int:
    """The day of an instant in the tenant's time zone, since 1970-01-01."""
    local = datetime.fromtimestamp(now_s, ZoneInfo(settings.time_zone)).date()
    return (local - date(1970, 1, 1)).days


def currency_findings(settings: Settings, now_s: int) -> Iterator[Finding]:
    """Whether the file of rates can be read, and knows today's; nothing without a file."""
    path = settings.currency_rates_file
    if path is None:
        return
    days = settings.currency_rate_max_age_days
    try:
        rates = read_rates(path, settings.reporting_currency, days)
    except RatesError as error:
        advice = "`crm-reflex currencies check` tells each mistake"
        yield Finding("currencies", Level.FAIL, error.problems[0], advice)
        return
    found = coverage(rates, day_of(settings, now_s))
    late = [one.currency for one in found if not one.known]
    if late:
        text = f"{', '.join(late)}: the newest rate is more than {days} days old"
        yield Finding("currencies", Level.WARN, text, f"add newer rates to {path}")
        return
    yield Finding("currencies", Level.OK, f"rates of today for {len(found)} currencies")
