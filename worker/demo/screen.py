"""The demo on a terminal: one table that stays in place; elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import time
from typing import Final

from rich.live import Live

from worker.demo.gauges import Row
from worker.terminal import console, pairs, say

_PLAIN_EVERY_S: Final = 5.0


class Screen:
    """Shows looks and messages, on stderr; stdout is for the result."""

    def __init__(self) -> None:
        self._console = console(sys.stderr)
        self._live = (
            Live(console=self._console, auto_refresh=False) if sys.stderr.isatty() else None
        )
        self._said = float("-inf")

    @property
    def terminal(self) -> bool:
        """Does a person look?"""
        return self._live is not None

    def start(self) -> None:
        """Take the place of the table."""
        if self._live is not None:
            self._live.start()

    def stop(self) -> None:
        """Leave the last look standing."""
        if self._live is not None:
            self._live.stop()

    def show(self, rows: list[Row]) -> None:
        """The newest look."""
        if self._live is not None:
            self._live.update(pairs(rows), refresh=True)
        elif time.monotonic() - self._said >= _PLAIN_EVERY_S:
            self._said = time.monotonic()
            say("  ".join(f"{name}: {' '.join(value.split())}" for name, value in rows))

    def tell(self, message: str) -> None:
        """A message that stays above the table."""
        if self._live is not None:
            self._live.console.print(message)
        else:
            say(message)
