"""The tick on a real server: it rings for forgotten work, once, however many beats there are."""

import pytest

from tests.builders import T0, Installation, viewed
from worker.clock import ManualClock
from worker.pump import lock_name
from worker.store.door import Door
from worker.store.models import KINDS, ModelStore
from worker.store.population import Population
from worker.store.signals import Locks
from worker.store.training import TrainingDesk
from worker.store.verdicts import Verdict
from worker.tick import FOLLOW_EVERY_S, FOLLOWED, SEARCH, STALE_MS, WATCHED, Plan, Tick

PLAN = Plan({"ingest": 2, "refresh": 1, "deliver": 0}, min_customers=2, retrain_interval_s=1000)
PUMPS = [("ingest.pump", 0), ("ingest.pump", 1), ("refresh.pump", 0)]


class Beat:
    """A tick, its clock and the orders that it sent."""

    def __init__(self, client):
        self.shop = Installation(client).create()
        self.clock = ManualClock()
        self.locks = Locks(client, self.shop.keys)
        self.models = ModelStore(client, self.shop.keys)
        self.desk = TrainingDesk(client, self.shop.keys)
        self.orders = []

    def measured(self):
        """Whether these models fit was measured just now."""
        versions = sorted(self.models.current().versions.items())
        told = ",".join(f"{kind} {version}" for kind, version in versions)
        self.locks.take(f"ordered:watch:{told}", "1", 10_000_000)
        self.locks.take(WATCHED, "measured", 10_000_000)

    def run(self, **plan):
        """One tick; the orders of this one."""
        keys, client = self.shop.keys, self.shop.client
        tick = Tick(
            self.locks,
            Door(client, keys),
            self.models,
            self.desk,
            Population(client, keys),
            self.clock,
            PLAN._replace(**plan),
            lambda *order: self.orders.append(order),
        )
        before = len(self.orders)
        self.ran = tick.run(2.0)
        return self.orders[before:]


@pytest.fixture
def beat(redis_client):
    return Beat(redis_client)


def test_one_beat_of_several_has_a_slot_of_time(beat):
    assert beat.run() == PUMPS
    assert (beat.run(), beat.ran) == ([], False)
    beat.clock.advance(2)
    assert (beat.run(), beat.ran) == ([], True), "an order that was sent is not sent again at once"


def test_a_pump_that_holds_its_slot_is_not_started(beat):
    beat.locks.take(lock_name("ingest", 1), "running", 60_000)
    assert beat.run() == [PUMPS[0], PUMPS[2]]


def test_a_shard_that_nobody_drains_gets_an_order_of_its_own(beat):
    (entry_id,) = beat.shop.put([viewed("ann", "tea", "e1", T0)])
    entered_s = int(entry_id.split("-")[0]) // 1000
    beat.clock.advance(entered_s - beat.clock.now_s() + STALE_MS // 1000)
    assert beat.run() == PUMPS
    beat.clock.advance(2)
    assert beat.run() == [("ingest.drain", beat.shop.keys.shard("ann"))]
    beat.clock.advance(2)
    assert beat.run() == []


def test_the_first_training_waits_for_enough_customers(beat):
    beat.shop.put([viewed("ann", "tea", "e1", T0)])
    beat.shop.drain()
    assert beat.run() == PUMPS
    beat.shop.put([viewed("bob", "tea", "e2", T0)])
    beat.shop.drain()
    beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
    beat.clock.advance(2)
    assert beat.run() == [("models.retrain", None, "first")]
    beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
    beat.clock.advance(2)
    assert beat.run() == [], "it was ordered"


def test_forecasts_do_not_wait_until_there_are_customers_for_segments(beat):
    beat.shop.put([viewed(f"c{n}", "tea", f"e{n}", T0) for n in range(10)])
    beat.shop.drain()
    assert ("models.retrain", ["forecasts"], "first") in beat.run(min_customers=30)


def test_a_first_training_in_vain_is_tried_again_the_later_the_more_there_is_to_read(beat):
    beat.shop.put([viewed(f"c{n}", "tea", f"e{n}", T0) for n in range(3_000)])
    beat.shop.drain()
    first = ("models.retrain", None, "first")
    assert first in beat.run()
    lock = beat.shop.keys.lock("ordered:first")
    assert 350_000 < beat.shop.client.pttl(lock) <= 360_000


def test_while_one_kind_lacks_a_version_the_others_are_looked_after(beat):
    beat.models.publish("segments", {}, {}, beat.clock.now_s())
    beat.shop.put([viewed(name, "tea", name, T0) for name in ("ann", "bob")])
    beat.shop.drain()
    orders = beat.run()
    assert ("models.retrain", ["recommendations", "forecasts"], "first") in orders
    assert ("models.watch",) in orders


def test_a_training_that_waits_or_was_left_behind_is_ordered_again(beat):
    beat.run()
    beat.desk.request("segments", "check", beat.clock.now_ms())
    for _ in ("waiting", "left behind by its trainer"):
        beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
        beat.shop.client.delete(beat.shop.keys.lock("ordered:models.train"))
        beat.clock.advance(2)
        assert beat.run() == [("models.train",)]
        beat.desk.take("segments", "trainer", 60_000, beat.clock.now_ms())
        beat.shop.client.delete(beat.shop.keys.training_lease("segments"))


def test_after_level_1_the_candidates_are_tried_once_there_are_customers_enough(beat):
    for kind in KINDS:
        beat.models.publish(kind, {}, {}, beat.clock.now_s())
    search = ("models.retrain", ["forecasts"], SEARCH)
    beat.shop.put([viewed("ann", "tea", "e1", T0)])
    beat.shop.drain()
    seen = [beat.run(search_customers=2)]
    beat.shop.put([viewed("bob", "tea", "e2", T0)])
    beat.shop.drain()
    for second in (False, False, True):
        if second:
            beat.models.publish("forecasts", {}, {}, beat.clock.now_s())
            beat.shop.client.delete(beat.shop.keys.lock("ordered:search"))
        beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
        beat.clock.advance(2)
        seen.append(beat.run(search_customers=2))
    assert [orders.count(search) for orders in seen] == [0, 1, 0, 0]


def test_old_models_are_trained_anew_unless_a_training_runs(beat):
    for kind in KINDS:
        beat.models.publish(kind, {}, {}, beat.clock.now_s())
    beat.measured()
    beat.clock.advance(998)
    assert beat.run() == PUMPS
    for held, expected in ((True, []), (False, [("models.retrain", None, "age")])):
        beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
        if held:
            beat.desk.request("segments", "check", 0)
            beat.desk.take("segments", "somebody", 60_000, 0)
        beat.clock.advance(4)
        assert beat.run() == expected
        beat.desk.end("segments", "somebody")


def test_a_version_that_was_kept_back_counts_as_a_training(beat):
    for kind in KINDS:
        beat.models.publish(kind, {}, {"customers": 1}, beat.clock.now_s())
    beat.measured()
    beat.shop.put([viewed(name, "tea", name, T0) for name in ("ann", "bob")])
    beat.shop.drain()
    beat.clock.advance(998)
    for kind in KINDS:
        verdict = Verdict("refused", ("worse",), beat.clock.now_s())
        meta = {"customers": 2}
        beat.models.publish(kind, {}, meta, beat.clock.now_s(), verdict=verdict)
    beat.clock.advance(4)
    assert beat.run(search_customers=2) == PUMPS, "neither age, nor growth, nor the first search"
    assert beat.models.current().versions == dict.fromkeys(KINDS, 1)


def test_what_is_in_the_shadow_scores_from_time_to_time(beat):
    for kind in KINDS:
        beat.models.publish(kind, {}, {}, beat.clock.now_s())
    beat.measured()
    assert ("models.shadow",) not in beat.run()
    shadow = Verdict("shadow", (), beat.clock.now_s())
    beat.models.publish("segments", {}, {}, beat.clock.now_s(), verdict=shadow)
    for expected in (1, 0):
        beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
        beat.clock.advance(2)
        assert beat.run().count(("models.shadow",)) == expected


def test_segments_follow_the_customers_a_day_after_they_were_fitted_and_once_a_day(beat):
    for kind in KINDS:
        beat.models.publish(kind, {}, {}, beat.clock.now_s())
    followed = ("segments.follow",)
    beat.run()
    for held, expected in ((False, 1), (False, 0), (True, 0)):
        beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
        beat.clock.advance(FOLLOW_EVERY_S + 1)
        if held:
            beat.shop.client.delete(beat.shop.keys.lock("ordered:follow"))
            beat.locks.take(FOLLOWED, "done", 60_000)
        assert beat.run().count(followed) == expected


def test_whether_models_fit_is_measured_in_turn_and_sooner_when_customers_have_grown(beat):
    for kind in KINDS:
        beat.models.publish(kind, {}, {"customers": 4}, beat.clock.now_s())
    watch = ("models.watch",)
    assert watch in beat.run()
    beat.measured()
    for customers, expected in ((5, 0), (6, 1), (7, 0)):
        names = range(customers - 2, customers) if customers > 5 else range(5)
        beat.shop.put([viewed(f"c{n}", "tea", f"e{n}", T0) for n in names])
        beat.shop.drain()
        beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
        beat.clock.advance(4)
        assert beat.run().count(watch) == expected


def test_what_became_live_is_looked_at_soon(beat):
    for kind in KINDS:
        beat.models.publish(kind, {}, {"customers": 4}, beat.clock.now_s())
    beat.measured()
    watch = ("models.watch",)
    assert watch not in beat.run()
    beat.models.publish("segments", {}, {"customers": 4}, beat.clock.now_s())
    for expected in (1, 0):
        beat.shop.client.delete(beat.shop.keys.lock("tick:train"))
        beat.clock.advance(2)
        assert beat.run().count(watch) == expected
