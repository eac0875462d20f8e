"""Retrain: fit models on the ledgers as of one instant, and publish them as new versions."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version as installed
from typing import Any, Final, NamedTuple

import numpy as np

from models.artifact import Arrays, Meta
from worker.catalog import attributes
from worker.clock import Clock
from worker.heart import CancelledTrainingError, Heart
from worker.live import Live, LiveModels
from worker.refresh_rules import RefreshRules
from worker.store.catalog import CatalogStore
from worker.store.models import KINDS, BusyTrainingError, Claim, LostTrainingError, ModelStore
from worker.store.population import Population
from worker.store.training import Run, TrainingDesk
from worker.telemetry import logger
from worker.training import forecasts, recommendations, segments
from worker.training.data import Progress, TrainingData, collect
from worker.training.provenance import of_data, told

log = logger(__name__)

LEASE_MS: Final = 60_000
#: A training that ended its trainer so often is given up.
MOST_ATTEMPTS: Final = 3
#: A new version reaches customers without events within so long; the first one at once.
RIPEN_S: Final = 3_600


class Published(NamedTuple):
    """A new model version."""

    kind: str
    version: int
    seconds: float


#: How each kind is fitted.
_FITS: Final[Mapping[str, Callable[[TrainingData], tuple[Arrays, Meta]]]] = {
    "segments": told("segments", segments.fit),
    "recommendations": told("recommendations", recommendations.fit),
    "forecasts": told("forecasts", forecasts.fit),
}


class Retrain:
    """Fits and publishes; of each kind one training at a time over all machines.

    Requests and the runs that came of them live at the desk, not in the order that rang: an order
    that is lost, doubled or ends with its worker loses nothing and doubles nothing.
    """

    def __init__(
        self,
        population: Population,
        models: ModelStore,
        desk: TrainingDesk,
        clock: Clock,
        *,
        rules: RefreshRules,
        discount_rate_year: float,
        catalog: CatalogStore | None = None,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._population = population
        self._models = models
        self._desk = desk
        self._clock = clock
        self._rules = rules
        self._catalog = catalog
        self._discount_rate_year = discount_rate_year
        self._lease_ms = lease_ms

    def request(self, kinds: Sequence[str], *, reason: str) -> list[str]:
        """Ask for trainings; the kinds of which none waited yet."""
        now_ms = self._clock.now_ms()
        return [kind for kind in kinds if self._desk.request(kind, reason, now_ms)]

    def run(
        self, kinds: tuple[str, ...] = KINDS, *, reason: str, progress: Progress | None = None
    ) -> list[Published]:
        """Train some kinds of model on all events before now, in this process.

        Raises TooFewError, BusyTrainingError (the request waits for whoever trains), and
        CancelledTrainingError.
        """
        self.request(kinds, reason=reason)
        return self._train(kinds, progress, everything=True)

    def serve(self, progress: Progress | None = None) -> list[Published]:
        """Train what waits, until nothing does; also what a trainer that ended left behind.

        Raises TooFewError.
        """
        published: list[Published] = []
        while wanted := self._desk.wanted():
            try:
                published += self._train(wanted, progress, everything=False)
            except (BusyTrainingError, CancelledTrainingError) as error:
                log.info("training put off", reason=str(error))
        return published

    def _train(
        self, kinds: Sequence[str], progress: Progress | None, *, everything: bool
    ) -> list[Published]:
        token = secrets.token_hex(8)
        runs = self._take(kinds, token)
        if len(runs) < len(kinds) and (everything or not runs):
            for run in runs:
                self._desk.request(run.kind, run.reasons[0], run.started_ms)
                self._desk.end(run.kind, token)
            raise BusyTrainingError("another training runs")
        heart = Heart(self._desk, [run.kind for run in runs], token, self._lease_ms, self._clock)
        try:
            with heart:
                return self._fit(runs, token, heart, progress)
        finally:
            for run in runs:
                self._desk.end(run.kind, token)

    def _take(self, kinds: Sequence[str], token: str) -> list[Run]:
        runs = []
        for kind in kinds:
            run = self._desk.take(kind, token, self._lease_ms, self._clock.now_ms())
            if run is None:
                continue
            if run.attempts > MOST_ATTEMPTS:
                log.error("training given up", kind=kind, attempts=run.attempts)
                self._desk.end(kind, token)
            else:
                runs.append(run)
        return runs

    def _fit(
        self, runs: Sequence[Run], token: str, heart: Heart, progress: Progress | None
    ) -> list[Published]:
        def tell(stage: str, done: float) -> None:
            heart.tell(stage, done)
            if progress is not None:
                progress(stage, done)

        known = self._models.current().versions
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
        for number, run in enumerate(runs):
            start = self._clock.monotonic()
            tell(f"fit {run.kind}", number / len(runs))
            arrays, meta = _FITS[run.kind](data)
            fitted.append((run, arrays, meta, self._clock.monotonic() - start))
        tell("publish", 0.0)
        published = []
        for run, arrays, meta, seconds in fitted:
            claim = Claim(token, known.get(run.kind, 0))
            try:
                version = self._publish(run, arrays, meta, data, claim)
            except LostTrainingError as error:
                log.warning("model not published", kind=run.kind, reason=str(error))
            else:
                published.append(Published(run.kind, version, seconds))
        is_first = any(run.kind not in known for run in runs)
        self._population.ripen(self._clock.now_s(), 0 if is_first else RIPEN_S)
        return published

    def _current(self) -> Live:
        """What speaks now; a version that cannot be read counts as none."""
        return LiveModels(self._models, self._clock).current()

    def _publish(
        self,
        run: Run,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        data: TrainingData,
        claim: Claim,
    ) -> int:
        model = dict(meta)
        pedigree = {
            **of_data(data),
            **model.pop("provenance", {}),
            "model": model,
            "trigger": "; ".join(run.reasons),
            "code_version": installed("crm-reflex"),
            "python": platform.python_version(),
        }
        version = self._models.publish(run.kind, arrays, pedigree, self._clock.now_s(), claim)
        log.info("model published", kind=run.kind, version=version, reason=pedigree["trigger"])
        return version
