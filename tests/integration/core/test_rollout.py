"""A new version reaches every customer: at a bounded pace, behind the living, and once."""

import time

import numpy as np
import pytest

from models.segments.examples import on_a_line
from models.segments.state import to_state
from tests.builders import RULES, T0, Installation, order
from worker.clock import ManualClock
from worker.index import InteractionIndex
from worker.insights.previous import previous
from worker.live import LiveModels
from worker.nudging import Nudging
from worker.refresh import Refresh
from worker.rollout import Pace, Rollout
from worker.store.models import ArtifactError, ModelStore
from worker.store.nudges import Nudges
from worker.store.population import Population
from worker.store.refreshing import RefreshStore, read_insight
from worker.store.rollout import RolloutStore

NAMES = [f"c{n}" for n in range(24)]
FAST = Pace(1e5, 1_000_000)


class Shop:
    def __init__(self, client):
        self.installation = Installation(client, shards=4).create()
        self.client, self.keys = client, self.installation.keys
        self.clock = ManualClock(time.time() + 60)
        self.models = ModelStore(client, self.keys)
        self.rollouts = RolloutStore(client, self.keys)
        self.at = 0

    def buy(self, *names):
        self.at += 1
        self.installation.put(
            order(n, f"{n}-{self.at}", f"{n}-{self.at}", T0 + self.at, revenue="5") for n in names
        )
        self.installation.drain()

    def segments(self, *centers):
        arrays, state = to_state(on_a_line(*centers))
        return self.models.publish("segments", arrays, {"model": dict(state)}, 1)

    def refresh(self, pace=FAST, **options):
        population = Population(self.client, self.keys)
        rollout = Rollout(self.rollouts, population, self.clock, pace)
        return Refresh(
            RefreshStore(self.client, self.keys, lease_ms=1),
            LiveModels(self.models, self.clock),
            InteractionIndex(population, "UTC"),
            RULES._replace(**options),
            self.clock,
            Nudging(Nudges(self.client, self.keys), self.clock),
            rollout=rollout,
        )

    def insight(self, name):
        return read_insight(self.client.get(self.keys.insight(self.keys.shard(name), name)))

    def version(self, name):
        return previous(self.insight(name)).versions.get("segments")

    def versions(self):
        return {self.version(name) for name in NAMES}

    def run(self, refresh, *, until, rounds=400):
        for _ in range(rounds):
            refresh.round()
            self.clock.advance(0.2)
            if until():
                return
            time.sleep(0.002)
        raise AssertionError(self.rollouts.progress())

    def outbox(self):
        rows = {}
        for shard in range(4):
            found = self.client.zrange(self.keys.outbox(shard, "crm"), 0, -1, withscores=True)
            rows |= {name.decode(): score for name, score in found}
        return rows

    def forget_outbox(self, *, known=()):
        """Deliver everything: destinations know some of the customers."""
        for shard in range(4):
            self.client.delete(self.keys.outbox(shard, "crm"))
        for name in known:
            shard = self.keys.shard(name)
            self.client.hset(self.keys.delivered(shard), f"crm\x1f{name}", "x")

    def over(self):
        return self.rollouts.progress().finished_s is not None


@pytest.fixture
def shop(redis_client):
    shop = Shop(redis_client)
    shop.segments(0.0, 2.0)
    shop.buy(*NAMES)
    refresh = shop.refresh()
    shop.run(refresh, until=shop.over)
    assert shop.versions() == {1}
    return shop


def test_a_promotion_reaches_everybody_and_a_rollback_takes_them_back(shop):
    refresh = shop.refresh()
    shop.segments(50.0, 90.0)
    shop.run(refresh, until=lambda: shop.versions() == {2})
    shop.run(refresh, until=shop.over)
    told = shop.rollouts.progress()
    assert (told.changed, told.done, told.total) == (("segments",), len(NAMES), len(NAMES))
    shop.models.rollback("segments", 9)
    shop.run(refresh, until=lambda: shop.versions() == {1})


def test_the_rate_bounds_how_many_are_scored(shop):
    refresh = shop.refresh(Pace(20.0, 1_000_000))
    shop.segments(50.0, 90.0)
    begun = time.monotonic()
    shop.run(refresh, until=lambda: shop.rollouts.progress().done == len(NAMES), rounds=3_000)
    assert time.monotonic() - begun > len(NAMES) / 20.0 - 1.1, "at most one second's are ahead"


def test_less_than_one_customer_a_second_makes_progress_too(shop):
    shop.segments(50.0, 90.0)
    generation = shop.models.current().generation
    shop.rollouts.begin(generation, {"segments": 2}, len(NAMES), 0)
    shop.client.hdel(shop.keys.rollout(), "next_ms")  # as after a pause

    def now_ms():
        seconds, micros = shop.client.time()
        return 1000 * seconds + micros / 1000

    begun = now_ms()
    assert shop.rollouts.permit('{"segments": 2}', 10, 0.5).customers == 1, "the first at once"
    counted_from = float(shop.client.hget(shop.keys.rollout(), "next_ms"))
    assert begun - 1 <= counted_from <= now_ms(), "the next two seconds from then"


def test_a_crash_between_taking_and_writing_loses_nobody(shop):
    shop.segments(50.0, 90.0)
    dying = shop.refresh()
    dying._store.commit = lambda *_: (_ for _ in ()).throw(ConnectionError)
    for _ in range(20):
        shop.clock.advance(0.6)
        time.sleep(0.002)
        try:
            dying.round()
        except ConnectionError:
            break
    else:
        raise AssertionError("it did not die")
    assert 1 in shop.versions()
    shop.run(shop.refresh(), until=lambda: shop.over() and shop.versions() == {2})


def test_a_newer_promotion_takes_the_place_of_the_one_under_way(shop):
    shop.segments(50.0, 90.0)
    refresh = shop.refresh(batch_size=8)
    shop.run(refresh, until=lambda: 2 in shop.versions())
    assert not shop.over()
    shop.segments(5.0, 9.0)
    before = {name: shop.insight(name).version for name in NAMES}
    shop.run(refresh, until=lambda: shop.over() and shop.versions() == {3})
    wrote = {name: shop.insight(name).version - before[name] for name in NAMES}
    assert set(wrote.values()) <= {1, 2}, "nobody is scored by the version that gave way again"


def test_a_version_that_comes_within_a_batch_waits_for_the_next(shop):
    shop.clock.advance(1)
    shop.buy(*NAMES)
    refresh = shop.refresh()
    load, done = refresh._store.load, []

    def late(customers):
        if not done:
            done.append(shop.segments(50.0, 90.0))
            shop.clock.advance(1)  # past every look
        return load(customers)

    refresh._store.load = late
    before = {name: shop.insight(name).version for name in NAMES}
    assert refresh.round().customers > 1
    batch = [name for name in NAMES if shop.insight(name).version > before[name]]
    assert done == [2]
    assert {shop.version(name) for name in batch} == {1}, "all of one version"
    shop.run(refresh, until=lambda: shop.over() and shop.versions() == {2})


def test_living_customers_go_first_and_are_not_scored_twice(shop):
    shop.segments(50.0, 90.0)
    refresh = shop.refresh(batch_size=24)
    shop.clock.advance(1)
    shop.buy("c3", "c17")
    time.sleep(0.01)
    refresh.round()
    assert shop.version("c3") == shop.version("c17") == 2
    assert sum(shop.version(name) == 2 for name in NAMES) <= 3, "one of the others at most"
    held = {name: shop.insight(name).version for name in ("c3", "c17")}
    shop.run(refresh, until=lambda: shop.over() and shop.versions() == {2})
    assert {name: shop.insight(name).version for name in held} == held


def test_versions_that_come_back_before_the_rollout_cost_no_insight(shop):
    shop.segments(50.0, 90.0)
    shop.models.promote("segments", 1, 2)
    before = {name: shop.insight(name).version for name in NAMES}
    refresh = shop.refresh()
    shop.rollouts.begin(shop.models.current().generation - 1, {"segments": 2}, 24, 0)
    shop.run(refresh, until=shop.over)
    assert {name: shop.insight(name).version for name in NAMES} == before


def test_a_worker_that_cannot_read_a_version_takes_no_part(shop, redis_client):
    shop.segments(50.0, 90.0)
    old = shop.refresh()
    key = shop.keys.model("segments", 2)
    value = redis_client.get(key)
    redis_client.set(key, b"CRMR9" + value[5:])
    for _ in range(10):
        old.round()
        shop.clock.advance(0.6)
    assert shop.rollouts.progress().versions == {"segments": 1}, "it begins none"
    redis_client.set(key, value)
    new = shop.refresh()
    shop.run(new, until=lambda: shop.version("c0") == 2)
    for _ in range(20):
        old.round()
        shop.clock.advance(0.2)
    shop.run(new, until=lambda: shop.over() and shop.versions() == {2})


def test_the_cap_holds_back_what_a_model_changed_but_never_what_customers_do(shop):
    shop.forget_outbox(known=NAMES)
    shop.segments(50.0, 90.0)
    refresh = shop.refresh(Pace(1e5, 10))
    shop.run(refresh, until=lambda: shop.over() and shop.versions() == {2})
    now_ms = time.time() * 1000
    rows = shop.outbox()
    assert set(rows) == set(NAMES), "nothing is lost"
    later = sorted(name for name, score in rows.items() if score > now_ms + 1_000)
    assert len(rows) - len(later) == 5, "half of the cap at once"
    assert max(rows.values()) > now_ms + 3_600_000
    times = np.sort(np.array(list(rows.values())))
    for start in times:
        assert ((times >= start) & (times < start + 3_600_000)).sum() <= 10
    assert shop.rollouts.held_back(int(now_ms), 10)[0] in (len(later), len(later) - 1)
    held = shop.insight(later[0]).version
    shop.buy(later[0])
    shop.run(refresh, until=lambda: shop.insight(later[0]).version > held)
    assert shop.outbox()[later[0]] <= time.time() * 1000, "the event takes it along at once"
    assert shop.outbox()[later[1]] == rows[later[1]]
    shop.segments(7.0, 11.0)
    shop.run(refresh, until=lambda: shop.over() and shop.versions() == {3})
    assert shop.outbox()[later[1]] == rows[later[1]], "a row that waits keeps its turn"


def test_who_is_not_known_takes_no_turn_of_the_cap(shop):
    shop.forget_outbox(known=["c5"])
    shop.segments(50.0, 90.0)
    shop.run(shop.refresh(Pace(1e5, 2)), until=lambda: shop.over() and shop.versions() == {2})
    assert set(shop.outbox()) == {"c5"}
    assert shop.rollouts.held_back(int(time.time() * 1000), 2)[0] == 0


class Yesterdays(ModelStore):
    """The models as a worker of an older release reads them."""

    def read(self, kind, version, minor=0):
        if version > 1:
            raise ArtifactError("of a newer format")
        return super().read(kind, version, minor)


@pytest.mark.parametrize("began", ["before the new version", "after it"])
def test_an_old_worker_beside_a_new_one_goes_on_with_the_version_that_it_can_read(shop, began):
    shop.models = Yesterdays(shop.client, shop.keys)
    old = shop.refresh()
    shop.models = ModelStore(shop.client, shop.keys)
    if began == "before the new version":
        old.round()
    shop.segments(50.0, 90.0)
    new = shop.refresh()
    for worker, version in [(old, 1), (new, 2)] * 6:
        before = {name: shop.insight(name).version for name in NAMES[:4]}
        shop.clock.advance(0.6)
        shop.buy(*before)
        time.sleep(0.01)

        def wrote(before=before):
            return all(shop.insight(name).version > held for name, held in before.items())

        shop.run(worker, until=wrote)
        assert {shop.version(name) for name in before} == {version}
    shop.buy(*NAMES[:4])
    shop.run(old, until=lambda: shop.version("c0") == 1)
    shop.clock.advance(86_400)  # the old worker has ended; everybody is looked at once a day
    shop.run(new, until=lambda: shop.over() and shop.versions() == {2})
