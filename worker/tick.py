"""Tick: the safety net that needs nothing else to be alive. It writes nothing; it only rings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from worker.clock import Clock
from worker.pump import lock_name
from worker.refresh_rules import FORECASTS_FROM
from worker.store.door import Door
from worker.store.models import KINDS, ArtifactError, ModelStore
from worker.store.population import Population
from worker.store.signals import Locks
from worker.store.training import TrainingDesk

#: An order that was sent is not sent again for so long.
ORDERED_MS: Final = 10_000
#: A shard whose oldest entry is older than this gets an order of its own, beside the pumps.
STALE_MS: Final = 15_000
TRAIN_EVERY_S: Final = 30
#: A first training that found too few buyers is tried again after so long for each customer whose
#: profile it read, within these bounds [ms].
WAIT_MS_EACH: Final = 120
LEAST_WAIT_MS: Final = 120_000
MOST_WAIT_MS: Final = 3_600_000
#: Why the second version of the forecasts is fitted.
SEARCH: Final = "the first version is level 1 alone: all candidates are tried"
#: Segments follow the customers so long after they were fitted, and from then on as often.
FOLLOW_EVERY_S: Final = 86_400
#: The lock that `segments.follow` leaves behind until the next step is due.
FOLLOWED: Final = "followed"
#: What says whether models still fit is measured so often; the lock that a measurement leaves.
WATCH_EVERY_S: Final = 21_600
WATCHED: Final = "watched"
#: So many times the customers of a training, and it is measured at once.
MORE_CUSTOMERS: Final = 1.25
#: Versions in the shadow score some customers so often.
SHADOW_EVERY_S: Final = 900
#: A look whether a snapshot of the index is due is ordered so often.
SNAPSHOT_MS: Final = 30_000


class Plan(NamedTuple):
    """What has to run.

    pumps              number of pump slots by stage
    min_customers      customers below which none but forecasts are trained
    retrain_interval_s age at which models are trained anew
    search_customers   customers from which forecasts are chosen among all candidates
    snapshots          whether the index has snapshots to look after
    """

    pumps: dict[str, int]
    min_customers: int
    retrain_interval_s: int
    search_customers: int = 1_000
    snapshots: bool = False


class Tick:
    """Looks for forgotten work, once per slot of time however many beats there are.

    order  sends a work order: task name and arguments
    """

    def __init__(
        self,
        locks: Locks,
        door: Door,
        models: ModelStore,
        desk: TrainingDesk,
        population: Population,
        clock: Clock,
        plan: Plan,
        order: Callable[..., None],
    ) -> None:
        self._locks = locks
        self._door = door
        self._models = models
        self._desk = desk
        self._population = population
        self._clock = clock
        self._plan = plan
        self._order = order

    def run(self, interval_s: float) -> bool:
        """One tick; False when another beat had this slot already."""
        now_ms = self._clock.now_ms()
        slot = int(now_ms / (1000 * interval_s))
        if not self._locks.take(f"tick:{slot}", "1", int(10_000 * interval_s)):
            return False
        for stage, slots in self._plan.pumps.items():
            for number in range(slots):
                self._start_pump(stage, number)
        for lag in self._door.lag(now_ms):
            if lag.age_ms > STALE_MS and self._once(f"drain:{lag.shard}"):
                self._order("ingest.drain", lag.shard)
        if self._locks.take("tick:train", "1", 1000 * TRAIN_EVERY_S):
            self._consider_training(now_ms // 1000)
        return True

    def _start_pump(self, stage: str, number: int) -> None:
        name = lock_name(stage, number)
        if not self._locks.held(name) and self._once(name):
            self._order(f"{stage}.pump", number)

    def _consider_training(self, now_s: int) -> None:
        current = self._models.current().versions
        if self._desk.wanted() and self._once("models.train"):
            self._order("models.train")
        if self._desk.running() or self._desk.waiting():
            return
        if self._models.kept("shadow") and self._once("shadow", 1000 * SHADOW_EVERY_S):
            self._order("models.shadow")
        wants = self._plan.snapshots and "recommendations" in current
        if wants and self._once("snapshot", SNAPSHOT_MS):
            self._order("models.snapshot")
        missing = [kind for kind in KINDS if kind not in current]
        if missing:
            self._begin(missing)
        elif self._is_first_forecast() and self._once("search", 3_600_000):
            self._order("models.retrain", ["forecasts"], SEARCH)
            return
        present = [kind for kind in KINDS if kind in current]
        if not present:
            return
        self._look_after(current, now_s)
        oldest_s = min(self._models.versions(kind)[0][1] for kind in present)
        if now_s - oldest_s > self._plan.retrain_interval_s and self._once("train", 3_600_000):
            self._order("models.retrain", present if missing else None, "age")

    def _begin(self, missing: list[str]) -> None:
        """A first training, where there may be customers enough. Who has bought is known only when
        all profiles are read: the more there are, the longer until they are read in vain again.
        """
        customers = self._population.count()
        wait_ms = min(MOST_WAIT_MS, max(LEAST_WAIT_MS, WAIT_MS_EACH * customers))
        if customers < self._plan.min_customers:
            missing = [kind for kind in missing if kind == "forecasts"]
        least = min(self._plan.min_customers, FORECASTS_FROM)
        if missing and customers >= least and self._once("first", wait_ms):
            self._order("models.retrain", missing if len(missing) < len(KINDS) else None, "first")

    def _look_after(self, current: Mapping[str, int], now_s: int) -> None:
        """What live models need between two trainings."""
        if "segments" in current:
            fitted_s = dict(self._models.versions("segments")).get(current["segments"], 0)
            due = now_s - fitted_s > FOLLOW_EVERY_S and not self._locks.held(FOLLOWED)
            if due and self._once("follow", 600_000):
                self._order("segments.follow")
        told = ",".join(f"{kind} {version}" for kind, version in sorted(current.items()))
        is_new = self._once(f"watch:{told}", 1000 * WATCH_EVERY_S)
        grown = self._grown() and self._once("watch-grown", 3_600_000)
        if is_new or grown or (not self._locks.held(WATCHED) and self._once("watch", 600_000)):
            self._order("models.watch")

    def _is_first_forecast(self) -> bool:
        """The first version is level 1 alone: from so many customers on, the candidates are due."""
        newest, _ = self._models.versions("forecasts")[0]
        return newest == 1 and self._population.count() >= self._plan.search_customers

    def _grown(self) -> bool:
        """Are there many more customers than some model was trained on?"""
        try:
            newest = [
                (kind, found[0][0]) for kind in KINDS if (found := self._models.versions(kind))
            ]
            least = min(self._models.head(*one).get("customers", 0) for one in newest)
        except ArtifactError:
            return False
        return bool(least) and self._population.count() > MORE_CUSTOMERS * least

    def _once(self, name: str, for_ms: int = ORDERED_MS) -> bool:
        return self._locks.take("ordered:" + name, "1", for_ms)
