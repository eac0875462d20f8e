"""Time as an argument: what needs the time takes a `Clock`; tests move a `ManualClock` by hand."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the CLI and the tasks hand down; nothing below them reads the system's clock."""

    def now_s(self) -> int:
        """Unix time in whole seconds, rounded down."""

    def now_ms(self) -> int:
        """Unix time in whole milliseconds, rounded down."""

    def monotonic(self) -> float:
        """Seconds since an unspecified start; never goes back. For budgets and deadlines."""


class SystemClock:
    """The machine's clock."""

    def now_s(self) -> int:
        """Unix time in whole seconds, rounded down."""
        return time.time_ns() // 1_000_000_000

    def now_ms(self) -> int:
        """Unix time in whole milliseconds, rounded down."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since an unspecified start; never goes back."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to move.

    >>> clock = ManualClock(start_s=1_000)
    >>> clock.advance(1.5)
    >>> clock.now_s(), clock.now_ms(), clock.monotonic()
    (1001, 1001500, 1.5)
    """

    def __init__(self, start_s: float = 1_700_000_000) -> None:
        self._start_ms = round(start_s * 1000)
        self._passed_ms = 0

    def now_s(self) -> int:
        """Unix time in whole seconds, rounded down."""
        return self.now_ms() // 1000

    def now_ms(self) -> int:
        """Unix time in whole milliseconds."""
        return self._start_ms + self._passed_ms

    def monotonic(self) -> float:
        """Seconds that this clock was advanced since it was made."""
        return self._passed_ms / 1000

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, >= 0; raise ValueError when told to go back."""
        if seconds < 0:
            raise ValueError("a clock does not go back")
        self._passed_ms += round(seconds * 1000)
