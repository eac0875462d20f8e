"""The catalog: load it from a file, look an item up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.failures import FAILED, RefusedError
from worker.session import session
from worker.terminal import AsJson, examples, pairs, say, show, show_json, table

if TYPE_CHECKING:
    from worker.catalog import BadRow

_TOLD = 20  # bad rows that are printed


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="The catalog: load it, look an item up.")
    group.command(
        "load", epilog=examples("crm-reflex catalog load products.csv", "... --dry-run --json")
    )(load)
    group.command("show", epilog=examples("crm-reflex catalog show tea"))(show_item)
    app.add_typer(group, name="catalog")


def load(
    file: Annotated[Path, typer.Argument(help="CSV, JSON Lines or Parquet, one item a row.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """State items: id, name, category, brand, price, cost, available, deleted.

    An item that is not in the file stays as it is; `deleted` takes one away. Rows that cannot be
    read are told and left out: then the exit code is 1. To load a file again is harmless.
    """
    from worker.catalog import read_rows, rows_of  # noqa: PLC0415  numpy: only where it is used

    if not file.is_file():
        raise RefusedError(f"{file}: there is no such file")
    bad: list[BadRow] = []
    with session(create=True) as active:
        stated = read_rows(
            rows_of(file), active.settings.reporting_currency, active.clock.now_s(), bad
        )
        if dry_run:
            total = sum(1 for _ in stated)
            changed = 0
        else:
            rows = list(stated)
            total, changed = len(rows), active.catalog.put(rows)
    if as_json:
        show_json({"rows": total, "changed": changed, "bad": [one._asdict() for one in bad]})
    else:
        show(f"{total} items read, {changed} changed, {len(bad)} rows left out")
        if bad:
            show("", table(("row", "why"), bad[:_TOLD]))
            say(f"{len(bad)} rows were left out", style="yellow")
    if bad:
        sys.exit(FAILED)


def show_item(
    item_id: Annotated[str, typer.Argument(help="The item's id.")], as_json: AsJson = False
) -> None:
    """Show what the catalog says of an item."""
    with session() as active:
        found = active.catalog.find(item_id)
    if found is None:
        raise RefusedError(f"the catalog does not know {item_id!r}")
    if as_json:
        show_json(found._asdict())
    else:
        show(pairs(list(found._asdict().items()), title=item_id))
