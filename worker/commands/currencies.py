"""Currencies: whether the file of exchange rates can be used, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.clock import SystemClock
from worker.failures import RefusedError
from worker.terminal import AsJson, examples, show, show_json, table

_COLUMNS = ("currency", "rates", "first", "newest", "longest gap, days", "known today", "worth")


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Currencies: check the exchange rates.")
    group.callback()(_group)
    group.command(
        "check",
        epilog=examples("crm-reflex currencies check", "crm-reflex currencies check rates.csv"),
    )(check)
    app.add_typer(group, name="currencies")


def _group() -> None:
    """Nothing of its own: it keeps `check` a word of its own."""


def check(
    file: Annotated[
        Path | None,
        typer.Argument(help="CSV or TOML; that of the settings if not given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a file of exchange rates: every mistake by its row, else what it says of today.

    Look at `worth`: it tells at once when rates are the wrong way round.
    """
    from worker.currencies import read_rates  # noqa: PLC0415  only where it is used
    from worker.currency_checks import coverage, day_of  # noqa: PLC0415  same
    from worker.insights.figures import to_date  # noqa: PLC0415  same
    from worker.settings import Settings  # noqa: PLC0415  same

    settings = Settings()
    path = file or settings.currency_rates_file
    if path is None:
        raise RefusedError("name a file, or set CRM_REFLEX_CURRENCY_RATES_FILE")
    reporting = settings.reporting_currency
    rates = read_rates(path, reporting, settings.currency_rate_max_age_days)
    found = coverage(rates, day_of(settings, SystemClock().now_s()))
    if as_json:
        rows = [
            one._asdict() | {"first": to_date(one.first), "last": to_date(one.last)}
            for one in found
        ]
        show_json({"file": str(path), "reporting_currency": reporting, "currencies": rows})
        return
    rows_shown = [
        (
            one.currency, one.rates, to_date(one.first), to_date(one.last), one.gap_days, one.known,
            f"1 {one.currency} = {one.rate:g} {reporting}",
        )
        for one in found
    ]  # fmt: skip
    show(table(_COLUMNS, rows_shown))
