"""What is sent to a destination: pause, resume, drain, resync, replay; and what would be sent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.failures import LaterError, RefusedError
from worker.session import session
from worker.terminal import AsJson, DryRun, cell, examples, say, show, show_json, table

if TYPE_CHECKING:
    from integrations.destinations import Destination
    from worker.bootstrap import Runtime
    from worker.settings import Settings

DAY_S: Final = 86_400
_LOOK_S: Final = 0.5
_CHUNK: Final = 1000

Name = Annotated[str, typer.Argument(help="As `destinations list` prints it.")]
Customers = Annotated[list[str] | None, typer.Argument(help="Only these customers.")]
Diff = Annotated[
    bool, typer.Option("--diff", help="Show field: old -> new per customer; with --dry-run.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")]


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("pause", epilog=examples("crm-reflex destinations pause hubspot"))(pause)
    group.command("resume", epilog=examples("crm-reflex destinations resume hubspot"))(resume)
    group.command(
        "drain", epilog=examples("crm-reflex destinations drain hubspot --dry-run --diff")
    )(drain)
    group.command(
        "resync",
        epilog=examples(
            "crm-reflex destinations resync hubspot --yes",
            "crm-reflex destinations resync hubspot c-1 c-2 --dry-run --diff",
        ),
    )(resync)
    group.command(
        "replay",
        epilog=examples("crm-reflex destinations replay hubspot --code http_4 --since-days 2"),
    )(replay)


def find(settings: Settings, name: str, *, with_secrets: bool = False) -> Destination:
    """A configured destination; raise RefusedError that names those there are."""
    from worker.destinations import configured  # noqa: PLC0415  nothing unused is loaded

    found = configured(settings, with_secrets=with_secrets)
    for one in found:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in found) or "none is configured"
    raise RefusedError(f"no destination {name!r}; known: {known}")


def pause(name: Name, as_json: AsJson = False) -> None:
    """Send nothing until it is resumed; what changes meanwhile coalesces and waits."""
    with session() as active:
        find(active.settings, name)
        active.destination_store.pause(name)
    _tell({"destination": name, "paused": True}, f"{name} is paused", as_json=as_json)


def resume(name: Name, as_json: AsJson = False) -> None:
    """End a pause, a rest that was asked for, an open breaker, a 410; the alarm goes with it."""
    with session() as active:
        find(active.settings, name)
        resumed = active.destination_store.resume(name)
        active.bells.ring("deliver")
    words = f"{name} {'goes on' if resumed else 'was not paused'}"
    _tell({"destination": name, "resumed": resumed}, words, as_json=as_json)


def drain(
    name: Name,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds to wait; 0: do not wait.")
    ] = 60.0,
    dry_run: DryRun = False,
    diff: Diff = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Let all that waits go now, and wait until nothing is left. Exit 75 if something is.

    Limits hold all the same; a paused destination is not drained.
    """
    with session() as active:
        destination = find(active.settings, name)
        store = active.deliver_store
        rows = [row for row, _ in store.waiting([name])]
        if dry_run:
            customers = [row.customer_id for row in rows]
            _preview(active, destination, customers, limit, "drained", diff=diff, as_json=as_json)
            return
        if active.destination_store.state(name).paused:
            raise RefusedError(f"{name} is paused: `crm-reflex destinations resume {name}` first")
        store.hasten(rows)
        active.bells.ring("deliver")
        left = len(rows)
        deadline = time.monotonic() + timeout_s
        while left and time.monotonic() < deadline:
            time.sleep(min(_LOOK_S, timeout_s))
            left = len(store.waiting([name]))
            say(f"{cell(left)} of {cell(len(rows))} wait")
    if left and timeout_s:
        raise LaterError(f"{cell(left)} deliveries still wait: run it again, or see `list`")
    told = {"destination": name, "hastened": len(rows), "waiting": left}
    words = f"{cell(len(rows))} deliveries were let go, {cell(left)} wait"
    _tell(told, words, as_json=as_json)


def resync(
    name: Name,
    customer_ids: Customers = None,
    yes: Annotated[bool, typer.Option("--yes", help="Everybody, without being asked.")] = False,
    dry_run: DryRun = False,
    diff: Diff = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Send the whole newest state of some customers, or of everybody, whatever the CRM holds."""
    from worker.destinations import is_stream  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        destination = find(active.settings, name)
        if is_stream(destination):
            raise RefusedError(f"{name} takes events, which have no state: see `replay`")
        chosen: Sequence[str] = customer_ids or _everybody(active)
        if dry_run:
            _preview(active, destination, chosen, limit, "resynced", diff=diff, as_json=as_json,
                     everything=True)  # fmt: skip
            return
        if not customer_ids and not yes:
            typer.confirm(f"send the state of {len(chosen):,} customers to {name}?", abort=True)
        done = _send_again(active, name, chosen)
    unknown = sorted(set(customer_ids or ()) - set(done))
    if unknown:
        say(f"no insight of {', '.join(unknown)}", style="yellow")
    told = {"destination": name, "resynced": len(done), "unknown": unknown}
    _tell(told, f"{cell(len(done))} customers are sent again", as_json=as_json)


def replay(
    name: Name,
    customer_ids: Customers = None,
    code: Annotated[str, typer.Option("--code", help="Reasons that begin so: http_4.")] = "",
    since_days: Annotated[
        float | None, typer.Option("--since-days", min=0, help="Given up within so many days.")
    ] = None,
    dry_run: DryRun = False,
    diff: Diff = False,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Send again what was given up: the newest state, or the same event under the same id."""
    from worker.store.letters import Filter  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        destination = find(active.settings, name)
        now_ms = active.clock.now_ms()
        since_ms = None if since_days is None else now_ms - int(1000 * DAY_S * since_days)
        found = active.letters.find(Filter(name, frozenset(customer_ids or ()), code, since_ms))
        customers = list(dict.fromkeys(one.row.customer_id for one in found))
        if dry_run:
            _preview(active, destination, customers, limit, "replayed", diff=diff,
                     as_json=as_json, everything=True)  # fmt: skip
            return
        done = active.letters.replay(found, now_ms) if found else 0
        active.bells.ring("deliver")
    told = {"destination": name, "replayed": done, "customers": customers}
    _tell(told, f"{cell(done)} deliveries are sent again", as_json=as_json)


def _everybody(active: Runtime) -> list[str]:
    known = active.population
    return sorted(one for shard in range(known.shards) for one in known.customer_ids(shard))


def _send_again(active: Runtime, name: str, customers: Sequence[str]) -> list[str]:
    """Put them into the outbox, those that have an insight; who was put."""
    from worker.store.delivering import Row  # noqa: PLC0415  nothing unused is loaded

    done: list[str] = []
    for at in range(0, len(customers), _CHUNK):
        chunk = [(active.keys.shard(one), one) for one in customers[at : at + _CHUNK]]
        known = active.refresh_store.load(chunk)
        rows = [Row(s, name, who) for (s, who), k in zip(chunk, known, strict=True) if k.held.json]
        active.deliver_store.send_again(rows, active.clock.now_ms())
        done += [row.customer_id for row in rows]
        if len(customers) > _CHUNK:
            say(f"{cell(min(at + _CHUNK, len(customers)))} of {cell(len(customers))}")
    active.bells.ring("deliver")
    return done


def _preview(
    active: Runtime,
    destination: Destination,
    customers: Sequence[str],
    limit: int,
    verb: str,
    *,
    diff: bool,
    as_json: bool,
    everything: bool = False,
) -> None:
    if not diff:
        told = {"destination": destination.name, "customers": list(customers), "dry_run": True}
        words = [*customers[:limit], f"{cell(len(customers))} customers would be {verb}"]
        _tell(told, *words, as_json=as_json)
        return
    from worker.preview import previews  # noqa: PLC0415  nothing unused is loaded

    found = previews(active, destination, customers[:limit], everything=everything)
    lines = list(_lines(found))
    if as_json:
        show_json(lines)
        return
    if lines:
        columns = ("customer", "field", "old", "new")
        show(table(columns, [[_shown(one[column]) for column in columns] for one in lines]))
    shown = min(limit, len(customers))
    show(f"{cell(shown)} of {cell(len(customers))} customers looked at, {len(lines)} changes")


def _lines(found: Iterable[Any]) -> Iterable[dict[str, Any]]:
    for one in found:
        for change in one.changes:
            yield {"customer": one.customer_id, **change._asdict()}
        if one.whole:
            insight = f"insight version {one.version}"
            yield {"customer": one.customer_id, "field": "*", "old": None, "new": insight}


def _shown(value: Any) -> str:
    return "(nothing)" if value is None else str(value)


def _tell(told: dict[str, Any], *words: str, as_json: bool) -> None:
    if as_json:
        show_json(told)
    else:
        show(*words)
