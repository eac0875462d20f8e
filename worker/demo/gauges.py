"""What the live table shows: a look at the installation, twice a second."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from worker.demo.crm import Contacts
from worker.demo.reactions import Reactions
from worker.store.inspecting import Inspector
from worker.store.models import KINDS

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

LOOK_EVERY_S: Final = 0.5
#: Rates are over so long.
_RATE_S: Final = 3.0

Row = tuple[str, str]


class Gauges:
    """Looks in a thread of its own, and hands each look to `show`."""

    def __init__(
        self,
        active: Runtime,
        contacts: Contacts,
        reactions: Reactions,
        show: Callable[[list[Row]], None],
    ) -> None:
        self._active = active
        self._inspector = Inspector(active.client, active.keys)
        self._contacts = contacts
        self._reactions = reactions
        self._show = show
        self._looks: deque[tuple[float, int, int]] = deque()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)
        self._started = time.monotonic()
        self.phase = ""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            try:
                self._show(self._rows())
            except RedisError:
                continue

    def _rows(self) -> list[Row]:
        active, now = self._active, time.monotonic()
        counters = self._inspector.counters()
        applied, written = counters["ingest"]["applied"], counters["refresh"]["written"]
        self._looks.append((now, applied, written))
        while now - self._looks[0][0] > _RATE_S:
            self._looks.popleft()
        lag = sum(one.entries for one in active.door.lag())
        boxes = self._inspector.mailboxes(active.clock.now_ms(), active.destination_names)
        waits = boxes.marks + boxes.quiet_marks + boxes.nudged
        p50 = self._reactions.quantile_ms(0.50, recent=True)
        p95 = self._reactions.quantile_ms(0.95, recent=True)
        return [
            ("phase", f"{self.phase} ({now - self._started:.0f} s)"),
            ("events applied", f"{applied:,}   {self._rate(1):,.0f}/s, {lag:,} behind"),
            (
                "customers refreshed",
                f"{written:,}   {self._rate(2):,.0f}/s, {waits:,} to do",
            ),
            ("event to CRM", "-" if p50 is None else f"p50 {p50:.0f} ms, p95 {p95:.0f} ms"),
            ("CRM calls", f"{self._contacts.calls:,}   {len(self._contacts.by_id):,} contacts"),
            ("segment moves", f"{counters['refresh']['transitions']:,}"),
            ("models", _versions(active.models.current().versions)),
        ]

    def _rate(self, column: int) -> float:
        first, last = self._looks[0], self._looks[-1]
        span = last[0] - first[0]
        return (last[column] - first[column]) / span if span > 0 else 0.0


def _versions(versions: Any) -> str:
    return ", ".join(f"{kind} {versions[kind]}" for kind in KINDS if kind in versions) or "none yet"
