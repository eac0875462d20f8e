"""Ends of calls are recorded together: as many as came while the last ones were on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Final

from worker.delivery.channel import Channel
from worker.store.delivering import DeliverStore, Settled
from worker.store.destinations import Destinations, Ended
from worker.store.scripts import Call

#: Calls whose ends are recorded in one round trip.
_AT_ONCE: Final = 32


class Settler:
    """For several threads: one records what all of them have put, the others wait for it."""

    def __init__(self, store: DeliverStore, destinations: Destinations) -> None:
        self._store = store
        self._destinations = destinations
        self._waiting: deque[tuple[list[Call], Future[None]]] = deque()
        self._recording = Lock()

    def put(self, channel: Channel, settled: Sequence[Settled], ended: Ended) -> None:
        """Record how a call and its rows ended; raises the server's errors."""
        report = self._destinations.report(channel.name, ended)
        done: Future[None] = Future()
        self._waiting.append(([report, *self._store.settle_calls(channel, settled)], done))
        # whoever comes while another one records is recorded by that one, which looks again
        while self._waiting and self._recording.acquire(blocking=False):
            try:
                self._record()
            finally:
                self._recording.release()
        done.result()

    def _record(self) -> None:
        batch: list[tuple[list[Call], Future[None]]] = []
        while self._waiting and len(batch) < _AT_ONCE:
            batch.append(self._waiting.popleft())
        try:
            self._destinations.run([call for calls, _ in batch for call in calls])
        except BaseException as error:  # noqa: BLE001  each of them learns of it
            for _, done in batch:
                done.set_exception(error)
        else:
            for _, done in batch:
                done.set_result(None)
