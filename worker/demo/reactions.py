"""How long it takes from an event's XADD to the CRM's receipt of an insight that knows of it."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Final

_RECENT: Final = 500


class Reactions:
    """Events of a customer enter in order: an insight through one of them knows all before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._last: dict[str, str] = {}
        self._seconds: list[float] = []

    def sent(self, customer_id: str, event_id: str, at: float) -> None:
        """An event is about to be added. `at` in monotonic seconds."""
        with self._lock:
            self._waiting[customer_id][event_id] = at
            self._last[customer_id] = event_id

    def received(self, customer_id: str, through_event_id: str, at: float) -> None:
        """The CRM has an insight that goes through an event."""
        with self._lock:
            waiting = self._waiting.get(customer_id)
            if not waiting or through_event_id not in waiting:
                return
            for event_id in list(waiting):
                self._seconds.append(at - waiting.pop(event_id))
                if event_id == through_event_id:
                    break

    def last_events(self) -> dict[str, str]:
        """The last event of each customer that was sent any."""
        with self._lock:
            return dict(self._last)

    def unanswered(self) -> int:
        """Events that no insight has come for yet."""
        with self._lock:
            return sum(len(waiting) for waiting in self._waiting.values())

    def quantile_ms(self, share: float, *, recent: bool = False) -> float | None:
        """A quantile of all reaction times, or of the newest 500; None if there are none."""
        with self._lock:
            times = sorted(self._seconds[-_RECENT:] if recent else self._seconds)
        if not times:
            return None
        return 1000 * times[min(len(times) - 1, int(share * len(times)))]

    def count(self) -> int:
        """Events that were answered."""
        return len(self._seconds)
