"""The demo: real purchases go through everything on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from worker.failures import FAILED, RefusedError
from worker.terminal import AsJson, examples, pairs, say, show, show_json, table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=examples("crm-reflex demo", "crm-reflex demo --quick --json"))(demo)


def demo(
    quick: Annotated[
        bool, typer.Option("--quick", help="A sample of the customers, in less than a minute.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Keep the data in this new folder, to look at it later."
        ),
    ] = None,
    pause: Annotated[
        bool, typer.Option(help="Pause between the phases on a terminal, to read.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Watch a grocer's customers flow through.

    Ten months of real purchases are backfilled, models are trained, and the weeks after are
    replayed as live events against a small CRM that checks every signature. It uses an embedded
    server and a folder of its own, whatever your settings say. Exit code 1 if anything is off.
    """
    from worker.demo.journey import NoDataError  # noqa: PLC0415  nothing unused is loaded
    from worker.demo.run import FULL, QUICK, run  # noqa: PLC0415  same
    from worker.demo.screen import Screen  # noqa: PLC0415  same

    screen = Screen()
    with _folder(keep) as folder:
        try:
            told = run(
                folder,
                QUICK if quick else FULL,
                screen,
                pause=pause and screen.terminal and not as_json,
            )
        except NoDataError as error:
            raise RefusedError(str(error)) from None
    if as_json:
        show_json(told)
    else:
        _show_summary(told)
        if keep is not None:
            show("", f"The data stays: cd {keep} && CRM_REFLEX_DATA_DIR=. crm-reflex status")
    if not told["ok"]:
        for problem in told["problems"]:
            say(f"wrong: {problem}", "red")
        raise typer.Exit(FAILED)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="crm-reflex-demo-") as name:
            yield Path(name).resolve()
        return
    if keep.exists() and any(keep.iterdir()):
        raise RefusedError(f"{keep} is not empty: name a new folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def _show_summary(told: dict[str, Any]) -> None:
    data, events, crm, reaction = (told[n] for n in ("data", "events", "crm", "reaction_ms"))
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in told["seconds"].items())
    took = "-"
    if reaction["events"]:
        took = f"p50 {reaction['p50']:,.0f} ms, p95 {reaction['p95']:,.0f} ms"
    counted = (
        f"{events['applied']:,} applied ({data['history_events']:,} history,"
        f" {data['live_events']:,} live), {events['duplicates']} duplicates,"
        f" {events['quarantined']} quarantined"
    )
    called = (
        f"{crm['contacts']:,} contacts, {crm['calls']:,} calls"
        f" ({crm['calls_per_event']:.2f} an event),"
        f" {crm['bad_signatures']} bad signatures"
    )
    rows = [
        ("data", f"{data['households']:,} customers, {data['products']:,} products"),
        ("events", counted),
        ("backfill", f"{told['backfill_events_per_s']:,} events/s"),
        ("replay", f"{told['replay_events_per_s']:,.0f} events/s"),
        ("event to CRM", took),
        ("CRM", called),
        ("segment moves", told["segment_moves"]),
        ("models", ", ".join(f"{kind} {version}" for kind, version in told["models"].items())),
        *_scores(told["lists"]),
        ("seconds", seconds),
    ]
    sizes = [(one["name"], one["customers"]) for one in told["segments"]]
    show("", pairs(rows, title="Summary"), "", table(("segment", "customers"), sizes))
    hero = told["customer"]
    if hero["customer_id"]:
        why = [(one["about"] or " ", one["text"]) for one in hero["why"]]
        show("", pairs(why, title=f"Why the CRM says what it says about {hero['customer_id']}"))
    verdict = "everything arrived, once" if told["ok"] else "; ".join(told["problems"])
    style = "green" if told["ok"] else "red"
    show("", Text(f"Checked customer by customer: {verdict}.", style=style))


def _scores(lists: dict[str, Any]) -> list[tuple[str, str]]:
    """A line for each list: how many found something of it, beside the baselines."""
    named = {"ours": "", "most_frequent": "own most frequent ", "popular": "popular "}
    rows = []
    for name in ("buy_again", "new_for_you"):
        parts = [
            f"{words}{one['hit_rate']:.1%} (recall {one['recall']:.1%})"
            for key, words in named.items()
            if (one := lists[name].get(key))
        ]
        text = f"{parts[0]}; {', '.join(parts[1:])}" if parts else "-"
        rows.append((f"hit rate, {name}", f"{text}; {lists[name]['customers']:,} customers"))
    return rows
