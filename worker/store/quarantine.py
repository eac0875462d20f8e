"""Refused events: kept with the reason and the raw bytes until somebody replays or drops them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from worker.store.entries import fields_of
from worker.store.keys import Keys
from worker.store.scripts import Client

#: Stands for the intake in ids and listings.
INTAKE: Final = -1


class Quarantined(NamedTuple):
    """A refused event. `shard` INTAKE: it names no customer."""

    shard: int
    entry_id: str
    reason: str
    path: str
    detail: str
    event: bytes
    quiet: bool = False

    @property
    def name(self) -> str:
        """How people name it: shard and entry."""
        return f"{'intake' if self.shard == INTAKE else self.shard}:{self.entry_id}"


class Quarantine:
    """All quarantine streams of an installation."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def count(self) -> int:
        """How many events are held."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in self._all():
            pipeline.xlen(self._stream(shard))
        return int(sum(pipeline.execute()))

    def list(self, *, reason: str | None = None, limit: int = 1000) -> list[Quarantined]:
        """Held events, newest first."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in self._all():
            pipeline.xrevrange(self._stream(shard), count=limit if reason is None else None)
        found = [
            _quarantined(shard, *row)
            for shard, rows in zip(self._all(), pipeline.execute(), strict=True)
            for row in rows
        ]
        chosen = [one for one in found if reason is None or one.reason == reason]
        return sorted(chosen, key=lambda one: -_ms(one.entry_id))[:limit]

    def find(self, name: str) -> Quarantined | None:
        """The event of a name, or None."""
        place, _, entry_id = name.partition(":")
        shard = INTAKE if place == "intake" else int(place) if place.isdigit() else None
        if shard is None or shard >= self._keys.shards or not entry_id:
            return None
        rows = self._client.xrange(self._stream(shard), min=entry_id, max=entry_id, count=1)
        return _quarantined(shard, *rows[0]) if rows else None

    def replay(self, held: Sequence[Quarantined]) -> int:
        """Send events through the door again; one that is refused again comes back with its reason.

        What was quiet stays quiet. Appended before it is removed: an interruption repeats an event,
        which its id makes harmless.
        """
        for one in held:
            self._client.xadd(self._keys.intake(), fields_of(one.event, quiet=one.quiet))
            self._client.xdel(self._stream(one.shard), one.entry_id)
        return len(held)

    def drop(self, held: Sequence[Quarantined]) -> int:
        """Remove events for good."""
        return sum(int(self._client.xdel(self._stream(one.shard), one.entry_id)) for one in held)

    def _all(self) -> range:
        return range(INTAKE, self._keys.shards)

    def _stream(self, shard: int) -> str:
        return self._keys.intake_quarantine() if shard == INTAKE else self._keys.quarantine(shard)


def _quarantined(shard: int, entry_id: bytes, fields: dict[bytes, bytes]) -> Quarantined:
    reason, path, detail = (
        fields.get(name, b"").decode(errors="replace") for name in (b"reason", b"path", b"detail")
    )
    event, quiet = fields.get(b"event", b""), fields.get(b"quiet") == b"1"
    return Quarantined(shard, entry_id.decode(), reason, path, detail, event, quiet)


def _ms(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
