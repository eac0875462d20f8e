"""Backfill: bring in the history that is in a file."""

from __future__ import annotations

import gc
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import typer

from worker.failures import RefusedError
from worker.session import order, session
from worker.terminal import AsJson, DryRun, console, examples, pairs, say, show, show_json, table

if TYPE_CHECKING:
    from worker.backfill import Plan, Tally
    from worker.bootstrap import Runtime
    from worker.columns import Field
    from worker.flow import Flow
    from worker.position import Position
    from worker.settings import Settings

SILENT_S: Final = 20
_PLAIN_EVERY_S: Final = 10.0


class Options(NamedTuple):
    """How to send, beside the plan."""

    quiet: bool
    train: bool
    wait: bool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=examples(
            "crm-reflex backfill orders.csv --time-zone Europe/London --dry-run",
            "crm-reflex backfill lines.parquet --map customer_id=user,order_id=invoice,at=ts",
            "crm-reflex backfill events.jsonl",
        )
    )(backfill)


def backfill(  # noqa: PLR0917  options of a command
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="CSV, Parquet, JSON lines."
        ),
    ],
    columns: Annotated[
        str,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN,..",
            help="What columns mean; others are guessed. Fields: customer_id, order_id, at, item,"
            " quantity, price, amount, total, currency, event.",
        ),
    ] = "",
    kind: Annotated[
        Literal["orders", "events"] | None,
        typer.Option(help="What rows are. Default: events in JSON lines, else orders or lines."),
    ] = None,
    time_zone: Annotated[
        str, typer.Option(help="IANA zone of times that say none, as Europe/London.")
    ] = "",
    time_format: Annotated[
        str, typer.Option(help="Of times that are not ISO 8601: as strptime, or unix, unix_ms.")
    ] = "",
    currency: Annotated[
        str, typer.Option(help="Of orders that name none. Default: the reporting currency.")
    ] = "",
    source: Annotated[
        str,
        typer.Option(help="Name of the origin, part of the events' ids. Default: the file's name."),
    ] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Read so many rows only.")] = None,
    push: Annotated[
        bool, typer.Option("--push", help="Push what changes to the CRM; else it only learns.")
    ] = False,
    train: Annotated[
        bool, typer.Option(help="Train the models anew when the history is in.")
    ] = True,
    wait: Annotated[bool, typer.Option(help="Wait until everything is applied.")] = True,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring in the history that is in a file.

    Rows of one order id become one order; rows without an order id belong together when customer
    and time are the same; a negative quantity or amount is a return. To run it twice changes
    nothing, and after an interruption it goes on where it stopped.
    """
    from worker.settings import Settings  # noqa: PLC0415  nothing is loaded that is not used

    settings = Settings()
    with _explained():
        plan, found = _plan(
            settings, file, columns, kind, time_zone, time_format, currency, source, limit
        )
        gc.freeze()  # a quarter of the time went into looking at loaded modules again and again
        if dry_run:
            _dry_run(settings, plan, found, as_json)
            return
        with session(create=True) as active:
            report = _send(active, plan, Options(not push, train, wait))
    if as_json:
        show_json(report)
    else:
        _show_report(report, f"{file.name}: {report['events']:,} events are in")


@contextmanager
def _explained() -> Iterator[None]:
    """What is wrong with a file is told in a line, not as a trace."""
    from worker.backfill import NaiveTimesError  # noqa: PLC0415  nothing is loaded that is not used
    from worker.columns import ColumnsError  # noqa: PLC0415  same
    from worker.tables import TableError  # noqa: PLC0415  same

    try:
        yield
    except (ColumnsError, TableError, NaiveTimesError) as error:
        raise RefusedError(str(error)) from None


def _plan(
    settings: Settings,
    file: Path,
    columns: str,
    kind: Literal["orders", "events"] | None,
    time_zone: str,
    time_format: str,
    currency: str,
    source: str,
    limit: int | None,
) -> tuple[Plan, dict[Field, str]]:
    from integrations.money import MINOR_DIGITS  # noqa: PLC0415  nothing is loaded that is not used
    from worker.backfill import Plan, columns_of  # noqa: PLC0415  same
    from worker.columns import parse_map  # noqa: PLC0415  same
    from worker.settings_rules import check_time_zone  # noqa: PLC0415  same

    if time_zone:
        try:
            check_time_zone(time_zone)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--time-zone") from None
    code = (currency or settings.reporting_currency).upper()
    if code not in MINOR_DIGITS:
        raise typer.BadParameter("should be an ISO 4217 code", param_hint="--currency")
    lines = file.suffix.lower() in {".jsonl", ".ndjson", ".json"}
    plan = Plan(
        path=file,
        kind=kind or ("events" if lines else "orders"),
        given=parse_map(columns),
        time_zone=time_zone,
        time_format=time_format,
        currency=code,
        source=source or file.name,
        limit=limit,
    )
    return plan, columns_of(plan)


def _dry_run(settings: Settings, plan: Plan, found: dict[Field, str], as_json: bool) -> None:
    from integrations.facts import Reading  # noqa: PLC0415  nothing is loaded that is not used
    from worker.backfill import check  # noqa: PLC0415  same

    reading = Reading(
        default_currency=settings.reporting_currency, traits=frozenset(settings.traits)
    )
    tally = check(plan, reading, int(time.time()))
    report = {
        "dry_run": True,
        **_told(plan, tally),
        "columns": found,
        "example": tally.example.decode(errors="replace") or None,
    }
    if as_json:
        show_json(report)
        return
    if found:
        show(table(("field", "column"), found.items(), title="How the columns are read"), "")
    _show_report(report, f"{plan.path.name}: nothing was sent")
    if tally.example:
        show("", "The first event:", report["example"])


def _send(active: Runtime, plan: Plan, options: Options) -> dict[str, Any]:
    from worker.backfill import Backfill, TrainingHold  # noqa: PLC0415  nothing unused is loaded
    from worker.store.inspecting import Inspector  # noqa: PLC0415  same

    position = _position(active, plan)
    job = Backfill(
        plan,
        active.rules.reading,
        shards=active.settings.shards,
        position=position,
        clock=active.clock,
    )
    hold = TrainingHold(active.locks, secrets.token_hex(8), active.clock)
    if not _ingest_runs(active):
        say("No ingest worker has reported lately: `crm-reflex up` starts everything.", "yellow")
    inspector = Inspector(active.client, active.keys)
    before, started = inspector.counters()["ingest"], time.monotonic()
    with _progress(plan.path.name) as progress:
        flow: Flow

        def beat() -> None:
            hold.keep()
            job.beat(flow, progress)

        flow = make_flow(
            active, quiet=options.quiet, tell=lambda text: say(text, "yellow"), beat=beat
        )
        try:
            hold.keep()
            job.run(flow)
            applied = options.wait and flow.settle(lambda: not _ingest_runs(active))
        except BaseException:
            hold.release()
            raise
    after = inspector.counters()["ingest"]
    sent = job.tally.events - job.skipped
    trains = bool(options.train and applied and sent)
    if trains:  # the hold ends by itself, when this training has begun
        order(active, "models.retrain", None, "backfill")
    else:
        hold.release()
    return {
        **_told(plan, job.tally),
        "sent": sent,
        "skipped": job.skipped,
        "waiting": 0 if applied else sum(lag.entries for lag in active.door.lag()),
        **{name: after[name] - before[name] for name in ("applied", "duplicates", "quarantined")},
        "training_ordered": trains,
        "seconds": round(time.monotonic() - started, 3),
    }


def make_flow(
    active: Runtime, *, quiet: bool, tell: Callable[[str], None], beat: Callable[[], None]
) -> Flow:
    """The closed loop under the settings; half of the lag limit stays free for live events."""
    from worker.flow import Flow, Window  # noqa: PLC0415  nothing is loaded that is not used

    settings = active.settings
    return Flow(
        active.door,
        active.bells,
        active.clock,
        shards=settings.shards,
        window=Window(settings.backfill_window, max(1, settings.lag_limit // 2)),
        quiet=quiet,
        tell=tell,
        beat=beat,
        sleep=time.sleep,
    )


def _position(active: Runtime, plan: Plan) -> Position:
    """Where this file stands in this installation; an emptied server is another one."""
    from worker.position import Position, fingerprint, name_of  # noqa: PLC0415  nothing unused

    _ = active.ingest  # gives every shard its epoch
    epoch = active.population.watermark(0).epoch
    name = name_of({**plan._asdict(), "path": plan.path.resolve(), "prefix": active.keys.prefix})
    path = active.settings.data_dir / "backfill" / f"{name}.json"
    return Position(path, f"{fingerprint(plan.path)} {epoch}")


def _ingest_runs(active: Runtime) -> bool:
    now_s = active.clock.now_s()
    return any(
        report.get("stage") == "ingest" and now_s - int(report.get("at_s", 0)) <= SILENT_S
        for report in active.reports.all().values()
    )


@contextmanager
def _progress(name: str) -> Iterator[Callable[[float, int], None]]:
    """A bar on a terminal, else a line now and then; on stderr."""
    if sys.stderr.isatty():
        with _bar(name) as update:
            yield update
        return
    started = told = time.monotonic()

    def line(done: float, events: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _PLAIN_EVERY_S:
            told = now
            rate = events / (now - started)
            left = f", {(now - started) * (1 - done) / done:.0f} s left" if done > 0.01 else ""
            say(f"{name}: {done:.0%}, {events:,} events, {rate:,.0f}/s{left}")

    yield line


@contextmanager
def _bar(name: str) -> Iterator[Callable[[float, int], None]]:
    from rich.progress import (  # noqa: PLC0415  nothing is loaded that is not used
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    started = time.monotonic()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} % {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console(sys.stderr),
    ) as bar:
        task = bar.add_task(name, total=1.0, rate="")

        def update(done: float, events: int) -> None:
            rate = events / max(0.001, time.monotonic() - started)
            bar.update(task, completed=done, rate=f"{rate:,.0f} events/s")

        yield update
        bar.update(task, completed=1.0)


def _told(plan: Plan, tally: Tally) -> dict[str, Any]:
    from worker.backfill import day_of  # noqa: PLC0415  nothing is loaded that is not used

    return {
        "file": os.fspath(plan.path),
        "kind": plan.kind,
        "source": plan.source,
        "events": tally.events,
        "by_name": dict(tally.names.most_common()),
        "customers": len(tally.customers),
        "currencies": dict(tally.currencies.most_common()),
        "first_day": day_of(tally.first_s),
        "last_day": day_of(tally.last_s),
        "refused": tally.refused.total(),
        "refused_by_reason": dict(tally.refused.most_common()),
        "refused_lines": [{"line": line, **why._asdict()} for line, why in tally.samples],
    }


def _show_report(report: dict[str, Any], title: str) -> None:
    days = f"{report['first_day']} to {report['last_day']}" if report["first_day"] else None
    rows: list[tuple[str, object]] = [
        ("events", report["events"]),
        *((f"  {name}", count) for name, count in report["by_name"].items()),
        ("customers", report["customers"]),
        ("days (UTC)", days),
        ("orders by currency", [f"{c} {n:,}" for c, n in report["currencies"].items()]),
        ("refused", report["refused"]),
    ]
    if "sent" in report:
        rows += [
            ("sent before the interruption", report["skipped"] or None),
            ("applied", report["applied"]),
            ("already known", report["duplicates"]),
            ("quarantined", report["quarantined"]),
            ("seconds", report["seconds"]),
        ]
    show(pairs([row for row in rows if row[1] is not None], title=title))
    if report["refused_lines"]:
        lines = [
            (str(r["line"]), r["reason"], r["path"], r["detail"]) for r in report["refused_lines"]
        ]
        show("", table(("line", "reason", "field", "detail"), lines, title="Refused, the first:"))
    if report.get("waiting"):
        say(f"{report['waiting']:,} events wait to be applied: start `crm-reflex up`.", "yellow")
    if report.get("training_ordered"):
        show("", "The models are being trained; insights follow.")
