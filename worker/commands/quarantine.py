"""Refused events: look at them, send them in again, drop them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from worker.failures import RefusedError
from worker.session import session
from worker.terminal import AsJson, DryRun, examples, instant, pairs, show, show_json, table

if TYPE_CHECKING:
    from worker.store.quarantine import Quarantine, Quarantined

_ALL = 1_000_000

Names = Annotated[list[str] | None, typer.Argument(help="Names as `quarantine list` prints them.")]
Reason = Annotated[str | None, typer.Option("--reason", help="All that were refused for it.")]
Everything = Annotated[bool, typer.Option("--all", help="All that are held.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Refused events: list, show, replay, drop.")
    group.command("list", epilog=examples("crm-reflex quarantine list --reason bad_time"))(
        list_held
    )
    group.command("show", epilog=examples("crm-reflex quarantine show 17:1700000000000-0"))(
        show_held
    )
    group.command(
        "replay",
        epilog=examples(
            "crm-reflex quarantine replay 17:1700000000000-0",
            "crm-reflex quarantine replay --reason future_time --dry-run",
        ),
    )(replay)
    group.command("drop", epilog=examples("crm-reflex quarantine drop --reason not_json --yes"))(
        drop
    )
    app.add_typer(group, name="quarantine")


def list_held(
    reason: Reason = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List refused events, newest first."""
    with session() as active:
        held = active.quarantine.list(reason=reason, limit=limit)
        total = active.quarantine.count()
    if as_json:
        show_json([_as_dict(one) for one in held])
        return
    rows = [(one.name, _at(one), one.reason, one.path, one.detail) for one in held]
    if rows:
        show(table(("name", "at", "reason", "path", "detail"), rows))
    show(f"{len(held):,} of {total:,} refused events")


def show_held(
    name: Annotated[str, typer.Argument(help="The name as `quarantine list` prints it.")],
    as_json: AsJson = False,
) -> None:
    """Show a refused event with its raw text."""
    with session() as active:
        (one,) = _named(active.quarantine, [name])
    if as_json:
        show_json({**_as_dict(one), "event": one.event.decode(errors="replace")})
    else:
        rows = [
            ("at", _at(one)),
            ("reason", one.reason),
            ("path", one.path),
            ("detail", one.detail),
        ]
        show(pairs(rows, title=one.name), "", one.event.decode(errors="replace"))


def replay(
    names: Names = None,
    reason: Reason = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send refused events in again: after a setting was corrected, or a release that reads them.

    One that is refused again comes back under a new name.
    """
    with session() as active:
        chosen = _chosen(active.quarantine, names, reason, everything)
        done = 0 if dry_run else active.quarantine.replay(chosen)
        if done:
            active.bells.ring("ingest")
    _tell("replayed", "sent in again", chosen, done, dry_run=dry_run, as_json=as_json)


def drop(
    names: Names = None,
    reason: Reason = None,
    everything: Everything = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: drop them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove refused events for good."""
    with session() as active:
        chosen = _chosen(active.quarantine, names, reason, everything)
        if chosen and not dry_run and not yes:
            raise RefusedError(f"{len(chosen):,} events would be lost for good: say so with --yes")
        done = 0 if dry_run else active.quarantine.drop(chosen)
    _tell("dropped", "dropped", chosen, done, dry_run=dry_run, as_json=as_json)


def _chosen(
    held: Quarantine, names: list[str] | None, reason: str | None, everything: bool
) -> list[Quarantined]:
    if sum((bool(names), reason is not None, everything)) != 1:
        raise typer.BadParameter("say which: names, or --reason, or --all")
    return _named(held, names) if names else held.list(reason=reason, limit=_ALL)


def _named(held: Quarantine, names: list[str]) -> list[Quarantined]:
    found = []
    for name in names:
        one = held.find(name) if re.fullmatch(r"(intake|\d{1,4}):\d{1,20}-\d{1,20}", name) else None
        if one is None:
            raise RefusedError(
                f"no refused event is named {name!r}: see `crm-reflex quarantine list`"
            )
        found.append(one)
    return found


def _tell(
    key: str, words: str, chosen: list[Quarantined], done: int, *, dry_run: bool, as_json: bool
) -> None:
    if as_json:
        show_json({key: done, "chosen": [one.name for one in chosen], "dry_run": dry_run})
    elif dry_run:
        show(table(("name", "reason"), [(one.name, one.reason) for one in chosen]))
        show(f"{len(chosen):,} events would be {words}")
    else:
        show(f"{done:,} events {words}")


def _as_dict(one: Quarantined) -> dict[str, object]:
    return {
        "name": one.name,
        "at": _at(one),
        "reason": one.reason,
        "path": one.path,
        "detail": one.detail,
        "bytes": len(one.event),
        "quiet": one.quiet,
    }


def _at(one: Quarantined) -> str | None:
    return instant(int(one.entry_id.partition("-")[0]) / 1000)
