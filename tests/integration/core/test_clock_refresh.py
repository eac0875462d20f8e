"""Silence and new models: who is refreshed without an event, and who hears of it."""

import time

import numpy as np
import pytest

from models.forecast.bundle import fit_bundle, to_state
from models.history import from_orders
from tests.builders import Installation, deliverer, order, refresher
from tests.integration.core.test_stages import NAMES, T0, FakeCrm
from worker.clock import ManualClock
from worker.insights.subject import Previous
from worker.live import Live
from worker.refresh import _push
from worker.store.models import ModelStore
from worker.store.population import Population
from worker.store.refreshing import Mark, Push, Refreshed, RefreshStore, read_insight

DAY_S = 86_400


@pytest.fixture
def shop(redis_client):
    redis_client.flushall()
    installation = Installation(redis_client, shards=1).create()
    installation.put(order(n, f"{n}-1", f"{n}-1", T0, revenue="5") for n in NAMES)
    installation.drain()
    return installation


@pytest.fixture
def clock():
    return ManualClock(time.time() + 60)


def insight_of(shop, name):
    return read_insight(shop.client.get(shop.keys.insight(0, name)))


def by_clock(shop, name, push):
    """A clock's refresh of a customer whose insight changed."""
    held = insight_of(shop, name)
    return Refreshed(
        mark=Mark(0, name, None, loud=True), expected_version=held.version, seq=held.seq,
        generation=held.generation, as_of_s=held.as_of_s, material="new",
        json=held.json, push=push, transitions=(), next_due_s=held.as_of_s + DAY_S,
    )  # fmt: skip


def test_what_only_a_new_model_changed_goes_to_who_knows_the_customer(shop, clock):
    crm = FakeCrm()
    shop.client.rename(shop.keys.dirty(0), shop.keys.quiet(0))
    refresher(shop.client, shop.keys, clock).drain()
    store = RefreshStore(shop.client, shop.keys, lease_ms=1)
    assert store.commit([by_clock(shop, "ann", Push.KNOWN)], ["crm"]) == [True]
    assert not shop.client.exists(shop.keys.outbox(0, "crm"))
    shop.put([order("ann", "ann-2", "ann-2", T0 + DAY_S, revenue="7")])
    shop.drain()
    refresher(shop.client, shop.keys, clock).drain()
    deliverer(shop.client, shop.keys, clock, crm).drain()
    assert set(crm.rows) == {"ann"}
    assert store.commit([by_clock(shop, "ann", Push.KNOWN)], ["crm"]) == [True]
    assert shop.client.zrange(shop.keys.outbox(0, "crm"), 0, -1) == [b"ann"]


@pytest.mark.parametrize(
    ("mark", "version", "push"),
    [
        (Mark(0, "a", 3, loud=True), 2, Push.ALL),  # an event, whatever the models
        (Mark(0, "a", None, loud=True), 1, Push.ALL),  # silence alone
        (Mark(0, "a", None, loud=True), 2, Push.KNOWN),  # the clock brings a new model
        (Mark(0, "a", 3, loud=False), 2, Push.NOBODY),  # backfill
    ],
)
def test_who_is_told_depends_on_what_caused_the_change(mark, version, push):
    before = Previous(1, versions={"segments": 1, "segments_minor": 3})
    live = Live(generation=9, versions=(("segments", version),), segments_minor=4)
    assert _push(mark, before, live) is push


@pytest.mark.parametrize("mailbox", ["quiet", "dirty"])
def test_the_clock_leaves_a_customer_with_a_mark_to_the_refresh_of_it(shop, clock, mailbox):
    refresher(shop.client, shop.keys, clock).drain()
    shop.client.delete(shop.keys.outbox(0, "crm"))
    shop.client.zadd(getattr(shop.keys, mailbox)(0), {"ann": 99})
    store = RefreshStore(shop.client, shop.keys, lease_ms=1)
    assert store.commit([by_clock(shop, "ann", Push.ALL)], ["crm"]) == [False]
    assert not shop.client.exists(shop.keys.outbox(0, "crm"))


def test_a_customer_without_events_is_refreshed_when_the_turn_comes(shop, clock):
    refresher(shop.client, shop.keys, clock).drain()
    before = {name: insight_of(shop, name).version for name in NAMES}
    clock.advance(1.5 * DAY_S)
    refresher(shop.client, shop.keys, clock).drain()
    assert {name: insight_of(shop, name).version for name in NAMES} == {
        name: version + 1 for name, version in before.items()
    }
    refresher(shop.client, shop.keys, clock).drain()  # not again before the next turn
    assert insight_of(shop, "ann").version == before["ann"] + 1


def test_a_publication_makes_everybodys_turn_come_sooner_never_later(shop, clock):
    due, now_s = shop.keys.due(0), clock.now_s()
    shop.client.zadd(due, {"ann": now_s - 5, "bob": now_s + DAY_S})
    assert Population(shop.client, shop.keys).ripen(now_s, 100) == len(NAMES)
    assert shop.client.zscore(due, "ann") == now_s - 5
    assert now_s <= shop.client.zscore(due, "bob") <= now_s + 100


def test_drift_is_told_when_it_has_added_up_and_an_order_at_once(redis_client):
    redis_client.flushall()
    shop = Installation(redis_client, shards=1).create()
    days = np.array([100, 130, 160, 190])
    fitted = fit_bundle(from_orders(1, 0 * days, days, 500 + days), 200, currency="EUR", windows=0)
    arrays, state = to_state(fitted)
    ModelStore(shop.client, shop.keys).publish("forecasts", arrays, {"model": dict(state)}, 1)
    clock, outbox = ManualClock(T0 + 3600), shop.keys.outbox(0, "crm")
    shop.put(order("ann", f"a{ago}", f"a{ago}", T0 - ago * DAY_S, revenue="5") for ago in (0, 20))
    shop.drain()
    refresh = refresher(shop.client, shop.keys, clock)
    refresh.drain()
    shop.client.delete(outbox)
    told = 0
    for _ in range(60):
        clock.advance(DAY_S)
        assert refresh.drain() == 1
        told += shop.client.delete(outbox)
    assert 1 <= told <= 10
    shop.put([order("ann", "small", "small", T0 + 60 * DAY_S, revenue="0.01")])
    shop.drain()
    refresh.drain()
    assert shop.client.zrange(outbox, 0, -1) == [b"ann"]
