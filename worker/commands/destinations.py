"""Where insights go: list, add, test, prepare the fields. What is sent: `destination_flow`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.commands import destination_flow
from worker.failures import LaterError, RefusedError
from worker.session import session
from worker.terminal import (
    AsJson,
    DryRun,
    cell,
    examples,
    instant,
    say,
    show,
    show_json,
    span,
    table,
)

if TYPE_CHECKING:
    from integrations.destinations import Destination
    from worker.bootstrap import Runtime

DEFAULT_FILE: Final = Path("destinations.toml")

Name = Annotated[str, typer.Argument(help="As `destinations list` prints it.")]
Pairs = Annotated[list[str] | None, typer.Option("--option", "-o", help="KEY=VALUE, repeatable.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Where insights go: list, add, test, schema, pause, resume, drain, resync, replay.",
    )
    group.command("list", epilog=examples("crm-reflex destinations list --json"))(list_all)
    group.command(
        "add",
        epilog=examples(
            "crm-reflex destinations add hubspot --adapter hubspot -o id_property=reflex_id"
            " --secret token=env:HUBSPOT_TOKEN"
        ),
    )(add)
    group.command("test", epilog=examples("crm-reflex destinations test hubspot --customer c-1"))(
        try_out
    )
    group.command("schema", epilog=examples("crm-reflex destinations schema hubspot --dry-run"))(
        schema
    )
    destination_flow.register(group)
    app.add_typer(group, name="destinations")


def list_all(as_json: AsJson = False) -> None:
    """List destinations: what waits, what was given up, calls of today, pauses and alarms."""
    with session() as active:
        rows = [_standing(active, one) for one in active.destinations]
    if as_json:
        show_json(rows)
        return
    if not rows:
        show("no destination: set CRM_REFLEX_DESTINATIONS_FILE, or see `destinations add --help`")
        return
    columns = ("name", "adapter", "state", "waiting", "dead", "calls_today", "alarm")
    show(table(columns, [[row[column] for column in columns] for row in rows]))


def add(
    name: Annotated[str, typer.Argument(help="Lower case, digits, - and _.")],
    adapter: Annotated[str, typer.Option("--adapter", "-a", help="Kind of destination.")],
    option: Pairs = None,
    secret: Annotated[
        list[str] | None,
        typer.Option("--secret", help="KEY=env:VARIABLE or KEY=file:PATH, repeatable."),
    ] = None,
    pattern: Annotated[
        str, typer.Option("--fields", help="Names of the CRM's fields, * for ours; - for none.")
    ] = "reflex_*",
    file: Annotated[Path | None, typer.Option("--file", help="Destinations file (TOML).")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Append a destination with a starter mapping to the destinations file.

    Adapters: `crm-reflex destinations add NAME --adapter x` lists them.
    """
    from integrations.destinations import load_destinations  # noqa: PLC0415  nothing unused
    from integrations.outbound.registry import adapter_class  # noqa: PLC0415  same
    from worker import scaffold  # noqa: PLC0415  same

    options, secrets = _pairs(option, "--option"), _pairs(secret, "--secret")
    wrong = [f"--secret {key}: should be env:VARIABLE or file:PATH" for key, value in
             secrets.items() if value.partition(":")[0] not in {"env", "file"}]  # fmt: skip
    wrong += scaffold.lacking(adapter_class(adapter).options_type, options, secrets)
    if wrong:
        raise RefusedError("\n".join(wrong))
    path = file or _file_of_settings() or DEFAULT_FILE
    if path.suffix != ".toml":
        raise RefusedError(f"{path}: is no TOML file: add the table by hand")
    held = path.read_text(encoding="utf-8") if path.exists() else ""
    if held and any(one.name == name for one in load_destinations(path, None)):
        raise RefusedError(f"{path}: there is a destination {name!r} already")
    targets = [] if pattern == "-" else [pattern.replace("*", s.name) for s in scaffold.STARTERS]
    text = scaffold.table(name, adapter, options, secrets, targets=targets)
    if not dry_run:
        _write_checked(path, held + ("\n" if held else "") + text)
    if as_json:
        show_json({"name": name, "adapter": adapter, "file": str(path), "dry_run": dry_run,
                   "table": text})  # fmt: skip
    elif dry_run:
        show(text)
    if dry_run:
        return
    say(f"{path}: destination {name} added; `crm-reflex destinations test {name}` tries it")
    if file is None and not _file_of_settings():
        say(f"set CRM_REFLEX_DESTINATIONS_FILE={path} and restart the workers")


def try_out(
    name: Name,
    customer: Annotated[
        str | None, typer.Option("--customer", help="Write this customer's state, past the outbox.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try a destination: options, token, fields; with --customer, one write. Exit 1 if it fails."""
    from worker.clock import SystemClock  # noqa: PLC0415  nothing unused is loaded
    from worker.delivery.channel import channel_of  # noqa: PLC0415  same
    from worker.settings import Settings  # noqa: PLC0415  same
    from worker.trial import steps  # noqa: PLC0415  same

    destination = destination_flow.find(Settings(), name, with_secrets=True)
    channel = channel_of(destination)
    row = None
    if customer is not None:
        with session() as active:
            row = _row(active, destination, customer)
    done = list(steps(channel, destination, row, at_s=SystemClock().now_s))
    if as_json:
        show_json([one._asdict() for one in done])
    else:
        show(table(("step", "ok", "detail"), done))
    if not all(one.ok for one in done):
        raise typer.Exit(1)


def schema(name: Name, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Compare the mapping with the CRM's fields, and create those that lack. Deletes nothing.

    With --dry-run it only tells; exit 1 while a field lacks or has another type.
    """
    from integrations.outbound.errors import TransportError  # noqa: PLC0415  nothing unused
    from worker import trial  # noqa: PLC0415  same
    from worker.clock import SystemClock  # noqa: PLC0415  same
    from worker.delivery.channel import channel_of  # noqa: PLC0415  same
    from worker.settings import Settings  # noqa: PLC0415  same

    destination = destination_flow.find(Settings(), name, with_secrets=True)
    channel, at_s = channel_of(destination), SystemClock().now_s()
    try:
        report = trial.schema(channel, destination, at_s=at_s, dry_run=dry_run)
    except (trial.NoSchemaError, trial.NoTokenError) as error:
        raise RefusedError(str(error)) from None
    except TransportError as error:
        raise LaterError(f"{name} does not answer: {type(error).__name__}: {error}") from None
    found, left = (
        [{"field": one.field.name, "type": one.field.type, "detail": one.detail,
          "can_create": one.can_create} for one in some]
        for some in (report.differences, report.left)
    )  # fmt: skip
    trouble = "" if report.trouble is None else f"{report.trouble.code}: {report.trouble.detail}"
    refused = [f"{one.code}: {one.detail}" for one in report.outcomes if one.verdict != "ok"]
    if as_json:
        show_json({"ready": report.is_ready, "differences": found, "dry_run": dry_run,
                   "left": left, "refused": refused, "trouble": trouble or None})  # fmt: skip
    else:
        _show_schema(found, refused, trouble, created=len(report.outcomes) - len(refused))
        if report.outcomes and left:
            show("what lacks still:", *(f"{one['field']}: {one['detail']}" for one in left))
    if not report.is_ready:
        raise typer.Exit(1)


def _show_schema(
    found: list[dict[str, Any]], refused: list[str], trouble: str, *, created: int
) -> None:
    if trouble:
        show(f"the fields can't be read: {trouble}")
        return
    if found:
        columns = ("field", "type", "detail")
        show(table(columns, [[one[column] for column in columns] for one in found]))
    show(*refused, "every field is there" if not found else f"{cell(created)} calls created fields")


def _standing(active: Runtime, destination: Destination) -> dict[str, Any]:
    from worker.store.letters import Filter  # noqa: PLC0415  nothing unused is loaded

    state = active.destination_store.state(destination.name)
    waiting = active.deliver_store.waiting([destination.name])
    dead = active.letters.find(Filter(destination.name))
    words = "sending"
    if state.paused:
        words = "disabled: it is gone (410)" if state.paused == "gone" else "paused"
    elif state.wait_ms:
        words = ("broken" if state.is_open else "rests") + f", {span(state.wait_ms / 1000)}"
    return {
        "name": destination.name,
        "adapter": destination.adapter,
        "state": words,
        "waiting": len(waiting),
        "dead": len(dead),
        "calls_today": state.used,
        "under_way": state.under_way,
        "jobs": state.jobs,
        "daily_cap": destination.daily_cap,
        "fields": len(destination.fields),
        "alarm": state.alarm or None,
        "alarm_since": instant(state.alarm_ms / 1000) if state.alarm else None,
    }


def _row(active: Runtime, destination: Destination, customer: str) -> Any:
    from pydantic_core import from_json  # noqa: PLC0415  nothing unused is loaded

    from integrations.insight_fields import steps_of, value_at  # noqa: PLC0415  same
    from integrations.mapping import mapped  # noqa: PLC0415  same
    from integrations.outbound.contract import Row  # noqa: PLC0415  same

    (known,) = active.refresh_store.load([(active.keys.shard(customer), customer)])
    if not known.held.json:
        raise RefusedError(f"no insight of customer {customer!r}")
    insight = from_json(known.held.json)
    key = str(value_at(insight, steps_of(destination.key)))
    fields = mapped(insight, destination)
    version = known.held.version
    return Row(customer, key, fields, version, f"test_{customer}_{version}", known.held.json)


def _pairs(given: list[str] | None, name: str) -> dict[str, str]:
    if wrong := [one for one in given or () if "=" not in one]:
        raise typer.BadParameter(f"{name} {wrong[0]}: should be KEY=VALUE")
    return dict(one.split("=", 1) for one in given or ())


def _file_of_settings() -> Path | None:
    """Not by `Settings`: the file need not be there yet."""
    from worker.settings import Settings  # noqa: PLC0415  nothing unused is loaded
    from worker.settings_sources import variable  # noqa: PLC0415  same

    named = os.environ.get(variable("destinations_file"))
    return Path(named) if named else Settings().destinations_file


def _write_checked(path: Path, text: str) -> None:
    """Replace the file, unless what it would hold can't be used."""
    from integrations.destinations import load_destinations  # noqa: PLC0415  nothing unused

    made = path.with_name(f".{path.name}.new.toml")
    made.write_text(text, encoding="utf-8")
    try:
        load_destinations(made, None)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
