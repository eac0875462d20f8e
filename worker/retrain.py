"""Retrain: fit models on the ledgers as of one instant, and store them as new versions; those that
the gate lets pass go live.
"""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version as installed
from typing import Any, Final, NamedTuple

from models.artifact import Arrays, Meta
from worker.catalog import attributes
from worker.clock import Clock
from worker.heart import CancelledTrainingError, Heart
from worker.live import Live, LiveModels
from worker.refresh_rules import FORECASTS_FROM, RefreshRules
from worker.store.catalog import CatalogStore
from worker.store.models import (
    KINDS,
    BusyTrainingError,
    Claim,
    ModelStore,
)
from worker.store.population import Population
from worker.store.training import Run, TrainingDesk
from worker.store.verdicts import Verdict
from worker.telemetry import logger
from worker.training import forecasts, gate, recommendations, segments
from worker.training.course import Course
from worker.training.data import Progress, TrainingData, collect
from worker.training.gate import AUTOMATIC, Promotion
from worker.training.provenance import of_data, told

log = logger(__name__)

LEASE_MS: Final = 60_000
#: A training that ended its trainer so often is given up.
MOST_ATTEMPTS: Final = 3


class FailedTrainingError(RuntimeError):
    """A model could not be fitted or stored; the text names it and says why."""


class Published(NamedTuple):
    """A new model version, and what the gate said of it."""

    kind: str
    version: int
    seconds: float
    verdict: Verdict


class Fitted(NamedTuple):
    """What came of a fit, and of the gate: `judged` is what the version says of that."""

    run: Run
    arrays: Arrays
    meta: Meta
    seconds: float
    verdict: Verdict
    judged: Mapping[str, Any]


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
        promotion: Promotion = AUTOMATIC,
    ) -> None:
        self._population = population
        self._models = models
        self._desk = desk
        self._clock = clock
        self._rules = rules
        self._catalog = catalog
        self._discount_rate_year = discount_rate_year
        self._lease_ms = lease_ms
        self._promotion = promotion

    def request(self, kinds: Sequence[str], *, reason: str) -> list[str]:
        """Ask for trainings; the kinds of which none waited yet."""
        now_ms = self._clock.now_ms()
        return [kind for kind in kinds if self._desk.request(kind, reason, now_ms)]

    def run(
        self, kinds: tuple[str, ...] = KINDS, *, reason: str, progress: Progress | None = None
    ) -> list[Published]:
        """Train some kinds of model on all events before now, in this process.

        Raises TooFewError, BusyTrainingError (the request waits for whoever trains), StorageError
        (the same), CancelledTrainingError, and FailedTrainingError: what could be fitted is
        published.
        """
        self.request(kinds, reason=reason)
        published, failed = self._train(kinds, progress, everything=True)
        if failed:
            raise FailedTrainingError("; ".join(failed))
        return published

    def serve(self, progress: Progress | None = None) -> list[Published]:
        """Train what waits, until nothing does; also what a trainer that ended left behind.

        Raises TooFewError, StorageError (what waits goes on waiting).
        """
        published: list[Published] = []
        while wanted := self._desk.wanted():
            try:
                published += self._train(wanted, progress, everything=False)[0]
            except (BusyTrainingError, CancelledTrainingError) as error:
                log.info("training put off", reason=str(error))
        return published

    def _train(
        self, kinds: Sequence[str], progress: Progress | None, *, everything: bool
    ) -> tuple[list[Published], list[str]]:
        """The new versions, and of each kind that failed the sentence. A kind that failed keeps its
        run, which begins anew when the lease has run out, three times at most.
        """
        live = LiveModels(self._models, self._clock).reached()
        token = secrets.token_hex(8)
        runs = self._take(kinds, token)
        if len(runs) < len(kinds) and (everything or not runs):
            for run in runs:
                for reason in run.reasons:
                    self._desk.request(run.kind, reason, run.started_ms)
                self._desk.end(run.kind, token)
            raise BusyTrainingError("another training runs")
        heart = Heart(self._desk, [run.kind for run in runs], token, self._lease_ms, self._clock)
        course = Course(heart, progress)
        try:
            with heart:
                published = self._fit(runs, live, token, course)
        finally:
            for run in runs:
                if run.kind not in course.failed:
                    self._desk.end(run.kind, token)
        return published, [f"{kind}: {why}" for kind, why in course.failed.items()]

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

    def _least(self, runs: Sequence[Run]) -> int:
        """Customers with an order that trainings of these kinds need."""
        least = self._rules.min_customers
        return min(least, FORECASTS_FROM) if {run.kind for run in runs} == {"forecasts"} else least

    def _fit(self, runs: Sequence[Run], live: Live, token: str, course: Course) -> list[Published]:
        """Each kind by itself; published when all are fitted."""
        known = dict(live.published)
        data = collect(
            self._population,
            live,
            self._rules._replace(min_customers=self._least(runs)),
            self._clock.now_s(),
            course.tell,
            discount_rate_year=self._discount_rate_year,
        )
        data = data._replace(next_segment_id=self._models.next_segment_id())
        if self._catalog is not None:
            data = data._replace(catalog=attributes(self._catalog.products()))
        judge = gate.Judge(self._population, self._models, self._promotion, data, known)
        fitted: list[Fitted] = []
        published: list[Published] = []

        def fit(run: Run) -> None:
            fitted.append(self._fitted(run, data, judge, course))

        def publish(number: int, one: Fitted) -> None:
            kind = one.run.kind
            course.tell("publish", number / len(fitted), kind)
            version = self._publish(one, data, Claim(token, known.get(kind, 0)))
            published.append(Published(kind, version, one.seconds, one.verdict))

        for run in runs:
            course.try_one(run.kind, partial(fit, run))
        for number, one in enumerate(fitted):
            course.try_one(one.run.kind, partial(publish, number, one))
        if course.stopped and not published and not course.failed:
            raise course.stopped[0]
        if any(one.verdict.is_live and one.kind not in known for one in published):
            self._population.ripen(self._clock.now_s(), 0)
        return published

    def _fitted(self, run: Run, data: TrainingData, judge: gate.Judge, course: Course) -> Fitted:
        start = self._clock.monotonic()
        fitting = partial(course.tell, f"fit {run.kind}", kind=run.kind)
        fitting(0.0)
        arrays, meta = _FITS[run.kind](data._replace(tell=fitting))
        seconds = self._clock.monotonic() - start
        evaluate = partial(course.tell, f"evaluate {run.kind}", kind=run.kind)
        evaluate(0.0)
        verdict, judged = judge(run.kind, arrays, meta, run.reasons, evaluate)
        return Fitted(run, arrays, meta, seconds, verdict, judged)

    def _publish(self, one: Fitted, data: TrainingData, claim: Claim) -> int:
        model: dict[str, Any] = dict(one.meta)
        kind = one.run.kind
        pedigree: dict[str, Any] = {
            **of_data(data),
            **model.pop("provenance", {}),
            "model": model,
            "gate": dict(one.judged),
            "trigger": "; ".join(one.run.reasons),
            "code_version": installed("crm-reflex"),
            "python": platform.python_version(),
        }
        version = self._models.publish(
            kind, one.arrays, pedigree, self._clock.now_s(), claim, one.verdict
        )
        if one.verdict.is_live:
            log.info("model published", kind=kind, version=version, reason=pedigree["trigger"])
        else:
            log.warning("model kept back", kind=kind, version=version, reason=one.verdict.told())
        return version
