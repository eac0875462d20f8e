"""Calls under way are kept in the destinations' books while their process lives, and no longer."""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Lock, Thread

from worker.store.destinations import KEEP_EVERY_S, Destinations


class Keeper:
    """A thread that says which calls are under way, while there are any."""

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        self._over = Event()
        self._lock = Lock()
        self._thread: Thread | None = None

    def start(self) -> None:
        """A call begins."""
        with self._lock:
            if self._thread is None and not self._over.is_set():
                self._thread = Thread(target=self._keep, name="deliver-keeper", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """No call is under way any more."""
        self._over.set()

    def _keep(self) -> None:
        while not self._over.wait(KEEP_EVERY_S):
            # a server that is away is asked again; its books are behind for so long
            with suppress(Exception):
                self._destinations.keep()
            with self._lock:
                if not self._destinations.under_way:
                    self._thread = None
                    return
