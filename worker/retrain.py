"""Retrain: fit models on the ledgers as of one instant, and publish them as new versions."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Mapping
from importlib.metadata import version as installed
from typing import Any, Final, NamedTuple

import numpy as np

from models.artifact import Arrays, Meta
from worker.catalog import attributes
from worker.clock import Clock
from worker.live import Live, LiveModels
from worker.refresh_rules import RefreshRules
from worker.store.catalog import CatalogStore
from worker.store.models import KINDS, BusyTrainingError, ModelStore
from worker.store.population import Population
from worker.store.signals import Locks
from worker.telemetry import logger
from worker.training import forecasts, recommendations, segments
from worker.training.data import Progress, TrainingData, collect

log = logger(__name__)

LOCK: Final = "training"
LEASE_MS: Final = 60_000
#: A new version reaches customers without events within so long; the first one at once.
RIPEN_S: Final = 3_600


class Published(NamedTuple):
    """A new model version."""

    kind: str
    version: int
    seconds: float


#: How each kind is fitted.
_FITS: Final[Mapping[str, Callable[[TrainingData], tuple[Arrays, Meta]]]] = {
    "segments": segments.fit,
    "recommendations": recommendations.fit,
    "forecasts": forecasts.fit,
}


class Retrain:
    """Fits and publishes, one at a time over all machines: the lock is a lease that is renewed."""

    def __init__(
        self,
        population: Population,
        models: ModelStore,
        locks: Locks,
        clock: Clock,
        *,
        rules: RefreshRules,
        discount_rate_year: float,
        catalog: CatalogStore | None = None,
    ) -> None:
        self._population = population
        self._models = models
        self._locks = locks
        self._clock = clock
        self._rules = rules
        self._catalog = catalog
        self._discount_rate_year = discount_rate_year

    def run(
        self, kinds: tuple[str, ...] = KINDS, *, reason: str, progress: Progress | None = None
    ) -> list[Published]:
        """Train some kinds of model on all events before now.

        Raises TooFewError, BusyTrainingError.
        """
        token = secrets.token_hex(8)
        if not self._locks.take(LOCK, token, LEASE_MS):
            raise BusyTrainingError("another training runs")

        def tell(stage: str, done: float) -> None:
            if not self._locks.renew(LOCK, token, LEASE_MS):
                raise BusyTrainingError("this training lost its lease to another")
            if progress is not None:
                progress(stage, done)

        try:
            data = collect(
                self._population,
                self._current(),
                self._rules,
                self._clock.now_s(),
                tell,
                discount_rate_year=self._discount_rate_year,
            )
            if self._catalog is not None:
                data = data._replace(catalog=attributes(self._catalog.products()))
            fitted = []
            for kind in kinds:
                start = self._clock.monotonic()
                tell(f"fit {kind}", 0.0)
                arrays, meta = _FITS[kind](data)
                fitted.append((kind, arrays, meta, self._clock.monotonic() - start))
            tell("publish", 0.0)
            known = self._models.current().versions
            published = [
                Published(kind, self._publish(kind, arrays, meta, data, reason), seconds)
                for kind, arrays, meta, seconds in fitted
            ]
            is_first = any(kind not in known for kind in kinds)
            self._population.ripen(self._clock.now_s(), 0 if is_first else RIPEN_S)
            return published
        finally:
            self._locks.release(LOCK, token)

    def _current(self) -> Live:
        """What speaks now; a version that cannot be read counts as none."""
        return LiveModels(self._models, self._clock).current()

    def _publish(
        self,
        kind: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        data: TrainingData,
        reason: str,
    ) -> int:
        pedigree = {
            "model": dict(meta),
            "trigger": reason,
            "as_of_s": data.at_s,
            "customers": len(data.views),
            "buyers": data.buyers,
            "purchase_days": len(data.past.day),
            "code_version": installed("crm-reflex"),
            "python": platform.python_version(),
        }
        version = self._models.publish(kind, arrays, pedigree, self._clock.now_s())
        log.info("model published", kind=kind, version=version, reason=reason)
        return version
