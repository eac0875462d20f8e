"""The desk of trainings: what waits, what runs, and who may publish."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from worker.store.keys import Keys
from worker.store.scripts import Call, Client, Scripts

MOST_REASONS: Final = 20
#: So many events and kinds are remembered: one that comes again does not ask again.
MOST_TOLD: Final = 1_000


class Standing(IntEnum):
    """What a trainer hears when it tells how far it is."""

    LOST = 0  # its lease ended, and the training is somebody else's
    KEPT = 1
    CANCELLED = 2


class Waiting(NamedTuple):
    """A training that somebody asked for: one at most of each kind.

    reasons  of all who asked, the first one first
    at_ms    when the first one asked, Unix ms
    """

    kind: str
    reasons: tuple[str, ...]
    at_ms: int


class Run(NamedTuple):
    """A training under way, one at most of each kind over all machines.

    attempts  how often it was begun: a trainer that ended before it was done leaves it behind
    stage     what it does now
    done      part of the stage that is done, 0 to 1
    beat_ms   when it last told, Unix ms
    alive     its trainer holds the lease
    """

    kind: str
    reasons: tuple[str, ...]
    attempts: int
    started_ms: int
    stage: str
    done: float
    beat_ms: int
    cancelled: bool
    alive: bool = True


class Asked(NamedTuple):
    """Trainings that an event of the stream asks for.

    event_id  its identity
    at_ms     when it entered the stream, Unix ms
    """

    kinds: tuple[str, ...]
    reason: str
    event_id: str
    at_ms: int


class TrainingDesk:
    """Requests come from anybody; `retrain` takes them, one run of a kind at a time."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._scripts = Scripts(client)

    def request(self, kind: str, reason: str, at_ms: int, event_id: str = "") -> bool:
        """Ask for a training; False when one waits already, which it joins.

        event_id  of the event that asks: once, however often it comes
        """
        keys = [self._keys.training_waiting(), self._keys.training_told()]
        args = [kind, reason, at_ms, MOST_REASONS, event_id, MOST_TOLD]
        return bool(self._scripts.run("train_request", keys, args))

    def take(self, kind: str, token: str, lease_ms: int, at_ms: int) -> Run | None:
        """Begin what waits or was left behind; None when nothing is wanted or another trains."""
        k = self._keys
        keys = [k.training_waiting(), k.training(), k.training_lease(kind)]
        record = self._scripts.run("train_take", keys, [kind, token, lease_ms, at_ms])
        return _run(kind, record) if record else None

    def beat(
        self, kinds: Sequence[str], token: str, lease_ms: int, at_ms: int, stage: str, done: float
    ) -> dict[str, Standing]:
        """Tell how far the training of some kinds is; what each hears."""
        k = self._keys
        calls = [
            Call(
                "train_beat",
                [k.training(), k.training_lease(kind)],
                [kind, token, lease_ms, at_ms, stage, f"{done:.3f}"],
            )
            for kind in kinds
        ]
        heard = (Standing(int(reply)) for reply in self._scripts.run_all(calls))
        return dict(zip(kinds, heard, strict=True))

    def end(self, kind: str, token: str) -> bool:
        """The training is over; False when it was somebody else's."""
        keys = [self._keys.training(), self._keys.training_lease(kind)]
        return bool(self._scripts.run("train_end", keys, [kind, token]))

    def cancel(self, kind: str) -> bool:
        """Drop what waits and ask what runs to stop; False when there was neither."""
        k = self._keys
        keys = [k.training_waiting(), k.training(), k.training_lease(kind)]
        return bool(self._scripts.run("train_cancel", keys, [kind]))

    def waiting(self) -> list[Waiting]:
        """What waits, by kind."""
        rows = self._client.hgetall(self._keys.training_waiting())
        found = {kind.decode(): json.loads(record) for kind, record in rows.items()}
        return [
            Waiting(kind, tuple(one["reasons"]), int(one["at_ms"]))
            for kind, one in sorted(found.items())
        ]

    def running(self) -> list[Run]:
        """What runs, or was left behind, by kind."""
        rows = sorted(self._client.hgetall(self._keys.training()).items())
        pipeline = self._client.pipeline(transaction=False)
        for kind, _ in rows:
            pipeline.exists(self._keys.training_lease(kind.decode()))
        return [
            _run(kind.decode(), record)._replace(alive=bool(alive))
            for (kind, record), alive in zip(rows, pipeline.execute() if rows else [], strict=True)
        ]

    def wanted(self) -> list[str]:
        """Kinds that a trainer could begin now."""
        runs = self.running()
        left = {run.kind for run in runs if not run.alive}
        busy = {run.kind for run in runs if run.alive}
        return sorted(left | {one.kind for one in self.waiting()} - busy)


def _run(kind: str, record: bytes) -> Run:
    found: dict[str, Any] = json.loads(record)
    return Run(
        kind,
        tuple(found["reasons"]),
        int(found["attempts"]),
        int(found["started_ms"]),
        found["stage"],
        float(found["done"]),
        int(found["beat_ms"]),
        bool(found["cancelled"]),
    )
