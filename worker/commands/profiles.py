"""Stored profiles: bring them to the current format."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from worker.session import session
from worker.terminal import AsJson, DryRun, examples, pairs, show, show_json

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

#: Entries appended to a shard in one go.
_APPEND = 500


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Stored profiles: migrate.")
    group.callback()(_group)
    group.command("migrate", epilog=examples("crm-reflex profiles migrate --dry-run"))(migrate)
    app.add_typer(group, name="profiles")


def _group() -> None:
    """Nothing of its own: it keeps `migrate` a word of its own."""


def migrate(
    everyone: Annotated[
        bool, typer.Option("--all", help="Write profiles of the current format anew, too.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Have the ingest workers write profiles of older formats anew in the current one.

    Not needed after an upgrade: any release reads all older formats, and an event brings its
    customer's profile along. It ends what an older format costs, and the need to read it.
    """
    from worker.profile.codec import VERSION  # noqa: PLC0415  nothing unused is loaded

    found: Counter[int] = Counter()
    appended = 0
    with session() as active:
        for shard in range(active.keys.shards):
            formats = _formats(active, shard)
            found.update(formats.values())
            due = [who for who, form in formats.items() if everyone or form < VERSION]
            for first in range(0, 0 if dry_run else len(due), _APPEND):
                appended += active.door.migrate(shard, due[first : first + _APPEND])
        if appended:
            active.bells.ring("ingest")
    formats_found = {str(form): count for form, count in sorted(found.items())}
    if as_json:
        show_json({"current": VERSION, "customers": formats_found, "appended": appended})
    else:
        show(pairs(formats_found.items(), title="customers by format"))
        show(f"{appended:,} profiles will be written in format {VERSION}")


def _formats(active: Runtime, shard: int) -> dict[str, int]:
    """The format of every profile of a shard that can be read."""
    from worker.profile.codec import CodecError, version_of  # noqa: PLC0415  nothing unused

    formats = {}
    for one in active.population.residents(shard):
        try:
            formats[one.customer_id] = version_of(one.hot)
        except CodecError:
            continue
    return formats
