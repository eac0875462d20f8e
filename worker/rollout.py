"""Rollout: when other model versions became live, every customer is scored anew, at a bounded pace.

Customers of one shard at a time are marked `stale`; who scores one takes the mark off. So a crash
loses nothing, an event's refresh saves the rollout's, and a newer version takes its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from worker.clock import Clock
from worker.live import Live
from worker.store.models import KINDS
from worker.store.population import Population
from worker.store.refreshing import Mark, Push, Refreshed, Stream
from worker.store.rollout import RolloutStore
from worker.telemetry import logger

log = logger(__name__)

#: How soon a process asks for customers again when it got none.
LOOK_EVERY_S: Final = 0.1


class Pace(NamedTuple):
    """What a rollout may take.

    customers_per_s  scored anew, over all processes
    pushes_per_hour  customers that a new model alone changed and destinations are told of
    """

    customers_per_s: float = 200.0
    pushes_per_hour: int = 20_000


class Rollout:
    """One process's part in it."""

    def __init__(
        self, store: RolloutStore, population: Population, clock: Clock, pace: Pace
    ) -> None:
        self._store = store
        self._population = population
        self._clock = clock
        self._pace = pace
        self._generation = -1
        self._is_over = True
        self._again = float("-inf")

    def follow(self, live: Live) -> None:
        """Begin a rollout of what became live, unless somebody else did."""
        if live.generation == self._generation or not live.is_complete:
            return
        versions = _versions(live)
        if versions and self._store.begin(
            live.generation, versions, self._population.count(), self._clock.now_s()
        ):
            log.info("rollout begun", generation=live.generation)
        self._generation, self._is_over = live.generation, not versions

    def find(self, live: Live, limit: int) -> list[Mark]:
        """Customers to score now. A process that lacks a version, or has not seen it, gets none."""
        now = self._clock.monotonic()
        if self._is_over or now < self._again or not live.is_complete:
            return []
        told = json.dumps(_versions(live), sort_keys=True)
        permit = self._store.permit(told, limit, self._pace.customers_per_s)
        self._is_over = permit.generation < 0
        found: list[str] = []
        if 0 < permit.generation <= live.generation and permit.customers:
            found = self._store.stale(permit, self._clock.now_s())
        self._again = float("-inf") if found else now + LOOK_EVERY_S
        return [Mark(permit.shard, customer, None, loud=True, stale=True) for customer in found]

    def drop(self, marks: Sequence[Mark], live: Live) -> None:
        """These customers need not be scored, or cannot be."""
        self._store.unmark([mark for mark in marks if mark.stale], live.generation)

    def paced(
        self,
        rows: Sequence[Refreshed],
        destinations: Sequence[str],
        streams: Sequence[Stream],
    ) -> list[Refreshed]:
        """The rows, each with the instant from which on destinations may be told of it, where a
        new model alone changed it. What an event changed goes at once.
        """
        held = [at for at, row in enumerate(rows) if row.push in (Push.KNOWN, Push.KNOWN_LATER)]
        who = [(rows[at].mark.shard, rows[at].mark.customer_id) for at in held]
        news = self._store.news(who, destinations)
        asks = [
            at
            for at, is_news in zip(held, news, strict=True)
            if is_news or _is_told(rows[at], streams)
        ]
        turns = self._store.pushes(len(asks), self._pace.pushes_per_hour)
        found = list(rows)
        for at, turn in zip(asks, turns, strict=True):
            found[at] = rows[at]._replace(not_before=turn)
        return found


def is_scored(versions: Mapping[str, Any], live: Live) -> bool:
    """Is an insight of these versions one of the live ones?

    >>> is_scored({"segments": 2, "rules": 1}, Live(versions=(("segments", 2), ("rules", 3))))
    True
    """
    return all(versions.get(kind) == version for kind, version in _versions(live).items())


def _is_told(row: Refreshed, streams: Sequence[Stream]) -> bool:
    """Does a destination of events get a move of this customer?"""
    return any(move.reason in one.reasons for move in row.transitions for one in streams)


def _versions(live: Live) -> dict[str, int]:
    return {kind: version for kind, version in live.versions if kind in KINDS}
