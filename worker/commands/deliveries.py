"""What goes to the CRM: what waits, what was given up, send again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worker.failures import RefusedError
from worker.session import session
from worker.terminal import AsJson, DryRun, examples, instant, pairs, show, show_json, table

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.store.delivering import Row

Destination = Annotated[
    str | None, typer.Option("--destination", "-d", help="Only of this destination.")
]
State = Annotated[
    Literal["all", "waiting", "dead"], typer.Option("--state", help="Which deliveries.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="What goes to the CRM: list, show, replay.")
    group.command("list", epilog=examples("crm-reflex deliveries list --state dead"))(list_rows)
    group.command("show", epilog=examples("crm-reflex deliveries show c-1"))(show_row)
    group.command(
        "replay",
        epilog=examples("crm-reflex deliveries replay c-1", "crm-reflex deliveries replay --dead"),
    )(replay)
    app.add_typer(group, name="deliveries")


def list_rows(
    state: State = "all",
    destination: Destination = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List deliveries that wait, soonest first, and those that were given up, newest first."""
    from worker.store.letters import Filter  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        names = [destination] if destination else active.destination_names
        waiting = active.deliver_store.waiting(names) if state != "dead" else []
        dead = active.letters.find(Filter(destination)) if state != "waiting" else []
    rows = [
        *(_line(row, "waiting", due_ms, "") for row, due_ms in waiting),
        *(_line(one.row, "dead", one.at_ms, one.detail) for one in dead),
    ]
    if as_json:
        show_json(rows[:limit])
        return
    if rows:
        columns = ("customer_id", "destination", "state", "at", "detail")
        show(table(columns, [[row[name] for name in columns] for row in rows[:limit]]))
    shown = f"{min(limit, len(rows)):,} of {len(rows):,}"
    show(f"{shown}: {len(waiting):,} wait, {len(dead):,} were given up")


def show_row(
    customer_id: Annotated[str, typer.Argument(help="The customer's id.")],
    destination: Destination = None,
    as_json: AsJson = False,
) -> None:
    """Show how a customer's newest insight stands with a destination, and the latest attempts."""
    from worker.customer import NoCustomerError, delivery, find  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        try:
            found = find(active, customer_id, destination)
        except NoCustomerError:
            raise RefusedError(f"no customer {customer_id!r} is known") from None
        told = delivery(active, found)
    attempts = [{"at": instant(one.at_ms / 1000), **one._asdict()} for one in found.attempts]
    if as_json:
        show_json({"customer_id": customer_id, **told, "log": attempts})
        return
    rows = [
        (name.replace("_", " "), value) for name, value in told.items() if name != "last_attempt"
    ]
    show(pairs(rows, title=customer_id))
    if attempts:
        columns = ("at", "outcome", "delivery_id", "version", "detail")
        show("", table(columns, [[one[name] for name in columns] for one in attempts]))


def replay(
    customer_ids: Annotated[
        list[str] | None, typer.Argument(help="Customers whose newest insight is sent again.")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All that were given up.")] = False,
    destination: Destination = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send the newest insight of some customers again; `destinations replay` has more filters."""
    from worker.store.letters import Filter  # noqa: PLC0415  nothing unused is loaded

    if bool(customer_ids) == dead:
        raise typer.BadParameter("say which: customer ids, or --dead")
    with session() as active:
        letters = active.letters.find(Filter(destination)) if dead else []
        rows = [one.row for one in letters] or _rows(active, customer_ids or [], destination)
        done, now_ms = 0, active.clock.now_ms()
        if rows and not dry_run:
            done = (
                active.letters.replay(letters, now_ms)
                if dead
                else active.deliver_store.send_again(rows, now_ms)
            )
            active.bells.ring("deliver")
    if as_json:
        chosen = [row.customer_id for row in rows]
        show_json({"replayed": done, "customers": chosen, "dry_run": dry_run})
    elif dry_run:
        show(*(row.customer_id for row in rows), f"{len(rows):,} deliveries would be sent again")
    else:
        show(f"{done:,} deliveries are sent again")


def _rows(active: Runtime, customer_ids: list[str], destination: str | None) -> list[Row]:
    from worker.destinations import is_stream  # noqa: PLC0415  nothing unused is loaded
    from worker.store.delivering import Row  # noqa: PLC0415  same

    if not customer_ids:
        return []
    names = [
        one.name
        for one in active.destinations
        if not is_stream(one) and destination in {None, one.name}
    ]
    if not names:
        raise RefusedError("no destination of insights: set CRM_REFLEX_WEBHOOK_URL, or name one")
    customers = [(active.keys.shard(one), one) for one in customer_ids]
    for (_, customer), known in zip(customers, active.refresh_store.load(customers), strict=True):
        if not known.held.version:
            raise RefusedError(f"customer {customer!r} has no insight that could be sent")
    return [Row(shard, name, customer) for shard, customer in customers for name in names]


def _line(row: Row, state: str, at_ms: int, detail: str) -> dict[str, Any]:
    return {
        "customer_id": row.customer_id,
        "destination": row.destination,
        "state": state,
        "at": instant(at_ms / 1000),
        "detail": detail or None,
    }
