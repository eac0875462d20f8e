"""How it is doing: status, doctor, config."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any, Final

import typer

from worker.failures import FAILED
from worker.session import server, session
from worker.terminal import AsJson, console, examples, pairs, show, show_json, size, span, table

WATCH_EVERY_S: Final = 1.0
_MARKS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(epilog=examples("crm-reflex status", "crm-reflex status --watch"))(status)
    app.command(epilog=examples("crm-reflex doctor || echo 'see above'"))(doctor)
    app.command(epilog=examples("crm-reflex config --json"))(config)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look every second.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show lag, mailboxes, workers, memory, models and deliveries.

    With --watch and --json: one line of JSON a second.
    """
    from worker.status import Watcher  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        watcher = Watcher(active)
        if watch:
            _watch(watcher, as_json)
        elif as_json:
            show_json(watcher.look())
        else:
            show(_rendered(watcher.look()))


def doctor(as_json: AsJson = False) -> None:
    """Check server, settings, processes, models and endpoint; tell what to change.

    Exit code 1 if anything fails; warnings alone do not.
    """
    from worker.bootstrap import Runtime  # noqa: PLC0415  nothing unused is loaded
    from worker.doctor import examine  # noqa: PLC0415  same
    from worker.findings import Level  # noqa: PLC0415  same
    from worker.settings import Settings  # noqa: PLC0415  same

    settings = Settings()
    with server(settings, create=True) as url:
        found = examine(Runtime(settings, url))
    failed = any(one.level is Level.FAIL for one in found)
    if as_json:
        show_json({"ok": not failed, "findings": [one._asdict() for one in found]})
    else:
        out = console(sys.stdout)
        for one in found:
            out.print(_MARKS[one.level], style=_STYLES[one.level], end=" ")
            out.print(f"{one.check}: {one.found}")
            if one.advice:
                out.print(f"     {one.advice}")
    if failed:
        raise typer.Exit(FAILED)


def config(as_json: AsJson = False) -> None:
    """Show the effective settings and where each comes from; secrets are masked."""
    from worker.settings import Settings  # noqa: PLC0415  nothing unused is loaded
    from worker.settings_sources import variable  # noqa: PLC0415  same

    masked = Settings().masked()
    if as_json:
        show_json({variable(name): one._asdict() for name, one in masked.items()})
    else:
        rows = [(variable(name), one.value, one.origin) for name, one in masked.items()]
        show(table(("setting", "value", "from"), rows))


def _watch(watcher: Any, as_json: bool) -> None:
    """Look every second until Ctrl-C."""
    try:
        if as_json:
            while True:
                show_json(watcher.look(), indent=None)
                time.sleep(WATCH_EVERY_S)
        from rich.live import Live  # noqa: PLC0415  nothing unused is loaded

        first, out = _rendered(watcher.look()), console(sys.stdout)
        with Live(first, console=out, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_EVERY_S)
                live.update(_rendered(watcher.look()), refresh=True)
    except KeyboardInterrupt:
        return


def _rendered(look: dict[str, Any]) -> Any:
    from rich.console import Group  # noqa: PLC0415  nothing unused is loaded

    return Group(
        _stages(look["stages"]), "", _workers(look), "", _models(look["models"]), "", _facts(look)
    )


def _stages(stages: dict[str, Any]) -> Any:
    ingest, refresh, deliver = (stages[name] for name in ("ingest", "refresh", "deliver"))
    more = {
        "ingest": f"{ingest['shards_with_lag']} shards behind, {ingest['intake']:,} in the intake",
        "refresh": (
            f"{refresh['quiet']:,} quiet, {refresh['nudged_by_others']:,} nudged by others' events,"
            f" {refresh['overdue_by_clock']:,} overdue by clock"
        ),
        "deliver": f"{deliver['due']:,} due, {deliver['under_way']:,} begun,"
        f" {deliver['dead_letters']:,} dead letters",
    }
    rows = [
        (name, stages[name]["waiting"], span(stages[name]["oldest_age_s"]), text)
        for name, text in more.items()
    ]
    return table(("stage", "waiting", "oldest", ""), rows)


def _workers(look: dict[str, Any]) -> Any:
    rows = [
        (
            one["name"],
            str(one["pid"]),
            f"{span(one['age_s'])} ago",
            "silent" if one["silent"] else "",
        )
        for one in look["workers"]
    ]
    tick = look["last_tick_age_s"]
    rows.append(("beat", "", "not lately" if tick is None else f"{span(tick)} ago", ""))
    return table(("worker", "pid", "reported", ""), rows)


def _models(models: list[dict[str, Any]]) -> Any:
    rows = [
        (
            one["kind"],
            one["version"],
            span(one["age_s"]) if "age_s" in one else None,
            one.get("trigger") or one.get("problem"),
            one.get("buyers"),
            ", ".join(f"{name} {value:.2f}" for name, value in one.get("figures", {}).items()),
        )
        for one in models
    ]
    columns = ("model", "version", "age", "trained because", "buyers", "does it still fit")
    return table(columns, rows)


def _facts(look: dict[str, Any]) -> Any:
    ingest, refresh = look["stages"]["ingest"], look["stages"]["refresh"]
    sent, memory = look["deliveries"], look["memory"]
    limit = f" of {size(memory['limit_bytes'])}" if memory["limit_bytes"] else ""
    each = memory["bytes_per_customer"]
    by_reason = look["quarantine"]["newest_by_reason"]
    reasons = ", ".join(f"{count:,} {name}" for name, count in by_reason.items())
    facts = {
        "events": f"{ingest['applied']:,} applied, {ingest['duplicates']:,} duplicates,"
        f" {ingest['echoes']:,} echoes of our writes, {ingest['quarantined']:,} refused",
        "insights": f"{refresh['written']:,} written, {refresh['pushed']:,} pushed,"
        f" {refresh['transitions']:,} moves between segments",
        "deliveries": f"{sent['ok']:,} delivered, {sent['unchanged']:,} unchanged,"
        f" {sent['retry']:,} retries, {sent['dead']:,} given up",
        "destinations": _destinations(sent["destinations"]),
        "quarantine": f"{look['quarantine']['held']:,}{f' ({reasons})' if reasons else ''}",
        "rule segments": "; ".join(
            f"{rule} names segments that are gone: {', '.join(map(str, gone))}"
            for rule, gone in look["rules_without_segment"].items()
        )
        or None,
        "memory": f"{size(memory['used_bytes'])}{limit}",
        "customers": f"{memory['customers']:,}{f', about {size(each)} each' if each else ''}",
    }
    return pairs(facts.items())


def _destinations(found: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['name']} {_standing(one)}" for one in found) or "none is set"


def _standing(one: dict[str, Any]) -> str:
    if one["paused"] == "gone":
        return "disabled: it said that it is gone"
    if one["paused"]:
        return "paused"
    why = f" ({one['alarm']})" if one["alarm"] else ""
    return f"rests for another {span(one['rests_s'])}{why}" if one["rests_s"] else f"goes{why}"
