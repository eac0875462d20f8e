"""A trainer's heartbeat: it keeps the lease through fits of any length, and hears of an end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from worker.clock import Clock
from worker.store.models import LostTrainingError
from worker.store.training import Standing, TrainingDesk
from worker.telemetry import logger

log = logger(__name__)


class CancelledTrainingError(RuntimeError):
    """Somebody cancelled the training."""


class Heart:
    """Beats from a thread of its own while the block runs; `tell` is for the trainer's thread."""

    def __init__(
        self, desk: TrainingDesk, kinds: Sequence[str], token: str, lease_ms: int, clock: Clock
    ) -> None:
        self._desk = desk
        self._kinds = list(kinds)
        self._token = token
        self._lease_ms = lease_ms
        self._clock = clock
        self._stage = ("begin", 0.0)
        self._standing = dict.fromkeys(kinds, Standing.KEPT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def tell(self, stage: str, done: float, kind: str = "") -> None:
        """How far the training is.

        stage   what it does now
        done    part of it that is done, 0 to 1
        kind    whose training it does; "" = of all
        Raises  LostTrainingError, CancelledTrainingError: this kind, or all of them, shall stop and
                publish nothing
        """
        is_new = stage != self._stage[0]
        self._stage = (stage, done)
        if is_new:
            self._beat()
        heard = {self._standing[one] for one in ([kind] if kind else self._kinds)}
        if Standing.KEPT in heard:
            return
        if Standing.CANCELLED in heard:
            raise CancelledTrainingError("the training was cancelled")
        raise LostTrainingError("the training was taken over by another")

    def _beat(self) -> None:
        stage, done = self._stage
        now_ms = self._clock.now_ms()
        self._standing = self._desk.beat(
            self._kinds, self._token, self._lease_ms, now_ms, stage, done
        )

    def _beat_on(self) -> None:
        while not self._stop.wait(self._lease_ms / 12_000):
            try:
                self._beat()
            except Exception as error:  # noqa: BLE001 - the lease outlasts several missed beats
                log.warning("heartbeat missed", reason=type(error).__name__)
