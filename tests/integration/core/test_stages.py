"""Refresh and deliver on a real server: compare before write, and errors within a script."""

import itertools
import json
import time

import numpy as np
import pytest
from redis.exceptions import ResponseError

from tests.builders import (
    RULES,
    T0,
    WEEK_S,
    FakeCrm,
    Installation,
    channel,
    deliverer,
    dump,
    order,
    refresher,
    viewed,
)
from worker.clock import ManualClock
from worker.retrain import Retrain
from worker.route import route
from worker.store.delivering import Delivered, DeliverStore, Settled
from worker.store.door import Intake
from worker.store.models import ModelStore
from worker.store.population import Population
from worker.store.refreshing import Mark, Push, Refreshed, RefreshStore, read_insight
from worker.store.training import TrainingDesk

NAMES = ["ann", "bob", "cem"]


class Stages:
    """One shard with an order of each customer, applied, and the stages behind it."""

    def __init__(self, client):
        client.flushall()
        self.client = client
        self.shop = Installation(client, shards=1).create()
        self.shop.put(order(n, f"{n}-1", f"{n}-1", T0, revenue="5") for n in NAMES)
        self.shop.drain()
        self.keys, self.crm = self.shop.keys, FakeCrm()
        self.clock = ManualClock(time.time() + 60)

    def refresh(self, lease_ms=1):
        return refresher(self.client, self.keys, self.clock, lease_ms=lease_ms)

    def deliver(self, **options):
        return deliverer(self.client, self.keys, self.clock, self.crm, **options)

    def told(self):
        """How many orders the CRM knows of each customer."""
        return {name: row["historic_number_of_orders"] for name, row in self.crm.rows.items()}

    def buy_again(self):
        self.shop.put(order(n, f"{n}-2", f"{n}-2", T0 + WEEK_S, revenue="5") for n in NAMES)
        self.shop.drain()

    def insights(self):
        return {n: read_insight(self.client.get(self.keys.insight(0, n))) for n in NAMES}

    def finish_but_damaged(self):
        """Refresh until nothing moves: marks of what cannot be read stay."""
        self.client.delete(self.keys.lease(0, "refresh"))
        while self.refresh(lease_ms=60_000).drain():
            self.client.delete(self.keys.lease(0, "refresh"))

    def finish(self):
        """Stages until the mailboxes are empty."""
        deadline = time.monotonic() + 10
        while self.client.exists(
            self.keys.dirty(0), self.keys.outbox(0, "crm"), self.keys.claimed(0)
        ):
            assert time.monotonic() < deadline
            self.refresh().drain()
            deliver = self.deliver()
            deliver.drain()
            deliver.close()


@pytest.fixture
def stages(redis_client):
    return Stages(redis_client)


def errors_behind_each_write(fail_script, name, start, act):
    """A start whose script failed behind its 1st, 2nd .. write, until it does not fail."""
    for at in itertools.count(1):
        fail_script(name, 0)
        stages = start()
        fail_script(name, at)
        try:
            act(stages)
        except ResponseError as error:
            assert "injected" in str(error)  # noqa: PT017
        else:
            fail_script(name, 0)
            assert at > 1
            return
        fail_script(name, 0)
        yield stages


class TestErrorsInTheMiddle:
    def test_of_insights_lose_no_row_for_the_crm(self, redis_client, fail_script):
        def start():
            return Stages(redis_client)

        seen = 0
        for stages in errors_behind_each_write(
            fail_script, "insights", start, lambda stages: stages.refresh().round()
        ):
            stages.finish()
            assert stages.told() == dict.fromkeys(NAMES, 1)
            assert stages.client.zcard(stages.keys.due(0)) == 3
            seen += 1
        assert seen >= 3 * 4

    def test_of_settle_repeat_a_call_at_most_under_the_same_id(self, redis_client, fail_script):
        def start():
            stages = Stages(redis_client)
            stages.refresh().drain()
            return stages

        def act(stages):
            deliver = stages.deliver()
            try:
                deliver.drain()
            finally:
                deliver.close()

        for stages in errors_behind_each_write(fail_script, "settle", start, act):
            stages.buy_again()
            stages.finish()
            assert stages.told() == dict.fromkeys(NAMES, 2)
            held = {
                (key, row["insight_version"], row["customer_id"]) for key, row in stages.crm.calls
            }
            assert len({key for key, _, _ in held}) == len(held) == 6
            assert stages.client.hlen(stages.keys.delivered(0)) == 3

    def test_of_claim_and_hold_only_delay(self, redis_client, fail_script):
        def start():
            stages = Stages(redis_client)
            stages.refresh().drain()
            return stages

        for name in ("claim", "hold"):
            for stages in errors_behind_each_write(
                fail_script, name, start, lambda stages: stages.deliver().drain()
            ):
                stages.finish()
                assert stages.told() == dict.fromkeys(NAMES, 1)

    @pytest.mark.parametrize("name", ["route", "advance"])
    def test_of_the_router_lose_and_double_nothing_in_effect(self, redis_client, fail_script, name):
        """`route` may append an entry twice; the event's id makes that harmless."""
        events = [viewed(f"c{n}", "tea", f"e{n}", T0) for n in range(5)]

        def start():
            redis_client.flushall()
            shop = Installation(redis_client).create()
            for raw in [*events, b"nobody's"]:
                redis_client.xadd(shop.keys.intake(), {"event": raw})
            return shop

        for shop in errors_behind_each_write(
            fail_script, name, start, lambda shop: route(Intake(shop.client, shop.keys), 2)
        ):
            while route(Intake(redis_client, shop.keys), 2):
                pass
            shop.drain()
            assert shop.counters()["applied"] == 5
            assert len(shop.quarantined()) == 1
            assert len(shop.profiles()) == 5

    def test_of_publish_never_show_a_model_that_is_not_there(self, redis_client, fail_script):
        arrays = {"a": np.arange(3)}

        def start():
            redis_client.flushall()
            return ModelStore(redis_client, Installation(redis_client).keys)

        for store in errors_behind_each_write(
            fail_script, "publish", start, lambda store: store.publish("segments", arrays, {}, 1)
        ):
            for kind, version in store.current().versions.items():
                assert store.read(kind, version).arrays["a"].tolist() == [0, 1, 2]
            version = store.publish("segments", arrays, {}, 2)
            assert store.current().versions == {"segments": version}


class TestRefreshComparesBeforeItWrites:
    def row(self, stages, **changes):
        """An insight as a refresher would write it now."""
        store = RefreshStore(stages.client, stages.keys, lease_ms=1)
        (known,) = store.load([(0, "ann")])
        values = {
            "mark": Mark(0, "ann", known.seq, loud=True), "expected_version": known.held.version,
            "seq": known.seq, "generation": 1, "as_of_s": 1000, "material": "m",
            "json": b'{"segment":null,"model_versions":{"segments":null}}',
            "push": Push.ALL, "transitions": (), "next_due_s": 5000, **changes,
        }  # fmt: skip
        return store, Refreshed(**values)

    def test_the_version_read_is_the_version_replaced(self, stages):
        store, row = self.row(stages)
        assert store.commit([row], ["crm"]) == [True]
        before = dump(stages.client)
        assert store.commit([row], ["crm"]) == [False], "a repeated or late write"
        after = dump(stages.client)
        assert {k for k in before if before[k] != after[k]} == set()
        assert stages.insights()["ann"].version == 1

    @pytest.mark.parametrize("older", [{"seq": 0}, {"generation": 0}, {"as_of_s": 999}])
    def test_nothing_older_replaces_it(self, stages, older):
        store, row = self.row(stages)
        assert store.commit([row], ["crm"]) == [True]
        _, late = self.row(stages, **older)
        assert store.commit([late], ["crm"]) == [False]
        _, same = self.row(stages)
        assert store.commit([same], ["crm"]) == [True]

    def test_a_mark_outlives_a_refresh_of_the_profile_before(self, stages):
        """The profile moved between the load and the write: somebody has to look again."""
        store, row = self.row(stages, generation=0)
        stages.buy_again()
        assert store.commit([row], ["crm"]) == [True]
        assert stages.client.zscore(stages.keys.dirty(0), "ann") > row.seq
        stages.finish()
        assert stages.told()["ann"] == 2

    def test_a_mark_without_a_profile_is_forgotten(self, stages):
        stages.client.zadd(stages.keys.dirty(0), {"ghost": 9})
        stages.client.zadd(stages.keys.due(0), {"ghost": 9})
        stages.refresh().drain()
        assert stages.client.zscore(stages.keys.dirty(0), "ghost") is None
        assert stages.client.zscore(stages.keys.due(0), "ghost") is None
        assert all(held.version == 1 for held in stages.insights().values())

    def test_a_damaged_profile_keeps_nobody_else_from_an_insight(self, stages):
        key = stages.keys.profile(0, "ann")
        for damaged in (b"\x01\x02", stages.client.get(key)[:-2]):
            stages.client.set(key, damaged)
            stages.refresh().drain()
        assert [stages.insights()[n].version for n in NAMES] == [0, 1, 1]

    def test_a_damaged_profile_keeps_nobody_else_from_models_and_index(self, stages):
        names = [f"c{n}" for n in range(32)]
        stages.shop.put(
            order(name, name, name, T0 + n, revenue="5", items={"tea": 1, f"i{n % 4}": 1})
            for n, name in enumerate(names)
        )
        stages.shop.drain()
        for name, damaged in (("c1", b"\x01\x02"), ("c2", stages.client.get("t:{s0}:p:c2")[:-2])):
            stages.client.set(stages.keys.profile(0, name), damaged)
        client, keys = stages.client, stages.keys
        models, population = ModelStore(client, keys), Population(client, keys)
        desk = TrainingDesk(client, keys)
        Retrain(population, models, desk, stages.clock, rules=RULES, discount_rate_year=0.1).run(
            reason="test"
        )
        stages.finish_but_damaged()
        row = json.loads(stages.client.get(keys.insight(0, "c3")).partition(b"\n")[2])
        similar = {one["customer_id"] for one in row["similar_customers"]}
        assert similar
        assert not similar & {"c1", "c2"}

    def test_a_quiet_refresh_writes_the_insight_and_pushes_nothing(self, stages):
        dirty, quiet = stages.keys.dirty(0), stages.keys.quiet(0)
        stages.client.rename(dirty, quiet)
        stages.refresh().drain()
        assert not stages.client.exists(dirty, quiet, stages.keys.outbox(0, "crm"))
        assert all(held.version == 1 for held in stages.insights().values())

    def test_nothing_material_is_no_row(self, stages):
        stages.refresh().drain()
        stages.deliver().drain()
        stages.shop.put(viewed(n, "tea", f"{n}-v", T0) for n in NAMES)
        stages.shop.drain()
        stages.refresh().drain()
        assert all(held.version == 2 for held in stages.insights().values())
        assert not stages.client.exists(stages.keys.outbox(0, "crm"))

    def test_a_shard_in_which_nothing_was_to_be_written_is_not_held(self, stages):
        stages.client.zadd(stages.keys.dirty(0), {"nobody": 1})
        stages.refresh(lease_ms=60_000).drain()
        assert not stages.client.exists(stages.keys.dirty(0), stages.keys.lease(0, "refresh"))

    def test_a_shard_leased_by_another_refresher_is_left_to_it(self, stages):
        other = RefreshStore(stages.client, stages.keys, lease_ms=60_000)
        assert other.lease(other.marked(10))
        assert stages.refresh().round().customers == 0
        stages.client.delete(stages.keys.lease(0, "refresh"))
        assert stages.refresh().round().customers == 3


class TestDeliverTakesTurns:
    def claim(self, stages, lease=60_000):
        """All that is due, claimed by a sender of its own."""
        store, policy = DeliverStore(stages.client, stages.keys), channel(stages.crm, lease=lease)
        return store, policy, store.claim(policy, store.due({"crm": 10})["crm"])

    def test_a_change_during_a_delivery_is_delivered_after_it(self, stages):
        stages.refresh().drain()
        store, policy, claimed = self.claim(stages)
        assert len(claimed) == 3
        stages.buy_again()
        stages.refresh().drain()
        for one in claimed:
            claim = one.claim._replace(version=one.insight.version, delivery_id="first")
            assert store.settle(policy, [settled(one.row, claim, digest=one.insight.material)])
        stages.finish()
        assert stages.told() == dict.fromkeys(NAMES, 2)

    def test_a_claim_is_one_senders_until_its_lease_ends(self, stages):
        stages.refresh().drain()
        store, policy, claimed = self.claim(stages)
        assert len(claimed) == 3
        assert store.claim(policy, [one.row for one in claimed]) == []

    def test_a_claim_whose_reply_was_lost_is_given_again(self, stages, monkeypatch):
        monkeypatch.setattr("secrets.token_hex", lambda _: "token")
        stages.refresh().drain()
        store, policy, claimed = self.claim(stages)
        assert store.claim(policy, [one.row for one in claimed]) == claimed != []

    def test_who_lost_a_claim_cannot_settle_it(self, stages):
        stages.refresh().drain()
        store, policy, (lost, *_) = self.claim(stages, lease=1)
        taken = []
        while not taken:
            taken = store.claim(policy, [lost.row])
        before = dump(stages.client)
        claim = lost.claim._replace(version=1)
        assert store.settle(policy, [settled(lost.row, claim)]) == [False]
        assert store.hold([(lost.row, claim._replace(delivery_id="old"))]) == [False]
        assert dump(stages.client) == before

    def test_changes_within_the_window_become_one_call(self, stages):
        deliver = stages.deliver(lease=1000, coalesce_ms=60_000, coalesce_max_ms=60_000)
        stages.refresh().drain()
        deliver.drain()
        for n in range(2, 6):
            stages.shop.put([order("ann", f"o{n}", f"o{n}", T0 + n, revenue="5")])
            stages.shop.drain()
            stages.refresh().drain()
            deliver.drain()
        deliver.close()
        assert len(stages.crm.calls) == 3
        ((row, at_ms),) = DeliverStore(stages.client, stages.keys).waiting(["crm"])
        assert (row.customer_id, at_ms > time.time() * 1000 + 50_000) == ("ann", True)


def settled(row, claim, digest="m"):
    """A delivery that ended well."""
    holds = Delivered(claim.version, 0, digest, claim.delivery_id)
    return Settled(row, claim, "ok", holds, 0, "", "")
