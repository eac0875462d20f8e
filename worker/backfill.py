"""Backfill: the history in a file enters as events, quietly, and no faster than it is applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from integrations.facts import EventFact, Kind, Reading, Rejected, read_events
from worker.cells import instant_reader
from worker.clock import Clock
from worker.columns import MEANING, Columns, Field, resolve
from worker.distinct import Distinct
from worker.flow import Flow
from worker.grouping import EVENT_FIELDS, ORDER_FIELDS, Grouper, Made, Shape, events_of
from worker.position import Position
from worker.store.keys import shard_of
from worker.store.signals import Locks
from worker.tables import Piece, open_table, raw_pieces

#: Refused lines that are told in full; all are counted.
SAMPLES: Final = 20
#: The order of `tick` for a training: while a backfill holds it, models wait for all the data.
TRAINING_ORDER: Final = "ordered:train"
_HOLD_MS: Final = 60_000
_HOLD_EVERY_S: Final = 15.0
_NEEDED: Final[dict[str, tuple[Field, ...]]] = {
    "orders": ("customer_id", "at"),
    "events": ("customer_id", "at", "event"),
}

#: (part of the file that is applied, 0 to 1; events applied)
Progress = Callable[[float, int], None]


class NaiveTimesError(ValueError):
    """The times of the file say no zone, and none was given."""


class Plan(NamedTuple):
    """What to do with which file.

    kind         orders: rows are orders or their lines; events: rows or lines are events
    given        columns that the person named; the others are guessed
    time_zone    IANA zone of times that say none; "" = those are refused
    time_format  of times that are not ISO 8601: as strptime, or unix, unix_ms
    currency     ISO 4217, of orders whose row names none
    source       name of the origin: part of the events' ids
    limit        most rows or lines to read
    """

    path: Path
    kind: Literal["orders", "events"]
    given: Columns
    time_zone: str
    time_format: str
    currency: str
    source: str
    limit: int | None

    @property
    def raw(self) -> bool:
        """Are the lines events already, to be sent as they are?"""
        return self.kind == "events" and self.path.suffix.lower() in {".jsonl", ".ndjson", ".json"}


@dataclass(slots=True)
class Tally:
    """What a file holds, as far as it was read. Instants in Unix seconds."""

    events: int = 0
    names: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    samples: list[tuple[int, Rejected]] = field(default_factory=list)
    currencies: Counter[str] = field(default_factory=Counter)
    first_s: int | None = None
    last_s: int | None = None
    customers: Distinct = field(default_factory=Distinct)
    example: bytes = b""

    def take(self, event: bytes, fact: EventFact) -> None:
        """Count a good event."""
        self.events += 1
        self.example = self.example or event
        self.names[fact.signal or "identify"] += 1
        if fact.kind not in {Kind.SIGNAL, Kind.REGISTERS, Kind.ECHO}:
            self.currencies[fact.currency] += 1
        self.first_s = fact.at_s if self.first_s is None else min(self.first_s, fact.at_s)
        self.last_s = fact.at_s if self.last_s is None else max(self.last_s, fact.at_s)
        self.customers.add(fact.customer_id)

    def refuse(self, line: int, why: Rejected) -> None:
        """Count what cannot enter."""
        self.refused[why.reason] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append((line, why))


class Read(NamedTuple):
    """Events of a piece of the file, checked; and the part of the file that is read."""

    events: list[tuple[bytes, EventFact]]
    refused: list[tuple[int, Rejected]]
    done: float


def columns_of(plan: Plan) -> dict[Field, str]:
    """How the columns are read; empty for events that are sent as they are.

    Raises ColumnsError, TableError.
    """
    if plan.raw:
        return {}
    fields = ORDER_FIELDS if plan.kind == "orders" else EVENT_FIELDS
    found = resolve(open_table(plan.path).columns, plan.given, _NEEDED[plan.kind])
    return {name: found[name] for name in MEANING if name in found and name in fields}


def read(plan: Plan, reading: Reading, now_s: int) -> Iterator[Read]:
    """The file as checked events, in its order, a piece at a time.

    Raises NaiveTimesError before the first event when the times say no zone and none is given.
    """
    events = 0
    for made, done in _made(plan):
        good: list[tuple[bytes, EventFact]] = []
        refused = [(one.line, one.event) for one in made if isinstance(one.event, Rejected)]
        raws = [(one.line, one.event) for one in made if not isinstance(one.event, Rejected)]
        facts = read_events([raw for _, raw in raws], [now_s] * len(raws), reading)
        for (line, raw), fact in zip(raws, facts, strict=True):
            if isinstance(fact, Rejected):
                refused.append((line, fact))
            else:
                good.append((raw, fact))
        naive = [line for line, why in refused if why.reason == "naive_time" and why.path == "at"]
        if naive and not events and not plan.time_zone:
            raise NaiveTimesError(
                f"the time in line {min(naive)} of {plan.path.name} says no time zone. Which one"
                " are its times in? For instance: --time-zone Europe/London (or UTC)"
            )
        events += len(good)
        yield Read(good, sorted(refused, key=lambda pair: pair[0]), done)


def _made(plan: Plan) -> Iterator[tuple[list[Made], float]]:
    if plan.raw:
        for lines, raws, done in raw_pieces(plan.path, plan.limit):
            yield [Made(line, raw) for line, raw in zip(lines, raws, strict=True)], done
        return
    zone = ZoneInfo(plan.time_zone) if plan.time_zone else None
    shape = Shape(plan.source, plan.currency, instant_reader(zone, plan.time_format or None))
    if plan.kind == "events":
        for piece in _pieces(plan, EVENT_FIELDS):
            yield list(events_of(piece, shape)), piece.done
        return
    grouper, done = Grouper(shape), 0.0
    for piece in _pieces(plan, ORDER_FIELDS):
        done = piece.done
        yield list(grouper.add(piece)), done
    yield list(grouper.close()), done


def _pieces(plan: Plan, fields: tuple[Field, ...]) -> Iterator[Piece]:
    """Pieces whose columns are the fields in order; None where the file has no such column."""
    found = columns_of(plan)
    there = [name for name in fields if name in found]
    for piece in open_table(plan.path).pieces([found[name] for name in there], plan.limit):
        cells = dict(zip(there, piece.columns, strict=True))
        nothing = [None] * len(piece.lines)
        yield piece._replace(columns=[cells.get(name, nothing) for name in fields])


def check(plan: Plan, reading: Reading, now_s: int) -> Tally:
    """Read the whole file and send nothing."""
    tally = Tally()
    for piece in read(plan, reading, now_s):
        _count(tally, piece)
    return tally


class Backfill:
    """Sends a file. Interrupted, it goes on where it stopped; repeated, it changes nothing."""

    def __init__(
        self, plan: Plan, reading: Reading, *, shards: int, position: Position, clock: Clock
    ) -> None:
        self._plan = plan
        self._reading = reading
        self._shards = shards
        self._position = position
        self._clock = clock
        self._read = 0.0
        self._ended = False
        self.tally = Tally()
        self.skipped = 0

    def run(self, flow: Flow) -> None:
        """Send everything; done when the server has accepted it all."""
        start = self._position.load()
        for piece in read(self._plan, self._reading, self._clock.now_s()):
            before = self.tally.events
            _count(self.tally, piece)
            self._read = piece.done
            for number, (event, fact) in enumerate(piece.events, before):
                if number < start:
                    self.skipped += 1
                    flow.skip()
                else:
                    flow.put(shard_of(fact.customer_id, self._shards), event)
            self._position.note(flow.accepted, self._clock.monotonic())
        flow.flush()
        self._ended = True
        self._position.clear()

    def beat(self, flow: Flow, progress: Progress) -> None:
        """Keep the position and tell the progress; called a few times a second."""
        if not self._ended:
            self._position.note(flow.accepted, self._clock.monotonic())
        share = flow.applied / flow.seen if flow.seen else 0.0
        progress(self._read * share, flow.applied)


class TrainingHold:
    """Keeps automatic training back while history comes in: it would learn from its beginning."""

    def __init__(self, locks: Locks, token: str, clock: Clock) -> None:
        self._locks = locks
        self._token = token
        self._clock = clock
        self._renewed = float("-inf")

    def keep(self) -> None:
        """Hold on; called often."""
        now = self._clock.monotonic()
        if now - self._renewed >= _HOLD_EVERY_S:
            self._renewed = now
            if not self._locks.renew(TRAINING_ORDER, self._token, _HOLD_MS):
                self._locks.take(TRAINING_ORDER, self._token, _HOLD_MS)

    def release(self) -> None:
        """Let go."""
        self._locks.release(TRAINING_ORDER, self._token)


def _count(tally: Tally, piece: Read) -> None:
    for event, fact in piece.events:
        tally.take(event, fact)
    for line, why in piece.refused:
        tally.refuse(line, why)


def day_of(at_s: int | None) -> str | None:
    """The UTC date of an instant.

    >>> day_of(86_400)
    '1970-01-02'
    """
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC).date().isoformat()
