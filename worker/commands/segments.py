"""Segments: who is in them, who moved, what they look like, what they are called."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from worker.commands import rules
from worker.commands.rules import progress
from worker.failures import RefusedError
from worker.session import session
from worker.terminal import AsJson, examples, pairs, show, show_json, table

if TYPE_CHECKING:
    from models.segments.model import SegmentModel
    from worker.bootstrap import Runtime
    from worker.segments import Flow

SegmentId = Annotated[int, typer.Argument(help="The segment's id: `segments list`.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"])]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="Segments: list, show, moves, plot, rename.")
    group.command("list", epilog=examples("crm-reflex segments list"))(list_segments)
    group.command("show", epilog=examples("crm-reflex segments show 3 --json"))(show_segment)
    group.command(
        "moves",
        epilog=examples("crm-reflex segments moves --since 2026-10-01 --until 2026-11-01"),
    )(moves)
    group.command("plot", epilog=examples("crm-reflex segments plot segments.svg --kind bars"))(
        plot
    )
    group.command("rename", epilog=examples("crm-reflex segments rename 3 'Tea regulars'"))(rename)
    group.command("follow", epilog=examples("crm-reflex segments follow"))(follow)
    group.add_typer(rules.group(), name="rules")
    app.add_typer(group, name="segments")


def list_segments(as_json: AsJson = False) -> None:
    """List the segments: names, sizes, value, centers in natural units, and why so many."""
    with session() as active:
        version, model, rows = _described(active)
        trained = active.models.read("segments", int(version.split(".")[0])).meta["model"]
    choice = trained.get("choice", {"ways": [], "note": ""})
    if as_json:
        head = {"version": version, "algorithm": model.algorithm}
        show_json({**head, "segments": rows, "choice": choice, "gate": trained.get("gate")})
        return
    columns = ("id", "name", "name_zh", "customers", "share", "mean_historic_clv", "mean_clv_12m")
    show(f"version {version}, {model.algorithm}")
    show(table(columns, [[row[name] for name in columns] for row in rows]))
    names = list(rows[0]["center"])
    centers = [(row["name"], *row["center"].values()) for row in rows if row["center"]]
    show("", table(("center of", *names), centers))
    if choice["ways"]:
        tried = list(choice["ways"][0])
        show("", table(tried, [list(way.values()) for way in choice["ways"]]))
    notes = [*model.notes, choice["note"], *trained.get("gate", {}).get("reasons", ())]
    if any(notes):
        show("", *filter(None, notes))


def show_segment(segment: SegmentId, as_json: AsJson = False) -> None:
    """Show one segment: what it is like, in English and Chinese, its size and value."""
    with session() as active:
        version, _, rows = _described(active)
    found = next((row for row in rows if row["id"] == segment), None)
    if found is None:
        there = ", ".join(str(row["id"]) for row in rows)
        raise RefusedError(f"there is no segment {segment}; there are: {there}")
    if as_json:
        show_json({"version": version, **found})
        return
    center = found.pop("center") or {}
    lines = ((name.replace("_", " "), value) for name, value in found.items())
    show(pairs(lines, title=f"segment {segment} of version {version}"))
    show("", pairs(center.items(), title="center"))


def moves(since: Day = None, until: Day = None, as_json: AsJson = False) -> None:
    """Print where customers were on one day (rows) and on another (columns).

    From the beginning of --since (30 days ago) to the beginning of --until (now).
    """
    from worker.segments import flow, living  # noqa: PLC0415  numpy: only where it is used
    from worker.store.moves import Moves  # noqa: PLC0415  same

    with session() as active:
        _, model = living(active)
        now_s = active.clock.now_s()
        since_s = _instant(active, since, now_s - 30 * 86_400)
        until_s = _instant(active, until, now_s + 1)
        if since_s >= until_s:
            raise RefusedError("--since should be before --until")
        with progress("read insights") as tell:
            found = flow(Moves(active.client, active.keys), since_s, until_s, tell)
    if as_json:
        show_json(_flow_json(found, since_s, until_s))
    else:
        _show_flow(found, model)


def plot(
    path: Annotated[Path, typer.Argument(help="Where to: a name that ends with .png or .svg.")],
    kind: Annotated[
        Literal["scatter", "bars"],
        typer.Option("--kind", help="scatter: customers; bars: centers."),
    ] = "scatter",
    sample: Annotated[
        int, typer.Option("--sample", min=10, max=50_000, help="Customers of a scatter.")
    ] = 2_000,
    as_json: AsJson = False,
) -> None:
    r"""Draw the segments into a file. It needs matplotlib: `pip install 'crm-reflex\[plots]'`."""
    import numpy as np  # noqa: PLC0415  only where it is used

    from worker.segment_plots import checked, drawn  # noqa: PLC0415  same
    from worker.segments import living  # noqa: PLC0415  same
    from worker.training.sample import sample as draw_customers  # noqa: PLC0415  same
    from worker.views import Calendar, histories, priced  # noqa: PLC0415  same

    file_format = checked(path)
    with session() as active:
        _, model = living(active)
        now_s, calendar = active.clock.now_s(), Calendar(active.settings.time_zone)
        size = sample if kind == "scatter" else 0
        views = draw_customers(active.population, size, now_s, np.random.default_rng(0))
        views = priced(views, calendar, active.refresh_rules.exchange())
    past = histories(views, calendar, active.settings.reporting_currency)
    features = model.matrix(past, calendar.day(now_s))
    path.write_bytes(drawn(kind, model, features[features[:, 1] > 0], file_format))
    if as_json:
        show_json({"file": str(path), "kind": kind, "segments": len(model.ids)})
    else:
        show(f"{path}: {kind} of {len(model.ids)} segments")


def rename(
    segment: SegmentId,
    name: Annotated[str, typer.Argument(help="The new name; '' takes it back.")],
    as_json: AsJson = False,
) -> None:
    """Give a segment a name of your own: it stays with the id, in every version."""
    from worker.segments import rename as renamed  # noqa: PLC0415  numpy: only where it is used

    with session() as active:
        called = renamed(active, segment, name)
        active.bells.ring("refresh")
    if as_json:
        show_json({"id": segment, "name": called})
    else:
        show(f"segment {segment} is called {called!r} from now on")


def follow(as_json: AsJson = False) -> None:
    """Let the centers follow the customers by one step now, as the training worker does daily."""
    from worker.follow import follow_of  # noqa: PLC0415  numpy: only where it is used

    with session() as active:
        done = follow_of(active).run()
    if as_json:
        show_json(done._asdict())
    elif done.version is None:
        show(f"nothing changes: {done.reason}")
    else:
        show(f"version {done.version} is live, from {done.customers} customers")


def _described(active: Runtime) -> tuple[str, SegmentModel, list[dict[str, Any]]]:
    from worker.segments import census, described, living  # noqa: PLC0415  numpy: same
    from worker.store.moves import Moves  # noqa: PLC0415  same

    live, model = living(active)
    with progress("read insights") as tell:
        found = census(Moves(active.client, active.keys), tell)
    minor = f".{live.segments_minor}" if live.segments_minor else ""
    return f"{live.version('segments')}{minor}", model, described(model, found)


def _instant(active: Runtime, day: datetime | None, default_s: int) -> int:
    """The first second of a day of the tenant."""
    from zoneinfo import ZoneInfo  # noqa: PLC0415  only where it is used

    if day is None:
        return default_s
    return int(day.replace(tzinfo=ZoneInfo(active.settings.time_zone)).timestamp())


def _flow_json(found: Flow, since_s: int, until_s: int) -> dict[str, Any]:
    return {
        "since": datetime.fromtimestamp(since_s, UTC).isoformat(),
        "until": datetime.fromtimestamp(until_s, UTC).isoformat(),
        "customers": [
            {"from": before, "to": after, "customers": count}
            for (before, after), count in sorted(found.matrix.items(), key=str)
        ],
        "moves_by_reason": dict(found.reasons),
        "rule_segments": {
            name: {"entered": entered, "left": left}
            for name, (entered, left) in found.audiences.items()
        },
    }


def _show_flow(found: Flow, model: SegmentModel) -> None:
    from worker.segments import name_of  # noqa: PLC0415  numpy: only where it is used

    ends = {one for pair in found.matrix for one in pair}
    order = sorted(ends, key=lambda one: (one is None, one or 0))
    names = [name_of(model, one) for one in order]
    rows = [
        (name, *(found.matrix[before, after] for after in order))
        for name, before in zip(names, order, strict=True)
    ]
    show(table(("from \\ to", *names), rows))
    if found.reasons:
        show("", pairs(found.reasons.items(), title="moves because of"))
    if found.audiences:
        lines = [(name, *counts) for name, counts in found.audiences.items()]
        show("", table(("rule segment", "entered", "left"), lines))
