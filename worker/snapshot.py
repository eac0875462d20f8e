"""Snapshots of the interaction index: one builder a folder, now and then or when many rows changed.

Every refresh process maps the newest one, and holds privately only what changed since.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from worker.clock import Clock
from worker.index import InteractionIndex
from worker.live import LiveModels
from worker.store.signals import Locks
from worker.store.snapshots import SnapshotError, Snapshots
from worker.telemetry import logger

log = logger(__name__)

LEASE_MS: Final = 900_000
#: Deltas of one shard behind a snapshot after which the next is due: the stream keeps some 5,000.
DUE_BEHIND: Final = 2_000


class SnapshotBuilder:
    """Builds a snapshot from the one before and the deltas since, else from all profiles.

    index       makes an index that may read the folder: its memory is given back after each build
    interval_s  age at which a snapshot is due
    """

    def __init__(
        self,
        index: Callable[[], InteractionIndex],
        snapshots: Snapshots,
        models: LiveModels,
        locks: Locks,
        clock: Clock,
        *,
        interval_s: int,
    ) -> None:
        self._index = index
        self._snapshots = snapshots
        self._models = models
        self._locks = locks
        self._clock = clock
        self._interval_s = interval_s

    def run(self) -> int:
        """Build one if it is due; its number, 0 if none was."""
        recommender = self._models.current().recommendations
        token = secrets.token_hex(8)
        if recommender is None or not self._locks.take(self._lock, token, LEASE_MS):
            return 0
        try:
            index = self._index()
            found = index.load(recommender)
            if found and not self._is_due(found, index.behind()):
                return 0
            if not found:
                index.use(recommender)
            index.follow()
            number = index.publish(self._clock.now_s())
            log.info("snapshot built", version=number, customers=len(index.use(recommender)))
            return number
        finally:
            self._locks.release(self._lock, token)

    @property
    def _lock(self) -> str:
        """Folders that several hosts share are named alike on them; others have their own."""
        return f"snapshot:{self._snapshots.identity()}"

    def _is_due(self, number: int, behind: int) -> bool:
        try:
            built_at_s = int(self._snapshots.meta(number)["built_at_s"])
        except (SnapshotError, KeyError):
            return True
        return behind > DUE_BEHIND or self._clock.now_s() - built_at_s >= self._interval_s
