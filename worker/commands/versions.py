"""Versions of models: compare two, go back, keep or clear away, and the trainings under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worker.session import session
from worker.terminal import AsJson, examples, instant, show, show_json, span, table

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

Kind = Literal["segments", "recommendations", "forecasts"]
KindOrAll = Literal["all", "segments", "recommendations", "forecasts"]
WhichKind = Annotated[Kind, typer.Argument(help="Which model.")]


def add_to(group: typer.Typer) -> None:
    """Add the commands of this module."""
    group.command(epilog=examples("crm-reflex models compare segments 3 4"))(compare)
    group.command(epilog=examples("crm-reflex models rollback forecasts"))(rollback)
    group.command("log", epilog=examples("crm-reflex models log --json"))(show_log)
    group.command(epilog=examples("crm-reflex models pin segments 3"))(pin)
    group.command(epilog=examples("crm-reflex models gc --keep 10 --dry-run"))(gc)
    group.command(epilog=examples("crm-reflex models training --json"))(training)
    group.command(epilog=examples("crm-reflex models cancel forecasts"))(cancel)
    group.command(epilog=examples("crm-reflex models watch --json"))(watch)


def compare(
    kind: WhichKind,
    first: Annotated[int, typer.Argument(min=1, help="A version.")],
    second: Annotated[int, typer.Argument(min=1, help="Another version.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: verdict, pedigree, metrics, parameters."""
    with session() as active:
        metas = [_meta(active, kind, number) for number in (first, second)]
    flat = [_flat(meta) for meta in metas]
    names = sorted(name for name in flat[0].keys() | flat[1].keys() if _differ(flat, name))
    if as_json:
        show_json({name: [one.get(name) for one in flat] for name in names})
        return
    rows = [(name, *(_short(one.get(name)) for one in flat)) for name in names]
    show(table((kind, str(first), str(second)), rows))


def rollback(kind: WhichKind, as_json: AsJson = False) -> None:
    """Make the version live again that was live before this one.

    Running workers take it within a second, and every customer is scored anew in the background.
    """
    with session() as active:
        version = active.models.rollback(kind, active.clock.now_s())
        active.bells.ring("refresh")
    if as_json:
        show_json({"kind": kind, "live": version})
    else:
        show(f"{kind} {version} is live again")


def show_log(as_json: AsJson = False) -> None:
    """List what became live, when and why, newest first; and what was trained and did not."""
    with session() as active:
        changes = [{**one._asdict(), "verdict": "promoted"} for one in active.models.log()]
        changes += [
            {
                "kind": kind,
                "version": version,
                "before": None,
                "at_s": one.at_s,
                "why": "; ".join(one.reasons),
                "verdict": one.state,
            }
            for (kind, version), one in active.models.verdicts().items()
            if not one.is_live
        ]
    changes.sort(key=lambda change: -change["at_s"])
    for change in changes:
        change["at"] = instant(change.pop("at_s"))
    if as_json:
        show_json(changes)
        return
    columns = ("at", "kind", "version", "verdict", "before", "why")
    show(table(columns, [[change[name] for name in columns] for change in changes]))


def pin(
    kind: WhichKind,
    version: Annotated[int, typer.Argument(min=1, help="The version to keep.")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it be cleared away again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a version: `models gc` never takes it."""
    with session() as active:
        active.models.pin(kind, version, pinned=not undo)
    if as_json:
        show_json({"kind": kind, "version": version, "pinned": not undo})
    else:
        show(f"{kind} {version} is {'no longer pinned' if undo else 'pinned'}")


def gc(
    keep: Annotated[int, typer.Option("--keep", min=1, help="Newest versions to keep.")] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Clear old versions away: never the live one, the one before it, or a pinned one."""
    from worker.store.models import KINDS  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        found = {kind: active.models.superfluous(kind, keep) for kind in KINDS}
        for kind, versions in found.items():
            for version in versions if not dry_run else ():
                active.models.drop(kind, version)
    if as_json:
        show_json({"dry_run": dry_run, "dropped": found})
        return
    verb = "would be dropped" if dry_run else "dropped"
    for kind, versions in found.items():
        show(f"{kind}: {', '.join(map(str, versions)) or 'nothing'} {verb}")


def training(as_json: AsJson = False) -> None:
    """Show the trainings that run and wait: stage, part done, reasons."""
    with session() as active:
        now_ms = active.clock.now_ms()
        rows: list[dict[str, Any]] = [
            {
                "kind": run.kind,
                "state": _state(cancelled=run.cancelled, alive=run.alive),
                "stage": run.stage,
                "done": run.done,
                "for_s": max(0, now_ms - run.started_ms) // 1000,
                "attempts": run.attempts,
                "reasons": list(run.reasons),
            }
            for run in active.desk.running()
        ]
        rows += [
            {
                "kind": one.kind,
                "state": "waiting",
                "stage": None,
                "done": None,
                "for_s": max(0, now_ms - one.at_ms) // 1000,
                "attempts": 0,
                "reasons": list(one.reasons),
            }
            for one in active.desk.waiting()
        ]
    if as_json:
        show_json(rows)
        return
    if not rows:
        show("no training runs or waits")
        return
    columns = ("kind", "state", "stage", "done", "for", "reasons")
    show(table(columns, [_training_row(row) for row in rows]))


def cancel(
    kind: Annotated[KindOrAll, typer.Argument(help="Which model.")] = "all",
    as_json: AsJson = False,
) -> None:
    """Drop what waits, and stop what runs at its next stage: nothing of it is published."""
    from worker.store.models import KINDS  # noqa: PLC0415  nothing unused is loaded

    kinds = KINDS if kind == "all" else (kind,)
    with session() as active:
        cancelled = [one for one in kinds if active.desk.cancel(one)]
    if as_json:
        show_json({"cancelled": cancelled})
    else:
        show(f"cancelled: {', '.join(cancelled) or 'nothing was running or waiting'}")


def watch(
    now: Annotated[bool, typer.Option("--now", help="Measure anew first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the figures that ask for trainings: value, threshold, since when."""
    from worker.store.watching import WatchStore  # noqa: PLC0415  nothing unused is loaded

    with session() as active:
        if now:
            from worker.triggers import watch_of  # noqa: PLC0415  numpy: only where it is used

            watch_of(active).run()
        figures = WatchStore(active.client, active.keys).all()
    rows = [
        {
            "kind": one.kind,
            "version": one.version,
            "figure": one.name,
            "value": round(one.value, 4),
            "threshold": one.threshold,
            "asks": one.asks,
            "since": instant(one.since_s),
            "measured": instant(one.at_s),
        }
        for one in figures
    ]
    if as_json:
        show_json(rows)
        return
    if not rows:
        show("nothing was measured yet: --now does")
        return
    columns = ("kind", "version", "figure", "value", "threshold", "asks", "since", "measured")
    show(table(columns, [[row[name] for name in columns] for row in rows]))


def _state(*, cancelled: bool, alive: bool) -> str:
    if not alive:
        return "left behind"  # its trainer ended; the next one begins anew
    return "stopping" if cancelled else "running"


def _training_row(row: dict[str, Any]) -> list[object]:
    done = None if row["done"] is None else f"{row['done']:.0%}"
    return [
        row["kind"],
        row["state"],
        row["stage"],
        done,
        span(row["for_s"]),
        "; ".join(row["reasons"]),
    ]


def _meta(active: Runtime, kind: str, version: int) -> dict[str, Any]:
    """What a version says of itself, and what was decided about it since."""
    from worker.store.shadows import ShadowStore  # noqa: PLC0415  nothing unused is loaded

    meta = dict(active.models.read(kind, version).meta)
    verdict = active.models.verdict(kind, version)
    shadow = ShadowStore(active.client, active.keys).get(kind, version)
    meta |= {} if verdict is None else {"verdict": verdict.told()}
    return meta | ({} if shadow is None else {"shadow": shadow.told()})


def _flat(meta: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields under their paths.

    >>> _flat({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    found: dict[str, Any] = {}
    for name, value in meta.items():
        path = f"{prefix}{name}"
        found |= _flat(value, path + ".") if isinstance(value, dict) else {path: value}
    return found


def _differ(flat: list[dict[str, Any]], name: str) -> bool:
    return bool(flat[0].get(name) != flat[1].get(name))


def _short(value: object) -> object:
    if isinstance(value, list) and len(value) > 12:
        return f"{len(value):,} entries"
    return value
