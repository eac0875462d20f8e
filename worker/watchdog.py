"""End a worker process that lives but does nothing.

After a restart of the broker a Celery worker can hang for ever: alive, connected, idle. So each
worker sends itself an empty order through a queue of its own. When that order waits while both
servers answer, and nothing else was received or is running, the process ends and its supervisor
starts another. A worker beside it that is well notices nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil

from worker.telemetry import logger

log = logger(__name__)

#: EX_TEMPFAIL of sysexits.h: the supervisor shall start the process again.
EXIT_CODE = 75
LOOK_EVERY_S = 2.0


class Look(NamedTuple):
    """What one look at the worker found.

    servers_answer  both servers answered
    order_waits     the worker's own queue holds an order
    received        orders received since the start
    running         an order is running within its time limit
    """

    servers_answer: bool
    order_waits: bool
    received: int
    running: bool


@dataclass(slots=True)
class StallDetector:
    """Decides, from looks, whether the worker hangs.

    >>> detector = StallDetector(stall_s=30)
    >>> hung = Look(servers_answer=True, order_waits=True, received=7, running=False)
    >>> [detector.stalled(hung, at) for at in (0.0, 20.0, 31.0)]
    [False, False, True]
    """

    stall_s: float
    _since: float | None = field(default=None)
    _received: int = field(default=-1)

    def stalled(self, look: Look, now: float) -> bool:
        """Has nothing moved for `stall_s`, although there was work and both servers answered?"""
        moved = look.received != self._received and self._received >= 0
        self._received = look.received
        if not look.servers_answer or not look.order_waits or look.running or moved:
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since >= self.stall_s


def end_process() -> None:
    """End this process and its children now; orders under way are delivered again."""
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(EXIT_CODE)


def watch(
    look: Callable[[], Look], detector: StallDetector, end: Callable[[], None] = end_process
) -> threading.Thread:
    """Look every two seconds, in a thread of the worker's parent process."""

    def loop() -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            try:
                found = look()
            except Exception as error:  # noqa: BLE001 - a watchdog that died watches nothing
                log.warning("watchdog could not look", error=type(error).__name__)
                continue
            if detector.stalled(found, time.monotonic()):
                log.error("worker hangs: ending the process", seconds=detector.stall_s)
                end()

    thread = threading.Thread(target=loop, name="watchdog", daemon=True)
    thread.start()
    return thread
