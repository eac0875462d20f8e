"""Whether models still fit: figures of a sample, and the trainings that they ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.forecast.bundle import Bundle, predict_bundle
from models.forecast.families.base import Target
from models.forecast.gate import LOSSES, MOST_BIAS
from models.forecast.metrics import bias
from models.forecast.snapshot import take
from models.history import Histories
from models.monitoring import (
    INERTIA_ALARM,
    LOSS_ALARM,
    inertia_alarm,
    inertia_ratio,
    level_alarm,
    loss_alarm,
)
from models.segments.model import SegmentModel
from worker.clock import Clock
from worker.live import LiveModels, load
from worker.refresh_rules import RefreshRules
from worker.store.catalog import CatalogStore
from worker.store.models import KINDS, ArtifactError, ModelStore
from worker.store.population import Population
from worker.store.signals import Locks
from worker.store.training import TrainingDesk
from worker.store.watching import Figure, WatchStore
from worker.telemetry import logger
from worker.tick import MORE_CUSTOMERS, WATCH_EVERY_S, WATCHED
from worker.training.gate_forecasts import Said, as_it_is, happened
from worker.training.sample import sample
from worker.views import DAY_S, Calendar, View, histories, priced

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

log = logger(__name__)

Rows = NDArray[np.float64]

MORE_ITEMS: Final = 1.25
SAMPLE: Final = 20_000
LEAST_SAMPLE: Final = 100
HORIZON_DAYS: Final = 30
#: What a closed window's sum is told of.
LEVELS: Final[tuple[Target, ...]] = ("orders", "spend")


class Limits(NamedTuple):
    """What protects the machine from trainings that nobody asked for.

    cooldown_s  least seconds between two of a kind
    daily       most versions of a kind within a day
    """

    cooldown_s: int
    daily: int


class Watch:
    """Measures, keeps the figures, and asks at the desk for what they call for."""

    def __init__(
        self,
        population: Population,
        models: ModelStore,
        catalog: CatalogStore,
        desk: TrainingDesk,
        store: WatchStore,
        locks: Locks,
        clock: Clock,
        rules: RefreshRules,
        limits: Limits,
    ) -> None:
        self._population = population
        self._models = models
        self._catalog = catalog
        self._desk = desk
        self._store = store
        self._locks = locks
        self._clock = clock
        self._rules = rules
        self._limits = limits
        self._calendar = Calendar(rules.time_zone)

    def run(self) -> list[str]:
        """Measure once; the kinds of model that a training was asked for."""
        now_s = self._clock.now_s()
        figures = self._store.put(self._measure(now_s))
        self._locks.take(WATCHED, "1", 1000 * WATCH_EVERY_S)
        asked = []
        for one in figures:
            if one.rings and one.only_told:
                log.warning("figure out of its band", kind=one.kind, reason=one.reason())
        for kind in KINDS:
            calls = [one for one in figures if one.kind == kind and one.asks]
            if calls and self._may_train(kind, now_s):
                for one in calls:
                    self._desk.request(kind, one.reason(), 1000 * now_s)
                asked.append(kind)
        return asked

    def _may_train(self, kind: str, now_s: int) -> bool:
        """Not while one runs or waits, nor within the cooldown, nor beyond the day's cap; where the
        newest version is not the live one, not within a day of it, nor while it is in the shadow.
        """
        busy = {run.kind for run in self._desk.running()}
        if kind in busy | {one.kind for one in self._desk.waiting()}:
            return False
        versions = self._models.versions(kind)
        made = [at_s for _, at_s in versions]
        recent = sum(now_s - at_s < DAY_S for at_s in made)
        if recent >= self._limits.daily or (made and now_s - made[0] < self._limits.cooldown_s):
            return False
        newest = versions[0][0] if versions else 0
        if newest != self._models.current().versions.get(kind, 0):
            verdict = self._models.verdict(kind, newest)
            in_shadow = verdict is not None and verdict.state == "shadow"
            if in_shadow or now_s - made[0] < DAY_S:
                return False
        # also where a training came to nothing, and left no version
        return self._locks.take(f"asked:{kind}", "1", 1000 * max(1, self._limits.cooldown_s))

    def _measure(self, now_s: int) -> list[Figure]:
        live = LiveModels(self._models, self._clock).current()
        figures: list[Figure] = []
        customers = self._population.count()
        for kind, version in live.versions:
            if kind not in KINDS:
                continue
            try:
                newest, _ = self._models.versions(kind)[0]
                head = self._models.head(kind, newest)
            except (ArtifactError, IndexError):
                continue
            known = max(1, int(head.get("customers", customers)))
            row = (version, customers / known, MORE_CUSTOMERS, True, now_s)
            figures.append(Figure(kind, "customers", *row))
            if kind == "recommendations":
                figures += self._catalog_growth(version, head, now_s)
        now = self._sample(now_s)
        if len(now) < LEAST_SAMPLE:
            return figures
        if live.segments is not None:
            figures += self._of_segments(live.segments, live.version("segments") or 0, now, now_s)
        if live.forecasts is not None:
            figures += self._of_forecasts(
                live.forecasts, live.version("forecasts") or 0, now, now_s
            )
        return figures

    def _catalog_growth(self, version: int, head: Any, now_s: int) -> list[Figure]:
        then = head.get("catalog_items")
        if then is None:
            return []
        growth = self._catalog.count() / max(1, int(then))
        return [Figure("recommendations", "catalog", version, growth, MORE_ITEMS, True, now_s)]

    def _sample(self, at_s: int) -> list[View]:
        """A uniform sample as of an instant: of the same customers, whatever the instant."""
        return sample(self._population, SAMPLE, at_s, np.random.default_rng(0))

    def _past(self, views: Sequence[View]) -> Histories:
        seen = priced(views, self._calendar, self._rules.exchange())
        return histories(seen, self._calendar, self._rules.currency)

    def _of_segments(
        self, model: SegmentModel, version: int, now: Sequence[View], now_s: int
    ) -> Iterable[Figure]:
        """Inertia over what a refit would reach; and PSI, which only is shown."""
        here = _buyers(model.matrix(self._past(now), self._calendar.day(now_s)))
        if len(here) < LEAST_SAMPLE:
            return
        if model.is_settled:
            ratio = inertia_ratio(model.points(here), model.geometry.centers)
            sure = inertia_alarm(ratio, len(model.ids), len(here))
            yield Figure("segments", "inertia", version, ratio, INERTIA_ALARM, sure, now_s)
        there = self._then(version)
        if there is not None:
            drift = max(psi(old, new) for old, new in zip(there.T, here.T, strict=True))
            yield Figure("segments", "psi", version, drift, None, False, now_s)

    def _then(self, version: int) -> Rows | None:
        """The sample's features as they were when a version was fitted."""
        try:
            fitted = load(self._models.read("segments", version))
            then_s = int(self._models.head("segments", version)["as_of_s"])
        except (ArtifactError, KeyError):
            return None
        if not isinstance(fitted, SegmentModel):
            return None
        past = self._past(self._sample(then_s))
        rows = _buyers(fitted.matrix(past, self._calendar.day(then_s)))
        return rows if len(rows) >= LEAST_SAMPLE else None

    def _of_forecasts(
        self, model: Bundle, version: int, now: Sequence[View], now_s: int
    ) -> Iterable[Figure]:
        """Log loss of P(buy in 30 days) on the newest closed window, over the backtest's; and how
        far the sums of orders and spend were off, which are only told; and the share of customers
        whose figures had to be made coherent, which is only shown.
        """
        try:
            head = self._models.head("forecasts", version)
            then_s = int(head["as_of_s"])
        except (ArtifactError, KeyError):
            return []
        here, today = self._past(now), self._calendar.day(now_s)
        projected = predict_bundle(model, here, today).projected
        found = [Figure("forecasts", "projected", version, projected, None, False, now_s)]
        newest = foretold(model, here, today)
        past = self._past(self._sample(then_s))
        before = foretold(model, past, self._calendar.day(then_s))
        new, old = newest.losses(), before.losses()
        if min(len(new), len(old)) < LEAST_SAMPLE:
            return found
        base = max(_backtested(head) or float(old.mean()), 1e-9)
        row = (version, float(new.mean()) / base, LOSS_ALARM, loss_alarm(new, old, base), now_s)
        found.append(Figure("forecasts", "loss", *row))
        for target in LEVELS:
            came, said = newest.came[target], newest.said[target]
            off, sure = abs(bias(came, said)), level_alarm(came, said)
            one = Figure("forecasts", f"level_{target}", version, off, MOST_BIAS, sure, now_s)
            found.append(one._replace(only_told=True))
        return found


def watch_of(active: Runtime) -> Watch:
    """The watch of a runtime."""
    settings = active.settings
    return Watch(
        active.population,
        active.models,
        active.catalog,
        active.desk,
        WatchStore(active.client, active.keys),
        active.locks,
        active.clock,
        active.refresh_rules,
        Limits(settings.retrain_cooldown_s, settings.retrain_daily_cap),
    )


class Foretold(NamedTuple):
    """What customers did in a closed window, and what a model would have foretold of it."""

    came: Said
    said: Said

    def losses(self) -> Rows:
        """Log loss of P(buy), one a customer."""
        return LOSSES["buy"](self.came["buy"], self.said["buy"])


def foretold(model: Bundle, past: Histories, today: int) -> Foretold:
    """Of each customer known before the window [today - 30, today), which has closed."""
    start = today - HORIZON_DAYS
    snapshot = take(past, start)
    came = happened(past, snapshot, HORIZON_DAYS)
    return Foretold(came, as_it_is(model, past, start, HORIZON_DAYS, snapshot.row))


def psi(before: Rows, after: Rows) -> float:
    """Population stability index over the deciles of `before`; 0 = nothing moved.

    >>> round(psi(np.arange(100.0), np.arange(100.0)), 6)
    0.0
    """
    edges = np.unique(np.quantile(before, np.linspace(0.1, 0.9, 9)))
    bins = len(edges) + 1
    old = np.bincount(np.searchsorted(edges, before), minlength=bins) / len(before)
    new = np.bincount(np.searchsorted(edges, after), minlength=bins) / len(after)
    old, new = np.maximum(old, 1e-4), np.maximum(new, 1e-4)
    return float(((new - old) * np.log(new / old)).sum())


def _buyers(features: Rows) -> Rows:
    return features[features[:, 1] > 0]


def _backtested(head: Any) -> float | None:
    """The mean loss of what speaks for P(buy, 30 d), over the closed windows of its training."""
    for told in head.get("model", {}).get("report", ()):
        if (told.get("target"), told.get("horizon_days")) == ("buy", HORIZON_DAYS):
            for row in told.get("candidates", ()):
                if row.get("chosen"):
                    return float(row["loss"])
    return None
