"""What goes to the CRM: what waits, what was given up, send again, end a pause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worker.failures import RefusedError
from worker.session import session
from worker.terminal import AsJson, DryRun, examples, instant, pairs, show, show_json, table

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.store.delivering import Row

State = Annotated[
    Literal["all", "waiting", "dead"], typer.Option("--state", help="Which deliveries.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(
        no_args_is_help=True, help="What goes to the CRM: list, show, replay, resume."
    )
    group.command("list", epilog=examples("crm-reflex deliveries list --state dead"))(list_rows)
    group.command("show", epilog=examples("crm-reflex deliveries show c-1"))(show_row)
    group.command(
        "replay",
        epilog=examples("crm-reflex deliveries replay c-1", "crm-reflex deliveries replay --dead"),
    )(replay)
    group.command("resume", epilog=examples("crm-reflex deliveries resume webhook"))(resume)
    app.add_typer(group, name="deliveries")


def list_rows(
    state: State = "all",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List deliveries that wait, soonest first, and those that were given up, newest first."""
    with session() as active:
        waiting = active.deliver_store.waiting() if state != "dead" else []
        dead = active.deliver_store.dead_letters() if state != "waiting" else []
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
    customer_id: Annotated[str, typer.Argument(help="The customer's id.")], as_json: AsJson = False
) -> None:
    """Show how a customer's newest insight stands with the CRM, and the latest attempts."""
    from worker.customer import NoCustomerError, delivery, find  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        try:
            found = find(active, customer_id)
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
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send the newest insight of some customers again."""
    if bool(customer_ids) == dead:
        raise typer.BadParameter("say which: customer ids, or --dead")
    with session() as active:
        if dead:
            rows = [one.row for one in active.deliver_store.dead_letters()]
        else:
            rows = _rows(active, customer_ids or [])
        done = 0
        if rows and not dry_run:
            done = active.deliver_store.replay(rows, active.clock.now_ms())
            active.bells.ring("deliver")
    if as_json:
        chosen = [row.customer_id for row in rows]
        show_json({"replayed": done, "customers": chosen, "dry_run": dry_run})
    elif dry_run:
        show(*(row.customer_id for row in rows), f"{len(rows):,} deliveries would be sent again")
    else:
        show(f"{done:,} deliveries are sent again")


def resume(
    destination: Annotated[str, typer.Argument(help="As `deliveries list` prints it.")] = "webhook",
    as_json: AsJson = False,
) -> None:
    """End a destination's pause.

    A destination pauses by itself: it asked for patience, refused our secret, or said it is gone.
    """
    with session() as active:
        resumed = active.deliver_store.resume(destination)
        if resumed:
            active.bells.ring("deliver")
    if as_json:
        show_json({"destination": destination, "resumed": resumed})
    else:
        show(f"{destination} {'goes on' if resumed else 'was not paused'}")


def _rows(active: Runtime, customer_ids: list[str]) -> list[Row]:
    from worker.deliver import WEBHOOK  # noqa: PLC0415  nothing unused is loaded
    from worker.store.delivering import Row  # noqa: PLC0415  same

    if active.settings.webhook_url is None:
        raise RefusedError("no endpoint is set: set CRM_REFLEX_WEBHOOK_URL")
    rows = [Row(active.keys.shard(one), WEBHOOK, one) for one in customer_ids]
    known = active.refresh_store.load([(row.shard, row.customer_id) for row in rows])
    for row, one in zip(rows, known, strict=True):
        if not one.held.version:
            raise RefusedError(f"customer {row.customer_id!r} has no insight that could be sent")
    return rows


def _line(row: Row, state: str, at_ms: int, detail: str) -> dict[str, Any]:
    return {
        "customer_id": row.customer_id,
        "destination": row.destination,
        "state": state,
        "at": instant(at_ms / 1000),
        "detail": detail or None,
    }
