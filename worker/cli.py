"""The command line: `crm-reflex COMMAND`, also `python -m worker.cli COMMAND`."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Final

import typer

from worker.commands import (
    backfill,
    catalog,
    currencies,
    customers,
    deliveries,
    demo,
    destinations,
    events,
    forecasts,
    health,
    models,
    profiles,
    quarantine,
    recommendations,
    run,
    segments,
)
from worker.failures import failure_of
from worker.terminal import say

HELP: Final = """Customer events in, CRM up to date seconds later.

Settings come from CRM_REFLEX_* variables, .env or crm-reflex.toml; `crm-reflex config` shows them.
Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 refused or failed,
2 wrong usage, 75 try again later."""

app = typer.Typer(
    name="crm-reflex",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed  # noqa: PLC0415  slow to load

        typer.echo(f"crm-reflex {installed('crm-reflex')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Nothing of its own: the options of the program itself."""


for _group in (
    run, events, backfill, customers, health, quarantine, destinations, deliveries, models,
    segments, forecasts, currencies, recommendations, catalog, profiles, demo,
):  # fmt: skip
    _group.register(app)


def main() -> None:
    """Run one command and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="crm-reflex")
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            raise
        say(f"crm-reflex: {failure.message}", style="red")
        sys.exit(failure.code)


if __name__ == "__main__":
    main()
