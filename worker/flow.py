"""Send many events without flooding anybody: no faster than they are applied."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from worker.clock import Clock
from worker.store.door import Arrival, BusyError, Door
from worker.store.signals import Bells

#: Events that wait here for room in their shard, so that one full shard does not stop the others.
READ_AHEAD: Final = 20_000
#: Events that gather here before they are sent, so that a round trip carries several of a shard.
GATHER: Final = 2_000
#: Entries appended to one shard in one go.
APPEND: Final = 500
LOOK_EVERY_S: Final = 0.1
NAP_S: Final = 0.02
STALL_S: Final = 10.0


class Window(NamedTuple):
    """How much may wait to be applied: in one shard, and in all together."""

    shard: int
    total: int


class Flow:
    """The closed loop: what is sent and not yet applied stays within the window.

    tell   told when nothing moves, and why
    beat   called a few times a second
    sleep  waits for some seconds
    """

    def __init__(
        self,
        door: Door,
        bells: Bells,
        clock: Clock,
        *,
        shards: int,
        window: Window,
        quiet: bool,
        tell: Callable[[str], None],
        beat: Callable[[], None],
        sleep: Callable[[float], None],
    ) -> None:
        self._door = door
        self._bells = bells
        self._clock = clock
        self._window = window
        self._quiet = quiet
        self._tell = tell
        self._beat = beat
        self._sleep = sleep
        self._queues: list[deque[tuple[int, bytes]]] = [deque() for _ in range(shards)]
        self._queued = 0
        self._next = 0
        self._room = [0] * shards
        self._looked = float("-inf")
        self.unapplied = 0
        self._moved = clock.monotonic()
        self._told = False

    def put(self, shard: int, event: bytes) -> None:
        """Take an event, and send what has gathered; waits only while too much waits here."""
        self._queues[shard].append((self._next, event))
        self._next += 1
        self._queued += 1
        if self._queued % GATHER == 0:
            self._offer()
        while self._queued >= READ_AHEAD:
            self._send_or_wait()

    def skip(self) -> None:
        """Count an event that need not be sent."""
        self._next += 1

    @property
    def seen(self) -> int:
        """Events that came here."""
        return self._next

    @property
    def applied(self) -> int:
        """About how many of them are applied."""
        return max(0, self._next - self._queued - self.unapplied)

    @property
    def accepted(self) -> int:
        """All events before this one, counted from 0, are the server's."""
        return min((queue[0][0] for queue in self._queues if queue), default=self._next)

    def flush(self) -> None:
        """Send everything that waits here."""
        while self._queued:
            self._send_or_wait()

    def settle(self, give_up: Callable[[], bool]) -> bool:
        """Wait until everything is applied; False when nothing moves and `give_up` says so."""
        self._moved = self._clock.monotonic()
        while True:
            self._look()
            if not self.unapplied:
                return True
            if self._stalled() and give_up():
                return False
            self._sleep(LOOK_EVERY_S)

    def _offer(self) -> int:
        if self._clock.monotonic() - self._looked >= LOOK_EVERY_S:
            self._look()
        return self._send()

    def _send_or_wait(self) -> None:
        if not self._offer():
            if self._stalled() and not self._told:
                self._told = True
                self._tell(
                    f"Nothing has been applied for {STALL_S:.0f} s: does an ingest worker run?"
                    " `crm-reflex up` starts everything, `crm-reflex worker ingest` only that."
                )
            self._sleep(NAP_S)

    def _send(self) -> int:
        sent = 0
        for shard, queue in enumerate(self._queues):
            count = min(len(queue), self._room[shard], self._window.total - self.unapplied, APPEND)
            if count <= 0:
                continue
            batch = [queue[i][1] for i in range(count)]
            self._door.put(shard, [Arrival(event, self._quiet) for event in batch])
            for _ in range(count):
                queue.popleft()
            self._room[shard] -= count
            self.unapplied += count
            self._queued -= count
            sent += count
        if sent:
            self._bells.ring("ingest")
        return sent

    def _look(self) -> None:
        """Learn how far ingest is, and how much each shard may take."""
        self._beat()
        try:
            self._door.check()
        except BusyError as error:
            if not self._told:
                self._told = True
                self._tell(f"Waiting: {error}")
            self._room = [0] * len(self._room)
            self._looked = self._clock.monotonic()
            return
        lags = self._door.lag()
        waiting = sum(lag.entries for lag in lags)
        if waiting < self.unapplied or waiting == 0:
            self._moved, self._told = self._clock.monotonic(), False
        self.unapplied = waiting
        self._room = [max(0, self._window.shard - lag.entries) for lag in lags]
        self._looked = self._clock.monotonic()

    def _stalled(self) -> bool:
        return self._clock.monotonic() - self._moved > STALL_S
