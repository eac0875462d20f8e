"""Events: append them, check them, find their shard, print the contracts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from worker.failures import FAILED
from worker.session import session
from worker.terminal import AsJson, examples, say, show, show_json, table

if TYPE_CHECKING:
    from worker.store.door import Door

#: Lines that are appended, or checked, together.
CHUNK: Final = 500

Lines = Annotated[
    Path,
    typer.Argument(metavar="FILE|-", help="JSON lines, one event a line; - reads stdin."),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(
        epilog=examples(
            "crm-reflex emit events.jsonl", "cat events.jsonl | crm-reflex emit - --dry-run"
        )
    )(emit)
    app.command(epilog=examples("crm-reflex shard customer-1"))(shard)
    app.command(epilog=examples("crm-reflex schema event > event.schema.json"))(schema)


def emit(
    file: Lines,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the events; print what would be refused.")
    ] = False,
    quiet_events: Annotated[
        bool, typer.Option("--quiet-events", help="Learn from them, but push nothing to the CRM.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Append events of a file.

    Blank lines are skipped. An event that turns out to be bad goes to the quarantine with the
    reason. To emit a file again is harmless: events are known by their ids. Exit code 75 means that
    there is no room now.
    """
    with _opened(file) as lines:
        if dry_run:
            _check(lines, as_json)
        else:
            with session(create=True) as active:
                taken = _append(active.door, lines, quiet_events)
            if as_json:
                show_json({"taken": taken})
            else:
                show(f"{taken:,} events taken")


def shard(
    customer_id: Annotated[str, typer.Argument(help="The customer's id.")], as_json: AsJson = False
) -> None:
    """Print a customer's shard and the stream that producers may append to.

    The shard is the CRC-32 of the id in UTF-8, modulo CRM_REFLEX_SHARDS.
    """
    from worker.settings import Settings  # noqa: PLC0415  nothing unused is loaded
    from worker.store.keys import Keys  # noqa: PLC0415  same

    settings = Settings()
    keys = Keys(settings.key_prefix, settings.shards)
    number = keys.shard(customer_id)
    if as_json:
        show_json({"customer_id": customer_id, "shard": number, "stream": keys.events(number)})
    else:
        typer.echo(f"{number}\t{keys.events(number)}")


def schema(
    contract: Annotated[Literal["event", "insight"], typer.Argument(help="What goes in, or out.")],
) -> None:
    """Print a contract as JSON Schema: of the events that come in, or the insights that go out."""
    from integrations import schemas  # noqa: PLC0415  nothing unused is loaded

    made = {"event": schemas.customer_event_schema, "insight": schemas.customer_insight_schema}
    show_json(made[contract]())


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    if str(file) == "-":
        yield sys.stdin.buffer
    else:
        try:
            lines = file.open("rb")
        except OSError as error:
            raise typer.BadParameter(f"can't read {file}: {error.strerror}") from None
        with lines:
            yield lines


def _append(door: Door, lines: IO[bytes], quiet: bool) -> int:
    from worker.store.door import Arrival  # noqa: PLC0415  nothing unused is loaded

    taken = 0
    try:
        for chunk in _chunks(lines):
            taken += door.emit(Arrival(raw, quiet) for _, raw in chunk)
    except Exception:
        say(f"{taken:,} events were taken before it failed; to emit all of them again is harmless")
        raise
    return taken


def _check(lines: IO[bytes], as_json: bool) -> None:
    from integrations.facts import Rejected, read_events  # noqa: PLC0415  nothing unused
    from worker.bootstrap import Runtime  # noqa: PLC0415  same
    from worker.settings import Settings  # noqa: PLC0415  same

    reading = Runtime(Settings(), url="").reading
    read = 0
    refused: list[dict[str, Any]] = []
    for chunk in _chunks(lines):
        facts = read_events([raw for _, raw in chunk], [int(time.time())] * len(chunk), reading)
        read += len(chunk)
        refused += [
            {"line": line, **fact._asdict()}
            for (line, _), fact in zip(chunk, facts, strict=True)
            if isinstance(fact, Rejected)
        ]
    if as_json:
        show_json({"events": read, "accepted": read - len(refused), "refused": refused})
    else:
        if refused:
            rows = [
                (str(one["line"]), one["reason"], one["path"], one["detail"]) for one in refused
            ]
            show(table(("line", "reason", "path", "detail"), rows))
        show(f"{read - len(refused):,} of {read:,} events are good")
    if refused:
        raise typer.Exit(FAILED)


def _chunks(lines: IO[bytes]) -> Iterator[list[tuple[int, bytes]]]:
    """(line number, event) in runs; line numbers begin at 1."""
    numbered = ((number, line.strip()) for number, line in enumerate(lines, 1))
    filled = ((number, line) for number, line in numbered if line)
    while chunk := list(islice(filled, CHUNK)):
        yield chunk
