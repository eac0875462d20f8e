"""The shadow: a new version scores beside the live one for some time before it goes live.

It is done here and not in refresh, which must be fast: from time to time both versions score some
of the customers that events have changed since the last look. Nothing of it is written or pushed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from models.checks import ModelError
from models.forecast.bundle import Bundle, predict_bundle
from models.recommend.filters import ServiceItems
from models.recommend.interactions import ItemTable
from models.recommend.recommender import Recommender
from models.segments.model import SegmentModel, nearest_ids
from models.segments.promoting import MOST_MOVED
from worker.clock import Clock
from worker.index import triplets
from worker.live import LiveModels, load
from worker.refresh_rules import RefreshRules
from worker.registry.artifact import StorageError
from worker.store.models import ArtifactError, Change, ModelStore
from worker.store.population import Population, Resident
from worker.store.shadows import Shadowed, ShadowStore
from worker.store.signals import Locks
from worker.store.verdicts import State, Verdict
from worker.telemetry import logger
from worker.training.gate import Model, Promotion, live_model
from worker.training.gate_recommendations import ranked
from worker.training.sample import cut_at, drawn
from worker.views import DAY_S, Calendar, View, histories, priced

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

log = logger(__name__)

LOCK: Final = "shadow"
LEASE_MS: Final = 600_000
#: Customers that are scored in one look, and commits of a shard that are looked at.
MOST_SCORED: Final = 300
LEAST_SCORED: Final = 10
COMMITS: Final = 20
#: Lists are made among so many customers more.
NEIGHBORS: Final = 2_000
#: What a version may differ by and go live by itself: the least and the most of each figure.
BAND: Final[Mapping[str, tuple[float, float]]] = {
    "moved": (0.0, MOST_MOVED),
    "probability_30d_off": (0.0, 0.10),
    "probability_90d_off": (0.0, 0.10),
    "buy_again_overlap": (0.30, 1.0),
    "new_for_you_overlap": (0.30, 1.0),
}


class Looked(NamedTuple):
    """What one look did: versions that scored customers, and those that went live."""

    scored: int = 0
    promoted: tuple[tuple[str, int], ...] = ()


class Shadow:
    """Scores, keeps the differences, and ends each version's time."""

    def __init__(
        self,
        population: Population,
        models: ModelStore,
        store: ShadowStore,
        locks: Locks,
        clock: Clock,
        rules: RefreshRules,
        promotion: Promotion,
    ) -> None:
        self._population = population
        self._models = models
        self._store = store
        self._locks = locks
        self._clock = clock
        self._rules = rules
        self._promotion = promotion
        self._calendar = Calendar(rules.time_zone)

    def run(self) -> Looked:
        """One look at every version in the shadow."""
        token = secrets.token_hex(8)
        if not self._locks.take(LOCK, token, LEASE_MS):
            return Looked()
        try:
            return self._look()
        finally:
            self._locks.release(LOCK, token)

    def _look(self) -> Looked:
        scored, promoted = 0, []
        kept = self._models.kept("shadow")
        newest = dict(kept)  # rising, so the last one of a kind stays
        for kind, version in kept:
            held = self._models.verdict(kind, version)
            if held is None or held.state != "shadow":
                continue
            if version != newest[kind]:
                self._decide(kind, version, held, "refused", f"version {newest[kind]} is newer")
                continue
            try:
                one = self._scored(kind, version, held)
            except StorageError as error:  # it may answer at the next look
                log.warning("version could not be judged", kind=kind, reason=str(error))
                continue
            if one is None:
                continue
            scored += 1
            if self._is_over(one) and self._end(one, held):
                promoted.append((kind, version))
        return Looked(scored, tuple(promoted))

    def _scored(self, kind: str, version: int, held: Verdict) -> Shadowed | None:
        """Begin, or score what changed since the last look; None where it is out of the shadow.

        Raises StorageError.
        """
        live = LiveModels(self._models, self._clock).reached()
        champion = live.version(kind) or 0
        one = self._store.get(kind, version)
        now_s = self._clock.now_s()
        if one is None:
            _, seen = self._population.newest({}, 1)
            events = self._population.applied()
            one = Shadowed(kind, version, champion, held.at_s, events, seen, at_s=now_s)
            self._store.put(one)
            return one
        if champion != one.champion:
            state: State = "refused" if champion > version else "waiting"
            self._decide(kind, version, held, state, f"version {champion} became live meanwhile")
            return None
        names, seen = self._population.newest(one.seen, COMMITS)
        old = live_model(live, kind)
        try:
            new = load(self._models.read(kind, version))
            figures, count = self._compare(old, new, self._chosen(names))
        except StorageError:
            raise
        except (ArtifactError, ModelError) as error:
            self._decide(kind, version, held, "waiting", f"it could not be scored: {error}")
            return None
        total = one.customers + count
        means = {
            name: (one.figures.get(name, 0.0) * one.customers + value * count) / total
            for name, value in figures.items()
        }
        one = one._replace(seen=seen, customers=total, figures=means or one.figures, at_s=now_s)
        self._store.put(one)
        return one

    def _chosen(self, names: list[str]) -> list[Resident]:
        """Some of the customers that changed, drawn uniformly."""
        if len(names) > MOST_SCORED:
            rng = np.random.default_rng(self._clock.now_s())
            names = sorted(rng.choice(names, MOST_SCORED, replace=False).tolist())
        by_shard: dict[int, list[str]] = {}
        for name in names:
            by_shard.setdefault(self._population.shard_of(name), []).append(name)
        return [one for where in by_shard for one in self._population.read(where, by_shard[where])]

    def _compare(
        self, old: Model | None, new: object, residents: list[Resident]
    ) -> tuple[dict[str, float], int]:
        """Figures of the difference, and how many customers they rest on."""
        at_s = self._clock.now_s()
        today = self._calendar.day(at_s)
        views = [one for one in self._views(residents, at_s) if one.orders]
        if not views:
            return {}, 0
        past = histories(views, self._calendar, self._rules.currency)
        if isinstance(old, SegmentModel) and isinstance(new, SegmentModel):
            before = nearest_ids(old, old.matrix(past, today))
            after = nearest_ids(new, new.matrix(past, today))
            return {"moved": float((before != after).mean())}, len(views)
        if isinstance(old, Bundle) and isinstance(new, Bundle):
            first = predict_bundle(old, past, today).forecasts
            second = predict_bundle(new, past, today).forecasts
            return {
                f"{name}_off": float(np.abs(getattr(first, name) - getattr(second, name)).mean())
                for name in ("probability_30d", "probability_90d")
            }, len(views)
        if isinstance(old, Recommender) and isinstance(new, Recommender):
            return self._overlap(old, new, views, today), len(views)
        raise ArtifactError("they are no models of one kind")

    def _overlap(
        self, old: Recommender, new: Recommender, views: list[View], today: int
    ) -> dict[str, float]:
        """Share of each list that both name, lists made among a sample of all customers."""
        at_s, items = self._clock.now_s(), ItemTable()
        asked = {one.customer_id for one in views}
        others = drawn(self._population, NEIGHBORS, np.random.default_rng(0))
        every = views + self._views([o for o in others if o.customer_id not in asked], at_s)
        services = ServiceItems(self._rules.service_items)
        past = triplets(every, items, self._calendar, services)
        who = np.arange(len(views))
        lists = [ranked(model, past, items, len(every), who, today) for model in (old, new)]
        shares = np.array(
            [
                [_shared(*two) for two in zip(*pair, strict=True)]
                for pair in zip(*lists, strict=True)
            ]
        )
        names = ("buy_again_overlap", "new_for_you_overlap")
        return dict(zip(names, shares.mean(axis=0).tolist(), strict=True))

    def _views(self, residents: list[Resident], at_s: int) -> list[View]:
        return priced(cut_at(residents, at_s), self._calendar, self._rules.exchange())

    def _is_over(self, one: Shadowed) -> bool:
        """It lasts until somebody was scored: what nobody came to try has shown nothing."""
        if one.customers < LEAST_SCORED:
            return False
        days, events = self._promotion.shadow_days, self._promotion.shadow_events
        if days and self._clock.now_s() - one.begun_s >= days * DAY_S:
            return True
        if events and self._population.applied() - one.begun_events >= events:
            return True
        return not days and not events  # the setting was taken back

    def _end(self, one: Shadowed, held: Verdict) -> bool:
        """Out of the shadow: live where it differs within the band; True if it is live."""
        beyond = [
            f"{name} is {one.figures[name]:.3f}, not within {low:g} to {high:g}"
            for name, (low, high) in BAND.items()
            if name in one.figures and not low <= one.figures[name] <= high
        ]
        if beyond or self._promotion.by_hand:
            why = "; ".join(beyond) or "promotion is by hand"
            self._decide(one.kind, one.version, held, "waiting", why)
            return False
        now_s = self._clock.now_s()
        why = f"{one.customers} customers scored in the shadow of {one.champion}"
        change = Change(one.kind, one.version, one.champion, now_s, why)
        try:
            done = self._models.promote_kept(change, held)
        except StorageError as error:  # it may answer at the next look
            log.warning("version could not be judged", kind=one.kind, reason=str(error))
            return False
        except ArtifactError as error:
            self._decide(one.kind, one.version, held, "refused", str(error))
            return False
        if done:
            log.info("model published", kind=one.kind, version=one.version, reason=why)
        return done

    def _decide(self, kind: str, version: int, held: Verdict, state: State, why: str) -> None:
        verdict = Verdict(state, (why,), self._clock.now_s())
        if self._models.decide(kind, version, held, verdict):
            log.warning("model kept back", kind=kind, version=version, reason=verdict.told())


def shadow_of(active: Runtime) -> Shadow:
    """The stage of a runtime."""
    return Shadow(
        active.population,
        active.models,
        ShadowStore(active.client, active.keys),
        active.locks,
        active.clock,
        active.refresh_rules,
        active.promotion,
    )


def _shared(first: list[int], second: list[int]) -> float:
    """Share of two lists that both have; 1 where both are empty."""
    every = max(len(first), len(second))
    return len(set(first) & set(second)) / every if every else 1.0
