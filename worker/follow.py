"""Follow: the centers of the live segments move with the customers, a bounded step at a time.

Each step is a minor version (12.3): ids, names and scaling stay, refresh only reads it. It is
computed from a uniform sample of all customers, not of those with events: these are not like the
others, and centers that follow them serve everybody worse than centers that stand still.
"""

from __future__ import annotations

import platform
import secrets
from collections.abc import Mapping
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from models.segments.following import SAMPLE, follow
from models.segments.model import SegmentModel
from models.segments.state import to_state
from worker.clock import Clock
from worker.live import Live, LiveModels
from worker.refresh_rules import RefreshRules
from worker.store.models import ModelStore
from worker.store.population import Population
from worker.store.signals import Locks
from worker.telemetry import logger
from worker.tick import FOLLOW_EVERY_S, FOLLOWED
from worker.training.sample import sample
from worker.views import Calendar, histories, priced

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

log = logger(__name__)

LOCK: Final = "follow"
LEASE_MS: Final = 600_000


class Followed(NamedTuple):
    """What came of a step; without a version, why not."""

    version: str | None
    reason: str
    customers: int = 0


class Follow:
    """Publishes minor versions. Any number may run: a version is only published behind the one
    that it was computed from.
    """

    def __init__(
        self,
        population: Population,
        models: ModelStore,
        locks: Locks,
        clock: Clock,
        rules: RefreshRules,
    ) -> None:
        self._population = population
        self._models = models
        self._locks = locks
        self._clock = clock
        self._rules = rules

    def run(self) -> Followed:
        """Move the centers by one step, and make the result live."""
        token = secrets.token_hex(8)
        if not self._locks.take(LOCK, token, LEASE_MS):
            return Followed(None, "another step is being computed")
        try:
            done = self._step()
            self._locks.take(FOLLOWED, token, 1000 * FOLLOW_EVERY_S)
        finally:
            self._locks.release(LOCK, token)
        log.info("segments followed", version=done.version, reason=done.reason)
        return done

    def _step(self) -> Followed:
        live = LiveModels(self._models, self._clock).current()
        if live.segments is None:
            return Followed(None, "there are no segments yet")
        at_s = self._clock.now_s()
        calendar = Calendar(self._rules.time_zone)
        views = sample(self._population, SAMPLE, at_s, np.random.default_rng(at_s))
        views = priced(views, calendar, self._rules.exchange())
        past = histories(views, calendar, self._rules.currency)
        features = live.segments.matrix(past, calendar.day(at_s))
        bought = features[features[:, 1] > 0]
        if len(bought) == 0:
            return Followed(None, "nobody of the sample has bought")
        moved = follow(live.segments, bought).model
        if moved is live.segments:
            return Followed(None, f"{moved.algorithm} has no centers that could move")
        version = _publish(self._models, live, moved, len(bought), at_s)
        if version is None:
            return Followed(None, "another version was published meanwhile")
        return Followed(version, "follow", len(bought))


def follow_of(active: Runtime) -> Follow:
    """The stage of a runtime."""
    return Follow(
        active.population,
        active.models,
        active.locks,
        active.clock,
        active.refresh_rules,
    )


def _publish(
    models: ModelStore, live: Live, model: SegmentModel, customers: int, at_s: int
) -> str | None:
    """The next minor version of what is live; None if something else became live meanwhile."""
    major, minor = live.version("segments") or 0, live.segments_minor + 1
    arrays, state = to_state(model)
    meta: Mapping[str, Any] = {
        "model": dict(state),
        "trigger": "follow",
        "as_of_s": at_s,
        "customers": customers,
        "buyers": customers,
        "code_version": installed("crm-reflex"),
        "python": platform.python_version(),
    }
    if not models.publish_minor("segments", (major, minor), arrays, meta, at_s):
        return None
    return f"{major}.{minor}"
