"""The operator's table of exchange rates: a file, checked whole, read again when it changes.

    date,currency,rate
    2026-01-02,USD,0.9200

says that from that day on one US dollar is worth 0.92 of the reporting currency. Money is converted
at the rate of the event's day: the last one stated by then, unless it is too old.
"""

from __future__ import annotations

import csv
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NamedTuple

from integrations.money import EXACT, MINOR_DIGITS
from worker.telemetry import logger

log = logger(__name__)

MOST_PROBLEMS: Final = 20
_COLUMNS: Final = ("date", "currency", "rate")
_EPOCH: Final = date(1970, 1, 1)
_BOUNDS: Final = (Decimal("1e-9"), Decimal("1e9"))


class RatesError(ValueError):
    """The table can't be used; `problems` has one line for each mistake."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Rate(NamedTuple):
    """One unit of `currency` is worth `rate` units of the reporting currency from `day` on.

    day  days since 1970-01-01
    """

    day: int
    currency: str
    rate: Decimal


class Rates:
    """Rates into one reporting currency; without any, only that currency is known.

    max_age_days  a rate counts on its day and so many days after it

    >>> dollars = Rates("EUR", [Rate(100, "USD", Decimal("0.5")), Rate(103, "USD", Decimal(2))], 7)
    >>> [dollars.convert(1000, "USD", day) for day in (99, 100, 102, 103, 110, 111)]
    [None, 500, 500, 2000, 2000, None]
    >>> dollars.convert(1000, "JPY", 100), dollars.convert(1000, "EUR", 0)
    (None, 1000)
    """

    def __init__(self, currency: str, rates: Iterable[Rate] = (), max_age_days: int = 0) -> None:
        self.currency = currency
        self.max_age_days = max_age_days
        table: dict[str, dict[int, Decimal]] = {}
        for one in rates:
            table.setdefault(one.currency, {})[one.day] = one.rate
        self.table: Mapping[str, tuple[tuple[int, ...], tuple[Decimal, ...]]] = {
            code: (tuple(sorted(by_day)), tuple(by_day[day] for day in sorted(by_day)))
            for code, by_day in sorted(table.items())
        }

    def __bool__(self) -> bool:
        return bool(self.table)

    def convert(self, amount_minor: int, currency: str, day: int) -> int | None:
        """Minor units of the reporting currency, half to even; None where no rate is known."""
        if currency == self.currency:
            return amount_minor
        days, rates = self.table.get(currency, ((), ()))
        at = bisect_right(days, day) - 1
        if at < 0 or day - days[at] > self.max_age_days:
            return None
        digits = MINOR_DIGITS[self.currency] - MINOR_DIGITS[currency]
        worth = EXACT.scaleb(EXACT.multiply(Decimal(amount_minor), rates[at]), digits)
        return int(worth.quantize(Decimal(1), ROUND_HALF_EVEN, EXACT))


class RatesFile:
    """The table of a file, as it is now; without a file, no rates.

    A file that can't be used is told in the log once: the rates before it stay, so that a mistake
    in a line of today stops nothing.
    """

    def __init__(self, path: Path | None, currency: str, max_age_days: int) -> None:
        self._path = path
        self._rates = Rates(currency, (), max_age_days)
        self._read: tuple[int, int] | None = (0, 0)

    def __call__(self) -> Rates:
        """The newest table that could be used."""
        if self._path is None:
            return self._rates
        try:
            found = self._path.stat()
            state = (found.st_mtime_ns, found.st_size)
        except OSError:
            state = None
        if state != self._read:
            self._read = state
            before = self._rates
            try:
                self._rates = read_rates(self._path, before.currency, before.max_age_days)
            except RatesError as error:
                log.warning("currency rates refused", reason=error.problems[0])
        return self._rates


def read_rates(path: Path, currency: str, max_age_days: int) -> Rates:
    """The table of a CSV or TOML file.

    currency  of the reports: a row of its own may only say 1
    Raises    RatesError, with one line for each mistake, by file and row
    """
    problems: list[str] = []
    known: dict[tuple[int, str], Decimal] = {}
    for place, row in _rows(path):
        try:
            one = _rate(row, currency)
        except ValueError as error:
            problems.append(f"{path}: {place}: {error}")
        else:
            if known.setdefault((one.day, one.currency), one.rate) != one.rate:
                problems.append(f"{path}: {place}: {one.currency} has another rate on that date")
        if len(problems) == MOST_PROBLEMS:
            break
    if not problems and not known:
        problems.append(f"{path}: it has no rates")
    if problems:
        raise RatesError(problems)
    rates = (Rate(day, code, rate) for (day, code), rate in known.items() if code != currency)
    return Rates(currency, rates, max_age_days)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each row stands, and its cells."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".toml"):
        raise RatesError([f"{path}: the name should end with .csv or .toml"])
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise RatesError([f"{path}: {why}"]) from None
    yield from (_toml_rows if kind == ".toml" else _csv_rows)(path, text)


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise RatesError([f"{path}: the first line lacks {', '.join(missing)}"])
    for row in reader:
        yield f"line {reader.line_num}", row


def _toml_rows(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        found = tomllib.loads(text, parse_float=Decimal).get("rates", [])
    except tomllib.TOMLDecodeError as error:
        raise RatesError([f"{path}: {error}"]) from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise RatesError([f"{path}: should hold tables [[rates]]"])
    for number, row in enumerate(found, 1):
        yield f"rates {number}", row


def _rate(row: Mapping[str, Any], reporting: str) -> Rate:
    """A row; raise ValueError that says what is wrong."""
    told = {name: str(row.get(name) or "").strip() for name in _COLUMNS}
    missing = [name for name in _COLUMNS if not told[name]]
    if missing:
        raise ValueError(f"{', '.join(missing)} is missing")
    try:
        day = (date.fromisoformat(told["date"]) - _EPOCH).days
    except ValueError:
        raise ValueError("date should be like 2026-01-31") from None
    code = told["currency"].upper()
    if code not in MINOR_DIGITS:
        raise ValueError(f"{code[:8]!r} is no ISO 4217 currency")
    try:
        rate = Decimal(told["rate"])
        known = rate.is_finite() and _BOUNDS[0] <= rate <= _BOUNDS[1]
    except InvalidOperation:
        known = False
    if not known:
        raise ValueError("rate should be a number above zero, with a point and without separators")
    if code == reporting and rate != 1:
        raise ValueError(f"{code} is the reporting currency: its rate is 1")
    return Rate(day, code, rate)
