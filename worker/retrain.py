"""Retrain: fit models on the ledgers as of one instant, and publish them as new versions."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Mapping
from importlib.metadata import version as installed
from typing import Any, Final, NamedTuple

import numpy as np

from models.features import rfm
from models.forecast import forecast
from models.history import Histories
from models.recommend import recommender
from models.recommend.interactions import ItemTable
from models.segments import model as segment_model
from models.segments.kmeans import fit_segments
from worker.clock import Clock
from worker.index import triplets
from worker.live import load
from worker.profile.codec import CodecError
from worker.refresh_rules import RefreshRules
from worker.store.models import KINDS, BusyTrainingError, ModelStore, TooFewError
from worker.store.population import Population
from worker.store.signals import Locks
from worker.telemetry import logger
from worker.views import Calendar, View, histories, view

log = logger(__name__)

LOCK: Final = "training"
LEASE_MS: Final = 60_000
#: A new version reaches customers without events within so long; the first one at once.
RIPEN_S: Final = 3_600

#: (stage, part done from 0 to 1)
Progress = Callable[[str, float], None]


class Published(NamedTuple):
    """A new model version."""

    kind: str
    version: int
    seconds: float


class _Data(NamedTuple):
    """What all kinds are fitted on: everything before one instant."""

    at_s: int
    views: list[View]
    past: Histories
    shards: int

    @property
    def buyers(self) -> int:
        return int((np.diff(self.past.starts) > 0).sum())


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
    ) -> None:
        self._population = population
        self._models = models
        self._locks = locks
        self._clock = clock
        self._rules = rules
        self._discount_rate_year = discount_rate_year
        self._calendar = Calendar(rules.time_zone)

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
            data = self._collect(tell)
            fitted = []
            for kind in kinds:
                start = self._clock.monotonic()
                tell(f"fit {kind}", 0.0)
                arrays, meta = self._fit(kind, data)
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

    def _collect(self, tell: Progress) -> _Data:
        at_s = self._clock.now_s()
        views = []
        for shard in range(self._population.shards):
            tell("read profiles", shard / self._population.shards)
            for resident in self._population.residents(shard):
                try:
                    views.append(view(resident.customer_id, resident.hot, resident.cold, at_s))
                except CodecError as error:
                    log.warning("profile cannot be read", shard=shard, reason=str(error))
        past = histories(views, self._calendar, self._rules.currency)
        data = _Data(at_s, views, past, self._population.shards)
        if data.buyers < self._rules.min_customers:
            raise TooFewError(
                f"{data.buyers} customers have bought; models need {self._rules.min_customers}"
            )
        return data

    def _fit(self, kind: str, data: _Data) -> tuple[dict[str, np.ndarray], Mapping[str, Any]]:
        today = self._calendar.day(data.at_s)
        if kind == "forecasts":
            fitted = forecast.fit_forecaster(
                data.past,
                today,
                currency=self._rules.currency,
                discount_rate_year=self._discount_rate_year,
            )
            return forecast.to_state(fitted)
        if kind == "segments":
            features = rfm(data.past, today)
            rng = np.random.default_rng(data.at_s)
            model = fit_segments(
                features[features[:, 1] > 0], rng=rng, previous=self._live_segments()
            )
            return segment_model.to_state(model)
        items = ItemTable()
        found = triplets(data.views, items, self._calendar)
        fitted_recommender = recommender.fit_recommender(
            found, items.ids, len(data.views), as_of_day=today
        )
        return recommender.to_state(fitted_recommender)

    def _live_segments(self) -> segment_model.SegmentModel | None:
        version = self._models.current().versions.get("segments")
        if version is None:
            return None
        model = load(self._models.read("segments", version))
        return model if isinstance(model, segment_model.SegmentModel) else None

    def _publish(
        self,
        kind: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        data: _Data,
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
