"""Nudging: looks again at those whose lists others' events changed, in what time is left for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from worker.clock import Clock
from worker.store.nudges import Nudge, Nudges
from worker.store.refreshing import Mark

EVERY_S: Final = 0.25
#: Part of a process's time that nudged customers take while events come: the machine has other
#: stages to run, and what an event marks waits for the batch that is under way.
SHARE: Final = 0.15
#: The same where no event has come for a while.
IDLE_SHARE: Final = 0.6
IDLE_AFTER_S: Final = 1.0


class Nudging:
    """The nudges that a refresh process puts and answers."""

    def __init__(self, nudges: Nudges, clock: Clock) -> None:
        self._nudges = nudges
        self._clock = clock
        self._near: dict[str, None] = {}
        self._asked: list[Nudge] = []
        self._put_at = self._next = self._busy = float("-inf")

    def find(self, limit: int) -> list[Mark]:
        """Customers whose list others' events may have changed. They change nobody else's."""
        now = self._clock.monotonic()
        if now < self._next:
            return []
        self._next = now + EVERY_S
        self._asked = self._nudges.waiting(limit)
        return [
            Mark(one.shard, one.customer_id, None, loud=True, nudged=True) for one in self._asked
        ]

    def gather(self, customers: Iterable[str]) -> None:
        """Remember those near to whom events changed. What gathers for a while names most of them
        once; if it is lost with the process, the clock's refresh comes to them.
        """
        self._near |= dict.fromkeys(customers)
        now = self._clock.monotonic()
        if now - self._put_at >= EVERY_S:
            self._put_at = now
            self.put_gathered()

    def put_gathered(self) -> None:
        """Ask for another look at all who were gathered."""
        self.put(list(self._near))
        self._near.clear()

    def put(self, customers: Sequence[str]) -> None:
        """Ask for another look at customers."""
        if customers:
            self._nudges.put(customers, self._clock.now_ms())

    def answer(self, marks: Sequence[Mark]) -> None:
        """Take the nudges of the customers of a batch. Of whom it could not write, somebody else
        wrote something newer, or a quiet mark will; but whom a rollout brought may have been scored
        already, and left as they were.
        """
        seen = {mark.customer_id for mark in marks if not mark.stale}
        self._nudges.take([one for one in self._asked if one.customer_id in seen])
        self._asked = [one for one in self._asked if one.customer_id not in seen]

    def rest(self, marks: Sequence[Mark], start: float) -> None:
        """After a batch that began at `start`: none are found until the others had their part."""
        now = self._clock.monotonic()
        if any(mark.seq is not None for mark in marks):
            self._busy = now
        nudged = sum(mark.nudged for mark in marks)
        if nudged:
            share = SHARE if now - self._busy < IDLE_AFTER_S else IDLE_SHARE
            spent_s = (now - start) * nudged / len(marks)
            self._next = now + spent_s * (1 / share - 1)
